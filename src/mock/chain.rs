//! Blocks in memory: a genesis that is always the same, and a block some time after a
//! transaction came. Headers, receipts and roots are Ethereum's, so its proofs work; the state
//! root alone says nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use alloy::consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction, TxEnvelope};
use alloy::eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, Log, TxKind, U256, logs_bloom};
use alloy_trie::root::ordered_trie_root_encoded;

use super::authorization::{Authorization, CallContext, Effects, Revert};
use super::pool::{self, Pool, Signed, SubmitError};
use super::{CONTRACT, MockError};
use crate::contract::Setup;
use crate::contract::bindings::Authorization as binding;
use crate::schema::LedgerKind;

/// Gas of one block.
pub const BLOCK_GAS_MAX: u64 = 30_000_000;
/// Blocks that are kept; past it nothing is taken any more.
pub const BLOCKS_MAX: u64 = 100_000;
/// Gas that a call of the contract takes besides its calldata, and for each log.
const CALL_GAS: u64 = 10_000;
const LOG_GAS: u64 = 20_000;
const GENESIS_BASE_FEE_WEI: u64 = 1_000_000_000;

/// What makes a ledger the one it is.
#[derive(Clone, Debug)]
pub struct ChainSettings {
    pub chain_id: u64,
    /// From the first waiting transaction to the block that holds it.
    pub confirm_after: Duration,
    /// Who has coins at the beginning, in wei.
    pub balances: BTreeMap<Address, U256>,
}

/// What happened to a transaction, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    Accepted {
        hash: B256,
        from: Address,
        nonce: u64,
        call: &'static str,
    },
    Confirmed {
        hash: B256,
        block: u64,
        events: Vec<&'static str>,
    },
    Reverted {
        hash: B256,
        block: u64,
        reason: String,
    },
    /// An approver will vote by itself, after so long.
    WillApprove {
        id: B256,
        after: Duration,
    },
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub struct Mined {
    pub transaction: Signed,
    pub receipt: ReceiptEnvelope<Log>,
    pub gas_used: u64,
    /// In wei per gas.
    pub gas_price: u128,
    /// Logs of the block before this transaction's.
    pub logs_before: u64,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub header: Header,
    pub hash: B256,
    pub transactions: Vec<Mined>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    nonce: u64,
    balance: U256,
}

/// What a call is made of, sent or only asked about.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub from: Address,
    pub to: TxKind,
    pub value: U256,
    pub input: &'a [u8],
}

/// The whole ledger. Nothing here reads a clock: the moment is an argument.
#[derive(Clone, Debug)]
pub struct Chain {
    chain_id: u64,
    confirm_after_ms: u64,
    contract: Authorization,
    accounts: HashMap<Address, Account>,
    /// By number; never empty.
    blocks: Vec<Block>,
    numbers: HashMap<B256, u64>,
    /// Block and place of each transaction.
    places: HashMap<B256, (u64, usize)>,
    pool: Pool,
    due_at_ms: Option<u64>,
}

impl Chain {
    /// A ledger whose block 1 says when it began: a restarted one has another.
    ///
    /// # Errors
    /// [`MockError::Setup`].
    pub fn new(settings: ChainSettings, setup: &Setup, now_ms: u64) -> Result<Self, MockError> {
        let ChainSettings { chain_id, confirm_after, balances } = settings;
        let accounts = balances.into_iter().map(|(account, balance)| (account, Account { nonce: 0, balance }));
        let header = genesis();
        let hash = header.hash_slow();
        let mut chain = Chain {
            chain_id,
            confirm_after_ms: u64::try_from(confirm_after.as_millis()).unwrap_or(u64::MAX),
            contract: Authorization::new(chain_id, CONTRACT, setup)?,
            accounts: accounts.collect(),
            blocks: vec![Block { header, hash, transactions: Vec::new() }],
            numbers: HashMap::from([(hash, 0)]),
            places: HashMap::new(),
            pool: Pool::default(),
            due_at_ms: None,
        };
        chain.mine(now_ms);
        Ok(chain)
    }

    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub fn contract(&self) -> &Authorization {
        &self.contract
    }

