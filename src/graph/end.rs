//! How a run ends, and what its process says to whoever started it.

use serde::Serialize;

use super::checkpoint::StoreError;
use super::config::AgentConfigError;
use super::records::RecordError;
use super::state::{AgentState, Authorization, CheckpointId, EndReason, RefusalKind, ThreadId};
use super::topology::GraphError;
use crate::channel::ChannelError;
use crate::schema::{Outcome, Refusal};

/// Why a run cannot begin or go on. Nothing is lost: the last checkpoint stands.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the graph is not sound: {0}")]
    Graph(#[from] GraphError),
    #[error("agent_config.yaml: {0}")]
    Config(#[from] AgentConfigError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Records(#[from] RecordError),
    #[error("the channel failed: {0}")]
    Channel(#[from] ChannelError),
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[source] std::io::Error),
    /// What a checkpoint or a record holds breaks a rule of the protocol.
    #[error("{what} cannot be used: {source}")]
    Message {
        what: &'static str,
        #[source]
        source: Refusal,
    },
    #[error("thread {} is in the middle of a run; go on with: guardrail run --resume {checkpoint}", checkpoint.thread)]
    Unfinished { checkpoint: CheckpointId },
    #[error("no answer could be verified: {reason}")]
    Verifier { reason: String, untrusted: bool },
    #[error("checkpoint {id} is before {node}, and its state lacks {what}")]
    Incomplete { id: String, node: &'static str, what: &'static str },
}

/// Why a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum RunEndReason {
    /// The graph reached its end.
    Ended { why: EndReason },
    /// It was asked to leave at the interrupt, and a request waits for its decision.
    Interrupted,
    /// It was asked to stop.
    Stopped,
    /// The whole run took too long.
    RunTimeout { limit_s: u64 },
    /// Nobody consumed an approved authorization in time. Whether it was consumed since, a
    /// resumed run finds out.
    BridgeUnreachable { reason: String },
    /// Answers about the consumption came, and none of them verified.
    Unverified { reason: String },
    /// No answer could have been checked, so nothing was asked: no anchors, no endpoint, another chain.
    NoVerifier { reason: String, untrusted: bool },
}

/// The end of a run and the checkpoint to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    pub thread: ThreadId,
    pub checkpoint: CheckpointId,
    pub reason: RunEndReason,
    pub state: AgentState,
}

/// Exit codes, as the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Done = 0,
    Failed = 1,
    Denied = 3,
    Expired = 4,
    VerificationFailed = 5,
    Unreachable = 6,
    Unknown = 7,
}

impl RunEnd {
    /// The planner's last words, if it came to any.
    pub fn answer(&self) -> Option<&str> {
        match &self.reason {
            RunEndReason::Ended { why: EndReason::Finished { answer } } => Some(answer),
            RunEndReason::Ended { .. }
            | RunEndReason::Interrupted
            | RunEndReason::Stopped
            | RunEndReason::RunTimeout { .. }
            | RunEndReason::BridgeUnreachable { .. }
            | RunEndReason::Unverified { .. }
            | RunEndReason::NoVerifier { .. } => None,
        }
    }

    /// Whether there is something left that `--resume` would do.
    pub fn can_go_on(&self) -> bool {
        match &self.reason {
            RunEndReason::Ended { why } => why.can_go_on(),
            RunEndReason::Interrupted
            | RunEndReason::Stopped
            | RunEndReason::RunTimeout { .. }
            | RunEndReason::BridgeUnreachable { .. }
            | RunEndReason::Unverified { .. }
            | RunEndReason::NoVerifier { .. } => true,
        }
    }

    /// A planner that finishes after a refusal has not done what it was asked to: the last
    /// request for authorization of the run decides.
    pub fn exit_code(&self) -> ExitCode {
        match &self.reason {
            RunEndReason::Ended { why: EndReason::Finished { .. } } => exit_code_of(self.state.authorization.as_ref()),
            RunEndReason::Ended { why: EndReason::IterationLimit { .. } | EndReason::ErrorLimit { .. } } => {
                ExitCode::Failed
            }
            RunEndReason::Ended { why: EndReason::OutcomeUnknown { .. } } => ExitCode::Unknown,
            RunEndReason::Interrupted => ExitCode::Done,
            RunEndReason::Stopped => ExitCode::Failed,
            RunEndReason::RunTimeout { .. } => ExitCode::Expired,
            RunEndReason::BridgeUnreachable { .. } | RunEndReason::NoVerifier { untrusted: false, .. } => {
                ExitCode::Unreachable
            }
            RunEndReason::NoVerifier { untrusted: true, .. } => ExitCode::VerificationFailed,
            RunEndReason::Unverified { .. } => ExitCode::VerificationFailed,
        }
    }
}

