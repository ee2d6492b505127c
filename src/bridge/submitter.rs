//! Owns the account's nonces: signs, journals, sends; raises fees; fills gaps.
//!
//! A nonce is allocated by writing its record, signed bytes included, and that is durable
//! before anything is sent. Restarting sends the same bytes again.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::BlockNumberOrTag;
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, Bytes, TxKind, U256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::TransactionRequest;

use super::BridgeError;
use super::fees::{self, Fees, Market};
use super::journal::{Attempt, ItemKind, Journal, OpenNonce};
use super::plan::Work;
use super::rpc::{SendOutcome, classify_send, revert_of};
use crate::crypto::SigningKey;
use crate::crypto::key::KeyError;
use crate::schema::Timestamp;

/// Gas of one transaction (EIP-7825).
pub const GAS_MAX: u64 = 16_777_216;
/// Gas of an empty transfer.
const TRANSFER_GAS: u64 = 21_000;

/// Signs and sends for one account.
pub struct Submitter {
    provider: RootProvider,
    key: SigningKey,
    chain_id: u64,
    contract: Address,
    ceiling_wei: u128,
    tip_wei: u128,
    resubmit_interval_ms: i64,
}

/// What became of a piece of work.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// Journalled and, as far as anyone knows, on its way.
    OnItsWay { nonce: u64 },
    /// The contract would revert it, with this reason; nothing was sent.
    WouldRevert(String),
    /// The node will not have it; the nonce is free again.
    Rejected(String),
}

/// Settings of a [`Submitter`].
pub struct SubmitterConfig {
    pub chain_id: u64,
    pub contract: Address,
    pub ceiling_wei: u128,
    pub tip_wei: u128,
    pub resubmit_interval_ms: i64,
}

impl Submitter {
    pub fn new(provider: RootProvider, key: SigningKey, config: SubmitterConfig) -> Self {
        let SubmitterConfig { chain_id, contract, ceiling_wei, tip_wei, resubmit_interval_ms } = config;
        Submitter { provider, key, chain_id, contract, ceiling_wei, tip_wei, resubmit_interval_ms }
    }

    pub fn account(&self) -> Address {
        self.key.address()
    }

    async fn market(&self) -> Result<Market, BridgeError> {
        let block = self.provider.get_block_by_number(BlockNumberOrTag::Latest).await?;
        let base = block.and_then(|block| block.header.base_fee_per_gas).unwrap_or_default();
        Ok(Market { base_fee_wei: u128::from(base), priority_fee_wei: self.tip_wei })
    }

    /// Sends one piece of work under a fresh nonce.
    ///
    /// # Errors
    /// [`BridgeError`] where the journal or the endpoint fails before anything was journalled.
    pub async fn send(&self, journal: &mut Journal, work: &Work) -> Result<Sent, BridgeError> {
        let request =
            TransactionRequest::default().from(self.account()).to(self.contract).input(work.calldata.clone().into());
        let estimate = match self.provider.estimate_gas(request).await {
            Ok(gas) => gas,
            Err(error) => match revert_of(&error) {
                Some(reason) => return Ok(Sent::WouldRevert(reason)),
                None => return Err(error.into()),
            },
        };
        // A quarter more: other votes and batches may come first and change what is touched.
        let gas = estimate.saturating_add(estimate / 4).min(GAS_MAX);
        let fees = fees::first_attempt(self.market().await?, self.ceiling_wei);
        let nonce = self.next_nonce(journal).await?;
        let attempt = self.sign(nonce, fees, gas, Some(&work.calldata))?;
        self.journal_and_send(journal, work.kind, &work.items, attempt).await
    }

    /// Sends an empty self-transfer, to have a block mined.
    ///
    /// # Errors
    /// As [`Submitter::send`].
    pub async fn send_nothing(&self, journal: &mut Journal) -> Result<Sent, BridgeError> {
        let nonce = self.next_nonce(journal).await?;
        self.fill(journal, nonce).await
    }

    async fn fill(&self, journal: &mut Journal, nonce: u64) -> Result<Sent, BridgeError> {
        let fees = fees::first_attempt(self.market().await?, self.ceiling_wei);
        let attempt = self.sign(nonce, fees, TRANSFER_GAS, None)?;
        self.journal_and_send(journal, ItemKind::Nothing, &[], attempt).await
    }

    async fn journal_and_send(
        &self,
        journal: &mut Journal,
        kind: ItemKind,
        items: &[crate::schema::AuthorizationId],
        attempt: Attempt,
    ) -> Result<Sent, BridgeError> {
        let nonce = attempt.nonce;
        journal.atomically(|writes| writes.insert_nonce(kind, &attempt, items))?;
        tracing::info!(target: "guardrail::bridge", nonce, kind = kind.as_str(), items = items.len(), tx = %attempt.tx_hash, "sending");
        match classify_send(self.provider.send_raw_transaction(&attempt.raw).await) {
            SendOutcome::Accepted => Ok(Sent::OnItsWay { nonce }),
            SendOutcome::PossiblySent(answer) => {
                tracing::warn!(target: "guardrail::bridge", nonce, answer, "possibly sent");
                Ok(Sent::OnItsWay { nonce })
            }
            SendOutcome::CertainlyRejected(reason) => {
                // Nothing came after it: this task is the only writer, so the nonce is the highest.
                journal.atomically(|writes| writes.free_nonce(nonce))?;
                Ok(Sent::Rejected(reason))
            }
        }
    }

