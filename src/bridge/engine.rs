//! The loop: take files, read the chain, answer, send; then wait for something to happen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::{Provider, RootProvider};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::BridgeError;
use super::answers::{Answers, refusal_key};
use super::config::BridgeConfig;
use super::identity::{AccountLock, ChainIdentity};
use super::intake::{self, Rules, Taken};
use super::journal::Journal;
use super::plan::IN_FLIGHT_MAX;
use super::submitter::{Sent, Submitter, SubmitterConfig};
use super::sync::{ChainReader, ContractPlace, Synced};
use crate::channel::{Claimed, Inbox, Incoming, ResponseKind, Scan};
use crate::contract;
use crate::crypto::{SigningKey, abi::ChainStatus};
use crate::schema::anchors::EpochAnchors;
use crate::schema::{AuthorizationId, LifecycleEvent, RequestState, Timestamp};

/// One turn of the loop may ask the chain for this long.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon the chain is asked again while a transaction is on its way.
const IN_FLIGHT_POLL: Duration = Duration::from_millis(10);
/// First and longest wait after trouble.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Seconds past an expiry after which an idle chain is made to mine a block that shows it.
const IDLE_BLOCK_AFTER_S: i64 = 2;
/// Answers written in one turn.
pub(super) const ANSWERS_PER_TURN_MAX: usize = 512;

/// The bridge's two keys.
pub struct BridgeKeys {
    /// Sends transactions and pays for them.
    pub requester: SigningKey,
    /// Signs responses.
    pub signer: SigningKey,
}

/// Why the bridge came to an orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    Asked,
}

pub struct Bridge {
    pub(super) config: BridgeConfig,
    pub(super) inbox: Inbox,
    pub(super) journal: Journal,
    pub(super) provider: RootProvider,
    pub(super) identity: ChainIdentity,
    pub(super) epoch: EpochAnchors,
    pub(super) contract_approvers: BTreeSet<Address>,
    pub(super) reader: ChainReader,
    pub(super) submitter: Submitter,
    pub(super) answers: Answers,
    /// What was passed over in a batch goes in a transaction of its own, whose revert says why.
    pub(super) alone: BTreeSet<AuthorizationId>,
    /// What the contract would revert for a reason that may pass, and when it is tried again.
    pub(super) stalled: BTreeMap<AuthorizationId, Instant>,
    recovered: bool,
    /// Files in `claimed/` may not have been taken: after a start, or when something failed.
    reread_claimed: bool,
    _account: AccountLock,
}

impl Bridge {
    /// Checks that chain, journal, channel and keys belong together, and takes the locks.
    ///
    /// # Errors
    /// [`BridgeError`] with what does not fit.
    pub async fn start(
        config: BridgeConfig,
        keys: BridgeKeys,
        inbox: Inbox,
        journal_path: &Path,
        provider: RootProvider,
        place: ContractPlace,
    ) -> Result<Self, BridgeError> {
        let contract = place.contract;
        let identity = ChainIdentity::read(&provider, contract).await?;
        let requester = keys.requester.for_chain(identity.chain_id)?;
        let signer = keys.signer.for_chain(identity.chain_id)?;
        let account = AccountLock::take(identity.genesis_hash, requester.address())?;
        let mut journal = Journal::open(journal_path)?;
        identity.pin(&mut journal)?;
        let epoch = contract::read_epoch(&provider, contract).await?;
        let registered = epoch.bridges.iter().find(|bridge| bridge.requester == requester.address());
        match registered {
            Some(bridge) if bridge.signer == signer.address() => {}
            Some(bridge) => {
                return Err(BridgeError::Setup(format!(
                    "the contract names {} as the response signer of {}, the key given is {}",
                    bridge.signer,
                    requester.address(),
                    signer.address()
                )));
            }
            None => {
                return Err(BridgeError::Setup(format!(
                    "{} is no bridge of the contract {contract}; its administrator adds one with setBridge",
                    requester.address()
                )));
            }
        }
        let contract_approvers = contract_accounts(&provider, &epoch).await?;
        let submitter = Submitter::new(
            provider.clone(),
            requester,
            SubmitterConfig {
                chain_id: identity.chain_id,
                contract,
                ceiling_wei: config.fees.ceiling_wei(),
                tip_wei: u128::from(config.fees.priority_fee_wei),
                resubmit_interval_ms: i64::try_from(config.chain.resubmit_interval_s.saturating_mul(1000))
                    .unwrap_or(i64::MAX),
            },
        );
        Ok(Bridge {
            reader: ChainReader::new(provider.clone(), place, config.chain.confirmations),
            answers: Answers::new(provider.clone(), place.ledger, identity.chain_id, contract, signer),
            config,
            inbox,
            journal,
            provider,
            identity,
            epoch,
            contract_approvers,
            submitter,
            alone: BTreeSet::new(),
            stalled: BTreeMap::new(),
            recovered: false,
            reread_claimed: true,
            _account: account,
        })
    }

