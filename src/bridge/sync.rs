//! Reads the chain: what happened after the cursor, up to the newest confirmed block.
//!
//! One [`ChainReader::fetch`] asks and changes nothing; its [`ChainUpdate`] is applied to the
//! journal in one transaction. The cursor is a block (number, hash). What follows is linked to
//! it: the next block names it as its parent, or the chain still has it at its height. Where
//! not, the newest block that journal and chain share is found, and everything above is taken
//! back before anything is added.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, U256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::{Block, Filter, Header, Log, TransactionReceipt};

use super::BridgeError;
use super::changes::{is_administration, is_answered};
use super::endpoints::ChainClient;
use super::identity::ChainIdentity;
use super::journal::{Cursor, ItemKind};
use crate::contract;
use crate::crypto::abi::ChainStatus;
use crate::evidence::{BlockProofs, endpoint};
use crate::schema::anchors::EpochAnchors;
use crate::schema::{AuthorizationId, LedgerKind};

/// Blocks that one `eth_getLogs` covers: fewer where they are full, more where they are empty.
const PAGE_BLOCKS_MIN: u64 = 4;
const PAGE_BLOCKS_MAX: u64 = 2_000;
/// Logs of a page above which the next one is smaller.
const PAGE_LOGS: usize = 1_000;
/// Receipts that came with sends and are confirmed together.
pub const HINTS_MAX: usize = 8;
/// Blocks whose logs are asked for without a look at where the chains part.
const FEW_BLOCKS_MAX: u64 = 16;
/// Blocks whose proofs are fetched ahead in one step.
const PROOFS_AHEAD_MAX: usize = 8;

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    pub time_s: u64,
    pub base_fee_wei: u128,
    pub gas_limit: u64,
}

impl From<&Header> for Head {
    fn from(header: &Header) -> Self {
        Head {
            number: header.number,
            hash: header.hash,
            parent: header.parent_hash,
            time_s: header.timestamp,
            base_fee_wei: u128::from(header.base_fee_per_gas.unwrap_or_default()),
            gas_limit: header.gas_limit,
        }
    }
}

/// Where the contract is, and from which block on it can have logged anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractPlace {
    /// In whose domain votes and responses are signed.
    pub ledger: LedgerKind,
    pub contract: Address,
    pub first_block: u64,
}

/// A nonce that waits to be mined: the hashes of its attempts, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub nonce: u64,
    pub attempts: Vec<B256>,
}

/// A receipt that came with the answer to a send, not yet confirmed.
#[derive(Clone, Debug)]
pub struct Hint {
    pub nonce: u64,
    pub kind: ItemKind,
    pub block_number: u64,
    pub block_hash: B256,
    pub receipt: Arc<TransactionReceipt>,
}

impl Hint {
    pub fn of(nonce: u64, kind: ItemKind, receipt: Arc<TransactionReceipt>) -> Option<Self> {
        Some(Hint { nonce, kind, block_number: receipt.block_number?, block_hash: receipt.block_hash?, receipt })
    }

    pub fn succeeded(&self) -> bool {
        self.receipt.status()
    }

    fn mined(&self) -> Mined {
        let (tx_hash, block, succeeded) = (self.receipt.transaction_hash, self.block_number, self.succeeded());
        Mined { nonce: self.nonce, tx_hash, block, succeeded }
    }
}

/// What the journal says that a step starts from.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Blocks whose events are applied, newest first; empty at the very beginning.
    pub blocks: Vec<Cursor>,
    /// These are all that the journal keeps.
    pub all_blocks: bool,
    pub watched: Vec<Watched>,
    pub hints: Vec<Hint>,
    /// Requests whose time may have passed: what a confirmed block past their expiry shows of them.
    pub past: Vec<(AuthorizationId, u64)>,
    /// What identity the chain must have where it rolled back.
    pub identity: Option<ChainIdentity>,
    pub account: Address,
    pub want_balance: bool,
    /// A transaction is stuck, so the fee of the next block matters.
    pub want_fees: bool,
}

/// A nonce of ours that is mined, deep enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mined {
    pub nonce: u64,
    pub tx_hash: B256,
    pub block: u64,
    pub succeeded: bool,
}

