//! One step: what came is journalled in one transaction, and what follows from it is done.
//!
//! In the transaction: what was read of the chain is applied, files are taken, answers are
//! written, transactions are planned and signed. After it is durable: transactions go out,
//! files move, responses become visible. A crash in between is taken up at the next start.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::BridgeError;
use super::alarms::Alarm;
use super::answers::{Answers, Need, Unwritten, refusal_key};
use super::changes;
use super::engine::{Bridge, PAST_MAX, Progress};
use super::intake::{self, Rules, Taken};
use super::journal::{ItemKind, JournalRequest, StoredResponse, Writes};
use super::metrics::{self, TransactionOutcome};
use super::planner::Planner;
use super::rpc::SendOutcome;
use super::sender::{Outgoing, Sent};
use super::submitter::{Planned, Unstuck};
use super::sync::{ChainUpdate, HINTS_MAX, Hint};
use crate::channel::{Claimed, Incoming, ResponseKind};
use crate::crash;
use crate::crypto::abi::ChainStatus;
use crate::schema::{AuthRequest, AuthorizationId, LifecycleEvent, Refusal, RequestId, RequestState, Rule, Timestamp};

/// Transactions on the way at one time.
pub const IN_FLIGHT_MAX: usize = 16;
/// Answers written or published in one step.
const ANSWERS_MAX: usize = 256;
/// Consecutive looks that must find a nonce used by somebody else before that is believed.
const MISSING_LOOKS: u32 = 3;
/// How long nothing new goes out after a node certainly rejected a transaction.
const REJECTED_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Seconds past an expiry after which an idle chain is made to mine a block that shows it: soon
/// where blocks are mined on demand, late where they come by themselves.
const IDLE_DEV_S: i64 = 2;
const IDLE_S: i64 = 60;

/// What a step's transaction came to, to be done once it is durable.
#[derive(Default)]
struct Outcome {
    files: Vec<Filed>,
    planned: Vec<Planned>,
    moved: Vec<(AuthorizationId, RequestId, RequestState)>,
    needs: BTreeSet<Need>,
    answered: usize,
    /// Some of what is planned takes the place of what is stuck, or fills a gap below it.
    replaced: bool,
}

/// Which side of its being durable a transaction is on.
#[derive(Clone, Copy)]
enum Moment {
    Before,
    After,
}

/// A claimed file that a step takes.
struct File {
    claimed: Claimed,
    /// It was claimed before this start, or before something failed.
    again: bool,
}

/// What becomes of a claimed file after the transaction that took it.
enum Filed {
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

    /// Hands what is journalled to the sending task.
    fn send_planned(&mut self, planned: &[Planned]) -> Result<(), BridgeError> {
        if planned.is_empty() {
            return Ok(());
        }
        let alone = planned.len() == 1 && self.journal.read().in_flight()? <= 1 + self.chain.hints.len();
        self.chain.awaited += usize::from(alone);
        for Planned { attempt, kind, items } in planned {
            self.sender.send(Outgoing {
                nonce: attempt.nonce,
                tx_hash: attempt.tx_hash,
                raw: attempt.raw.clone(),
                kind: *kind,
                alone,
            });
            tracing::info!(target: "guardrail::bridge", nonce = attempt.nonce, kind = kind.as_str(), items, tx = %attempt.tx_hash, "sending");
        }
        Ok(())
    }

    /// Sends the newest bytes of every unmined nonce, lowest first: they may never have left.
    pub(super) fn send_open(&mut self) -> Result<(), BridgeError> {
        for open in self.journal.read().open_nonces()? {
            if let Some(last) = open.attempts.last() {
                tracing::info!(target: "guardrail::bridge", nonce = open.nonce, tx = %last.tx_hash, "sending again");
                let (nonce, tx_hash, raw, kind) = (open.nonce, last.tx_hash, last.raw.clone(), open.kind);
                self.sender.send(Outgoing { nonce, tx_hash, raw, kind, alone: false });
            }
        }
        let interval = std::time::Duration::from_secs(self.config.chain.resubmit_interval_s);
        self.chain.rebroadcast_at = Instant::now() + interval;
        Ok(())
    }