    pub fn identity(&self) -> &ChainIdentity {
        &self.identity
    }

    pub fn requester(&self) -> Address {
        self.submitter.account()
    }

    /// Runs until the token is cancelled. Trouble that may pass is waited out.
    ///
    /// # Errors
    /// [`BridgeError`] that waiting does not cure.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<StopReason, BridgeError> {
        // Watch first, then scan: what comes between is seen twice, never missed.
        let watch = self.inbox.watch()?;
        let mut backoff = BACKOFF_FIRST;
        loop {
            if stop.is_cancelled() {
                return Ok(StopReason::Asked);
            }
            let wait = match self.turn().await {
                Ok(Turn::Busy) => {
                    backoff = BACKOFF_FIRST;
                    continue;
                }
                Ok(Turn::InFlight) => {
                    backoff = BACKOFF_FIRST;
                    IN_FLIGHT_POLL
                }
                Ok(Turn::Idle) => {
                    backoff = BACKOFF_FIRST;
                    Duration::from_millis(self.config.chain.poll_interval_ms)
                }
                Err(error) if error.is_transient() => {
                    tracing::error!(target: "guardrail::bridge", %error, retry_in_ms = backoff.as_millis() as u64, "trouble; nothing is dropped");
                    let wait = jittered(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    wait
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = watch.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One turn: everything that can be done now.
    async fn turn(&mut self) -> Result<Turn, BridgeError> {
        if !self.recovered {
            self.recover().await?;
        }
        let (taken, trouble) = self.take_files()?;
        let published = self.publish()?;
        let chain = match tokio::time::timeout(TURN_TIMEOUT, self.chain_turn()).await {
            Ok(chain) => chain?,
            Err(_) => return Err(crate::evidence::EndpointError::Timeout.into()),
        };
        let published = published + self.publish()?;
        match trouble {
            // What went well is done; what did not is tried again after a pause.
            Some(error) => Err(error),
            None => Ok(if taken + published > 0 || chain == Turn::Busy { Turn::Busy } else { chain }),
        }
    }

    /// After a start: transactions that may never have left are sent again.
    async fn recover(&mut self) -> Result<(), BridgeError> {
        let open = self.submitter.resend(&self.journal).await?;
        tracing::info!(target: "guardrail::bridge", unmined = open, open = self.journal.open_count()?, "recovered");
        self.recovered = true;
        Ok(())
    }

    /// Takes what was sent. Trouble with one file keeps no other out; `claimed/` is then read again.
    fn take_files(&mut self) -> Result<(usize, Option<BridgeError>), BridgeError> {
        let mut trouble = None;
        if self.reread_claimed {
            let before = self.inbox.claimed_before();
            self.reread_claimed = false;
            self.take_scan(before, true, &mut trouble)?;
        }
        let new = self.inbox.claim_new();
        let (taken, seen) = (new.claimed.len(), new.seen);
        self.take_scan(new, false, &mut trouble)?;
        if seen > 0
            && let Err(error) = self.inbox.channel().trim_quarantine()
        {
            tracing::error!(target: "guardrail::bridge", %error, "the quarantine cannot be kept short");
        }
        Ok((taken, trouble))
    }

    fn take_scan(&mut self, scan: Scan, again: bool, trouble: &mut Option<BridgeError>) -> Result<(), BridgeError> {
        let mut failed: Vec<BridgeError> = scan.trouble.into_iter().map(BridgeError::from).collect();
        for file in &scan.claimed {
            if let Err(error) = self.take_file(file, again) {
                failed.push(error);
            }
        }
        for error in failed {
            if !error.is_transient() {
                return Err(error);
            }
            tracing::error!(target: "guardrail::bridge", %error, "trouble with a file; it stays where it is");
            self.reread_claimed = true;
            trouble.get_or_insert(error);
        }
        Ok(())
    }

    fn take_file(&mut self, claimed: &Claimed, again: bool) -> Result<(), BridgeError> {
        let rules = Rules {
            config: &self.config,
            domain: self.answers.domain(),
            requester: self.submitter.account(),
            epoch: &self.epoch,
            contract_approvers: &self.contract_approvers,
            now: Timestamp::now(),
        };
        match intake::take(&mut self.journal, &rules, claimed)? {
            Taken::Journalled(id) => {
                tracing::info!(target: "guardrail::bridge", request = %id, file = claimed.incoming.file_name(), "journalled");
                match claimed.incoming {
                    Incoming::Slot { .. } => {
                        self.inbox.rename_slot_claim(claimed, &id)?;
                    }
                    // The journal has it, and a denial by the same approver would have the same name.
                    Incoming::Vote { .. } => self.inbox.finish(&claimed.incoming)?,
                    Incoming::Request(_) | Incoming::Consume { .. } | Incoming::Outcome(_) => {}
                }
            }
            // After a restart a claimed file that the journal knows is no replay but work in hand.
            Taken::Known { republish } if again => {
                let mut incoming = claimed.incoming.clone();
                if let (Incoming::Slot { .. }, Ok(bytes)) = (&claimed.incoming, &claimed.content) {
                    let request = crate::schema::AuthRequest::parse(bytes)?;
                    self.inbox.rename_slot_claim(claimed, &request.request_id)?;
                    incoming = Incoming::Request(request.request_id.clone());
                }
                // Its work is over: the crash came just before the file was forgotten.
                let over = match republish {
                    Some(name) => self.journal.response(&name)?.is_some(),
                    None => true,
                };
                if over {
                    self.inbox.finish(&incoming)?;
                }
            }
            Taken::Known { republish } => {
                if let Some(name) = republish {
                    self.journal.atomically(|writes| writes.set_published(&name, false))?;
                }
                let refusal = crate::schema::Refusal::new(crate::schema::Rule::Replay, "it was seen before");
                self.inbox.channel().quarantine(&claimed.path, &refusal)?;
            }
            Taken::Refused { refusal, answer } => {
                if let Some(answer) = answer {
                    let response = self.answers.refusal(&answer, &refusal)?;
                    intake::keep_response(&mut self.journal, response)?;
                }
                self.inbox.channel().quarantine(&claimed.path, &refusal)?;
            }
        }
        Ok(())
    }

    /// Publishes journalled responses, and forgets the files whose work is done by that.
    fn publish(&mut self) -> Result<usize, BridgeError> {
        let waiting = self.journal.unpublished(ANSWERS_PER_TURN_MAX)?;
        let mut published = 0;
        for response in &waiting {
            let kind = kind_of(&response.name, &response.request_id);
            if response.slot {
                // Whoever holds the slot's lock holds up the slot alone.
                if !self.inbox.publish_slot_response(&response.bytes)? {
                    tracing::debug!(target: "guardrail::bridge", request = %response.request_id, "a client holds the single slot's lock; its answer waits");
                    continue;
                }
            } else {
                self.inbox.publish_response(&response.request_id, kind, &response.bytes)?;
            }
            self.journal.atomically(|writes| writes.set_published(&response.name, true))?;
            tracing::info!(target: "guardrail::bridge", request = %response.request_id, response = response.name, "published");
            self.finish_files(response.request_id.clone(), kind)?;
            published += 1;
        }
        Ok(published)
    }

    fn finish_files(&self, request_id: crate::schema::RequestId, kind: ResponseKind) -> Result<(), BridgeError> {
        match kind {
            ResponseKind::Decision => self.inbox.finish(&Incoming::Request(request_id))?,
            ResponseKind::Consumed(claim) => self.inbox.finish(&Incoming::Consume { request_id, claim })?,
            ResponseKind::Recorded => self.inbox.finish(&Incoming::Outcome(request_id))?,
        }
        Ok(())
    }

    async fn chain_turn(&mut self) -> Result<Turn, BridgeError> {
        let open = self.journal.open_nonces()?;
        let synced = self.reader.sync(&mut self.journal, &open).await?;
        if synced.rolled_back {
            self.check_identity().await?;
            self.submitter.resend(&self.journal).await?;
        }
        if synced.administration_changed {
            self.epoch = contract::read_epoch(&self.provider, self.identity.contract).await?;
            self.contract_approvers = contract_accounts(&self.provider, &self.epoch).await?;
        }
        self.alone.extend(&synced.skipped);
        self.stalled.retain(|_, until| *until > Instant::now());
        self.expire(&synced).await?;
        let answered = self.answer().await?;
        let open = self.journal.open_nonces()?;
        let sent = self.send(open.len()).await?;
        self.submitter.unstick(&mut self.journal, &open).await?;
        let woken = self.wake_idle_chain(&synced, open.len() + sent).await?;
        Ok(if synced.mined + synced.events + answered + sent > 0 || synced.rolled_back {
            Turn::Busy
        } else if open.is_empty() && !woken {
            Turn::Idle
        } else {
            Turn::InFlight
        })
    }

    async fn check_identity(&mut self) -> Result<(), BridgeError> {
        ChainIdentity::read(&self.provider, self.identity.contract).await?.pin(&mut self.journal)
    }

    /// Requests whose time has passed: a confirmed block shows them unsettled.
    async fn expire(&mut self, synced: &Synced) -> Result<(), BridgeError> {
        for request in self.journal.requests_past(synced.confirmed.time_s, ANSWERS_PER_TURN_MAX)? {
            let id = request.authorization_id;
            let status = self.reader.status_at(id, synced.confirmed.hash).await?;
            let event = match (request.state, status) {
                (RequestState::Pending | RequestState::Approved, ChainStatus::Expired) => LifecycleEvent::ExpiryPassed,
                // It never got there, and a transaction that still does will revert.
                (RequestState::Received, ChainStatus::None) => LifecycleEvent::Refused,
                _ => continue,
            };
            let next = request.state.next(event)?;
            tracing::info!(target: "guardrail::bridge", %id, state = %next, block = synced.confirmed.number, "time has passed");
            self.journal.atomically(|writes| {
                if event == LifecycleEvent::Refused {
                    writes.set_meta(&refusal_key(id), "it could not be recorded on chain before it expired")?;
                }
                writes.set_state(id, next)
            })?;
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<usize, BridgeError> {
        let mut responses = 0;
        for request in self.journal.unanswered(ANSWERS_PER_TURN_MAX)? {
            let response = self.answers.decision(&self.journal, &request).await?;
            intake::keep_response(&mut self.journal, response)?;
            responses += 1;
        }
        for (request_id, claim) in self.journal.consumes_waiting(ANSWERS_PER_TURN_MAX)? {
            let Some(request) = self.journal.request(&request_id)? else { continue };
            if request.state == RequestState::Consumed || !request.state.is_open() {
                let response = self.answers.consumption(&self.journal, &request, claim).await?;
                self.journal.atomically(|writes| {
                    writes.insert_response(&response)?;
                    writes.close_consume(&request_id, claim)
                })?;
                responses += 1;
            }
        }
        for (request_id, ..) in self.journal.outcomes_waiting(ANSWERS_PER_TURN_MAX)? {
            let Some(request) = self.journal.request(&request_id)? else { continue };
            if request.state == RequestState::Recorded {
                let response = self.answers.record(&self.journal, &request).await?;
                self.journal.atomically(|writes| {
                    writes.insert_response(&response)?;
                    writes.close_outcome(&request_id)
                })?;
                responses += 1;
            }
        }
        Ok(responses)
    }

    /// Sends what waits, most urgent first, while there is room on the way.
    async fn send(&mut self, in_flight: usize) -> Result<usize, BridgeError> {
        let mut sent = 0;
        while in_flight + sent < IN_FLIGHT_MAX {
            let Some(work) = self.next_work()? else { break };
            match self.submitter.send(&mut self.journal, &work).await? {
                Sent::OnItsWay { .. } => sent += 1,
                Sent::WouldRevert(reason) => self.give_up(&work, &reason).await?,
                Sent::Rejected(reason) => {
                    tracing::error!(target: "guardrail::bridge", reason, account = %self.submitter.account(), "the endpoint rejects our transactions; nothing is dropped");
                    break;
                }
            }
        }
        Ok(sent)
    }

    /// On a chain that mines only what is sent, nothing would ever show that time has passed.
    async fn wake_idle_chain(&mut self, synced: &Synced, in_flight: usize) -> Result<bool, BridgeError> {
        let now_s = Timestamp::now().unix_s();
        let overdue_s = u64::try_from(now_s.saturating_sub(IDLE_BLOCK_AFTER_S)).unwrap_or_default();
        if in_flight > 0 || synced.head.time_s >= overdue_s || self.journal.requests_past(overdue_s, 1)?.is_empty() {
            return Ok(false);
        }
        self.submitter.send_nothing(&mut self.journal).await?;
        Ok(true)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Something was done, so there may be more to do.
    Busy,
    /// Transactions are on their way.
    InFlight,
    Idle,
}

fn kind_of(name: &str, id: &crate::schema::RequestId) -> ResponseKind {
    if name == ResponseKind::Recorded.file_name(id) {
        return ResponseKind::Recorded;
    }
    let claim = name
        .strip_suffix(".consumed.json")
        .and_then(|stem| stem.split_once('.'))
        .and_then(|(_, claim)| claim.parse().ok());
    claim.map_or(ResponseKind::Decision, ResponseKind::Consumed)
}

async fn contract_accounts(provider: &RootProvider, epoch: &EpochAnchors) -> Result<BTreeSet<Address>, BridgeError> {
    let mut contracts = BTreeSet::new();
    for approver in &epoch.approvers {
        if !provider.get_code_at(approver.address).await?.is_empty() {
            contracts.insert(approver.address);
        }
    }
    Ok(contracts)
}

/// Between a half and the whole of a wait, so that many bridges do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let random = crate::crypto::random::bytes::<1>().map(|[byte]| u32::from(byte)).unwrap_or(128);
    wait / 2 + wait / 2 * random / 255
}
