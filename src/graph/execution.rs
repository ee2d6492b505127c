//! `critical_execution`: consume, act, record, in the order of PROTOCOL section 8.
//!
//! [`super::critical::next_step`] decides; here each step is carried out, one side effect at
//! a time, and what it leaves on disk is what the next decision is made from.

use alloy::primitives::B256;
use serde_json::{Map, Value, json};

use super::agent::{Agent, Run, Step};
use super::authorization::{after, expiry_of, instant_of, parse_response, quarantine_reason};
use super::consumption::Awaited;
use super::critical::{Claim, Consumption, Facts, Intent, NextStep, OutcomeOnDisk, next_step};
use super::end::AgentError;
use super::events::{AgentEvent, WaitingFor};
use super::nodes::{chain_text, unusable};
use super::records::{AskedRecord, ClaimRecord, Evidence, IntentRecord, OutcomeRecord};
use super::state::{ActionResult, AgentState, Authorization, EndReason, RefusalKind};
use super::topology::Node;
use crate::channel::{ChannelError, Incoming, ResponseKind, Waited};
use crate::crypto::{claim_of, outcome_hash, random};
use crate::evidence::{Clock, VerifiedApproval, VerifiedConsumption, VerifiedDecision, VerifyFailure};
use crate::schema::message::{ClaimSecret, ConsumeKind, OutcomeKind};
use crate::schema::{
    AuthRequest, AuthorizationId, ConsumeMessage, Decision, Outcome, OutcomeMessage, RequestId, Timestamp, json,
};
use crate::tools::{Permit, ToolError};

/// What this process itself has done for the authorization; gone when the node ends.
#[derive(Default)]
pub(super) struct Own {
    pub approval: Option<VerifiedApproval>,
    pub asked: bool,
    pub consumption: Option<VerifiedConsumption>,
    pub refusal: Option<(RefusalKind, String)>,
    intent: bool,
}

/// One authorization on its way.
pub(super) struct Execution<'a> {
    pub run: &'a Run<'a>,
    pub request: AuthRequest,
    pub id: AuthorizationId,
    conditions: Vec<String>,
    pub own: Own,
}

impl Execution<'_> {
    pub(super) fn request_id(&self) -> &RequestId {
        &self.request.request_id
    }
}

impl Agent {
    /// Carries an approved authorization to its end, from wherever it is.
    pub(super) async fn critical_execution(&self, run: &Run<'_>, state: &mut AgentState) -> Result<Step, AgentError> {
        let request = self.request_of(state, Node::CriticalExecution)?;
        let Some(Authorization::Approved { authorization_id, conditions, outcome: _ }) = state.authorization.clone()
        else {
            return Err(AgentError::Incomplete {
                id: state.thread.to_string(),
                node: Node::CriticalExecution.as_str(),
                what: "the approval",
            });
        };
        let mut execution = Execution { run, request, id: authorization_id, conditions, own: Own::default() };
        loop {
            let facts = self.facts(&execution)?;
            match next_step(facts) {
                NextStep::DrawClaim => self.draw_claim(&execution)?,
                NextStep::MarkAsked => {
                    if let Some(refusal) = self.mark_asked(&mut execution).await? {
                        self.end_refused(state, refusal.0, refusal.1);
                        return Ok(Step::Done);
                    }
                }
                NextStep::AwaitConsumption => match self.await_consumption(&mut execution, state).await? {
                    Awaited::Settled => {}
                    Awaited::Leave(reason) => return Ok(Step::Leave(reason)),
                },
                NextStep::WriteIntent => self.write_intent(&mut execution)?,
                NextStep::Run => self.run_permitted(&mut execution).await?,
                NextStep::WriteUnknown => {
                    let why = "the process that consumed this authorization ended before it wrote an outcome";
                    self.write_outcome(&execution, Outcome::Unknown, json!({ "unknown": why }), None)?;
                }
                NextStep::PublishOutcome => {
                    self.publish_outcome(&execution).await?;
                    return self.end_executed(&execution, state);
                }
                NextStep::Done => return self.end_executed(&execution, state),
                NextStep::NotAuthorized => {
                    let (kind, reason) = self.refused_consumption(&execution).await?;
                    self.end_refused(state, kind, reason);
                    return Ok(Step::Done);
                }
                NextStep::Unrecordable => {
                    self.end_unknown(&execution, state, "the claim's secret is gone, so no outcome can be recorded");
                    return Ok(Step::Done);
                }
            }
        }
    }

