//! Other programs: an argument list, an environment of our own, an end.
//!
//! No shell, no standard input, a process group that is killed when the program ends or when
//! nobody waits for it any more, and output of which only so much is kept.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::error::ToolError;

/// How long output is read on after the program and its group have ended: what still holds
/// the pipe then has left the group and is not waited for.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// One program to run.
pub(super) struct Invocation {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub directory: PathBuf,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Most bytes kept of each of its two outputs.
    pub output_bytes_max: usize,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub status: ExitStatus,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// The beginning of an output.
#[derive(Debug, Default)]
pub(super) struct Captured {
    bytes: Vec<u8>,
    missing_bytes: u64,
}

impl Captured {
    /// As text, with a last line that says how much is missing.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        match self.missing_bytes {
            0 => text,
            missing => format!("{text}\n[guardrail: {missing} more bytes are not shown]"),
        }
    }

    /// The bytes, where all of them are here.
    pub(super) fn complete(&self) -> Option<&[u8]> {
        (self.missing_bytes == 0).then_some(self.bytes.as_slice())
    }
}

/// Runs a program to its end. Dropping the future kills its whole process group.
pub(super) async fn run(invocation: Invocation) -> Result<Finished, ToolError> {
    let program = invocation.program.to_string_lossy().into_owned();
    let failed = |source| ToolError::Start { program: program.clone(), source };
    let mut child = Command::new(&invocation.program)
        .args(&invocation.arguments)
        .current_dir(&invocation.directory)
        .env_clear()
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = CancellationToken::new();
    let waiting = async {
        let status = child.wait().await;
        group.kill();
        ended.cancel();
        status
    };
    let max = invocation.output_bytes_max;
    let (status, stdout, stderr) = tokio::join!(waiting, drain(stdout, max, &ended), drain(stderr, max, &ended));
    Ok(Finished { status: status.map_err(failed)?, stdout, stderr })
}

/// The process group of a child; killed when it goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(leader) = self.0 {
            // An error means that the group is gone already, which is what is wanted.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads to the end, keeps the beginning, counts the rest.
async fn drain(from: Option<impl AsyncRead + Unpin>, bytes_max: usize, ended: &CancellationToken) -> Captured {
    let mut captured = Captured::default();
    let Some(mut from) = from else { return captured };
    let late = async {
        ended.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let reading = async {
        let mut buffer = vec![0u8; 16 * 1024];
        // A read error on our own pipe ends the output like its end does.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let kept = count.min(bytes_max - captured.bytes.len());
            captured.bytes.extend_from_slice(&buffer[..kept]);
            captured.missing_bytes += (count - kept) as u64;
        }
    };
    tokio::select! { () = reading => {}, () = late => {} }
    captured
}

/// What every program gets: a search path without the workspace and without relative
/// entries, so that a file an agent wrote is not started in place of a program.
pub(super) fn base_environment(workspace: &Path) -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    vec![pair("PATH", search_path(&path, workspace)), pair("LANG", "C.UTF-8"), pair("TZ", "UTC")]
}

pub(super) fn pair(name: &str, value: impl Into<OsString>) -> (OsString, OsString) {
    (OsString::from(name), value.into())
}

fn search_path(path: &OsStr, workspace: &Path) -> OsString {
    let kept = std::env::split_paths(path).filter(|entry| entry.is_absolute() && !entry.starts_with(workspace));
    // No entry holds the separator: each came from splitting at it.
    std::env::join_paths(kept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Invocation {
        Invocation {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: std::env::temp_dir(),
            environment: vec![pair("PATH", "/usr/bin:/bin")],
            output_bytes_max: 10,
        }
    }

    fn runs(pid: i32) -> bool {
        // A zombie waits only for its new parent; it runs nothing.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// A killed process takes a moment to end.
    async fn has_ended(pid: i32) {
        let started = Instant::now();
        while runs(pid) {
            assert!(started.elapsed() < Duration::from_secs(30), "{pid} still runs");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn keeps_the_beginning_and_counts_the_rest() {
        let finished = run(shell("printf 0123456789abc; printf err >&2; exit 3")).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout.text(), "0123456789\n[guardrail: 3 more bytes are not shown]");
        assert_eq!((finished.stdout.complete(), finished.stderr.complete()), (None, Some(&b"err"[..])));
    }

    #[tokio::test]
    async fn the_environment_is_the_given_one_and_there_is_no_input() {
        let mut invocation = shell("cat; env | grep -v -e PWD -e SHLVL -e '^_='");
        invocation.output_bytes_max = 1000;
        assert_eq!(run(invocation).await.unwrap().stdout.text(), "PATH=/usr/bin:/bin\n");
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it() {
        let started = Instant::now();
        let finished = run(shell("sleep 600 & echo $!")).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(60));
        has_ended(finished.stdout.text().trim().parse().unwrap()).await;
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_whole_group() {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, out) = (directory.path().join("pid"), directory.path().join("x"));
        let script = format!("sleep 600 & echo $! > {0}; mv {0} {1}; wait", fifo.display(), out.display());
        let running = tokio::spawn(run(shell(&script)));
        let pid = loop {
            match std::fs::read_to_string(&out) {
                Ok(text) => break text.trim().parse::<i32>().unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert!(runs(pid));
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        has_ended(pid).await;
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let mut invocation = shell("");
        invocation.program = "/nonexistent/program".into();
        assert_eq!(run(invocation).await.unwrap_err().to_string(), "cannot start `/nonexistent/program`");
    }

    #[test]
    fn the_search_path_leaves_out_the_workspace() {
        let path = OsStr::new("/usr/bin:.:bin::/srv/repo/bin:/bin");
        assert_eq!(search_path(path, Path::new("/srv/repo")), OsString::from("/usr/bin:/bin"));
    }
}
