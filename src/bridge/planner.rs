//! What of the journal is ready to be sent, and what to do where the contract would not have it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy::primitives::Address;
use tokio::time::Instant;

use super::BridgeError;
use super::answers::refusal_key;
use super::gas;
use super::journal::{HeldVote, ItemKind, JournalRequest, Reads, Writes};
use super::plan::{self, ITEMS_PER_BATCH_MAX, REQUESTS_PER_BATCH_MAX, Work};
use super::submitter::{Planned, Submitter};
use crate::crypto;
use crate::schema::anchors::EpochAnchors;
use crate::schema::{AuthorizationId, LifecycleEvent, Outcome, RequestState, Rule, Sha256Digest};

/// How long what the contract would revert is left alone.
const STALL: Duration = Duration::from_secs(2);
/// Items of one kind that are looked at for one step.
const READY_MAX: usize = 512;
/// Items that are estimated one by one at a time.
pub const PROBES_MAX: usize = 16;

/// Decides what is sent next.
pub struct Planner {
    pub submitter: Submitter,
    pub epoch: EpochAnchors,
    /// Approvers that are contracts: their signatures are theirs to judge, on chain.
    pub contract_approvers: BTreeSet<Address>,
    /// What was passed over in a batch goes in a transaction of its own, whose revert says why.
    alone: BTreeSet<AuthorizationId>,
    /// What the contract would revert for a reason that may pass, and when it is tried again.
    stalled: BTreeMap<AuthorizationId, Instant>,
    /// What reverted on chain: it is estimated before it is sent again, and this is its limit then.
    suspects: BTreeMap<AuthorizationId, Option<u64>>,
    /// Requests whose held votes may settle them now.
    dirty: BTreeSet<AuthorizationId>,
    /// Requests that a receipt says are on chain, before a confirmed block does: a decision sent now
    /// comes after them, whatever becomes of that block.
    seen: BTreeSet<AuthorizationId>,
}

impl Planner {
    pub fn new(submitter: Submitter, epoch: EpochAnchors, contract_approvers: BTreeSet<Address>) -> Self {
        Planner {
            submitter,
            epoch,
            contract_approvers,
            alone: BTreeSet::new(),
            stalled: BTreeMap::new(),
            suspects: BTreeMap::new(),
            dirty: BTreeSet::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Begins anew from what the journal holds: after a start, a rollback or a failed write.
    ///
    /// # Errors
    /// [`BridgeError::Journal`].
    pub fn recover(&mut self, reads: &Reads<'_>) -> Result<(), BridgeError> {
        self.dirty = reads.ids_with_held_votes()?.into_iter().collect();
        self.seen.clear();
        Ok(())
    }

    /// Other people decide now, so what could not be done may be possible.
    ///
    /// # Errors
    /// [`BridgeError::Journal`].
    pub fn change_epoch(
        &mut self,
        reads: &Reads<'_>,
        epoch: EpochAnchors,
        contracts: BTreeSet<Address>,
    ) -> Result<(), BridgeError> {
        self.epoch = epoch;
        self.contract_approvers = contracts;
        self.stalled.clear();
        self.suspects.clear();
        self.recover(reads)
    }

    /// A vote came, or what stood in its way is gone.
    pub fn look_again(&mut self, ids: impl IntoIterator<Item = AuthorizationId>) {
        self.dirty.extend(ids);
    }

    /// A receipt says that these requests are on chain.
    pub fn see_requested(&mut self, ids: &[AuthorizationId]) {
        self.seen.extend(ids);
        self.dirty.extend(ids);
    }

    /// The contract passed these over in a batch.
    pub fn send_alone(&mut self, ids: impl IntoIterator<Item = AuthorizationId>) {
        for id in ids {
            self.alone.insert(id);
            self.suspects.entry(id).or_insert(None);
            self.dirty.insert(id);
        }
    }

    /// When something that was left alone may be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        self.stalled.values().min().copied()
    }

    /// Plans what is ready, most urgent kind first, at most `room` transactions.
    ///
    /// # Errors
    /// [`BridgeError`] of the journal or the key; the transaction is then to be dropped.
    pub fn plan(&mut self, writes: &Writes<'_>, room: usize) -> Result<Vec<Planned>, BridgeError> {
        let now = Instant::now();
        let over: Vec<AuthorizationId> =
            self.stalled.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.stalled.remove(&id);
            self.dirty.insert(id);
        }
        let mut planned = Vec::new();
        while planned.len() < room {
            let Some(work) = self.next_work(writes)? else { break };
            planned.push(self.submitter.plan(writes, &work)?);
        }
        Ok(planned)
    }

