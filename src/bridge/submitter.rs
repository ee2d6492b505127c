//! Owns the account's nonces: signs and journals transactions, raises fees, fills gaps.
//!
//! A nonce is allocated by writing its record, signed bytes included; that is durable before
//! anything is sent, and [`super::sender`] sends what is durable. Restarting sends the same
//! bytes again.

use alloy::consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, Bytes, TxKind, U256};

use super::BridgeError;
use super::fees::{self, AboveCeiling, Fees, Market};
use super::gas;
use super::journal::{Attempt, ItemKind, OpenNonce, Reads, Writes};
use super::plan::Work;
use crate::crash;
use crate::crypto::SigningKey;
use crate::crypto::key::KeyError;
use crate::schema::Timestamp;

/// Calldata of one transaction, in bytes, as long as no node says that it is too much.
const CALLDATA_BYTES_MAX: usize = 512 * 1024;
/// What fits geth's 128 KiB a transaction (`txMaxSize`), signature and fields aside.
const CALLDATA_BYTES_SMALL: usize = 120 * 1024;
/// Gaps that one look fills.
const GAPS_MAX: u64 = 16;

/// Signs for one account.
pub struct Submitter {
    key: SigningKey,
    settings: SubmitterSettings,
    market: Market,
    block_gas_limit: u64,
    calldata_bytes_max: usize,
    /// The lowest nonce that the chain allows; the journal's own may be higher.
    floor: u64,
}

/// What a [`Submitter`] keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmitterSettings {
    pub chain_id: u64,
    pub contract: Address,
    pub ceiling_wei: u128,
    pub tip_wei: u128,
    pub resubmit_interval_ms: i64,
}

/// A transaction that is journalled and waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub attempt: Attempt,
    pub kind: ItemKind,
    pub items: usize,
}

/// What was done about a transaction that does not get mined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstuck {
    /// It is not time yet.
    Nothing,
    /// These go out: gaps that are filled, or the lowest with a higher fee.
    Send(Vec<Planned>),
    /// The fee ceiling is reached; the old bytes are sent again.
    AtCeiling(AboveCeiling),
}

impl Submitter {
    pub fn new(key: SigningKey, settings: SubmitterSettings) -> Self {
        let market = Market { base_fee_wei: 0, priority_fee_wei: settings.tip_wei };
        Submitter {
            key,
            settings,
            market,
            block_gas_limit: gas::TRANSACTION_GAS_MAX,
            calldata_bytes_max: CALLDATA_BYTES_MAX,
            floor: 0,
        }
    }

    pub fn account(&self) -> Address {
        self.key.address()
    }

    /// The wei that a whole life of a request costs at most, at the market's fee.
    pub fn life_cost_wei(&self) -> u128 {
        let fee = self.market.base_fee_wei.saturating_add(self.market.priority_fee_wei);
        fee.saturating_mul(u128::from(gas::LIFE_GAS)).max(1)
    }

    /// The most that one transaction may take.
    pub fn gas_max(&self) -> u64 {
        gas::transaction_max(self.block_gas_limit)
    }

    /// The most calldata that one transaction may carry, in bytes.
    pub fn calldata_bytes_max(&self) -> usize {
        self.calldata_bytes_max
    }

    /// A node said that a transaction is too large: from now on they fit geth's limit.
    pub fn keep_small(&mut self) {
        self.calldata_bytes_max = CALLDATA_BYTES_SMALL;
    }

    /// Learns what the newest block says.
    pub fn observe_block(&mut self, base_fee_wei: u128, gas_limit: u64) {
        self.market.base_fee_wei = base_fee_wei;
        self.block_gas_limit = gas_limit;
    }

    /// The chain has used every nonce below `floor`.
    pub fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    /// Whether the market asks for more than the operator allows, so that nothing new would be mined.
    pub fn above_ceiling(&self) -> Option<AboveCeiling> {
        let (wanted_wei, ceiling_wei) = (self.market.base_fee_wei, self.settings.ceiling_wei);
        (wanted_wei > ceiling_wei).then_some(AboveCeiling { wanted_wei, ceiling_wei })
    }

    /// Allocates the next nonce to a piece of work.
    ///
    /// # Errors
    /// [`BridgeError`] of the journal or the key.
    pub fn plan(&self, writes: &Writes<'_>, work: &Work) -> Result<Planned, BridgeError> {
        let nonce = self.next_nonce(writes)?;
        let gas = work.gas.unwrap_or_else(|| gas::limit(gas::expected(work.load()), self.block_gas_limit));
        let attempt =
            self.sign(nonce, fees::first_attempt(self.market, self.settings.ceiling_wei), gas, Some(&work.calldata))?;
        writes.insert_nonce(work.kind, &attempt, &work.items)?;
        Ok(Planned { attempt, kind: work.kind, items: work.items.len() })
    }

    /// Allocates the next nonce to an empty self-transfer, to have a block mined.
    ///
    /// # Errors
    /// As [`Submitter::plan`].
    pub fn plan_nothing(&self, writes: &Writes<'_>) -> Result<Planned, BridgeError> {
        let nonce = self.next_nonce(writes)?;
        self.fill(writes, nonce)
    }

