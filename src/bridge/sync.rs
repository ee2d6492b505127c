//! Reads the chain: receipts of what was sent, and the contract's events, in one step.
//!
//! A cursor (number, hash) says how far the events are applied. A head below it, or another
//! hash at its height, means that the chain rolled back; what it forgot is opened again.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;

use super::BridgeError;
use super::journal::{ChainEvent, ChainVote, ItemEvent, Journal, OpenNonce, Writes};
use crate::contract::{BatchItemSkipped, VoteSkipped};
use crate::crypto::abi::{self, ChainStatus};
use crate::evidence::endpoint;
use crate::schema::{AuthorizationId, LedgerKind, LifecycleEvent, RequestState};

/// Blocks that one `eth_getLogs` covers.
const LOG_BLOCKS_MAX: u64 = 2_000;
const CURSOR_KEY: &str = "cursor";

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub hash: B256,
    pub time_s: u64,
}

/// How far events are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub number: u64,
    pub hash: B256,
}

/// What one step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub head: Head,
    /// The newest block that is deep enough to count.
    pub confirmed: Head,
    pub events: usize,
    pub mined: usize,
    /// Approvers, policy, bridges or pause changed.
    pub administration_changed: bool,
    pub rolled_back: bool,
    /// Items that the contract passed over in a batch.
    pub skipped: Vec<AuthorizationId>,
}

/// Reads one contract on one chain.
pub struct ChainReader {
    provider: RootProvider,
    contract: Address,
    first_block: u64,
    confirmations: u64,
}

/// Where a contract is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractPlace {
    /// In whose domain votes and responses are signed.
    pub ledger: LedgerKind,
    pub contract: Address,
    /// No event of it is older than this block.
    pub first_block: u64,
}

impl ChainReader {
    pub fn new(provider: RootProvider, place: ContractPlace, confirmations: u64) -> Self {
        ChainReader { provider, contract: place.contract, first_block: place.first_block, confirmations }
    }

    /// Where the journal's events end; the block before the contract's own at the very beginning.
    ///
    /// # Errors
    /// [`BridgeError::Corrupt`].
    pub fn cursor(journal: &Journal) -> Result<Option<Cursor>, BridgeError> {
        let Some(text) = journal.meta(CURSOR_KEY)? else { return Ok(None) };
        let parsed = text
            .split_once(' ')
            .and_then(|(number, hash)| Some(Cursor { number: number.parse().ok()?, hash: hash.parse().ok()? }));
        parsed.map(Some).ok_or_else(|| BridgeError::Corrupt(format!("cursor {text}")))
    }

    async fn head(&self) -> Result<Head, BridgeError> {
        self.block(BlockNumberOrTag::Latest).await
    }

    /// The block before the contract's first: where reading begins.
    async fn beginning(&self) -> Result<Cursor, BridgeError> {
        let number = self.first_block.saturating_sub(1);
        Ok(Cursor { number, hash: self.hash_at(number).await?.unwrap_or_default() })
    }

    async fn block(&self, number: BlockNumberOrTag) -> Result<Head, BridgeError> {
        let block = self.provider.get_block_by_number(number).await?;
        let header =
            block.ok_or_else(|| BridgeError::Setup("the endpoint lacks a block that it must have".to_owned()))?.header;
        Ok(Head { number: header.number, hash: header.hash, time_s: header.timestamp })
    }

    async fn hash_at(&self, number: u64) -> Result<Option<B256>, BridgeError> {
        let block = self.provider.get_block_by_number(BlockNumberOrTag::Number(number)).await?;
        Ok(block.map(|block| block.header.hash))
    }

