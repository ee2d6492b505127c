//! Steps 1 to 5 of PROTOCOL section 7, in their order, for every kind of response.
//!
//! One walk serves the agent, which stops at the first failure, and an audit, which prints every
//! step: what a step established goes on the trail.

use alloy::primitives::{Address, B256};

use super::proof;
use super::report::Trail;
use super::verdict::{Clock, DenialKind, VerifiedDenial, VerifyFailure, fail};
use super::votes::{VoteContext, WalletAnswers};
use crate::crypto::abi;
use crate::crypto::{self, SigningDomain};
use crate::schema::anchors::{EpochAnchors, TrustAnchors};
use crate::schema::{
    AuthRequest, AuthResponse, AuthorizationId, Decision, Evidence, Outcome, RequestId, Sha256Digest, Timestamp,
};

/// How a `cancelled:` reason begins.
pub const CANCELLED: &str = "cancelled: ";
/// How an `expired:` reason begins.
pub const EXPIRED: &str = "expired: ";
/// How a `refused:` reason begins.
pub const REFUSED: &str = "refused: ";

/// What a response must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `approved` or `denied`, whichever it is.
    Decision,
    /// `consumed`, of this authorization and under this claim where they are known.
    Consumption { id: Option<AuthorizationId>, claim: Option<Sha256Digest> },
    /// `recorded`, of this authorization and with this outcome where they are known.
    Record { id: Option<AuthorizationId>, recorded: Option<(Outcome, Sha256Digest)> },
}

/// One response, and all that it is held against.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub anchors: &'a TrustAnchors,
    pub domain: &'a SigningDomain,
    pub request: &'a AuthRequest,
    pub response: &'a AuthResponse,
    pub expected: Expected,
    pub clock: Clock,
    pub wallets: &'a WalletAnswers,
}

/// What a response that verified says.
pub(super) struct Found {
    pub id: AuthorizationId,
    /// Unix seconds; 0 where there is no evidence.
    pub expires_at_s: u64,
    pub approvers: Vec<Address>,
    pub conditions: Vec<String>,
    pub denial: Option<VerifiedDenial>,
}

/// What steps 1 and 2 established.
pub(super) struct Facts<'a> {
    pub id: AuthorizationId,
    pub epoch: &'a EpochAnchors,
    pub chain_request: abi::Request,
    pub expires_at_s: u64,
}

/// What step 3 established.
#[derive(Default)]
pub(super) struct Said {
    approvers: Vec<Address>,
    conditions: Vec<String>,
    pub denial: Option<(DenialKind, String)>,
}

impl<'a> Case<'a> {
    /// Walks through steps 1 to 5.
    ///
    /// # Errors
    /// The first failure. What passed before it is on the trail.
    pub fn walk(&self, trail: &mut Trail) -> Result<Found, VerifyFailure> {
        self.names_request()?;
        self.is_expected()?;
        let Some(evidence) = &self.response.evidence else { return self.bridges_word(trail) };
        let (epoch, within) = self.lifetime(evidence)?;
        trail.pass(1, within);
        let facts = self.identify(evidence, epoch)?;
        trail.pass(2, format!("action {}, authorization {}", self.request.action_hash, facts.id));
        let (said, whose) = self.votes(evidence, &facts)?;
        trail.pass(3, whose);
        let proven = proof::prove(self.anchors.contract, self.response, evidence)?;
        let event = self.event(evidence, &facts, &said, &proven)?;
        let place = format!(
            "{event} is log {} of transaction {} in block {}",
            evidence.log_index, self.response.blockchain_tx_hash, self.response.block_number
        );
        trail.pass(4, place);
        trail.pass(5, self.signature(facts.epoch)?);
        let denial = said.denial.map(|(kind, reason)| VerifiedDenial {
            kind,
            reason,
            approver: self.response.approver,
            authorization_id: facts.id,
        });
        Ok(Found {
            id: facts.id,
            expires_at_s: facts.expires_at_s,
            approvers: said.approvers,
            conditions: said.conditions,
            denial,
        })
    }

