//! Reads the contract's logs page by page. Each page is kept before the next one is asked for.

use std::collections::BTreeMap;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};

use super::AuditError;
use super::event::AuditLog;
use super::store::{LogStore, PageEnd};
use crate::crypto::abi;
use crate::evidence::EndpointError;

/// Blocks that one question for logs covers at most; it is halved where the endpoint refuses.
pub const PAGE_BLOCKS_MAX: u64 = 10_000;

/// How far the reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub from_block: u64,
    /// The last block that is read.
    pub at_block: u64,
    pub head: u64,
    /// Logs of this run.
    pub logs: u64,
}

/// Brings a store up to the endpoint's head: what the chain has dropped is forgotten, what is missing is fetched.
///
/// # Errors
/// [`AuditError`]; the pages that were fetched before are kept.
pub async fn update<P: Provider>(
    provider: &P,
    store: &mut LogStore,
    contract: Address,
    from_block: u64,
    mut tell: impl FnMut(Progress),
) -> Result<Progress, AuditError> {
    let head = provider.get_block_number().await.map_err(EndpointError::from)?;
    let first = match common(provider, store, head).await? {
        Some(end) => end.to_block + 1,
        None => from_block,
    };
    let mut progress = Progress { from_block: first, at_block: first, head, logs: 0 };
    let (mut from, mut span) = (first, PAGE_BLOCKS_MAX);
    while from <= head {
        let to = head.min(from.saturating_add(span - 1));
        // The hash first: a page that changed while it was read does not have it afterwards.
        let end = PageEnd { to_block: to, hash: hash_of(provider, to).await? };
        match page(provider, contract, from, to).await {
            Ok(logs) => {
                store.append(&logs, end)?;
                progress.at_block = to;
                progress.logs += u64::try_from(logs.len()).unwrap_or(u64::MAX);
                tell(progress);
                from = to + 1;
                span = span.saturating_mul(2).min(PAGE_BLOCKS_MAX);
            }
            // Too many logs or blocks for one answer, in the words of whichever endpoint it is.
            Err(AuditError::Endpoint(EndpointError::Rpc(error))) if error.is_error_resp() => {
                if span == 1 {
                    tracing::warn!(target: "guardrail::audit", %error, block = from, "no logs of a single block");
                    return Err(AuditError::Page(from));
                }
                span = span.min(to - from + 1).div_ceil(2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(progress)
}

/// The last page that the chain still has; later ones are forgotten.
async fn common<P: Provider>(provider: &P, store: &mut LogStore, head: u64) -> Result<Option<PageEnd>, AuditError> {
    while let Some(end) = store.last_page()? {
        if end.to_block <= head && hash_of(provider, end.to_block).await? == end.hash {
            return Ok(Some(end));
        }
        store.forget_last_page()?;
    }
    Ok(None)
}

async fn hash_of<P: Provider>(provider: &P, block: u64) -> Result<B256, AuditError> {
    Ok(header(provider, block).await?.0)
}

/// A block's hash and its time, in Unix seconds.
async fn header<P: Provider>(provider: &P, block: u64) -> Result<(B256, u64), AuditError> {
    let found = provider.get_block_by_number(BlockNumberOrTag::Number(block)).await.map_err(EndpointError::from)?;
    let found = found.ok_or(AuditError::Endpoint(EndpointError::NoBlock(B256::ZERO)))?;
    Ok((found.header.hash, found.header.inner.timestamp))
}

async fn page<P: Provider>(provider: &P, contract: Address, from: u64, to: u64) -> Result<Vec<AuditLog>, AuditError> {
    let filter =
        Filter::new().address(contract).event_signature(abi::LIFE_TOPICS.to_vec()).from_block(from).to_block(to);
    let logs = provider.get_logs(&filter).await.map_err(EndpointError::from)?;
    let mut times = BTreeMap::new();
    let mut found = Vec::with_capacity(logs.len());
    for log in logs {
        let block_time_s = match log.block_timestamp {
            Some(time_s) => time_s,
            None => time_of(provider, &log, &mut times).await?,
        };
        let (Some(block), Some(log_index), Some(transaction)) = (log.block_number, log.log_index, log.transaction_hash)
        else {
            return Err(AuditError::Unplaced);
        };
        found.push(AuditLog { block, block_time_s, log_index, transaction, data: log.inner.data });
    }
    Ok(found)
}

/// The time of a log's block, where the endpoint does not give it with the log; asked once a block.
async fn time_of<P: Provider>(provider: &P, log: &Log, times: &mut BTreeMap<u64, u64>) -> Result<u64, AuditError> {
    let block = log.block_number.ok_or(AuditError::Unplaced)?;
    if let Some(known) = times.get(&block) {
        return Ok(*known);
    }
    let (_, time_s) = header(provider, block).await?;
    times.insert(block, time_s);
    Ok(time_s)
}