/// What one step found.
#[derive(Clone, Debug)]
pub struct ChainUpdate {
    pub head: Head,
    /// The newest block that is deep enough to count.
    pub confirmed: Head,
    /// The newest block that journal and chain share, where the chain rolled back.
    pub rewind: Option<Cursor>,
    /// Events after the cursor, in their order, and the block up to which they are all.
    pub logs: Vec<Log>,
    pub cursor: Cursor,
    pub mined: Vec<Mined>,
    /// Nonces that the account has used at the newest block, where that was asked.
    pub used: Option<u64>,
    /// Nonces that are used at the confirmed block though no attempt of ours is known there.
    pub missing: Vec<u64>,
    /// Who decides now, where that changed, and which of them are contracts.
    pub epoch: Option<(EpochAnchors, BTreeSet<Address>)>,
    pub statuses: Vec<(AuthorizationId, ChainStatus)>,
    pub balance: Option<U256>,
    /// The lowest fee per gas that the next block takes, where that was asked.
    pub next_base_fee_wei: Option<u128>,
    /// Blocks that decisions of this step are in.
    pub proofs: Vec<BlockProofs>,
    /// There are confirmed blocks after the cursor.
    pub more: bool,
    /// Nonces were watched of which nothing is known yet, not even a receipt.
    pub watches: bool,
}

/// What was read of blocks, before the rest of an update is asked for.
struct Found {
    head: Head,
    confirmed: Head,
    rewind: Option<Cursor>,
    logs: Vec<Log>,
    cursor: Cursor,
    proofs: Vec<BlockProofs>,
}

/// Reads one contract on one chain.
#[derive(Clone)]
pub struct ChainReader {
    client: ChainClient,
    place: ContractPlace,
    confirmations: u64,
}

impl ChainReader {
    pub fn new(client: ChainClient, place: ContractPlace, confirmations: u64) -> Self {
        ChainReader { client, place, confirmations: confirmations.max(1) }
    }

    fn provider(&self) -> &RootProvider {
        self.client.provider()
    }

    async fn block(&self, number: BlockNumberOrTag) -> Result<Option<Head>, BridgeError> {
        let block = self.provider().get_block_by_number(number).await?;
        Ok(block.map(|block| Head::from(&block.header)))
    }

