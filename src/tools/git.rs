//! git by argument list, with nothing on this machine able to change what it does.

use std::ffi::OsString;
use std::time::Duration;

use super::error::ToolError;
use super::output;
use super::process::{self, Finished, Invocation, pair};
use super::settings::GitIdentity;
use super::validators::BranchName;
use super::workspace::Workspace;
use crate::suggest;

/// Longest a single git command may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Most output kept of a git command, in bytes.
const GIT_OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most of git's own words in an error, in bytes.
const DETAIL_BYTES_MAX: usize = 2 * 1024;

/// Settings over those of the repository: nothing that starts a program, asks or pages.
const CONFIG: [&str; 12] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=false",
    "core.sshCommand=false",
    "core.attributesFile=/dev/null",
    "commit.gpgSign=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
];

/// Runs one git command in the workspace and returns what it wrote.
///
/// `name` is the command; a failure shows it with git's own words.
pub(super) async fn run(
    workspace: &Workspace,
    identity: &GitIdentity,
    name: &str,
    arguments: &[&str],
) -> Result<String, ToolError> {
    let finished = attempt(workspace, identity, name, arguments).await?;
    if finished.status.success() { complete(name, &finished) } else { Err(failure(name, &finished)) }
}

/// As [`run`], for a command whose exit status is an answer.
pub(super) async fn attempt(
    workspace: &Workspace,
    identity: &GitIdentity,
    name: &str,
    arguments: &[&str],
) -> Result<Finished, ToolError> {
    let mut argv: Vec<OsString> = vec!["--no-pager".into(), "--literal-pathspecs".into()];
    for setting in CONFIG {
        argv.extend(["-c".into(), setting.into()]);
    }
    argv.push(name.into());
    argv.extend(arguments.iter().map(OsString::from));
    let invocation = Invocation {
        program: "git".into(),
        arguments: argv,
        directory: workspace.root().to_owned(),
        environment: environment(workspace, identity),
        output_bytes_max: GIT_OUTPUT_BYTES_MAX,
    };
    tokio::time::timeout(GIT_TIMEOUT, process::run(invocation)).await.map_err(|_| ToolError::Git {
        command: name.to_owned(),
        detail: format!("it was stopped after {} seconds", GIT_TIMEOUT.as_secs()),
    })?
}

fn complete(name: &str, finished: &Finished) -> Result<String, ToolError> {
    match finished.stdout.complete() {
        Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        None => Err(ToolError::Git {
            command: name.to_owned(),
            detail: format!("it wrote more than {GIT_OUTPUT_BYTES_MAX} bytes"),
        }),
    }
}

/// The error of a command that failed.
pub(super) fn failure(name: &str, finished: &Finished) -> ToolError {
    let words = finished.stderr.text();
    let detail = match words.trim() {
        "" => finished.status.to_string(),
        words => output::cut(words, DETAIL_BYTES_MAX),
    };
    ToolError::Git { command: name.to_owned(), detail }
}

fn environment(workspace: &Workspace, identity: &GitIdentity) -> Vec<(OsString, OsString)> {
    let mut environment = process::base_environment(workspace.root());
    let fixed = [
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "false"),
        ("GIT_EDITOR", "false"),
        ("GIT_PAGER", "cat"),
    ];
    environment.extend(fixed.map(|(name, value)| pair(name, value)));
    // A repository further up is not the agent's.
    if let Some(parent) = workspace.root().parent() {
        environment.push(pair("GIT_CEILING_DIRECTORIES", parent));
    }
    for who in ["AUTHOR", "COMMITTER"] {
        environment.push(pair(&format!("GIT_{who}_NAME"), &identity.author_name));
        environment.push(pair(&format!("GIT_{who}_EMAIL"), &identity.author_email));
    }
    environment
}

/// The commit that a local branch stands at.
pub(super) async fn commit_of_branch(
    workspace: &Workspace,
    identity: &GitIdentity,
    branch: &BranchName,
) -> Result<String, ToolError> {
    let reference = format!("refs/heads/{branch}^{{commit}}");
    let arguments = ["--verify", "--quiet", "--end-of-options", reference.as_str()];
    let finished = attempt(workspace, identity, "rev-parse", &arguments).await?;
    if finished.status.success() {
        return complete("rev-parse", &finished).map(|text| text.trim().to_owned());
    }
    let branches = run(workspace, identity, "for-each-ref", &["--format=%(refname:short)", "refs/heads/"]).await?;
    let hint = match suggest::nearest(branch.as_str(), branches.lines()) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None if branches.is_empty() => "; it has no commit yet".to_owned(),
        None => String::new(),
    };
    Err(ToolError::NoSuchBranch { branch: branch.as_str().to_owned(), hint })
}
