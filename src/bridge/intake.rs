//! Lets files in: every rule that a message must keep before anything is done for it.
//!
//! Each file ends in one of three ways: journalled, already known, or refused with its rule.
//! A refused request is answered where its sender can be told.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::BridgeError;
use super::config::BridgeConfig;
use super::journal::{HeldVote, ItemEvent, JournalRequest, Writes};
use crate::channel::{Claimed, Incoming, ResponseKind};
use crate::crypto::{self, SigningDomain};
use crate::schema::anchors::EpochAnchors;
use crate::schema::message::parse_message;
use crate::schema::request::peek_request_id;
use crate::schema::{
    AuthRequest, AuthorizationId, ConsumeMessage, OutcomeMessage, Refusal, RequestId, RequestState, Rule, Timestamp,
    VoteFile, json,
};

/// What the rules need to know beside the file.
pub struct Rules<'a> {
    pub config: &'a BridgeConfig,
    pub domain: &'a SigningDomain,
    pub requester: Address,
    pub epoch: &'a EpochAnchors,
    /// Approvers that are contracts: their signatures are theirs to judge, on chain.
    pub contract_approvers: &'a BTreeSet<Address>,
    pub now: Timestamp,
}

/// What became of a file.
#[derive(Debug)]
pub enum Taken {
    /// It is in the journal; its file stays claimed until its work is done.
    Journalled(RequestId),
    /// It is in the journal already and says the same. `republish` names a response to publish again.
    Known { republish: Option<String> },
    /// It broke a rule. `answer` is who can be told.
    Refused { refusal: Refusal, answer: Option<Box<RefusedRequest>> },
}

/// A refused request whose sender gets a `refused:` response.
#[derive(Debug)]
pub struct RefusedRequest {
    pub request_id: RequestId,
    /// Whole enough to be hashed.
    pub request: Option<AuthRequest>,
    pub slot: bool,
}

fn refused(rule: Rule, detail: impl Into<String>) -> Taken {
    Taken::Refused { refusal: Refusal::new(rule, detail), answer: None }
}

/// Takes one claimed file, inside a transaction of the journal that may take many.
///
/// # Errors
/// Trouble of the journal; a broken rule is no error but [`Taken::Refused`].
pub fn take(writes: &Writes<'_>, rules: &Rules<'_>, claimed: &Claimed) -> Result<Taken, BridgeError> {
    match &claimed.incoming {
        Incoming::Request(id) => take_request(writes, rules, claimed, Some(id)),
        Incoming::Slot { .. } => take_request(writes, rules, claimed, None),
        Incoming::Vote { id, approver } => with_content(claimed, |bytes| {
            let vote: VoteFile = parse_message(bytes)?;
            if vote.id != *id || vote.approver != *approver {
                return Err(Refusal::new(Rule::FileName, "the file's name is not its id and approver"));
            }
            Ok(vote)
        })
        .map_or_else(|refusal| Ok(Taken::Refused { refusal, answer: None }), |vote| take_vote(writes, rules, vote)),
        Incoming::Consume { request_id, claim } => with_content(claimed, |bytes| {
            let message: ConsumeMessage = parse_message(bytes)?;
            if message.request_id != *request_id || message.claim != *claim {
                return Err(Refusal::new(Rule::FileName, "the file's name is not its request and claim"));
            }
            Ok(message)
        })
        .map_or_else(|refusal| Ok(Taken::Refused { refusal, answer: None }), |message| take_consume(writes, message)),
        Incoming::Outcome(id) => with_content(claimed, |bytes| {
            let message: OutcomeMessage = parse_message(bytes)?;
            if message.request_id != *id {
                return Err(Refusal::new(Rule::FileName, "the file's name is not its request"));
            }
            Ok(message)
        })
        .map_or_else(|refusal| Ok(Taken::Refused { refusal, answer: None }), |message| take_outcome(writes, message)),
    }
}

fn with_content<T>(claimed: &Claimed, parse: impl FnOnce(&[u8]) -> Result<T, Refusal>) -> Result<T, Refusal> {
    claimed.content.as_ref().map_err(Clone::clone).and_then(|bytes| parse(bytes))
}

