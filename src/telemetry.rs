//! Logs: everything to a file in the state directory, what an operator should see to the console.
//!
//! Secrets never get here: keys, claim secrets and sealed values have no `Display`, and their
//! `Debug` shows nothing of them.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Largest log file, in bytes; at the next start a larger one is kept as `<name>.log.1`.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How much the console shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Warnings and errors.
    Quiet,
    /// What a daemon's operator follows.
    Progress,
    Debug,
}

/// Whether stderr is a terminal that wants colours (https://no-color.org).
pub fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sends logs to `<state_dir>/logs/<name>.log` and to stderr. `GUARDRAIL_LOG` overrides the
/// file's filter (`tracing_subscriber`'s directives); its default is `guardrail=debug`.
///
/// # Errors
/// Where the file cannot be opened or a filter does not parse.
pub fn init(state_dir: &Path, name: &str, console: Console) -> io::Result<PathBuf> {
    let dir = state_dir.join("logs");
    crate::atomic_file::ensure_dir(&dir, 0o700)?;
    let path = dir.join(format!("{name}.log"));
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(&path, dir.join(format!("{name}.log.1")))?;
    }
    let file: File = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    let directives = std::env::var("GUARDRAIL_LOG").unwrap_or_else(|_| "warn,guardrail=debug".to_owned());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("GUARDRAIL_LOG: {e}")))?;
    let level = match console {
        Console::Quiet => LevelFilter::WARN,
        Console::Progress => LevelFilter::INFO,
        Console::Debug => LevelFilter::DEBUG,
    };
    let to_file = fmt::layer().with_ansi(false).with_writer(Mutex::new(file)).with_filter(filter);
    let only_ours = tracing_subscriber::filter::Targets::new()
        .with_target("guardrail", level)
        .with_default(LevelFilter::WARN.min(level));
    let to_console =
        fmt::layer().compact().with_ansi(colours()).with_target(false).with_writer(io::stderr).with_filter(only_ours);
    tracing_subscriber::registry()
        .with(to_file)
        .with(to_console)
        .try_init()
        .map_err(|e| io::Error::other(e.to_string()))?;
    Ok(path)
}
