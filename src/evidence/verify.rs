//! Verification of responses (PROTOCOL section 7).

use crate::schema::{AuthRequest, AuthorizationId, Sha256Digest};

/// An approval of one request whose proofs hold. Only this module can make one.
#[derive(Clone, Debug)]
pub struct VerifiedApproval {
    request: AuthRequest,
    authorization_id: AuthorizationId,
    expires_at_s: u64,
    conditions: Vec<String>,
}

impl VerifiedApproval {
    pub fn request(&self) -> &AuthRequest {
        &self.request
    }
    pub fn authorization_id(&self) -> AuthorizationId {
        self.authorization_id
    }
    pub fn expires_at_s(&self) -> u64 {
        self.expires_at_s
    }
    pub fn conditions(&self) -> &[String] {
        &self.conditions
    }
}

/// A verified approval that this process consumed on chain under its own claim. Only this module can make one.
#[derive(Clone, Debug)]
pub struct VerifiedConsumption {
    approval: VerifiedApproval,
    claim: Sha256Digest,
}

impl VerifiedConsumption {
    pub fn approval(&self) -> &VerifiedApproval {
        &self.approval
    }
    pub fn claim(&self) -> Sha256Digest {
        self.claim
    }
}
