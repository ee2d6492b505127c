//! What the chain's events change: decoded, checked against the life of a request, written.
//!
//! A reorganisation is seen as removals, then additions: [`rewind`] takes back what was read
//! above the last common block, and what replaced it is read like any other block.

use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;

use super::BridgeError;
use super::journal::{ChainEvent, ChainVote, ItemEvent, Writes};
use crate::contract::{BatchItemSkipped, VoteSkipped};
use crate::crypto::abi;
use crate::schema::{AuthorizationId, RequestId, RequestState, Sha256Digest};

/// What a run of events did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Requests that are in another state than before.
    pub moved: Vec<(AuthorizationId, RequestId, RequestState)>,
    /// Requests of which a vote was counted.
    pub voted: Vec<AuthorizationId>,
    /// Items that the contract passed over in a batch.
    pub skipped: Vec<AuthorizationId>,
}

/// Whether a log says that approvers, policy, bridges or pause changed.
pub fn is_administration(log: &Log) -> bool {
    let of_requests = [BatchItemSkipped::SIGNATURE_HASH, VoteSkipped::SIGNATURE_HASH];
    log.topic0().is_some_and(|topic| !abi::LIFE_TOPICS.contains(topic) && !of_requests.contains(topic))
}

/// Whether a log ends in an answer, so that the proofs of its block are needed.
pub fn is_answered(log: &Log) -> bool {
    let answered = [
        abi::AuthorizationApproved::SIGNATURE_HASH,
        abi::AuthorizationDenied::SIGNATURE_HASH,
        abi::AuthorizationCancelled::SIGNATURE_HASH,
        abi::AuthorizationConsumed::SIGNATURE_HASH,
        abi::ExecutionRecorded::SIGNATURE_HASH,
    ];
    log.topic0().is_some_and(|topic| answered.contains(topic))
}

/// Applies confirmed logs in their order.
///
/// # Errors
/// [`BridgeError::Corrupt`] for a log that is not the contract's of this version.
pub fn apply(writes: &Writes<'_>, logs: &[Log]) -> Result<Applied, BridgeError> {
    let mut applied = Applied::default();
    for log in logs.iter().filter(|log| !log.removed) {
        apply_one(writes, log, &mut applied)?;
    }
    Ok(applied)
}

fn decode<E: SolEvent>(log: &Log) -> Result<E, BridgeError> {
    E::decode_log_data(log.data()).map_err(|e| BridgeError::Corrupt(format!("{}: {e}", E::SIGNATURE)))
}

fn apply_one(writes: &Writes<'_>, log: &Log, applied: &mut Applied) -> Result<(), BridgeError> {
    let Some(topic) = log.topic0() else { return Ok(()) };
    match *topic {
        abi::AuthorizationRequested::SIGNATURE_HASH => {
            advance(writes, log, ItemEvent::Requested, String::new(), applied)
        }
        abi::VoteCast::SIGNATURE_HASH => {
            let event = decode::<abi::VoteCast>(log)?;
            let (Some(tx_hash), Some(block_number), Ok(note)) =
                (log.transaction_hash, log.block_number, event.note.parse())
            else {
                tracing::error!(target: "guardrail::bridge", approver = %event.approver, "a vote on chain has a note that the protocol does not allow");
                return Ok(());
            };
            let id = AuthorizationId(event.id);
            let vote = ChainVote { approver: event.approver, approve: event.approve, note, tx_hash, block_number };
            writes.insert_chain_vote(id, &vote)?;
            applied.voted.push(id);
            Ok(())
        }
        abi::AuthorizationApproved::SIGNATURE_HASH => {
            let event = decode::<abi::AuthorizationApproved>(log)?;
            advance(writes, log, ItemEvent::Approved, event.approver.to_string(), applied)
        }
        abi::AuthorizationDenied::SIGNATURE_HASH => {
            let event = decode::<abi::AuthorizationDenied>(log)?;
            advance(writes, log, ItemEvent::Denied, event.approver.to_string(), applied)
        }
        abi::AuthorizationCancelled::SIGNATURE_HASH => {
            let event = decode::<abi::AuthorizationCancelled>(log)?;
            advance(writes, log, ItemEvent::Cancelled, format!("{} {}", event.by, event.reason), applied)
        }
        abi::AuthorizationConsumed::SIGNATURE_HASH => {
            let event = decode::<abi::AuthorizationConsumed>(log)?;
            advance(writes, log, ItemEvent::Consumed, Sha256Digest(event.claim).to_string(), applied)
        }
        abi::ExecutionRecorded::SIGNATURE_HASH => advance(writes, log, ItemEvent::Recorded, String::new(), applied),
        BatchItemSkipped::SIGNATURE_HASH => {
            let event = decode::<BatchItemSkipped>(log)?;
            tracing::warn!(target: "guardrail::bridge", id = %event.id, reason = %event.reason, "the contract skipped an item of a batch");
            applied.skipped.push(AuthorizationId(event.id));
            Ok(())
        }
        VoteSkipped::SIGNATURE_HASH => {
            let event = decode::<VoteSkipped>(log)?;
            tracing::debug!(target: "guardrail::bridge", id = %event.id, approver = %event.approver, "this vote was counted before");
            Ok(())
        }
        // Administration: the reader fetches what it came to.
        _ => Ok(()),
    }
}

