//! The compiled contract: deploying it, and reading from a chain what a verifier pins.
//!
//! The bindings come from `contracts/artifacts/Authorization.json`, which is checked against
//! its source. What a message says on the wire is in [`crate::crypto::abi`].

use std::collections::BTreeMap;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolConstructor};
use alloy::transports::{RpcError, TransportErrorKind};

use crate::schema::anchors::{
    ANY_ROLE, ApproverAnchor, BridgeAnchor, ChainCheck, EpochAnchors, PolicyLine, TrustAnchors,
};

pub mod admin;
pub mod artifact;

pub mod bindings {
    //! Generated from the artifact.
    #![allow(clippy::too_many_arguments, missing_docs)]
    alloy::sol!(
        #[sol(all_derives)]
        Authorization,
        "contracts/artifacts/Authorization.json"
    );
}

use bindings::Authorization;
pub use bindings::Authorization::{BatchItemSkipped, VoteSkipped};
pub use bindings::IAuthorization;

/// The contract's numbers for roles that have a name of their own (IAuthorization.sol).
const ROLE_NAMES: [(u8, &str); 3] = [(0, ANY_ROLE), (1, "operations"), (2, "security")];

#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    #[error("the endpoint failed: {0}")]
    Rpc(#[from] RpcError<TransportErrorKind>),
    #[error("there is no contract at {0}")]
    NoCode(Address),
    #[error("the code at {address} is not the Authorization contract of this version")]
    OtherCode { address: Address },
    #[error("the contract's answer to {call} does not decode")]
    Decode { call: &'static str },
    #[error("the chain has no genesis block")]
    NoGenesis,
}

/// Who decides, under which policy, and who sends: what a new contract is deployed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub admin: Address,
    pub approvers: Vec<ApproverAnchor>,
    pub policy: Vec<PolicyLine>,
    pub bridges: Vec<BridgeAnchor>,
}

impl Setup {
    /// The policy of PROTOCOL section 9: one approver, and from 0.9 up one of operations and one of security.
    pub fn example_policy() -> Vec<PolicyLine> {
        let line = |min_risk_bps, quorum: &[(&str, u8)]| PolicyLine {
            min_risk_bps,
            quorum: quorum.iter().map(|(role, count)| ((*role).to_owned(), *count)).collect(),
        };
        vec![line(0, &[(ANY_ROLE, 1)]), line(9_000, &[("operations", 1), ("security", 1)])]
    }

    /// Creation code with its arguments: the data of a deployment.
    pub fn init_code(&self) -> Bytes {
        let arguments = Authorization::constructorCall {
            admin_: self.admin,
            approvers_: self
                .approvers
                .iter()
                .map(|a| IAuthorization::ApproverInit { account: a.address, role: role_number(&a.role) })
                .collect(),
            policy_: self.policy.iter().map(policy_line).collect(),
            bridges_: self
                .bridges
                .iter()
                .map(|b| IAuthorization::Bridge { requester: b.requester, signer: b.signer })
                .collect(),
        };
        [Authorization::BYTECODE.as_ref(), &arguments.abi_encode()].concat().into()
    }
}

/// The number of a role's name; an unknown name has the number that `role_<n>` spells, else 0.
pub fn role_number(name: &str) -> u8 {
    let known = ROLE_NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.strip_prefix("role_").and_then(|n| n.parse().ok())).unwrap_or_default()
}

/// The name of a role's number.
pub fn role_name(number: u8) -> String {
    let known = ROLE_NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
    known.unwrap_or_else(|| format!("role_{number}"))
}

/// A policy line as the contract takes and gives it.
pub fn policy_line(line: &PolicyLine) -> IAuthorization::PolicyLine {
    IAuthorization::PolicyLine {
        minRiskBps: line.min_risk_bps,
        quorum: line
            .quorum
            .iter()
            .map(|(role, count)| IAuthorization::Quorum { role: role_number(role), count: *count })
            .collect(),
    }
}

