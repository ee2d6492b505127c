//! The loop: take files, plan and send, read the chain, answer; then wait for something to happen.
//!
//! The loop itself never waits for an endpoint. Every question runs as a task of its own and
//! comes back as a [`Done`]; what it found goes into the next [`Bridge::step`], which is one
//! transaction of the journal and what follows from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::BridgeError;
use super::alarms::{Alarm, Alarms};
use super::answers::{Answers, Fetched, Need};
use super::config::BridgeConfig;
use super::endpoints::ChainClient;
use super::identity::{AccountLock, ChainIdentity};
use super::journal::Journal;
use super::live::{LiveStatus, Snapshot};
use super::plan::Work;
use super::planner::Planner;
use super::rpc::revert_of;
use super::sender::{Sender, Sent};
use super::sides::{Backoff, ChainSide, FileSide};
use super::sync::{ChainReader, ChainUpdate, Question, Watched};
use crate::channel::Inbox;
use crate::crypto::SigningKey;
use crate::schema::{RequestId, RequestState, Timestamp};

/// How long requests come to rest before their receipts are confirmed, together: until then
/// nothing waits for that, and it would be in the way of the next one.
pub(super) const REST: Duration = Duration::from_millis(3);
/// First wait for a transaction on its way; it doubles up to the poll interval.
pub(super) const SOON: Duration = Duration::from_millis(2);
/// How soon an answer is tried again whose slot a client holds.
const SLOT_RETRY: Duration = Duration::from_millis(50);
/// How long the directories go unread when no event comes, and how often room is measured.
pub(super) const RESCAN: Duration = Duration::from_secs(2);
/// How often the balance is asked.
const BALANCE_INTERVAL: Duration = Duration::from_secs(5);
/// How much longer a bridge whose blocks are announced waits until it looks by itself.
pub(super) const ANNOUNCED_FACTOR: u32 = 10;
/// Blocks of the journal that one question carries to find the last common one: at first the
/// newest few, where a rollback is deeper all that are kept.
const BLOCKS_NEAR: usize = 8;
const BLOCKS_ASKED: usize = 4_096;
/// How often the live status is written where nothing else asks for it.
const SHOW_INTERVAL: Duration = Duration::from_millis(500);
/// Requests whose expiry one question asks about.
pub(super) const PAST_MAX: usize = 128;

/// The bridge's two keys.
pub struct BridgeKeys {
    /// Sends transactions and pays for them.
    pub requester: SigningKey,
    /// Signs responses.
    pub signer: SigningKey,
}

/// Until when a bridge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is told to stop.
    Stopped,
    /// The channel is drained: everything in it is taken, sent, confirmed and answered as far as
    /// that goes without further votes.
    Drained,
}

/// Why the bridge came to an orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Told to, with nothing left on its way.
    Finished,
    /// Told to; what is on its way is journalled and goes on at the next start.
    Deadline {
        in_flight: usize,
    },
    Drained,
}

/// What happens, for whoever watches from the same process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What was open before the start is taken up.
    Ready,
    /// The watcher woke the loop.
    Woken,
    Journalled(RequestId),
    /// The chain has it, by a receipt or by a confirmed event; the same may be told twice.
    OnChain(RequestId, RequestState),
    /// A response file is visible.
    Published(String),
}

/// What a task brought back.
pub(super) enum Done {
    Sent(Sent),
    Synced(Box<Result<ChainUpdate, BridgeError>>),
    Fetched(Need, Box<Result<Fetched, BridgeError>>),
    Probed(Work, Probe),
}

/// What an estimate said of an item.
pub(super) enum Probe {
    Gas(u64),
    Reverts(String),
    Failed(BridgeError),
}

