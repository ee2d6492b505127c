//! The contract's acts, check by check as Authorization.sol has them.
//!
//! Each act that has a batch form checks, then acts: one that fails has changed nothing, so the
//! single form reverts with its error and the batch form reports the error's selector and goes on.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, LogData, U256, aliases::U40, keccak256};
use alloy::sol_types::{SolError, SolEvent};

use super::authorization::{APPROVERS_MAX, Authorization, CallContext, EPOCH, Effects, Entry, Revert, bit_of, id_of};
use crate::contract::IAuthorization::{Request, SignedVote};
use crate::contract::bindings::Authorization as binding;
use crate::crypto::{self, abi::ChainStatus};

// The limits of Authorization.sol.
const NAME_BYTES_MAX: usize = 64;
const NOTE_BYTES_MAX: usize = 512;
const LIFETIME_S_MAX: u64 = 30 * 24 * 60 * 60;
const RISK_BPS_MAX: u16 = 10_000;
const REQUESTS_PER_BATCH_MAX: usize = 400;
const ITEMS_PER_BATCH_MAX: usize = 32;
/// The highest outcome: 1 succeeded, 2 failed, 3 unknown.
const OUTCOME_MAX: u8 = 3;

type Checked<T> = Result<T, Revert>;

/// One call while it runs: reads the contract through what it has written itself.
pub(super) struct Acts<'a> {
    contract: &'a Authorization,
    context: CallContext,
    writes: BTreeMap<B256, Entry>,
    logs: Vec<LogData>,
}

impl<'a> Acts<'a> {
    pub fn new(contract: &'a Authorization, context: CallContext) -> Self {
        Acts { contract, context, writes: BTreeMap::new(), logs: Vec::new() }
    }

    pub fn into_effects(self) -> Effects {
        Effects { writes: self.writes, logs: self.logs, output: Default::default() }
    }

    pub fn request(&mut self, r: &Request, request_id: &str, tool_name: &str) -> Checked<()> {
        let (caller, now_s) = (self.context.caller, self.context.time_s);
        if caller != r.requester {
            return fail(binding::NotRequester { caller, requester: r.requester });
        }
        if !self.contract.bridges.iter().any(|bridge| bridge.requester == caller) {
            return fail(binding::UnknownRequester { requester: caller });
        }
        check_epoch(r)?;
        check_length(request_id.len(), 1, NAME_BYTES_MAX)?;
        check_length(tool_name.len(), 1, NAME_BYTES_MAX)?;
        let hash = keccak256(request_id);
        if hash != r.requestIdHash {
            return fail(binding::RequestIdMismatch { given: hash, expected: r.requestIdHash });
        }
        let hash = keccak256(tool_name);
        if hash != r.toolHash {
            return fail(binding::ToolNameMismatch { given: hash, expected: r.toolHash });
        }
        if r.riskBps > RISK_BPS_MAX {
            return fail(binding::RiskOutOfRange { riskBps: r.riskBps });
        }
        let expires_at_s = r.expiresAt.to::<u64>();
        let latest_s = now_s.saturating_add(LIFETIME_S_MAX);
        if expires_at_s <= now_s || expires_at_s > latest_s {
            return fail(binding::ExpiryOutOfRange {
                expiresAt: r.expiresAt,
                earliest: U256::from(now_s.saturating_add(1)),
                latest: U256::from(latest_s),
            });
        }
        let id = id_of(r);
        if self.entry(id).stored != ChainStatus::None {
            return fail(binding::AlreadyRequested { id });
        }
        let line = self.contract.line_for(r.riskBps);
        self.writes.insert(id, Entry { stored: ChainStatus::Pending, expires_at_s, line, votes: 0 });
        self.emit(&binding::AuthorizationRequested {
            id,
            requester: caller,
            actionHash: r.actionHash,
            requestHash: r.requestHash,
            requestId: request_id.to_owned(),
            toolName: tool_name.to_owned(),
            riskBps: r.riskBps,
            expiresAt: r.expiresAt,
            epoch: r.epoch,
        });
        Ok(())
    }

