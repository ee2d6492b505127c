//! Logs that were fetched, on disk: one database a contract on a chain.

use std::path::Path;

use alloy::primitives::{Address, B256, Bytes, LogData};
use rusqlite::{Connection, OptionalExtension, params};

use super::AuditError;
use super::event::AuditLog;

const VERSION: i64 = 1;
const SCHEMA: &str = "
-- The last block of each page that was fetched whole, and its hash then.
CREATE TABLE pages (to_block INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE logs (
    block INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    block_time_s INTEGER NOT NULL,
    transaction_hash BLOB NOT NULL,
    topics BLOB NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
";
/// Pages of SQLite's own cache, in KiB.
const CACHE_KIB: i64 = 2_048;

/// Fetched logs of one contract, in the order of the chain.
#[derive(Debug)]
pub struct LogStore {
    db: Connection,
}

/// The end of a page: everything up to this block is here, as long as the chain still has this hash there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEnd {
    pub to_block: u64,
    pub hash: B256,
}

impl LogStore {
    /// Opens the store of a contract under a directory, or makes it.
    ///
    /// # Errors
    /// [`AuditError::Database`], [`AuditError::Version`].
    pub fn open(dir: &Path, genesis: B256, contract: Address) -> Result<Self, AuditError> {
        let name = format!("audit-{}-{}.sqlite", short(genesis.as_slice()), short(contract.as_slice()));
        let path = dir.join(name);
        Self::prepare(Connection::open(&path)?, &path.display().to_string())
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// [`AuditError::Database`].
    pub fn temporary() -> Result<Self, AuditError> {
        // An empty name is a private file on disk, which SQLite removes.
        Self::prepare(Connection::open("")?, "a temporary file")
    }

    fn prepare(db: Connection, path: &str) -> Result<Self, AuditError> {
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => db.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?,
            VERSION => {}
            other => return Err(AuditError::Version { path: path.to_owned(), found: other, known: VERSION }),
        }
        Ok(LogStore { db })
    }

    /// The last page that is here.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn last_page(&self) -> Result<Option<PageEnd>, AuditError> {
        let row = self
            .db
            .query_row("SELECT to_block, hash FROM pages ORDER BY to_block DESC LIMIT 1", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()?;
        row.map(|(block, hash)| Ok(PageEnd { to_block: unsigned(block)?, hash: b256(&hash)? })).transpose()
    }

    /// Keeps a page: its logs and its end, or nothing.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn append(&mut self, logs: &[AuditLog], end: PageEnd) -> Result<(), AuditError> {
        let transaction = self.db.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for log in logs {
                let topics: Vec<u8> = log.data.topics().iter().flat_map(|topic| topic.0).collect();
                insert.execute(params![
                    signed(log.block)?,
                    signed(log.log_index)?,
                    signed(log.block_time_s)?,
                    log.transaction.as_slice(),
                    topics,
                    log.data.data.as_ref()
                ])?;
            }
        }
        transaction.execute(
            "INSERT OR REPLACE INTO pages VALUES (?1, ?2)",
            params![signed(end.to_block)?, end.hash.as_slice()],
        )?;
        Ok(transaction.commit()?)
    }

    /// Forgets the last page, which the chain does not have any more.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn forget_last_page(&mut self) -> Result<(), AuditError> {
        let transaction = self.db.transaction()?;
        transaction.execute("DELETE FROM pages WHERE to_block = (SELECT max(to_block) FROM pages)", [])?;
        transaction.execute("DELETE FROM logs WHERE block > (SELECT coalesce(max(to_block), -1) FROM pages)", [])?;
        Ok(transaction.commit()?)
    }

    /// Hands out every log in the order of the chain, one at a time.
    ///
    /// # Errors
    /// [`AuditError`], or whatever `each` fails with.
    pub fn each<E: From<AuditError>>(&self, mut each: impl FnMut(AuditLog) -> Result<(), E>) -> Result<(), E> {
        let failed = |error: rusqlite::Error| E::from(AuditError::from(error));
        let mut statement = self.db.prepare("SELECT * FROM logs ORDER BY block, log_index").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            each(read(row)?)?;
        }
        Ok(())
    }

    /// How many logs are here.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn count(&self) -> Result<u64, AuditError> {
        unsigned(self.db.query_row("SELECT count(*) FROM logs", [], |row| row.get(0))?)
    }
}

fn read(row: &rusqlite::Row<'_>) -> Result<AuditLog, AuditError> {
    let topics: Vec<u8> = row.get(4)?;
    let topics: Vec<B256> = topics.chunks(32).map(b256).collect::<Result<_, _>>()?;
    let data: Vec<u8> = row.get(5)?;
    Ok(AuditLog {
        block: unsigned(row.get(0)?)?,
        log_index: unsigned(row.get(1)?)?,
        block_time_s: unsigned(row.get(2)?)?,
        transaction: b256(&row.get::<_, Vec<u8>>(3)?)?,
        data: LogData::new(topics, Bytes::from(data)).ok_or(AuditError::Damaged("more than four topics"))?,
    })
}

fn short(bytes: &[u8]) -> String {
    alloy::hex::encode(&bytes[..bytes.len().min(8)])
}

fn b256(bytes: &[u8]) -> Result<B256, AuditError> {
    B256::try_from(bytes).map_err(|_| AuditError::Damaged("a hash is not 32 bytes"))
}

pub(super) fn signed(number: u64) -> Result<i64, AuditError> {
    i64::try_from(number).map_err(|_| AuditError::Number(number))
}

pub(super) fn unsigned(number: i64) -> Result<u64, AuditError> {
    u64::try_from(number).map_err(|_| AuditError::Damaged("a negative number"))
}