pub struct Bridge {
    pub(super) config: BridgeConfig,
    pub(super) inbox: Inbox,
    pub(super) journal: Journal,
    pub(super) client: ChainClient,
    pub(super) identity: ChainIdentity,
    pub(super) reader: ChainReader,
    pub(super) planner: Planner,
    pub(super) answers: Answers,
    pub(super) alarms: Alarms,
    pub(super) sender: Sender,
    pub(super) chain: ChainSide,
    pub(super) files: FileSide,
    pub(super) needs: BTreeSet<Need>,
    pub(super) asked: BTreeSet<Need>,
    pub(super) probing: bool,
    pub(super) draining: bool,
    pub(super) recovered: bool,
    pub(super) shown_at: Instant,
    pub(super) backoff: Backoff,
    pub(super) live: LiveStatus,
    pub(super) state_dir: PathBuf,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) told: mpsc::UnboundedSender<Done>,
    pub(super) done: mpsc::UnboundedReceiver<Done>,
    pub(super) observers: Vec<mpsc::UnboundedSender<(std::time::Instant, Progress)>>,
    pub(super) _account: AccountLock,
}

impl Bridge {
    pub fn identity(&self) -> &ChainIdentity {
        &self.identity
    }

    pub fn requester(&self) -> Address {
        self.planner.submitter.account()
    }

    /// What needs a person, for whoever shows it.
    pub fn alarms(&self) -> Alarms {
        self.alarms.clone()
    }

    /// What the bridge says of itself, as it changes.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// Hears of everything that happens from now on, with the moment it happened.
    pub fn observe(&mut self) -> mpsc::UnboundedReceiver<(std::time::Instant, Progress)> {
        let (observer, events) = mpsc::unbounded_channel();
        self.observers.push(observer);
        events
    }

    pub(super) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    pub(super) fn tell(&mut self, progress: impl FnOnce() -> Progress) {
        if !self.observers.is_empty() {
            let event = (std::time::Instant::now(), progress());
            self.observers.retain(|observer| observer.send(event.clone()).is_ok());
        }
    }

    /// Takes up what was open before the start: transactions that may never have left are sent
    /// again, and what was claimed and not finished is taken.
    ///
    /// # Errors
    /// [`BridgeError`] that waiting does not cure.
    pub async fn recover(&mut self) -> Result<(), BridgeError> {
        self.send_open()?;
        while self.files.reread_claimed {
            if let Err(error) = self.step(None).await {
                self.trouble(error)?;
                tokio::time::sleep_until(self.backoff.until.unwrap_or_else(Instant::now)).await;
            }
        }
        let reads = self.journal.read();
        tracing::info!(target: "guardrail::bridge", unmined = reads.in_flight()?, open = reads.open_count()?, "recovered");
        self.recovered = true;
        self.tell(|| Progress::Ready);
        self.show_now()
    }

    /// Runs until the token is cancelled, or the channel is drained. Trouble that may pass is
    /// waited out.
    ///
    /// # Errors
    /// [`BridgeError`] that waiting does not cure; the journal notes it.
    pub async fn run(&mut self, until: Until, stop: &CancellationToken) -> Result<StopReason, BridgeError> {
        let ended = self.run_loop(until, stop).await;
        if let Err(error) = &ended {
            self.raise_for(error);
            self.note_end(error);
        }
        ended
    }

    async fn run_loop(&mut self, until: Until, stop: &CancellationToken) -> Result<StopReason, BridgeError> {
        // Watch first, then scan: what comes between is seen twice, never missed.
        let watch = self.inbox.watch()?;
        if !self.recovered {
            self.recover().await?;
        }
        self.files.until_empty = until == Until::Drained;
        let mut deadline = None;
        let mut update = None;
        loop {
            let began = Instant::now();
            let stepped = self.step(update.take()).await.and_then(|()| self.rebroadcast());
            if let Err(error) = stepped {
                self.trouble(error)?;
            }
            self.ask();
            self.show(began);
            if let Some(deadline) = deadline {
                let in_flight = self.journal.read().in_flight()?;
                if self.is_finished(in_flight)? {
                    return Ok(StopReason::Finished);
                }
                if Instant::now() >= deadline {
                    return Ok(StopReason::Deadline { in_flight });
                }
            } else if until == Until::Drained && self.is_drained()? {
                return Ok(StopReason::Drained);
            }
            let wake = self.next_wake(deadline);
            let mut came = None;
            tokio::select! {
                () = stop.cancelled(), if !self.draining => {
                    tracing::info!(target: "guardrail::bridge", "asked to stop; finishing what is on its way");
                    self.draining = true;
                    deadline = Some(Instant::now() + Duration::from_secs(self.config.shutdown.deadline_s));
                    self.chain.sync_at = Instant::now();
                }
                done = self.done.recv() => came = done,
                () = watch.changed(), if !self.draining => {
                    self.tell(|| Progress::Woken);
                    self.files.due = true;
                }
                () = self.client.new_head() => self.chain.sync_at = Instant::now(),
                () = tokio::time::sleep_until(wake) => {}
            }
            while let Some(done) = came.take().or_else(|| self.done.try_recv().ok()) {
                match self.take_done(done) {
                    Ok(None) => {}
                    Ok(found) => {
                        update = found;
                        break;
                    }
                    Err(error) => self.trouble(error)?,
                }
            }
        }
    }