    /// Reads what is known, from disk and from what this process did.
    fn facts(&self, execution: &Execution<'_>) -> Result<Facts, AgentError> {
        let (records, id, own) = (&self.records, execution.request_id(), &execution.own);
        let claim = match (records.claim(id)?, records.asked(id)?) {
            (Some(_), Some(_)) if own.asked => Claim::AskedNow,
            (Some(_), Some(_)) => Claim::AskedBefore,
            (Some(_), None) => Claim::Drawn,
            (None, _) => Claim::None,
        };
        let consumption = match records.evidence(id, Evidence::Consumed)? {
            Some(bytes) => match parse_response(&bytes).map(|response| response.decision) {
                Ok(Decision::Denied) => Consumption::Refused,
                // Stored evidence was verified before it was stored; what does not parse is not a refusal.
                Ok(Decision::Approved | Decision::Consumed | Decision::Recorded) | Err(_) => Consumption::Ours,
            },
            None => Consumption::Unproven,
        };
        let intent = match records.intent(id)? {
            Some(_) if own.intent => Intent::Now,
            Some(_) => Intent::Before,
            None => Intent::None,
        };
        let outcome = match (records.outcome(id)?, records.evidence(id, Evidence::Recorded)?) {
            (Some(_), Some(_)) => OutcomeOnDisk::Recorded,
            (Some(_), None) => OutcomeOnDisk::Written,
            (None, _) => OutcomeOnDisk::None,
        };
        Ok(Facts { claim, consumption, intent, outcome })
    }

    fn draw_claim(&self, execution: &Execution<'_>) -> Result<(), AgentError> {
        let claim_secret = ClaimSecret(B256::from(random::bytes::<32>().map_err(AgentError::Random)?));
        let claim = claim_of(&claim_secret);
        let message = ConsumeMessage {
            kind: ConsumeKind::Consume,
            request_id: execution.request_id().clone(),
            authorization_id: execution.id,
            action_hash: execution.request.action_hash,
            claim,
            timestamp: Timestamp::now(),
        };
        self.records.write_claim(&ClaimRecord { claim_secret, message })?;
        self.emit(AgentEvent::ClaimDrawn { request_id: execution.request_id().clone(), claim });
        Ok(())
    }

    /// Notes that the consumption is being asked for, if the approval still holds; a refusal otherwise.
    async fn mark_asked(&self, execution: &mut Execution<'_>) -> Result<Option<(RefusalKind, String)>, AgentError> {
        let now = Timestamp::now();
        let approval = match self.approval(execution, Clock::Now(now)).await? {
            Ok(approval) => approval,
            Err(failure) => {
                let expired = self.approval(execution, Clock::Audit).await?.is_ok_and(|late| expiry_of(&late) <= now);
                let kind = if expired { RefusalKind::Expired } else { RefusalKind::VerificationFailed };
                return Ok(Some((kind, failure.to_string())));
            }
        };
        let claim = self.claim_record(execution)?.message.claim;
        let id = execution.request_id();
        self.records.write_asked(id, &AskedRecord { claim, at: now })?;
        self.emit(AgentEvent::ConsumeAsked { request_id: id.clone(), claim });
        execution.own.asked = true;
        execution.own.approval = Some(approval);
        Ok(None)
    }

    /// The stored approval, verified again: a checkpoint's word is not enough to run on.
    pub(super) async fn approval(
        &self,
        execution: &Execution<'_>,
        clock: Clock,
    ) -> Result<Result<VerifiedApproval, VerifyFailure>, AgentError> {
        let lacking = || AgentError::Incomplete {
            id: execution.request_id().to_string(),
            node: Node::CriticalExecution.as_str(),
            what: "the stored approval",
        };
        let bytes = self.records.evidence(execution.request_id(), Evidence::Response)?.ok_or_else(lacking)?;
        let verifier = self.verifier()?;
        let verified = match parse_response(&bytes) {
            Ok(response) => verifier.verify_decision_asking(&execution.request, &response, clock).await,
            Err(failure) => Err(failure),
        };
        Ok(match verified {
            Ok(VerifiedDecision::Approved(approval)) => Ok(*approval),
            Ok(VerifiedDecision::Denied(denial)) => Err(VerifyFailure::new(1, denial.reason)),
            Err(failure) => Err(failure),
        })
    }

