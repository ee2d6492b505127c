//! Transactions that a person sends by hand: votes, administration, cancellations.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};

use super::error::{CommandError, Exit, OrExit};
use super::pending::printable;
use crate::bridge::rpc::revert_of;
use crate::crypto::SigningKey;

/// How long a transaction may take until it is mined.
const MINED_TIMEOUT: Duration = Duration::from_secs(180);

/// Calls the contract with a transaction of the key's account and waits until it is mined.
///
/// What the contract would revert is said before anything is sent.
pub async fn send(
    provider: &RootProvider,
    key: &SigningKey,
    contract: Address,
    calldata: Bytes,
) -> Result<B256, CommandError> {
    send_to(provider, key, TxKind::Call(contract), calldata).await.map(|receipt| receipt.transaction_hash)
}

/// Sends a call or a creation and waits until it is mined.
pub async fn send_to(
    provider: &RootProvider,
    key: &SigningKey,
    to: TxKind,
    data: Bytes,
) -> Result<TransactionReceipt, CommandError> {
    let account = key.address();
    let mut estimate = TransactionRequest::default().from(account).input(data.clone().into());
    estimate.to = Some(to);
    let gas = provider.estimate_gas(estimate).await.map_err(|error| match revert_of(&error) {
        Some(reason) => {
            CommandError::message(Exit::Usage, format!("the contract refuses this: {}", printable(&reason)))
        }
        None => CommandError::new(Exit::Unreachable, error),
    })?;
    let fees = provider.estimate_eip1559_fees().await.or_exit(Exit::Unreachable)?;
    let mut transaction = TxEip1559 {
        chain_id: provider.get_chain_id().await.or_exit(Exit::Unreachable)?,
        nonce: provider.get_transaction_count(account).pending().await.or_exit(Exit::Unreachable)?,
        gas_limit: gas.saturating_add(gas / 4),
        max_fee_per_gas: fees.max_fee_per_gas,
        max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
        to,
        value: U256::ZERO,
        access_list: Default::default(),
        input: data,
    };
    let signature = key.signer().sign_transaction_sync(&mut transaction).or_exit(Exit::Failed)?;
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    let pending = provider.send_raw_transaction(&envelope.encoded_2718()).await.or_exit(Exit::Unreachable)?;
    let receipt = pending.with_timeout(Some(MINED_TIMEOUT)).get_receipt().await.or_exit(Exit::Unreachable)?;
    if receipt.status() {
        Ok(receipt)
    } else {
        Err(CommandError::message(Exit::Failed, format!("transaction {} reverted", receipt.transaction_hash)))
    }
}
