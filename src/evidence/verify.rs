//! Verification of responses: the steps of PROTOCOL section 7, in their order.

use alloy::consensus::{Header, ReceiptEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Log, keccak256};
use alloy::rlp::Decodable;
use alloy::sol_types::SolEvent;

use super::endpoint::Endpoint;
use super::trie;
use super::verdict::{
    ChainVerdict, Clock, DenialKind, VerifiedApproval, VerifiedConsumption, VerifiedDecision, VerifiedDenial,
    VerifyFailure, fail,
};
use super::votes::VoteContext;
use crate::crypto::abi::{self, ChainStatus};
use crate::crypto::{self, SigningDomain};
use crate::schema::anchors::{AnchorsError, ChainCheck, EpochAnchors, TrustAnchors};
use crate::schema::{
    AuthRequest, AuthResponse, AuthorizationId, Decision, Evidence, LedgerKind, Outcome, RequestId, Sha256Digest,
    Timestamp,
};

/// Checks responses against pinned anchors, and consumptions against an endpoint of its own.
#[derive(Clone, Debug)]
pub struct Verifier {
    ledger: LedgerKind,
    anchors: TrustAnchors,
    endpoint: Option<Endpoint>,
}

impl Verifier {
    /// A verifier of what is on an EVM chain.
    ///
    /// # Errors
    /// [`AnchorsError`] where the anchors break a rule of PROTOCOL section 9.
    pub fn new(anchors: TrustAnchors, endpoint: Option<Endpoint>) -> Result<Self, AnchorsError> {
        Self::for_ledger(LedgerKind::Evm, anchors, endpoint)
    }

