//! Gas limits, from what a transaction is about: no question to the endpoint before each send.
//!
//! The numbers per item are upper bounds of what `make bench-gas` measures of the contract, its
//! calldata aside; calldata is priced as EIP-2028 and EIP-7623 say. A limit that is too low
//! shows as a reverted transaction, after which the item is estimated and sent alone.

use super::journal::ItemKind;

/// Gas of one transaction (EIP-7825).
pub const TRANSACTION_GAS_MAX: u64 = 16_777_216;
/// Gas of an empty transfer.
pub const TRANSFER_GAS: u64 = 21_000;
/// Decoding a call and its checks that do not depend on the items.
const CALL_GAS: u64 = 10_000;
const REQUEST_GAS: u64 = 35_000;
const DECIDE_GAS: u64 = 20_000;
/// A signature, its event with the longest note, the note's check.
const VOTE_GAS: u64 = 24_000;
/// What the contract lets a wallet spend (ERC-1271), and asking it.
const WALLET_VOTE_GAS: u64 = 115_000;
const CONSUME_GAS: u64 = 20_000;
const RECORD_GAS: u64 = 20_000;
/// What the whole life of a request takes: requested alone, two votes, consumed, recorded.
pub const LIFE_GAS: u64 = 280_000;

/// What decides the gas of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    pub kind: ItemKind,
    pub items: usize,
    pub votes: usize,
    /// Of these votes, those that a contract judges.
    pub wallet_votes: usize,
    pub calldata: &'a [u8],
}

/// An upper bound of the gas that a load takes.
pub fn expected(load: Load<'_>) -> u64 {
    let (items, votes, wallets) = (load.items as u64, load.votes as u64, load.wallet_votes as u64);
    let execution = match load.kind {
        ItemKind::Request => CALL_GAS + items * REQUEST_GAS,
        ItemKind::Decide => CALL_GAS + items * DECIDE_GAS + votes * VOTE_GAS + wallets * WALLET_VOTE_GAS,
        ItemKind::Consume => CALL_GAS + items * CONSUME_GAS,
        ItemKind::Record => CALL_GAS + items * RECORD_GAS,
        ItemKind::Nothing => 0,
    };
    let zeros = load.calldata.iter().filter(|byte| **byte == 0).count() as u64;
    let others = load.calldata.len() as u64 - zeros;
    let (standard, floor) = (4 * zeros + 16 * others, 10 * zeros + 40 * others);
    TRANSFER_GAS + floor.max(standard + execution)
}

/// The limit of a transaction: a quarter more than expected, since other votes and batches may
/// come first and change what is touched, within what a transaction and a block may take.
pub fn limit(expected: u64, block_gas_limit: u64) -> u64 {
    expected.saturating_add(expected / 4).min(transaction_max(block_gas_limit))
}

/// The most that one transaction may take in a block.
pub fn transaction_max(block_gas_limit: u64) -> u64 {
    TRANSACTION_GAS_MAX.min(block_gas_limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_of_requests_fits_a_transaction() {
        // Measured: 34,736 gas an item in a batch of 200, all included.
        let calldata = vec![0x11; 400 * 250];
        let load = Load { kind: ItemKind::Request, items: 400, votes: 0, wallet_votes: 0, calldata: &calldata };
        assert!(expected(load) < TRANSACTION_GAS_MAX, "{}", expected(load));
        assert_eq!(limit(expected(load), 30_000_000), TRANSACTION_GAS_MAX);
    }

    #[test]
    fn a_block_that_takes_less_bounds_the_limit() {
        assert_eq!(limit(100_000, 30_000_000), 125_000);
        assert_eq!(limit(100_000, 110_000), 110_000);
    }

    #[test]
    fn the_floor_of_eip_7623_holds() {
        let calldata = [0xff; 1_000];
        let load = Load { kind: ItemKind::Nothing, items: 0, votes: 0, wallet_votes: 0, calldata: &calldata };
        assert_eq!(expected(load), 21_000 + 40_000);
    }
}
