//! One step: what came is journalled in one transaction, and what follows from it is done.
//!
//! In the transaction: what was read of the chain is applied, files are taken, answers are
//! written, transactions are planned and signed. After it is durable: transactions go out,
//! files move, responses become visible. A crash in between is taken up at the next start.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::BridgeError;
use super::alarms::Alarm;
use super::answers::{Answers, Need};
use super::applying::{apply, write_answers};
use super::engine::{Bridge, Progress};
use super::filing::take_files;
use super::journal::ItemKind;
use super::metrics;
use super::planner::Planner;
use super::submitter::{Planned, Unstuck};
use super::sync::ChainUpdate;
use crate::channel::{Claimed, Incoming};
use crate::crash;
use crate::schema::{AuthorizationId, Refusal, RequestId, RequestState, Timestamp};

/// Transactions on the way at one time.
pub const IN_FLIGHT_MAX: usize = 16;
/// Answers written or published in one step.
pub(super) const ANSWERS_MAX: usize = 256;
/// Seconds past an expiry after which an idle chain is made to mine a block that shows it: soon
/// where blocks are mined on demand, late where they come by themselves.
const IDLE_DEV_S: i64 = 2;
const IDLE_S: i64 = 60;

/// What a step's transaction came to, to be done once it is durable.
#[derive(Default)]
pub(super) struct Outcome {
    pub files: Vec<Filed>,
    pub planned: Vec<Planned>,
    pub moved: Vec<(AuthorizationId, RequestId, RequestState)>,
    pub needs: BTreeSet<Need>,
    pub answered: usize,
    /// Some of what is planned takes the place of what is stuck, or fills a gap below it.
    pub replaced: bool,
}

/// Which side of its being durable a transaction is on.
#[derive(Clone, Copy)]
enum Moment {
    Before,
    After,
}

/// A claimed file that a step takes.
pub(super) struct File {
    pub claimed: Claimed,
    /// It was claimed before this start, or before something failed.
    pub again: bool,
}

/// What becomes of a claimed file after the transaction that took it.
pub(super) enum Filed {
    Journalled(RequestId),
    Forget(Incoming),
    Rename(RequestId),
    Quarantine(Refusal),
    Keep,
}

impl Bridge {
    /// Does what can be done now.
    pub(super) async fn step(&mut self, update: Option<ChainUpdate>) -> Result<(), BridgeError> {
        let (files, trouble) = self.claim()?;
        let outcome = self.journal_step(update, &files)?;
        let progressed = !files.is_empty() || !outcome.planned.is_empty() || outcome.answered > 0;
        if progressed {
            self.chain.current = false;
        }
        self.send_planned(&outcome.planned)?;
        if !outcome.planned.is_empty() {
            // The sending task comes first: what is left to do here can wait, and may block.
            tokio::task::yield_now().await;
        }
        for (id, request_id, state) in outcome.moved {
            self.planner.forget(id);
            self.tell(|| Progress::OnChain(request_id, state));
        }
        self.needs.extend(outcome.needs);
        self.files.unpublished |= outcome.answered > 0;
        let done = self.file(&files, outcome.files)?;
        // An answer is visible before the file that asked for it is gone: its sender looks for either.
        if self.files.unpublished && self.may_try() {
            self.publish()?;
        }
        self.finish(&done)?;
        match trouble {
            Some(error) => Err(error),
            None => {
                if progressed {
                    self.backoff.reset();
                }
                Ok(())
            }
        }
    }