    /// A verifier of what is on one kind of ledger: nothing of the other kind verifies.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn for_ledger(
        ledger: LedgerKind,
        anchors: TrustAnchors,
        endpoint: Option<Endpoint>,
    ) -> Result<Self, AnchorsError> {
        anchors.validate()?;
        Ok(Verifier { ledger, anchors, endpoint })
    }

    /// The domain in which votes and responses are signed.
    fn domain(&self) -> SigningDomain {
        SigningDomain::of(self.ledger, self.anchors.chain_id, self.anchors.contract)
    }

    pub fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// Verifies an `approved` or `denied` response, to act on it now.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub fn verify_decision(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        now: Timestamp,
    ) -> Result<VerifiedDecision, VerifyFailure> {
        self.verify_decision_at(request, response, Clock::Now(now))
    }

    /// Verifies an `approved` or `denied` response under a clock.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub fn verify_decision_at(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        clock: Clock,
    ) -> Result<VerifiedDecision, VerifyFailure> {
        match (response.decision, &response.evidence) {
            (Decision::Approved, Some(evidence)) => self
                .approval(request, response, evidence, clock)
                .map(|approval| VerifiedDecision::Approved(Box::new(approval))),
            (Decision::Denied, Some(evidence)) => {
                self.denial(request, response, evidence).map(VerifiedDecision::Denied)
            }
            (Decision::Denied, None) => self.bridge_denial(request, response).map(VerifiedDecision::Denied),
            (Decision::Approved, None) => fail(1, "an approved response without evidence"),
            (Decision::Consumed | Decision::Recorded, _) => {
                fail(1, format!("a decision was expected, the response says {}", response.decision.as_str()))
            }
        }
    }

    /// Verifies the `consumed` response of a verified approval, the chain included.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails. Without an endpoint step 6 fails,
    /// unless the anchors switch it off.
    pub async fn verify_consumption(
        &self,
        approval: VerifiedApproval,
        claim: Sha256Digest,
        response: &AuthResponse,
        now: Timestamp,
    ) -> Result<VerifiedConsumption, VerifyFailure> {
        self.consumption(&approval.request, approval.authorization_id, claim, response, Clock::Now(now))?;
        let chain = self.check_chain(response, &[ChainStatus::Consumed]).await?;
        Ok(VerifiedConsumption { approval, claim, chain })
    }

    /// Steps 1 to 5 for a `consumed` response.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub fn consumption(
        &self,
        request: &AuthRequest,
        id: AuthorizationId,
        claim: Sha256Digest,
        response: &AuthResponse,
        clock: Clock,
    ) -> Result<(), VerifyFailure> {
        let evidence = self.open(request, response, Decision::Consumed)?;
        let facts = self.identify(request, response, evidence, clock)?;
        if facts.id != id {
            return fail(2, "the consumption is of another authorization");
        }
        facts.no_votes(response, evidence)?;
        let proven = self.prove(response, evidence)?;
        facts.before_expiry(&proven)?;
        let event: abi::AuthorizationConsumed = proven.event()?;
        expect_event(event.id, event.actionHash, &facts, request)?;
        if event.executor != evidence.requester {
            return fail(4, "the consumption was sent by another account than the requester");
        }
        if event.claim != claim.0 {
            return fail(4, "the authorization was consumed under another claim: another process has it");
        }
        self.check_signature(response, Some(facts.epoch))
    }

    /// Verifies a `recorded` response.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub fn verify_recorded(
        &self,
        request: &AuthRequest,
        id: AuthorizationId,
        outcome: Outcome,
        outcome_hash: Sha256Digest,
        response: &AuthResponse,
    ) -> Result<(), VerifyFailure> {
        let evidence = self.open(request, response, Decision::Recorded)?;
        let facts = self.identify(request, response, evidence, Clock::Audit)?;
        if facts.id != id {
            return fail(2, "the record is of another authorization");
        }
        facts.no_votes(response, evidence)?;
        let event: abi::ExecutionRecorded = self.prove(response, evidence)?.event()?;
        if event.id != id.0 || event.outcomeHash != outcome_hash.0 || event.outcome != outcome.code() {
            return fail(4, "the event records another outcome");
        }
        self.check_signature(response, Some(facts.epoch))
    }

    /// Step 6: the pinned chain, the pinned code, the block canonical at depth, the id in one of `states`.
    ///
    /// # Errors
    /// [`VerifyFailure`] at step 6.
    pub async fn check_chain(
        &self,
        response: &AuthResponse,
        states: &[ChainStatus],
    ) -> Result<ChainVerdict, VerifyFailure> {
        match self.anchors.chain_check {
            ChainCheck::Off => return Ok(ChainVerdict::NotChecked),
            ChainCheck::On => {}
        }
        let Some(endpoint) = &self.endpoint else {
            return fail(6, "there is no endpoint of the verifier's own to check the chain with; set an rpc_url");
        };
        let anchors = &self.anchors;
        let view = endpoint
            .view(anchors, response.authorization_id, response.block_number)
            .await
            .map_err(|error| VerifyFailure::not_yet(error.to_string()))?;
        if view.chain_id != anchors.chain_id || view.genesis_hash != anchors.genesis_hash {
            return fail(
                6,
                format!("the endpoint serves another chain: id {}, genesis {}", view.chain_id, view.genesis_hash),
            );
        }
        if view.code_hash != anchors.code_hash {
            return fail(6, format!("the contract's code hash is {}, not the pinned one", view.code_hash));
        }
        if view.block_hash != Some(response.block_hash) {
            return Err(VerifyFailure::not_yet(format!(
                "block {} of the response is not in the endpoint's chain",
                response.block_number
            )));
        }
        let depth = (view.head + 1).saturating_sub(response.block_number);
        if depth < anchors.confirmations {
            return Err(VerifyFailure::not_yet(format!(
                "block {} has depth {depth}, pinned are {}",
                response.block_number, anchors.confirmations
            )));
        }
        if !states.contains(&view.status) {
            return Err(VerifyFailure::not_yet(format!(
                "the contract says {} of this authorization",
                view.status.as_str()
            )));
        }
        Ok(ChainVerdict::Checked)
    }

    fn approval(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        evidence: &Evidence,
        clock: Clock,
    ) -> Result<VerifiedApproval, VerifyFailure> {
        self.open(request, response, Decision::Approved)?;
        let facts = self.identify(request, response, evidence, clock)?;
        let approvers = self.vote_context(request, evidence, &facts).check_approval()?;
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
        let proven = self.prove(response, evidence)?;
        facts.before_expiry(&proven)?;
        let event: abi::AuthorizationApproved = proven.event()?;
        expect_event(event.id, event.actionHash, &facts, request)?;
        if event.approver != response.approver {
            return fail(4, format!("the event names {} as the approver", event.approver));
        }
        self.check_signature(response, Some(facts.epoch))?;
        Ok(VerifiedApproval {
            request: request.clone(),
            authorization_id: facts.id,
            expires_at_s: evidence.expires_at,
            conditions,
            approvers,
        })
    }

    /// A denial or a cancellation; which one, the event itself says.
    fn denial(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        evidence: &Evidence,
    ) -> Result<VerifiedDenial, VerifyFailure> {
        self.open(request, response, Decision::Denied)?;
        let facts = self.identify(request, response, evidence, Clock::Audit)?;
        let reason = response.denial_reason.clone().unwrap_or_default();
        if !response.conditions.is_empty() {
            return fail(3, "a denied response with conditions");
        }
        let kind = if evidence.votes.is_empty() && reason.starts_with(CANCELLED) {
            DenialKind::Cancelled
        } else {
            let context = self.vote_context(request, evidence, &facts);
            let vote = context.check_denial()?;
            if vote.approver != response.approver || vote.note.as_str() != reason {
                return fail(3, "the denial's approver or reason is not the vote's");
            }
            DenialKind::Denied
        };
        let proven = self.prove(response, evidence)?;
        let (by, said) = match kind {
            DenialKind::Cancelled => {
                let event: abi::AuthorizationCancelled = proven.event()?;
                expect_event(event.id, event.actionHash, &facts, request)?;
                (event.by, format!("{CANCELLED}{}", event.reason))
            }
            DenialKind::Denied | DenialKind::Expired | DenialKind::Refused => {
                let event: abi::AuthorizationDenied = proven.event()?;
                expect_event(event.id, event.actionHash, &facts, request)?;
                (event.approver, event.reason)
            }
        };
        if by != response.approver || said != reason {
            return fail(4, "the event's approver or reason is not the response's");
        }
        self.check_signature(response, Some(facts.epoch))?;
        Ok(VerifiedDenial { kind, reason, approver: by, authorization_id: facts.id })
    }

    /// `expired:` and `refused:`: the bridge's word, signed; there is nothing on chain to prove.
    fn bridge_denial(&self, request: &AuthRequest, response: &AuthResponse) -> Result<VerifiedDenial, VerifyFailure> {
        names_request(request, response)?;
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
        let blank = kind == DenialKind::Refused;
        same_hash("action_hash", response.action_hash, request.action_hash, blank)?;
        let own = crypto::request_hash(request).map_err(|e| VerifyFailure::new(2, e.to_string()))?;
        same_hash("request_hash", response.request_hash, own, blank)?;
        if !response.conditions.is_empty() || response.approver != Address::ZERO {
            return fail(3, "a response without evidence names an approver or conditions");
        }
        self.check_signature(response, None)?;
        Ok(VerifiedDenial { kind, reason, approver: Address::ZERO, authorization_id: response.authorization_id })
    }

    /// Step 1 without the clocks.
    fn open<'a>(
        &self,
        request: &AuthRequest,
        response: &'a AuthResponse,
        decision: Decision,
    ) -> Result<&'a Evidence, VerifyFailure> {
        names_request(request, response)?;
        if response.decision != decision {
            return fail(
                1,
                format!("{} was expected, the response says {}", decision.as_str(), response.decision.as_str()),
            );
        }
        match &response.evidence {
            Some(evidence) => Ok(evidence),
            None => fail(1, format!("a {} response without evidence", decision.as_str())),
        }
    }

    /// The clocks of step 1, then step 2: everything equals what the verifier computes by itself.
    fn identify<'a>(
        &'a self,
        request: &AuthRequest,
        response: &AuthResponse,
        evidence: &Evidence,
        clock: Clock,
    ) -> Result<Facts<'a>, VerifyFailure> {
        let epoch = self.epoch_for(evidence, clock)?;
        let requested_ms = request.timestamp.unix_ms();
        let expires_ms = i64::try_from(evidence.expires_at).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX);
        let lifetime_ms =
            i64::try_from(self.anchors.max_lifetime).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX);
        if expires_ms <= requested_ms || expires_ms > requested_ms.saturating_add(lifetime_ms) {
            return fail(1, format!("expires_at is not within {} s after the request", self.anchors.max_lifetime));
        }
        match clock {
            Clock::Now(now) if now.unix_ms() >= expires_ms => return fail(1, "the authorization has expired"),
            Clock::Now(_) | Clock::Audit => {}
        }
        let step2 = |e: crate::schema::Refusal| VerifyFailure::new(2, e.to_string());
        let action = crypto::hash::action_hash_of(request).map_err(step2)?;
        if action != request.action_hash {
            return fail(2, "the request's own action_hash is wrong");
        }
        same_hash("action_hash", response.action_hash, action, false)?;
        let request_hash = crypto::request_hash(request).map_err(step2)?;
        same_hash("request_hash", response.request_hash, request_hash, false)?;
        if evidence.risk_bps != request.risk_score.bps() {
            return fail(2, "risk_bps is not the request's risk score");
        }
        if evidence.chain_id != self.anchors.chain_id || evidence.contract != self.anchors.contract {
            return fail(2, "the evidence is of another chain or contract than the pinned one");
        }
        if !epoch.bridges.iter().any(|bridge| bridge.requester == evidence.requester) {
            return fail(2, format!("{} is no pinned requester of epoch {}", evidence.requester, epoch.epoch));
        }
        let chain_request =
            crypto::hash::chain_request(request, evidence.requester, evidence.expires_at, evidence.epoch)
                .map_err(step2)?;
        let id = crypto::authorization_id(&chain_request);
        if id != response.authorization_id {
            return fail(2, "authorization_id does not follow from the request");
        }
        Ok(Facts { id, epoch, chain_request, expires_at_s: evidence.expires_at })
    }

    fn epoch_for(&self, evidence: &Evidence, clock: Clock) -> Result<&EpochAnchors, VerifyFailure> {
        let pinned = match clock {
            Clock::Now(_) => self.anchors.latest().filter(|epoch| epoch.epoch == evidence.epoch),
            Clock::Audit => self.anchors.epoch(evidence.epoch),
        };
        pinned.ok_or_else(|| {
            VerifyFailure::new(1, format!("epoch {} is not the one that the anchors pin", evidence.epoch))
        })
    }

    fn vote_context<'a>(
        &'a self,
        request: &'a AuthRequest,
        evidence: &'a Evidence,
        facts: &'a Facts<'a>,
    ) -> VoteContext<'a> {
        VoteContext {
            domain: self.domain(),
            anchors: &self.anchors,
            epoch: facts.epoch,
            request,
            id: facts.id,
            chain_request: &facts.chain_request,
            evidence,
        }
    }

    /// Step 4 up to the log: header, both proofs, a receipt that succeeded, a log of the pinned contract.
    fn prove(&self, response: &AuthResponse, evidence: &Evidence) -> Result<Proven, VerifyFailure> {
        if keccak256(&evidence.block_header) != response.block_hash {
            return fail(4, "block_header does not hash to block_hash");
        }
        let mut rest: &[u8] = &evidence.block_header;
        let header = match Header::decode(&mut rest) {
            Ok(header) if rest.is_empty() => header,
            Ok(_) => return fail(4, "block_header has bytes after the header"),
            Err(error) => return fail(4, format!("block_header does not decode: {error}")),
        };
        if header.number != response.block_number {
            return fail(4, format!("the header is of block {}", header.number));
        }
        let index = evidence.transaction_index;
        let transaction = trie::check(header.transactions_root, index, &evidence.transaction_proof)
            .map_err(|e| VerifyFailure::new(4, format!("transaction_proof: {e}")))?;
        if keccak256(&transaction) != response.blockchain_tx_hash {
            return fail(4, "the proven transaction is not blockchain_tx_hash");
        }
        let receipt = trie::check(header.receipts_root, index, &evidence.receipt_proof)
            .map_err(|e| VerifyFailure::new(4, format!("receipt_proof: {e}")))?;
        let receipt = ReceiptEnvelope::<Log>::decode_2718_exact(&receipt)
            .map_err(|e| VerifyFailure::new(4, format!("the receipt does not decode: {e}")))?;
        if !receipt.status() {
            return fail(4, "the transaction reverted");
        }
        let log = usize::try_from(evidence.log_index).ok().and_then(|index| receipt.logs().get(index));
        match log {
            Some(log) if log.address == self.anchors.contract => {
                Ok(Proven { log: log.clone(), block_time_s: header.timestamp })
            }
            Some(log) => fail(4, format!("the log is of {}, not of the pinned contract", log.address)),
            None => fail(4, format!("the receipt has no log {}", evidence.log_index)),
        }
    }

    /// Step 5. Without an epoch (no evidence, so no requester) any bridge of the highest epoch may have signed.
    fn check_signature(&self, response: &AuthResponse, epoch: Option<&EpochAnchors>) -> Result<(), VerifyFailure> {
        let hash =
            crypto::evidence_hash(response.evidence.as_ref()).map_err(|e| VerifyFailure::new(5, e.to_string()))?;
        if hash != response.evidence_hash {
            return fail(5, "evidence_hash does not match the evidence");
        }
        let signer = crypto::recover(crypto::response_digest(&self.domain(), response), &response.signature)
            .map_err(|e| VerifyFailure::new(5, format!("the bridge's signature: {e}")))?;
        let requester = response.evidence.as_ref().map(|evidence| evidence.requester);
        let pinned = epoch.or_else(|| self.anchors.latest()).is_some_and(|epoch| {
            epoch
                .bridges
                .iter()
                .any(|b| b.signer == signer && requester.is_none_or(|requester| b.requester == requester))
        });
        if pinned {
            Ok(())
        } else {
            fail(5, format!("the response is signed by {signer}, who is not the pinned bridge"))
        }
    }
}

