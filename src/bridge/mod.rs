//! The bridge: takes requests and votes from the channel, records them on a chain, answers with evidence.
//!
//! [`journal`] is the memory that comes before every send; [`intake`] lets files in;
//! [`plan`] decides what to send; [`submitter`] owns nonces and sends; [`fees`] is the fee
//! rule; [`sync`] reads the chain's events; [`answers`] writes responses; [`engine`] is the
//! loop that runs them; [`identity`] is the chain that all of it is about. What an operator
//! sees of it: [`alarms`], [`live`], [`metrics`].

pub mod alarms;
pub mod answers;
mod applying;
pub mod changes;
pub mod circuit;
pub mod config;
pub mod endpoints;
pub mod engine;
pub mod fees;
mod filing;
pub mod gas;
mod health;
pub mod identity;
pub mod intake;
pub mod journal;
pub mod live;
pub mod metrics;
pub mod plan;
pub mod planner;
pub mod rpc;
pub mod sender;
mod sending;
mod sides;
mod start;
mod step;
pub mod submitter;
pub mod sync;

pub use config::BridgeConfig;
pub use endpoints::ChainClient;
pub use engine::{Bridge, BridgeKeys, Progress, StopReason, Until};
pub use health::{BALANCE_KEY, ENDED_KEY};
pub use identity::ChainIdentity;
pub use journal::Journal;
pub use sync::ContractPlace;

use self::alarms::Alarm;
use crate::channel::ChannelError;
use crate::contract::ContractError;
use crate::crypto::key::KeyError;
use crate::evidence::EndpointError;
use crate::schema::{IllegalEvent, Refusal};

/// What stops the bridge, or makes it wait and try again: see [`BridgeError::is_transient`].
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("the journal failed: {0}")]
    Journal(#[from] rusqlite::Error),
    #[error("the journal holds what it must not: {0}")]
    Corrupt(String),
    #[error("the journal is of version {found}, this program knows version {known}; use the version that wrote it")]
    JournalVersion { found: i64, known: i64 },
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("the endpoint failed: {0}")]
    Rpc(#[from] alloy::transports::RpcError<alloy::transports::TransportErrorKind>),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    #[error("the chain is another one than before: {0}")]
    Identity(String),
    /// The chain changed while it was read; what was read is dropped.
    #[error("the chain moved on while it was read")]
    Moved,
    /// The last block that journal and chain share is further back than was looked.
    #[error("the chain rolled back further than was looked")]
    Deeper,
    #[error("endpoint {url} has block {number} as {other}, the deciding one has {ours}; waiting until they agree")]
    Disagree { number: u64, ours: alloy::primitives::B256, url: live::ShownUrl, other: alloy::primitives::B256 },
    #[error(transparent)]
    Live(#[from] live::LiveError),
    #[error("{0}")]
    Setup(String),
    #[error("another bridge on this host sends for {account} on this chain: {path} is locked")]
    AccountBusy { account: alloy::primitives::Address, path: std::path::PathBuf },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl BridgeError {
    /// Whether the trouble may pass by itself, so that the bridge waits and goes on.
    pub fn is_transient(&self) -> bool {
        match self {
            BridgeError::Rpc(_)
            | BridgeError::Endpoint(_)
            | BridgeError::Moved
            | BridgeError::Deeper
            | BridgeError::Disagree { .. } => true,
            BridgeError::Contract(error) => match error {
                ContractError::Rpc(_) => true,
                ContractError::NoCode(_)
                | ContractError::OtherCode { .. }
                | ContractError::Decode { .. }
                | ContractError::NoGenesis => false,
            },
            // A full disk or a channel that cannot be written is waited out: nothing is dropped.
            BridgeError::Channel(error) => match error {
                ChannelError::Io { .. } => true,
                ChannelError::Refused(_)
                | ChannelError::Different { .. }
                | ChannelError::BridgeRunning { .. }
                | ChannelError::Watch { .. } => false,
            },
            BridgeError::Journal(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::DiskFull
                        | rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::SystemIoFailure
                )
            ),
            BridgeError::Corrupt(_)
            | BridgeError::JournalVersion { .. }
            | BridgeError::Key(_)
            | BridgeError::Refused(_)
            | BridgeError::Illegal(_)
            | BridgeError::Identity(_)
            | BridgeError::Setup(_)
            | BridgeError::Live(_)
            | BridgeError::AccountBusy { .. }
            | BridgeError::Io { .. } => false,
        }
    }

    /// The alarm that stands for this trouble.
    pub fn alarm(&self) -> Option<Alarm> {
        match self {
            BridgeError::Rpc(_) | BridgeError::Endpoint(_) | BridgeError::Contract(ContractError::Rpc(_)) => {
                Some(Alarm::EndpointDown)
            }
            BridgeError::Disagree { .. } => Some(Alarm::EndpointsDisagree),
            BridgeError::Identity(_) => Some(Alarm::ChainIdentity),
            BridgeError::Journal(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure) => Some(Alarm::DiskFull),
                _ => None,
            },
            BridgeError::Channel(ChannelError::Io { source, .. }) => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Some(Alarm::DiskFull),
                _ => Some(Alarm::ChannelNotWritable),
            },
            BridgeError::Contract(_)
            | BridgeError::Channel(_)
            | BridgeError::Corrupt(_)
            | BridgeError::JournalVersion { .. }
            | BridgeError::Key(_)
            | BridgeError::Refused(_)
            | BridgeError::Illegal(_)
            | BridgeError::Moved
            | BridgeError::Deeper
            | BridgeError::Live(_)
            | BridgeError::Setup(_)
            | BridgeError::AccountBusy { .. }
            | BridgeError::Io { .. } => None,
        }
    }
}
