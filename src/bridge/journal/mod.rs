//! The journal: one SQLite file (WAL, `synchronous=FULL`) that knows what was promised.
//!
//! What is written here is durable when the call returns, and comes before whatever it is
//! about: a request before its transaction, a transaction before its broadcast, a response
//! before its file. Any SQLite tool reads it, also while the bridge runs.

mod sql;
mod writes;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use alloy::primitives::{Address, B256, Bytes};
use rusqlite::{Connection, OptionalExtension, Row, params};

use self::sql::{SCHEMA, SqlAddress, SqlDigest, SqlFee, SqlHash, SqlId, SqlRequestId};
pub use self::writes::Writes;
use super::BridgeError;
use super::fees::Fees;
use crate::schema::message::Note;
use crate::schema::{AuthRequest, AuthorizationId, Outcome, RequestId, RequestState, Sha256Digest};

const VERSION: i64 = 1;

/// A request as the journal holds it.
#[derive(Clone, Debug)]
pub struct JournalRequest {
    pub request: AuthRequest,
    pub authorization_id: AuthorizationId,
    pub request_hash: Sha256Digest,
    pub requester: Address,
    pub expires_at_s: u64,
    pub epoch: u64,
    pub state: RequestState,
    /// It came by the single slot.
    pub slot: bool,
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
        [ItemKind::Request, ItemKind::Decide, ItemKind::Consume, ItemKind::Record, ItemKind::Nothing]
            .into_iter()
            .find(|kind| kind.as_str() == text)
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

/// The event that decided something, as evidence will name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEvent {
    pub tx_hash: B256,
    pub block_hash: B256,
    pub block_number: u64,
    /// The claim of a consumption; empty otherwise.
    pub data: String,
}