    fn next_work(&mut self, writes: &Writes<'_>) -> Result<Option<Work>, BridgeError> {
        let consumes = self.ready_consumes(writes)?;
        if let Some(work) = self.fit(&consumes, |(request, _)| request, ITEMS_PER_BATCH_MAX, plan::consume_work) {
            return Ok(Some(work));
        }
        let decisions = self.ready_decisions(writes)?;
        let wallets = self.contract_approvers.clone();
        let decide = |decisions: &[_]| plan::decide_work(decisions, &wallets);
        if let Some(work) = self.fit(&decisions, |(request, _)| request, ITEMS_PER_BATCH_MAX, decide) {
            for (request, _) in &decisions {
                let id = request.authorization_id;
                if work.items.contains(&id) {
                    self.seen.remove(&id);
                } else {
                    // What is not taken along is looked at for the next transaction.
                    self.dirty.insert(id);
                }
            }
            return Ok(Some(work));
        }
        let records = self.ready_records(writes)?;
        if let Some(work) = self.fit(&records, |(request, ..)| request, ITEMS_PER_BATCH_MAX, plan::record_work) {
            return Ok(Some(work));
        }
        let limit = REQUESTS_PER_BATCH_MAX + self.stalled.len() + self.suspects.len();
        let mut received = writes.requests_free(RequestState::Received, limit)?;
        received.retain(|request| self.is_ready(request.authorization_id));
        for request in &mut received {
            self.renew_epoch(writes, request)?;
        }
        Ok(self.fit(&received, |request| request, REQUESTS_PER_BATCH_MAX, plan::request_work))
    }

    fn is_ready(&self, id: AuthorizationId) -> bool {
        !self.stalled.contains_key(&id) && self.suspects.get(&id).is_none_or(Option::is_some)
    }

    /// The next transaction of one kind: all that may share one and that a transaction's gas allows.
    fn fit<T>(
        &self,
        ready: &[T],
        request: impl Fn(&T) -> &JournalRequest,
        most: usize,
        work: impl Fn(&[T]) -> Option<Work>,
    ) -> Option<Work> {
        let mut count = self.share(ready, &request, most);
        loop {
            let mut found = work(&ready[..count])?;
            if let [id] = found.items.as_slice() {
                found.gas = self.suspects.get(id).copied().flatten();
                return Some(found);
            }
            let (expected, gas_max) = (gas::expected(found.load()), self.submitter.gas_max());
            let (bytes, bytes_max) = (found.calldata.len() as u64, self.submitter.calldata_bytes_max() as u64);
            if expected <= gas_max && bytes <= bytes_max {
                return Some(found);
            }
            let count_now = count as u64;
            let fitting =
                (count_now.saturating_mul(gas_max) / expected).min(count_now.saturating_mul(bytes_max) / bytes);
            count = usize::try_from(fitting).unwrap_or_default().clamp(1, count - 1);
        }
    }

    /// How many of the ready items go into the next transaction: all that fit, or the first by
    /// itself where it cannot share one.
    fn share<T>(&self, ready: &[T], request: impl Fn(&T) -> &JournalRequest, most: usize) -> usize {
        match ready.iter().position(|item| self.alone.contains(&request(item).authorization_id)) {
            Some(0) => 1,
            Some(first) => first.min(most),
            None => ready.len().min(most),
        }
    }

    fn ready_consumes(&self, reads: &Reads<'_>) -> Result<Vec<(JournalRequest, Sha256Digest)>, BridgeError> {
        let mut ready = Vec::new();
        let mut seen = BTreeSet::new();
        // Of two claims on one authorization the first goes out; the other is answered by its event.
        for (id, claim) in reads.consumes_waiting(READY_MAX)? {
            if let Some(request) = self.ready_in(reads, &id, RequestState::Approved)?
                && seen.insert(request.authorization_id)
            {
                ready.push((request, claim));
            }
        }
        Ok(ready)
    }

    fn ready_records(&self, reads: &Reads<'_>) -> Result<Vec<(JournalRequest, Outcome, Sha256Digest)>, BridgeError> {
        let mut ready = Vec::new();
        for (id, outcome, hash) in reads.outcomes_waiting(READY_MAX)? {
            if let Some(request) = self.ready_in(reads, &id, RequestState::Consumed)? {
                ready.push((request, outcome, hash));
            }
        }
        Ok(ready)
    }

    fn ready_in(
        &self,
        reads: &Reads<'_>,
        id: &crate::schema::RequestId,
        state: RequestState,
    ) -> Result<Option<JournalRequest>, BridgeError> {
        let Some(request) = reads.request(id)? else { return Ok(None) };
        let id = request.authorization_id;
        let ready = request.state == state && self.is_ready(id) && !reads.is_busy(id)?;
        Ok(ready.then_some(request))
    }

