//! What happens in a run, as it happens. The graph prints nothing; whoever runs it does.
//!
//! An event comes right after what it tells of is durable, so what is on screen is on disk.

use alloy::primitives::{Address, B256};
use serde::Serialize;
use serde_json::{Map, Value};

use super::end::RunEndReason;
use super::state::{CheckpointId, RefusalKind};
use super::topology::{Node, Target};
use crate::risk::RiskAssessment;
use crate::schema::{AuthorizationId, Outcome, RequestId, Sha256Digest, Timestamp};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AgentEvent {
    /// Who plans, in its own words.
    Started {
        checkpoint: CheckpointId,
        planner: String,
    },
    Resumed {
        checkpoint: CheckpointId,
        next: Target,
        planner: String,
    },
    NodeStarted {
        node: Node,
    },
    CheckpointSaved {
        checkpoint: CheckpointId,
        next: Target,
    },
    Thought {
        text: String,
    },
    ActionChosen {
        tool_name: String,
        parameters: Map<String, Value>,
    },
    RiskAssessed {
        tool_name: String,
        assessment: RiskAssessment,
    },
    OperatorAnswered {
        tool_name: String,
        granted: bool,
    },
    /// The action is refused without asking anyone.
    ActionRefused {
        tool_name: String,
        reason: String,
    },
    ToolStarted {
        tool_name: String,
    },
    ToolFinished {
        tool_name: String,
        ok: bool,
        value: Value,
    },
    /// The request is built and in a checkpoint; it is published next.
    AuthorizationRequested {
        request_id: RequestId,
        tool_name: String,
        risk_score: f64,
        action_hash: Sha256Digest,
        resumes_from: CheckpointId,
    },
    RequestPublished {
        request_id: RequestId,
    },
    /// The process waits for an answer, at most until then. For a decision the graph is
    /// interrupted, and the process may leave or die.
    Waiting {
        request_id: RequestId,
        what: WaitingFor,
        until: Timestamp,
    },
    /// A response failed verification and lies in quarantine; the wait goes on.
    ResponseRejected {
        request_id: RequestId,
        step: u8,
        reason: String,
    },
    DecisionVerified {
        request_id: RequestId,
        authorization_id: AuthorizationId,
        approved: bool,
        /// Why, where it is a denial.
        refusal: Option<(RefusalKind, String)>,
        conditions: Vec<String>,
        approvers: Vec<Address>,
        /// Zero where a denial has nothing on chain.
        tx_hash: B256,
        block_number: u64,
    },
    /// No usable decision came.
    AuthorizationEnded {
        request_id: RequestId,
        kind: RefusalKind,
        reason: String,
    },
    ClaimDrawn {
        request_id: RequestId,
        claim: Sha256Digest,
    },
    ConsumeAsked {
        request_id: RequestId,
        claim: Sha256Digest,
    },
    Consumed {
        request_id: RequestId,
        authorization_id: AuthorizationId,
        tx_hash: B256,
        block_number: u64,
        /// What became of the check against the chain itself.
        chain: String,
    },
    IntentWritten {
        request_id: RequestId,
    },
    CriticalStarted {
        request_id: RequestId,
        tool_name: String,
    },
    OutcomeWritten {
        request_id: RequestId,
        outcome: Outcome,
        outcome_hash: Sha256Digest,
    },
    OutcomeRecorded {
        request_id: RequestId,
        tx_hash: B256,
        block_number: u64,
    },
    /// The outcome is on disk and published; the chain's record of it was not seen in time.
    OutcomeUnconfirmed {
        request_id: RequestId,
        reason: String,
    },
    ErrorHandled {
        node: Node,
        detail: String,
        errors_in_a_row: u32,
    },
    Finished {
        checkpoint: CheckpointId,
        reason: RunEndReason,
    },
}

/// Which answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    Decision,
    Consumption,
    Record,
}

/// Takes events, one at a time and in order.
pub trait EventSink: Send + Sync {
    fn emit(&self, event: &AgentEvent);
}

impl<F: Fn(&AgentEvent) + Send + Sync> EventSink for F {
    fn emit(&self, event: &AgentEvent) {
        self(event);
    }
}