    fn next_wake(&self, deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let mut wake = now + RESCAN;
        if self.files.due && !self.draining {
            wake = wake.min(self.backoff.until.unwrap_or(now));
        }
        if !self.chain.syncing {
            wake = wake.min(self.chain.look_at());
        }
        for at in [self.chain.hold_until, self.planner.next_retry(), deadline].into_iter().flatten() {
            wake = wake.min(at);
        }
        if self.files.unpublished {
            wake = wake.min(self.backoff.until.unwrap_or(now + SLOT_RETRY));
        }
        wake.max(now)
    }

    /// Trouble that may pass is told, and waited out; any other ends the loop.
    fn trouble(&mut self, error: BridgeError) -> Result<(), BridgeError> {
        self.raise_for(&error);
        if !error.is_transient() {
            return Err(error);
        }
        let retry_in_ms = self.backoff.grow().as_millis() as u64;
        tracing::error!(target: "guardrail::bridge", %error, retry_in_ms, "trouble; nothing is dropped");
        // What was not written is taken from where it lies again.
        self.reread();
        self.files.due = true;
        self.files.unpublished = true;
        self.chain.sync_at = self.backoff.until.unwrap_or_else(Instant::now);
        self.planner.recover(&self.journal.read())
    }

    /// What was claimed is looked at again, from the first file on.
    pub(super) fn reread(&mut self) {
        self.inbox.forget_backlog();
        self.files.reread_claimed = true;
    }

    pub(super) fn may_try(&self) -> bool {
        self.backoff.is_over(Instant::now())
    }

    fn raise_for(&self, error: &BridgeError) {
        if let Some(alarm) = error.alarm() {
            self.alarms.raise(alarm, error.to_string());
        }
    }

    /// Takes what a task brought; what was read of the chain goes into the next step.
    fn take_done(&mut self, done: Done) -> Result<Option<ChainUpdate>, BridgeError> {
        match done {
            Done::Sent(sent) => self.take_sent(sent)?,
            Done::Synced(result) => {
                self.chain.syncing = false;
                match *result {
                    Ok(update) => {
                        self.alarms.clear(Alarm::EndpointsDisagree);
                        return Ok(Some(update));
                    }
                    Err(error) => self.chain_trouble(error)?,
                }
            }
            Done::Fetched(need, result) => {
                self.asked.remove(&need);
                match *result {
                    Ok(fetched) => {
                        self.needs.remove(&need);
                        self.answers.keep(fetched);
                    }
                    // The block may be gone: whoever still needs it says so again.
                    Err(error) => {
                        self.needs.remove(&need);
                        self.chain_trouble(error)?;
                    }
                }
            }
            Done::Probed(work, probe) => {
                self.probing = false;
                match probe {
                    Probe::Gas(gas) => self.planner.clear(&work, gas),
                    Probe::Reverts(reason) => {
                        let planner = &mut self.planner;
                        self.journal.atomically(|writes| planner.give_up(writes, &work, &reason))?;
                    }
                    Probe::Failed(error) => self.chain_trouble(error)?,
                }
            }
        }
        Ok(None)
    }

    /// Trouble with the chain: files are taken and journalled meanwhile.
    fn chain_trouble(&mut self, error: BridgeError) -> Result<(), BridgeError> {
        self.raise_for(&error);
        if !error.is_transient() {
            return Err(error);
        }
        let wait = match error {
            BridgeError::Moved => SOON,
            BridgeError::Deeper => {
                self.chain.deep = true;
                Duration::ZERO
            }
            _ => self.backoff.grow(),
        };
        self.backoff.until = None;
        tracing::warn!(target: "guardrail::bridge", %error, retry_in_ms = wait.as_millis() as u64, "the chain cannot be read; nothing is dropped");
        self.chain.sync_at = Instant::now() + wait;
        Ok(())
    }