    fn write_intent(&self, execution: &mut Execution<'_>) -> Result<(), AgentError> {
        let request_id = execution.request_id().clone();
        self.records.write_intent(&IntentRecord {
            request_id: request_id.clone(),
            authorization_id: execution.id,
            claim: self.claim_record(execution)?.message.claim,
            tool_name: execution.request.tool_name.clone(),
            action_hash: execution.request.action_hash,
            at: Timestamp::now(),
        })?;
        execution.own.intent = true;
        self.emit(AgentEvent::IntentWritten { request_id });
        Ok(())
    }

    /// Runs the tool, once: the permit and the leave to run are both gone before it begins.
    async fn run_permitted(&self, execution: &mut Execution<'_>) -> Result<(), AgentError> {
        execution.own.intent = false;
        let Some(consumption) = execution.own.consumption.take() else {
            return Err(AgentError::Incomplete {
                id: execution.request_id().to_string(),
                node: Node::CriticalExecution.as_str(),
                what: "the verified consumption",
            });
        };
        self.emit(AgentEvent::CriticalStarted {
            request_id: execution.request_id().clone(),
            tool_name: execution.request.tool_name.to_string(),
        });
        let permit = Permit::new(consumption);
        let ran = self.parts.registry.run_permitted(permit, &self.parts.workspace, Timestamp::now()).await;
        match ran {
            Ok(value) => self.write_outcome(execution, Outcome::Succeeded, json!({ "value": value }), None),
            Err(error) => {
                let result = json!({ "error": chain_text(&error) });
                self.write_outcome(execution, outcome_of(&error), result, None)
            }
        }
    }

    pub(super) fn write_outcome(
        &self,
        execution: &Execution<'_>,
        outcome: Outcome,
        result: Value,
        not_run: Option<RefusalKind>,
    ) -> Result<(), AgentError> {
        let record = self.claim_record(execution)?;
        let mut result = representable(result);
        if let Value::Object(map) = &mut result {
            map.insert("conditions".to_owned(), json!(execution.conditions));
        }
        let outcome_hash = outcome_hash(execution.id, record.message.claim, outcome, &result)
            .map_err(unusable("the tool's result"))?;
        let request_id = execution.request_id().clone();
        let message = OutcomeMessage {
            kind: OutcomeKind::Outcome,
            request_id: request_id.clone(),
            authorization_id: execution.id,
            claim_secret: record.claim_secret,
            outcome,
            outcome_hash,
            timestamp: Timestamp::now(),
        };
        self.records.write_outcome(&OutcomeRecord { message, result, not_run })?;
        self.emit(AgentEvent::OutcomeWritten { request_id, outcome, outcome_hash });
        Ok(())
    }

