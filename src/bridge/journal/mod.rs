//! The journal: one SQLite file (WAL, `synchronous=FULL`) that knows what was promised.
//!
//! What is written here is durable when the call returns, and comes before whatever it is
//! about: a request before its transaction, a transaction before its broadcast, a response
//! before its file. Any SQLite tool reads it, also while the bridge runs.
//!
//! [`Reads`] is every question, [`Writes`] every change inside one transaction; [`keep`] is
//! backup and retention.

pub mod keep;
mod reads;
mod sql;
mod writes;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::aliases::U40;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

pub use self::reads::Reads;
use self::sql::SCHEMA;
pub use self::writes::Writes;
use super::BridgeError;
use super::fees::Fees;
use crate::crypto::abi;
use crate::schema::message::Note;
use crate::schema::{AuthorizationId, LifecycleEvent, RequestId, RequestState, RiskScore, Sha256Digest, ToolName};

const VERSION: i64 = 2;
/// Prepared statements that are kept.
const STATEMENTS_MAX: usize = 128;
/// How long a lock that a reader holds is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A request as the journal holds it: what the chain is told of it, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRequest {
    pub request_id: RequestId,
    pub tool_name: ToolName,
    pub action_hash: Sha256Digest,
    pub request_hash: Sha256Digest,
    pub risk_score: RiskScore,
    pub authorization_id: AuthorizationId,
    pub requester: Address,
    pub expires_at_s: u64,
    pub epoch: u64,
    pub state: RequestState,
    /// It came by the single slot.
    pub slot: bool,
}

impl JournalRequest {
    /// The struct that the contract rehashes on every call.
    pub fn chain_request(&self) -> abi::Request {
        abi::Request {
            requestIdHash: keccak256(self.request_id.as_str()),
            toolHash: keccak256(self.tool_name.as_str()),
            actionHash: self.action_hash.0,
            requestHash: self.request_hash.0,
            requester: self.requester,
            expiresAt: U40::saturating_from(self.expires_at_s),
            riskBps: self.risk_score.bps(),
            epoch: self.epoch,
        }
    }
}

/// A vote that waits for its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldVote {
    pub id: AuthorizationId,
    pub approver: Address,
    pub approve: bool,
    pub note: Note,
    pub signature: Bytes,
}

/// A vote that the chain has counted, and the transaction that carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainVote {
    pub approver: Address,
    pub approve: bool,
    pub note: Note,
    pub tx_hash: B256,
    pub block_number: u64,
}

/// What a transaction does to an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    Request,
    Decide,
    Consume,
    Record,
    /// An empty self-transfer: mines a block on an idle chain, or fills a gap.
    Nothing,
}

impl ItemKind {
    pub const ALL: [ItemKind; 5] =
        [ItemKind::Request, ItemKind::Decide, ItemKind::Consume, ItemKind::Record, ItemKind::Nothing];

    pub const fn as_str(self) -> &'static str {
        match self {
            ItemKind::Request => "request",
            ItemKind::Decide => "decide",
            ItemKind::Consume => "consume",
            ItemKind::Record => "record",
            ItemKind::Nothing => "nothing",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        ItemKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One signed attempt at a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub nonce: u64,
    pub tx_hash: B256,
    pub raw: Bytes,
    pub fees: Fees,
    pub signed_at_ms: i64,
}

/// A nonce that is allocated and not mined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenNonce {
    pub nonce: u64,
    pub kind: ItemKind,
    /// Oldest first; never empty.
    pub attempts: Vec<Attempt>,
}

/// An open nonce without the bytes of its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAttempts {
    pub nonce: u64,
    /// Oldest first; never empty.
    pub tx_hashes: Vec<B256>,
    /// When the newest attempt was signed, in Unix milliseconds.
    pub signed_at_ms: i64,
}

/// The event that decided something, as evidence will name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEvent {
    pub tx_hash: B256,
    pub block_hash: B256,
    pub block_number: u64,
    /// The claim of a consumption, the approver of a decision; empty otherwise.
    pub data: String,
}

/// A block up to which events are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub number: u64,
    pub hash: B256,
}

/// A response that is journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub name: String,
    pub request_id: RequestId,
    pub bytes: Vec<u8>,
    pub slot: bool,
}

/// Which event of a life the journal keeps, in the order of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemEvent {
    Requested,
    Approved,
    Denied,
    Cancelled,
    Consumed,
    Recorded,
}

impl ItemEvent {
    pub const ALL: [ItemEvent; 6] = [
        ItemEvent::Requested,
        ItemEvent::Approved,
        ItemEvent::Denied,
        ItemEvent::Cancelled,
        ItemEvent::Consumed,
        ItemEvent::Recorded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            ItemEvent::Requested => "requested",
            ItemEvent::Approved => "approved",
            ItemEvent::Denied => "denied",
            ItemEvent::Cancelled => "cancelled",
            ItemEvent::Consumed => "consumed",
            ItemEvent::Recorded => "recorded",
        }
    }

    pub const fn lifecycle(self) -> LifecycleEvent {
        match self {
            ItemEvent::Requested => LifecycleEvent::Requested,
            ItemEvent::Approved => LifecycleEvent::Approved,
            ItemEvent::Denied => LifecycleEvent::Denied,
            ItemEvent::Cancelled => LifecycleEvent::Cancelled,
            ItemEvent::Consumed => LifecycleEvent::Consumed,
            ItemEvent::Recorded => LifecycleEvent::Recorded,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        ItemEvent::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// A prepared statement stays prepared: without this, one that could use a partial index is
/// compiled again for each value that is bound to it
/// (https://sqlite.org/c3ref/c_dbconfig_defensive.html, `SQLITE_DBCONFIG_ENABLE_QPSG`).
fn keep_plans(db: &Connection) -> rusqlite::Result<bool> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
}

#[derive(Debug)]
pub struct Journal {
    db: Connection,
}

impl Journal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// [`BridgeError::JournalVersion`] for a file that another version wrote.
    pub fn open(path: &Path) -> Result<Self, BridgeError> {
        // SQLite would create it with the umask's mode; -wal and -shm take the mode of the file itself.
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| BridgeError::Io { what: format!("cannot open {}", path.display()), source })?;
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        keep_plans(&db)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?,
            VERSION => {}
            other => return Err(BridgeError::JournalVersion { found: other, known: VERSION }),
        }
        Ok(Journal { db })
    }

    /// Opens an existing journal to read it, also while a bridge writes it.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, BridgeError> {
        let db = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        keep_plans(&db)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != VERSION {
            return Err(BridgeError::JournalVersion { found, known: VERSION });
        }
        Ok(Journal { db })
    }

    /// Questions, each about the journal as it is at that moment.
    pub fn read(&self) -> Reads<'_> {
        Reads { db: &self.db }
    }

    /// Does several writes as one: all of them are durable, or none.
    ///
    /// # Errors
    /// Whatever `work` or the database fails with; then nothing is written.
    pub fn atomically<T>(
        &mut self,
        work: impl FnOnce(&Writes<'_>) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let transaction = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let value = work(&Writes::new(&transaction))?;
        if transaction.is_autocommit() {
            // SQLite rolls back by itself on a full disk; what was written before is gone.
            return Err(BridgeError::Corrupt("the transaction ended before its time".to_owned()));
        }
        let began = Instant::now();
        transaction.commit()?;
        super::metrics::journal_commit(began.elapsed());
        Ok(value)
    }
}
