//! What of the journal is ready to be sent, and what to do where the contract would not have it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::BridgeError;
use super::answers::refusal_key;
use super::engine::{ANSWERS_PER_TURN_MAX, Bridge};
use super::journal::{HeldVote, ItemKind, JournalRequest};
use super::plan::{self, ITEMS_PER_BATCH_MAX, REQUESTS_PER_BATCH_MAX, Work};
use crate::contract;
use crate::schema::{LifecycleEvent, Outcome, RequestState, Sha256Digest};

/// How long what the contract would revert is left alone.
const STALL: Duration = Duration::from_secs(2);

impl Bridge {
    /// The next transaction, most urgent kind first.
    pub(super) fn next_work(&mut self) -> Result<Option<Work>, BridgeError> {
        let consumes = self.ready_consumes()?;
        if let Some(work) = plan::consume_work(self.share(&consumes, |(request, _)| request, ITEMS_PER_BATCH_MAX))? {
            return Ok(Some(work));
        }
        let decisions = self.ready_decisions()?;
        if let Some(work) = plan::decide_work(self.share(&decisions, |(request, _)| request, ITEMS_PER_BATCH_MAX))? {
            return Ok(Some(work));
        }
        let records = self.ready_records()?;
        if let Some(work) = plan::record_work(self.share(&records, |(request, ..)| request, ITEMS_PER_BATCH_MAX))? {
            return Ok(Some(work));
        }
        let mut received = self.journal.requests_to_send(RequestState::Received, REQUESTS_PER_BATCH_MAX)?;
        received.retain(|request| !self.stalled.contains_key(&request.authorization_id));
        for request in &mut received {
            self.renew_epoch(request)?;
        }
        plan::request_work(self.share(&received, |request| request, REQUESTS_PER_BATCH_MAX))
    }

    /// What of the ready items goes into the next transaction: all that fit, or the first by
    /// itself where it cannot share one.
    fn share<'a, T>(&self, ready: &'a [T], request: impl Fn(&T) -> &JournalRequest, most: usize) -> &'a [T] {
        let single = ready.iter().position(|item| self.alone.contains(&request(item).authorization_id));
        match single {
            Some(0) => &ready[..1],
            Some(first) => &ready[..first.min(most)],
            None => &ready[..ready.len().min(most)],
        }
    }

    fn ready_consumes(&self) -> Result<Vec<(JournalRequest, Sha256Digest)>, BridgeError> {
        let waiting = self.journal.consumes_waiting(ANSWERS_PER_TURN_MAX)?;
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let mut ready: BTreeMap<_, JournalRequest> = BTreeMap::new();
        for request in self.journal.requests_to_send(RequestState::Approved, ANSWERS_PER_TURN_MAX)? {
            if !self.stalled.contains_key(&request.authorization_id) {
                ready.insert(request.request.request_id.clone(), request);
            }
        }
        // Of two claims on one authorization the first goes out; the other is answered by its event.
        Ok(waiting.into_iter().filter_map(|(id, claim)| ready.remove(&id).map(|request| (request, claim))).collect())
    }

    fn ready_records(&self) -> Result<Vec<(JournalRequest, Outcome, Sha256Digest)>, BridgeError> {
        let waiting = self.journal.outcomes_waiting(ANSWERS_PER_TURN_MAX)?;
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let mut ready: BTreeMap<_, JournalRequest> = BTreeMap::new();
        for request in self.journal.requests_to_send(RequestState::Consumed, ANSWERS_PER_TURN_MAX)? {
            if !self.stalled.contains_key(&request.authorization_id) {
                ready.insert(request.request.request_id.clone(), request);
            }
        }
        let records = waiting.into_iter();
        Ok(records.filter_map(|(id, outcome, hash)| ready.remove(&id).map(|r| (r, outcome, hash))).collect())
    }

    /// Requests whose held votes settle them now. One with a contract's vote comes alone: a
    /// contract judges its own signature only in a call of its own.
    fn ready_decisions(&mut self) -> Result<Vec<(JournalRequest, Vec<HeldVote>)>, BridgeError> {
        let mut decisions = Vec::new();
        for id in self.journal.ids_with_held_votes(ANSWERS_PER_TURN_MAX)? {
            if self.stalled.contains_key(&id) {
                continue;
            }
            let Some(request) = self.journal.request_by_authorization(id)? else { continue };
            let (counted, held) = (self.journal.chain_votes(id)?, self.journal.held_votes(id)?);
            let Some(votes) = plan::settling_votes(&request, &self.epoch, &counted, &held) else { continue };
            if votes.iter().any(|vote| self.contract_approvers.contains(&vote.approver)) {
                self.alone.insert(id);
            }
            decisions.push((request, votes));
        }
        Ok(decisions)
    }

    /// A request that waited while the approvers changed is requested under the epoch in force.
    fn renew_epoch(&mut self, request: &mut JournalRequest) -> Result<(), BridgeError> {
        if request.epoch == self.epoch.epoch {
            return Ok(());
        }
        let (old, epoch) = (request.authorization_id, self.epoch.epoch);
        let renewed =
            crate::crypto::hash::chain_request(&request.request, request.requester, request.expires_at_s, epoch)?;
        let new = crate::crypto::authorization_id(&renewed);
        self.journal.atomically(|writes| writes.set_epoch(old, new, epoch))?;
        request.authorization_id = new;
        request.epoch = epoch;
        Ok(())
    }

    /// The contract would revert. What cannot get better is refused, what may is left alone for a while.
    pub(super) async fn give_up(&mut self, work: &Work, reason: &str) -> Result<(), BridgeError> {
        tracing::warn!(target: "guardrail::bridge", kind = work.kind.as_str(), items = work.items.len(), reason, "the contract would revert");
        if work.items.len() > 1 {
            self.alone.extend(&work.items);
            return Ok(());
        }
        if reason.contains("ContractPaused") || reason.contains("StaleEpoch") {
            self.epoch = contract::read_epoch(&self.provider, self.identity.contract).await?;
            self.stall(work);
            return Ok(());
        }
        match work.kind {
            ItemKind::Request => {
                for id in &work.items {
                    let Some(request) = self.journal.request_by_authorization(*id)? else { continue };
                    let next = request.state.next(LifecycleEvent::Refused)?;
                    self.journal.atomically(|writes| {
                        writes.set_meta(&refusal_key(*id), &format!("{}: {reason}", crate::schema::Rule::Chain))?;
                        writes.set_state(*id, next)
                    })?;
                }
            }
            ItemKind::Decide => {
                for id in &work.items {
                    self.journal.atomically(|writes| writes.close_votes(*id, "refused"))?;
                }
            }
            // Expiry, a denial or another claim came first; their events answer it.
            ItemKind::Consume | ItemKind::Record | ItemKind::Nothing => self.stall(work),
        }
        Ok(())
    }

    fn stall(&mut self, work: &Work) {
        let until = Instant::now() + STALL;
        self.stalled.extend(work.items.iter().map(|id| (*id, until)));
    }
}