    pub fn request_batch(&mut self, r: &[Request], request_ids: &[String], tool_names: &[String]) -> Checked<()> {
        check_batch(r.len(), REQUESTS_PER_BATCH_MAX, &[request_ids.len(), tool_names.len()])?;
        for (index, ((r, request_id), tool_name)) in r.iter().zip(request_ids).zip(tool_names).enumerate() {
            let done = self.request(r, request_id, tool_name);
            self.or_skip(r, index, done);
        }
        Ok(())
    }

    pub fn decide(&mut self, r: &Request, votes: &[SignedVote]) -> Checked<()> {
        let id = id_of(r);
        if votes.is_empty() {
            return fail(binding::NoVotes { id });
        }
        if votes.len() > APPROVERS_MAX {
            return fail(too_many(votes.len(), APPROVERS_MAX));
        }
        match votes.iter().find(|vote| !vote.approve) {
            Some(denial) => self.decide_denied(r, id, denial),
            None => self.decide_approved(r, id, votes),
        }
    }

    pub fn decide_batch(&mut self, r: &[Request], votes: &[Vec<SignedVote>]) -> Checked<()> {
        check_batch(r.len(), ITEMS_PER_BATCH_MAX, &[votes.len()])?;
        for (index, (r, votes)) in r.iter().zip(votes).enumerate() {
            let done = self.decide(r, votes);
            self.or_skip(r, index, done);
        }
        Ok(())
    }

    pub fn vote(&mut self, r: &Request, approve: bool, note: &str) -> Checked<()> {
        let (id, caller) = (id_of(r), self.context.caller);
        let entry = self.entry(id);
        if approve {
            self.check_approvable(r, id, entry)?;
        } else {
            self.check_open(id, entry)?;
        }
        let bit = self.check_voter(r, id, caller, note)?;
        if !approve {
            self.deny(r, id, caller, note);
        } else if entry.votes & bit != 0 {
            self.emit(&binding::VoteSkipped { id, approver: caller });
        } else {
            self.emit(&binding::VoteCast { id, approver: caller, approve: true, note: note.to_owned() });
            let votes = entry.votes | bit;
            let settled_by = self.contract.meets(entry.line, votes).then_some(caller);
            self.store_approvals(r, id, Entry { votes, ..entry }, settled_by);
        }
        Ok(())
    }

    pub fn consume(&mut self, r: &Request, claim: B256) -> Checked<()> {
        self.check_requester(r)?;
        let id = id_of(r);
        if claim.is_zero() {
            return fail(binding::ZeroClaim { id });
        }
        let entry = self.entry(id);
        if entry.current(self.context.time_s) != ChainStatus::Approved {
            return Err(self.status_error(id, entry));
        }
        check_epoch(r)?;
        self.writes.insert(id, Entry { stored: ChainStatus::Consumed, ..entry });
        let executor = self.context.caller;
        self.emit(&binding::AuthorizationConsumed { id, actionHash: r.actionHash, executor, claim });
        Ok(())
    }

    pub fn consume_batch(&mut self, r: &[Request], claims: &[B256]) -> Checked<()> {
        check_batch(r.len(), ITEMS_PER_BATCH_MAX, &[claims.len()])?;
        for (index, (r, claim)) in r.iter().zip(claims).enumerate() {
            let done = self.consume(r, *claim);
            self.or_skip(r, index, done);
        }
        Ok(())
    }

    pub fn record(&mut self, r: &Request, outcome: u8, outcome_hash: B256) -> Checked<()> {
        self.check_requester(r)?;
        if outcome == 0 || outcome > OUTCOME_MAX {
            return fail(binding::OutcomeOutOfRange { outcome });
        }
        let id = id_of(r);
        let entry = self.entry(id);
        if entry.stored != ChainStatus::Consumed {
            return Err(self.status_error(id, entry));
        }
        self.writes.insert(id, Entry { stored: ChainStatus::Recorded, ..entry });
        self.emit(&binding::ExecutionRecorded { id, outcomeHash: outcome_hash, outcome });
        Ok(())
    }