/// A response that is journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub name: String,
    pub request_id: RequestId,
    pub bytes: Vec<u8>,
    pub slot: bool,
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
        db.busy_timeout(std::time::Duration::from_secs(5))?;
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
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != VERSION {
            return Err(BridgeError::JournalVersion { found, known: VERSION });
        }
        Ok(Journal { db })
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
        let value = work(&Writes { tx: &transaction })?;
        transaction.commit()?;
        Ok(value)
    }

    pub fn meta(&self, key: &str) -> Result<Option<String>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(query.query_row([key], |row| row.get(0)).optional()?)
    }

    pub fn request(&self, id: &RequestId) -> Result<Option<JournalRequest>, BridgeError> {
        self.one_request("request_id", id.as_str())
    }

    pub fn request_by_authorization(&self, id: AuthorizationId) -> Result<Option<JournalRequest>, BridgeError> {
        self.one_request("authorization_id", &id.to_string())
    }

    fn one_request(&self, column: &str, value: &str) -> Result<Option<JournalRequest>, BridgeError> {
        let mut query =
            self.db.prepare_cached(&format!("SELECT {REQUEST_COLUMNS} FROM requests WHERE {column} = ?1"))?;
        let found = query.query_row([value], |row| Ok(read_request(row))).optional()?;
        found.transpose()
    }

    /// Requests in a state, oldest first, at most `limit`.
    pub fn requests_in(&self, state: RequestState, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {REQUEST_COLUMNS} FROM requests WHERE state = ?1 ORDER BY received_at_ms LIMIT ?2"
        ))?;
        let rows = query.query_map(params![state.as_str(), limit as i64], |row| Ok(read_request(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Requests in a state that no transaction on the way is about, oldest first.
    pub fn requests_to_send(&self, state: RequestState, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {REQUEST_COLUMNS} FROM requests r WHERE state = ?1 AND NOT EXISTS (
                 SELECT 1 FROM items i JOIN nonces n USING (nonce)
                 WHERE i.authorization_id = r.authorization_id AND n.state = 'open')
             ORDER BY received_at_ms LIMIT ?2"
        ))?;
        let rows = query.query_map(params![state.as_str(), limit as i64], |row| Ok(read_request(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Undecided or unconsumed requests whose time has passed, oldest first.
    pub fn requests_past(&self, time_s: u64, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {REQUEST_COLUMNS} FROM requests WHERE state IN ('received', 'pending', 'approved') AND expires_at <= ?1
             ORDER BY received_at_ms LIMIT ?2"
        ))?;
        let rows = query.query_map(params![time_s as i64, limit as i64], |row| Ok(read_request(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Decided requests whose decision is not answered yet, oldest first.
    pub fn unanswered(&self, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {REQUEST_COLUMNS} FROM requests r
             WHERE state IN ('approved', 'denied', 'cancelled', 'expired', 'refused', 'consumed', 'recorded')
               AND NOT EXISTS (SELECT 1 FROM responses WHERE name = r.request_id || '.json')
             ORDER BY received_at_ms LIMIT ?1"
        ))?;
        let rows = query.query_map([limit as i64], |row| Ok(read_request(row)))?;
        rows.map(|row| row?).collect()
    }

    /// How many requests are in each state.
    pub fn counts(&self) -> Result<Vec<(RequestState, u64)>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT state, count(*) FROM requests GROUP BY state ORDER BY state")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        rows.map(|row| {
            let (state, count) = row?;
            let state = RequestState::parse(&state).ok_or_else(|| BridgeError::Corrupt(format!("state {state}")))?;
            Ok((state, u64::try_from(count).unwrap_or_default()))
        })
        .collect()
    }

    /// Requests that the bridge still has something to do for.
    pub fn open_count(&self) -> Result<u64, BridgeError> {
        Ok(self.counts()?.into_iter().filter(|(state, _)| state.is_open()).map(|(_, count)| count).sum())
    }

    /// Votes that wait for a transaction.
    pub fn held_votes(&self, id: AuthorizationId) -> Result<Vec<HeldVote>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT approver, approve, note, signature FROM votes WHERE authorization_id = ?1 AND state = 'held' ORDER BY approver",
        )?;
        let rows = query.query_map(params![SqlId(id)], |row| {
            Ok((row.get::<_, SqlAddress>(0)?.0, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        rows.map(|row| {
            let (approver, approve, note, signature): (_, _, String, _) = row?;
            let note = note.parse().map_err(BridgeError::Corrupt)?;
            Ok(HeldVote { id, approver, approve, note, signature: signature.into() })
        })
        .collect()
    }

    /// Ids of undecided requests that have held votes and no transaction on the way.
    pub fn ids_with_held_votes(&self, limit: usize) -> Result<Vec<AuthorizationId>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT DISTINCT v.authorization_id FROM votes v JOIN requests r USING (authorization_id)
             WHERE v.state = 'held' AND r.state IN ('pending', 'approved') AND NOT EXISTS (
                 SELECT 1 FROM items i JOIN nonces n USING (nonce)
                 WHERE i.authorization_id = v.authorization_id AND n.state = 'open')
             LIMIT ?1",
        )?;
        let rows = query.query_map([limit as i64], |row| Ok(row.get::<_, SqlId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Votes that the chain has counted, by ascending address.
    pub fn chain_votes(&self, id: AuthorizationId) -> Result<Vec<ChainVote>, BridgeError> {
        let mut query = self
            .db
            .prepare_cached("SELECT approver, approve, note, tx_hash FROM chain_votes WHERE authorization_id = ?1")?;
        let rows = query.query_map(params![SqlId(id)], |row| {
            Ok((row.get::<_, SqlAddress>(0)?.0, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, SqlHash>(3)?.0))
        })?;
        let mut votes = rows
            .map(|row| {
                let (approver, approve, note, tx_hash): (_, _, String, _) = row?;
                Ok(ChainVote { approver, approve, note: note.parse().map_err(BridgeError::Corrupt)?, tx_hash })
            })
            .collect::<Result<Vec<_>, BridgeError>>()?;
        votes.sort_unstable_by_key(|vote| vote.approver);
        Ok(votes)
    }

    /// Consumptions that are asked for and not answered.
    pub fn consumes_waiting(&self, limit: usize) -> Result<Vec<(RequestId, Sha256Digest)>, BridgeError> {
        let mut query =
            self.db.prepare_cached("SELECT request_id, claim FROM consumes WHERE state = 'waiting' LIMIT ?1")?;
        let rows = query
            .query_map([limit as i64], |row| Ok((row.get::<_, SqlRequestId>(0)?.0, row.get::<_, SqlDigest>(1)?.0)))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Outcomes that are told and not recorded.
    pub fn outcomes_waiting(&self, limit: usize) -> Result<Vec<(RequestId, Outcome, Sha256Digest)>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT request_id, outcome, outcome_hash FROM outcomes WHERE state = 'waiting' LIMIT ?1",
        )?;
        let rows = query.query_map([limit as i64], |row| {
            Ok((row.get::<_, SqlRequestId>(0)?.0, row.get::<_, u8>(1)?, row.get::<_, SqlDigest>(2)?.0))
        })?;
        rows.map(|row| {
            let (id, code, hash) = row?;
            let outcome = Outcome::from_code(code).ok_or_else(|| BridgeError::Corrupt(format!("outcome {code}")))?;
            Ok((id, outcome, hash))
        })
        .collect()
    }

    /// Signed votes for an id that the journal holds, whatever became of them: approver and vote.
    pub fn votes(&self, id: AuthorizationId) -> Result<Vec<(Address, bool)>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT approver, approve FROM votes WHERE authorization_id = ?1")?;
        let rows = query.query_map(params![SqlId(id)], |row| Ok((row.get::<_, SqlAddress>(0)?.0, row.get(1)?)))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// The signature of a vote, if it came through this bridge.
    pub fn vote_signature(
        &self,
        id: AuthorizationId,
        approver: Address,
        approve: bool,
        note: &Note,
    ) -> Result<Option<Bytes>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT signature FROM votes WHERE authorization_id = ?1 AND approver = ?2 AND approve = ?3 AND note = ?4",
        )?;
        let found = query.query_row(params![SqlId(id), SqlAddress(approver), approve, note.as_str()], |row| {
            row.get::<_, Vec<u8>>(0)
        });
        Ok(found.optional()?.map(Bytes::from))
    }

    pub fn has_outcome(&self, id: &RequestId) -> Result<Option<Sha256Digest>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT outcome_hash FROM outcomes WHERE request_id = ?1")?;
        Ok(query.query_row(params![SqlRequestId(id.clone())], |row| Ok(row.get::<_, SqlDigest>(0)?.0)).optional()?)
    }

    pub fn event(&self, id: AuthorizationId, kind: ItemEvent) -> Result<Option<ChainEvent>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT tx_hash, block_hash, block_number, data FROM events WHERE authorization_id = ?1 AND kind = ?2",
        )?;
        let found = query.query_row(params![SqlId(id), kind.as_str()], |row| {
            Ok(ChainEvent {
                tx_hash: row.get::<_, SqlHash>(0)?.0,
                block_hash: row.get::<_, SqlHash>(1)?.0,
                block_number: row.get::<_, i64>(2)?.unsigned_abs(),
                data: row.get(3)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Nonces that are allocated and not mined, lowest first, with every attempt.
    pub fn open_nonces(&self) -> Result<Vec<OpenNonce>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT n.nonce, n.kind, a.tx_hash, a.raw, a.max_fee_wei, a.priority_fee_wei, a.signed_at_ms
             FROM nonces n JOIN attempts a USING (nonce) WHERE n.state = 'open' ORDER BY n.nonce, a.attempt",
        )?;
        let rows = query.query_map([], |row| {
            let nonce = row.get::<_, i64>(0)?.unsigned_abs();
            let attempt = Attempt {
                nonce,
                tx_hash: row.get::<_, SqlHash>(2)?.0,
                raw: row.get::<_, Vec<u8>>(3)?.into(),
                fees: Fees { max_fee_wei: row.get::<_, SqlFee>(4)?.0, priority_fee_wei: row.get::<_, SqlFee>(5)?.0 },
                signed_at_ms: row.get(6)?,
            };
            Ok((nonce, row.get::<_, String>(1)?, attempt))
        })?;
        let mut open: Vec<OpenNonce> = Vec::new();
        for row in rows {
            let (nonce, kind, attempt) = row?;
            match open.last_mut() {
                Some(last) if last.nonce == nonce => last.attempts.push(attempt),
                Some(_) | None => {
                    let kind = ItemKind::parse(&kind).ok_or_else(|| BridgeError::Corrupt(format!("kind {kind}")))?;
                    open.push(OpenNonce { nonce, kind, attempts: vec![attempt] });
                }
            }
        }
        Ok(open)
    }

    /// The highest nonce that was ever allocated and not freed.
    pub fn highest_nonce(&self) -> Result<Option<u64>, BridgeError> {
        let highest: Option<i64> = self.db.query_row("SELECT max(nonce) FROM nonces", [], |row| row.get(0))?;
        Ok(highest.map(i64::unsigned_abs))
    }

    /// What a nonce's transaction is about.
    pub fn items(&self, nonce: u64) -> Result<Vec<(AuthorizationId, ItemKind)>, BridgeError> {
        let mut query =
            self.db.prepare_cached("SELECT authorization_id, kind FROM items WHERE nonce = ?1 ORDER BY position")?;
        let rows = query.query_map([nonce as i64], |row| Ok((row.get::<_, SqlId>(0)?.0, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (id, kind) = row?;
            ItemKind::parse(&kind).map(|kind| (id, kind)).ok_or_else(|| BridgeError::Corrupt(format!("kind {kind}")))
        })
        .collect()
    }

    pub fn unpublished(&self, limit: usize) -> Result<Vec<StoredResponse>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT name, request_id, bytes, slot FROM responses WHERE published = 0 ORDER BY rowid LIMIT ?1",
        )?;
        let rows = query.query_map([limit as i64], read_response)?;
        rows.map(|row| Ok(row?)).collect()
    }

    pub fn response(&self, name: &str) -> Result<Option<StoredResponse>, BridgeError> {
        let mut query =
            self.db.prepare_cached("SELECT name, request_id, bytes, slot FROM responses WHERE name = ?1")?;
        Ok(query.query_row([name], read_response).optional()?)
    }
}

