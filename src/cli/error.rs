//! The one error of the command line: what failed, which exit code says so, what to do next.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, as the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Usage,
    Denied,
    TimedOut,
    Unverified,
    Unreachable,
    OutcomeUnknown,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Denied => 3,
            Exit::TimedOut => 4,
            Exit::Unverified => 5,
            Exit::Unreachable => 6,
            Exit::OutcomeUnknown => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A failure as the user sees it.
#[derive(Debug)]
pub struct CommandError {
    pub exit: Exit,
    pub error: anyhow::Error,
    pub hints: Vec<String>,
}

impl CommandError {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        CommandError { exit, error: error.into(), hints: Vec::new() }
    }

    pub fn message(exit: Exit, text: impl fmt::Display) -> Self {
        CommandError { exit, error: anyhow::anyhow!("{text}"), hints: Vec::new() }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut shown = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            // A source that the message repeats already says nothing new.
            if !shown.contains(&cause) {
                write!(f, "\n  because: {cause}")?;
                shown.push_str(&cause);
            }
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Gives an error its exit code.
pub trait OrExit<T> {
    /// # Errors
    /// The same failure, as a [`CommandError`].
    fn or_exit(self, exit: Exit) -> Result<T, CommandError>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, CommandError> {
        self.map_err(|error| CommandError::new(exit, error))
    }
}

impl From<crate::bridge::BridgeError> for CommandError {
    fn from(error: crate::bridge::BridgeError) -> Self {
        use crate::bridge::BridgeError as E;
        use crate::channel::ChannelError;
        match &error {
            E::Rpc(_) | E::Endpoint(_) | E::Moved | E::Deeper | E::Disagree { .. } => CommandError::new(Exit::Unreachable, error)
                .hint("is the node running? start one with `guardrail node` or `anvil`, or give --rpc-url"),
            E::Contract(crate::contract::ContractError::Rpc(_)) => CommandError::new(Exit::Unreachable, error)
                .hint("is the node running? start one with `guardrail node` or `anvil`, or give --rpc-url"),
            E::Contract(_) => CommandError::new(Exit::Usage, error)
                .hint("give the right address as chain.contract in bridge_config.yaml, or deploy with `guardrail deploy`"),
            E::Identity(_) => CommandError::new(Exit::Usage, error).hint(
                "the journal in this state directory belongs to the other chain: go back to it, or use another --state-dir and --channel",
            ),
            E::Channel(ChannelError::BridgeRunning { .. }) | E::AccountBusy { .. } => {
                CommandError::new(Exit::Failed, error).hint("stop the other bridge first")
            }
            E::Live(crate::bridge::live::LiveError::Busy { .. }) => {
                CommandError::new(Exit::Failed, error).hint("stop the other bridge first")
            }
            E::Key(_) | E::Setup(_) | E::JournalVersion { .. } => CommandError::new(Exit::Usage, error),
            E::Journal(_) | E::Live(_) | E::Corrupt(_) | E::Channel(_) | E::Refused(_) | E::Illegal(_) | E::Io { .. } => {
                CommandError::new(Exit::Failed, error)
            }
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        CommandError::new(Exit::Failed, error)
    }
}

impl From<crate::channel::ChannelError> for CommandError {
    fn from(error: crate::channel::ChannelError) -> Self {
        CommandError::new(Exit::Failed, error)
    }
}
