//! Transactions that wait for a block: what a node lets in, and in which order they go out.

use std::collections::BTreeMap;

use alloy::consensus::transaction::{Recovered, SignerRecoverable};
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, U256};

/// Transactions that wait at one time.
pub const WAITING_MAX: usize = 1_024;
/// Bytes of one transaction; a batch of 400 requests fits.
pub const TRANSACTION_BYTES_MAX: usize = 512 * 1024;
/// Gas of one transaction (EIP-7825).
pub const TRANSACTION_GAS_MAX: u64 = 16_777_216;
/// A replacement pays this much more, in percent, as geth asks.
const REPLACEMENT_BUMP_PERCENT: u128 = 10;

/// Why a transaction is not taken, in the words that nodes use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("cannot decode the transaction: {0}")]
    Decode(String),
    #[error("transaction type not supported")]
    Type,
    #[error("invalid sender")]
    Sender,
    #[error("invalid chain id for signer: have {have}, want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    #[error("oversized data: transaction size {0}, limit {TRANSACTION_BYTES_MAX}")]
    Oversized(usize),
    #[error("transaction gas limit too high (cap: {TRANSACTION_GAS_MAX}, tx: {0})")]
    GasLimit(u64),
    #[error("intrinsic gas too low: gas {have}, minimum needed {want}")]
    IntrinsicGas { have: u64, want: u64 },
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFee,
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { next: u64, nonce: u64 },
    #[error("already known")]
    AlreadyKnown,
    #[error("replacement transaction underpriced")]
    Underpriced,
    #[error("insufficient funds for gas * price + value: balance {have}, tx cost {want}")]
    Funds { have: U256, want: U256 },
    #[error("txpool is full: {WAITING_MAX} transactions wait")]
    Full,
    #[error("the mock ledger is full: it keeps {0} blocks in memory; start it again")]
    LedgerFull(u64),
}

/// A transaction with its sender.
pub type Signed = Recovered<TxEnvelope>;

/// Decodes raw bytes and recovers their sender.
///
/// # Errors
/// [`SubmitError`] for what no block of `chain_id` could hold.
pub fn decode(raw: &[u8], chain_id: u64) -> Result<Signed, SubmitError> {
    if raw.len() > TRANSACTION_BYTES_MAX {
        return Err(SubmitError::Oversized(raw.len()));
    }
    let envelope = TxEnvelope::decode_2718_exact(raw).map_err(|e| SubmitError::Decode(e.to_string()))?;
    match &envelope {
        TxEnvelope::Legacy(_) | TxEnvelope::Eip2930(_) | TxEnvelope::Eip1559(_) => {}
        TxEnvelope::Eip4844(_) | TxEnvelope::Eip7702(_) => return Err(SubmitError::Type),
    }
    match envelope.chain_id() {
        Some(have) if have == chain_id => {}
        Some(have) => return Err(SubmitError::ChainId { have, want: chain_id }),
        None => return Err(SubmitError::Unprotected),
    }
    if envelope.gas_limit() > TRANSACTION_GAS_MAX {
        return Err(SubmitError::GasLimit(envelope.gas_limit()));
    }
    let need = intrinsic_gas(&envelope);
    if envelope.gas_limit() < need {
        return Err(SubmitError::IntrinsicGas { have: envelope.gas_limit(), want: need });
    }
    if envelope.max_priority_fee_per_gas().is_some_and(|tip| tip > envelope.max_fee_per_gas()) {
        return Err(SubmitError::TipAboveFee);
    }
    let sender = envelope.recover_signer().map_err(|_| SubmitError::Sender)?;
    Ok(Recovered::new_unchecked(envelope, sender))
}

/// Gas before anything runs: 21,000, and 4 or 16 a byte of calldata (EIP-2028), and the access list (EIP-2930).
pub fn intrinsic_gas(transaction: &impl Transaction) -> u64 {
    let listed = transaction.access_list().map_or(0, |list| {
        let keys: usize = list.iter().map(|item| item.storage_keys.len()).sum();
        2_400 * list.len() as u64 + 1_900 * keys as u64
    });
    calldata_gas(transaction.input()).saturating_add(listed)
}

/// The same for a call that is no transaction yet.
pub fn calldata_gas(calldata: &[u8]) -> u64 {
    let zeros = calldata.iter().filter(|byte| **byte == 0).count() as u64;
    21_000 + 4 * zeros + 16 * (calldata.len() as u64 - zeros)
}

