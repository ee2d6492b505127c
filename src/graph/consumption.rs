//! Asking for a consumption, waiting for its proof, and what may be done on it.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::authorization::{after, expiry_of, instant_of, parse_response, quarantine_reason, refusal_kind};
use super::end::{AgentError, RunEndReason};
use super::events::{AgentEvent, WaitingFor};
use super::execution::Execution;
use super::nodes::STOP_GRACE;
use super::records::Evidence;
use super::state::{AgentState, RefusalKind};
use crate::channel::{ChannelError, Incoming, ResponseKind, Waited};
use crate::evidence::{Clock, VerifiedConsumption, VerifiedDecision, VerifyFailure};
use crate::schema::{AuthResponse, Decision, Outcome, RequestId, Sha256Digest, Timestamp};

/// How soon the chain is asked again after it could not confirm a consumption.
pub(super) const CHAIN_RETRY: Duration = Duration::from_secs(1);

/// What a wait for the consumption came to.
pub(super) enum Awaited {
    Settled,
    Leave(RunEndReason),
}

/// What a `consumed` response turned out to be.
enum Proof {
    /// Checked against the chain, within the approval's life: the tool may run.
    Fresh(Box<VerifiedConsumption>),
    /// Proven, and nothing may run on it; why.
    NotToRunOn(RefusalKind, String),
    Refused(RefusalKind, String),
}

impl Agent {
    /// Publishes the wish to consume and waits for the bridge's proof, at most until the
    /// approval has expired and the bridge has had time to say so.
    pub(super) async fn await_consumption(
        &self,
        execution: &mut Execution<'_>,
        state: &mut AgentState,
    ) -> Result<Awaited, AgentError> {
        let record = self.claim_record(execution)?;
        let kind = ResponseKind::Consumed(record.message.claim);
        let until = match self.approval(execution, Clock::Audit).await? {
            Ok(approval) => after(expiry_of(&approval).max(execution.run.began), self.parts.config.answer_grace()),
            Err(_) => after(Timestamp::now(), self.parts.config.answer_grace()),
        };
        let id = execution.request_id().clone();
        let channel = &self.parts.channel;
        let message = Incoming::Consume { request_id: id.clone(), claim: record.message.claim };
        loop {
            // Again after an answer that did not verify: it may have taken the place of the real one.
            if !channel.is_taken(&message) && channel.read_response(&id, kind)?.is_none() {
                channel.publish_consume(&record.message)?;
            }
            self.emit(AgentEvent::Waiting { request_id: id.clone(), what: WaitingFor::Consumption, until });
            let waited = self.wait_with_grace(execution.run.stop, &id, kind, instant_of(until)).await?;
            let bytes = match waited {
                Waited::Found(bytes) => bytes,
                Waited::Stopped => return Ok(Awaited::Leave(RunEndReason::Stopped)),
                Waited::TimedOut => {
                    return Ok(Awaited::Leave(match state.rejected_responses.last() {
                        Some(rejected) => RunEndReason::Unverified { reason: rejected.reason.clone() },
                        None => RunEndReason::BridgeUnreachable {
                            reason: "the bridge gave no proof of the consumption in time".to_owned(),
                        },
                    }));
                }
            };
            match self.prove(execution, record.message.claim, &bytes, instant_of(until), execution.run.stop).await? {
                Ok((response, proof)) => {
                    self.settle_consumption(execution, kind, &bytes, &response, proof)?;
                    return Ok(Awaited::Settled);
                }
                Err(failure) => {
                    self.parts.channel.quarantine_response(&id, kind, &quarantine_reason(&failure))?;
                    self.reject(state, &execution.request, failure);
                }
            }
        }
    }

    /// A consumption that was asked for is a unit in hand: a stop waits a little for it.
    pub(super) async fn wait_with_grace(
        &self,
        stop: &CancellationToken,
        id: &RequestId,
        kind: ResponseKind,
        deadline: Instant,
    ) -> Result<Waited, ChannelError> {
        match self.parts.channel.wait_response(id, kind, deadline, stop).await? {
            Waited::Stopped => {
                let grace = (Instant::now() + STOP_GRACE).min(deadline);
                let unstoppable = CancellationToken::new();
                match self.parts.channel.wait_response(id, kind, grace, &unstoppable).await? {
                    Waited::Found(bytes) => Ok(Waited::Found(bytes)),
                    Waited::TimedOut | Waited::Stopped => Ok(Waited::Stopped),
                }
            }
            other @ (Waited::Found(_) | Waited::TimedOut) => Ok(other),
        }
    }