    /// The number of the newest block.
    pub fn head(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    pub fn block(&self, number: u64) -> Option<&Block> {
        usize::try_from(number).ok().and_then(|number| self.blocks.get(number))
    }

    pub fn block_by_hash(&self, hash: B256) -> Option<&Block> {
        self.numbers.get(&hash).and_then(|number| self.block(*number))
    }

    /// The block of a transaction, and its place there.
    pub fn mined(&self, hash: B256) -> Option<(&Block, usize)> {
        let (number, index) = self.places.get(&hash)?;
        self.block(*number).map(|block| (block, *index))
    }

    pub fn waiting(&self, hash: B256) -> Option<&Signed> {
        self.pool.get(hash)
    }

    pub fn balance(&self, account: Address) -> U256 {
        self.account(account).balance
    }

    /// The nonce in the newest block.
    pub fn nonce(&self, account: Address) -> u64 {
        self.account(account).nonce
    }

    /// The nonce after what waits.
    pub fn pending_nonce(&self, account: Address) -> u64 {
        self.pool.next_nonce(account, self.nonce(account))
    }

    pub fn code(&self, account: Address) -> Bytes {
        if account == CONTRACT { binding::DEPLOYED_BYTECODE.clone() } else { Bytes::new() }
    }

    /// What the next block asks, in wei per gas.
    pub fn next_base_fee(&self) -> u64 {
        self.blocks.last().map_or(GENESIS_BASE_FEE_WEI, |block| {
            let header = &block.header;
            let base = header.base_fee_per_gas.unwrap_or(GENESIS_BASE_FEE_WEI);
            calc_next_block_base_fee(header.gas_used, header.gas_limit, base, BaseFeeParams::ethereum())
        })
    }

    /// When the next block is due, in milliseconds since 1970; never while nothing can go into it.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.due_at_ms
    }

    /// Takes a signed transaction.
    ///
    /// # Errors
    /// [`SubmitError`], as a node would refuse it.
    pub fn submit(&mut self, raw: &[u8], now_ms: u64) -> Result<LedgerEvent, SubmitError> {
        if self.head() >= BLOCKS_MAX {
            return Err(SubmitError::LedgerFull(BLOCKS_MAX));
        }
        let transaction = pool::decode(raw, self.chain_id)?;
        let from = transaction.signer();
        let account = self.account(from);
        let want = pool::cost_max(&*transaction);
        if account.balance < want {
            return Err(SubmitError::Funds { have: account.balance, want });
        }
        let accepted = LedgerEvent::Accepted {
            hash: *transaction.tx_hash(),
            from,
            nonce: transaction.nonce(),
            call: call_name(&transaction),
        };
        self.pool.insert(transaction, account.nonce)?;
        self.arm(now_ms);
        Ok(accepted)
    }

    /// Makes the next block of what waits and can be paid for.
    pub fn mine(&mut self, now_ms: u64) -> Vec<LedgerEvent> {
        let number = self.head() + 1;
        let base_fee_wei = self.next_base_fee();
        let (parent_hash, parent_time_s) =
            self.blocks.last().map(|block| (block.hash, block.header.timestamp)).unwrap_or_default();
        // As Anvil: never before its parent, and several blocks can share a second.
        let time_s = parent_time_s.max(now_ms / 1000);
        let ready: Vec<Signed> = self.executable().into_iter().cloned().collect();
        let mut forming = Forming { number, time_s, base_fee_wei, ..Forming::default() };
        for transaction in ready {
            // What follows of the same account would have a gap before it; it waits as well.
            let next = self.nonce(transaction.signer());
            let fits = forming.gas_used.saturating_add(transaction.gas_limit()) <= BLOCK_GAS_MAX;
            let paid = self.balance(transaction.signer()) >= pool::cost_max(&*transaction);
            if transaction.nonce() == next && fits && paid {
                self.pool.remove(&transaction);
                self.include(&mut forming, transaction);
            }
        }
        let Forming { gas_used, mined, events, .. } = forming;
        let encoded = |encode: &dyn Fn(&Mined) -> Vec<u8>| -> Vec<Vec<u8>> { mined.iter().map(encode).collect() };
        let header = Header {
            parent_hash,
            number,
            timestamp: time_s,
            gas_used,
            base_fee_per_gas: Some(base_fee_wei),
            transactions_root: ordered_trie_root_encoded(&encoded(&|m| m.transaction.encoded_2718())),
            receipts_root: ordered_trie_root_encoded(&encoded(&|m| m.receipt.encoded_2718())),
            logs_bloom: logs_bloom(mined.iter().flat_map(|m| m.receipt.logs())),
            ..genesis()
        };
        let hash = header.hash_slow();
        for (index, mined) in mined.iter().enumerate() {
            self.places.insert(*mined.transaction.tx_hash(), (number, index));
        }
        self.numbers.insert(hash, number);
        self.blocks.push(Block { header, hash, transactions: mined });
        self.due_at_ms = None;
        self.arm(now_ms);
        events
    }