    /// Brings the journal up to the newest confirmed block.
    ///
    /// # Errors
    /// [`BridgeError`]; the journal then stands where it stood.
    pub async fn sync(&self, journal: &mut Journal, open: &[OpenNonce]) -> Result<Synced, BridgeError> {
        let head = self.head().await?;
        let confirmed = (head.number + 1).saturating_sub(self.confirmations);
        let confirmed_head =
            if confirmed == head.number { head } else { self.block(BlockNumberOrTag::Number(confirmed)).await? };
        let mut cursor = match Self::cursor(journal)? {
            Some(cursor) => cursor,
            None => self.beginning().await?,
        };
        let mut synced = Synced {
            head,
            confirmed: confirmed_head,
            events: 0,
            mined: 0,
            administration_changed: false,
            rolled_back: false,
            skipped: Vec::new(),
        };
        if head.number < cursor.number || (head.number > 0 && self.hash_at(cursor.number).await? != Some(cursor.hash)) {
            self.roll_back(journal).await?;
            cursor = self.beginning().await?;
            synced.rolled_back = true;
            synced.administration_changed = true;
        }
        let receipts = self.mined_receipts(open, confirmed).await?;
        while cursor.number < confirmed {
            let to = confirmed.min(cursor.number.saturating_add(LOG_BLOCKS_MAX));
            let next = Cursor {
                number: to,
                hash: self.hash_at(to).await?.ok_or(crate::evidence::EndpointError::NoBlock(B256::ZERO))?,
            };
            let filter = Filter::new().address(self.contract).from_block(cursor.number + 1).to_block(to);
            let logs = self.provider.get_logs(&filter).await?;
            let changes = self.read_changes(journal, &logs)?;
            synced.events += logs.len();
            synced.administration_changed |= changes.administration;
            synced.skipped.extend(&changes.skipped);
            let mined: Vec<(u64, B256)> =
                receipts.iter().filter(|(.., block)| *block <= to).map(|(nonce, hash, _)| (*nonce, *hash)).collect();
            journal.atomically(|writes| {
                changes.write(writes)?;
                for (nonce, hash) in &mined {
                    writes.set_mined(*nonce, *hash)?;
                }
                writes.set_meta(CURSOR_KEY, &format!("{} {}", next.number, next.hash))
            })?;
            cursor = next;
        }
        let mined: Vec<(u64, B256)> = receipts
            .iter()
            .filter(|(.., block)| *block <= cursor.number)
            .map(|(nonce, hash, _)| (*nonce, *hash))
            .collect();
        synced.mined = mined.len();
        if !mined.is_empty() {
            journal.atomically(|writes| mined.iter().try_for_each(|(nonce, hash)| writes.set_mined(*nonce, *hash)))?;
        }
        Ok(synced)
    }

    /// Receipts, deep enough, of any attempt at an open nonce: (nonce, hash, block).
    async fn mined_receipts(&self, open: &[OpenNonce], confirmed: u64) -> Result<Vec<(u64, B256, u64)>, BridgeError> {
        let mut mined = Vec::new();
        for nonce in open {
            for attempt in nonce.attempts.iter().rev() {
                let receipt = self.provider.get_transaction_receipt(attempt.tx_hash).await?;
                let Some(receipt) = receipt else { continue };
                let (Some(block), Some(hash)) = (receipt.block_number, receipt.block_hash) else { continue };
                if block <= confirmed && self.hash_at(block).await? == Some(hash) {
                    if !receipt.status() {
                        tracing::warn!(target: "guardrail::bridge", nonce = nonce.nonce, tx = %attempt.tx_hash, "the transaction reverted");
                    }
                    mined.push((nonce.nonce, attempt.tx_hash, block));
                }
                break;
            }
        }
        Ok(mined)
    }