    pub(super) fn take_sent(&mut self, sent: Sent) -> Result<(), BridgeError> {
        let now = Instant::now();
        self.chain.awaited = self.chain.awaited.saturating_sub(usize::from(sent.alone));
        match sent.outcome {
            SendOutcome::Accepted if sent.receipt.is_some() => {}
            SendOutcome::Accepted => self.chain.sync_at = self.chain.sync_at.min(now + super::engine::SOON),
            SendOutcome::PossiblySent(answer) => {
                tracing::warn!(target: "guardrail::bridge", nonce = sent.nonce, answer, "possibly sent");
                self.chain.sync_at = self.chain.sync_at.min(now + super::engine::SOON);
            }
            SendOutcome::CertainlyRejected(reason) => self.rejected(sent.nonce, sent.kind, &reason)?,
        }
        let hint = sent.receipt.and_then(|receipt| Hint::of(sent.nonce, sent.kind, receipt));
        if let Some(hint) = hint {
            crash::point("receipt.before");
            if hint.kind == ItemKind::Request && hint.succeeded() {
                self.see_requested(sent.nonce)?;
            }
            // Requests wait for nothing but votes, and those do not wait for a confirmation.
            let rests = hint.kind == ItemKind::Request && self.chain.hints.len() < HINTS_MAX;
            self.chain.hints_at = Some(if rests { now + super::engine::REST } else { now });
            self.chain.hints.push(hint);
            crash::point("receipt.after");
        }
        Ok(())
    }

    fn see_requested(&mut self, nonce: u64) -> Result<(), BridgeError> {
        let ids = self.journal.read().items(nonce)?;
        if self.is_observed() {
            for id in &ids {
                if let Some(request) = self.journal.read().request_by_authorization(*id)? {
                    self.tell(|| Progress::OnChain(request.request_id, RequestState::Pending));
                }
            }
        }
        // Where an event needs more blocks than its own, votes wait for those too.
        if self.config.chain.confirmations <= 1 {
            self.planner.see_requested(&ids);
        }
        Ok(())
    }

    /// A node looked at a transaction and will not have it. Only the highest nonce is freed; a
    /// lower one keeps its place, and what would never be mined there becomes an empty transfer.
    fn rejected(&mut self, nonce: u64, kind: ItemKind, reason: &str) -> Result<(), BridgeError> {
        tracing::error!(target: "guardrail::bridge", nonce, reason, account = %self.requester(), "the endpoint rejects our transaction; nothing is dropped");
        if reason.to_lowercase().contains("insufficient funds") {
            self.alarms.raise(Alarm::LowBalance, reason);
        }
        if reason.to_lowercase().contains("oversized data") {
            self.planner.submitter.keep_small();
        }
        self.chain.hold_until = Some(Instant::now() + REJECTED_PAUSE);
        self.chain.balance_at = Instant::now();
        let planner = &mut self.planner;
        let replaced = self.journal.atomically(|writes| {
            let open = writes.open_nonces()?;
            let Some(rejected) = open.iter().find(|open| open.nonce == nonce) else { return Ok(None) };
            // An earlier attempt may still be somewhere.
            if rejected.attempts.len() > 1 {
                return Ok(None);
            }
            planner.look_again(writes.held_among(nonce)?);
            if writes.highest_nonce()? == Some(nonce) {
                writes.free_nonce(nonce)?;
                return Ok(None);
            }
            if reason.to_lowercase().contains("insufficient funds") || rejected.kind == ItemKind::Nothing {
                return Ok(None);
            }
            planner.suspect(&writes.items(nonce)?);
            planner.submitter.give_nonce_away(writes, rejected)
        })?;
        metrics::transaction(kind, TransactionOutcome::Rejected);
        self.send_planned(replaced.as_slice())
    }