    /// Answers a call at the end of a block.
    ///
    /// # Errors
    /// [`Revert`].
    pub fn call(&self, block: &Block, message: &Message<'_>) -> Result<Bytes, Revert> {
        self.run(message, block.header.number, block.header.timestamp).map(|effects| effects.output)
    }

    /// The gas that a transaction would take in the next block.
    ///
    /// # Errors
    /// [`Revert`] where it would fail.
    pub fn estimate(&self, message: &Message<'_>, now_ms: u64) -> Result<u64, Revert> {
        let newest_s = self.blocks.last().map(|block| block.header.timestamp).unwrap_or_default();
        let effects = self.run(message, self.head(), newest_s.max(now_ms / 1000))?;
        Ok(pool::calldata_gas(message.input).saturating_add(execution_gas(message, effects.logs.len())))
    }

    fn account(&self, account: Address) -> Account {
        self.accounts.get(&account).copied().unwrap_or_default()
    }

    /// What the next block could hold. An account's first transaction here can be paid for, so a block is never
    /// made for nothing.
    fn executable(&self) -> Vec<&Signed> {
        let base_fee_wei = u128::from(self.next_base_fee());
        self.pool.executable(
            |account| self.nonce(account),
            |transaction| {
                transaction.max_fee_per_gas() >= base_fee_wei
                    && self.balance(transaction.signer()) >= pool::cost_max(&**transaction)
            },
        )
    }

    /// Sets the time of the next block, where there is something for it.
    fn arm(&mut self, now_ms: u64) {
        if self.due_at_ms.is_none() && !self.executable().is_empty() {
            self.due_at_ms = Some(now_ms.saturating_add(self.confirm_after_ms));
        }
    }

    fn run(&self, message: &Message<'_>, block: u64, time_s: u64) -> Result<Effects, Revert> {
        match message.to {
            TxKind::Create => Err(Revert::text("the mock ledger takes no other contract")),
            TxKind::Call(CONTRACT) if message.value.is_zero() => {
                self.contract.run(CallContext { caller: message.from, block, time_s }, message.input)
            }
            TxKind::Call(CONTRACT) => Err(Revert(Bytes::new())),
            TxKind::Call(_) => Ok(Effects::default()),
        }
    }