    /// Requests whose held votes settle them now. One with a contract's vote comes alone: a
    /// contract judges its own signature only in a call of its own.
    fn ready_decisions(&mut self, reads: &Reads<'_>) -> Result<Vec<(JournalRequest, Vec<HeldVote>)>, BridgeError> {
        let mut decisions = Vec::new();
        let mut looked_at = Vec::new();
        for id in &self.dirty {
            if decisions.len() >= ITEMS_PER_BATCH_MAX {
                break;
            }
            if !self.is_ready(*id) {
                continue;
            }
            looked_at.push(*id);
            let Some(request) = reads.request_by_authorization(*id)? else { continue };
            let votable = match request.state {
                RequestState::Pending | RequestState::Approved => !reads.is_busy(*id)?,
                RequestState::Received => self.seen.contains(id),
                RequestState::Denied
                | RequestState::Cancelled
                | RequestState::Expired
                | RequestState::Refused
                | RequestState::Consumed
                | RequestState::Recorded => false,
            };
            if !votable {
                continue;
            }
            let (counted, held) = (reads.chain_votes(*id)?, reads.held_votes(*id)?);
            let Some(votes) = plan::settling_votes(&request, &self.epoch, &counted, &held) else { continue };
            if votes.iter().any(|vote| self.contract_approvers.contains(&vote.approver)) {
                self.alone.insert(*id);
            }
            decisions.push((request, votes));
        }
        for id in &looked_at {
            self.dirty.remove(id);
        }
        Ok(decisions)
    }

    /// A request that waited while the approvers changed is requested under the epoch in force.
    fn renew_epoch(&self, writes: &Writes<'_>, request: &mut JournalRequest) -> Result<(), BridgeError> {
        if request.epoch == self.epoch.epoch {
            return Ok(());
        }
        let old = request.authorization_id;
        request.epoch = self.epoch.epoch;
        request.authorization_id = crypto::authorization_id(&request.chain_request());
        writes.set_epoch(old, request.authorization_id, request.epoch)
    }

    /// A transaction reverted on chain: each of its items is estimated before it goes out again.
    pub fn suspect(&mut self, items: &[AuthorizationId]) {
        self.send_alone(items.iter().copied());
    }

    /// The single items that are to be estimated, as the transactions they would be.
    ///
    /// # Errors
    /// [`BridgeError::Journal`].
    pub fn probes(&self, reads: &Reads<'_>) -> Result<Vec<Work>, BridgeError> {
        let mut probes = Vec::new();
        for id in self.suspects.iter().filter(|(_, gas)| gas.is_none()).map(|(id, _)| *id) {
            if probes.len() >= PROBES_MAX {
                break;
            }
            if !self.stalled.contains_key(&id)
                && let Some(request) = reads.request_by_authorization(id)?
                && !reads.is_busy(id)?
                && let Some(work) = self.probe(reads, request)?
            {
                probes.push(work);
            }
        }
        Ok(probes)
    }

    fn probe(&self, reads: &Reads<'_>, request: JournalRequest) -> Result<Option<Work>, BridgeError> {
        let request_id = request.request_id.clone();
        if matches!(request.state, RequestState::Pending | RequestState::Approved) {
            let id = request.authorization_id;
            let (counted, held) = (reads.chain_votes(id)?, reads.held_votes(id)?);
            if let Some(votes) = plan::settling_votes(&request, &self.epoch, &counted, &held) {
                return Ok(plan::decide_work(&[(request, votes)], &self.contract_approvers));
            }
        }
        match request.state {
            RequestState::Received => Ok(plan::request_work(&[request])),
            RequestState::Approved => {
                let waiting = reads.consumes_waiting(READY_MAX)?;
                let claim = waiting.into_iter().find(|(id, _)| *id == request_id).map(|(_, claim)| claim);
                Ok(claim.and_then(|claim| plan::consume_work(&[(request, claim)])))
            }
            RequestState::Consumed => {
                let waiting = reads.outcomes_waiting(READY_MAX)?;
                let told = waiting.into_iter().find(|(id, ..)| *id == request_id);
                Ok(told.and_then(|(_, outcome, hash)| plan::record_work(&[(request, outcome, hash)])))
            }
            RequestState::Pending
            | RequestState::Denied
            | RequestState::Cancelled
            | RequestState::Expired
            | RequestState::Refused
            | RequestState::Recorded => Ok(None),
        }
    }

    /// The contract would take the item now, with this much gas.
    pub fn clear(&mut self, work: &Work, gas: u64) {
        let limit = gas.saturating_add(gas / 4).min(self.submitter.gas_max());
        for id in &work.items {
            self.suspects.insert(*id, Some(limit));
            self.dirty.insert(*id);
        }
    }