/// How a `cancelled:` reason begins.
pub const CANCELLED: &str = "cancelled: ";
/// How an `expired:` reason begins.
pub const EXPIRED: &str = "expired: ";
/// How a `refused:` reason begins.
pub const REFUSED: &str = "refused: ";

fn names_request(request: &AuthRequest, response: &AuthResponse) -> Result<(), VerifyFailure> {
    let named: &RequestId = &response.request_id;
    if *named == request.request_id { Ok(()) } else { fail(1, format!("the response is for another request, {named}")) }
}

fn same_hash(name: &str, found: Sha256Digest, expected: Sha256Digest, zero_allowed: bool) -> Result<(), VerifyFailure> {
    if found == expected || (zero_allowed && found == Sha256Digest::ZERO) {
        Ok(())
    } else {
        fail(2, format!("{name} is not the request's"))
    }
}

fn expect_event(id: B256, action: B256, facts: &Facts<'_>, request: &AuthRequest) -> Result<(), VerifyFailure> {
    if id == facts.id.0 && action == request.action_hash.0 {
        Ok(())
    } else {
        fail(4, "the event is of another authorization")
    }
}

/// What steps 1 and 2 established.
struct Facts<'a> {
    id: AuthorizationId,
    epoch: &'a EpochAnchors,
    chain_request: abi::Request,
    expires_at_s: u64,
}

impl Facts<'_> {
    fn no_votes(&self, response: &AuthResponse, evidence: &Evidence) -> Result<(), VerifyFailure> {
        let blank = evidence.votes.is_empty()
            && response.conditions.is_empty()
            && response.denial_reason.is_none()
            && response.approver == Address::ZERO;
        if blank {
            Ok(())
        } else {
            fail(3, format!("a {} response holds votes, conditions or an approver", response.decision.as_str()))
        }
    }

    fn before_expiry(&self, proven: &Proven) -> Result<(), VerifyFailure> {
        if proven.block_time_s < self.expires_at_s {
            Ok(())
        } else {
            fail(1, "the block is not earlier than expires_at")
        }
    }
}

/// What step 4 proved: a log of the pinned contract, in a block of this time.
struct Proven {
    log: Log,
    block_time_s: u64,
}

impl Proven {
    fn event<E: SolEvent>(&self) -> Result<E, VerifyFailure> {
        E::decode_log_data_validate(&self.log.data)
            .map_err(|e| VerifyFailure::new(4, format!("the log is no {}: {e}", E::SIGNATURE)))
    }
}