    /// Starts the questions that are due, each as a task.
    fn ask(&mut self) {
        let now = Instant::now();
        if !self.chain.syncing && self.chain.look_at() <= now {
            self.chain.hints_at = None;
            match self.question(now) {
                Ok(question) => {
                    self.chain.syncing = true;
                    let reader = self.reader.clone();
                    self.task(async move { Done::Synced(Box::new(reader.fetch(&question).await)) });
                }
                Err(error) => tracing::error!(target: "guardrail::bridge", %error, "the journal cannot be read"),
            }
        }
        for need in self.needs.difference(&self.asked).copied().collect::<Vec<_>>() {
            self.asked.insert(need);
            let client = self.client.clone();
            self.task(async move { Done::Fetched(need, Box::new(need.fetch(client.provider()).await)) });
        }
        if !self.probing
            && let Ok(mut probes) = self.planner.probes(&self.journal.read())
            && let Some(work) = probes.pop()
        {
            self.probing = true;
            let (client, from, to) = (self.client.clone(), self.requester(), self.identity.contract);
            self.task(async move {
                let request = TransactionRequest::default().from(from).to(to).input(work.calldata.clone().into());
                let probe = match client.provider().estimate_gas(request).await {
                    Ok(gas) => Probe::Gas(gas),
                    Err(error) => match revert_of(&error) {
                        Some(reason) => Probe::Reverts(reason),
                        None => Probe::Failed(error.into()),
                    },
                };
                Done::Probed(work, probe)
            });
        }
    }

    fn task(&self, question: impl Future<Output = Done> + Send + 'static) {
        let told = self.told.clone();
        tokio::spawn(
            async move {
                let done = question.await;
                // The loop is gone only when the process ends.
                let _ = told.send(done);
            }
            .in_current_span(),
        );
    }

    fn question(&mut self, now: Instant) -> Result<Question, BridgeError> {
        let reads = self.journal.read();
        let open = reads.open_attempts()?;
        let stuck = open.first().is_some_and(|last| {
            let waited_ms = Timestamp::now().unix_ms().saturating_sub(last.signed_at_ms);
            waited_ms.saturating_mul(2)
                > i64::try_from(self.config.chain.resubmit_interval_s * 1000).unwrap_or(i64::MAX)
        });
        let want_balance = now >= self.chain.balance_at;
        if want_balance {
            self.chain.balance_at = now + BALANCE_INTERVAL;
        }
        let now_s = u64::try_from(Timestamp::now().unix_s()).unwrap_or_default();
        let past = reads.requests_past(now_s.saturating_add(self.config.requests.clock_skew_s), PAST_MAX)?;
        Ok(Question {
            blocks: reads.blocks(if self.chain.deep { BLOCKS_ASKED } else { BLOCKS_NEAR })?,
            all_blocks: self.chain.deep,
            watched: open.into_iter().map(|open| Watched { nonce: open.nonce, attempts: open.tx_hashes }).collect(),
            hints: self.chain.hints.clone(),
            past: past.into_iter().map(|request| (request.authorization_id, request.expires_at_s)).collect(),
            identity: Some(self.identity.clone()),
            account: self.planner.submitter.account(),
            want_balance,
            want_fees: stuck || self.planner.submitter.above_ceiling().is_some(),
        })
    }

    /// Tells how things stand, now and then: in the live file, to whoever watches, in the metrics.
    fn show(&mut self, now: Instant) {
        let is_news = self.alarms.active() != self.snapshot.borrow().alarms;
        if now.duration_since(self.shown_at) < SHOW_INTERVAL && !is_news {
            return;
        }
        self.shown_at = now;
        self.client.try_again(&self.identity);
        if let Err(error) = self.show_now() {
            tracing::warn!(target: "guardrail::bridge", %error, "the live status cannot be written");
        }
    }
}