    async fn next_nonce(&self, journal: &Journal) -> Result<u64, BridgeError> {
        let after_ours = journal.highest_nonce()?.map_or(0, |nonce| nonce.saturating_add(1));
        Ok(after_ours.max(self.latest_nonce().await?))
    }

    /// The account's nonce in the latest block.
    ///
    /// # Errors
    /// [`BridgeError::Rpc`].
    pub async fn latest_nonce(&self) -> Result<u64, BridgeError> {
        Ok(self.provider.get_transaction_count(self.account()).latest().await?)
    }

    fn sign(&self, nonce: u64, fees: Fees, gas: u64, calldata: Option<&Bytes>) -> Result<Attempt, BridgeError> {
        let mut transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.max_fee_wei,
            max_priority_fee_per_gas: fees.priority_fee_wei,
            to: TxKind::Call(if calldata.is_some() { self.contract } else { self.account() }),
            value: U256::ZERO,
            access_list: Default::default(),
            input: calldata.cloned().unwrap_or_default(),
        };
        let signature = self.key.signer().sign_transaction_sync(&mut transaction).map_err(KeyError::from)?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        Ok(Attempt {
            nonce,
            tx_hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            fees,
            signed_at_ms: Timestamp::now().unix_ms(),
        })
    }

    /// Sends every unmined transaction's latest bytes again, lowest nonce first.
    ///
    /// # Errors
    /// [`BridgeError::Journal`]; an endpoint's refusal is only logged, since the bytes are journalled.
    pub async fn resend(&self, journal: &Journal) -> Result<usize, BridgeError> {
        let open = journal.open_nonces()?;
        for nonce in &open {
            if let Some(attempt) = nonce.attempts.last() {
                let answer = classify_send(self.provider.send_raw_transaction(&attempt.raw).await);
                tracing::info!(target: "guardrail::bridge", nonce = attempt.nonce, tx = %attempt.tx_hash, ?answer, "sent again");
            }
        }
        Ok(open.len())
    }

    /// Gets stuck transactions out: fills a gap below the lowest open nonce, or raises the fee of
    /// the lowest one once it has waited for the resubmit interval.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn unstick(&self, journal: &mut Journal, open: &[OpenNonce]) -> Result<(), BridgeError> {
        let Some(lowest) = open.first() else { return Ok(()) };
        let Some(last) = lowest.attempts.last() else { return Ok(()) };
        if Timestamp::now().unix_ms().saturating_sub(last.signed_at_ms) < self.resubmit_interval_ms {
            return Ok(());
        }
        let latest = self.latest_nonce().await?;
        for nonce in latest..lowest.nonce {
            tracing::warn!(target: "guardrail::bridge", nonce, "filling a gap with an empty transfer");
            self.fill(journal, nonce).await?;
        }
        if latest != lowest.nonce {
            return Ok(());
        }
        let market = self.market().await?;
        match fees::replacement(last.fees, market, self.ceiling_wei) {
            Ok(fees) => {
                let attempt = self.resign(last, fees)?;
                journal.atomically(|writes| writes.insert_attempt(&attempt, lowest.attempts.len()))?;
                let answer = classify_send(self.provider.send_raw_transaction(&attempt.raw).await);
                tracing::warn!(target: "guardrail::bridge", nonce = lowest.nonce, tx = %attempt.tx_hash, ?fees, ?answer, "raised the fee");
            }
            Err(above) => {
                tracing::error!(target: "guardrail::bridge", nonce = lowest.nonce, %above, "a transaction is stuck at the fee ceiling; raise fees.max_fee_gwei or wait");
                let answer = classify_send(self.provider.send_raw_transaction(&last.raw).await);
                tracing::info!(target: "guardrail::bridge", nonce = lowest.nonce, ?answer, "sent again");
            }
        }
        Ok(())
    }

    /// The same transaction with other fees.
    fn resign(&self, old: &Attempt, fees: Fees) -> Result<Attempt, BridgeError> {
        use alloy::consensus::Transaction;
        use alloy::eips::eip2718::Decodable2718;
        let envelope = TxEnvelope::decode_2718_exact(&old.raw)
            .map_err(|e| BridgeError::Corrupt(format!("transaction {}: {e}", old.tx_hash)))?;
        let calldata = (envelope.to() == Some(self.contract)).then(|| envelope.input().clone());
        self.sign(old.nonce, fees, envelope.gas_limit(), calldata.as_ref())
    }
}
