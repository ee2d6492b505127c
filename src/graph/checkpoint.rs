//! Checkpoints on disk: one SQLite file a state directory, numbered rows a thread.
//!
//! WAL with `synchronous=FULL`: when [`CheckpointStore::put`] returns, the checkpoint survives
//! a power cut. One process at a time may write a thread; it holds a lock for as long.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs2::FileExt;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::state::{AgentState, CheckpointId, STATE_VERSION, ThreadId};
use super::topology::{Node, Target};
use crate::atomic_file;
use crate::schema::Timestamp;

/// Largest state of one checkpoint, in bytes of JSON.
pub const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Rows that one listing returns.
pub const LIST_ROWS_MAX: u32 = 1_000;

/// Layout of the database, in its `user_version`.
const LAYOUT_VERSION: i64 = 1;
/// How long one process waits for another's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

const LAYOUT: &str = "
CREATE TABLE threads (
    thread     TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    thread     TEXT    NOT NULL REFERENCES threads (thread),
    number     INTEGER NOT NULL CHECK (number > 0),
    parent     INTEGER,
    version    INTEGER NOT NULL,
    node       TEXT,
    next       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    PRIMARY KEY (thread, number)
) STRICT;
CREATE TABLE started (
    thread     TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (thread, number)
) STRICT, WITHOUT ROWID;
";

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the checkpoint database failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("{} has layout {found}; this program knows {LAYOUT_VERSION}", path.display())]
    UnknownLayout { path: PathBuf, found: i64 },
    #[error("checkpoint {id} has version {found}; this program knows {STATE_VERSION}")]
    UnknownVersion { id: CheckpointId, found: u32 },
    #[error("there is no checkpoint {0}")]
    NoCheckpoint(CheckpointId),
    #[error("there is no thread {0}")]
    NoThread(ThreadId),
    #[error("checkpoint {id} is damaged: {detail}")]
    Damaged { id: CheckpointId, detail: String },
    #[error("a state of {bytes} bytes is over the limit of {STATE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("thread {thread} is in use by {}", holder_text(*pid))]
    InUse { thread: ThreadId, pid: Option<u32> },
    #[error("thread {0} has as many checkpoints as can be numbered")]
    Full(ThreadId),
}

fn holder_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A point to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub id: CheckpointId,
    /// The checkpoint that the run came from; none for a thread's first.
    pub parent: Option<u32>,
    /// The node that just ran; none where the user had just spoken.
    pub node: Option<Node>,
    /// What comes next.
    pub next: Target,
    pub created_at: Timestamp,
    pub state: AgentState,
}

/// A line of a listing: a checkpoint without its state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CheckpointSummary {
    pub id: CheckpointId,
    pub parent: Option<u32>,
    pub version: u32,
    pub node: Option<Node>,
    pub next: Target,
    pub created_at: Timestamp,
    pub state_bytes: u64,
}

/// What a new checkpoint is made of; the store numbers it.
#[derive(Clone, Copy, Debug)]
pub struct NewCheckpoint<'a> {
    pub parent: Option<u32>,
    pub node: Option<Node>,
    pub next: Target,
    pub state: &'a AgentState,
    pub now: Timestamp,
}

/// The right to write one thread. Ends when it is dropped or the process dies.
#[derive(Debug)]
pub struct ThreadLock {
    thread: ThreadId,
    _file: File,
}

impl ThreadLock {
    pub fn thread(&self) -> &ThreadId {
        &self.thread
    }
}

/// The checkpoints of one state directory.
#[derive(Debug)]
pub struct CheckpointStore {
    connection: Mutex<Connection>,
    locks_dir: PathBuf,
}

