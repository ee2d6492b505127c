//! Step 3 of PROTOCOL section 7: whose votes these are, and whether they are enough.

use std::collections::BTreeMap;

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind};
use alloy::sol_types::SolCall;

use super::verdict::{Cure, VerifyFailure};
use crate::crypto::{self, SigningDomain, abi};
use crate::schema::anchors::{EpochAnchors, TrustAnchors};
use crate::schema::{AuthRequest, AuthorizationId, Evidence, EvidenceVote, VoteProof};

const STEP: u8 = 3;

/// A vote that is not its approver's own ECDSA signature: a contract may say that it is its own (ERC-1271).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WalletVote {
    pub wallet: Address,
    pub digest: B256,
    pub signature: Bytes,
}

/// What contracts said of their votes; nothing where nobody asked them.
pub(super) type WalletAnswers = BTreeMap<WalletVote, bool>;

/// What every vote of a response is checked against.
pub(super) struct VoteContext<'a> {
    pub domain: &'a SigningDomain,
    pub anchors: &'a TrustAnchors,
    pub epoch: &'a EpochAnchors,
    pub request: &'a AuthRequest,
    pub id: AuthorizationId,
    pub chain_request: &'a abi::Request,
    pub evidence: &'a Evidence,
    pub wallets: &'a WalletAnswers,
}

impl VoteContext<'_> {
    fn fail(&self, reason: String) -> VerifyFailure {
        VerifyFailure::new(STEP, reason)
    }

    /// The approvers of an approval, ascending, and in words; they meet the pinned policy line.
    pub fn check_approval(&self) -> Result<(Vec<Address>, String), VerifyFailure> {
        let votes = &self.evidence.votes;
        if let Some(denial) = votes.iter().find(|vote| !vote.approve) {
            return Err(self.fail(format!("an approved response holds a denial of {}", denial.approver)));
        }
        let approvers = self.check_each()?;
        let risk = self.request.risk_score;
        let line = self.epoch.line_for(risk).ok_or_else(|| self.fail(format!("no policy line for risk {risk}")))?;
        let asked: Vec<String> = line.quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect();
        let asked = asked.join(" and ");
        if self.epoch.quorum_met(line, &approvers) {
            let whose: Vec<String> = approvers.iter().map(|approver| self.named(*approver)).collect();
            Ok((approvers, format!("{} approve; risk {risk} asks for {asked}", whose.join(", "))))
        } else {
            Err(self.fail(format!("{} votes do not meet the quorum for risk {risk}: {asked}", approvers.len())))
        }
    }

    fn named(&self, approver: Address) -> String {
        format!("{approver} ({})", self.epoch.role_of(approver).unwrap_or_default())
    }

    /// The one denial of a denied response, and in words.
    pub fn check_denial(&self) -> Result<(&EvidenceVote, String), VerifyFailure> {
        match self.evidence.votes.as_slice() {
            [vote] if !vote.approve => {
                self.check_each()?;
                Ok((vote, format!("{} denies", self.named(vote.approver))))
            }
            [_] => Err(self.fail("a denied response holds an approval, no denial".to_owned())),
            votes => Err(self.fail(format!("a denied response holds one denial, found {} votes", votes.len()))),
        }
    }

    /// Checks every vote by itself; the approvers must ascend, so that nobody counts twice.
    ///
    /// A vote that only an endpoint can judge is named last: any other fault outweighs it.
    fn check_each(&self) -> Result<Vec<Address>, VerifyFailure> {
        self.ascending()?;
        let mut open = None;
        for vote in &self.evidence.votes {
            match self.check_vote(vote) {
                Ok(()) => {}
                Err(failure) if failure.cure == Cure::AskTheChain => open = open.or(Some(failure)),
                Err(failure) => return Err(failure),
            }
        }
        match open {
            None => Ok(self.evidence.votes.iter().map(|vote| vote.approver).collect()),
            Some(failure) => Err(failure),
        }
    }

    fn ascending(&self) -> Result<(), VerifyFailure> {
        match self.evidence.votes.windows(2).find(|pair| pair[0].approver >= pair[1].approver) {
            None => Ok(()),
            Some(pair) => {
                Err(self.fail(format!("votes stand by ascending address, each once: {} does not", pair[1].approver)))
            }
        }
    }

    /// The votes that only their approvers' contracts can judge; at most one of each pinned approver.
    pub fn wallet_votes(&self) -> Result<Vec<WalletVote>, VerifyFailure> {
        self.ascending()?;
        let of = |vote: &EvidenceVote| match &vote.proof {
            VoteProof::Signature(signature) if self.epoch.role_of(vote.approver).is_some() => {
                let digest = self.digest(vote);
                let own = crypto::recover(digest, signature).is_ok_and(|signer| signer == vote.approver);
                (!own).then(|| WalletVote { wallet: vote.approver, digest, signature: signature.clone() })
            }
            VoteProof::Signature(_) | VoteProof::Transaction(_) => None,
        };
        Ok(self.evidence.votes.iter().filter_map(of).collect())
    }

    fn digest(&self, vote: &EvidenceVote) -> B256 {
        let (tool, action) = (&self.request.tool_name, self.request.action_hash);
        crypto::vote_digest(self.domain, self.id, tool, action, vote.approve, vote.note.as_str())
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

    fn check_signature(&self, vote: &EvidenceVote, signature: &Bytes) -> Result<(), VerifyFailure> {
        let of = vote.approver;
        let digest = self.digest(vote);
        let why = match crypto::recover(digest, signature) {
            Ok(signer) if signer == of => return Ok(()),
            Ok(signer) => format!("it recovers to {signer}"),
            Err(error) => error.to_string(),
        };
        match self.wallets.get(&WalletVote { wallet: of, digest, signature: signature.clone() }) {
            Some(true) => Ok(()),
            Some(false) => {
                Err(self
                    .fail(format!("the vote of {of}: {why}, and no contract there takes it for its own (ERC-1271)")))
            }
            None => Err(VerifyFailure::not_checkable(
                STEP,
                format!(
                    "the vote of {of}: {why}; if {of} is a contract, its vote is not checkable without an endpoint"
                ),
            )),
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
