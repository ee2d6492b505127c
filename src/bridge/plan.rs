//! What to send next: pure decisions over what the journal holds.

use std::collections::BTreeSet;

use alloy::primitives::{Address, Bytes};
use alloy::sol_types::SolCall;

use super::gas::Load;
use super::journal::{ChainVote, HeldVote, ItemKind, JournalRequest};
use crate::crypto::abi;
use crate::schema::anchors::EpochAnchors;
use crate::schema::{AuthorizationId, Outcome, RequestState, Sha256Digest};

/// Requests in one transaction (PROTOCOL section 5).
pub const REQUESTS_PER_BATCH_MAX: usize = 400;
/// Decisions, consumptions or outcomes in one transaction: evidence carries the whole transaction.
pub const ITEMS_PER_BATCH_MAX: usize = 32;

/// One transaction to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub kind: ItemKind,
    pub items: Vec<AuthorizationId>,
    pub calldata: Bytes,
    /// Signed votes in it, and those of them that a contract judges.
    pub votes: usize,
    pub wallet_votes: usize,
    /// A limit that was estimated, where the rule's own is not trusted.
    pub gas: Option<u64>,
}

impl Work {
    pub fn load(&self) -> Load<'_> {
        Load {
            kind: self.kind,
            items: self.items.len(),
            votes: self.votes,
            wallet_votes: self.wallet_votes,
            calldata: &self.calldata,
        }
    }
}

/// Requests into one transaction: a single call for one, a batch for more.
pub fn request_work(requests: &[JournalRequest]) -> Option<Work> {
    let structs = requests.iter().map(JournalRequest::chain_request).collect::<Vec<_>>();
    let ids: Vec<String> = requests.iter().map(|r| r.request_id.to_string()).collect();
    let tools: Vec<String> = requests.iter().map(|r| r.tool_name.to_string()).collect();
    let calldata = match (structs.as_slice(), ids.as_slice(), tools.as_slice()) {
        ([], ..) => return None,
        ([r], [id], [tool]) => {
            abi::requestAuthorizationCall { r: r.clone(), requestId: id.clone(), toolName: tool.clone() }.abi_encode()
        }
        _ => abi::requestBatchCall { r: structs, requestIds: ids, toolNames: tools }.abi_encode(),
    };
    Some(work(ItemKind::Request, requests.iter(), calldata))
}

/// Decisions into one transaction.
pub fn decide_work(decisions: &[(JournalRequest, Vec<HeldVote>)], wallets: &BTreeSet<Address>) -> Option<Work> {
    let cast = || decisions.iter().flat_map(|(_, votes)| votes);
    let (count, wallet_votes) = (cast().count(), cast().filter(|vote| wallets.contains(&vote.approver)).count());
    let mut items = Vec::with_capacity(decisions.len());
    for (request, votes) in decisions {
        let votes: Vec<abi::SignedVote> = votes
            .iter()
            .map(|vote| abi::SignedVote {
                approver: vote.approver,
                approve: vote.approve,
                note: vote.note.as_str().to_owned(),
                signature: vote.signature.clone(),
            })
            .collect();
        items.push((request.chain_request(), votes));
    }
    let calldata = match items.as_slice() {
        [] => return None,
        [(r, votes)] => abi::decideCall { r: r.clone(), votes: votes.clone() }.abi_encode(),
        _ => {
            let (r, votes) = items.into_iter().unzip();
            abi::decideBatchCall { r, votes }.abi_encode()
        }
    };
    let work = work(ItemKind::Decide, decisions.iter().map(|(request, _)| request), calldata);
    Some(Work { votes: count, wallet_votes, ..work })
}

/// Consumptions into one transaction.
pub fn consume_work(consumes: &[(JournalRequest, Sha256Digest)]) -> Option<Work> {
    let structs = consumes.iter().map(|(r, _)| r.chain_request()).collect::<Vec<_>>();
    let calldata = match (structs.as_slice(), consumes) {
        ([], _) => return None,
        ([r], [(_, claim)]) => abi::consumeCall { r: r.clone(), claim: claim.0 }.abi_encode(),
        _ => {
            let claims = consumes.iter().map(|(_, claim)| claim.0).collect();
            abi::consumeBatchCall { r: structs, claims }.abi_encode()
        }
    };
    Some(work(ItemKind::Consume, consumes.iter().map(|(request, _)| request), calldata))
}

/// Outcomes into one transaction.
pub fn record_work(records: &[(JournalRequest, Outcome, Sha256Digest)]) -> Option<Work> {
    let structs = records.iter().map(|(r, ..)| r.chain_request()).collect::<Vec<_>>();
    let calldata = match (structs.as_slice(), records) {
        ([], _) => return None,
        ([r], [(_, outcome, hash)]) => {
            abi::recordExecutionCall { r: r.clone(), outcome: outcome.code(), outcomeHash: hash.0 }.abi_encode()
        }
        _ => {
            let outcomes = records.iter().map(|(_, outcome, _)| outcome.code()).collect();
            let outcome_hashes = records.iter().map(|(.., hash)| hash.0).collect();
            abi::recordBatchCall { r: structs, outcomes, outcomeHashes: outcome_hashes }.abi_encode()
        }
    };
    Some(work(ItemKind::Record, records.iter().map(|(request, ..)| request), calldata))
}

fn work<'a>(kind: ItemKind, requests: impl Iterator<Item = &'a JournalRequest>, calldata: Vec<u8>) -> Work {
    let items = requests.map(|r| r.authorization_id).collect();
    Work { kind, items, calldata: calldata.into(), votes: 0, wallet_votes: 0, gas: None }
}

/// Which held votes settle a request now: a denial by itself, or approvals that, with what the
/// chain has counted, meet the policy line. `None` while they do not.
pub fn settling_votes(
    request: &JournalRequest,
    epoch: &EpochAnchors,
    counted: &[ChainVote],
    held: &[HeldVote],
) -> Option<Vec<HeldVote>> {
    if let Some(denial) = held.iter().find(|vote| !vote.approve) {
        return Some(vec![denial.clone()]);
    }
    if !matches!(request.state, RequestState::Received | RequestState::Pending) || epoch.epoch != request.epoch {
        return None;
    }
    let new: Vec<HeldVote> =
        held.iter().filter(|vote| !counted.iter().any(|c| c.approver == vote.approver)).cloned().collect();
    let approvers: Vec<Address> =
        counted.iter().filter(|c| c.approve).map(|c| c.approver).chain(new.iter().map(|v| v.approver)).collect();
    let line = epoch.line_for(request.risk_score)?;
    (!new.is_empty() && epoch.quorum_met(line, &approvers)).then_some(new)
}