    /// The contract would revert the item. What cannot get better is refused, what may is left
    /// alone for a while.
    ///
    /// # Errors
    /// [`BridgeError::Journal`].
    pub fn give_up(&mut self, writes: &Writes<'_>, work: &Work, reason: &str) -> Result<(), BridgeError> {
        tracing::warn!(target: "guardrail::bridge", kind = work.kind.as_str(), reason, "the contract would revert");
        // What the chain has already is told by its event; what is paused or of another epoch may pass.
        let may_pass = ["ContractPaused", "StaleEpoch", "AlreadyRequested"].iter().any(|error| reason.contains(error));
        for id in &work.items {
            let Some(request) = writes.request_by_authorization(*id)? else { continue };
            match work.kind {
                // The epoch changed while it was on its way: it goes out again, under the one in force.
                ItemKind::Request if reason.contains("StaleEpoch") => {
                    self.suspects.remove(id);
                    if request.epoch == self.epoch.epoch {
                        self.stalled.insert(*id, Instant::now() + STALL);
                    }
                }
                ItemKind::Request if !may_pass => {
                    let next = request.state.next(LifecycleEvent::Refused)?;
                    writes.set_meta(&refusal_key(*id), &format!("{}: {reason}", Rule::Chain))?;
                    writes.set_state(*id, next)?;
                    self.forget(*id);
                }
                ItemKind::Decide if !may_pass => {
                    writes.refuse_votes(*id)?;
                    self.forget(*id);
                }
                // Expiry, a denial or another claim came first; their events answer it.
                ItemKind::Request | ItemKind::Decide | ItemKind::Consume | ItemKind::Record | ItemKind::Nothing => {
                    self.stalled.insert(*id, Instant::now() + STALL);
                }
            }
        }
        Ok(())
    }

    /// A request moved on: what was noted about its last step no longer holds.
    pub fn forget(&mut self, id: AuthorizationId) {
        self.alone.remove(&id);
        self.seen.remove(&id);
        self.suspects.remove(&id);
        self.stalled.remove(&id);
    }

    /// Whether some of the work of a drained channel is only waiting for its time.
    pub fn is_settled(&self) -> bool {
        self.dirty.iter().all(|id| self.stalled.contains_key(id) || self.suspects.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::journal::Journal;
    use crate::bridge::submitter::SubmitterSettings;
    use crate::crypto::SigningKey;
    use crate::schema::anchors::DEV_CHAIN_ID;
    use crate::schema::{AuthorizationId, RiskScore};

    fn epoch(epoch: u64) -> EpochAnchors {
        EpochAnchors { epoch, approvers: Vec::new(), policy: Vec::new(), bridges: Vec::new() }
    }

    fn planner(requester: &SigningKey) -> Planner {
        let settings = SubmitterSettings {
            chain_id: DEV_CHAIN_ID,
            contract: Address::repeat_byte(1),
            ceiling_wei: u128::from(u64::MAX),
            tip_wei: 1,
            resubmit_interval_ms: 10_000,
        };
        Planner::new(Submitter::new(requester.clone(), settings), epoch(1), BTreeSet::new())
    }

    #[test]
    fn a_request_that_reverted_under_an_old_epoch_goes_out_under_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("journal.sqlite")).unwrap();
        let requester = SigningKey::dev(0).unwrap();
        let mut planner = planner(&requester);
        let mut request = JournalRequest {
            request_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            tool_name: "deploy_to_production".parse().unwrap(),
            action_hash: Sha256Digest::ZERO,
            request_hash: Sha256Digest::ZERO,
            risk_score: RiskScore::from_bps_capped(9_000),
            authorization_id: AuthorizationId::ZERO,
            requester: requester.address(),
            expires_at_s: 2_000_000_000,
            epoch: 1,
            state: RequestState::Received,
            slot: false,
        };
        request.authorization_id = crypto::authorization_id(&request.chain_request());
        let id = request.authorization_id;
        journal.atomically(|writes| writes.insert_request(&request, b"{}", 0)).unwrap();

        // The chain says so in this order: other people decide, and what was on its way has reverted.
        journal.atomically(|writes| planner.change_epoch(writes, epoch(2), BTreeSet::new())).unwrap();
        planner.suspect(&[id]);
        assert!(journal.atomically(|writes| planner.plan(writes, 1)).unwrap().is_empty(), "it is estimated first");
        let probes = planner.probes(&journal.read()).unwrap();
        let [probe] = probes.as_slice() else { panic!("{probes:?}") };
        journal.atomically(|writes| planner.give_up(writes, probe, "StaleEpoch(2)")).unwrap();

        let planned = journal.atomically(|writes| planner.plan(writes, 1)).unwrap();
        assert_eq!(planned.len(), 1, "{planned:?}");
        let sent = journal.read().request(&request.request_id).unwrap().unwrap();
        assert_eq!(sent.epoch, 2);
        assert_eq!(journal.read().items(planned[0].attempt.nonce).unwrap(), [sent.authorization_id]);
    }
}
