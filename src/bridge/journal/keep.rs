//! Backup while the bridge runs, and retention.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::Journal;
use crate::bridge::BridgeError;

/// Pages that one step of a backup copies; the bridge writes between steps.
const PAGES_PER_STEP: i32 = 256;
const STEP_PAUSE: Duration = Duration::from_millis(2);

/// What a pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    pub requests: usize,
    pub responses: usize,
    pub nonces: usize,
}

impl Journal {
    /// Copies the journal to a new file, whole as of one moment, also while a bridge writes it.
    ///
    /// # Errors
    /// [`BridgeError::Setup`] where the file is there already.
    pub fn backup(&self, to: &Path) -> Result<(), BridgeError> {
        if to.exists() {
            return Err(BridgeError::Setup(format!("{} is there already; a backup replaces nothing", to.display())));
        }
        let mut copy = Journal::create_private(to)?;
        Backup::new(&self.db, &mut copy)?.run_to_completion(PAGES_PER_STEP, STEP_PAUSE, None)?;
        // In one file: whoever copies it further needs no -wal beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        let kept: String = copy.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        if kept == "ok" { Ok(()) } else { Err(BridgeError::Corrupt(format!("the backup: {kept}"))) }
    }

    fn create_private(path: &Path) -> Result<Connection, BridgeError> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| BridgeError::Io { what: format!("cannot create {}", path.display()), source })?;
        Ok(Connection::open(path)?)
    }

    /// Removes requests that ended and whose answers were written before a moment, with their
    /// votes, events and answers, and the bytes of transactions that carried nothing else. Ids
    /// stay known, so a replay is still refused; the highest nonce stays.
    ///
    /// # Errors
    /// [`BridgeError::Journal`].
    pub fn prune(&mut self, before_ms: i64) -> Result<Pruned, BridgeError> {
        self.atomically(|writes| {
            let ended = "requests WHERE answered = 1 AND busy IS NULL AND received_at_ms < ?1
                AND state IN ('denied', 'cancelled', 'expired', 'refused', 'recorded')
                AND NOT EXISTS (SELECT 1 FROM responses p WHERE p.request_id = requests.request_id
                    AND (p.published = 0 OR p.written_at_ms >= ?1))
                AND NOT EXISTS (SELECT 1 FROM consumes c WHERE c.request_id = requests.request_id AND c.state = 'waiting')
                AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.request_id = requests.request_id AND o.state = 'waiting')";
            let pruned = "SELECT authorization_id FROM temp.pruned";
            writes.run("CREATE TEMP TABLE IF NOT EXISTS pruned (request_id TEXT, authorization_id TEXT)", [])?;
            writes.run("DELETE FROM temp.pruned", [])?;
            writes.run(
                &format!("INSERT INTO temp.pruned SELECT request_id, authorization_id FROM {ended}"),
                [before_ms],
            )?;
            writes.run(
                "INSERT INTO seen SELECT request_id, request_hash FROM requests
                 WHERE request_id IN (SELECT request_id FROM temp.pruned) ON CONFLICT DO NOTHING",
                [],
            )?;
            for table in ["votes", "chain_votes", "events", "items"] {
                writes.run(&format!("DELETE FROM {table} WHERE authorization_id IN ({pruned})"), [])?;
            }
            writes.run(
                "DELETE FROM meta WHERE key IN (SELECT 'refusal ' || authorization_id FROM temp.pruned)",
                [],
            )?;
            let mut responses = 0;
            for table in ["responses", "consumes", "outcomes"] {
                let sql = format!("DELETE FROM {table} WHERE request_id IN (SELECT request_id FROM temp.pruned)");
                let removed = writes.run(&sql, [])?;
                if table == "responses" {
                    responses = removed;
                }
            }
            let requests = writes.run("DELETE FROM requests WHERE request_id IN (SELECT request_id FROM temp.pruned)", [])?;
            // Answers to requests that were refused unread have no request; their ids are kept.
            writes.run(
                "INSERT INTO seen SELECT request_id, hex(zeroblob(32)) FROM responses WHERE published = 1 AND written_at_ms < ?1
                 AND request_id NOT IN (SELECT request_id FROM requests) ON CONFLICT DO NOTHING",
                [before_ms],
            )?;
            responses += writes.run(
                "DELETE FROM responses WHERE published = 1 AND written_at_ms < ?1
                 AND request_id NOT IN (SELECT request_id FROM requests)",
                [before_ms],
            )?;
            let unused = "nonce IN (SELECT nonce FROM nonces WHERE state <> 'open' AND first_sent_ms < ?1
                AND nonce < (SELECT max(nonce) FROM nonces)
                AND NOT EXISTS (SELECT 1 FROM items WHERE items.nonce = nonces.nonce))";
            writes.run(&format!("DELETE FROM attempts WHERE {unused}"), [before_ms])?;
            let nonces = writes.run(&format!("DELETE FROM nonces WHERE {unused}"), [before_ms])?;
            Ok(Pruned { requests, responses, nonces })
        })
    }
}