    /// Steps 1 and 2 alone: what the votes of a response are over.
    pub fn facts(&self, evidence: &Evidence) -> Result<Facts<'a>, VerifyFailure> {
        self.names_request()?;
        let (epoch, _) = self.lifetime(evidence)?;
        self.identify(evidence, epoch)
    }

    pub fn vote_context<'b>(&'b self, evidence: &'b Evidence, facts: &'b Facts<'_>) -> VoteContext<'b> {
        VoteContext {
            domain: self.domain,
            anchors: self.anchors,
            epoch: facts.epoch,
            request: self.request,
            id: facts.id,
            chain_request: &facts.chain_request,
            evidence,
            wallets: self.wallets,
        }
    }

    fn names_request(&self) -> Result<(), VerifyFailure> {
        let named: &RequestId = &self.response.request_id;
        if *named == self.request.request_id {
            Ok(())
        } else {
            fail(1, format!("the response is for another request, {named}"))
        }
    }

    fn is_expected(&self) -> Result<(), VerifyFailure> {
        let said = self.response.decision;
        let (expected, wanted) = match self.expected {
            Expected::Decision => (matches!(said, Decision::Approved | Decision::Denied), "a decision"),
            Expected::Consumption { .. } => (said == Decision::Consumed, Decision::Consumed.as_str()),
            Expected::Record { .. } => (said == Decision::Recorded, Decision::Recorded.as_str()),
        };
        if expected { Ok(()) } else { fail(1, format!("{wanted} was expected, the response says {}", said.as_str())) }
    }

    /// The clock that counts for this response: a denial stands whenever it is read.
    fn clock(&self) -> Clock {
        match (self.response.decision, self.clock) {
            (Decision::Denied | Decision::Recorded, _) | (_, Clock::Audit) => Clock::Audit,
            (Decision::Approved | Decision::Consumed, now @ Clock::Now(_)) => now,
        }
    }

    /// Step 1: the pinned epoch, and the clocks of the request.
    fn lifetime(&self, evidence: &Evidence) -> Result<(&'a EpochAnchors, String), VerifyFailure> {
        let anchors = self.anchors;
        let pinned = match self.clock() {
            Clock::Now(_) => anchors.latest().filter(|epoch| epoch.epoch == evidence.epoch),
            Clock::Audit => anchors.epoch(evidence.epoch),
        };
        let Some(epoch) = pinned else {
            return fail(1, format!("epoch {} is not the one that the anchors pin", evidence.epoch));
        };
        let requested = self.request.timestamp;
        let ms = |seconds: u64| i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX);
        let (expires_ms, lifetime_ms) = (ms(evidence.expires_at), ms(anchors.max_lifetime));
        if expires_ms <= requested.unix_ms() || expires_ms > requested.unix_ms().saturating_add(lifetime_ms) {
            return fail(1, format!("expires_at is not within {} s after the request", anchors.max_lifetime));
        }
        match self.clock() {
            Clock::Now(now) if now.unix_ms() >= expires_ms => fail(1, "the authorization has expired"),
            Clock::Now(_) | Clock::Audit => {
                let expires = Timestamp::from_unix_ms(expires_ms);
                Ok((epoch, format!("of {requested}, good until {expires}, epoch {}", epoch.epoch)))
            }
        }
    }

    /// Step 2: everything equals what the verifier computes by itself.
    fn identify(&self, evidence: &Evidence, epoch: &'a EpochAnchors) -> Result<Facts<'a>, VerifyFailure> {
        let (request, response) = (self.request, self.response);
        let step2 = |e: crate::schema::Refusal| VerifyFailure::new(2, e.to_string());
        let action = crypto::hash::action_hash_of(request).map_err(step2)?;
        if action != request.action_hash {
            return fail(2, "the request's own action_hash is wrong");
        }
        same_hash("action_hash", response.action_hash, action, false)?;
        if evidence.risk_bps != request.risk_score.bps() {
            return fail(2, "risk_bps is not the request's risk score");
        }
        if evidence.chain_id != self.anchors.chain_id || evidence.contract != self.anchors.contract {
            return fail(2, "the evidence is of another chain or contract than the pinned one");
        }
        if !epoch.bridges.iter().any(|bridge| bridge.requester == evidence.requester) {
            return fail(2, format!("{} is no pinned requester of epoch {}", evidence.requester, epoch.epoch));
        }
        // It holds the request's hash, computed here.
        let chain_request =
            crypto::hash::chain_request(request, evidence.requester, evidence.expires_at, evidence.epoch)
                .map_err(step2)?;
        same_hash("request_hash", response.request_hash, Sha256Digest(chain_request.requestHash), false)?;
        let id = crypto::authorization_id(&chain_request);
        if id != response.authorization_id {
            return fail(2, "authorization_id does not follow from the request");
        }
        let known = match self.expected {
            Expected::Decision => None,
            Expected::Consumption { id, .. } | Expected::Record { id, .. } => id,
        };
        if known.is_some_and(|known| known != id) {
            return fail(2, format!("the {} response is of another authorization", response.decision.as_str()));
        }
        Ok(Facts { id, epoch, chain_request, expires_at_s: evidence.expires_at })
    }

    /// Step 3: the votes that the decision asks for, and the fields that repeat them.
    fn votes(&self, evidence: &Evidence, facts: &Facts<'_>) -> Result<(Said, String), VerifyFailure> {
        let response = self.response;
        let context = self.vote_context(evidence, facts);
        match response.decision {
            Decision::Approved => {
                let (approvers, whose) = context.check_approval()?;
                let conditions: Vec<String> =
                    evidence.votes.iter().flat_map(|vote| vote.note.lines()).map(str::to_owned).collect();
                if response.conditions != conditions {
                    return fail(3, "the conditions are not the notes of the approving votes");
                }
                if response.denial_reason.is_some() {
                    return fail(3, "an approved response with a denial reason");
                }
                if !approvers.contains(&response.approver) {
                    return fail(3, format!("the approver {} is none of the voters", response.approver));
                }
                Ok((Said { approvers, conditions, denial: None }, whose))
            }
            Decision::Denied => {
                // Null signs as the empty string: the two would be one answer in two spellings.
                let Some(reason) = response.denial_reason.clone() else {
                    return fail(3, "a denied response without a reason");
                };
                if !response.conditions.is_empty() {
                    return fail(3, "a denied response with conditions");
                }
                let (kind, whose) = if evidence.votes.is_empty() && reason.starts_with(CANCELLED) {
                    (DenialKind::Cancelled, "none: it was cancelled".to_owned())
                } else {
                    let (vote, whose) = context.check_denial()?;
                    if vote.approver != response.approver || vote.note.as_str() != reason {
                        return fail(3, "the denial's approver or reason is not the vote's");
                    }
                    (DenialKind::Denied, whose)
                };
                Ok((Said { denial: Some((kind, reason)), ..Said::default() }, whose))
            }
            Decision::Consumed | Decision::Recorded => {
                let blank = evidence.votes.is_empty()
                    && response.conditions.is_empty()
                    && response.denial_reason.is_none()
                    && response.approver == Address::ZERO;
                if blank {
                    Ok((Said::default(), "none, as it has to be".to_owned()))
                } else {
                    let what = response.decision.as_str();
                    fail(3, format!("a {what} response holds votes, conditions or an approver"))
                }
            }
        }
    }

    /// Step 5. Without evidence there is no requester, and any bridge of the epoch may have signed.
    fn signature(&self, epoch: &EpochAnchors) -> Result<String, VerifyFailure> {
        let response = self.response;
        let hash =
            crypto::evidence_hash(response.evidence.as_ref()).map_err(|e| VerifyFailure::new(5, e.to_string()))?;
        if hash != response.evidence_hash {
            return fail(5, "evidence_hash does not match the evidence");
        }
        let signer = crypto::recover(crypto::response_digest(self.domain, response), &response.signature)
            .map_err(|e| VerifyFailure::new(5, format!("the bridge's signature: {e}")))?;
        let requester = response.evidence.as_ref().map(|evidence| evidence.requester);
        let is_bridge = epoch
            .bridges
            .iter()
            .any(|b| b.signer == signer && requester.is_none_or(|requester| b.requester == requester));
        if is_bridge {
            Ok(format!("by bridge {signer} at {}", response.timestamp))
        } else {
            fail(5, format!("the response is signed by {signer}, who is not the pinned bridge"))
        }
    }

    /// `expired:` and `refused:`: the bridge's word, signed; there is nothing on chain to prove.
    fn bridges_word(&self, trail: &mut Trail) -> Result<Found, VerifyFailure> {
        let (request, response) = (self.request, self.response);
        let said = response.decision;
        if said != Decision::Denied {
            return fail(1, format!("a {} response without evidence", said.as_str()));
        }
        let reason = response.denial_reason.clone().unwrap_or_default();
        let kind = if reason.starts_with(EXPIRED) {
            DenialKind::Expired
        } else if reason.starts_with(REFUSED) {
            DenialKind::Refused
        } else {
            return fail(1, "a denial without evidence must say that the request expired or was refused");
        };
        if response.blockchain_tx_hash != B256::ZERO || response.block_hash != B256::ZERO || response.block_number != 0
        {
            return fail(1, "a response without evidence names a block");
        }
        trail.pass(1, format!("of {}", request.timestamp));
        let blank = kind == DenialKind::Refused;
        same_hash("action_hash", response.action_hash, request.action_hash, blank)?;
        let own = crypto::request_hash(request).map_err(|e| VerifyFailure::new(2, e.to_string()))?;
        same_hash("request_hash", response.request_hash, own, blank)?;
        trail.pass(2, format!("action {}", response.action_hash));
        if !response.conditions.is_empty() || response.approver != Address::ZERO {
            return fail(3, "a response without evidence names an approver or conditions");
        }
        trail.does_not_apply(3, "the bridge's word alone: nobody's vote");
        trail.does_not_apply(4, "the bridge's word alone: no event");
        let Some(epoch) = self.anchors.latest() else { return fail(5, "the anchors pin no epoch") };
        trail.pass(5, self.signature(epoch)?);
        let id = response.authorization_id;
        let denial = VerifiedDenial { kind, reason, approver: Address::ZERO, authorization_id: id };
        Ok(Found { id, expires_at_s: 0, approvers: Vec::new(), conditions: Vec::new(), denial: Some(denial) })
    }
}

fn same_hash(name: &str, found: Sha256Digest, expected: Sha256Digest, zero_allowed: bool) -> Result<(), VerifyFailure> {
    if found == expected || (zero_allowed && found == Sha256Digest::ZERO) {
        Ok(())
    } else {
        fail(2, format!("{name} is not the request's"))
    }
}
