//! Proofs of one block, built once for all requests in it.

use alloy::consensus::{Header, TxEnvelope};
use alloy::eips::BlockId;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{B256, Bytes};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionReceipt;

use super::endpoint::EndpointError;
use super::trie;

/// A block whose transactions and receipts hash to the roots of its own header.
#[derive(Clone, Debug)]
pub struct BlockProofs {
    header: Header,
    hash: B256,
    transactions: Vec<Vec<u8>>,
    transaction_hashes: Vec<B256>,
    receipts: Vec<Vec<u8>>,
}

/// The proofs of one transaction of a block.
#[derive(Clone, Debug)]
pub struct TransactionProof {
    pub transaction_index: u64,
    pub transaction_proof: Vec<Bytes>,
    pub receipt_proof: Vec<Bytes>,
}

impl BlockProofs {
    /// Fetches a block by hash, with its transactions and receipts.
    ///
    /// # Errors
    /// [`EndpointError`]; a node whose answer does not hash to its own header is
    /// [`EndpointError::Inconsistent`].
    pub async fn fetch<P: Provider>(provider: &P, hash: B256) -> Result<Self, EndpointError> {
        let block = provider.get_block_by_hash(hash).full().await?.ok_or(EndpointError::NoBlock(hash))?;
        let receipts =
            provider.get_block_receipts(BlockId::Hash(hash.into())).await?.ok_or(EndpointError::NoBlock(hash))?;
        let header = block.header.inner.clone();
        let envelopes: Vec<TxEnvelope> =
            block.transactions.into_transactions().map(|transaction| transaction.inner.into_inner()).collect();
        Self::build(header, hash, &envelopes, receipts)
    }

    fn build(
        header: Header,
        hash: B256,
        envelopes: &[TxEnvelope],
        receipts: Vec<TransactionReceipt>,
    ) -> Result<Self, EndpointError> {
        let inconsistent = |what: &'static str| EndpointError::Inconsistent { block: hash, what };
        if header.hash_slow() != hash {
            return Err(inconsistent("header hash"));
        }
        let transactions: Vec<Vec<u8>> = envelopes.iter().map(Encodable2718::encoded_2718).collect();
        let transaction_hashes = envelopes.iter().map(|envelope| *envelope.tx_hash()).collect();
        let receipts: Vec<Vec<u8>> =
            receipts.into_iter().map(|receipt| receipt.inner.into_primitives_receipt().encoded_2718()).collect();
        if alloy_trie::root::ordered_trie_root_encoded(&transactions) != header.transactions_root {
            return Err(inconsistent("transactions root"));
        }
        if alloy_trie::root::ordered_trie_root_encoded(&receipts) != header.receipts_root {
            return Err(inconsistent("receipts root"));
        }
        Ok(BlockProofs { header, hash, transactions, transaction_hashes, receipts })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// RLP of the header: what hashes to the block's hash.
    pub fn header_rlp(&self) -> Bytes {
        alloy::rlp::encode(&self.header).into()
    }

    /// The proofs of a transaction of this block.
    ///
    /// # Errors
    /// [`EndpointError::Inconsistent`] where the block does not hold the transaction.
    pub fn prove(&self, transaction: B256) -> Result<TransactionProof, EndpointError> {
        let inconsistent = |what: &'static str| EndpointError::Inconsistent { block: self.hash, what };
        let position = self.transaction_hashes.iter().position(|hash| *hash == transaction);
        let index = position.ok_or(inconsistent("it does not hold the transaction"))? as u64;
        let (_, transaction_proofs) =
            trie::prove(&self.transactions, &[index]).map_err(|_| inconsistent("transactions"))?;
        let (_, receipt_proofs) = trie::prove(&self.receipts, &[index]).map_err(|_| inconsistent("receipts"))?;
        Ok(TransactionProof {
            transaction_index: index,
            transaction_proof: transaction_proofs.into_iter().flatten().collect(),
            receipt_proof: receipt_proofs.into_iter().flatten().collect(),
        })
    }
}