    /// Moves files as the journal now says; gives those that can be forgotten.
    fn file(&mut self, files: &[File], filed: Vec<Filed>) -> Result<Vec<Incoming>, BridgeError> {
        let mut done = Vec::new();
        for (File { claimed, .. }, filed) in files.iter().zip(filed) {
            match filed {
                Filed::Journalled(id) => {
                    tracing::info!(target: "guardrail::bridge", request = %id, file = claimed.incoming.file_name(), "journalled");
                    match claimed.incoming {
                        Incoming::Slot { .. } => {
                            self.inbox.rename_slot_claim(claimed, &id)?;
                        }
                        // The journal has it, and a denial by the same approver would have the same name.
                        Incoming::Vote { .. } => done.push(claimed.incoming.clone()),
                        Incoming::Request(_) => {
                            metrics::request_journalled();
                            self.tell(|| Progress::Journalled(id));
                        }
                        Incoming::Consume { .. } | Incoming::Outcome(_) => {}
                    }
                }
                Filed::Forget(incoming) => done.push(incoming),
                Filed::Rename(id) => {
                    self.inbox.rename_slot_claim(claimed, &id)?;
                }
                Filed::Quarantine(refusal) => {
                    metrics::refused(refusal.rule);
                    self.inbox.channel().quarantine(&claimed.path, &refusal)?;
                    self.files.trim = true;
                }
                Filed::Keep => {}
            }
        }
        if std::mem::take(&mut self.files.trim)
            && let Err(error) = self.inbox.channel().trim_quarantine()
        {
            tracing::error!(target: "guardrail::bridge", %error, "the quarantine cannot be kept short");
        }
        Ok(done)
    }

    /// Forgets claimed files whose work is done.
    fn finish(&self, done: &[Incoming]) -> Result<(), BridgeError> {
        if !done.is_empty() {
            crash::point("finish.before");
            self.inbox.finish_all(done)?;
            crash::point("finish.after");
        }
        Ok(())
    }

