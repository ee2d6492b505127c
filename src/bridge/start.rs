//! The start: chain, journal, channel and keys must belong together.

use std::collections::BTreeSet;
use std::path::Path;

use alloy::primitives::Address;
use alloy::providers::Provider;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::BridgeError;
use super::alarms::Alarms;
use super::answers::Answers;
use super::config::BridgeConfig;
use super::endpoints::ChainClient;
use super::engine::{Bridge, BridgeKeys, Done, SOON};
use super::identity::{AccountLock, ChainIdentity};
use super::journal::Journal;
use super::live::{LiveStatus, Snapshot};
use super::planner::Planner;
use super::sender::Sender;
use super::sides::{Backoff, ChainSide, FileSide};
use super::submitter::{Submitter, SubmitterSettings};
use super::sync::{ChainReader, ContractPlace};
use crate::channel::Inbox;
use crate::schema::anchors::EpochAnchors;

/// How often an account's nonce is asked before two answers in a row must be the same.
const NONCE_ASKS_MAX: usize = 8;

/// The journal's nonces are those of one account.
fn pin_account(journal: &mut Journal, account: Address) -> Result<(), BridgeError> {
    const KEY: &str = "account";
    let account = account.to_string();
    match journal.read().meta(KEY)? {
        None => journal.atomically(|writes| writes.set_meta(KEY, &account)),
        Some(known) if known == account => Ok(()),
        Some(known) => Err(BridgeError::Setup(format!(
            "the journal in this state directory holds the nonces of {known}, the key given is that of {account}; \
             drain it with the old key (`guardrail bridge --once`), then use another --state-dir"
        ))),
    }
}

fn check_registered(
    epoch: &EpochAnchors,
    contract: Address,
    requester: Address,
    signer: Address,
) -> Result<(), BridgeError> {
    match epoch.bridges.iter().find(|bridge| bridge.requester == requester) {
        Some(bridge) if bridge.signer == signer => Ok(()),
        Some(bridge) => Err(BridgeError::Setup(format!(
            "the contract names {} as the response signer of {requester}, the key given is {signer}",
            bridge.signer
        ))),
        None => Err(BridgeError::Setup(format!(
            "{requester} is no bridge of the contract {contract}; its administrator adds one with setBridge"
        ))),
    }
}

/// The account's nonce, said twice in a row: nothing else vouches for it, and a gap is paid for.
async fn agreed_nonce(client: &ChainClient, account: Address) -> Result<u64, BridgeError> {
    let mut before = None;
    for _ in 0..NONCE_ASKS_MAX {
        let used = client.provider().get_transaction_count(account).latest().await?;
        if before == Some(used) {
            return Ok(used);
        }
        before = Some(used);
    }
    Err(BridgeError::Setup(format!("the endpoint says another nonce of {account} each time it is asked")))
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
        client: ChainClient,
        place: ContractPlace,
    ) -> Result<Self, BridgeError> {
        let contract = place.contract;
        let provider = client.provider();
        let identity = ChainIdentity::read(provider, contract).await?;
        for (url, other) in client.each() {
            // An endpoint that is down now is compared by its blocks once it is back.
            if let Err(error @ BridgeError::Identity(_)) = identity.check(&other).await {
                return Err(BridgeError::Setup(format!("the endpoint {url} serves another chain: {error}")));
            }
        }
        let requester = keys.requester.for_chain(identity.chain_id)?;
        let signer = keys.signer.for_chain(identity.chain_id)?;
        let account = AccountLock::take(identity.genesis_hash, requester.address())?;
        let mut journal = Journal::open(journal_path)?;
        identity.pin(&mut journal)?;
        journal.atomically(|writes| writes.clear_meta(super::health::ENDED_KEY))?;
        pin_account(&mut journal, requester.address())?;
        let reader = ChainReader::new(client.clone(), place, config.chain.confirmations);
        let (epoch, contract_approvers) = reader.epoch().await?;
        check_registered(&epoch, contract, requester.address(), signer.address())?;
        let used = agreed_nonce(&client, requester.address()).await?;
        let mut submitter = Submitter::new(
            requester,
            SubmitterSettings {
                chain_id: identity.chain_id,
                contract,
                ceiling_wei: config.fees.ceiling_wei(),
                tip_wei: u128::from(config.fees.priority_fee_wei),
                resubmit_interval_ms: i64::try_from(config.chain.resubmit_interval_s.saturating_mul(1000))
                    .unwrap_or(i64::MAX),
            },
        );
        // Higher than the journal's own where the account sent before, or the journal is an older copy.
        submitter.raise_floor(used);
        let head = reader.head().await?;
        submitter.observe_block(head.base_fee_wei, head.gas_limit);
        let mut planner = Planner::new(submitter, epoch, contract_approvers);
        planner.recover(&journal.read())?;
        let live = LiveStatus::create(&journal_path.with_file_name(super::live::FILE_NAME))?;
        let (told, done) = mpsc::unbounded_channel();
        let by_sender = told.clone();
        let sender = Sender::start(client.clone(), move |sent| {
            // The loop is gone only when the process ends; the journal knows what was sent.
            let _ = by_sender.send(Done::Sent(sent));
        });
        let now = Instant::now();
        Ok(Bridge {
            answers: Answers::new(place.ledger, identity.chain_id, contract, signer),
            config,
            inbox,
            journal,
            client,
            identity,
            reader,
            planner,
            alarms: Alarms::default(),
            sender,
            chain: ChainSide {
                head: Some(head),
                used: Some(used),
                hints: Vec::new(),
                hints_at: None,
                awaited: 0,
                sync_at: now,
                syncing: false,
                deep: false,
                soon: SOON,
                balance_at: now,
                noted_balance: None,
                rebroadcast_at: now,
                hold_until: None,
                missing: std::collections::BTreeMap::new(),
                current: false,
            },
            files: FileSide {
                due: true,
                scan_at: now,
                reread_claimed: true,
                unpublished: true,
                empty: false,
                until_empty: false,
                trim: true,
            },
            needs: BTreeSet::new(),
            asked: BTreeSet::new(),
            probing: false,
            draining: false,
            recovered: false,
            shown_at: now,
            backoff: Backoff::new(),
            live,
            state_dir: journal_path.parent().map(Path::to_owned).unwrap_or_default(),
            snapshot: watch::channel(Snapshot::starting()).0,
            told,
            done,
            observers: Vec::new(),
            _account: account,
        })
    }
}