/// The most that a transaction can cost its sender.
pub fn cost_max(transaction: &impl Transaction) -> U256 {
    U256::from(transaction.gas_limit())
        .saturating_mul(U256::from(transaction.max_fee_per_gas()))
        .saturating_add(transaction.value())
}

/// What waits, by sender and nonce.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    waiting: BTreeMap<(Address, u64), Waiting>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    transaction: Signed,
    /// The place among all that ever came.
    arrival: u64,
}

impl Pool {
    /// Takes a transaction of an account whose next nonce is `next`.
    ///
    /// # Errors
    /// [`SubmitError`]; the pool is then as it was.
    pub fn insert(&mut self, transaction: Signed, next: u64) -> Result<(), SubmitError> {
        let nonce = transaction.nonce();
        if nonce < next {
            return Err(SubmitError::NonceTooLow { next, nonce });
        }
        let key = (transaction.signer(), nonce);
        match self.waiting.get(&key) {
            Some(old) if old.transaction.tx_hash() == transaction.tx_hash() => return Err(SubmitError::AlreadyKnown),
            Some(old) if !pays_more(&old.transaction, &transaction) => return Err(SubmitError::Underpriced),
            Some(_) => {}
            None if self.waiting.len() >= WAITING_MAX => return Err(SubmitError::Full),
            None => {}
        }
        self.arrivals += 1;
        self.waiting.insert(key, Waiting { transaction, arrival: self.arrivals });
        Ok(())
    }

    pub fn get(&self, hash: B256) -> Option<&Signed> {
        self.waiting.values().map(|waiting| &waiting.transaction).find(|transaction| *transaction.tx_hash() == hash)
    }

    /// The nonce after all that an account can have mined in a row.
    pub fn next_nonce(&self, account: Address, next: u64) -> u64 {
        let in_a_row = self.waiting.range((account, next)..=(account, u64::MAX)).zip(next..);
        next + in_a_row.take_while(|(((_, nonce), _), expected)| nonce == expected).count() as u64
    }

    /// What can go into a block: in order of arrival, each account's from its `next` nonce on without a gap, and
    /// only what `may`.
    pub fn executable(&self, next: impl Fn(Address) -> u64, may: impl Fn(&Signed) -> bool) -> Vec<&Signed> {
        let mut heads: BTreeMap<u64, (Address, u64)> = BTreeMap::new();
        let ready = |account: Address, nonce: u64| {
            self.waiting.get(&(account, nonce)).filter(|waiting| may(&waiting.transaction))
        };
        let mut accounts: Vec<Address> = self.waiting.keys().map(|(account, _)| *account).collect();
        accounts.dedup();
        for account in accounts {
            let nonce = next(account);
            if let Some(waiting) = ready(account, nonce) {
                heads.insert(waiting.arrival, (account, nonce));
            }
        }
        let mut order = Vec::new();
        while let Some((_, (account, nonce))) = heads.pop_first() {
            if let Some(waiting) = ready(account, nonce) {
                order.push(&waiting.transaction);
            }
            if let Some(following) = ready(account, nonce + 1) {
                heads.insert(following.arrival, (account, nonce + 1));
            }
        }
        order
    }

    pub fn remove(&mut self, transaction: &Signed) {
        self.waiting.remove(&(transaction.signer(), transaction.nonce()));
    }
}