    /// Opens again what the chain forgot: nonces above its own, requests that it does not have.
    async fn roll_back(&self, journal: &mut Journal) -> Result<(), BridgeError> {
        tracing::warn!(target: "guardrail::bridge", "the chain rolled back; reading it again from its start");
        let mut forgotten = Vec::new();
        let mut behind = Vec::new();
        for state in RequestState::ALL.into_iter().filter(|state| *state != RequestState::Refused) {
            for request in journal.requests_in(state, usize::MAX)? {
                let status = endpoint::status_of(&self.provider, self.contract, request.authorization_id).await?;
                match status {
                    ChainStatus::None if request.state != RequestState::Expired => forgotten.push(request),
                    ChainStatus::None => {}
                    ChainStatus::Pending
                    | ChainStatus::Approved
                    | ChainStatus::Denied
                    | ChainStatus::Consumed
                    | ChainStatus::Recorded
                    | ChainStatus::Cancelled
                    | ChainStatus::Expired => {
                        if rank(request.state) > status_rank(status) {
                            behind.push(request);
                        }
                    }
                }
            }
        }
        journal.atomically(|writes| {
            // Read again from the start: a request begins anew and its remaining events are applied once more.
            for request in forgotten.iter().chain(&behind) {
                let state = request.state.next(LifecycleEvent::Forgotten)?;
                writes.forget(request)?;
                writes.set_state(request.authorization_id, state)?;
            }
            writes.reopen_nonces_from(0)?;
            writes.set_meta(CURSOR_KEY, &format!("0 {}", B256::ZERO))
        })?;
        Ok(())
    }

    fn read_changes(&self, journal: &Journal, logs: &[Log]) -> Result<Changes, BridgeError> {
        let mut changes = Changes::default();
        for log in logs.iter().filter(|log| !log.removed) {
            changes.read(journal, log)?;
        }
        Ok(changes)
    }

    /// The state of an id at a block.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn status_at(&self, id: AuthorizationId, block: B256) -> Result<ChainStatus, BridgeError> {
        Ok(endpoint::status_at(&self.provider, self.contract, id, BlockId::Hash(block.into())).await?)
    }
}

/// How far along its life a journalled request is.
const fn rank(state: RequestState) -> u8 {
    match state {
        RequestState::Received | RequestState::Refused | RequestState::Expired => 0,
        RequestState::Pending => 1,
        RequestState::Approved => 2,
        RequestState::Denied | RequestState::Cancelled | RequestState::Consumed => 3,
        RequestState::Recorded => 4,
    }
}

const fn status_rank(status: ChainStatus) -> u8 {
    match status {
        ChainStatus::None => 0,
        ChainStatus::Pending | ChainStatus::Expired => 1,
        ChainStatus::Approved => 2,
        ChainStatus::Denied | ChainStatus::Cancelled | ChainStatus::Consumed => 3,
        ChainStatus::Recorded => 4,
    }
}

/// What a run of events changes, gathered before it is written.
#[derive(Debug, Default)]
struct Changes {
    states: Vec<(AuthorizationId, RequestState)>,
    events: Vec<(AuthorizationId, ItemEvent, ChainEvent)>,
    votes: Vec<(AuthorizationId, ChainVote)>,
    administration: bool,
    skipped: Vec<AuthorizationId>,
}

