//! The interrupt and what comes after it: publishing the request, waiting for a decision,
//! verifying it, keeping it as evidence.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::agent::{Agent, AtInterrupt, Run, Step};
use super::consumption::CHAIN_RETRY;
use super::end::{AgentError, RunEndReason};
use super::events::{AgentEvent, WaitingFor};
use super::nodes::unusable;
use super::records::Evidence;
use super::state::{ActionResult, AgentState, Authorization, RefusalKind, RejectedResponse, push_bounded};
use super::topology::Node;
use crate::channel::{Incoming, ResponseKind, Waited};
use crate::evidence::{Clock, DenialKind, VerifiedApproval, VerifiedDecision, VerifiedDenial, Verifier, VerifyFailure};
use crate::schema::{AuthRequest, AuthResponse, Refusal, Rule, Timestamp};

/// Responses to one request that may fail verification before the agent gives up on it.
pub const REJECTED_MAX: usize = 64;

/// What ended the interrupt.
pub(super) enum Arrival {
    /// Bytes from the channel that claim to be the decision.
    Response(Vec<u8>),
    /// What verified before and was stored.
    Stored(Vec<u8>),
    /// The deadline passed.
    Nothing,
    Leave(RunEndReason),
}

/// A decision that verified.
enum Verdict {
    Approved(VerifiedApproval),
    Denied(VerifiedDenial),
    /// An approval whose proofs hold, and that came or was read too late to run on.
    TooLate(VerifiedApproval),
}

impl Agent {
    /// Publishes the request of the state, which is in a checkpoint by now, and waits.
    ///
    /// Publishing is idempotent: the request was fixed when it was built. An answer that is
    /// already there is taken first, so a resumed run asks nobody twice.
    pub(super) async fn wait_at_interrupt(&self, run: &Run<'_>, state: &AgentState) -> Result<Arrival, AgentError> {
        let request = self.request_of(state, Node::AuthorizationHandler)?;
        let id = &request.request_id;
        if let Some(bytes) = self.records.evidence(id, Evidence::Response)? {
            return Ok(Arrival::Stored(bytes));
        }
        let taken = self.parts.channel.is_taken(&Incoming::Request(id.clone()));
        if let Some(bytes) = self.parts.channel.read_response(id, ResponseKind::Decision)? {
            return Ok(Arrival::Response(bytes));
        }
        if !taken {
            self.parts.channel.publish_request(&request)?;
            self.emit(AgentEvent::RequestPublished { request_id: id.clone() });
        }
        match self.parts.at_interrupt {
            AtInterrupt::Leave => return Ok(Arrival::Leave(RunEndReason::Interrupted)),
            AtInterrupt::Wait => {}
        }
        let until = self.decision_deadline(run, &request);
        // What approvers have; the answer to an expiry may come a moment later.
        let decided_by = after(request.timestamp, self.parts.authorization_timeout);
        self.emit(AgentEvent::Waiting { request_id: id.clone(), what: WaitingFor::Decision, until: decided_by });
        let waited = self.parts.channel.wait_response(id, ResponseKind::Decision, instant_of(until), run.stop).await?;
        Ok(match waited {
            Waited::Found(bytes) => Arrival::Response(bytes),
            Waited::TimedOut => Arrival::Nothing,
            Waited::Stopped => Arrival::Leave(RunEndReason::Stopped),
        })
    }

    /// Until when a decision is waited for. A run that is resumed late gives the bridge a
    /// moment to answer what was published again.
    fn decision_deadline(&self, run: &Run<'_>, request: &AuthRequest) -> Timestamp {
        let lifetime = after(request.timestamp, self.parts.authorization_timeout);
        after(lifetime.max(run.began), self.parts.config.answer_grace())
    }

