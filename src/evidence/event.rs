//! The rest of step 4 of PROTOCOL section 7: the proven log is the event that the decision names.

use alloy::primitives::B256;

use super::proof::Proven;
use super::steps::{CANCELLED, Case, Expected, Facts, Said};
use super::verdict::{DenialKind, VerifyFailure, fail};
use crate::crypto::abi;
use crate::schema::{Decision, Evidence, Outcome, Sha256Digest};

impl Case<'_> {
    /// Compares the proven event, field by field; its name, and what it says.
    pub fn event(
        &self,
        evidence: &Evidence,
        facts: &Facts<'_>,
        said: &Said,
        proven: &Proven,
    ) -> Result<String, VerifyFailure> {
        let response = self.response;
        match (response.decision, &said.denial) {
            (Decision::Approved, _) => {
                before_expiry(facts, proven)?;
                let event: abi::AuthorizationApproved = proven.event()?;
                self.same_authorization(event.id, event.actionHash, facts)?;
                if event.approver != response.approver {
                    return fail(4, format!("the event names {} as the approver", event.approver));
                }
                Ok("AuthorizationApproved".to_owned())
            }
            (Decision::Denied, Some((DenialKind::Cancelled, reason))) => {
                let event: abi::AuthorizationCancelled = proven.event()?;
                self.same_authorization(event.id, event.actionHash, facts)?;
                if event.by != response.approver || reason.strip_prefix(CANCELLED) != Some(event.reason.as_str()) {
                    return fail(4, "the event's account or reason is not the response's");
                }
                Ok("AuthorizationCancelled".to_owned())
            }
            (Decision::Denied, said) => {
                let event: abi::AuthorizationDenied = proven.event()?;
                self.same_authorization(event.id, event.actionHash, facts)?;
                let reason = said.as_ref().map(|(_, reason)| reason.as_str());
                if event.approver != response.approver || reason != Some(event.reason.as_str()) {
                    return fail(4, "the event's approver or reason is not the response's");
                }
                Ok("AuthorizationDenied".to_owned())
            }
            (Decision::Consumed, _) => {
                before_expiry(facts, proven)?;
                let event: abi::AuthorizationConsumed = proven.event()?;
                self.same_authorization(event.id, event.actionHash, facts)?;
                if event.executor != evidence.requester {
                    return fail(4, "the consumption was sent by another account than the requester");
                }
                let claim = Sha256Digest(event.claim);
                match self.expected {
                    Expected::Consumption { claim: Some(ours), .. } if ours != claim => {
                        fail(4, "the authorization was consumed under another claim: another process has it")
                    }
                    Expected::Consumption { .. } | Expected::Decision | Expected::Record { .. } => {
                        Ok(format!("AuthorizationConsumed under claim {claim}"))
                    }
                }
            }
            (Decision::Recorded, _) => {
                let event: abi::ExecutionRecorded = proven.event()?;
                let other = match self.expected {
                    Expected::Record { recorded: Some((outcome, hash)), .. } => {
                        event.outcome != outcome.code() || event.outcomeHash != hash.0
                    }
                    Expected::Record { recorded: None, .. } | Expected::Decision | Expected::Consumption { .. } => {
                        false
                    }
                };
                match Outcome::from_code(event.outcome) {
                    Some(outcome) if event.id == facts.id.0 && !other => {
                        let hash = Sha256Digest(event.outcomeHash);
                        Ok(format!("ExecutionRecorded: {outcome}, outcome hash {hash}"))
                    }
                    Some(_) | None => fail(4, "the event records another outcome"),
                }
            }
        }
    }

    fn same_authorization(&self, id: B256, action: B256, facts: &Facts<'_>) -> Result<(), VerifyFailure> {
        if id == facts.id.0 && action == self.request.action_hash.0 {
            Ok(())
        } else {
            fail(4, "the event is of another authorization")
        }
    }
}

fn before_expiry(facts: &Facts<'_>, proven: &Proven) -> Result<(), VerifyFailure> {
    if proven.block_time_s < facts.expires_at_s { Ok(()) } else { fail(1, "the block is not earlier than expires_at") }
}