    pub fn record_batch(&mut self, r: &[Request], outcomes: &[u8], hashes: &[B256]) -> Checked<()> {
        check_batch(r.len(), ITEMS_PER_BATCH_MAX, &[outcomes.len(), hashes.len()])?;
        for (index, ((r, outcome), hash)) in r.iter().zip(outcomes).zip(hashes).enumerate() {
            let done = self.record(r, *outcome, *hash);
            self.or_skip(r, index, done);
        }
        Ok(())
    }

    pub fn cancel(&mut self, r: &Request, reason: &str) -> Checked<()> {
        let by = self.context.caller;
        if by != r.requester && by != self.contract.admin {
            return fail(binding::NotRequesterOrAdmin { caller: by });
        }
        check_note(reason)?;
        let id = id_of(r);
        let entry = self.entry(id);
        self.check_open(id, entry)?;
        self.writes.insert(id, Entry { stored: ChainStatus::Cancelled, ..entry });
        self.emit(&binding::AuthorizationCancelled { id, actionHash: r.actionHash, by, reason: reason.to_owned() });
        Ok(())
    }

    fn decide_denied(&mut self, r: &Request, id: B256, denial: &SignedVote) -> Checked<()> {
        self.check_open(id, self.entry(id))?;
        self.check_signed(r, id, denial)?;
        self.deny(r, id, denial.approver, &denial.note);
        Ok(())
    }

    fn decide_approved(&mut self, r: &Request, id: B256, votes: &[SignedVote]) -> Checked<()> {
        let mut entry = self.entry(id);
        self.check_approvable(r, id, entry)?;
        let mut settled_by = None;
        // Nothing is written or said before the last vote is checked.
        let mut counted = Vec::with_capacity(votes.len());
        for vote in votes {
            let bit = self.check_signed(r, id, vote)?;
            let new = entry.votes & bit == 0;
            counted.push((vote, new));
            if new {
                entry.votes |= bit;
                if settled_by.is_none() && self.contract.meets(entry.line, entry.votes) {
                    settled_by = Some(vote.approver);
                }
            }
        }
        for (vote, new) in counted {
            let approver = vote.approver;
            if new {
                self.emit(&binding::VoteCast { id, approver, approve: true, note: vote.note.clone() });
            } else {
                self.emit(&binding::VoteSkipped { id, approver });
            }
        }
        self.store_approvals(r, id, entry, settled_by);
        Ok(())
    }

    fn deny(&mut self, r: &Request, id: B256, approver: Address, note: &str) {
        let entry = self.entry(id);
        self.writes.insert(id, Entry { stored: ChainStatus::Denied, ..entry });
        self.emit(&binding::VoteCast { id, approver, approve: false, note: note.to_owned() });
        self.emit(&binding::AuthorizationDenied { id, actionHash: r.actionHash, approver, reason: note.to_owned() });
    }

    fn store_approvals(&mut self, r: &Request, id: B256, entry: Entry, settled_by: Option<Address>) {
        let Some(approver) = settled_by else {
            self.writes.insert(id, entry);
            return;
        };
        self.writes.insert(id, Entry { stored: ChainStatus::Approved, ..entry });
        self.emit(&binding::AuthorizationApproved { id, actionHash: r.actionHash, approver });
    }

    fn check_requester(&self, r: &Request) -> Checked<()> {
        let caller = self.context.caller;
        if caller == r.requester { Ok(()) } else { fail(binding::NotRequester { caller, requester: r.requester }) }
    }

    fn check_open(&self, id: B256, entry: Entry) -> Checked<()> {
        if entry.current(self.context.time_s).is_open() { Ok(()) } else { Err(self.status_error(id, entry)) }
    }

    fn check_approvable(&self, r: &Request, id: B256, entry: Entry) -> Checked<()> {
        if entry.current(self.context.time_s) != ChainStatus::Pending {
            return Err(self.status_error(id, entry));
        }
        check_epoch(r)
    }