fn read_response(row: &Row<'_>) -> rusqlite::Result<StoredResponse> {
    Ok(StoredResponse {
        name: row.get(0)?,
        request_id: row.get::<_, SqlRequestId>(1)?.0,
        bytes: row.get(2)?,
        slot: row.get(3)?,
    })
}

const REQUEST_COLUMNS: &str = "request, authorization_id, request_hash, requester, expires_at, epoch, state, slot";

fn read_request(row: &Row<'_>) -> Result<JournalRequest, BridgeError> {
    let bytes: Vec<u8> = row.get(0)?;
    let state: String = row.get(6)?;
    Ok(JournalRequest {
        request: AuthRequest::parse(&bytes)?,
        authorization_id: row.get::<_, SqlId>(1)?.0,
        request_hash: row.get::<_, SqlDigest>(2)?.0,
        requester: row.get::<_, SqlAddress>(3)?.0,
        expires_at_s: row.get::<_, i64>(4)?.unsigned_abs(),
        epoch: row.get::<_, i64>(5)?.unsigned_abs(),
        state: RequestState::parse(&state).ok_or_else(|| BridgeError::Corrupt(format!("state {state}")))?,
        slot: row.get(7)?,
    })
}

/// Which event of a life the journal keeps for evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemEvent {
    Approved,
    Denied,
    Cancelled,
    Consumed,
    Recorded,
}

impl ItemEvent {
    pub const fn as_str(self) -> &'static str {
        match self {
            ItemEvent::Approved => "approved",
            ItemEvent::Denied => "denied",
            ItemEvent::Cancelled => "cancelled",
            ItemEvent::Consumed => "consumed",
            ItemEvent::Recorded => "recorded",
        }
    }
}
