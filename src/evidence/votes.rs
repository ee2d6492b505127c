//! Step 3 of PROTOCOL section 7: whose votes these are, and whether they are enough.

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, TxKind};
use alloy::sol_types::SolCall;

use super::verdict::VerifyFailure;
use crate::crypto::{self, SigningDomain, abi};
use crate::schema::anchors::{EpochAnchors, TrustAnchors};
use crate::schema::{AuthRequest, AuthorizationId, Evidence, EvidenceVote, VoteProof};

const STEP: u8 = 3;

/// What every vote of a response is checked against.
pub(super) struct VoteContext<'a> {
    pub domain: SigningDomain,
    pub anchors: &'a TrustAnchors,
    pub epoch: &'a EpochAnchors,
    pub request: &'a AuthRequest,
    pub id: AuthorizationId,
    pub chain_request: &'a abi::Request,
    pub evidence: &'a Evidence,
}

impl VoteContext<'_> {
    fn fail(&self, reason: String) -> VerifyFailure {
        VerifyFailure::new(STEP, reason)
    }

    /// The approvers of an approval, ascending; they meet the pinned policy line.
    pub fn check_approval(&self) -> Result<Vec<Address>, VerifyFailure> {
        let votes = &self.evidence.votes;
        if let Some(denial) = votes.iter().find(|vote| !vote.approve) {
            return Err(self.fail(format!("an approved response holds a denial of {}", denial.approver)));
        }
        let approvers = self.check_each()?;
        let risk = self.request.risk_score;
        let line = self.epoch.line_for(risk).ok_or_else(|| self.fail(format!("no policy line for risk {risk}")))?;
        if self.epoch.quorum_met(line, &approvers) {
            Ok(approvers)
        } else {
            let asked: Vec<String> = line.quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect();
            Err(self.fail(format!(
                "{} votes do not meet the quorum for risk {risk}: {}",
                approvers.len(),
                asked.join(" and ")
            )))
        }
    }

    /// The one denial of a denied response.
    pub fn check_denial(&self) -> Result<&EvidenceVote, VerifyFailure> {
        match self.evidence.votes.as_slice() {
            [vote] if !vote.approve => {
                self.check_each()?;
                Ok(vote)
            }
            [_] => Err(self.fail("a denied response holds an approval, no denial".to_owned())),
            votes => Err(self.fail(format!("a denied response holds one denial, found {} votes", votes.len()))),
        }
    }

    /// Checks every vote by itself; the approvers must ascend, so that nobody counts twice.
    fn check_each(&self) -> Result<Vec<Address>, VerifyFailure> {
        let votes = &self.evidence.votes;
        if let Some(pair) = votes.windows(2).find(|pair| pair[0].approver >= pair[1].approver) {
            return Err(
                self.fail(format!("votes stand by ascending address, each once: {} does not", pair[1].approver))
            );
        }
        votes.iter().map(|vote| self.check_vote(vote).map(|()| vote.approver)).collect()
    }

    fn check_vote(&self, vote: &EvidenceVote) -> Result<(), VerifyFailure> {
        let approver = vote.approver;
        if approver == self.evidence.requester {
            return Err(self.fail(format!("{approver} is the requester")));
        }
        if self.epoch.role_of(approver).is_none() {
            return Err(self.fail(format!("{approver} is no approver of epoch {}", self.epoch.epoch)));
        }
        match &vote.proof {
            VoteProof::Signature(signature) => self.check_signature(vote, signature),
            VoteProof::Transaction(raw) => self.check_transaction(vote, raw),
        }
    }

    fn check_signature(&self, vote: &EvidenceVote, signature: &[u8]) -> Result<(), VerifyFailure> {
        let (tool, action) = (&self.request.tool_name, self.request.action_hash);
        let digest = crypto::vote_digest(&self.domain, self.id, tool, action, vote.approve, vote.note.as_str());
        match crypto::recover(digest, signature) {
            Ok(signer) if signer == vote.approver => Ok(()),
            Ok(signer) => Err(self.fail(format!(
                "the vote of {} recovers to {signer}; if the approver is a contract, it is not checkable offline",
                vote.approver
            ))),
            Err(error) => Err(self.fail(format!(
                "the vote of {}: {error}; if the approver is a contract, it is not checkable offline",
                vote.approver
            ))),
        }
    }

    fn check_transaction(&self, vote: &EvidenceVote, raw: &[u8]) -> Result<(), VerifyFailure> {
        let of = vote.approver;
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|e| self.fail(format!("the vote transaction of {of} does not decode: {e}")))?;
        let signer = envelope
            .recover_signer()
            .map_err(|e| self.fail(format!("the vote transaction of {of} recovers to no key: {e}")))?;
        if signer != of {
            return Err(self.fail(format!("the vote transaction of {of} recovers to {signer}")));
        }
        if envelope.chain_id() != Some(self.anchors.chain_id) {
            return Err(self.fail(format!("the vote transaction of {of} is for another chain")));
        }
        if envelope.kind() != TxKind::Call(self.anchors.contract) {
            return Err(self.fail(format!("the vote transaction of {of} calls another contract")));
        }
        let call =
            abi::voteCall { r: self.chain_request.clone(), approve: vote.approve, note: vote.note.as_str().to_owned() };
        if envelope.input().as_ref() != call.abi_encode() {
            return Err(self.fail(format!("the vote transaction of {of} says something else")));
        }
        Ok(())
    }
}
