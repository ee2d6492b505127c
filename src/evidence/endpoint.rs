//! A verifier's own read-only view of a chain.

use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::rpc::json_rpc::ErrorPayload;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use alloy::transports::{RpcError, TransportErrorKind};

use crate::crypto::abi::{self, ChainStatus};
use crate::schema::{AuthorizationId, TrustAnchors};

/// How long one question to an endpoint may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a contract may spend on judging a vote (PROTOCOL section 4).
pub const WALLET_GAS_MAX: u64 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("the endpoint {url} cannot be reached: {source}")]
    Connect { url: String, source: RpcError<TransportErrorKind> },
    #[error("the endpoint failed: {0}")]
    Rpc(#[from] RpcError<TransportErrorKind>),
    #[error("the endpoint gave no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("the endpoint does not know block {0}")]
    NoBlock(B256),
    #[error("the endpoint does not know transaction {0}")]
    NoTransaction(B256),
    #[error("the endpoint's block {block} contradicts itself: {what}")]
    Inconsistent { block: B256, what: &'static str },
    #[error("the endpoint's answer to statusOf is none of the contract's")]
    Status,
}

/// A connection to a node that the verifier trusts more than the bridge.
#[derive(Clone, Debug)]
pub struct Endpoint {
    provider: RootProvider,
}

/// What a chain check found, each compared with the anchors and the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainView {
    pub chain_id: u64,
    pub genesis_hash: B256,
    pub code_hash: B256,
    /// The hash that the chain has at the asked height, if it is that high.
    pub block_hash: Option<B256>,
    pub head: u64,
    pub status: ChainStatus,
}

impl Endpoint {
    /// Connects to `http(s)://`, `ws(s)://` or an IPC path.
    ///
    /// # Errors
    /// [`EndpointError::Connect`].
    pub async fn connect(url: &str) -> Result<Self, EndpointError> {
        let connecting = ProviderBuilder::default().connect(url);
        match tokio::time::timeout(CALL_TIMEOUT, connecting).await {
            Ok(Ok(provider)) => Ok(Endpoint { provider }),
            Ok(Err(source)) => Err(EndpointError::Connect { url: url.to_owned(), source }),
            Err(_) => Err(EndpointError::Timeout),
        }
    }

    pub fn provider(&self) -> &RootProvider {
        &self.provider
    }

    /// Reads what PROTOCOL section 7 step 6 compares.
    ///
    /// # Errors
    /// [`EndpointError`] where a question fails or stays without an answer.
    pub async fn view(
        &self,
        anchors: &TrustAnchors,
        id: AuthorizationId,
        block_number: u64,
    ) -> Result<ChainView, EndpointError> {
        match tokio::time::timeout(CALL_TIMEOUT, self.read_view(anchors.contract, id, block_number)).await {
            Ok(view) => view,
            Err(_) => Err(EndpointError::Timeout),
        }
    }

    /// Asks a contract whether a signature is its own (ERC-1271), as the contract of record asks it: from that
    /// contract's address, with at most [`WALLET_GAS_MAX`], in the state after a block.
    ///
    /// # Errors
    /// [`EndpointError`]; a call that reverts or runs out of gas is no error, the contract did not say yes.
    pub async fn wallet_accepts(
        &self,
        asker: Address,
        wallet: Address,
        digest: B256,
        signature: &Bytes,
        block: B256,
    ) -> Result<bool, EndpointError> {
        let input = abi::isValidSignatureCall { hash: digest, signature: signature.clone() }.abi_encode();
        let gas = WALLET_GAS_MAX + intrinsic_gas(&input);
        let request = TransactionRequest::default().from(asker).to(wallet).input(input.into()).with_gas_limit(gas);
        let asked = self.provider.call(request).block(BlockId::hash(block));
        match tokio::time::timeout(CALL_TIMEOUT, async { asked.await }).await {
            Ok(Ok(answer)) => Ok(says_yes(&answer)),
            // The node ran it, and it failed; a node that cannot run it says so without a revert.
            Ok(Err(RpcError::ErrorResp(error))) if is_failed_execution(&error) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(EndpointError::Timeout),
        }
    }

    async fn read_view(&self, contract: Address, id: AuthorizationId, number: u64) -> Result<ChainView, EndpointError> {
        let provider = &self.provider;
        let genesis = async {
            let block = provider.get_block_by_number(BlockNumberOrTag::Earliest).await?;
            block.map(|block| block.header.hash).ok_or(EndpointError::NoBlock(B256::ZERO))
        };
        let at_height = async {
            let block = provider.get_block_by_number(BlockNumberOrTag::Number(number)).await?;
            Ok::<_, EndpointError>(block.map(|block| block.header.hash))
        };
        let code = async { Ok::<_, EndpointError>(keccak256(provider.get_code_at(contract).await?)) };
        let head = async { Ok::<_, EndpointError>(provider.get_block_number().await?) };
        let chain_id = async { Ok::<_, EndpointError>(provider.get_chain_id().await?) };
        let status = status_of(provider, contract, id);
        let (chain_id, genesis_hash, code_hash, block_hash, head, status) =
            tokio::try_join!(chain_id, genesis, code, at_height, head, status)?;
        Ok(ChainView { chain_id, genesis_hash, code_hash, block_hash, head, status })
    }
}

/// Whether the first 32 bytes of an answer are ERC-1271's four, padded, as the contract compares them.
fn says_yes(answer: &[u8]) -> bool {
    let mut yes = [0u8; 32];
    yes[..4].copy_from_slice(&abi::isValidSignatureCall::SELECTOR);
    answer.get(..32) == Some(&yes[..])
}

/// What a transaction pays before its first instruction: 21,000, and 4 or 16 a byte (EIP-2028).
fn intrinsic_gas(input: &[u8]) -> u64 {
    21_000 + input.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum::<u64>()
}

/// Whether an error answer to `eth_call` says that the call ran and failed: with revert data, or in
/// the words that geth, Anvil and Reth share.
fn is_failed_execution(error: &ErrorPayload) -> bool {
    let text = error.message.to_lowercase();
    let ran = ["execution reverted", "out of gas", "outofgas", "invalid opcode", "invalidfeopcode", "stack"];
    error.as_revert_data().is_some() || ran.iter().any(|words| text.contains(words))
}

/// Asks the contract for the state of an id at the latest block.
///
/// # Errors
/// [`EndpointError`].
pub async fn status_of<P: Provider>(
    provider: &P,
    contract: Address,
    id: AuthorizationId,
) -> Result<ChainStatus, EndpointError> {
    status_at(provider, contract, id, BlockId::latest()).await
}

/// Asks the contract for the state of an id at a block.
///
/// # Errors
/// [`EndpointError`].
pub async fn status_at<P: Provider>(
    provider: &P,
    contract: Address,
    id: AuthorizationId,
    block: BlockId,
) -> Result<ChainStatus, EndpointError> {
    let call = abi::statusOfCall { id: id.0 };
    let request = TransactionRequest::default().to(contract).input(call.abi_encode().into());
    let answer = provider.call(request).block(block).await?;
    let code = abi::statusOfCall::abi_decode_returns(&answer).map_err(|_| EndpointError::Status)?;
    ChainStatus::from_code(code).ok_or(EndpointError::Status)
}
