//! What was read of the chain, applied to the journal, and the answers that follow from it.

use super::BridgeError;
use super::alarms::{Alarm, Alarms};
use super::answers::{Answers, Unwritten, refusal_key};
use super::changes;
use super::engine::PAST_MAX;
use super::journal::{ItemKind, JournalRequest, StoredResponse, Writes};
use super::metrics::{self, TransactionOutcome};
use super::planner::Planner;
use super::sides::ChainSide;
use super::step::{ANSWERS_MAX, Outcome};
use super::sync::ChainUpdate;
use crate::crash;
use crate::crypto::abi::ChainStatus;
use crate::schema::{AuthorizationId, LifecycleEvent, RequestState};

/// Consecutive looks that must find a nonce used by somebody else before that is believed.
const MISSING_LOOKS: u32 = 3;

/// Applies what was read of the chain.
pub(super) fn apply(
    writes: &Writes<'_>,
    planner: &mut Planner,
    chain: &mut ChainSide,
    alarms: &Alarms,
    update: ChainUpdate,
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    if let Some(ancestor) = update.rewind {
        tracing::warn!(target: "guardrail::bridge", block = ancestor.number, "the chain rolled back to this block");
        changes::rewind(writes, ancestor.number)?;
        planner.recover(writes)?;
    }
    let applied = changes::apply(writes, &update.logs)?;
    planner.look_again(applied.voted.iter().copied());
    planner.send_alone(applied.skipped.iter().copied());
    for mined in &update.mined {
        crash::point("receipt.before");
        writes.set_mined(mined.nonce, mined.tx_hash, mined.block)?;
        planner.look_again(writes.held_among(mined.nonce)?);
        let kind = writes.kind_of(mined.nonce)?.unwrap_or(ItemKind::Nothing);
        if mined.succeeded {
            metrics::transaction(kind, TransactionOutcome::Mined);
        } else {
            tracing::warn!(target: "guardrail::bridge", nonce = mined.nonce, tx = %mined.tx_hash, "the transaction reverted");
            metrics::transaction(kind, TransactionOutcome::Reverted);
            planner.suspect(&writes.items(mined.nonce)?);
        }
        crash::point("receipt.after");
    }
    lose_nonces(writes, planner, chain, alarms, &update)?;
    if let Some((epoch, contracts)) = update.epoch {
        planner.change_epoch(writes, epoch, contracts)?;
    }
    expire(writes, &update.statuses, outcome)?;
    if writes.blocks(1)?.first() != Some(&update.cursor) {
        writes.advance_cursor(update.cursor)?;
    }
    outcome.moved.extend(applied.moved);
    Ok(())
}

/// Nonces that somebody else used: believed when it is seen again and again.
fn lose_nonces(
    writes: &Writes<'_>,
    planner: &mut Planner,
    chain: &mut ChainSide,
    alarms: &Alarms,
    update: &ChainUpdate,
) -> Result<(), BridgeError> {
    chain.missing.retain(|nonce, _| update.missing.contains(nonce));
    for nonce in &update.missing {
        let looks = chain.missing.entry(*nonce).or_insert(0);
        *looks += 1;
        if *looks >= MISSING_LOOKS {
            let what = format!("nonce {nonce} was used by a transaction that this journal does not hold");
            alarms.raise(Alarm::NonceConflict, what);
            planner.look_again(writes.held_among(*nonce)?);
            let kind = writes.kind_of(*nonce)?.unwrap_or(ItemKind::Nothing);
            writes.set_lost(*nonce)?;
            metrics::transaction(kind, TransactionOutcome::Displaced);
            if let Some(used) = update.used {
                planner.submitter.raise_floor(used);
            }
        }
    }
    Ok(())
}

/// Requests whose time has passed: a confirmed block shows them unsettled.
fn expire(
    writes: &Writes<'_>,
    statuses: &[(AuthorizationId, ChainStatus)],
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    for (id, status) in statuses.iter().take(PAST_MAX) {
        let Some(request) = writes.request_by_authorization(*id)? else { continue };
        let event = match (request.state, status) {
            (RequestState::Pending | RequestState::Approved, ChainStatus::Expired) => LifecycleEvent::ExpiryPassed,
            // It never got there, and a transaction that still does will revert.
            (RequestState::Received, ChainStatus::None) => LifecycleEvent::Refused,
            _ => continue,
        };
        let next = request.state.next(event)?;
        tracing::info!(target: "guardrail::bridge", %id, state = %next, "time has passed");
        if event == LifecycleEvent::Refused {
            writes.set_meta(&refusal_key(*id), "it could not be recorded on chain before it expired")?;
        }
        writes.set_state(*id, next)?;
        outcome.moved.push((*id, request.request_id, next));
    }
    Ok(())
}

/// Writes what can be answered; what lacks something of the chain says what.
pub(super) fn write_answers(writes: &Writes<'_>, answers: &Answers, outcome: &mut Outcome) -> Result<(), BridgeError> {
    let mut keep = |written: Result<StoredResponse, Unwritten>| match written {
        Ok(response) => {
            writes.insert_response(&response)?;
            outcome.answered += 1;
            Ok(true)
        }
        Err(Unwritten::Needs(need)) => {
            outcome.needs.insert(need);
            Ok(false)
        }
        Err(Unwritten::Failed(error)) => Err(error),
    };
    for request in writes.unanswered(ANSWERS_MAX)? {
        if keep(answers.decision(writes, &request))? {
            writes.set_answered(request.authorization_id, true)?;
        }
    }
    for (request_id, claim) in writes.consumes_waiting(ANSWERS_MAX)? {
        let Some(request) = writes.request(&request_id)? else { continue };
        if has_consumption_answer(&request) && keep(answers.consumption(writes, &request, claim))? {
            writes.close_consume(&request_id, claim)?;
        }
    }
    for (request_id, ..) in writes.outcomes_waiting(ANSWERS_MAX)? {
        let Some(request) = writes.request(&request_id)? else { continue };
        if request.state == RequestState::Recorded && keep(answers.record(writes, &request))? {
            writes.close_outcome(&request_id)?;
        }
    }
    Ok(())
}

fn has_consumption_answer(request: &JournalRequest) -> bool {
    request.state == RequestState::Consumed || !request.state.is_open()
}