impl Changes {
    fn read(&mut self, journal: &Journal, log: &Log) -> Result<(), BridgeError> {
        let Some(topic) = log.topic0() else { return Ok(()) };
        let data = log.data();
        match *topic {
            abi::AuthorizationRequested::SIGNATURE_HASH => {
                self.advance(journal, log, LifecycleEvent::Requested, None, String::new())
            }
            abi::VoteCast::SIGNATURE_HASH => {
                let event =
                    abi::VoteCast::decode_log_data(data).map_err(|e| BridgeError::Corrupt(format!("VoteCast: {e}")))?;
                let (Some(tx_hash), Ok(note)) = (log.transaction_hash, event.note.parse()) else {
                    tracing::error!(target: "guardrail::bridge", approver = %event.approver, "a vote on chain has a note that the protocol does not allow");
                    return Ok(());
                };
                let vote = ChainVote { approver: event.approver, approve: event.approve, note, tx_hash };
                self.votes.push((AuthorizationId(event.id), vote));
                Ok(())
            }
            abi::AuthorizationApproved::SIGNATURE_HASH => {
                let event = abi::AuthorizationApproved::decode_log_data(data)
                    .map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                self.advance(
                    journal,
                    log,
                    LifecycleEvent::Approved,
                    Some(ItemEvent::Approved),
                    event.approver.to_string(),
                )
            }
            abi::AuthorizationDenied::SIGNATURE_HASH => {
                let event =
                    abi::AuthorizationDenied::decode_log_data(data).map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                self.advance(journal, log, LifecycleEvent::Denied, Some(ItemEvent::Denied), event.approver.to_string())
            }
            abi::AuthorizationCancelled::SIGNATURE_HASH => {
                let event = abi::AuthorizationCancelled::decode_log_data(data)
                    .map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                let who = format!("{} {}", event.by, event.reason);
                self.advance(journal, log, LifecycleEvent::Cancelled, Some(ItemEvent::Cancelled), who)
            }
            abi::AuthorizationConsumed::SIGNATURE_HASH => {
                let event = abi::AuthorizationConsumed::decode_log_data(data)
                    .map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                let claim = crate::schema::Sha256Digest(event.claim).to_string();
                self.advance(journal, log, LifecycleEvent::Consumed, Some(ItemEvent::Consumed), claim)
            }
            abi::ExecutionRecorded::SIGNATURE_HASH => {
                self.advance(journal, log, LifecycleEvent::Recorded, Some(ItemEvent::Recorded), String::new())
            }
            BatchItemSkipped::SIGNATURE_HASH => {
                let event = BatchItemSkipped::decode_log_data(data).map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                tracing::warn!(target: "guardrail::bridge", id = %event.id, reason = %event.reason, "the contract skipped an item of a batch");
                self.skipped.push(AuthorizationId(event.id));
                Ok(())
            }
            VoteSkipped::SIGNATURE_HASH => {
                let event = VoteSkipped::decode_log_data(data).map_err(|e| BridgeError::Corrupt(e.to_string()))?;
                tracing::debug!(target: "guardrail::bridge", id = %event.id, approver = %event.approver, "this vote was counted before");
                Ok(())
            }
            _ => {
                self.administration = true;
                Ok(())
            }
        }
    }

    fn advance(
        &mut self,
        journal: &Journal,
        log: &Log,
        happened: LifecycleEvent,
        kept: Option<ItemEvent>,
        data: String,
    ) -> Result<(), BridgeError> {
        let Some(id) = log.topics().get(1).map(|topic| AuthorizationId(*topic)) else { return Ok(()) };
        let earlier = self.states.iter().rev().find(|(known, _)| *known == id).map(|(_, state)| *state);
        let state = match earlier {
            Some(state) => state,
            None => match journal.request_by_authorization(id)? {
                Some(request) => request.state,
                // Another bridge's request.
                None => return Ok(()),
            },
        };
        let next = match state.next(happened) {
            Ok(next) => next,
            Err(illegal) => {
                tracing::error!(target: "guardrail::bridge", %id, %illegal, "an event of the chain contradicts the journal");
                return Ok(());
            }
        };
        let (Some(tx_hash), Some(block_hash), Some(block_number)) =
            (log.transaction_hash, log.block_hash, log.block_number)
        else {
            return Err(BridgeError::Corrupt("a confirmed log without its block".to_owned()));
        };
        tracing::info!(target: "guardrail::bridge", %id, state = %next, block = block_number, tx = %tx_hash, "on chain");
        self.states.push((id, next));
        if let Some(kind) = kept {
            self.events.push((id, kind, ChainEvent { tx_hash, block_hash, block_number, data }));
        }
        Ok(())
    }

    fn write(&self, writes: &Writes<'_>) -> Result<(), BridgeError> {
        for (id, vote) in &self.votes {
            writes.insert_chain_vote(*id, vote)?;
        }
        for (id, kind, event) in &self.events {
            writes.set_event(*id, *kind, event)?;
        }
        for (id, state) in &self.states {
            writes.set_state(*id, *state)?;
        }
        Ok(())
    }
}
