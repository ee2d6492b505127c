//! How the bridge does: alarms that it finds by itself, the live status, the metrics.

use alloy::primitives::U256;
use tokio::time::Instant;

use super::BridgeError;
use super::alarms::Alarm;
use super::circuit::CircuitState;
use super::engine::{ANNOUNCED_FACTOR, Bridge};
use super::live::{EndpointStatus, HeadStatus, Snapshot};
use super::metrics;
use super::sync::ChainUpdate;
use crate::schema::Timestamp;

/// Bytes that channel and state directory must have room for.
const ROOM_BYTES_MIN: u64 = 1024 * 1024;
const WEI_PER_GWEI: u64 = 1_000_000_000;
/// Where the journal keeps the balance: wei, Unix milliseconds, whole lives it pays for.
pub const BALANCE_KEY: &str = "balance";
/// Where the journal keeps why the bridge ended by itself: Unix milliseconds, the alarm's name or
/// `-`, the error.
pub const ENDED_KEY: &str = "ended";
/// How long a balance that has not changed stands without a new note of it.
const BALANCE_NOTE_INTERVAL_MS: i64 = 60_000;

impl Bridge {
    pub(super) fn poll_interval(&self) -> std::time::Duration {
        let interval = std::time::Duration::from_millis(self.config.chain.poll_interval_ms);
        if self.client.is_subscribed() { interval * ANNOUNCED_FACTOR } else { interval }
    }

    /// Looks whether the channel can be written to, and whether channel and journal have room.
    pub(super) fn measure_room(&self) {
        let mut room = Vec::new();
        match self.inbox.room() {
            Err(error) => return self.alarms.raise(Alarm::ChannelNotWritable, error.to_string()),
            Ok(bytes) => room.push(("channel", bytes)),
        }
        match fs2::available_space(&self.state_dir) {
            Err(error) => tracing::warn!(target: "guardrail::bridge", %error, "the journal's room cannot be measured"),
            Ok(bytes) => room.push(("journal", bytes)),
        }
        match room.iter().find(|(_, bytes)| *bytes < ROOM_BYTES_MIN) {
            Some((whose, _)) => {
                self.alarms.raise(Alarm::DiskFull, format!("the {whose}'s file system has less than 1 MiB of room"));
            }
            None if self.may_try() => {
                self.alarms.clear(Alarm::ChannelNotWritable);
                self.alarms.clear(Alarm::DiskFull);
            }
            None => {}
        }
    }

    /// Compares the clock with a block that has just come.
    pub(super) fn check_clock(&self, update: &ChainUpdate) {
        let skew_s = self.config.requests.clock_skew_s;
        let now_s = u64::try_from(Timestamp::now().unix_s()).unwrap_or_default();
        let time_s = update.head.time_s;
        // A block is behind only if it was mined just now: one that holds our transaction was.
        let behind = update.mined.iter().any(|mined| mined.block == update.head.number);
        if time_s > now_s.saturating_add(skew_s) {
            let what = format!("a new block is more than {skew_s} s ahead of this clock: block {}", update.head.number);
            self.alarms.raise(Alarm::ClockSkew, what);
        } else if behind && now_s > time_s.saturating_add(skew_s) {
            let what = format!("a new block is more than {skew_s} s behind this clock: block {}", update.head.number);
            self.alarms.raise(Alarm::ClockSkew, what);
        } else {
            self.alarms.clear(Alarm::ClockSkew);
        }
    }

    pub(super) fn observe_balance(&mut self, update: &ChainUpdate) {
        let Some(balance) = update.balance else { return };
        let lowest = U256::from(self.config.fees.low_balance_gwei).saturating_mul(U256::from(WEI_PER_GWEI));
        let lives = balance / U256::from(self.planner.submitter.life_cost_wei());
        let lives = u64::try_from(lives).unwrap_or(u64::MAX);
        if balance < lowest {
            let gwei = balance / U256::from(WEI_PER_GWEI);
            let account = self.requester();
            let what = format!("{account} has {gwei} gwei, the alarm is at {} gwei", self.config.fees.low_balance_gwei);
            self.alarms.raise(Alarm::LowBalance, what);
        } else {
            self.alarms.clear(Alarm::LowBalance);
        }
        metrics::balance_wei(balance);
        metrics::requests_paid_for(lives);
        let now_ms = Timestamp::now().unix_ms();
        if self
            .chain
            .noted_balance
            .is_some_and(|(known, at_ms)| known == balance && now_ms.saturating_sub(at_ms) < BALANCE_NOTE_INTERVAL_MS)
        {
            return;
        }
        self.chain.noted_balance = Some((balance, now_ms));
        let text = format!("{balance} {now_ms} {lives}");
        if let Err(error) = self.journal.atomically(|writes| writes.set_meta(BALANCE_KEY, &text)) {
            tracing::warn!(target: "guardrail::bridge", %error, "the balance is not noted");
        }
    }

    /// Tells how things stand: in the live file, to whoever watches, in the metrics.
    pub(super) fn show_now(&mut self) -> Result<(), BridgeError> {
        let reads = self.journal.read();
        let in_flight = reads.in_flight()?;
        for (state, count) in reads.counts()? {
            metrics::requests(state, count);
        }
        metrics::in_flight(in_flight);
        metrics::nonce_next(reads.highest_nonce()?.map_or(0, |nonce| nonce + 1));
        let health = self.client.health();
        let down: Vec<String> = health
            .iter()
            .filter(|endpoint| endpoint.state != CircuitState::Closed)
            .map(|endpoint| format!("{}: {}", endpoint.url, endpoint.last_error.as_deref().unwrap_or_default()))
            .collect();
        if down.is_empty() {
            self.alarms.clear(Alarm::EndpointDown);
        } else {
            self.alarms.raise(Alarm::EndpointDown, down.join("; "));
        }
        let endpoints: Vec<EndpointStatus> = health
            .into_iter()
            .map(|e| EndpointStatus { url: e.url, state: e.state, failures: e.failures, last_error: e.last_error })
            .collect();
        for endpoint in &endpoints {
            match endpoint.state {
                CircuitState::Closed => metrics::endpoint_up(&endpoint.url),
                CircuitState::HalfOpen | CircuitState::Open => metrics::endpoint_down(&endpoint.url),
            }
        }
        let snapshot = Snapshot {
            at: Timestamp::now(),
            alarms: self.alarms.active(),
            endpoints,
            head: self.chain.head.map(|head| HeadStatus { number: head.number, hash: head.hash, time_s: head.time_s }),
            in_flight: in_flight as u64,
            draining: self.draining,
            ..self.snapshot.borrow().clone()
        };
        self.snapshot.send_replace(snapshot.clone());
        self.live.write(&snapshot)?;
        Ok(())
    }

    /// Notes why the bridge ends by itself, for `guardrail bridge status`.
    pub(super) fn note_end(&mut self, error: &BridgeError) {
        let alarm = error.alarm().map_or("-", Alarm::as_str);
        let text = format!("{} {alarm} {error}", Timestamp::now().unix_ms());
        if let Err(error) = self.journal.atomically(|writes| writes.set_meta(ENDED_KEY, &text)) {
            tracing::warn!(target: "guardrail::bridge", %error, "the end is not noted");
        }
        if let Err(error) = self.show_now() {
            tracing::warn!(target: "guardrail::bridge", %error, "the live status cannot be written");
        }
    }

    /// Sends what is open again, once a resubmit interval, whatever became of it.
    pub(super) fn rebroadcast(&mut self) -> Result<(), BridgeError> {
        if Instant::now() >= self.chain.rebroadcast_at { self.send_open() } else { Ok(()) }
    }
}
