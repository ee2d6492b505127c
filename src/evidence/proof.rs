//! Step 4 of PROTOCOL section 7: a log of the pinned contract, proven from a block's header down.

use alloy::consensus::{Header, ReceiptEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Log, keccak256};
use alloy::rlp::Decodable;
use alloy::sol_types::SolEvent;

use super::trie;
use super::verdict::{VerifyFailure, fail};
use crate::schema::{AuthResponse, Evidence};

const STEP: u8 = 4;

/// What was proven: a log of the pinned contract, in a block of this time.
pub(super) struct Proven {
    log: Log,
    /// Unix seconds.
    pub block_time_s: u64,
}

/// Checks header, both proofs, that the receipt succeeded, and whose log it is.
pub(super) fn prove(contract: Address, response: &AuthResponse, evidence: &Evidence) -> Result<Proven, VerifyFailure> {
    let header = header(response.block_hash, &evidence.block_header)?;
    if header.number != response.block_number {
        return fail(STEP, format!("the header is of block {}", header.number));
    }
    let index = evidence.transaction_index;
    let transaction = trie::check(header.transactions_root, index, &evidence.transaction_proof)
        .map_err(|e| VerifyFailure::new(STEP, format!("transaction_proof: {e}")))?;
    if keccak256(&transaction) != response.blockchain_tx_hash {
        return fail(STEP, "the proven transaction is not blockchain_tx_hash");
    }
    let receipt = trie::check(header.receipts_root, index, &evidence.receipt_proof)
        .map_err(|e| VerifyFailure::new(STEP, format!("receipt_proof: {e}")))?;
    let receipt = ReceiptEnvelope::<Log>::decode_2718_exact(&receipt)
        .map_err(|e| VerifyFailure::new(STEP, format!("the receipt does not decode: {e}")))?;
    if !receipt.status() {
        return fail(STEP, "the transaction reverted");
    }
    let log = usize::try_from(evidence.log_index).ok().and_then(|index| receipt.logs().get(index));
    match log {
        Some(log) if log.address == contract => Ok(Proven { log: log.clone(), block_time_s: header.timestamp }),
        Some(log) => fail(STEP, format!("the log is of {}, not of the pinned contract", log.address)),
        None => fail(STEP, format!("the receipt has no log {}", evidence.log_index)),
    }
}

/// Decodes the header whose hash is given; RLP has one form, and nothing may follow it.
fn header(hash: B256, rlp: &[u8]) -> Result<Header, VerifyFailure> {
    if keccak256(rlp) != hash {
        return fail(STEP, "block_header does not hash to block_hash");
    }
    let mut rest = rlp;
    match Header::decode(&mut rest) {
        Ok(header) if rest.is_empty() => Ok(header),
        Ok(_) => fail(STEP, "block_header has bytes after the header"),
        Err(error) => fail(STEP, format!("block_header does not decode: {error}")),
    }
}

impl Proven {
    pub fn event<E: SolEvent>(&self) -> Result<E, VerifyFailure> {
        E::decode_log_data_validate(&self.log.data)
            .map_err(|e| VerifyFailure::new(STEP, format!("the log is no {}: {e}", E::SIGNATURE)))
    }
}
