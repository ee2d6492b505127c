//! The contract's events, as an auditor reads them.

use alloy::primitives::{Address, B256, LogData};
use alloy::sol_types::SolEvent;
use serde_json::{Value, json};

use super::AuditError;
use crate::crypto::abi;
use crate::schema::{AuthorizationId, Outcome};

/// A log of the contract, and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLog {
    pub block: u64,
    /// Unix seconds.
    pub block_time_s: u64,
    /// Within the block.
    pub log_index: u64,
    pub transaction: B256,
    pub data: LogData,
}

/// An event of a request's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub block: u64,
    /// Unix seconds.
    pub block_time_s: u64,
    pub log_index: u64,
    pub transaction: B256,
    pub id: AuthorizationId,
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    Requested { request_id: String, tool: String, requester: Address, risk_bps: u16, expires_at_s: u64, epoch: u64 },
    Vote { approver: Address, approve: bool, note: String },
    Approved { approver: Address },
    Denied { approver: Address, reason: String },
    Cancelled { by: Address, reason: String },
    Consumed { executor: Address, claim: B256 },
    Recorded { outcome: u8, outcome_hash: B256 },
}

impl AuditLog {
    /// Decodes the log; `None` for administration, which has no authorization id.
    ///
    /// # Errors
    /// [`AuditError::Decode`].
    pub fn decode(&self) -> Result<Option<AuditEvent>, AuditError> {
        let (block, log_index) = (self.block, self.log_index);
        let decoded = decode(&self.data).map_err(|source| AuditError::Decode { block, log_index, source })?;
        Ok(decoded.map(|(id, kind)| AuditEvent {
            block,
            block_time_s: self.block_time_s,
            log_index,
            transaction: self.transaction,
            id: AuthorizationId(id),
            kind,
        }))
    }
}

fn decode(data: &LogData) -> Result<Option<(B256, EventKind)>, alloy::sol_types::Error> {
    let Some(topic) = data.topics().first() else { return Ok(None) };
    Ok(Some(match *topic {
        abi::AuthorizationRequested::SIGNATURE_HASH => {
            let e = abi::AuthorizationRequested::decode_log_data(data)?;
            let kind = EventKind::Requested {
                request_id: e.requestId,
                tool: e.toolName,
                requester: e.requester,
                risk_bps: e.riskBps,
                expires_at_s: e.expiresAt.to(),
                epoch: e.epoch,
            };
            (e.id, kind)
        }
        abi::VoteCast::SIGNATURE_HASH => {
            let e = abi::VoteCast::decode_log_data(data)?;
            (e.id, EventKind::Vote { approver: e.approver, approve: e.approve, note: e.note })
        }
        abi::AuthorizationApproved::SIGNATURE_HASH => {
            let e = abi::AuthorizationApproved::decode_log_data(data)?;
            (e.id, EventKind::Approved { approver: e.approver })
        }
        abi::AuthorizationDenied::SIGNATURE_HASH => {
            let e = abi::AuthorizationDenied::decode_log_data(data)?;
            (e.id, EventKind::Denied { approver: e.approver, reason: e.reason })
        }
        abi::AuthorizationCancelled::SIGNATURE_HASH => {
            let e = abi::AuthorizationCancelled::decode_log_data(data)?;
            (e.id, EventKind::Cancelled { by: e.by, reason: e.reason })
        }
        abi::AuthorizationConsumed::SIGNATURE_HASH => {
            let e = abi::AuthorizationConsumed::decode_log_data(data)?;
            (e.id, EventKind::Consumed { executor: e.executor, claim: e.claim })
        }
        abi::ExecutionRecorded::SIGNATURE_HASH => {
            let e = abi::ExecutionRecorded::decode_log_data(data)?;
            (e.id, EventKind::Recorded { outcome: e.outcome, outcome_hash: e.outcomeHash })
        }
        _ => return Ok(None),
    }))
}

impl EventKind {
    /// The event's name in the contract.
    pub const fn name(&self) -> &'static str {
        match self {
            EventKind::Requested { .. } => "AuthorizationRequested",
            EventKind::Vote { .. } => "VoteCast",
            EventKind::Approved { .. } => "AuthorizationApproved",
            EventKind::Denied { .. } => "AuthorizationDenied",
            EventKind::Cancelled { .. } => "AuthorizationCancelled",
            EventKind::Consumed { .. } => "AuthorizationConsumed",
            EventKind::Recorded { .. } => "ExecutionRecorded",
        }
    }

    /// Whose act it was, as far as the event says.
    pub const fn account(&self) -> Option<Address> {
        match self {
            EventKind::Requested { requester: account, .. }
            | EventKind::Vote { approver: account, .. }
            | EventKind::Approved { approver: account }
            | EventKind::Denied { approver: account, .. }
            | EventKind::Cancelled { by: account, .. }
            | EventKind::Consumed { executor: account, .. } => Some(*account),
            EventKind::Recorded { .. } => None,
        }
    }

    /// What the event says beside the id.
    pub fn detail(&self) -> Value {
        let address = |account: &Address| account.to_checksum(None);
        match self {
            EventKind::Requested { request_id, tool, requester, risk_bps, expires_at_s, epoch } => json!({
                "request_id": request_id, "tool": tool, "risk_bps": risk_bps, "expires_at": expires_at_s,
                "epoch": epoch, "requester": address(requester),
            }),
            EventKind::Vote { approver, approve, note } => {
                json!({ "approver": address(approver), "approve": approve, "note": note })
            }
            EventKind::Approved { approver } => json!({ "approver": address(approver) }),
            EventKind::Denied { approver, reason } => json!({ "approver": address(approver), "reason": reason }),
            EventKind::Cancelled { by, reason } => json!({ "by": address(by), "reason": reason }),
            EventKind::Consumed { executor, claim } => json!({ "executor": address(executor), "claim": claim }),
            EventKind::Recorded { outcome, outcome_hash } => {
                let outcome = Outcome::from_code(*outcome).map_or_else(|| outcome.to_string(), |o| o.to_string());
                json!({ "outcome": outcome, "outcome_hash": outcome_hash })
            }
        }
    }
}
