//! The `AuthResponse` and its evidence (PROTOCOL section 6).

use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hex;
use super::ids::{AuthorizationId, RequestId, Sha256Digest, Timestamp};
use super::json;
use super::message::Note;
use super::request::field_refusal;
use super::rule::{Refusal, Rule};

/// What a response says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approved,
    Denied,
    Consumed,
    Recorded,
}

impl Decision {
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::Approved => "approved",
            Decision::Denied => "denied",
            Decision::Consumed => "consumed",
            Decision::Recorded => "recorded",
        }
    }
}

/// What the bridge answers. The signature covers every field, `evidence` through its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthResponse {
    pub request_id: RequestId,
    pub authorization_id: AuthorizationId,
    pub action_hash: Sha256Digest,
    pub request_hash: Sha256Digest,
    pub decision: Decision,
    #[serde(with = "hex::b256")]
    pub blockchain_tx_hash: B256,
    pub block_number: u64,
    #[serde(with = "hex::b256")]
    pub block_hash: B256,
    #[serde(with = "hex::address")]
    pub approver: Address,
    pub timestamp: Timestamp,
    #[serde(with = "hex::bytes")]
    pub signature: Bytes,
    #[serde(deserialize_with = "Option::deserialize")]
    pub denial_reason: Option<String>,
    pub conditions: Vec<String>,
    pub evidence_hash: Sha256Digest,
    #[serde(deserialize_with = "Option::deserialize")]
    pub evidence: Option<Evidence>,
}

impl AuthResponse {
    /// Parses a response from the bytes of a file.
    ///
    /// # Errors
    /// The first rule of PROTOCOL sections 1 and 6 that the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::from_tree(json::parse_strict(bytes)?)
    }

    /// Builds a response from a parsed tree.
    ///
    /// # Errors
    /// As [`AuthResponse::parse`].
    pub fn from_tree(tree: Value) -> Result<Self, Refusal> {
        if !tree.is_object() {
            return Err(Refusal::new(Rule::NotAnObject, "an AuthResponse is a JSON object"));
        }
        AuthResponse::deserialize(tree).map_err(field_refusal)
    }

    /// Canonical bytes, as they are published.
    ///
    /// # Errors
    /// None for a response that was parsed or built from typed parts.
    pub fn canonical(&self) -> Result<Vec<u8>, Refusal> {
        json::canonical(self)
    }
}

/// What proves a response to a reader with no network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub chain_id: u64,
    #[serde(with = "hex::address")]
    pub contract: Address,
    #[serde(with = "hex::address")]
    pub requester: Address,
    /// Unix seconds.
    pub expires_at: u64,
    pub risk_bps: u16,
    pub epoch: u64,
    /// RLP.
    #[serde(with = "hex::bytes")]
    pub block_header: Bytes,
    pub transaction_index: u64,
    /// Nodes from root to leaf.
    #[serde(with = "hex::bytes_list")]
    pub transaction_proof: Vec<Bytes>,
    #[serde(with = "hex::bytes_list")]
    pub receipt_proof: Vec<Bytes>,
    /// Within the receipt.
    pub log_index: u64,
    pub votes: Vec<EvidenceVote>,
}

impl Evidence {
    /// Canonical bytes, what `evidence_hash` is taken over.
    ///
    /// # Errors
    /// None for evidence that was parsed or built from typed parts.
    pub fn canonical(&self) -> Result<Vec<u8>, Refusal> {
        json::canonical(self)
    }
}

/// One vote in evidence: signed off-chain, or cast by the approver's own transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VoteWire", into = "VoteWire")]
pub struct EvidenceVote {
    pub approver: Address,
    pub approve: bool,
    pub note: Note,
    pub proof: VoteProof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoteProof {
    /// 65 bytes `r ‖ s ‖ v`, or what an ERC-1271 contract accepts.
    Signature(Bytes),
    /// The approver's signed transaction, in its EIP-2718 form.
    Transaction(Bytes),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoteWire {
    #[serde(with = "hex::address")]
    approver: Address,
    approve: bool,
    note: Note,
    #[serde(default, deserialize_with = "super::request::present", skip_serializing_if = "Option::is_none")]
    signature: Option<HexBytes>,
    #[serde(default, deserialize_with = "super::request::present", skip_serializing_if = "Option::is_none")]
    transaction: Option<HexBytes>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct HexBytes(#[serde(with = "hex::bytes")] Bytes);

impl TryFrom<VoteWire> for EvidenceVote {
    type Error = String;

    fn try_from(wire: VoteWire) -> Result<Self, String> {
        let proof = match (wire.signature, wire.transaction) {
            (Some(signature), None) => VoteProof::Signature(signature.0),
            (None, Some(transaction)) => VoteProof::Transaction(transaction.0),
            (None, None) | (Some(_), Some(_)) => {
                return Err("expected a vote with either a signature or a transaction".to_owned());
            }
        };
        Ok(EvidenceVote { approver: wire.approver, approve: wire.approve, note: wire.note, proof })
    }
}

impl From<EvidenceVote> for VoteWire {
    fn from(vote: EvidenceVote) -> Self {
        let (signature, transaction) = match vote.proof {
            VoteProof::Signature(bytes) => (Some(HexBytes(bytes)), None),
            VoteProof::Transaction(bytes) => (None, Some(HexBytes(bytes))),
        };
        VoteWire { approver: vote.approver, approve: vote.approve, note: vote.note, signature, transaction }
    }
}