    /// Takes what was sent. Trouble with one file keeps no other out; `claimed/` is then read again.
    fn claim(&mut self) -> Result<(Vec<File>, Option<BridgeError>), BridgeError> {
        let now = Instant::now();
        if self.draining || !self.may_try() || !(self.files.due || now >= self.files.scan_at) {
            return Ok((Vec::new(), None));
        }
        let mut files = Vec::new();
        let mut failed = Vec::new();
        if self.files.reread_claimed {
            let known = self.journal.read().open_request_ids()?;
            let before = self.inbox.claimed_before(&known);
            self.files.reread_claimed = before.more;
            files.extend(before.claimed.into_iter().map(|claimed| File { claimed, again: true }));
            failed.extend(before.trouble);
        }
        let new = self.inbox.claim_new();
        files.extend(new.claimed.into_iter().map(|claimed| File { claimed, again: false }));
        failed.extend(new.trouble);
        self.files.trim |= new.seen > files.len();
        // Whoever waits for an empty channel looks again at once.
        self.files.due = new.more || (self.files.until_empty && new.seen > 0);
        self.files.empty = new.seen == 0;
        if now >= self.files.scan_at {
            self.files.scan_at = now + super::engine::RESCAN;
            self.measure_room();
        }
        let mut trouble = None;
        for error in failed.into_iter().map(BridgeError::from) {
            if !error.is_transient() {
                return Err(error);
            }
            tracing::error!(target: "guardrail::bridge", %error, "trouble with a file; it stays where it is");
            trouble.get_or_insert(error);
        }
        Ok((files, trouble))
    }

    fn journal_step(&mut self, update: Option<ChainUpdate>, files: &[File]) -> Result<Outcome, BridgeError> {
        if let Some(update) = &update {
            self.observe_chain(update);
        }
        let events = update.as_ref().is_some_and(|update| !update.logs.is_empty() || !update.mined.is_empty());
        let points = |outcome: &Outcome, moment: Moment| {
            let passed = [
                (!files.is_empty(), "journal.intake.before", "journal.intake.after"),
                (events, "journal.events.before", "journal.events.after"),
                (!outcome.planned.is_empty(), "journal.nonce.before", "journal.nonce.after"),
                (outcome.answered > 0, "journal.response.before", "journal.response.after"),
                (outcome.replaced, "journal.replacement.before", "journal.replacement.after"),
            ];
            for (_, before, after) in passed.into_iter().filter(|(passes, ..)| *passes) {
                crash::point(match moment {
                    Moment::Before => before,
                    Moment::After => after,
                });
            }
        };
        let used = self.chain.used;
        let may_send = !self.draining && self.chain.hold_until.is_none_or(|until| until <= Instant::now());
        let idle_block_due = self.idle_block_due();
        let Bridge { journal, planner, answers, config, chain, alarms, .. } = self;
        let (answers, planner): (&Answers, &mut Planner) = (answers, planner);
        let result = journal.atomically(|writes| {
            let mut outcome = Outcome::default();
            if let Some(update) = update {
                apply(writes, planner, chain, alarms, update, &mut outcome)?;
            }
            take_files(writes, planner, answers, config, files, &mut outcome)?;
            write_answers(writes, answers, &mut outcome)?;
            let in_flight = writes.in_flight()?;
            let unseen = in_flight.saturating_sub(chain.hints.len());
            if may_send && planner.submitter.above_ceiling().is_none() {
                outcome.planned = planner.plan(writes, IN_FLIGHT_MAX.saturating_sub(unseen))?;
                if in_flight == 0 && outcome.planned.is_empty() && idle_block_due {
                    outcome.planned.push(planner.submitter.plan_nothing(writes)?);
                }
            }
            let lowest = if in_flight == 0 { None } else { writes.open_attempts()?.into_iter().next() };
            if let (Some(used), Some(lowest)) = (used, lowest)
                && planner.submitter.is_stuck(lowest.signed_at_ms)
            {
                let open = writes.open_nonces()?;
                match planner.submitter.unstick(writes, &open, used)? {
                    Unstuck::Nothing => {}
                    Unstuck::Send(planned) => {
                        alarms.clear(Alarm::FeeCeiling);
                        outcome.replaced = !planned.is_empty();
                        planned.iter().filter(|p| p.kind != ItemKind::Nothing).for_each(|_| metrics::replacement());
                        outcome.planned.extend(planned);
                    }
                    Unstuck::AtCeiling(above) => alarms.raise(Alarm::FeeCeiling, above.to_string()),
                }
            }
            points(&outcome, Moment::Before);
            Ok(outcome)
        });
        match result {
            Ok(outcome) => {
                points(&outcome, Moment::After);
                Ok(outcome)
            }
            Err(error) => {
                // Nothing of it happened: the files lie in `claimed/`, the chain is read again.
                self.reread();
                self.planner.recover(&self.journal.read())?;
                Err(error)
            }
        }
    }

