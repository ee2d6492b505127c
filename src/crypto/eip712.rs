//! The two EIP-712 types of PROTOCOL section 4: `Vote` and `AuthResponse`.

use alloy::primitives::{Address, B256, keccak256};
use alloy::sol_types::{Eip712Domain, SolStruct, SolValue};

use crate::schema::{AuthResponse, AuthorizationId, LedgerKind, Sha256Digest, ToolName};

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
        SigningDomain::of(LedgerKind::Evm, chain_id, contract)
    }

    /// The domain of the in-memory ledger: the same, under the name "Guardrail Mock".
    pub fn mock(chain_id: u64, contract: Address) -> Self {
        SigningDomain::of(LedgerKind::Mock, chain_id, contract)
    }

    /// The domain of a kind of ledger.
    pub fn of(ledger: LedgerKind, chain_id: u64, contract: Address) -> Self {
        SigningDomain(alloy::sol_types::eip712_domain! {
            name: ledger.domain_name(),
            version: VERSION,
            chain_id: chain_id,
            verifying_contract: contract,
        })
    }
}

/// The version in the EIP-712 domain.
pub const VERSION: &str = "1";

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

/// [`vote_digest`] from what the contract knows of a tool, the hash of its name.
///
/// keccak256(0x1901 ‖ domain separator ‖ keccak256(type hash ‖ id ‖ tool ‖ action ‖ approve ‖ keccak256(note))),
/// as `hashVote` of the contract computes it (EIP-712).
pub fn vote_digest_by_hash(
    domain: &SigningDomain,
    id: AuthorizationId,
    tool_hash: B256,
    action_hash: B256,
    approve: bool,
    note: &str,
) -> B256 {
    let type_hash = keccak256(typed::Vote::eip712_encode_type().as_bytes());
    let fields = (type_hash, id.0, tool_hash, action_hash, approve, keccak256(note));
    let (separator, message) = (domain.0.separator(), keccak256(fields.abi_encode()));
    keccak256([&[0x19, 0x01][..], separator.as_slice(), message.as_slice()].concat())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hash::sha256;

    #[test]
    fn a_vote_has_one_digest_a_ledger_however_it_is_computed() {
        let tool: ToolName = "deploy_to_production".parse().unwrap();
        let (id, action) = (AuthorizationId(keccak256("id")), sha256(b"action"));
        let digests = [LedgerKind::Evm, LedgerKind::Mock].map(|ledger| {
            let domain = SigningDomain::of(ledger, 31337, Address::repeat_byte(7));
            let digest = vote_digest(&domain, id, &tool, action, true, "canary first");
            let by_hash = vote_digest_by_hash(&domain, id, keccak256(tool.as_str()), action.0, true, "canary first");
            assert_eq!(digest, by_hash, "{ledger}");
            digest
        });
        assert_ne!(digests[0], digests[1]);
    }
}
