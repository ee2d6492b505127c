//! The two EIP-712 types of PROTOCOL section 4: `Vote` and `AuthResponse`.

use alloy::primitives::{Address, B256};
use alloy::sol_types::{Eip712Domain, SolStruct};

use crate::schema::{AuthResponse, AuthorizationId, Sha256Digest, ToolName};

mod typed {
    alloy::sol! {
        struct Vote { bytes32 id; string tool_name; bytes32 action_hash; bool approve; string note; }
        struct AuthResponse {
            string request_id; bytes32 authorization_id; bytes32 action_hash; bytes32 request_hash; string decision;
            bytes32 blockchain_tx_hash; uint64 block_number; bytes32 block_hash; address approver; string timestamp;
            string denial_reason; string[] conditions; bytes32 evidence_hash;
        }
    }
}

/// Where a signature counts: one contract on one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningDomain(Eip712Domain);

impl SigningDomain {
    /// The domain `{name: "Guardrail", version: "1", chainId, verifyingContract}`.
    pub fn new(chain_id: u64, contract: Address) -> Self {
        SigningDomain(alloy::sol_types::eip712_domain! {
            name: "Guardrail",
            version: "1",
            chain_id: chain_id,
            verifying_contract: contract,
        })
    }
}

/// What an approver signs.
pub fn vote_digest(
    domain: &SigningDomain,
    id: AuthorizationId,
    tool_name: &ToolName,
    action_hash: Sha256Digest,
    approve: bool,
    note: &str,
) -> B256 {
    let vote = typed::Vote {
        id: id.0,
        tool_name: tool_name.as_str().to_owned(),
        action_hash: action_hash.0,
        approve,
        note: note.to_owned(),
    };
    vote.eip712_signing_hash(&domain.0)
}

/// What the bridge signs: every field but the signature, `evidence` through its hash.
pub fn response_digest(domain: &SigningDomain, response: &AuthResponse) -> B256 {
    let typed = typed::AuthResponse {
        request_id: response.request_id.to_string(),
        authorization_id: response.authorization_id.0,
        action_hash: response.action_hash.0,
        request_hash: response.request_hash.0,
        decision: response.decision.as_str().to_owned(),
        blockchain_tx_hash: response.blockchain_tx_hash,
        block_number: response.block_number,
        block_hash: response.block_hash,
        approver: response.approver,
        timestamp: response.timestamp.to_string(),
        denial_reason: response.denial_reason.clone().unwrap_or_default(),
        conditions: response.conditions.clone(),
        evidence_hash: response.evidence_hash.0,
    };
    typed.eip712_signing_hash(&domain.0)
}