    /// Runs a transaction as the next one of a block.
    fn include(&mut self, forming: &mut Forming, transaction: Signed) {
        let (from, hash) = (transaction.signer(), *transaction.tx_hash());
        let message = Message { from, to: transaction.kind(), value: transaction.value(), input: transaction.input() };
        let done = self.run(&message, forming.number, forming.time_s);
        let logs = done.as_ref().map_or(0, |effects| effects.logs.len());
        let wanted = pool::intrinsic_gas(&*transaction).saturating_add(execution_gas(&message, logs));
        let done = if wanted > transaction.gas_limit() { Err(Revert::text("out of gas")) } else { done };
        let gas_used = wanted.min(transaction.gas_limit());
        let gas_price = transaction.effective_gas_price(Some(forming.base_fee_wei));
        let paid = U256::from(gas_used).saturating_mul(U256::from(gas_price));
        let sent = if done.is_ok() { transaction.value() } else { U256::ZERO };
        let to = transaction.to();

        let sender = self.accounts.entry(from).or_default();
        sender.nonce += 1;
        sender.balance = sender.balance.saturating_sub(paid).saturating_sub(sent);
        if let Some(to) = to {
            let receiver = self.accounts.entry(to).or_default();
            receiver.balance = receiver.balance.saturating_add(sent);
        }
        let (succeeded, logs) = match done {
            Ok(effects) => {
                self.contract.apply(forming.number, effects.writes);
                let logs: Vec<Log> = effects.logs.into_iter().map(|data| Log { address: CONTRACT, data }).collect();
                let events = logs.iter().map(event_name).collect();
                forming.events.push(LedgerEvent::Confirmed { hash, block: forming.number, events });
                (true, logs)
            }
            Err(revert) => {
                let reason = revert.reason();
                forming.events.push(LedgerEvent::Reverted { hash, block: forming.number, reason });
                (false, Vec::new())
            }
        };
        forming.gas_used += gas_used;
        let logs_before = forming.logs;
        forming.logs += logs.len() as u64;
        let receipt = Receipt { status: Eip658Value::Eip658(succeeded), cumulative_gas_used: forming.gas_used, logs };
        let receipt = receipt_envelope(&transaction, receipt.into());
        forming.mined.push(Mined { transaction, receipt, gas_used, gas_price, logs_before });
    }
}

/// A block while it is made.
#[derive(Default)]
struct Forming {
    number: u64,
    time_s: u64,
    base_fee_wei: u64,
    gas_used: u64,
    logs: u64,
    mined: Vec<Mined>,
    events: Vec<LedgerEvent>,
}

fn genesis() -> Header {
    Header {
        gas_limit: BLOCK_GAS_MAX,
        base_fee_per_gas: Some(GENESIS_BASE_FEE_WEI),
        extra_data: LedgerKind::Mock.domain_name().as_bytes().to_vec().into(),
        ..Header::default()
    }
}

fn execution_gas(message: &Message<'_>, logs: usize) -> u64 {
    if message.to == TxKind::Call(CONTRACT) { CALL_GAS + LOG_GAS * logs as u64 } else { 0 }
}

fn receipt_envelope(transaction: &TxEnvelope, receipt: ReceiptWithBloom<Receipt<Log>>) -> ReceiptEnvelope<Log> {
    match transaction {
        TxEnvelope::Legacy(_) => ReceiptEnvelope::Legacy(receipt),
        TxEnvelope::Eip2930(_) => ReceiptEnvelope::Eip2930(receipt),
        TxEnvelope::Eip1559(_) => ReceiptEnvelope::Eip1559(receipt),
        TxEnvelope::Eip4844(_) => ReceiptEnvelope::Eip4844(receipt),
        TxEnvelope::Eip7702(_) => ReceiptEnvelope::Eip7702(receipt),
    }
}

/// The name of what a transaction calls.
fn call_name(transaction: &Signed) -> &'static str {
    match transaction.kind() {
        TxKind::Create => "a creation",
        TxKind::Call(CONTRACT) => transaction
            .input()
            .first_chunk()
            .and_then(|selector| binding::AuthorizationCalls::name_by_selector(*selector))
            .unwrap_or("an unknown function"),
        TxKind::Call(_) => "a transfer",
    }
}

fn event_name(log: &Log) -> &'static str {
    let name = log.topics().first().and_then(|topic| binding::AuthorizationEvents::name_by_selector(topic.0));
    name.unwrap_or("an unknown event")
}

#[cfg(test)]
mod tests {
    use alloy::primitives::b256;
    use alloy::sol_types::SolCall;

    use super::*;
    use crate::mock::fixture::{CONFIRM, Draft, GWEI, START_MS, act, ask, chain, dev, request, to_contract, transfer};

    const AFTER_MS: u64 = CONFIRM.as_millis() as u64;