    /// Verifies the answer to a wish to consume. A chain that cannot confirm it yet is asked
    /// again until the deadline; after that nothing runs on it.
    async fn prove(
        &self,
        execution: &mut Execution<'_>,
        claim: Sha256Digest,
        bytes: &[u8],
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<Result<(AuthResponse, Proof), VerifyFailure>, AgentError> {
        let response = match parse_response(bytes) {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure)),
        };
        let verifier = self.verifier()?;
        let request = &execution.request;
        if response.decision == Decision::Denied {
            return Ok(verifier.verify_decision_asking(request, &response, Clock::Audit).await.and_then(|decision| {
                match decision {
                    VerifiedDecision::Denied(denial) => {
                        Ok((response, Proof::Refused(refusal_kind(denial.kind), denial.reason)))
                    }
                    VerifiedDecision::Approved(_) => Err(VerifyFailure::new(1, "not a denial".to_owned())),
                }
            }));
        }
        // Whoever comes after a crash only needs to know that it was consumed.
        let Some(approval) = execution.own.approval.clone() else {
            let proven = verifier.consumption(request, execution.id, claim, &response, Clock::Audit);
            let why = "a process before this one asked for it".to_owned();
            return Ok(proven.map(|()| (response, Proof::NotToRunOn(RefusalKind::VerificationFailed, why))));
        };
        // Why the chain did not confirm it while there was time; a later expiry does not hide it.
        let mut unconfirmed: Option<VerifyFailure> = None;
        loop {
            let now = Timestamp::now();
            match verifier.verify_consumption(approval.clone(), claim, &response, now).await {
                Ok(consumption) => return Ok(Ok((response, Proof::Fresh(Box::new(consumption))))),
                Err(failure) if failure.may_pass() && Instant::now() < deadline && !stop.is_cancelled() => {
                    tracing::warn!(target: "guardrail::graph", %failure, "the chain does not confirm the consumption yet");
                    unconfirmed = Some(failure);
                    tokio::select! {
                        () = tokio::time::sleep(CHAIN_RETRY) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Err(failure) => {
                    let late = unconfirmed.is_none() && expiry_of(&approval) <= now;
                    let failure = unconfirmed.unwrap_or(failure);
                    // Genuine by its own proofs, so the chain holds a consumption of ours to record.
                    let proven = verifier.consumption(request, execution.id, claim, &response, Clock::Audit);
                    let kind = if late { RefusalKind::Expired } else { RefusalKind::VerificationFailed };
                    return Ok(match proven {
                        Ok(()) => Ok((response, Proof::NotToRunOn(kind, failure.to_string()))),
                        Err(_) => Err(failure),
                    });
                }
            }
        }
    }

    /// Keeps the proof as evidence, takes it from the channel, and notes what may be done on it.
    fn settle_consumption(
        &self,
        execution: &mut Execution<'_>,
        kind: ResponseKind,
        bytes: &[u8],
        response: &AuthResponse,
        proof: Proof,
    ) -> Result<(), AgentError> {
        let id = execution.request_id().clone();
        match &proof {
            // This process asked and knows that it ran nothing: that is an outcome, not an unknown.
            Proof::NotToRunOn(kind, why) if execution.own.asked => {
                let result = json!({ "error": format!("not run: {why}") });
                self.write_outcome(execution, Outcome::Failed, result, Some(*kind))?;
            }
            Proof::NotToRunOn(..) | Proof::Fresh(_) | Proof::Refused(..) => {}
        }
        self.records.store_evidence(&id, Evidence::Consumed, bytes)?;
        self.parts.channel.remove_response(&id, kind)?;
        let chain = match &proof {
            Proof::Fresh(consumption) => consumption.chain().to_string(),
            Proof::NotToRunOn(_, why) => why.clone(),
            Proof::Refused(..) => String::new(),
        };
        match proof {
            Proof::Refused(kind, reason) => execution.own.refusal = Some((kind, reason)),
            Proof::Fresh(consumption) => execution.own.consumption = Some(*consumption),
            Proof::NotToRunOn(..) => {}
        }
        if response.decision == Decision::Consumed {
            self.emit(AgentEvent::Consumed {
                request_id: id,
                authorization_id: execution.id,
                tx_hash: response.blockchain_tx_hash,
                block_number: response.block_number,
                chain,
            });
        }
        Ok(())
    }

    /// Why the consumption did not come about, from this process or from the stored answer.
    pub(super) async fn refused_consumption(
        &self,
        execution: &Execution<'_>,
    ) -> Result<(RefusalKind, String), AgentError> {
        if let Some(refusal) = execution.own.refusal.clone() {
            return Ok(refusal);
        }
        let stored = self.records.evidence(execution.request_id(), Evidence::Consumed)?.unwrap_or_default();
        let verifier = self.verifier()?;
        let verified = match parse_response(&stored) {
            Ok(response) => verifier.verify_decision_asking(&execution.request, &response, Clock::Audit).await,
            Err(failure) => Err(failure),
        };
        Ok(match verified {
            Ok(VerifiedDecision::Denied(denial)) => (refusal_kind(denial.kind), denial.reason),
            Ok(VerifiedDecision::Approved(_)) => (RefusalKind::VerificationFailed, "not a denial".to_owned()),
            Err(failure) => (RefusalKind::VerificationFailed, failure.to_string()),
        })
    }
}
