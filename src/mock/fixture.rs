//! What the unit tests work with: a ledger set up as `guardrail bridge --mock-chain` does, and transactions for it.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::aliases::U40;
use alloy::primitives::{Address, B256, TxKind, U256, keccak256};
use alloy::sol_types::SolCall;

use super::CONTRACT;
use super::authorization::id_of;
use super::chain::{Chain, ChainSettings, LedgerEvent};
use super::pool::{Signed, decode};
use crate::contract::IAuthorization::Request;
use crate::contract::Setup;
use crate::contract::bindings::Authorization as binding;
use crate::crypto::SigningKey;
use crate::schema::anchors::{ApproverAnchor, BridgeAnchor, DEV_CHAIN_ID};

/// When the ledger begins, and how long it takes.
pub const START_MS: u64 = 1_800_000_000_000;
pub const CONFIRM: Duration = Duration::from_secs(5);
/// Enough for any call here.
pub const GAS: u64 = 1_000_000;
pub const GWEI: u128 = 1_000_000_000;

pub fn dev(index: usize) -> SigningKey {
    SigningKey::dev(index).unwrap()
}

pub fn setup() -> Setup {
    let approver = |index: usize, role: &str| ApproverAnchor { address: dev(index).address(), role: role.to_owned() };
    Setup {
        admin: dev(8).address(),
        approvers: vec![approver(1, "operations"), approver(3, "operations"), approver(2, "security")],
        policy: Setup::example_policy(),
        bridges: vec![BridgeAnchor { signer: dev(9).address(), requester: dev(0).address() }],
    }
}

pub fn chain() -> Chain {
    let ether = U256::from(10).pow(U256::from(18));
    let balances = (0..10).map(|index| (dev(index).address(), ether * U256::from(10))).collect();
    Chain::new(ChainSettings { chain_id: DEV_CHAIN_ID, confirm_after: CONFIRM, balances }, &setup(), START_MS).unwrap()
}

/// A request of the dev bridge that lives five minutes.
pub fn request(name: &str, risk_bps: u16) -> Request {
    Request {
        requestIdHash: keccak256(name),
        toolHash: keccak256("deploy_to_production"),
        actionHash: keccak256("action"),
        requestHash: keccak256("request"),
        requester: dev(0).address(),
        expiresAt: U40::from(START_MS / 1000 + 300),
        riskBps: risk_bps,
        epoch: 1,
    }
}

pub fn ask(name: &str, r: &Request) -> Vec<u8> {
    let call = binding::requestAuthorizationCall {
        r: r.clone(),
        requestId: name.to_owned(),
        toolName: "deploy_to_production".to_owned(),
    };
    call.abi_encode()
}

/// A transaction with every field that a test varies.
#[derive(Clone, Debug)]
pub struct Draft {
    pub chain_id: u64,
    pub nonce: u64,
    pub gas: u64,
    pub max_fee_wei: u128,
    pub tip_wei: u128,
    pub to: TxKind,
    pub value: U256,
    pub input: Vec<u8>,
}

pub fn to_contract(nonce: u64, input: Vec<u8>) -> Draft {
    Draft {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas: GAS,
        max_fee_wei: 10 * GWEI,
        tip_wei: GWEI,
        to: TxKind::Call(CONTRACT),
        value: U256::ZERO,
        input,
    }
}

pub fn transfer(nonce: u64, to: Address, value: U256) -> Draft {
    Draft { gas: 21_000, to: TxKind::Call(to), value, ..to_contract(nonce, Vec::new()) }
}

impl Draft {
    pub fn signed(&self, key: &SigningKey) -> Vec<u8> {
        let mut transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas,
            max_fee_per_gas: self.max_fee_wei,
            max_priority_fee_per_gas: self.tip_wei,
            to: self.to,
            value: self.value,
            access_list: Default::default(),
            input: self.input.clone().into(),
        };
        let signature = key.signer().sign_transaction_sync(&mut transaction).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()
    }

    pub fn decoded(&self, key: &SigningKey) -> Signed {
        decode(&self.signed(key), DEV_CHAIN_ID).unwrap()
    }
}

/// Sends a call of the contract and mines it; what came of it.
pub fn act(chain: &mut Chain, account: usize, input: Vec<u8>, now_ms: u64) -> LedgerEvent {
    let key = dev(account);
    let draft = to_contract(chain.pending_nonce(key.address()), input);
    chain.submit(&draft.signed(&key), now_ms).unwrap();
    let mut events = chain.mine(now_ms);
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

/// The state of a request at the end of a block: its status, and the approvals counted.
pub fn state(chain: &Chain, r: &Request, block: u64) -> (u8, u32) {
    let input = binding::requestStateCall { id: id_of(r) }.abi_encode();
    let message =
        super::chain::Message { from: Address::ZERO, to: TxKind::Call(CONTRACT), value: U256::ZERO, input: &input };
    let answer = chain.call(chain.block(block).unwrap(), &message).unwrap();
    let state = binding::requestStateCall::abi_decode_returns(&answer).unwrap();
    (state.status, state.votes)
}

pub fn hash_of(raw: &[u8]) -> B256 {
    keccak256(raw)
}
