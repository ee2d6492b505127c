//! The hashes of PROTOCOL section 3.

use alloy::primitives::{Address, B256, aliases::U40, keccak256};
use alloy::sol_types::SolValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::abi;
use crate::schema::message::ClaimSecret;
use crate::schema::{
    AuthRequest, AuthorizationId, Evidence, Outcome, Refusal, RequestId, Sha256Digest, Timestamp, ToolName, json,
};

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(B256::from_slice(&Sha256::digest(bytes)))
}

/// SHA-256 over the canonical JSON of an action: what an approver decides on.
///
/// `salt` is the empty string where the request has none.
///
/// # Errors
/// None for parameters that came from a parsed message.
pub fn action_hash(
    request_id: &RequestId,
    timestamp: Timestamp,
    salt: &str,
    tool_name: &ToolName,
    parameters: &Map<String, Value>,
) -> Result<Sha256Digest, Refusal> {
    action_preimage(request_id, timestamp, salt, tool_name, parameters).map(|bytes| sha256(&bytes))
}

/// The canonical bytes that [`action_hash`] hashes.
///
/// # Errors
/// As [`action_hash`].
pub fn action_preimage(
    request_id: &RequestId,
    timestamp: Timestamp,
    salt: &str,
    tool_name: &ToolName,
    parameters: &Map<String, Value>,
) -> Result<Vec<u8>, Refusal> {
    json::canonical(&json!({
        "domain": "guardrail.action.v1",
        "request_id": request_id,
        "timestamp": timestamp,
        "salt": salt,
        "tool_name": tool_name,
        "parameters": parameters,
    }))
}

/// The action hash of a request, computed from its own fields.
///
/// # Errors
/// None for a parsed request.
pub fn action_hash_of(request: &AuthRequest) -> Result<Sha256Digest, Refusal> {
    let salt = request.salt.as_deref().unwrap_or_default();
    action_hash(&request.request_id, request.timestamp, salt, &request.tool_name, &request.parameters)
}

/// SHA-256 over the canonical JSON of the whole request.
///
/// # Errors
/// None for a parsed request.
pub fn request_hash(request: &AuthRequest) -> Result<Sha256Digest, Refusal> {
    request.canonical().map(|bytes| sha256(&bytes))
}

/// The `Request` struct that the contract rehashes on every call.
///
/// # Errors
/// None for a parsed request.
pub fn chain_request(
    request: &AuthRequest,
    requester: Address,
    expires_at_s: u64,
    epoch: u64,
) -> Result<abi::Request, Refusal> {
    Ok(abi::Request {
        requestIdHash: keccak256(request.request_id.as_str()),
        toolHash: keccak256(request.tool_name.as_str()),
        actionHash: request.action_hash.0,
        requestHash: request_hash(request)?.0,
        requester,
        expiresAt: U40::saturating_from(expires_at_s),
        riskBps: request.risk_score.bps(),
        epoch,
    })
}

/// keccak256 of the ABI encoding of the struct.
pub fn authorization_id(request: &abi::Request) -> AuthorizationId {
    AuthorizationId(keccak256(request.abi_encode()))
}

/// SHA-256 of the secret that only the executing process holds.
pub fn claim_of(secret: &ClaimSecret) -> Sha256Digest {
    sha256(secret.0.as_slice())
}

/// What `recordExecution` stores: the outcome and the tool's result under one hash.
///
/// # Errors
/// None for a result that a tool returned.
pub fn outcome_hash(
    id: AuthorizationId,
    claim: Sha256Digest,
    outcome: Outcome,
    result: &Value,
) -> Result<Sha256Digest, Refusal> {
    let preimage = json::canonical(&json!({
        "domain": "guardrail.outcome.v1",
        "authorization_id": id,
        "claim": claim,
        "outcome": outcome,
        "result": result,
    }))?;
    Ok(sha256(&preimage))
}

/// SHA-256 over the canonical evidence; zero where there is none.
///
/// # Errors
/// None for evidence that was parsed or built from typed parts.
pub fn evidence_hash(evidence: Option<&Evidence>) -> Result<Sha256Digest, Refusal> {
    match evidence {
        Some(evidence) => evidence.canonical().map(|bytes| sha256(&bytes)),
        None => Ok(Sha256Digest::ZERO),
    }
}

/// Seals a secret parameter: SHA-256("guardrail.seal.v1" ‖ k ‖ JCS(value)) (PROTOCOL section 2).
///
/// # Errors
/// None for a value that came from a parsed message.
pub fn seal(k: &[u8; 32], value: &Value) -> Result<Sha256Digest, Refusal> {
    let mut preimage = b"guardrail.seal.v1".to_vec();
    preimage.extend_from_slice(k);
    preimage.extend_from_slice(&json::canonical(value)?);
    Ok(sha256(&preimage))
}