impl CheckpointStore {
    /// Opens the store of a state directory, creating what is missing: directories 0700, files 0600.
    ///
    /// # Errors
    /// [`StoreError`]; a database of another layout is refused untouched.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let locks_dir = state_dir.join("locks");
        atomic_file::ensure_dir(state_dir, DIR_MODE).map_err(io_error("create", state_dir))?;
        atomic_file::ensure_dir(&locks_dir, DIR_MODE).map_err(io_error("create", &locks_dir))?;
        let path = state_dir.join("checkpoints.db");
        // SQLite gives its side files the mode of the database.
        open_private(&path).map_err(io_error("create", &path))?;
        let mut connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        prepare_layout(&mut connection, &path)?;
        atomic_file::sync_dir(state_dir).map_err(io_error("sync", state_dir))?;
        Ok(CheckpointStore { connection: Mutex::new(connection), locks_dir })
    }

    /// Takes a thread for this process.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the holder's process id.
    pub fn lock_thread(&self, thread: &ThreadId) -> Result<ThreadLock, StoreError> {
        let path = self.locks_dir.join(format!("{thread}.lock"));
        let mut file = open_private(&path).map_err(io_error("open", &path))?;
        if let Err(error) = file.try_lock_exclusive() {
            if error.kind() == fs2::lock_contended_error().kind() {
                return Err(StoreError::InUse { thread: thread.clone(), pid: read_pid(&mut file) });
            }
            return Err(io_error("lock", &path)(error));
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut file).map_err(io_error("write", &path))?;
        Ok(ThreadLock { thread: thread.clone(), _file: file })
    }

    /// Number that the thread's next checkpoint will get.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_number(&self, lock: &ThreadLock) -> Result<u32, StoreError> {
        next_number(&self.connection(), &lock.thread)
    }

    /// Writes a checkpoint; it is durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was written.
    pub fn put(&self, lock: &ThreadLock, new: NewCheckpoint<'_>) -> Result<CheckpointId, StoreError> {
        let thread = &lock.thread;
        let text = serde_json::to_string(new.state).map_err(|error| StoreError::Damaged {
            id: CheckpointId { thread: thread.clone(), number: 0 },
            detail: error.to_string(),
        })?;
        if text.len() > STATE_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes: text.len() });
        }
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO threads (thread, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![thread.as_str(), new.now.unix_ms()],
        )?;
        let number = next_number(&transaction, thread)?;
        transaction.execute(
            "INSERT INTO checkpoints (thread, number, parent, version, node, next, created_at, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                thread.as_str(),
                number,
                new.parent,
                STATE_VERSION,
                new.node.map(Node::as_str),
                new.next.as_str(),
                new.now.unix_ms(),
                text
            ],
        )?;
        transaction.commit()?;
        Ok(CheckpointId { thread: thread.clone(), number })
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`], [`StoreError::UnknownVersion`], [`StoreError::Damaged`].
    pub fn get(&self, id: &CheckpointId) -> Result<Checkpoint, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT number, parent, version, node, next, created_at, state FROM checkpoints
             WHERE thread = ?1 AND number = ?2",
        )?;
        let row = statement
            .query_row(params![id.thread.as_str(), id.number], |row| {
                Ok((RawSummary::read(row)?, row.get::<_, String>(6)?))
            })
            .optional()?;
        let (raw, text) = row.ok_or_else(|| StoreError::NoCheckpoint(id.clone()))?;
        let summary = raw.parse(&id.thread, 0)?;
        if summary.version != STATE_VERSION {
            return Err(StoreError::UnknownVersion { id: id.clone(), found: summary.version });
        }
        let state: AgentState = serde_json::from_str(&text)
            .map_err(|error| StoreError::Damaged { id: id.clone(), detail: error.to_string() })?;
        if state.thread != id.thread {
            return Err(StoreError::Damaged { id: id.clone(), detail: format!("its state is of {}", state.thread) });
        }
        let CheckpointSummary { id, parent, node, next, created_at, version: _, state_bytes: _ } = summary;
        Ok(Checkpoint { id, parent, node, next, created_at, state })
    }

    /// The checkpoint of a thread with the highest number, if it has any.
    ///
    /// # Errors
    /// As [`CheckpointStore::get`].
    pub fn latest(&self, thread: &ThreadId) -> Result<Option<Checkpoint>, StoreError> {
        let highest: Option<u32> = self.connection().query_row(
            "SELECT MAX(number) FROM checkpoints WHERE thread = ?1",
            params![thread.as_str()],
            |row| row.get(0),
        )?;
        highest.map(|number| self.get(&CheckpointId { thread: thread.clone(), number })).transpose()
    }

    /// The newest checkpoints of a thread, oldest first, at most [`LIST_ROWS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`]; versions that this program does not know are listed as they are.
    pub fn list(&self, thread: &ThreadId) -> Result<Vec<CheckpointSummary>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT number, parent, version, node, next, created_at, octet_length(state) FROM checkpoints
             WHERE thread = ?1 ORDER BY number DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![thread.as_str(), LIST_ROWS_MAX], |row| {
            Ok((RawSummary::read(row)?, row.get::<_, i64>(6)?.unsigned_abs()))
        })?;
        let mut summaries = Vec::new();
        for row in rows {
            let (raw, bytes) = row?;
            summaries.push(raw.parse(thread, bytes)?);
        }
        summaries.reverse();
        Ok(summaries)
    }

    /// Every thread with the number of its latest checkpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn threads(&self) -> Result<BTreeMap<ThreadId, u32>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT thread, MAX(number) FROM checkpoints GROUP BY thread ORDER BY thread")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))?;
        let mut threads = BTreeMap::new();
        for row in rows {
            let (name, number) = row?;
            if let Ok(thread) = name.parse() {
                threads.insert(thread, number);
            }
        }
        Ok(threads)
    }

    /// Notes that the node after a checkpoint is about to leave traces; durable when this returns.
    ///
    /// Returns whether that was noted before, by a run that was cut off.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark_started(&self, lock: &ThreadLock, number: u32, now: Timestamp) -> Result<Started, StoreError> {
        let inserted = self.connection().execute(
            "INSERT INTO started (thread, number, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![lock.thread.as_str(), number, now.unix_ms()],
        )?;
        Ok(if inserted == 0 { Started::Before } else { Started::Now })
    }

    /// A poisoned lock means that a panic ended a read or a transaction, which rolled back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node that leaves traces was begun before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    Now,
    Before,
}

struct RawSummary {
    number: u32,
    parent: Option<u32>,
    version: u32,
    node: Option<String>,
    next: String,
    created_at_ms: i64,
}

impl RawSummary {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(RawSummary {
            number: row.get(0)?,
            parent: row.get(1)?,
            version: row.get(2)?,
            node: row.get(3)?,
            next: row.get(4)?,
            created_at_ms: row.get(5)?,
        })
    }

    fn parse(self, thread: &ThreadId, state_bytes: u64) -> Result<CheckpointSummary, StoreError> {
        let id = CheckpointId { thread: thread.clone(), number: self.number };
        let unknown = |what: &str, name: &str| StoreError::Damaged {
            id: id.clone(),
            detail: format!("there is no {what} {name:?}"),
        };
        let node = self.node.map(|name| Node::parse(&name).ok_or_else(|| unknown("node", &name))).transpose()?;
        let next = Target::parse(&self.next).ok_or_else(|| unknown("target", &self.next))?;
        let created_at = Timestamp::from_unix_ms(self.created_at_ms);
        Ok(CheckpointSummary { parent: self.parent, version: self.version, node, next, created_at, state_bytes, id })
    }
}

fn prepare_layout(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
        0 => {
            transaction.execute_batch(LAYOUT)?;
            transaction.pragma_update(None, "user_version", LAYOUT_VERSION)?;
        }
        LAYOUT_VERSION => {}
        found => return Err(StoreError::UnknownLayout { path: path.to_owned(), found }),
    }
    Ok(transaction.commit()?)
}

fn next_number(connection: &Connection, thread: &ThreadId) -> Result<u32, StoreError> {
    let highest: Option<u32> = connection
        .prepare_cached("SELECT MAX(number) FROM checkpoints WHERE thread = ?1")?
        .query_row(params![thread.as_str()], |row| row.get(0))?;
    match highest.unwrap_or_default().checked_add(1) {
        // Six digits name a checkpoint.
        Some(number) if number <= 999_999 => Ok(number),
        Some(_) | None => Err(StoreError::Full(thread.clone())),
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok())
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
