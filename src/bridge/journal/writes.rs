//! Writes: each is durable with the transaction it is part of.

use std::ops::Deref;

use alloy::primitives::B256;
use rusqlite::{Transaction, params};

use super::reads::Reads;
use super::sql::{SqlAddress, SqlDigest, SqlFee, SqlHash, SqlId, SqlRequestId};
use super::{Attempt, ChainEvent, ChainVote, Cursor, HeldVote, ItemEvent, ItemKind, JournalRequest, StoredResponse};
use crate::bridge::BridgeError;
use crate::schema::{AuthorizationId, Outcome, RequestId, RequestState, Sha256Digest, Timestamp};

/// Blocks that are remembered; a chain that rolled back further is read again from its start.
const BLOCKS_KEPT: u64 = 4_096;

/// Writes of one journal transaction, and questions that see them.
pub struct Writes<'a> {
    reads: Reads<'a>,
}

impl<'a> Deref for Writes<'a> {
    type Target = Reads<'a>;

    fn deref(&self) -> &Reads<'a> {
        &self.reads
    }
}

impl<'a> Writes<'a> {
    pub(super) fn new(transaction: &'a Transaction<'_>) -> Self {
        Writes { reads: Reads { db: transaction } }
    }

    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, BridgeError> {
        Ok(self.reads.db.prepare_cached(sql)?.execute(params)?)
    }

    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), BridgeError> {
        self.run("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2", [key, value])?;
        Ok(())
    }

    pub fn clear_meta(&self, key: &str) -> Result<(), BridgeError> {
        self.run("DELETE FROM meta WHERE key = ?1", [key])?;
        Ok(())
    }

    pub fn insert_request(&self, r: &JournalRequest, bytes: &[u8], received_at_ms: i64) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, NULL, 0)",
            params![
                r.request_id.as_str(),
                SqlId(r.authorization_id),
                SqlDigest(r.request_hash),
                SqlDigest(r.action_hash),
                r.tool_name.as_str(),
                r.risk_score.bps(),
                bytes,
                SqlAddress(r.requester),
                r.expires_at_s as i64,
                r.epoch as i64,
                r.state.as_str(),
                r.slot,
                received_at_ms
            ],
        )?;
        Ok(())
    }

    /// Remembers that an id was seen, though nothing else of it is held.
    pub fn insert_seen(&self, id: &RequestId, request_hash: Sha256Digest) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO seen VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![id.as_str(), SqlDigest(request_hash)],
        )?;
        Ok(())
    }

    pub fn set_state(&self, id: AuthorizationId, state: RequestState) -> Result<(), BridgeError> {
        self.run("UPDATE requests SET state = ?2 WHERE authorization_id = ?1", params![SqlId(id), state.as_str()])?;
        Ok(())
    }

    pub fn set_answered(&self, id: AuthorizationId, answered: bool) -> Result<(), BridgeError> {
        self.run("UPDATE requests SET answered = ?2 WHERE authorization_id = ?1", params![SqlId(id), answered])?;
        Ok(())
    }

    /// Moves a request that is not on chain yet to another epoch, which changes its id.
    pub fn set_epoch(&self, old: AuthorizationId, new: AuthorizationId, epoch: u64) -> Result<(), BridgeError> {
        self.run(
            "UPDATE requests SET authorization_id = ?2, epoch = ?3 WHERE authorization_id = ?1",
            params![SqlId(old), SqlId(new), epoch as i64],
        )?;
        Ok(())
    }

    pub fn insert_vote(&self, vote: &HeldVote) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO votes VALUES (?1, ?2, ?3, ?4, ?5, 'held') ON CONFLICT DO NOTHING",
            params![
                SqlId(vote.id),
                SqlAddress(vote.approver),
                vote.approve,
                vote.note.as_str(),
                vote.signature.as_ref()
            ],
        )?;
        Ok(())
    }

    /// The contract would not take the held votes of an id.
    pub fn refuse_votes(&self, id: AuthorizationId) -> Result<(), BridgeError> {
        self.run(
            "UPDATE votes SET state = 'refused' WHERE authorization_id = ?1 AND state = 'held'",
            params![SqlId(id)],
        )?;
        Ok(())
    }

    pub fn insert_chain_vote(&self, id: AuthorizationId, vote: &ChainVote) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO chain_votes VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET note = ?4, tx_hash = ?5, block_number = ?6",
            params![
                SqlId(id),
                SqlAddress(vote.approver),
                vote.approve,
                vote.note.as_str(),
                SqlHash(vote.tx_hash),
                vote.block_number as i64
            ],
        )?;
        self.run(
            "UPDATE votes SET state = 'done' WHERE authorization_id = ?1 AND approver = ?2 AND approve = ?3",
            params![SqlId(id), SqlAddress(vote.approver), vote.approve],
        )?;
        Ok(())
    }

    pub fn insert_consume(&self, id: &RequestId, claim: Sha256Digest) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO consumes VALUES (?1, ?2, 'waiting') ON CONFLICT DO NOTHING",
            params![id.as_str(), SqlDigest(claim)],
        )?;
        Ok(())
    }

    pub fn close_consume(&self, id: &RequestId, claim: Sha256Digest) -> Result<(), BridgeError> {
        self.run(
            "UPDATE consumes SET state = 'done' WHERE request_id = ?1 AND claim = ?2",
            params![id.as_str(), SqlDigest(claim)],
        )?;
        Ok(())
    }

    pub fn insert_outcome(
        &self,
        id: &RequestId,
        claim: Sha256Digest,
        outcome: Outcome,
        hash: Sha256Digest,
    ) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO outcomes VALUES (?1, ?2, ?3, ?4, 'waiting') ON CONFLICT DO NOTHING",
            params![id.as_str(), SqlDigest(claim), outcome.code(), SqlDigest(hash)],
        )?;
        Ok(())
    }

    pub fn close_outcome(&self, id: &RequestId) -> Result<(), BridgeError> {
        self.run("UPDATE outcomes SET state = 'done' WHERE request_id = ?1", [id.as_str()])?;
        Ok(())
    }

    pub fn set_event(&self, id: AuthorizationId, kind: ItemEvent, event: &ChainEvent) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET tx_hash = ?3, block_hash = ?4, block_number = ?5, data = ?6",
            params![
                SqlId(id),
                kind.as_str(),
                SqlHash(event.tx_hash),
                SqlHash(event.block_hash),
                event.block_number as i64,
                event.data
            ],
        )?;
        Ok(())
    }

    /// Moves the cursor to a block whose events are applied.
    pub fn advance_cursor(&self, cursor: Cursor) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO blocks VALUES (?1, ?2) ON CONFLICT DO UPDATE SET hash = ?2",
            params![cursor.number as i64, SqlHash(cursor.hash)],
        )?;
        self.run("DELETE FROM blocks WHERE number < ?1", [cursor.number.saturating_sub(BLOCKS_KEPT) as i64])?;
        Ok(())
    }

    /// Forgets every block above a height, the events and counted votes in them, and opens the
    /// nonces that were mined there. What the requests become by that is the caller's to say.
    pub fn forget_above(&self, number: u64) -> Result<(), BridgeError> {
        let above = [number as i64];
        self.run(
            "UPDATE votes SET state = 'held' WHERE state = 'done' AND EXISTS (
                 SELECT 1 FROM chain_votes c WHERE c.block_number > ?1 AND c.authorization_id = votes.authorization_id
                 AND c.approver = votes.approver AND c.approve = votes.approve)",
            above,
        )?;
        self.run("DELETE FROM chain_votes WHERE block_number > ?1", above)?;
        self.run("DELETE FROM events WHERE block_number > ?1", above)?;
        self.run("DELETE FROM blocks WHERE number > ?1", above)?;
        self.run(
            "UPDATE requests SET busy = (SELECT i.nonce FROM items i JOIN nonces n USING (nonce)
                 WHERE i.authorization_id = requests.authorization_id AND n.mined_block > ?1 ORDER BY i.nonce LIMIT 1)
             WHERE busy IS NULL AND authorization_id IN (
                 SELECT i.authorization_id FROM items i JOIN nonces n USING (nonce) WHERE n.mined_block > ?1)",
            above,
        )?;
        self.run(
            "UPDATE nonces SET state = 'open', mined_hash = NULL, mined_block = NULL WHERE mined_block > ?1",
            above,
        )?;
        Ok(())
    }

    /// Takes back the answer of one kind, so that it is written again.
    pub fn reopen_answer(&self, r: &JournalRequest, kind: ItemEvent) -> Result<(), BridgeError> {
        let id = r.request_id.as_str();
        match kind {
            ItemEvent::Requested => {}
            ItemEvent::Approved | ItemEvent::Denied | ItemEvent::Cancelled => {
                self.run("DELETE FROM responses WHERE name = ?1 || '.json'", [id])?;
                self.set_answered(r.authorization_id, false)?;
            }
            ItemEvent::Consumed => {
                self.run("DELETE FROM responses WHERE request_id = ?1 AND name LIKE '%.consumed.json'", [id])?;
                self.run("UPDATE consumes SET state = 'waiting' WHERE request_id = ?1", [id])?;
            }
            ItemEvent::Recorded => {
                self.run("DELETE FROM responses WHERE name = ?1 || '.recorded.json'", [id])?;
                self.run("UPDATE outcomes SET state = 'waiting' WHERE request_id = ?1", [id])?;
            }
        }
        Ok(())
    }

    /// Allocates a nonce: the record *is* the allocation, and holds the signed bytes.
    pub fn insert_nonce(
        &self,
        kind: ItemKind,
        attempt: &Attempt,
        items: &[AuthorizationId],
    ) -> Result<(), BridgeError> {
        let nonce = attempt.nonce as i64;
        self.run(
            "INSERT INTO nonces VALUES (?1, ?2, 'open', ?3, NULL, NULL)",
            params![nonce, kind.as_str(), attempt.signed_at_ms],
        )?;
        for (position, id) in items.iter().enumerate() {
            self.run(
                "INSERT INTO items VALUES (?1, ?2, ?3, ?4)",
                params![nonce, position as i64, SqlId(*id), kind.as_str()],
            )?;
            self.run("UPDATE requests SET busy = ?2 WHERE authorization_id = ?1", params![SqlId(*id), nonce])?;
        }
        self.insert_attempt(attempt, 0)
    }

    pub fn insert_attempt(&self, attempt: &Attempt, number: usize) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                attempt.nonce as i64,
                number as i64,
                SqlHash(attempt.tx_hash),
                attempt.raw.as_ref(),
                SqlFee(attempt.fees.max_fee_wei),
                SqlFee(attempt.fees.priority_fee_wei),
                attempt.signed_at_ms
            ],
        )?;
        Ok(())
    }

    /// A nonce is used up: by an attempt of ours in a block.
    pub fn set_mined(&self, nonce: u64, tx_hash: B256, block: u64) -> Result<(), BridgeError> {
        self.run(
            "UPDATE nonces SET state = 'mined', mined_hash = ?2, mined_block = ?3 WHERE nonce = ?1",
            params![nonce as i64, SqlHash(tx_hash), block as i64],
        )?;
        self.free_items(nonce)
    }

    /// A nonce is used up by somebody else's transaction; what it was for is free again.
    pub fn set_lost(&self, nonce: u64) -> Result<(), BridgeError> {
        self.run("UPDATE nonces SET state = 'lost' WHERE nonce = ?1", [nonce as i64])?;
        self.free_items(nonce)
    }

    /// A nonce's transaction will be an empty one: what it was about is free.
    pub fn detach_items(&self, nonce: u64) -> Result<(), BridgeError> {
        self.run("DELETE FROM items WHERE nonce = ?1", [nonce as i64])?;
        self.run("UPDATE nonces SET kind = ?2 WHERE nonce = ?1", params![nonce as i64, ItemKind::Nothing.as_str()])?;
        self.free_items(nonce)
    }

    /// What a nonce that is no longer open was about is free, or belongs to the next open one about it.
    fn free_items(&self, nonce: u64) -> Result<(), BridgeError> {
        self.run(
            "UPDATE requests SET busy = (SELECT min(i.nonce) FROM items i JOIN nonces n USING (nonce)
                 WHERE i.authorization_id = requests.authorization_id AND n.state = 'open')
             WHERE busy = ?1",
            [nonce as i64],
        )?;
        Ok(())
    }

    /// Frees the highest nonce, whose transaction was certainly rejected.
    pub fn free_nonce(&self, nonce: u64) -> Result<(), BridgeError> {
        for table in ["items", "attempts", "nonces"] {
            self.run(&format!("DELETE FROM {table} WHERE nonce = ?1"), [nonce as i64])?;
        }
        self.free_items(nonce)
    }

    /// Keeps a response until it is published; one of the same name stays.
    pub fn insert_response(&self, response: &StoredResponse) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO responses VALUES (?1, ?2, ?3, ?4, 0, ?5) ON CONFLICT (name) DO NOTHING",
            params![
                response.name,
                SqlRequestId(response.request_id.clone()),
                response.bytes,
                response.slot,
                Timestamp::now().unix_ms()
            ],
        )?;
        Ok(())
    }

    pub fn set_published(&self, name: &str, published: bool) -> Result<(), BridgeError> {
        self.run("UPDATE responses SET published = ?2 WHERE name = ?1", params![name, published])?;
        Ok(())
    }
}
