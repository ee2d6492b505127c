//! Verification of responses (PROTOCOL section 7): what the agent may run on, and what an audit prints.
//!
//! [`super::steps`] holds the steps that need no network, [`super::chain`] what an endpoint is asked.

use super::endpoint::Endpoint;
use super::report::{Report, Trail};
pub use super::steps::{CANCELLED, EXPIRED, Expected, REFUSED};
use super::steps::{Case, Found};
use super::verdict::{
    ChainVerdict, Clock, Cure, VerifiedApproval, VerifiedConsumption, VerifiedDecision, VerifyFailure,
};
use super::votes::WalletAnswers;
use crate::crypto::SigningDomain;
use crate::crypto::abi::ChainStatus;
use crate::schema::anchors::{AnchorsError, TrustAnchors};
use crate::schema::{
    AuthRequest, AuthResponse, AuthorizationId, Decision, LedgerKind, Outcome, Sha256Digest, Timestamp,
};

/// Checks responses against pinned anchors, and consumptions against an endpoint of its own.
#[derive(Clone, Debug)]
pub struct Verifier {
    anchors: TrustAnchors,
    domain: SigningDomain,
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
        let domain = SigningDomain::of(ledger, anchors.chain_id, anchors.contract);
        Ok(Verifier { anchors, domain, endpoint })
    }

    /// The same verifier with the anchors of one epoch alone, where they pin it.
    pub(super) fn at_epoch(&self, epoch: u64) -> Option<Self> {
        let anchors = self.anchors.at_epoch(epoch)?;
        Some(Verifier { anchors, domain: self.domain.clone(), endpoint: self.endpoint.clone() })
    }

    pub fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// The domain in which votes and responses are signed.
    pub(super) fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Verifies an `approved` or `denied` response offline, to act on it now.
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

    /// Verifies an `approved` or `denied` response offline, under a clock.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub fn verify_decision_at(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        clock: Clock,
    ) -> Result<VerifiedDecision, VerifyFailure> {
        let wallets = WalletAnswers::new();
        let case = self.case(request, response, Expected::Decision, clock, &wallets);
        case.walk(&mut Trail::default()).map(|found| decision(request, found))
    }

    /// Verifies an `approved` or `denied` response; contracts among the approvers are asked about their
    /// votes where there is an endpoint.
    ///
    /// # Errors
    /// [`VerifyFailure`] with the first step that fails.
    pub async fn verify_decision_asking(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        clock: Clock,
    ) -> Result<VerifiedDecision, VerifyFailure> {
        let walked = self.verify_decision_at(request, response, clock);
        match (walked, &self.endpoint) {
            (Err(failure), Some(endpoint)) if failure.cure == Cure::AskTheChain => {
                let nothing = WalletAnswers::new();
                let case = self.case(request, response, Expected::Decision, clock, &nothing);
                let wallets = self.ask_wallets(endpoint, &case).await?;
                let case = Case { wallets: &wallets, ..case };
                case.walk(&mut Trail::default()).map(|found| decision(request, found))
            }
            (walked, _) => walked,
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
        let chain: ChainVerdict = self.check_chain(response, &[ChainStatus::Consumed]).await?;
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
        let expected = Expected::Consumption { id: Some(id), claim: Some(claim) };
        let wallets = WalletAnswers::new();
        self.case(request, response, expected, clock, &wallets).walk(&mut Trail::default()).map(|_| ())
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
        let expected = Expected::Record { id: Some(id), recorded: Some((outcome, outcome_hash)) };
        let wallets = WalletAnswers::new();
        self.case(request, response, expected, Clock::Audit, &wallets).walk(&mut Trail::default()).map(|_| ())
    }

    /// Steps 1 to 5 of a response with each step's verdict, for an audit: no clock is read, nobody is asked.
    pub fn report_offline(&self, request: &AuthRequest, response: &AuthResponse, expected: Expected) -> Report {
        self.report_with(request, response, expected, &WalletAnswers::new())
    }

    /// All steps of a response, with step 6 and the votes of contracts where there is an endpoint.
    ///
    /// The anchors' `chain_check` is about running something; whoever audits with an endpoint wants it asked.
    pub async fn report(&self, request: &AuthRequest, response: &AuthResponse, expected: Expected) -> Report {
        let offline = self.report_offline(request, response, expected);
        let Some(endpoint) = &self.endpoint else { return offline };
        let report = match &offline.failure {
            Some(failure) if failure.cure == Cure::AskTheChain => {
                let nothing = WalletAnswers::new();
                let case = self.case(request, response, expected, Clock::Audit, &nothing);
                match self.ask_wallets(endpoint, &case).await {
                    Ok(wallets) => self.report_with(request, response, expected, &wallets),
                    Err(failure) => Trail::default().report(response.decision, Some(failure)),
                }
            }
            Some(_) | None => offline,
        };
        if !report.verified() {
            return report;
        }
        let checked = self.check_chain_at(endpoint, response, states_after(response)).await;
        report.with_chain(checked)
    }

    fn report_with(
        &self,
        request: &AuthRequest,
        response: &AuthResponse,
        expected: Expected,
        wallets: &WalletAnswers,
    ) -> Report {
        let mut trail = Trail::default();
        let walked = self.case(request, response, expected, Clock::Audit, wallets).walk(&mut trail);
        trail.report(response.decision, walked.err())
    }

    fn case<'a>(
        &'a self,
        request: &'a AuthRequest,
        response: &'a AuthResponse,
        expected: Expected,
        clock: Clock,
        wallets: &'a WalletAnswers,
    ) -> Case<'a> {
        Case { anchors: &self.anchors, domain: &self.domain, request, response, expected, clock, wallets }
    }
}

/// The values that something may run on come from here alone.
fn decision(request: &AuthRequest, found: Found) -> VerifiedDecision {
    match found.denial {
        Some(denial) => VerifiedDecision::Denied(denial),
        None => VerifiedDecision::Approved(Box::new(VerifiedApproval {
            request: request.clone(),
            authorization_id: found.id,
            expires_at_s: found.expires_at_s,
            conditions: found.conditions,
            approvers: found.approvers,
        })),
    }
}

/// In which states an id may be, long after a response was true of it.
fn states_after(response: &AuthResponse) -> &'static [ChainStatus] {
    use ChainStatus::{Approved, Cancelled, Consumed, Denied, Expired, None as Unknown, Recorded};
    match (response.decision, &response.evidence) {
        (Decision::Approved, _) => &[Approved, Consumed, Recorded, Denied, Cancelled, Expired],
        (Decision::Consumed, _) => &[Consumed, Recorded],
        (Decision::Recorded, _) => &[Recorded],
        (Decision::Denied, Some(evidence)) if evidence.votes.is_empty() => &[Cancelled],
        (Decision::Denied, Some(_)) => &[Denied],
        (Decision::Denied, None) if response.denial_reason.as_ref().is_some_and(|r| r.starts_with(REFUSED)) => {
            &[Unknown]
        }
        (Decision::Denied, None) => &[Expired],
    }
}