/// Decodes a revert of the contract into its error's name and arguments.
pub fn revert_reason(data: &[u8]) -> Option<String> {
    use alloy::sol_types::SolInterface;
    Authorization::AuthorizationErrors::abi_decode(data).ok().map(|error| format!("{error:?}"))
}

async fn call<P: Provider, C: SolCall>(
    provider: &P,
    contract: Address,
    question: C,
    name: &'static str,
) -> Result<C::Return, ContractError> {
    let request = TransactionRequest::default().to(contract).input(question.abi_encode().into());
    let answer = provider.call(request).await?;
    C::abi_decode_returns(&answer).map_err(|_| ContractError::Decode { call: name })
}

/// Reads the epoch that is in force.
///
/// # Errors
/// [`ContractError`].
pub async fn read_epoch<P: Provider>(provider: &P, contract: Address) -> Result<EpochAnchors, ContractError> {
    let approvers = call(provider, contract, Authorization::approversCall {}, "approvers").await?;
    let policy = call(provider, contract, Authorization::policyCall {}, "policy").await?;
    let bridges = call(provider, contract, Authorization::bridgesCall {}, "bridges").await?;
    let epoch = call(provider, contract, Authorization::epochCall {}, "epoch").await?;
    Ok(EpochAnchors {
        epoch,
        approvers: approvers
            .into_iter()
            .map(|a| ApproverAnchor { address: a.account, role: role_name(a.role) })
            .collect(),
        policy: policy
            .into_iter()
            .map(|line| PolicyLine {
                min_risk_bps: line.minRiskBps,
                quorum: line.quorum.iter().map(|q| (role_name(q.role), q.count)).collect::<BTreeMap<_, _>>(),
            })
            .collect(),
        bridges: bridges.into_iter().map(|b| BridgeAnchor { signer: b.signer, requester: b.requester }).collect(),
    })
}

/// Reads from a chain all that a verifier pins about a contract.
///
/// # Errors
/// [`ContractError::NoCode`] where there is none.
pub async fn read_anchors<P: Provider>(
    provider: &P,
    contract: Address,
    confirmations: u64,
    max_lifetime_s: u64,
) -> Result<TrustAnchors, ContractError> {
    let chain_id = provider.get_chain_id().await?;
    let genesis_hash = genesis_hash(provider).await?;
    let code_hash = code_hash(provider, contract).await?.ok_or(ContractError::NoCode(contract))?;
    let epoch = read_epoch(provider, contract).await?;
    Ok(TrustAnchors {
        chain_id,
        genesis_hash,
        contract,
        code_hash,
        confirmations,
        max_lifetime: max_lifetime_s,
        chain_check: ChainCheck::On,
        epochs: vec![epoch],
    })
}

/// The hash of block 0.
///
/// # Errors
/// [`ContractError`].
pub async fn genesis_hash<P: Provider>(provider: &P) -> Result<B256, ContractError> {
    let block = provider.get_block_by_number(BlockNumberOrTag::Earliest).await?;
    block.map(|block| block.header.hash).ok_or(ContractError::NoGenesis)
}

/// keccak256 of the code at an address, if there is any.
///
/// # Errors
/// [`ContractError::Rpc`].
pub async fn code_hash<P: Provider>(provider: &P, contract: Address) -> Result<Option<B256>, ContractError> {
    let code = provider.get_code_at(contract).await?;
    Ok(if code.is_empty() { None } else { Some(keccak256(code)) })
}

/// Checks that the code at an address is this version's contract, immutables aside.
///
/// # Errors
/// [`ContractError::NoCode`], [`ContractError::OtherCode`].
pub async fn check_code<P: Provider>(provider: &P, address: Address) -> Result<(), ContractError> {
    let code = provider.get_code_at(address).await?;
    if code.is_empty() {
        return Err(ContractError::NoCode(address));
    }
    if same_code(&code) { Ok(()) } else { Err(ContractError::OtherCode { address }) }
}

