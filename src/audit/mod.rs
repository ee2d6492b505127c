//! The audit: what the contract recorded, joined with what this host can prove.
//!
//! [`fetch`] reads the contract's logs page by page into a [`store`] that outlives the process, so an
//! audit that is broken off goes on where it was. [`event`] decodes them, [`join`] holds them against the
//! local evidence and the pinned keys, [`export`] writes the rows for other programs. *Invariant.* Memory
//! does not grow with the number of events: whatever does is in SQLite, on disk.

pub mod event;
pub mod export;
pub mod fetch;
pub mod join;
pub mod store;

pub use event::{AuditEvent, AuditLog, EventKind};
pub use join::{Finding, FindingKind, Join, LocalProof, Stage, Summary};
pub use store::LogStore;

use crate::evidence::EndpointError;

/// Why an audit did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit's own database failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the database at {path} is of version {found}, this program knows {known}")]
    Version { path: String, found: i64, known: i64 },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("the log {log_index} of block {block} does not decode: {source}")]
    Decode {
        block: u64,
        log_index: u64,
        #[source]
        source: alloy::sol_types::Error,
    },
    #[error("the endpoint gave a log without its place in a block")]
    Unplaced,
    #[error("the endpoint does not give the logs of block {0} alone")]
    Page(u64),
    #[error("a stored log is damaged: {0}")]
    Damaged(&'static str),
    #[error("the logs are stored without number: {0} is beyond what the database holds")]
    Number(u64),
}