fn pays_more(old: &Signed, new: &Signed) -> bool {
    let more = |old: u128, new: u128| {
        new.saturating_mul(100) >= old.saturating_mul(100 + REPLACEMENT_BUMP_PERCENT) && new > old
    };
    let tip =
        |transaction: &Signed| transaction.max_priority_fee_per_gas().unwrap_or_else(|| transaction.max_fee_per_gas());
    more(old.max_fee_per_gas(), new.max_fee_per_gas()) && more(tip(old), tip(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::fixture::{Draft, GWEI, dev, to_contract, transfer};
    use crate::schema::anchors::DEV_CHAIN_ID;

    fn plain(nonce: u64) -> Draft {
        transfer(nonce, Address::repeat_byte(1), U256::ZERO)
    }

    #[test]
    fn what_no_block_can_hold_is_refused_with_the_words_of_nodes() {
        let refused = |draft: Draft| decode(&draft.signed(&dev(0)), DEV_CHAIN_ID).unwrap_err();
        assert_eq!(refused(Draft { chain_id: 1, ..plain(0) }), SubmitError::ChainId { have: 1, want: DEV_CHAIN_ID });
        assert_eq!(
            refused(Draft { gas: 20_999, ..plain(0) }),
            SubmitError::IntrinsicGas { have: 20_999, want: 21_000 }
        );
        assert_eq!(refused(Draft { gas: 16_777_217, ..plain(0) }), SubmitError::GasLimit(16_777_217));
        assert_eq!(refused(Draft { tip_wei: 11 * GWEI, ..plain(0) }), SubmitError::TipAboveFee);
        let large = refused(Draft { gas: 10_000_000, ..to_contract(0, vec![0; TRANSACTION_BYTES_MAX]) });
        assert!(large.to_string().starts_with("oversized data"), "{large}");
        let mut torn = plain(0).signed(&dev(0));
        torn.pop();
        assert!(matches!(decode(&torn, DEV_CHAIN_ID), Err(SubmitError::Decode(_))));
        assert_eq!(decode(&plain(0).signed(&dev(4)), DEV_CHAIN_ID).unwrap().signer(), dev(4).address());
    }

    #[test]
    fn a_nonce_is_used_once_and_replaced_for_a_tenth_more() {
        let (key, mut pool) = (dev(0), Pool::default());
        let insert = |pool: &mut Pool, draft: Draft| pool.insert(draft.decoded(&key), 3);
        assert_eq!(insert(&mut pool, plain(2)), Err(SubmitError::NonceTooLow { next: 3, nonce: 2 }));
        assert_eq!(insert(&mut pool, plain(3)), Ok(()));
        assert_eq!(insert(&mut pool, plain(3)), Err(SubmitError::AlreadyKnown));
        let fees = |max_fee_wei, tip_wei| Draft { max_fee_wei, tip_wei, ..plain(3) };
        for (max_fee_wei, tip_wei) in [(11 * GWEI - 1, 2 * GWEI), (20 * GWEI, GWEI * 11 / 10 - 1), (20 * GWEI, GWEI)] {
            assert_eq!(insert(&mut pool, fees(max_fee_wei, tip_wei)), Err(SubmitError::Underpriced));
        }
        let better = fees(11 * GWEI, GWEI * 11 / 10);
        assert_eq!(insert(&mut pool, better.clone()), Ok(()));
        let waiting = pool.executable(|_| 3, |_| true);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].tx_hash(), better.decoded(&key).tx_hash());
    }

    #[test]
    fn order_is_of_arrival_and_of_nonce_and_a_gap_waits() {
        let mut pool = Pool::default();
        for (account, nonce) in [(1, 1), (0, 0), (1, 0), (0, 2), (2, 0)] {
            pool.insert(plain(nonce).decoded(&dev(account)), 0).unwrap();
        }
        let order = |pool: &Pool, may: &dyn Fn(&Signed) -> bool| -> Vec<(Address, u64)> {
            pool.executable(|_| 0, may).iter().map(|t| (t.signer(), t.nonce())).collect()
        };
        let [a, b, c] = [0, 1, 2].map(|index| dev(index).address());
        assert_eq!(order(&pool, &|_| true), [(a, 0), (b, 0), (b, 1), (c, 0)]);
        // What may not go out holds up what follows it.
        assert_eq!(order(&pool, &|t| (t.signer(), t.nonce()) != (b, 0)), [(a, 0), (c, 0)]);
        assert_eq!((pool.next_nonce(a, 0), pool.next_nonce(b, 0), pool.next_nonce(a, 1)), (1, 2, 1));
        pool.insert(plain(1).decoded(&dev(0)), 0).unwrap();
        assert_eq!(pool.next_nonce(a, 0), 3);
        assert_eq!(order(&pool, &|_| true), [(a, 0), (b, 0), (b, 1), (c, 0), (a, 1), (a, 2)]);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut pool = Pool::default();
        let transaction = plain(0).decoded(&dev(0));
        for index in 0..WAITING_MAX {
            let sender = Address::left_padding_from(&index.to_be_bytes());
            pool.insert(Recovered::new_unchecked(transaction.inner().clone(), sender), 0).unwrap();
        }
        assert_eq!(pool.insert(transaction, 0), Err(SubmitError::Full));
    }
}