/// Whether runtime code is the artifact's: equal wherever the artifact has no immutable's placeholder.
fn same_code(code: &[u8]) -> bool {
    let spans = serde_json::from_str(ARTIFACT).ok().as_ref().and_then(immutable_spans);
    spans.is_some_and(|spans| same_outside(code, &Authorization::DEPLOYED_BYTECODE, &spans))
}

/// Whether two codes are equal outside of spans (start, length), which ascend.
fn same_outside(code: &[u8], expected: &[u8], spans: &[(usize, usize)]) -> bool {
    let mut at = 0;
    for (start, length) in spans {
        if code.get(at..*start) != expected.get(at..*start) {
            return false;
        }
        at = start + length;
    }
    code.len() == expected.len() && code.get(at..) == expected.get(at..)
}

/// Where the compiler left room for immutables, ascending: (start, length) in bytes.
fn immutable_spans(artifact: &serde_json::Value) -> Option<Vec<(usize, usize)>> {
    let mut spans = Vec::new();
    for place in artifact.get("immutableReferences")?.as_array()? {
        let field = |name: &str| place.get(name)?.as_u64().and_then(|n| usize::try_from(n).ok());
        spans.push((field("start")?, field("length")?));
    }
    spans.sort_unstable();
    Some(spans)
}

const ARTIFACT: &str = include_str!("../../contracts/artifacts/Authorization.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::abi;
    use alloy::sol_types::SolEvent;

    #[test]
    fn the_artifact_speaks_the_protocol() {
        let selectors = |theirs: [[u8; 4]; 7], ours: [[u8; 4]; 7]| assert_eq!(theirs, ours);
        selectors(
            [
                Authorization::requestAuthorizationCall::SELECTOR,
                Authorization::decideCall::SELECTOR,
                Authorization::voteCall::SELECTOR,
                Authorization::consumeCall::SELECTOR,
                Authorization::recordExecutionCall::SELECTOR,
                Authorization::cancelCall::SELECTOR,
                Authorization::statusOfCall::SELECTOR,
            ],
            [
                abi::requestAuthorizationCall::SELECTOR,
                abi::decideCall::SELECTOR,
                abi::voteCall::SELECTOR,
                abi::consumeCall::SELECTOR,
                abi::recordExecutionCall::SELECTOR,
                abi::cancelCall::SELECTOR,
                abi::statusOfCall::SELECTOR,
            ],
        );
        assert_eq!(
            [
                Authorization::requestBatchCall::SELECTOR,
                Authorization::decideBatchCall::SELECTOR,
                Authorization::consumeBatchCall::SELECTOR,
                Authorization::recordBatchCall::SELECTOR,
            ],
            [
                abi::requestBatchCall::SELECTOR,
                abi::decideBatchCall::SELECTOR,
                abi::consumeBatchCall::SELECTOR,
                abi::recordBatchCall::SELECTOR,
            ]
        );
        assert_eq!(
            [
                Authorization::AuthorizationRequested::SIGNATURE_HASH,
                Authorization::VoteCast::SIGNATURE_HASH,
                Authorization::AuthorizationApproved::SIGNATURE_HASH,
                Authorization::AuthorizationDenied::SIGNATURE_HASH,
                Authorization::AuthorizationCancelled::SIGNATURE_HASH,
                Authorization::AuthorizationConsumed::SIGNATURE_HASH,
                Authorization::ExecutionRecorded::SIGNATURE_HASH,
            ],
            abi::LIFE_TOPICS
        );
    }

    #[test]
    fn code_with_other_immutables_is_the_same_and_with_another_byte_is_not() {
        let mut code = Authorization::DEPLOYED_BYTECODE.to_vec();
        assert!(same_code(&code));
        let (start, length) = immutable_spans(&serde_json::from_str(ARTIFACT).unwrap()).unwrap()[0];
        code[start..start + length].fill(0xab);
        assert!(same_code(&code));
        code[start - 1] ^= 1;
        assert!(!same_code(&code));
    }

    #[test]
    fn roles_have_names_and_numbers() {
        for number in 0..8 {
            assert_eq!(role_number(&role_name(number)), number);
        }
    }
}