fn advance(
    writes: &Writes<'_>,
    log: &Log,
    kind: ItemEvent,
    data: String,
    applied: &mut Applied,
) -> Result<(), BridgeError> {
    let Some(id) = log.topics().get(1).map(|topic| AuthorizationId(*topic)) else { return Ok(()) };
    // Another bridge's request is none of ours.
    let Some(request) = writes.request_by_authorization(id)? else { return Ok(()) };
    let next = match request.state.next(kind.lifecycle()) {
        Ok(next) => next,
        Err(illegal) => {
            tracing::error!(target: "guardrail::bridge", %id, %illegal, "an event of the chain contradicts the journal");
            return Ok(());
        }
    };
    let (Some(tx_hash), Some(block_hash), Some(block_number)) =
        (log.transaction_hash, log.block_hash, log.block_number)
    else {
        return Err(BridgeError::Corrupt("a confirmed log without its block".to_owned()));
    };
    writes.set_event(id, kind, &ChainEvent { tx_hash, block_hash, block_number, data })?;
    if next != request.state {
        tracing::info!(target: "guardrail::bridge", %id, state = %next, block = block_number, tx = %tx_hash, "on chain");
        writes.set_state(id, next)?;
        applied.moved.push((id, request.request_id, next));
    }
    Ok(())
}

/// Takes back every block above `number`: events, counted votes, mined nonces, and the answers
/// that rest on them. Each request becomes what its remaining events make of it.
///
/// # Errors
/// [`BridgeError`].
pub fn rewind(writes: &Writes<'_>, number: u64) -> Result<Vec<AuthorizationId>, BridgeError> {
    let touched = writes.ids_with_events_above(number)?;
    let mut before = Vec::with_capacity(touched.len());
    for id in &touched {
        before.push(writes.event_kinds(*id)?);
    }
    writes.forget_above(number)?;
    for (id, before) in touched.iter().zip(before) {
        let Some(request) = writes.request_by_authorization(*id)? else { continue };
        let left = writes.event_kinds(*id)?;
        // What ended without an event, by the clock or by refusal, stays ended.
        if matches!(request.state, RequestState::Expired | RequestState::Refused) {
            continue;
        }
        let mut state = RequestState::Received;
        for kind in &left {
            state = state.next(kind.lifecycle())?;
        }
        tracing::warn!(target: "guardrail::bridge", %id, was = %request.state, state = %state, "the chain took events back");
        writes.set_state(*id, state)?;
        for kind in before.into_iter().filter(|kind| !left.contains(kind)) {
            writes.reopen_answer(&request, kind)?;
        }
    }
    Ok(touched)
}
