//! Proofs of one block, built once for all requests in it.

use alloy::consensus::{Header, ReceiptEnvelope, TxEnvelope};
use alloy::eips::BlockId;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, Log};
use alloy::providers::Provider;
use alloy::rpc::types::{Block, TransactionReceipt};

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
    logs: Vec<Vec<Log>>,
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
        let (block, receipts) = tokio::join!(async { provider.get_block_by_hash(hash).full().await }, async {
            provider.get_block_receipts(BlockId::Hash(hash.into())).await
        });
        let block = block?.ok_or(EndpointError::NoBlock(hash))?;
        let receipts = receipts?.ok_or(EndpointError::NoBlock(hash))?;
        Self::of(block, receipts)
    }

    /// A block that was fetched with its transactions, and their receipts.
    ///
    /// # Errors
    /// [`EndpointError::Inconsistent`] where they do not hash to the block's own header.
    pub fn of(block: Block, receipts: Vec<TransactionReceipt>) -> Result<Self, EndpointError> {
        let hash = block.header.hash;
        let header = block.header.inner;
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
        let receipts: Vec<ReceiptEnvelope<Log>> =
            receipts.into_iter().map(|receipt| receipt.inner.into_primitives_receipt()).collect();
        let logs = receipts.iter().map(|receipt| receipt.logs().to_vec()).collect();
        let receipts: Vec<Vec<u8>> = receipts.iter().map(Encodable2718::encoded_2718).collect();
        if alloy_trie::root::ordered_trie_root_encoded(&transactions) != header.transactions_root {
            return Err(inconsistent("transactions root"));
        }
        if alloy_trie::root::ordered_trie_root_encoded(&receipts) != header.receipts_root {
            return Err(inconsistent("receipts root"));
        }
        Ok(BlockProofs { header, hash, transactions, transaction_hashes, receipts, logs })
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

    /// Where in its receipt a transaction logged an event: first topic `signature`, second topic `id`.
    ///
    /// # Errors
    /// [`EndpointError::Inconsistent`] where it did not.
    pub fn log_index(
        &self,
        transaction: B256,
        contract: Address,
        signature: B256,
        id: B256,
    ) -> Result<u64, EndpointError> {
        let position = self.transaction_hashes.iter().position(|hash| *hash == transaction);
        let logs = position.and_then(|index| self.logs.get(index)).map(Vec::as_slice).unwrap_or_default();
        let found = logs.iter().position(|log| {
            log.address == contract && log.topics().first() == Some(&signature) && log.topics().get(1) == Some(&id)
        });
        found
            .map(|index| index as u64)
            .ok_or(EndpointError::Inconsistent { block: self.hash, what: "it does not hold the event" })
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