    /// Verifies what arrived. What fails goes to quarantine, and the router sends the graph
    /// back to wait.
    pub(super) async fn authorization_handler(
        &self,
        run: &Run<'_>,
        state: &mut AgentState,
        arrival: Option<Arrival>,
    ) -> Result<Step, AgentError> {
        let request = self.request_of(state, Node::AuthorizationHandler)?;
        let (bytes, stored) = match arrival {
            Some(Arrival::Response(bytes)) => (bytes, false),
            Some(Arrival::Stored(bytes)) => (bytes, true),
            Some(Arrival::Nothing) | None => {
                self.end_without_decision(state, &request);
                return Ok(Step::Done);
            }
            Some(Arrival::Leave(reason)) => return Ok(Step::Leave(reason)),
        };
        let verifier = self.verifier()?;
        let until = instant_of(self.decision_deadline(run, &request));
        let (verified, now) = loop {
            let now = Timestamp::now();
            match verify(verifier, &request, &bytes, now).await {
                // A contract is asked about its vote, and the endpoint did not answer.
                Err(failure) if failure.may_pass() && Instant::now() < until && !run.stop.is_cancelled() => {
                    tracing::warn!(target: "guardrail::graph", %failure, "a vote cannot be checked yet");
                    tokio::select! {
                        () = tokio::time::sleep(CHAIN_RETRY) => {}
                        () = run.stop.cancelled() => {}
                    }
                }
                verified => break (verified, now),
            }
        };
        let (response, verdict) = match verified {
            Ok(verified) => verified,
            // The answer is still there for whoever comes after.
            Err(failure) if failure.may_pass() && run.stop.is_cancelled() => {
                return Ok(Step::Leave(RunEndReason::Stopped));
            }
            Err(failure) => {
                let kind = ResponseKind::Decision;
                let refusal = quarantine_reason(&failure);
                self.parts.channel.quarantine_response(&request.request_id, kind, &refusal)?;
                self.reject(state, &request, failure);
                // Stored evidence does not get better by waiting, and nobody rejects for ever.
                if stored || state.rejected_responses.len() >= REJECTED_MAX {
                    self.end_without_decision(state, &request);
                }
                return Ok(Step::Done);
            }
        };
        self.records.store_request(&request)?;
        self.records.store_evidence(&request.request_id, Evidence::Response, &bytes)?;
        self.parts.channel.remove_response(&request.request_id, ResponseKind::Decision)?;
        self.settle(state, &request, &response, verdict, now)?;
        Ok(Step::Done)
    }

    /// Writes a verified decision into the state.
    fn settle(
        &self,
        state: &mut AgentState,
        request: &AuthRequest,
        response: &AuthResponse,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), AgentError> {
        let (approval, denial) = match &verdict {
            Verdict::Approved(approval) | Verdict::TooLate(approval) => (Some(approval), None),
            Verdict::Denied(denial) => (None, Some((refusal_kind(denial.kind), denial.reason.clone()))),
        };
        self.emit(AgentEvent::DecisionVerified {
            request_id: request.request_id.clone(),
            authorization_id: response.authorization_id,
            approved: approval.is_some(),
            refusal: denial,
            conditions: response.conditions.clone(),
            approvers: approval
                .map(|approval| approval.approvers().to_vec())
                .unwrap_or_else(|| vec![response.approver]),
            tx_hash: response.blockchain_tx_hash,
            block_number: response.block_number,
        });
        match verdict {
            Verdict::Approved(approval) => {
                state.pending_authorization = false;
                state.rejected_responses.clear();
                state.authorization = Some(approved(&approval));
            }
            Verdict::Denied(denial) => {
                let kind = refusal_kind(denial.kind);
                if kind.is_a_persons_word() {
                    state.remember_denial(&denial.reason, now).map_err(unusable("the denied action"))?;
                }
                self.end_refused(state, kind, denial.reason);
            }
            // Somebody asked to consume it while it was good: what came of that is on disk.
            Verdict::TooLate(approval) if self.records.asked(&request.request_id)?.is_some() => {
                state.pending_authorization = false;
                state.authorization = Some(approved(&approval));
            }
            Verdict::TooLate(approval) => {
                let reason = format!("approved, and the approval expired at {}", expiry_of(&approval));
                self.end_refused(state, RefusalKind::Expired, reason);
            }
        }
        Ok(())
    }

    fn end_without_decision(&self, state: &mut AgentState, request: &AuthRequest) {
        let limit_s = self.parts.authorization_timeout.as_secs();
        let taken = self.parts.channel.is_taken(&Incoming::Request(request.request_id.clone()));
        let (kind, reason) = match (state.rejected_responses.last(), taken) {
            (Some(rejected), _) => {
                (RefusalKind::VerificationFailed, format!("no answer verified; the last one: {}", rejected.reason))
            }
            (None, true) => (RefusalKind::TimedOut, format!("no decision came within {limit_s} s")),
            (None, false) => (
                RefusalKind::BridgeUnreachable,
                format!("nobody took the request from the channel within {limit_s} s; is `guardrail bridge` running?"),
            ),
        };
        self.emit(AgentEvent::AuthorizationEnded {
            request_id: request.request_id.clone(),
            kind,
            reason: reason.clone(),
        });
        self.end_refused(state, kind, reason);
    }

