//! Questions to the journal. Each is answered from an index, whatever the journal has grown to.

use alloy::primitives::{Address, Bytes};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sql::{SqlAddress, SqlDigest, SqlFee, SqlHash, SqlId, SqlRequestId, SqlToolName};
use super::{
    Attempt, ChainEvent, ChainVote, Cursor, HeldVote, ItemEvent, ItemKind, JournalRequest, OpenAttempts, OpenNonce,
    StoredResponse,
};
use crate::bridge::BridgeError;
use crate::bridge::fees::Fees;
use crate::schema::message::Note;
use crate::schema::{AuthorizationId, Outcome, RequestId, RequestState, RiskScore, Sha256Digest};

/// Questions of one connection; inside a transaction they see what it wrote.
#[derive(Clone, Copy, Debug)]
pub struct Reads<'a> {
    pub(super) db: &'a Connection,
}

const REQUEST_COLUMNS: &str = "request_id, tool_name, action_hash, request_hash, risk_bps, authorization_id, requester, \
                               expires_at, epoch, state, slot";
impl Reads<'_> {
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
        query.query_row([value], |row| Ok(read_request(row))).optional()?.transpose()
    }

    /// The hash of a request that was seen, whether it is still held or was pruned.
    pub fn seen(&self, id: &RequestId) -> Result<Option<Sha256Digest>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT request_hash FROM requests WHERE request_id = ?1
             UNION ALL SELECT request_hash FROM seen WHERE request_id = ?1",
        )?;
        Ok(query.query_row([id.as_str()], |row| Ok(row.get::<_, SqlDigest>(0)?.0)).optional()?)
    }

    /// Requests in a state that no transaction on the way is about, oldest first.
    pub fn requests_free(&self, state: RequestState, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        self.requests(
            "WHERE state = ?1 AND busy IS NULL ORDER BY received_at_ms LIMIT ?2",
            params![state.as_str(), limit as i64],
        )
    }

    /// Undecided or unconsumed requests whose time has passed, those that expired first first.
    pub fn requests_past(&self, time_s: u64, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        self.requests(
            "WHERE state IN ('received', 'pending', 'approved') AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            params![time_s as i64, limit as i64],
        )
    }

    /// Decided requests whose decision is not answered yet, oldest first.
    pub fn unanswered(&self, limit: usize) -> Result<Vec<JournalRequest>, BridgeError> {
        self.requests(
            "WHERE answered = 0 AND state IN ('approved', 'denied', 'cancelled', 'expired', 'refused', 'consumed', 'recorded')
             ORDER BY received_at_ms LIMIT ?1",
            [limit as i64],
        )
    }

    fn requests(&self, filter: &str, params: impl rusqlite::Params) -> Result<Vec<JournalRequest>, BridgeError> {
        let mut query = self.db.prepare_cached(&format!("SELECT {REQUEST_COLUMNS} FROM requests {filter}"))?;
        let rows = query.query_map(params, |row| Ok(read_request(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Ids of requests that the bridge has something to do for.
    pub fn open_request_ids(&self) -> Result<std::collections::HashSet<RequestId>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT request_id FROM requests WHERE answered = 0 AND state IN ('received', 'pending')",
        )?;
        let rows = query.query_map([], |row| Ok(row.get::<_, SqlRequestId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// The oldest request that nobody has decided: its id and when it came, in Unix milliseconds.
    pub fn oldest_pending(&self) -> Result<Option<(RequestId, i64)>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT request_id, received_at_ms FROM requests WHERE state = 'pending' AND answered = 0
             ORDER BY received_at_ms LIMIT 1",
        )?;
        Ok(query.query_row([], |row| Ok((row.get::<_, SqlRequestId>(0)?.0, row.get(1)?))).optional()?)
    }

    /// How many requests are in each state, all nine.
    pub fn counts(&self) -> Result<Vec<(RequestState, u64)>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT n FROM state_counts WHERE state = ?1")?;
        RequestState::ALL
            .into_iter()
            .map(|state| {
                let n: Option<i64> = query.query_row([state.as_str()], |row| row.get(0)).optional()?;
                Ok((state, n.map_or(0, i64::unsigned_abs)))
            })
            .collect()
    }

    /// Requests that the bridge still has something to do or to wait for.
    pub fn open_count(&self) -> Result<u64, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT state, n FROM state_counts")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        let mut open = 0;
        for row in rows {
            let (state, count) = row?;
            if RequestState::parse(&state).is_some_and(RequestState::is_open) {
                open += count;
            }
        }
        Ok(open)
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

    /// Ids of requests that have held votes.
    pub fn ids_with_held_votes(&self) -> Result<Vec<AuthorizationId>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT DISTINCT authorization_id FROM votes WHERE state = 'held'")?;
        let rows = query.query_map([], |row| Ok(row.get::<_, SqlId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Of the requests that a nonce was about, those that have held votes.
    pub fn held_among(&self, nonce: u64) -> Result<Vec<AuthorizationId>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT i.authorization_id FROM items i WHERE i.nonce = ?1 AND EXISTS (
                 SELECT 1 FROM votes v WHERE v.authorization_id = i.authorization_id AND v.state = 'held')",
        )?;
        let rows = query.query_map([nonce as i64], |row| Ok(row.get::<_, SqlId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Whether a transaction on the way is about a request.
    pub fn is_busy(&self, id: AuthorizationId) -> Result<bool, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT busy IS NOT NULL FROM requests WHERE authorization_id = ?1")?;
        Ok(query.query_row(params![SqlId(id)], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    /// Votes that the chain has counted, by ascending address.
    pub fn chain_votes(&self, id: AuthorizationId) -> Result<Vec<ChainVote>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT approver, approve, note, tx_hash, block_number FROM chain_votes WHERE authorization_id = ?1",
        )?;
        let rows = query.query_map(params![SqlId(id)], |row| {
            Ok((
                row.get::<_, SqlAddress>(0)?.0,
                row.get(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, SqlHash>(3)?.0,
                row.get::<_, i64>(4)?.unsigned_abs(),
            ))
        })?;
        let mut votes = rows
            .map(|row| {
                let (approver, approve, note, tx_hash, block_number): (_, _, String, _, _) = row?;
                let note = note.parse().map_err(BridgeError::Corrupt)?;
                Ok(ChainVote { approver, approve, note, tx_hash, block_number })
            })
            .collect::<Result<Vec<_>, BridgeError>>()?;
        votes.sort_unstable_by_key(|vote| vote.approver);
        Ok(votes)
    }

    /// Consumptions that are asked for and not answered, in the order they came.
    pub fn consumes_waiting(&self, limit: usize) -> Result<Vec<(RequestId, Sha256Digest)>, BridgeError> {
        let mut query = self
            .db
            .prepare_cached("SELECT request_id, claim FROM consumes WHERE state = 'waiting' ORDER BY rowid LIMIT ?1")?;
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

    /// Which events of a life are applied, in the order of a life.
    pub fn event_kinds(&self, id: AuthorizationId) -> Result<Vec<ItemEvent>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT kind FROM events WHERE authorization_id = ?1")?;
        let rows = query.query_map(params![SqlId(id)], |row| row.get::<_, String>(0))?;
        let mut kinds = rows
            .map(|row| {
                let kind = row?;
                ItemEvent::parse(&kind).ok_or_else(|| BridgeError::Corrupt(format!("event {kind}")))
            })
            .collect::<Result<Vec<_>, BridgeError>>()?;
        kinds.sort_unstable();
        Ok(kinds)
    }

    /// Requests that events or counted votes above a block are about.
    pub fn ids_with_events_above(&self, number: u64) -> Result<Vec<AuthorizationId>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT authorization_id FROM events WHERE block_number > ?1
             UNION SELECT authorization_id FROM chain_votes WHERE block_number > ?1",
        )?;
        let rows = query.query_map([number as i64], |row| Ok(row.get::<_, SqlId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// The newest blocks whose events are applied, newest first; the first is the cursor.
    pub fn blocks(&self, limit: usize) -> Result<Vec<Cursor>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT ?1")?;
        let rows = query.query_map([limit as i64], |row| {
            Ok(Cursor { number: row.get::<_, i64>(0)?.unsigned_abs(), hash: row.get::<_, SqlHash>(1)?.0 })
        })?;
        rows.map(|row| Ok(row?)).collect()
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

    /// The same without the bytes: each open nonce, the hash of each attempt, and when the newest
    /// was signed, in Unix milliseconds.
    pub fn open_attempts(&self) -> Result<Vec<OpenAttempts>, BridgeError> {
        let mut query = self.db.prepare_cached(
            "SELECT n.nonce, a.tx_hash, a.signed_at_ms FROM nonces n JOIN attempts a USING (nonce)
             WHERE n.state = 'open' ORDER BY n.nonce, a.attempt",
        )?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, SqlHash>(1)?.0, row.get::<_, i64>(2)?))
        })?;
        let mut open: Vec<OpenAttempts> = Vec::new();
        for row in rows {
            let (nonce, tx_hash, signed_at_ms) = row?;
            match open.last_mut() {
                Some(last) if last.nonce == nonce => {
                    last.tx_hashes.push(tx_hash);
                    last.signed_at_ms = signed_at_ms;
                }
                Some(_) | None => open.push(OpenAttempts { nonce, tx_hashes: vec![tx_hash], signed_at_ms }),
            }
        }
        Ok(open)
    }

    /// How many nonces are allocated and not mined.
    pub fn in_flight(&self) -> Result<usize, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT count(*) FROM nonces WHERE state = 'open'")?;
        let open: i64 = query.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(open).unwrap_or_default())
    }

    /// The highest nonce that was ever allocated and not freed.
    pub fn highest_nonce(&self) -> Result<Option<u64>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT max(nonce) FROM nonces")?;
        let highest: Option<i64> = query.query_row([], |row| row.get(0))?;
        Ok(highest.map(i64::unsigned_abs))
    }

    /// Whether the journal has ever allocated this nonce and not freed it.
    pub fn has_nonce(&self, nonce: u64) -> Result<bool, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT 1 FROM nonces WHERE nonce = ?1")?;
        Ok(query.exists([nonce as i64])?)
    }

    /// What a nonce's transaction does.
    pub fn kind_of(&self, nonce: u64) -> Result<Option<ItemKind>, BridgeError> {
        let mut query = self.db.prepare_cached("SELECT kind FROM nonces WHERE nonce = ?1")?;
        let kind: Option<String> = query.query_row([nonce as i64], |row| row.get(0)).optional()?;
        Ok(kind.as_deref().and_then(ItemKind::parse))
    }

    /// What a nonce's transaction is about.
    pub fn items(&self, nonce: u64) -> Result<Vec<AuthorizationId>, BridgeError> {
        let mut query =
            self.db.prepare_cached("SELECT authorization_id FROM items WHERE nonce = ?1 ORDER BY position")?;
        let rows = query.query_map([nonce as i64], |row| Ok(row.get::<_, SqlId>(0)?.0))?;
        rows.map(|row| Ok(row?)).collect()
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

fn read_request(row: &Row<'_>) -> Result<JournalRequest, BridgeError> {
    let state: String = row.get(9)?;
    Ok(JournalRequest {
        request_id: row.get::<_, SqlRequestId>(0)?.0,
        tool_name: row.get::<_, SqlToolName>(1)?.0,
        action_hash: row.get::<_, SqlDigest>(2)?.0,
        request_hash: row.get::<_, SqlDigest>(3)?.0,
        risk_score: RiskScore::from_bps_capped(row.get(4)?),
        authorization_id: row.get::<_, SqlId>(5)?.0,
        requester: row.get::<_, SqlAddress>(6)?.0,
        expires_at_s: row.get::<_, i64>(7)?.unsigned_abs(),
        epoch: row.get::<_, i64>(8)?.unsigned_abs(),
        state: RequestState::parse(&state).ok_or_else(|| BridgeError::Corrupt(format!("state {state}")))?,
        slot: row.get(10)?,
    })
}