    async fn known_block(&self, number: u64) -> Result<Head, BridgeError> {
        self.block(BlockNumberOrTag::Number(number)).await?.ok_or(BridgeError::Moved)
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn head(&self) -> Result<Head, BridgeError> {
        self.block(BlockNumberOrTag::Latest).await?.ok_or(BridgeError::Moved)
    }

    /// Reads one step. What it found holds together: all of it is of one chain of blocks.
    ///
    /// # Errors
    /// [`BridgeError`]; [`BridgeError::Moved`] where the chain changed meanwhile, and
    /// [`BridgeError::Disagree`] where another endpoint has another chain: ask again.
    pub async fn fetch(&self, question: &Question) -> Result<ChainUpdate, BridgeError> {
        if let Some(found) = self.fetch_hinted(question).await? {
            return self.complete(question, found).await;
        }
        let head = self.head().await?;
        let confirmed_number = (head.number + 1).saturating_sub(self.confirmations);
        let confirmed = if confirmed_number == head.number { head } else { self.known_block(confirmed_number).await? };
        if let Some((logs, cursor)) = self.few_blocks(question, confirmed).await? {
            self.agree(confirmed.number, confirmed.hash).await?;
            return self
                .complete(question, Found { head, confirmed, rewind: None, logs, cursor, proofs: Vec::new() })
                .await;
        }
        let (start, rewind) = self.common_block(question, head).await?;
        // Without a block in common nothing else says that it is the journal's chain.
        if (rewind.is_some() || question.blocks.is_empty())
            && let Some(identity) = &question.identity
        {
            identity.check(self.provider()).await?;
        }
        self.agree(confirmed.number, confirmed.hash).await?;
        let (logs, cursor) = self.page(start, confirmed).await?;
        if cursor.number != confirmed.number {
            self.agree(cursor.number, cursor.hash).await?;
        }
        self.complete(question, Found { head, confirmed, rewind, logs, cursor, proofs: Vec::new() }).await
    }

    /// Sees that no endpoint has another block at this height.
    async fn agree(&self, number: u64, ours: B256) -> Result<(), BridgeError> {
        match self.client.contradiction(number, ours).await {
            Some((url, other)) => Err(BridgeError::Disagree { number, ours, url, other }),
            None => Ok(()),
        }
    }

    /// The common case, asked at once: the one or two blocks that follow the cursor hold a
    /// transaction each, ours, and its receipt is known. What it logged is then known as well: the
    /// block's own roots say that there is nothing else.
    async fn fetch_hinted(&self, question: &Question) -> Result<Option<Found>, BridgeError> {
        let Some(cursor) = question.blocks.first() else { return Ok(None) };
        let mut hints = question.hints.iter().filter(|hint| hint.block_number > cursor.number);
        let (Some(first), second, None) = (hints.next(), hints.next(), hints.next()) else { return Ok(None) };
        let follow = first.block_number == cursor.number + 1
            && second.is_none_or(|second| second.block_number == first.block_number + 1);
        if !follow || self.confirmations != 1 || !self.client.is_single() {
            return Ok(None);
        }
        let blocks = match second {
            None => vec![(first, self.full_block(BlockNumberOrTag::Latest).await?)],
            Some(second) => {
                let (before, newest) = tokio::join!(
                    self.full_block(BlockNumberOrTag::Number(first.block_number)),
                    self.full_block(BlockNumberOrTag::Latest)
                );
                vec![(first, before?), (second, newest?)]
            }
        };
        let (mut logs, mut proofs) = (Vec::new(), Vec::new());
        let (mut parent, mut newest) = (cursor.hash, None);
        for (hint, block) in blocks {
            let Some(block) = block else { return Ok(None) };
            let head = Head::from(&block.header);
            if head.hash != hint.block_hash || head.parent != parent || block.transactions.len() != 1 {
                return Ok(None);
            }
            let receipts = vec![hint.receipt.as_ref().clone()];
            let Ok(proven) = BlockProofs::of(self.provider(), block, receipts).await else { return Ok(None) };
            let ours = hint.receipt.inner.logs().iter().filter(|log| log.address() == self.place.contract);
            if ours.clone().any(is_answered) {
                proofs.push(proven);
            }
            logs.extend(ours.cloned());
            parent = head.hash;
            newest = Some(head);
        }
        let Some(head) = newest else { return Ok(None) };
        let cursor = Cursor { number: head.number, hash: head.hash };
        Ok(Some(Found { head, confirmed: head, rewind: None, logs, cursor, proofs }))
    }

    async fn full_block(&self, number: BlockNumberOrTag) -> Result<Option<Block>, BridgeError> {
        Ok(self.provider().get_block_by_number(number).full().await?)
    }

    /// What else a step says, once its logs are known.
    async fn complete(&self, question: &Question, found: Found) -> Result<ChainUpdate, BridgeError> {
        let Found { head, confirmed, rewind, logs, cursor, mut proofs } = found;
        let (mined, used, missing) = self.mined(question, confirmed, cursor, &logs).await?;
        let administration = rewind.is_some() || logs.iter().any(is_administration);
        let epoch = if administration { Some(self.epoch().await?) } else { None };
        let statuses = self.statuses(question, confirmed, cursor).await?;
        let balance = match question.want_balance {
            true => Some(self.provider().get_balance(question.account).await?),
            false => None,
        };
        let next_base_fee_wei = match question.want_fees {
            true => self.next_base_fee().await,
            false => None,
        };
        self.prove_answered(&logs, &mut proofs).await?;
        let by_hint = |nonce| question.hints.iter().any(|h| h.nonce == nonce && h.block_number > cursor.number);
        let seen = |nonce| mined.iter().any(|m| m.nonce == nonce) || by_hint(nonce);
        Ok(ChainUpdate {
            head,
            confirmed,
            rewind,
            more: cursor.number < confirmed.number,
            watches: question.watched.iter().any(|watched| !seen(watched.nonce)),
            logs,
            cursor,
            mined,
            used,
            missing,
            epoch,
            statuses,
            balance,
            next_base_fee_wei,
            proofs,
        })
    }

    /// What a confirmed block shows of the requests whose time may have passed.
    async fn statuses(
        &self,
        question: &Question,
        confirmed: Head,
        cursor: Cursor,
    ) -> Result<Vec<(AuthorizationId, ChainStatus)>, BridgeError> {
        let mut statuses = Vec::new();
        for (id, expires_at_s) in &question.past {
            if *expires_at_s <= confirmed.time_s && cursor.number == confirmed.number {
                let block = BlockId::Hash(confirmed.hash.into());
                statuses.push((*id, endpoint::status_at(self.provider(), self.place.contract, *id, block).await?));
            }
        }
        Ok(statuses)
    }

    /// Fetches the blocks that answers will need, where they are not at hand.
    async fn prove_answered(&self, logs: &[Log], proofs: &mut Vec<BlockProofs>) -> Result<(), BridgeError> {
        let mut wanted: Vec<B256> = Vec::new();
        for log in logs.iter().filter(|log| is_answered(log)) {
            if let Some(hash) = log.block_hash
                && !wanted.contains(&hash)
                && !proofs.iter().any(|block| block.hash() == hash)
            {
                wanted.push(hash);
            }
        }
        for hash in wanted.into_iter().take(PROOFS_AHEAD_MAX) {
            proofs.push(BlockProofs::fetch(self.provider(), hash).await?);
        }
        Ok(())
    }

    /// The newest block that journal and chain share, and whether that is a rollback.
    async fn common_block(&self, question: &Question, head: Head) -> Result<(Cursor, Option<Cursor>), BridgeError> {
        let Some(cursor) = question.blocks.first().copied() else {
            return Ok((self.beginning().await?, None));
        };
        if head.hash == cursor.hash || (head.number == cursor.number + 1 && head.parent == cursor.hash) {
            return Ok((cursor, None));
        }
        for known in &question.blocks {
            if known.number <= head.number
                && self.block(BlockNumberOrTag::Number(known.number)).await?.is_some_and(|b| b.hash == known.hash)
            {
                return Ok((*known, (*known != cursor).then_some(*known)));
            }
        }
        if !question.all_blocks {
            return Err(BridgeError::Deeper);
        }
        let beginning = self.beginning().await?;
        Ok((beginning, Some(beginning)))
    }

    /// The block before the contract's first: where reading begins.
    async fn beginning(&self) -> Result<Cursor, BridgeError> {
        let number = self.place.first_block.saturating_sub(1);
        let hash = self.block(BlockNumberOrTag::Number(number)).await?.map(|block| block.hash);
        Ok(Cursor { number, hash: hash.unwrap_or_default() })
    }

    /// The logs after the cursor where that is few blocks ago, asked at once with what shows that
    /// both ends are still what they were: a hash fixes every block before it.
    async fn few_blocks(
        &self,
        question: &Question,
        confirmed: Head,
    ) -> Result<Option<(Vec<Log>, Cursor)>, BridgeError> {
        let Some(cursor) = question.blocks.first() else { return Ok(None) };
        let blocks = confirmed.number.saturating_sub(cursor.number);
        if !(2..=FEW_BLOCKS_MAX).contains(&blocks) {
            return Ok(None);
        }
        let filter = Filter::new().address(self.place.contract);
        let filter = filter.from_block(cursor.number + 1).to_block(confirmed.number);
        let (start, logs, end) = tokio::join!(
            self.block(BlockNumberOrTag::Number(cursor.number)),
            self.provider().get_logs(&filter),
            self.block(BlockNumberOrTag::Number(confirmed.number))
        );
        let linked = start?.is_some_and(|start| start.hash == cursor.hash) && end? == Some(confirmed);
        let logs = logs?;
        let of_end = logs.iter().filter(|log| log.block_number == Some(confirmed.number));
        let consistent = of_end.clone().all(|log| log.block_hash == Some(confirmed.hash));
        let cursor = Cursor { number: confirmed.number, hash: confirmed.hash };
        Ok((linked && consistent).then_some((logs, cursor)))
    }

    /// The logs of the blocks after `start`, as many as are a page.
    async fn page(&self, start: Cursor, confirmed: Head) -> Result<(Vec<Log>, Cursor), BridgeError> {
        if confirmed.number <= start.number {
            return Ok((Vec::new(), start));
        }
        let filter = Filter::new().address(self.place.contract);
        if confirmed.number == start.number + 1 && confirmed.parent == start.hash {
            let logs = self.provider().get_logs(&filter.at_block_hash(confirmed.hash)).await?;
            return Ok((logs, Cursor { number: confirmed.number, hash: confirmed.hash }));
        }
        let mut blocks = PAGE_BLOCKS_MIN;
        let mut logs = Vec::new();
        let mut at = start.number;
        while at < confirmed.number && logs.len() < PAGE_LOGS {
            let to = confirmed.number.min(at.saturating_add(blocks));
            logs.extend(self.provider().get_logs(&filter.clone().from_block(at + 1).to_block(to)).await?);
            blocks = (blocks * 4).min(PAGE_BLOCKS_MAX);
            at = to;
        }
        // A hash fixes every block before it: where the ends are still what they were, so is all between.
        let end = self.known_block(at).await?;
        let still = self.block(BlockNumberOrTag::Number(start.number)).await?;
        let linked = still.is_some_and(|block| block.hash == start.hash) || start.hash == B256::ZERO;
        let consistent = logs.iter().all(|log| log.block_number != Some(at) || log.block_hash == Some(end.hash));
        if linked && consistent { Ok((logs, Cursor { number: at, hash: end.hash })) } else { Err(BridgeError::Moved) }
    }

    /// Which watched nonces are mined in blocks up to the cursor: what is mined later has events
    /// that are not read yet, and would be free before its requests have moved on. A log of an
    /// attempt in a canonical block is as good as its receipt; receipts are asked for what logged
    /// nothing.
    async fn mined(
        &self,
        question: &Question,
        confirmed: Head,
        cursor: Cursor,
        logs: &[Log],
    ) -> Result<(Vec<Mined>, Option<u64>, Vec<u64>), BridgeError> {
        let mut mined = Vec::new();
        let mut unknown = Vec::new();
        for watched in &question.watched {
            let by_log = logs.iter().find_map(|log| {
                let tx_hash = log.transaction_hash.filter(|hash| watched.attempts.contains(hash))?;
                Some(Mined { nonce: watched.nonce, tx_hash, block: log.block_number?, succeeded: true })
            });
            let hint = question.hints.iter().find(|hint| hint.nonce == watched.nonce);
            match (by_log, hint) {
                (Some(found), _) => mined.push(found),
                (None, Some(hint)) if hint.block_hash == cursor.hash => mined.push(hint.mined()),
                // In a block that is read later.
                (None, Some(hint)) if hint.block_number > cursor.number => {}
                (None, Some(_) | None) => unknown.push(watched),
            }
        }
        if unknown.is_empty() {
            return Ok((mined, None, Vec::new()));
        }
        let used = self.provider().get_transaction_count(question.account).latest().await?;
        let mut missing = Vec::new();
        for watched in unknown.into_iter().filter(|watched| watched.nonce < used) {
            match self.mined_attempt(watched, cursor).await? {
                Attempted::Mined(found) => mined.push(found),
                Attempted::Unconfirmed => {}
                Attempted::Unknown => missing.push(watched.nonce),
            }
        }
        if !missing.is_empty() {
            let block = BlockId::Hash(confirmed.hash.into());
            let used_confirmed = self.provider().get_transaction_count(question.account).block_id(block).await?;
            missing.retain(|nonce| *nonce < used_confirmed);
        }
        mined.sort_unstable_by_key(|mined| mined.nonce);
        Ok((mined, Some(used), missing))
    }

    async fn mined_attempt(&self, watched: &Watched, cursor: Cursor) -> Result<Attempted, BridgeError> {
        for tx_hash in watched.attempts.iter().rev() {
            let Some(receipt) = self.provider().get_transaction_receipt(*tx_hash).await? else { continue };
            let (Some(block), Some(hash)) = (receipt.block_number, receipt.block_hash) else { continue };
            if block > cursor.number || !self.known_block(block).await.is_ok_and(|known| known.hash == hash) {
                return Ok(Attempted::Unconfirmed);
            }
            let (nonce, succeeded) = (watched.nonce, receipt.status());
            return Ok(Attempted::Mined(Mined { nonce, tx_hash: *tx_hash, block, succeeded }));
        }
        Ok(Attempted::Unknown)
    }

    /// Who decides now, and which approvers are contracts.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn epoch(&self) -> Result<(EpochAnchors, BTreeSet<Address>), BridgeError> {
        let epoch = contract::read_epoch(self.provider(), self.place.contract).await?;
        let mut contracts = BTreeSet::new();
        for approver in &epoch.approvers {
            if !self.provider().get_code_at(approver.address).await?.is_empty() {
                contracts.insert(approver.address);
            }
        }
        Ok((epoch, contracts))
    }

    /// The base fee of the next block, by whichever question the endpoint knows.
    async fn next_base_fee(&self) -> Option<u128> {
        let history = self.provider().get_fee_history(1, BlockNumberOrTag::Latest, &[]).await;
        match history {
            Ok(history) => history.base_fee_per_gas.last().copied(),
            Err(error) => {
                tracing::debug!(target: "guardrail::bridge", %error, "no fee history; the newest block's base fee counts");
                None
            }
        }
    }
}

/// What became of a nonce's attempts.
enum Attempted {
    Mined(Mined),
    /// In a block, but after the cursor, or not canonical at the moment.
    Unconfirmed,
    Unknown,
}