    fn fill(&self, writes: &Writes<'_>, nonce: u64) -> Result<Planned, BridgeError> {
        let fees = fees::first_attempt(self.market, self.settings.ceiling_wei);
        let attempt = self.sign(nonce, fees, gas::TRANSFER_GAS, None)?;
        writes.insert_nonce(ItemKind::Nothing, &attempt, &[])?;
        Ok(Planned { attempt, kind: ItemKind::Nothing, items: 0 })
    }

    fn next_nonce(&self, reads: &Reads<'_>) -> Result<u64, BridgeError> {
        let after_ours = reads.highest_nonce()?.map_or(0, |nonce| nonce.saturating_add(1));
        Ok(after_ours.max(self.floor))
    }

    fn sign(&self, nonce: u64, fees: Fees, gas: u64, calldata: Option<&Bytes>) -> Result<Attempt, BridgeError> {
        crash::point("sign.transaction.before");
        let mut transaction = TxEip1559 {
            chain_id: self.settings.chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.max_fee_wei,
            max_priority_fee_per_gas: fees.priority_fee_wei,
            to: TxKind::Call(if calldata.is_some() { self.settings.contract } else { self.account() }),
            value: U256::ZERO,
            access_list: Default::default(),
            input: calldata.cloned().unwrap_or_default(),
        };
        let signature = self.key.signer().sign_transaction_sync(&mut transaction).map_err(KeyError::from)?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        crash::point("sign.transaction.after");
        Ok(Attempt {
            nonce,
            tx_hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            fees,
            signed_at_ms: Timestamp::now().unix_ms(),
        })
    }

    /// Whether an attempt has waited for the resubmit interval.
    pub fn is_stuck(&self, signed_at_ms: i64) -> bool {
        Timestamp::now().unix_ms().saturating_sub(signed_at_ms) >= self.settings.resubmit_interval_ms
    }

    /// Gets stuck transactions out: fills gaps below the lowest open nonce, or raises the fee of
    /// the lowest one once it has waited for the resubmit interval. `used` is how many nonces the
    /// chain says are used.
    ///
    /// # Errors
    /// [`BridgeError`] of the journal or the key.
    pub fn unstick(&self, writes: &Writes<'_>, open: &[OpenNonce], used: u64) -> Result<Unstuck, BridgeError> {
        let Some(lowest) = open.first() else { return Ok(Unstuck::Nothing) };
        let Some(last) = lowest.attempts.last() else { return Ok(Unstuck::Nothing) };
        if !self.is_stuck(last.signed_at_ms) || used > lowest.nonce {
            return Ok(Unstuck::Nothing);
        }
        let mut fillers = Vec::new();
        for nonce in used..lowest.nonce.min(used.saturating_add(GAPS_MAX)) {
            // What the journal knows as mined is no gap: the node is behind, or lies.
            if !writes.has_nonce(nonce)? {
                tracing::warn!(target: "guardrail::bridge", nonce, "filling a gap with an empty transfer");
                fillers.push(self.fill(writes, nonce)?);
            }
        }
        if used < lowest.nonce {
            return Ok(Unstuck::Send(fillers));
        }
        match fees::replacement(last.fees, self.market, self.settings.ceiling_wei) {
            Ok(fees) => {
                let attempt = self.resign(last, fees)?;
                writes.insert_attempt(&attempt, lowest.attempts.len())?;
                let items = writes.items(lowest.nonce)?.len();
                tracing::warn!(target: "guardrail::bridge", nonce = lowest.nonce, tx = %attempt.tx_hash, ?fees, "raising the fee");
                Ok(Unstuck::Send(vec![Planned { attempt, kind: lowest.kind, items }]))
            }
            Err(above) => Ok(Unstuck::AtCeiling(above)),
        }
    }

    /// The same transaction with other fees.
    fn resign(&self, old: &Attempt, fees: Fees) -> Result<Attempt, BridgeError> {
        let envelope = TxEnvelope::decode_2718_exact(&old.raw)
            .map_err(|e| BridgeError::Corrupt(format!("transaction {}: {e}", old.tx_hash)))?;
        let calldata = (envelope.to() == Some(self.settings.contract)).then(|| envelope.input().clone());
        self.sign(old.nonce, fees, envelope.gas_limit(), calldata.as_ref())
    }

    /// Gives a nonce up to an empty transfer: its own transaction can never be mined, and later
    /// nonces wait behind it.
    ///
    /// # Errors
    /// As [`Submitter::plan`].
    pub fn give_nonce_away(&self, writes: &Writes<'_>, open: &OpenNonce) -> Result<Option<Planned>, BridgeError> {
        let Some(last) = open.attempts.last() else { return Ok(None) };
        let fees = fees::first_attempt(self.market, self.settings.ceiling_wei);
        let fees = Fees {
            max_fee_wei: fees.max_fee_wei.max(last.fees.max_fee_wei),
            priority_fee_wei: fees.priority_fee_wei.max(last.fees.priority_fee_wei),
        };
        let attempt = self.sign(open.nonce, fees, gas::TRANSFER_GAS, None)?;
        writes.insert_attempt(&attempt, open.attempts.len())?;
        writes.detach_items(open.nonce)?;
        Ok(Some(Planned { attempt, kind: ItemKind::Nothing, items: 0 }))
    }
}