    #[test]
    fn the_genesis_is_always_the_same_and_block_1_says_when_it_began() {
        let chain = chain();
        assert_eq!(chain.head(), 1);
        let (genesis, first) = (chain.block(0).unwrap(), chain.block(1).unwrap());
        assert_eq!(genesis.hash, b256!("ece3102c510d2889abc891f0b354bcaab74d2970f4817ab18dd8cc8c5d68620a"));
        assert_eq!((first.header.parent_hash, first.header.timestamp), (genesis.hash, START_MS / 1000));
        assert_eq!(first.header.extra_data.as_ref(), b"Guardrail Mock");
    }

    #[test]
    fn a_block_comes_some_time_after_the_first_transaction_and_none_while_idle() {
        let mut chain = chain();
        assert_eq!(chain.due_at_ms(), None);
        let to = dev(5).address();
        chain.submit(&transfer(1, to, U256::ZERO).signed(&dev(0)), START_MS + 10).unwrap();
        assert_eq!(chain.due_at_ms(), None, "nonce 0 is missing");
        chain.submit(&transfer(0, to, U256::ZERO).signed(&dev(0)), START_MS + 20).unwrap();
        chain.submit(&transfer(0, to, U256::ZERO).signed(&dev(1)), START_MS + 30).unwrap();
        assert_eq!(chain.due_at_ms(), Some(START_MS + 20 + AFTER_MS));
        chain.mine(START_MS + 20 + AFTER_MS);
        assert_eq!(chain.block(2).unwrap().transactions.len(), 3);
        assert_eq!(chain.due_at_ms(), None);
        let again = chain.submit(&transfer(0, to, U256::ZERO).signed(&dev(0)), START_MS);
        assert_eq!(again, Err(SubmitError::NonceTooLow { next: 2, nonce: 0 }));
    }

    #[test]
    fn what_pays_too_little_or_too_much_waits_without_making_blocks() {
        let mut chain = chain();
        let to = dev(5).address();
        let cheap = Draft { max_fee_wei: 1, tip_wei: 1, ..transfer(0, to, U256::ZERO) };
        chain.submit(&cheap.signed(&dev(0)), START_MS).unwrap();
        assert_eq!(chain.due_at_ms(), None);
        // Each by itself can be paid, together they cannot: the second waits.
        let nine = U256::from(9) * U256::from(10).pow(U256::from(18));
        for nonce in [0, 1] {
            chain.submit(&transfer(nonce, to, nine).signed(&dev(1)), START_MS).unwrap();
        }
        let rich = chain.submit(&transfer(2, to, nine + nine).signed(&dev(1)), START_MS).unwrap_err();
        assert!(matches!(rich, SubmitError::Funds { .. }), "{rich}");
        chain.mine(START_MS + AFTER_MS);
        assert_eq!(chain.block(2).unwrap().transactions.len(), 1);
        assert_eq!((chain.nonce(dev(1).address()), chain.pending_nonce(dev(1).address())), (1, 2));
        assert_eq!(chain.due_at_ms(), None);
        let now = chain.submit(&transfer(0, dev(1).address(), nine).signed(&dev(2)), START_MS + AFTER_MS);
        assert!(now.is_ok());
        chain.mine(START_MS + 2 * AFTER_MS);
        chain.mine(START_MS + 3 * AFTER_MS);
        assert_eq!(chain.nonce(dev(1).address()), 2);
    }

    #[test]
    fn coins_go_where_they_are_sent_and_fees_go() {
        let mut chain = chain();
        let (from, to) = (dev(0).address(), Address::repeat_byte(9));
        let before = chain.balance(from);
        let base = u128::from(chain.next_base_fee());
        chain.submit(&transfer(0, to, U256::from(77)).signed(&dev(0)), START_MS).unwrap();
        chain.mine(START_MS);
        let fee = U256::from(21_000) * U256::from(base + GWEI);
        assert_eq!((chain.balance(to), chain.balance(from)), (U256::from(77), before - fee - U256::from(77)));
        // A revert pays, and moves nothing.
        let reverted = Draft { value: U256::from(5), ..to_contract(1, ask("r", &request("r", 5_000))) };
        chain.submit(&reverted.signed(&dev(0)), START_MS).unwrap();
        let before = chain.balance(from);
        let events = chain.mine(START_MS);
        assert!(matches!(events[..], [LedgerEvent::Reverted { .. }]), "{events:?}");
        assert_eq!(chain.balance(CONTRACT), U256::ZERO);
        assert!(chain.balance(from) < before);
    }

