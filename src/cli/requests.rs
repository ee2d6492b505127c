//! Requests as an approver sees them: what the chain says, joined with what the channel holds.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;

use super::context::{Globals, Located};
use super::error::{CommandError, Exit, OrExit};
use crate::channel::Channel;
use crate::crypto::abi::{self, ChainStatus};
use crate::crypto::{self};
use crate::evidence::endpoint::status_of;
use crate::schema::{AuthRequest, AuthorizationId, RequestId};

/// Blocks that one question for events covers.
const LOG_BLOCKS_MAX: u64 = 10_000;

/// A request on chain.
#[derive(Clone, Debug)]
pub struct OnChain {
    pub id: AuthorizationId,
    pub request_id: RequestId,
    pub tool_name: String,
    pub risk_bps: u16,
    pub expires_at_s: u64,
    pub epoch: u64,
    pub requester: Address,
    pub action_hash: alloy::primitives::B256,
    pub request_hash: alloy::primitives::B256,
    pub status: ChainStatus,
}

/// Reads the contract's logs from where it was deployed, page by page.
pub async fn logs(
    provider: &RootProvider,
    located: Located,
    topic: Option<alloy::primitives::B256>,
) -> Result<Vec<Log>, CommandError> {
    let head = provider.get_block_number().await.or_exit(Exit::Unreachable)?;
    let mut logs = Vec::new();
    let mut from = located.from_block;
    while from <= head {
        let to = head.min(from.saturating_add(LOG_BLOCKS_MAX - 1));
        let mut filter = Filter::new().address(located.contract).from_block(from).to_block(to);
        if let Some(topic) = topic {
            filter = filter.event_signature(topic);
        }
        logs.extend(provider.get_logs(&filter).await.or_exit(Exit::Unreachable)?);
        from = to + 1;
    }
    Ok(logs)
}

/// Every request that the contract knows, oldest first.
pub async fn all(provider: &RootProvider, located: Located) -> Result<Vec<OnChain>, CommandError> {
    let mut found = Vec::new();
    for log in logs(provider, located, Some(abi::AuthorizationRequested::SIGNATURE_HASH)).await? {
        let event = abi::AuthorizationRequested::decode_log_data(log.data()).or_exit(Exit::Failed)?;
        let Ok(request_id) = event.requestId.parse() else {
            tracing::warn!(target: "guardrail::cli", id = %event.id, "a request on chain has no readable request id");
            continue;
        };
        let id = AuthorizationId(event.id);
        found.push(OnChain {
            id,
            request_id,
            tool_name: event.toolName,
            risk_bps: event.riskBps,
            expires_at_s: event.expiresAt.to(),
            epoch: event.epoch,
            requester: event.requester,
            action_hash: event.actionHash,
            request_hash: event.requestHash,
            status: status_of(provider, located.contract, id).await.or_exit(Exit::Unreachable)?,
        });
    }
    Ok(found)
}

/// Finds one request by its request id or authorization id, or the beginning or end of either.
pub async fn find(provider: &RootProvider, located: Located, wanted: &str) -> Result<OnChain, CommandError> {
    let wanted = wanted.to_lowercase();
    let mut matches: Vec<OnChain> = all(provider, located)
        .await?
        .into_iter()
        .filter(|r| {
            let (id, request_id) = (r.id.to_string(), r.request_id.as_str());
            id.starts_with(&wanted) || request_id.starts_with(&wanted) || request_id.ends_with(&wanted)
        })
        .collect();
    match (matches.pop(), matches.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), others) => {
            Err(CommandError::message(Exit::Usage, format!("{wanted:?} fits {} requests", others + 1))
                .hint("give more of the id"))
        }
        (None, _) => Err(CommandError::message(Exit::Usage, format!("no request on chain has the id {wanted:?}"))
            .hint("`guardrail pending` lists what waits for a decision")),
    }
}

impl OnChain {
    /// The request as it was sent, if the channel holds it and it is exactly what the chain has.
    pub fn read_request(&self, channel: &Channel) -> Result<AuthRequest, CommandError> {
        let missing = || {
            CommandError::message(Exit::Usage, format!("the channel does not hold request {}", self.request_id))
                .hint("what cannot be read must not be approved; give the bridge's channel with --channel")
        };
        let request = channel.read_request(&self.request_id)?.ok_or_else(missing)?;
        let other = |what: &str| {
            CommandError::message(
                Exit::Unverified,
                format!("the channel's request is not the one on chain: {what} differs"),
            )
        };
        let action = crypto::hash::action_hash_of(&request).or_exit(Exit::Unverified)?;
        if action != request.action_hash || action.0 != self.action_hash {
            return Err(other("action_hash"));
        }
        let chain_request = crypto::hash::chain_request(&request, self.requester, self.expires_at_s, self.epoch)
            .or_exit(Exit::Unverified)?;
        if chain_request.requestHash != self.request_hash {
            return Err(other("request_hash"));
        }
        if crypto::authorization_id(&chain_request) != self.id {
            return Err(other("authorization_id"));
        }
        Ok(request)
    }

    pub fn waits(&self) -> bool {
        self.status == ChainStatus::Pending
    }
}

/// Signed votes for a request that are on their way or with this host's bridge: approver → approve.
pub fn votes_so_far(
    globals: &Globals,
    channel: &Channel,
    id: AuthorizationId,
) -> Result<BTreeMap<Address, bool>, CommandError> {
    let mut votes = BTreeMap::new();
    let journal = globals.journal_path();
    if journal.exists() {
        votes.extend(crate::bridge::Journal::open_read_only(&journal)?.read().votes(id)?);
    }
    let dir = channel.votes_dir();
    for entry in std::fs::read_dir(&dir)? {
        let name = entry?.file_name();
        let Some(crate::channel::Incoming::Vote { id: of, approver }) =
            name.to_str().and_then(crate::channel::Incoming::parse)
        else {
            continue;
        };
        if of != id {
            continue;
        }
        // The bridge may take it in between; then the journal has it the next time.
        if let Ok(bytes) =
            crate::atomic_file::read_bounded_nofollow(&dir.join(&name), crate::channel::MESSAGE_BYTES_MAX)
        {
            let vote: crate::schema::VoteFile = crate::schema::message::parse_message(&bytes).or_exit(Exit::Failed)?;
            votes.insert(approver, vote.approve);
        }
    }
    Ok(votes)
}

/// Opens what the read-only commands need.
pub async fn open(globals: &Globals) -> Result<(RootProvider, Located, u64), CommandError> {
    let endpoint = globals.connect().await?;
    let provider = endpoint.provider().clone();
    let configured = globals.bridge_config()?.chain.contract.map(|address| address.0);
    let located = globals.locate(&provider, configured).await?;
    let chain_id = provider.get_chain_id().await.or_exit(Exit::Unreachable)?;
    Ok((provider, located, chain_id))
}