fn take_request(
    writes: &Writes<'_>,
    rules: &Rules<'_>,
    claimed: &Claimed,
    named: Option<&RequestId>,
) -> Result<Taken, BridgeError> {
    let slot = named.is_none();
    let bytes = match &claimed.content {
        Ok(bytes) => bytes,
        Err(refusal) => return answerable(writes, refusal.clone(), named.cloned(), None, slot),
    };
    let tree = match json::parse_strict(bytes) {
        Ok(tree) => tree,
        Err(refusal) => return answerable(writes, refusal, named.cloned(), None, slot),
    };
    let inside = peek_request_id(&tree);
    if let (Some(named), Some(inside)) = (named, &inside)
        && named != inside
    {
        return Ok(refused(Rule::FileName, format!("the file is named {named}, the request is {inside}")));
    }
    let request = match AuthRequest::from_tree(tree) {
        Ok(request) => request,
        Err(refusal) => return answerable(writes, refusal, inside.or_else(|| named.cloned()), None, slot),
    };
    let id = request.request_id.clone();
    let request_hash = crypto::request_hash(&request)?;
    if let Some(known) = writes.seen(&id)? {
        if known != request_hash {
            return Ok(refused(Rule::Replay, format!("request {id} was seen before, with other content")));
        }
        return Ok(Taken::Known { republish: Some(ResponseKind::Decision.file_name(&id)) });
    }
    if writes.response(&ResponseKind::Decision.file_name(&id))?.is_some() {
        return Ok(refused(Rule::Replay, format!("request {id} was seen before and refused")));
    }
    if let Err(refusal) = check_request(writes, rules, &request)? {
        return answerable(writes, refusal, Some(id), Some(request), slot);
    }
    let lifetime_s = i64::try_from(rules.config.requests.authorization_timeout_s).unwrap_or(i64::MAX);
    let expires_at_s = u64::try_from(request.timestamp.unix_s().saturating_add(lifetime_s)).unwrap_or_default();
    let entry = JournalRequest {
        request_id: id.clone(),
        tool_name: request.tool_name.clone(),
        action_hash: request.action_hash,
        request_hash,
        risk_score: request.risk_score,
        authorization_id: AuthorizationId::ZERO,
        requester: rules.requester,
        expires_at_s,
        epoch: rules.epoch.epoch,
        state: RequestState::Received,
        slot,
    };
    let entry = JournalRequest { authorization_id: crypto::authorization_id(&entry.chain_request()), ..entry };
    writes.insert_request(&entry, bytes, rules.now.unix_ms())?;
    Ok(Taken::Journalled(id))
}

