//! What goes out and what is said of it: transactions handed to the sender, receipts that come back,
//! transactions that no node will have.

use tokio::time::Instant;

use super::BridgeError;
use super::alarms::Alarm;
use super::engine::{Bridge, Progress};
use super::journal::ItemKind;
use super::metrics::{self, TransactionOutcome};
use super::rpc::SendOutcome;
use super::sender::{Outgoing, Sent};
use super::submitter::Planned;
use super::sync::{HINTS_MAX, Hint};
use crate::crash;
use crate::schema::RequestState;

/// How long nothing new goes out after a node certainly rejected a transaction.
const REJECTED_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

impl Bridge {
    /// Hands what is journalled to the sending task.
    pub(super) fn send_planned(&mut self, planned: &[Planned]) -> Result<(), BridgeError> {
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
}