    /// Publishes journalled responses, and forgets the files whose work is done by that.
    fn publish(&mut self) -> Result<(), BridgeError> {
        let waiting = self.journal.read().unpublished(ANSWERS_MAX)?;
        let mut published = Vec::new();
        let mut held = false;
        let mut trouble = None;
        for response in waiting.iter() {
            let kind = kind_of(&response.name, &response.request_id);
            let visible = if response.slot {
                self.inbox.publish_slot_response(&response.bytes)
            } else {
                self.inbox.publish_response(&response.request_id, kind, &response.bytes).map(|()| true)
            };
            match visible {
                Ok(true) => published.push((response, kind)),
                // Whoever holds the slot's lock holds up the slot alone.
                Ok(false) => held = true,
                Err(error) => {
                    trouble = Some(BridgeError::from(error));
                    break;
                }
            }
        }
        self.files.unpublished = held || trouble.is_some() || waiting.len() == ANSWERS_MAX;
        if !published.is_empty() {
            crash::point("publish.after");
            crash::point("journal.published.before");
            self.journal.atomically(|writes| {
                published.iter().try_for_each(|(response, _)| writes.set_published(&response.name, true))
            })?;
            crash::point("journal.published.after");
            let mut done = Vec::with_capacity(published.len());
            for (response, kind) in published {
                tracing::info!(target: "guardrail::bridge", request = %response.request_id, response = response.name, "published");
                metrics::response_published(kind);
                self.tell(|| Progress::Published(response.name.clone()));
                done.push(finished_by(&response.request_id, kind));
            }
            self.finish(&done)?;
        }
        trouble.map_or(Ok(()), Err)
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

/// Applies what was read of the chain.
fn apply(
    writes: &Writes<'_>,
    planner: &mut Planner,
    chain: &mut super::engine::ChainSide,
    alarms: &super::alarms::Alarms,
    update: ChainUpdate,
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    if let Some(ancestor) = update.rewind {
        tracing::warn!(target: "guardrail::bridge", block = ancestor.number, "the chain rolled back to this block");
        changes::rewind(writes, ancestor.number)?;
        planner.recover(writes)?;
    }
    let applied = changes::apply(writes, &update.logs)?;
    planner.look_again(applied.voted.iter().copied());
    planner.send_alone(applied.skipped.iter().copied());
    for mined in &update.mined {
        crash::point("receipt.before");
        writes.set_mined(mined.nonce, mined.tx_hash, mined.block)?;
        planner.look_again(writes.held_among(mined.nonce)?);
        let kind = writes.kind_of(mined.nonce)?.unwrap_or(ItemKind::Nothing);
        if mined.succeeded {
            metrics::transaction(kind, TransactionOutcome::Mined);
        } else {
            tracing::warn!(target: "guardrail::bridge", nonce = mined.nonce, tx = %mined.tx_hash, "the transaction reverted");
            metrics::transaction(kind, TransactionOutcome::Reverted);
            planner.suspect(&writes.items(mined.nonce)?);
        }
        crash::point("receipt.after");
    }
    lose_nonces(writes, planner, chain, alarms, &update)?;
    if let Some((epoch, contracts)) = update.epoch {
        planner.change_epoch(writes, epoch, contracts)?;
    }
    expire(writes, &update.statuses, outcome)?;
    if writes.blocks(1)?.first() != Some(&update.cursor) {
        writes.advance_cursor(update.cursor)?;
    }
    outcome.moved.extend(applied.moved);
    Ok(())
}

/// Nonces that somebody else used: believed when it is seen again and again.
fn lose_nonces(
    writes: &Writes<'_>,
    planner: &mut Planner,
    chain: &mut super::engine::ChainSide,
    alarms: &super::alarms::Alarms,
    update: &ChainUpdate,
) -> Result<(), BridgeError> {
    chain.missing.retain(|nonce, _| update.missing.contains(nonce));
    for nonce in &update.missing {
        let looks = chain.missing.entry(*nonce).or_insert(0);
        *looks += 1;
        if *looks >= MISSING_LOOKS {
            let what = format!("nonce {nonce} was used by a transaction that this journal does not hold");
            alarms.raise(Alarm::NonceConflict, what);
            planner.look_again(writes.held_among(*nonce)?);
            let kind = writes.kind_of(*nonce)?.unwrap_or(ItemKind::Nothing);
            writes.set_lost(*nonce)?;
            metrics::transaction(kind, TransactionOutcome::Displaced);
            if let Some(used) = update.used {
                planner.submitter.raise_floor(used);
            }
        }
    }
    Ok(())
}

/// Requests whose time has passed: a confirmed block shows them unsettled.
fn expire(
    writes: &Writes<'_>,
    statuses: &[(AuthorizationId, ChainStatus)],
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    for (id, status) in statuses.iter().take(PAST_MAX) {
        let Some(request) = writes.request_by_authorization(*id)? else { continue };
        let event = match (request.state, status) {
            (RequestState::Pending | RequestState::Approved, ChainStatus::Expired) => LifecycleEvent::ExpiryPassed,
            // It never got there, and a transaction that still does will revert.
            (RequestState::Received, ChainStatus::None) => LifecycleEvent::Refused,
            _ => continue,
        };
        let next = request.state.next(event)?;
        tracing::info!(target: "guardrail::bridge", %id, state = %next, "time has passed");
        if event == LifecycleEvent::Refused {
            writes.set_meta(&refusal_key(*id), "it could not be recorded on chain before it expired")?;
        }
        writes.set_state(*id, next)?;
        outcome.moved.push((*id, request.request_id, next));
    }
    Ok(())
}

fn take_files(
    writes: &Writes<'_>,
    planner: &mut Planner,
    answers: &Answers,
    config: &super::BridgeConfig,
    files: &[File],
    outcome: &mut Outcome,
) -> Result<(), BridgeError> {
    for File { claimed, again } in files {
        let taken = {
            let rules = Rules {
                config,
                domain: answers.domain(),
                requester: planner.submitter.account(),
                epoch: &planner.epoch,
                contract_approvers: &planner.contract_approvers,
                now: Timestamp::now(),
            };
            intake::take(writes, &rules, claimed)?
        };
        let filed = match taken {
            Taken::Journalled(id) => {
                if let Incoming::Vote { id, .. } = claimed.incoming {
                    planner.look_again([id]);
                }
                Filed::Journalled(id)
            }
            // After a restart a claimed file that the journal knows is no replay but work in hand.
            Taken::Known { republish } if *again => known_again(writes, claimed, republish)?,
            Taken::Known { republish } => {
                if let Some(name) = republish {
                    writes.set_published(&name, false)?;
                    outcome.answered += 1;
                }
                Filed::Quarantine(Refusal::new(Rule::Replay, "it was seen before"))
            }
            Taken::Refused { refusal, answer } => {
                if let Some(answer) = answer {
                    writes.insert_response(&answers.refusal(&answer, &refusal)?)?;
                    outcome.answered += 1;
                }
                Filed::Quarantine(refusal)
            }
        };
        outcome.files.push(filed);
    }
    Ok(())
}

/// A claimed file from before the start: kept while there is work for it, forgotten when the
/// crash came just before that.
fn known_again(writes: &Writes<'_>, claimed: &Claimed, republish: Option<String>) -> Result<Filed, BridgeError> {
    let over = match republish {
        Some(name) => writes.response(&name)?.is_some(),
        None => true,
    };
    if over {
        return Ok(Filed::Forget(claimed.incoming.clone()));
    }
    if let (Incoming::Slot { .. }, Ok(bytes)) = (&claimed.incoming, &claimed.content) {
        return Ok(Filed::Rename(AuthRequest::parse(bytes)?.request_id.clone()));
    }
    Ok(Filed::Keep)
}

/// Writes what can be answered; what lacks something of the chain says what.
fn write_answers(writes: &Writes<'_>, answers: &Answers, outcome: &mut Outcome) -> Result<(), BridgeError> {
    let mut keep = |written: Result<StoredResponse, Unwritten>| match written {
        Ok(response) => {
            writes.insert_response(&response)?;
            outcome.answered += 1;
            Ok(true)
        }
        Err(Unwritten::Needs(need)) => {
            outcome.needs.insert(need);
            Ok(false)
        }
        Err(Unwritten::Failed(error)) => Err(error),
    };
    for request in writes.unanswered(ANSWERS_MAX)? {
        if keep(answers.decision(writes, &request))? {
            writes.set_answered(request.authorization_id, true)?;
        }
    }
    for (request_id, claim) in writes.consumes_waiting(ANSWERS_MAX)? {
        let Some(request) = writes.request(&request_id)? else { continue };
        if has_consumption_answer(&request) && keep(answers.consumption(writes, &request, claim))? {
            writes.close_consume(&request_id, claim)?;
        }
    }
    for (request_id, ..) in writes.outcomes_waiting(ANSWERS_MAX)? {
        let Some(request) = writes.request(&request_id)? else { continue };
        if request.state == RequestState::Recorded && keep(answers.record(writes, &request))? {
            writes.close_outcome(&request_id)?;
        }
    }
    Ok(())
}

fn has_consumption_answer(request: &JournalRequest) -> bool {
    request.state == RequestState::Consumed || !request.state.is_open()
}

fn kind_of(name: &str, id: &RequestId) -> ResponseKind {
    if name == ResponseKind::Recorded.file_name(id) {
        return ResponseKind::Recorded;
    }
    let claim = name
        .strip_suffix(".consumed.json")
        .and_then(|stem| stem.split_once('.'))
        .and_then(|(_, claim)| claim.parse().ok());
    claim.map_or(ResponseKind::Decision, ResponseKind::Consumed)
}

/// The file whose work is done once a response is published.
fn finished_by(id: &RequestId, kind: ResponseKind) -> Incoming {
    match kind {
        ResponseKind::Decision => Incoming::Request(id.clone()),
        ResponseKind::Consumed(claim) => Incoming::Consume { request_id: id.clone(), claim },
        ResponseKind::Recorded => Incoming::Outcome(id.clone()),
    }
}
