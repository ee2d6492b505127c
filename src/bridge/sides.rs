//! What the loop knows beside the journal: of the chain, of the channel, and of trouble.

use std::time::Duration;

use alloy::primitives::U256;
use tokio::time::Instant;

use super::sync::{Head, Hint};

/// First and longest wait after trouble.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What the loop knows of the chain beside the journal.
#[derive(Debug)]
pub(super) struct ChainSide {
    pub head: Option<Head>,
    /// Nonces that the account has used at the newest block.
    pub used: Option<u64>,
    /// Receipts that came with sends and are not confirmed yet, and when they are looked at.
    pub hints: Vec<Hint>,
    pub hints_at: Option<Instant>,
    /// Transactions whose receipts may come with the answer to their sending.
    pub awaited: usize,
    pub sync_at: Instant,
    pub syncing: bool,
    /// The last common block is further back than a question looks at first.
    pub deep: bool,
    pub soon: Duration,
    pub balance_at: Instant,
    /// The balance that the journal holds, and when it was noted, in Unix milliseconds.
    pub noted_balance: Option<(U256, i64)>,
    pub rebroadcast_at: Instant,
    /// After a certain rejection, or with the ceiling reached, nothing new goes out before.
    pub hold_until: Option<Instant>,
    /// How often in a row a nonce was missing that the chain says is used.
    pub missing: std::collections::BTreeMap<u64, u32>,
    /// A step since the last activity found the chain where the journal is.
    pub current: bool,
}

impl ChainSide {
    /// When the chain is read next. Receipts that are there wait for those that are about to come.
    pub fn look_at(&self) -> Instant {
        self.hints_at.filter(|_| self.awaited == 0).map_or(self.sync_at, |at| at.min(self.sync_at))
    }
}

/// What the loop knows of the channel beside the journal.
#[derive(Debug)]
pub(super) struct FileSide {
    pub due: bool,
    pub scan_at: Instant,
    /// Files in `claimed/` may not have been taken: after a start, or when something failed.
    pub reread_claimed: bool,
    /// Responses may wait for their files.
    pub unpublished: bool,
    /// The last look found nothing to take.
    pub empty: bool,
    /// The bridge runs until the channel is drained.
    pub until_empty: bool,
    /// Something was refused, so the quarantine may be too long.
    pub trim: bool,
}

/// A growing pause after trouble.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    pub until: Option<Instant>,
}

impl Backoff {
    pub fn new() -> Self {
        Backoff { pause: BACKOFF_FIRST, until: None }
    }

    pub fn reset(&mut self) {
        *self = Backoff::new();
    }

    /// Begins the next pause, between a half and the whole of it, so that many bridges do not
    /// come back at once.
    pub fn grow(&mut self) -> Duration {
        let random = crate::crypto::random::bytes::<1>().map_or(128, |[byte]| u32::from(byte));
        let wait = self.pause / 2 + self.pause / 2 * random / 255;
        self.until = Some(Instant::now() + wait);
        self.pause = (self.pause * 2).min(BACKOFF_MAX);
        wait
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}