    fn observe_chain(&mut self, update: &ChainUpdate) {
        let now = Instant::now();
        if self.chain.head.is_none_or(|head| head.hash != update.head.hash) {
            self.check_clock(update);
        }
        let news = update.head != update.confirmed
            || self.chain.head.is_none_or(|head| head.hash != update.head.hash)
            || !update.mined.is_empty();
        self.chain.soon = if news { super::engine::SOON } else { (self.chain.soon * 2).min(self.poll_interval()) };
        self.chain.head = Some(update.head);
        self.chain.used = update.used.or(self.chain.used);
        self.chain.deep = false;
        let base = update.next_base_fee_wei.unwrap_or_default().max(update.head.base_fee_wei);
        self.planner.submitter.observe_block(base, update.head.gas_limit);
        match self.planner.submitter.above_ceiling() {
            Some(above) => self.alarms.raise(Alarm::FeeCeiling, above.to_string()),
            None if !update.watches => self.alarms.clear(Alarm::FeeCeiling),
            None => {}
        }
        for block in update.proofs.iter().cloned() {
            self.answers.keep(super::answers::Fetched::Block(Box::new(block)));
        }
        // What is not mined up to the cursor though its receipt said so is waited for like any other.
        self.chain.hints.retain(|hint| hint.block_number > update.cursor.number);
        if update.rewind.is_some() {
            self.chain.hints.clear();
            metrics::reorg();
        }
        metrics::head_number(update.head.number);
        metrics::confirmed_number(update.confirmed.number);
        self.chain.current = !update.more && update.cursor.number == update.confirmed.number;
        self.chain.sync_at = now
            + if update.more {
                std::time::Duration::ZERO
            } else if update.watches {
                self.chain.soon
            } else {
                self.poll_interval()
            };
        self.observe_balance(update);
    }

    /// On a chain that mines only what is sent, nothing would ever show that time has passed.
    fn idle_block_due(&self) -> bool {
        let idle_s = if self.identity.chain_id == crate::schema::anchors::DEV_CHAIN_ID { IDLE_DEV_S } else { IDLE_S };
        let overdue_s = u64::try_from(Timestamp::now().unix_s().saturating_sub(idle_s)).unwrap_or_default();
        let head_is_old = self.chain.head.is_some_and(|head| head.time_s < overdue_s);
        self.chain.current
            && head_is_old
            && self.journal.read().requests_past(overdue_s, 1).is_ok_and(|past| !past.is_empty())
    }

    /// Nothing is on its way, and all that is decided is answered.
    pub(super) fn is_finished(&self, in_flight: usize) -> Result<bool, BridgeError> {
        let reads = self.journal.read();
        Ok(in_flight == 0 && !self.files.unpublished && self.chain.current && reads.unanswered(1)?.is_empty())
    }

    /// Everything that was sent is taken, on chain and answered, as far as that goes by itself.
    pub(super) fn is_drained(&self) -> Result<bool, BridgeError> {
        let reads = self.journal.read();
        Ok(self.files.empty
            && !self.files.due
            && !self.files.reread_claimed
            && !self.probing
            && self.planner.is_settled()
            && self.planner.probes(&reads)?.is_empty()
            && reads.requests_free(RequestState::Received, 1)?.is_empty()
            && self.is_finished(reads.in_flight()?)?)
    }
}