/// The rules of PROTOCOL section 2 that need a clock, a configuration or the journal.
fn check_request(
    writes: &Writes<'_>,
    rules: &Rules<'_>,
    request: &AuthRequest,
) -> Result<Result<(), Refusal>, BridgeError> {
    let limits = &rules.config.requests;
    let age_ms = rules.now.unix_ms().saturating_sub(request.timestamp.unix_ms());
    let oldest_ms = i64::try_from(limits.authorization_timeout_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let skew_ms = i64::try_from(limits.clock_skew_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    if age_ms > oldest_ms {
        let detail = format!("it is {} s old, at most {} s are allowed", age_ms / 1000, limits.authorization_timeout_s);
        return Ok(Err(Refusal::new(Rule::Stale, detail)));
    }
    if age_ms < -skew_ms {
        let detail =
            format!("it is {} s ahead of this clock, at most {} s are allowed", -age_ms / 1000, limits.clock_skew_s);
        return Ok(Err(Refusal::new(Rule::Stale, detail)));
    }
    let expected = crypto::hash::action_hash_of(request)?;
    if expected != request.action_hash {
        let detail = format!("it says {}, its content hashes to {expected}", request.action_hash);
        return Ok(Err(Refusal::new(Rule::ActionHash, detail)));
    }
    let floor = limits.floor(&request.tool_name);
    if request.risk_score < floor {
        let detail = format!("{} has floor {floor}, the request says {}", request.tool_name, request.risk_score);
        return Ok(Err(Refusal::new(Rule::RiskFloor, detail)));
    }
    let open = writes.open_count()?;
    if open >= rules.config.channel.pending_max {
        return Ok(Err(Refusal::new(Rule::TooManyPending, format!("{open} requests are open; decide some first"))));
    }
    Ok(Ok(()))
}

/// Refuses a request, and answers its sender where the id is readable and new.
fn answerable(
    writes: &Writes<'_>,
    refusal: Refusal,
    id: Option<RequestId>,
    request: Option<AuthRequest>,
    slot: bool,
) -> Result<Taken, BridgeError> {
    let Some(request_id) = id else { return Ok(Taken::Refused { refusal, answer: None }) };
    let seen = writes.seen(&request_id)?.is_some()
        || writes.response(&ResponseKind::Decision.file_name(&request_id))?.is_some();
    let answer = (!seen).then(|| Box::new(RefusedRequest { request_id, request, slot }));
    Ok(Taken::Refused { refusal, answer })
}

fn take_vote(writes: &Writes<'_>, rules: &Rules<'_>, vote: VoteFile) -> Result<Taken, BridgeError> {
    let Some(entry) = writes.request_by_authorization(vote.id)? else {
        return Ok(refused(Rule::UnknownRequest, format!("no request has the authorization id {}", vote.id)));
    };
    if writes.vote_signature(vote.id, vote.approver, vote.approve, &vote.note)?.as_ref() == Some(&vote.signature) {
        // Over means that its file is forgotten; otherwise it stays claimed until the request is.
        return Ok(if entry.state.is_open() {
            Taken::Journalled(entry.request_id.clone())
        } else {
            Taken::Known { republish: None }
        });
    }
    let open = match entry.state {
        RequestState::Received | RequestState::Pending => true,
        RequestState::Approved => !vote.approve,
        RequestState::Denied
        | RequestState::Cancelled
        | RequestState::Expired
        | RequestState::Refused
        | RequestState::Consumed
        | RequestState::Recorded => false,
    };
    if !open {
        return Ok(refused(Rule::WrongState, format!("the request is {} already", entry.state)));
    }
    if vote.tool_name != entry.tool_name || vote.action_hash != entry.action_hash {
        return Ok(refused(Rule::ActionHash, "the vote is over another tool or action than the request's"));
    }
    if vote.approver == entry.requester {
        return Ok(refused(Rule::UnknownApprover, "the requester cannot approve its own request"));
    }
    if rules.epoch.role_of(vote.approver).is_none() {
        let detail = format!("{} is no approver of epoch {}", vote.approver, rules.epoch.epoch);
        return Ok(refused(Rule::UnknownApprover, detail));
    }
    if !rules.contract_approvers.contains(&vote.approver) {
        let note = vote.note.as_str();
        let digest = crypto::vote_digest(rules.domain, vote.id, &vote.tool_name, vote.action_hash, vote.approve, note);
        match crypto::recover(digest, &vote.signature) {
            Ok(signer) if signer == vote.approver => {}
            Ok(signer) => {
                return Ok(refused(Rule::Signature, format!("it recovers to {signer}, not to {}", vote.approver)));
            }
            Err(error) => return Ok(refused(Rule::Signature, error.to_string())),
        }
    }
    let held = HeldVote {
        id: vote.id,
        approver: vote.approver,
        approve: vote.approve,
        note: vote.note,
        signature: vote.signature,
    };
    writes.insert_vote(&held)?;
    Ok(Taken::Journalled(entry.request_id.clone()))
}

fn take_consume(writes: &Writes<'_>, message: ConsumeMessage) -> Result<Taken, BridgeError> {
    let Some(entry) = writes.request(&message.request_id)? else {
        return Ok(refused(Rule::UnknownRequest, format!("no request has the id {}", message.request_id)));
    };
    if message.authorization_id != entry.authorization_id || message.action_hash != entry.action_hash {
        return Ok(refused(Rule::ActionHash, "the consumption is of another authorization or action"));
    }
    match entry.state {
        RequestState::Received | RequestState::Pending => {
            return Ok(refused(Rule::WrongState, format!("the request is {}, not approved", entry.state)));
        }
        RequestState::Approved
        | RequestState::Denied
        | RequestState::Cancelled
        | RequestState::Expired
        | RequestState::Refused
        | RequestState::Consumed
        | RequestState::Recorded => {}
    }
    let name = ResponseKind::Consumed(message.claim).file_name(&message.request_id);
    if writes.response(&name)?.is_some() {
        return Ok(Taken::Known { republish: Some(name) });
    }
    writes.insert_consume(&message.request_id, message.claim)?;
    Ok(Taken::Journalled(message.request_id))
}

fn take_outcome(writes: &Writes<'_>, message: OutcomeMessage) -> Result<Taken, BridgeError> {
    let Some(entry) = writes.request(&message.request_id)? else {
        return Ok(refused(Rule::UnknownRequest, format!("no request has the id {}", message.request_id)));
    };
    if message.authorization_id != entry.authorization_id {
        return Ok(refused(Rule::UnknownRequest, "the outcome is of another authorization"));
    }
    let Some(consumed) = writes.event(entry.authorization_id, ItemEvent::Consumed)? else {
        return Ok(refused(Rule::WrongState, format!("the request is {}, not consumed", entry.state)));
    };
    let claim = crypto::claim_of(&message.claim_secret);
    if claim.to_string() != consumed.data {
        return Ok(refused(Rule::ClaimSecret, "the secret is not the one whose hash was consumed"));
    }
    if let Some(known) = writes.has_outcome(&message.request_id)? {
        let name = ResponseKind::Recorded.file_name(&message.request_id);
        return Ok(if known == message.outcome_hash {
            Taken::Known { republish: Some(name) }
        } else {
            refused(Rule::Replay, "another outcome was told before")
        });
    }
    writes.insert_outcome(&message.request_id, claim, message.outcome, message.outcome_hash)?;
    Ok(Taken::Journalled(message.request_id))
}