impl EndReason {
    /// Whether a resumed run begins anew after it, with new limits.
    pub fn can_go_on(&self) -> bool {
        match self {
            EndReason::IterationLimit { .. } | EndReason::ErrorLimit { .. } => true,
            EndReason::Finished { .. } | EndReason::OutcomeUnknown { .. } => false,
        }
    }
}

fn exit_code_of(authorization: Option<&Authorization>) -> ExitCode {
    match authorization {
        None => ExitCode::Done,
        Some(Authorization::Approved { outcome, .. }) => match outcome {
            Some(Outcome::Succeeded) | None => ExitCode::Done,
            Some(Outcome::Failed) => ExitCode::Failed,
            Some(Outcome::Unknown) => ExitCode::Unknown,
        },
        Some(Authorization::Refused { kind, reason: _ }) => match kind {
            RefusalKind::Denied | RefusalKind::Cancelled | RefusalKind::RefusedByBridge => ExitCode::Denied,
            RefusalKind::Expired | RefusalKind::TimedOut => ExitCode::Expired,
            RefusalKind::VerificationFailed => ExitCode::VerificationFailed,
            RefusalKind::BridgeUnreachable => ExitCode::Unreachable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::AuthorizationId;

    fn end(reason: RunEndReason, authorization: Option<Authorization>) -> RunEnd {
        let thread: ThreadId = "t".parse().unwrap();
        let checkpoint = CheckpointId { thread: thread.clone(), number: 1 };
        let state = AgentState { authorization, ..AgentState::new(thread.clone()) };
        RunEnd { thread, checkpoint, reason, state }
    }

    #[test]
    fn every_end_has_its_exit_code() {
        let finished = || RunEndReason::Ended { why: EndReason::Finished { answer: "done".to_owned() } };
        let refused = |kind| Some(Authorization::Refused { kind, reason: "x".to_owned() });
        let with_outcome = |outcome| {
            let authorization_id = AuthorizationId::ZERO;
            Some(Authorization::Approved { authorization_id, conditions: Vec::new(), outcome })
        };
        let approved = || with_outcome(None);
        let request_id = "0193a1b2-0000-7000-8000-000000000001".parse().unwrap();
        let limit = RunEndReason::Ended { why: EndReason::IterationLimit { iterations_max: 20 } };
        let errors = RunEndReason::Ended { why: EndReason::ErrorLimit { last: "x".to_owned() } };
        let unknown = RunEndReason::Ended { why: EndReason::OutcomeUnknown { request_id } };
        for (reason, authorization, code, goes_on) in [
            (finished(), None, 0, false),
            (finished(), approved(), 0, false),
            (finished(), with_outcome(Some(Outcome::Succeeded)), 0, false),
            (finished(), with_outcome(Some(Outcome::Failed)), 1, false),
            (finished(), with_outcome(Some(Outcome::Unknown)), 7, false),
            (finished(), refused(RefusalKind::Denied), 3, false),
            (finished(), refused(RefusalKind::Cancelled), 3, false),
            (finished(), refused(RefusalKind::RefusedByBridge), 3, false),
            (finished(), refused(RefusalKind::Expired), 4, false),
            (finished(), refused(RefusalKind::TimedOut), 4, false),
            (finished(), refused(RefusalKind::VerificationFailed), 5, false),
            (finished(), refused(RefusalKind::BridgeUnreachable), 6, false),
            (limit, None, 1, true),
            (errors, None, 1, true),
            (unknown, approved(), 7, false),
            (RunEndReason::Interrupted, None, 0, true),
            (RunEndReason::Stopped, None, 1, true),
            (RunEndReason::RunTimeout { limit_s: 1 }, None, 4, true),
            (RunEndReason::BridgeUnreachable { reason: "x".to_owned() }, approved(), 6, true),
            (RunEndReason::Unverified { reason: "x".to_owned() }, approved(), 5, true),
            (RunEndReason::NoVerifier { reason: "x".to_owned(), untrusted: false }, None, 6, true),
            (RunEndReason::NoVerifier { reason: "x".to_owned(), untrusted: true }, None, 5, true),
        ] {
            let end = end(reason, authorization);
            assert_eq!((end.exit_code() as u8, end.can_go_on()), (code, goes_on), "{:?}", end.reason);
        }
    }
}