    #[test]
    fn a_block_holds_so_much_gas_and_the_rest_comes_next() {
        let mut chain = chain();
        let to = dev(5).address();
        let large = |nonce| Draft { gas: 9_000_000, input: vec![1; 500_000], ..transfer(nonce, to, U256::ZERO) };
        for nonce in 0..4 {
            chain.submit(&large(nonce).signed(&dev(0)), START_MS).unwrap();
        }
        chain.mine(START_MS);
        let block = chain.block(2).unwrap();
        // Before it runs, a transaction counts with its limit; afterwards with what it used.
        assert_eq!((block.transactions.len(), block.header.gas_used), (3, 3 * 8_021_000));
        assert_eq!(chain.due_at_ms(), Some(START_MS + AFTER_MS));
        chain.mine(START_MS);
        assert_eq!(chain.block(3).unwrap().transactions.len(), 1);
    }

    #[test]
    fn the_estimate_is_what_it_takes_and_less_runs_out() {
        let mut chain = chain();
        let (from, input) = (dev(0).address(), ask("r", &request("r", 5_000)));
        let message = Message { from, to: TxKind::Call(CONTRACT), value: U256::ZERO, input: &input };
        let gas = chain.estimate(&message, START_MS).unwrap();
        let short = Draft { gas: gas - 1, ..to_contract(0, input.clone()) };
        chain.submit(&short.signed(&dev(0)), START_MS).unwrap();
        let [LedgerEvent::Reverted { reason, .. }] = &chain.mine(START_MS)[..] else { panic!("it ran") };
        assert_eq!(reason, "out of gas");
        let enough = Draft { gas, ..to_contract(1, input) };
        chain.submit(&enough.signed(&dev(0)), START_MS).unwrap();
        let [LedgerEvent::Confirmed { events, .. }] = &chain.mine(START_MS)[..] else { panic!("it reverted") };
        assert_eq!(events, &["AuthorizationRequested"]);
    }

    #[test]
    fn blocks_are_linked_and_time_never_goes_back() {
        let mut chain = chain();
        for (index, now_ms) in [START_MS + 9_000, START_MS + 3_000, START_MS + 9_500].into_iter().enumerate() {
            act(&mut chain, 0, ask(&index.to_string(), &request(&index.to_string(), 5_000)), now_ms);
        }
        let times: Vec<u64> = (1..=4).map(|n| chain.block(n).unwrap().header.timestamp - START_MS / 1000).collect();
        assert_eq!(times, [0, 9, 9, 9]);
        for number in 1..=chain.head() {
            let (block, parent) = (chain.block(number).unwrap(), chain.block(number - 1).unwrap());
            assert_eq!((block.header.parent_hash, block.header.number), (parent.hash, number));
            assert_eq!(block.header.hash_slow(), block.hash);
            assert_eq!(chain.block_by_hash(block.hash).unwrap().header.number, number);
        }
    }

    #[test]
    fn there_is_no_administration_and_no_other_contract() {
        let mut chain = chain();
        let pause = binding::pauseCall {}.abi_encode();
        let LedgerEvent::Reverted { reason, .. } = act(&mut chain, 8, pause, START_MS) else { panic!("it paused") };
        assert_eq!(reason, "the mock ledger has no administration");
        let creation = Draft { to: TxKind::Create, ..to_contract(1, vec![0xfe]) };
        chain.submit(&creation.signed(&dev(8)), START_MS).unwrap();
        let [LedgerEvent::Reverted { reason, .. }] = &chain.mine(START_MS)[..] else { panic!("it was created") };
        assert_eq!(reason, "the mock ledger takes no other contract");
    }
}
