//! What verification comes to. The values that something may run on are made in this module's
//! sibling [`super::verify`] alone: their fields are private to `evidence`.

use std::fmt;

use alloy::primitives::Address;

use crate::schema::{AuthRequest, AuthorizationId, Sha256Digest, Timestamp};

/// What could turn a failure into a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    None,
    /// The chain may say otherwise in a moment: it was not reached, or is not that far yet.
    AskAgain,
    /// An endpoint could decide what nothing offline can: a contract's vote (ERC-1271).
    AskTheChain,
}

/// The verdict on a response that does not verify: which step failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step} of the verification failed: {reason}")]
pub struct VerifyFailure {
    /// 1 to 6, PROTOCOL section 7.
    pub step: u8,
    pub reason: String,
    pub cure: Cure,
}

impl VerifyFailure {
    pub fn new(step: u8, reason: impl Into<String>) -> Self {
        VerifyFailure { step, reason: reason.into(), cure: Cure::None }
    }

    /// A failure that asking the endpoint again may cure.
    pub(super) fn not_yet(step: u8, reason: impl Into<String>) -> Self {
        VerifyFailure { step, reason: reason.into(), cure: Cure::AskAgain }
    }

    /// A failure that only an endpoint could cure.
    pub(super) fn not_checkable(step: u8, reason: impl Into<String>) -> Self {
        VerifyFailure { step, reason: reason.into(), cure: Cure::AskTheChain }
    }

    /// Whether asking the endpoint again may cure it.
    pub fn may_pass(&self) -> bool {
        self.cure == Cure::AskAgain
    }
}

pub(super) fn fail<T>(step: u8, reason: impl Into<String>) -> Result<T, VerifyFailure> {
    Err(VerifyFailure::new(step, reason))
}

/// Whether something is to run on the verdict now, or an audit looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The highest pinned epoch alone counts, and the request must not have expired by this moment.
    Now(Timestamp),
    /// The evidence's epoch counts, and no clock is read.
    Audit,
}

/// An approval whose votes and proofs hold. Only [`super::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedApproval {
    pub(super) request: AuthRequest,
    pub(super) authorization_id: AuthorizationId,
    pub(super) expires_at_s: u64,
    pub(super) conditions: Vec<String>,
    pub(super) approvers: Vec<Address>,
}

impl VerifiedApproval {
    pub fn request(&self) -> &AuthRequest {
        &self.request
    }

    pub fn authorization_id(&self) -> AuthorizationId {
        self.authorization_id
    }

    /// Unix seconds.
    pub fn expires_at_s(&self) -> u64 {
        self.expires_at_s
    }

    pub fn conditions(&self) -> &[String] {
        &self.conditions
    }

    pub fn approvers(&self) -> &[Address] {
        &self.approvers
    }
}

/// A verified approval that was consumed on chain under one claim. Only [`super::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedConsumption {
    pub(super) approval: VerifiedApproval,
    pub(super) claim: Sha256Digest,
    pub(super) chain: ChainVerdict,
}

impl VerifiedConsumption {
    pub fn approval(&self) -> &VerifiedApproval {
        &self.approval
    }

    pub fn claim(&self) -> Sha256Digest {
        self.claim
    }

    pub fn chain(&self) -> ChainVerdict {
        self.chain
    }
}

/// What step 6 came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainVerdict {
    Checked,
    /// The anchors say `chain_check: off`.
    NotChecked,
}

impl fmt::Display for ChainVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChainVerdict::Checked => "chain: checked",
            ChainVerdict::NotChecked => "chain: not checked",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// An approver said no.
    Denied,
    Cancelled,
    /// The bridge's word: nobody decided in time.
    Expired,
    /// The bridge's word: the request broke a rule.
    Refused,
}

/// A denial whose proofs hold, or that the pinned bridge signed where there is nothing to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDenial {
    pub kind: DenialKind,
    pub reason: String,
    pub approver: Address,
    pub authorization_id: AuthorizationId,
}

#[derive(Clone, Debug)]
pub enum VerifiedDecision {
    Approved(Box<VerifiedApproval>),
    Denied(VerifiedDenial),
}