    /// Publishes the outcome and waits a while for the chain's record of it. The outcome is on
    /// disk and in the channel; a record that is late changes nothing here.
    async fn publish_outcome(&self, execution: &Execution<'_>) -> Result<(), AgentError> {
        let id = execution.request_id();
        let record = self.outcome_record(execution)?;
        let until = after(Timestamp::now(), self.parts.config.record_timeout());
        let deadline = instant_of(until);
        let unconfirmed = |reason: String| {
            self.emit(AgentEvent::OutcomeUnconfirmed { request_id: id.clone(), reason });
            Ok(())
        };
        let channel = &self.parts.channel;
        let told = Incoming::Outcome(id.clone());
        loop {
            if !channel.is_taken(&told) && channel.read_response(id, ResponseKind::Recorded)?.is_none() {
                match channel.publish_outcome(&record.message) {
                    Ok(()) => {}
                    // Somebody else's file under our name; the bridge refuses it without the secret.
                    Err(error @ ChannelError::Different { .. }) => return unconfirmed(error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
            self.emit(AgentEvent::Waiting { request_id: id.clone(), what: WaitingFor::Record, until });
            let waited = self.wait_with_grace(execution.run.stop, id, ResponseKind::Recorded, deadline).await?;
            let bytes = match waited {
                Waited::Found(bytes) => bytes,
                Waited::TimedOut => return unconfirmed("no record came in time".to_owned()),
                Waited::Stopped => return unconfirmed("the run was asked to stop".to_owned()),
            };
            let message = &record.message;
            let verifier = self.verifier()?;
            let verified = parse_response(&bytes).and_then(|response| {
                let (outcome, hash) = (message.outcome, message.outcome_hash);
                verifier.verify_recorded(&execution.request, execution.id, outcome, hash, &response).map(|()| response)
            });
            match verified {
                Ok(response) => {
                    self.records.store_evidence(id, Evidence::Recorded, &bytes)?;
                    self.parts.channel.remove_response(id, ResponseKind::Recorded)?;
                    self.emit(AgentEvent::OutcomeRecorded {
                        request_id: id.clone(),
                        tx_hash: response.blockchain_tx_hash,
                        block_number: response.block_number,
                    });
                    return Ok(());
                }
                Err(failure) => {
                    let reason = quarantine_reason(&failure);
                    self.parts.channel.quarantine_response(id, ResponseKind::Recorded, &reason)?;
                }
            }
        }
    }

    /// Tells the planner what came of it, from the record on disk.
    fn end_executed(&self, execution: &Execution<'_>, state: &mut AgentState) -> Result<Step, AgentError> {
        let OutcomeRecord { message, result, not_run } = self.outcome_record(execution)?;
        if message.outcome == Outcome::Unknown {
            let why = "it was consumed by a process that ended before it wrote an outcome; look at the target yourself";
            self.end_unknown(execution, state, why);
            return Ok(Step::Done);
        }
        let value = told_to_planner(message.outcome, &result);
        let ok = message.outcome == Outcome::Succeeded;
        self.end_tool(state, ActionResult { ok, denied: false, outcome: Some(message.outcome), value });
        self.note_outcome(state, message.outcome);
        if let Some(kind) = not_run {
            let reason = "approved and consumed, and not run".to_owned();
            state.authorization = Some(Authorization::Refused { kind, reason });
        }
        Ok(Step::Done)
    }

    fn end_unknown(&self, execution: &Execution<'_>, state: &mut AgentState, why: &str) {
        let value = json!({ "status": "executed", "outcome": Outcome::Unknown, "detail": why });
        self.end_tool(state, ActionResult { ok: false, denied: false, outcome: Some(Outcome::Unknown), value });
        self.note_outcome(state, Outcome::Unknown);
        state.end = Some(EndReason::OutcomeUnknown { request_id: execution.request_id().clone() });
    }

    fn note_outcome(&self, state: &mut AgentState, known: Outcome) {
        if let Some(Authorization::Approved { outcome, .. }) = &mut state.authorization {
            *outcome = Some(known);
        }
    }

    pub(super) fn claim_record(&self, execution: &Execution<'_>) -> Result<ClaimRecord, AgentError> {
        self.records.claim(execution.request_id())?.ok_or_else(|| AgentError::Incomplete {
            id: execution.request_id().to_string(),
            node: Node::CriticalExecution.as_str(),
            what: "the claim",
        })
    }

    fn outcome_record(&self, execution: &Execution<'_>) -> Result<OutcomeRecord, AgentError> {
        self.records.outcome(execution.request_id())?.ok_or_else(|| AgentError::Incomplete {
            id: execution.request_id().to_string(),
            node: Node::CriticalExecution.as_str(),
            what: "the outcome",
        })
    }
}

/// A result that breaks a rule for messages (U+0000, an integer beyond 2^53-1, deep nesting) stands as the text
/// that it is, so that whoever reads the evidence computes the same hash.
fn representable(result: Value) -> Value {
    let fits = json::canonical(&result).is_ok_and(|bytes| {
        json::parse_strict_within(&bytes, json::NESTING_MAX)
            .is_ok_and(|parsed| json::canonical(&parsed).ok() == Some(bytes))
    });
    if fits { result } else { json!({ "text": result.to_string() }) }
}

/// A tool that was cut off in the middle leaves nobody knowing; any other error is a failure.
fn outcome_of(error: &ToolError) -> Outcome {
    if matches!(error, ToolError::TimedOut { .. } | ToolError::Interrupted { .. }) {
        Outcome::Unknown
    } else {
        Outcome::Failed
    }
}

/// The tool's own result, with what became of its authorization beside it.
fn told_to_planner(outcome: Outcome, result: &Value) -> Value {
    let mut told = match result.get("value") {
        Some(Value::Object(fields)) => fields.clone(),
        Some(other) => Map::from_iter([("value".to_owned(), other.clone())]),
        None => Map::from_iter(result.get("error").map(|error| ("error".to_owned(), error.clone()))),
    };
    let conditions = result.get("conditions").cloned().unwrap_or_default();
    told.insert("authorization".to_owned(), json!({ "outcome": outcome, "conditions": conditions }));
    Value::Object(told)
}

#[cfg(test)]
#[path = "execution_tests.rs"]
mod tests;
