//! Writes: each is durable with the transaction it is part of.

use alloy::primitives::B256;
use rusqlite::{Transaction, params};

use super::sql::{SqlAddress, SqlDigest, SqlFee, SqlHash, SqlId, SqlRequestId};
use super::{Attempt, ChainEvent, ChainVote, HeldVote, ItemEvent, ItemKind, JournalRequest, StoredResponse};
use crate::bridge::BridgeError;
use crate::schema::{AuthorizationId, Outcome, RequestId, RequestState, Sha256Digest};

/// Writes of one journal transaction.
pub struct Writes<'a> {
    pub(super) tx: &'a Transaction<'a>,
}

impl Writes<'_> {
    fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, BridgeError> {
        Ok(self.tx.prepare_cached(sql)?.execute(params)?)
    }

    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), BridgeError> {
        self.run("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2", [key, value])?;
        Ok(())
    }

    pub fn insert_request(&self, r: &JournalRequest, bytes: &[u8], received_at_ms: i64) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                SqlRequestId(r.request.request_id.clone()),
                SqlId(r.authorization_id),
                SqlDigest(r.request_hash),
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

    pub fn set_state(&self, id: AuthorizationId, state: RequestState) -> Result<(), BridgeError> {
        self.run("UPDATE requests SET state = ?2 WHERE authorization_id = ?1", params![SqlId(id), state.as_str()])?;
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

    /// What became of held votes: `done` once the chain counted them or no longer can, `refused` where it would not.
    pub fn close_votes(&self, id: AuthorizationId, state: &str) -> Result<(), BridgeError> {
        self.run(
            "UPDATE votes SET state = ?2 WHERE authorization_id = ?1 AND state = 'held'",
            params![SqlId(id), state],
        )?;
        Ok(())
    }

    pub fn insert_chain_vote(&self, id: AuthorizationId, vote: &ChainVote) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO chain_votes VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET note = ?4, tx_hash = ?5",
            params![SqlId(id), SqlAddress(vote.approver), vote.approve, vote.note.as_str(), SqlHash(vote.tx_hash)],
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
            params![SqlRequestId(id.clone()), SqlDigest(claim)],
        )?;
        Ok(())
    }

    pub fn close_consume(&self, id: &RequestId, claim: Sha256Digest) -> Result<(), BridgeError> {
        self.run(
            "UPDATE consumes SET state = 'done' WHERE request_id = ?1 AND claim = ?2",
            params![SqlRequestId(id.clone()), SqlDigest(claim)],
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
            params![SqlRequestId(id.clone()), SqlDigest(claim), outcome.code(), SqlDigest(hash)],
        )?;
        Ok(())
    }

    pub fn close_outcome(&self, id: &RequestId) -> Result<(), BridgeError> {
        self.run("UPDATE outcomes SET state = 'done' WHERE request_id = ?1", params![SqlRequestId(id.clone())])?;
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

    /// Forgets what the chain forgot of a request: its events, the votes it had counted.
    pub fn forget(&self, r: &JournalRequest) -> Result<(), BridgeError> {
        let id = r.authorization_id;
        self.run("DELETE FROM events WHERE authorization_id = ?1", params![SqlId(id)])?;
        self.run("DELETE FROM chain_votes WHERE authorization_id = ?1", params![SqlId(id)])?;
        self.run("UPDATE votes SET state = 'held' WHERE authorization_id = ?1 AND state = 'done'", params![SqlId(id)])?;
        let request_id = SqlRequestId(r.request.request_id.clone());
        self.run("UPDATE consumes SET state = 'waiting' WHERE request_id = ?1", params![request_id])?;
        self.run("UPDATE outcomes SET state = 'waiting' WHERE request_id = ?1", params![request_id])?;
        self.run("DELETE FROM responses WHERE request_id = ?1", params![request_id])?;
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
            "INSERT INTO nonces VALUES (?1, ?2, 'open', ?3, NULL)",
            params![nonce, kind.as_str(), attempt.signed_at_ms],
        )?;
        for (position, id) in items.iter().enumerate() {
            self.run(
                "INSERT INTO items VALUES (?1, ?2, ?3, ?4)",
                params![nonce, position as i64, SqlId(*id), kind.as_str()],
            )?;
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

    pub fn set_mined(&self, nonce: u64, tx_hash: B256) -> Result<(), BridgeError> {
        self.run(
            "UPDATE nonces SET state = 'mined', mined_hash = ?2 WHERE nonce = ?1",
            params![nonce as i64, SqlHash(tx_hash)],
        )?;
        Ok(())
    }

    /// Frees the highest nonce, whose transaction was certainly rejected.
    pub fn free_nonce(&self, nonce: u64) -> Result<(), BridgeError> {
        for table in ["items", "attempts", "nonces"] {
            self.run(&format!("DELETE FROM {table} WHERE nonce = ?1"), [nonce as i64])?;
        }
        Ok(())
    }

    /// Opens again every nonce from `nonce` up: the node rolled back below them.
    pub fn reopen_nonces_from(&self, nonce: u64) -> Result<usize, BridgeError> {
        self.run(
            "UPDATE nonces SET state = 'open', mined_hash = NULL WHERE nonce >= ?1 AND state = 'mined'",
            [nonce as i64],
        )
    }

    /// Keeps a response until it is published; one of the same name stays.
    pub fn insert_response(&self, response: &StoredResponse) -> Result<(), BridgeError> {
        self.run(
            "INSERT INTO responses VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT (name) DO NOTHING",
            params![response.name, SqlRequestId(response.request_id.clone()), response.bytes, response.slot],
        )?;
        Ok(())
    }

    pub fn set_published(&self, name: &str, published: bool) -> Result<(), BridgeError> {
        self.run("UPDATE responses SET published = ?2 WHERE name = ?1", params![name, published])?;
        Ok(())
    }
}