    /// Checks all of a vote but its signature, and answers with its approver's bit.
    fn check_voter(&self, r: &Request, id: B256, approver: Address, note: &str) -> Checked<u32> {
        if approver == r.requester {
            return fail(binding::RequesterCannotVote { id, requester: approver });
        }
        let Some(seat) = self.contract.approver(approver) else {
            return fail(binding::NotApprover { account: approver });
        };
        check_note(note)?;
        Ok(bit_of(seat))
    }

    fn check_signed(&self, r: &Request, id: B256, vote: &SignedVote) -> Checked<u32> {
        let bit = self.check_voter(r, id, vote.approver, &vote.note)?;
        let digest = self.contract.vote_digest(r, vote.approve, &vote.note);
        match crypto::recover(digest, &vote.signature) {
            Ok(signer) if signer == vote.approver => Ok(bit),
            // There is no other contract here, so no wallet to ask (ERC-1271).
            Ok(_) | Err(_) => fail(binding::InvalidSignature { id, approver: vote.approver }),
        }
    }

    /// Why a request cannot be acted on, given that its status is not the one the act needs.
    fn status_error(&self, id: B256, entry: Entry) -> Revert {
        match entry.current(self.context.time_s) {
            ChainStatus::None => Revert::of(binding::UnknownRequest { id }),
            ChainStatus::Expired => {
                Revert::of(binding::RequestExpired { id, expiresAt: U40::saturating_from(entry.expires_at_s) })
            }
            status @ (ChainStatus::Pending
            | ChainStatus::Approved
            | ChainStatus::Denied
            | ChainStatus::Consumed
            | ChainStatus::Recorded
            | ChainStatus::Cancelled) => Revert::of(binding::WrongStatus { id, status: status.code() }),
        }
    }

    fn entry(&self, id: B256) -> Entry {
        self.writes.get(&id).copied().unwrap_or_else(|| self.contract.entry(id, self.context.block))
    }

    fn emit(&mut self, event: &impl SolEvent) {
        self.logs.push(event.encode_log_data());
    }

    fn or_skip(&mut self, r: &Request, index: usize, done: Checked<()>) {
        if let Err(revert) = done {
            let reason = revert.selector().into();
            self.emit(&binding::BatchItemSkipped { id: id_of(r), index: U256::from(index), reason });
        }
    }
}

fn fail<T>(error: impl SolError) -> Checked<T> {
    Err(Revert::of(error))
}

fn too_many(given: usize, max: usize) -> binding::TooMany {
    binding::TooMany { given: U256::from(given), max: U256::from(max) }
}

fn check_epoch(r: &Request) -> Checked<()> {
    if r.epoch == EPOCH { Ok(()) } else { fail(binding::StaleEpoch { given: r.epoch, current: EPOCH }) }
}

fn check_length(length: usize, min: usize, max: usize) -> Checked<()> {
    if (min..=max).contains(&length) {
        return Ok(());
    }
    fail(binding::LengthOutOfRange { length: U256::from(length), min: U256::from(min), max: U256::from(max) })
}

fn check_batch(items: usize, max: usize, others: &[usize]) -> Checked<()> {
    if items > max {
        return fail(too_many(items, max));
    }
    match others.iter().find(|others| **others != items) {
        None => Ok(()),
        Some(others) => fail(binding::ArrayLengthMismatch { items: U256::from(items), others: U256::from(*others) }),
    }
}

/// Refuses control characters but a line feed: U+0000 to U+001F, and U+007F to U+009F, by the index of their last byte.
fn check_note(note: &str) -> Checked<()> {
    check_length(note.len(), 0, NOTE_BYTES_MAX)?;
    match note.char_indices().find(|(_, c)| c.is_control() && *c != '\n') {
        None => Ok(()),
        Some((start, c)) => fail(binding::ControlCharacter { index: U256::from(start + c.len_utf8() - 1) }),
    }
}