    /// The action is over without having run; the planner sees why.
    pub(super) fn end_refused(&self, state: &mut AgentState, kind: RefusalKind, reason: String) {
        let value = json!({ "status": "not_authorized", "decision": kind, "reason": reason });
        self.end_tool(state, ActionResult::denied(value));
        state.authorization = Some(Authorization::Refused { kind, reason });
    }

    /// Notes a response that failed verification; the file itself is quarantined by then.
    pub(super) fn reject(&self, state: &mut AgentState, request: &AuthRequest, failure: VerifyFailure) {
        let VerifyFailure { step, reason, .. } = failure;
        self.emit(AgentEvent::ResponseRejected {
            request_id: request.request_id.clone(),
            step,
            reason: reason.clone(),
        });
        push_bounded(&mut state.rejected_responses, RejectedResponse { step, reason });
    }

    /// The request that the state is about.
    pub(super) fn request_of(&self, state: &AgentState, node: Node) -> Result<AuthRequest, AgentError> {
        let request = state.request().map_err(unusable("the request in the checkpoint"))?;
        request.ok_or_else(|| AgentError::Incomplete {
            id: state.thread.to_string(),
            node: node.as_str(),
            what: "the request",
        })
    }
}

async fn verify(
    verifier: &Verifier,
    request: &AuthRequest,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(AuthResponse, Verdict), VerifyFailure> {
    let response = parse_response(bytes)?;
    let verdict = match verifier.verify_decision_asking(request, &response, Clock::Now(now)).await {
        Ok(VerifiedDecision::Approved(approval)) => Verdict::Approved(*approval),
        Ok(VerifiedDecision::Denied(denial)) => Verdict::Denied(denial),
        Err(failure) => match verifier.verify_decision_asking(request, &response, Clock::Audit).await {
            // The clock alone was against it.
            Ok(VerifiedDecision::Approved(approval)) if expiry_of(&approval) <= now => Verdict::TooLate(*approval),
            Ok(VerifiedDecision::Approved(_) | VerifiedDecision::Denied(_)) | Err(_) => return Err(failure),
        },
    };
    Ok((response, verdict))
}

/// Parses a response; one that does not parse fails before the first step.
pub(super) fn parse_response(bytes: &[u8]) -> Result<AuthResponse, VerifyFailure> {
    AuthResponse::parse(bytes).map_err(|refusal| VerifyFailure::new(0, refusal.to_string()))
}

/// The reason that is written beside a quarantined response.
pub(super) fn quarantine_reason(failure: &VerifyFailure) -> Refusal {
    let rule = match failure.step {
        0 => Rule::NotJson,
        1 => Rule::WrongState,
        2 => Rule::ActionHash,
        6 => Rule::Chain,
        _ => Rule::Signature,
    };
    Refusal::new(rule, failure.to_string())
}

pub(super) fn refusal_kind(kind: DenialKind) -> RefusalKind {
    match kind {
        DenialKind::Denied => RefusalKind::Denied,
        DenialKind::Cancelled => RefusalKind::Cancelled,
        DenialKind::Expired => RefusalKind::Expired,
        DenialKind::Refused => RefusalKind::RefusedByBridge,
    }
}

fn approved(approval: &VerifiedApproval) -> Authorization {
    Authorization::Approved {
        authorization_id: approval.authorization_id(),
        conditions: approval.conditions().to_vec(),
        outcome: None,
    }
}

/// From this moment on nothing may run on the approval.
pub(super) fn expiry_of(approval: &VerifiedApproval) -> Timestamp {
    let seconds = i64::try_from(approval.expires_at_s()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(seconds.saturating_mul(1000))
}

pub(super) fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(moment.unix_ms().saturating_add(ms))
}

/// A wall-clock moment on the runtime's clock; one that is past is now.
pub(super) fn instant_of(moment: Timestamp) -> Instant {
    let left_ms = moment.unix_ms().saturating_sub(Timestamp::now().unix_ms());
    Instant::now() + Duration::from_millis(u64::try_from(left_ms).unwrap_or_default())
}
