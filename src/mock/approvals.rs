//! Approvers that sign by themselves: for a show that nobody has to watch.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Bytes, TxKind, U256, keccak256};
use alloy::sol_types::{SolCall, SolEvent};

use super::CONTRACT;
use super::authorization::bit_of;
use super::chain::{Block, Chain, LedgerEvent, Message};
use crate::contract::IAuthorization::Request;
use crate::contract::bindings::Authorization as binding;
use crate::crypto::SigningKey;
use crate::crypto::abi::ChainStatus;
use crate::crypto::key::KeyError;

/// Requests that wait for these approvers; more are left to people.
const WAITING_MAX: usize = 1_024;
const TIP_WEI: u128 = 1_000_000_000;

/// Votes by transaction for each request, some time after it came, as many as its quorum needs.
#[derive(Debug)]
pub struct Approvers {
    /// In the order in which they are asked.
    keys: Vec<SigningKey>,
    after: Duration,
    /// When, and what, in order of time.
    waiting: Vec<(u64, Request)>,
    /// The next block to look at.
    next_block: u64,
}

impl Approvers {
    pub fn new(keys: Vec<SigningKey>, after: Duration) -> Self {
        Approvers { keys, after, waiting: Vec::new(), next_block: 0 }
    }

    /// When the next vote is due, in milliseconds since 1970.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Notes the requests of new blocks.
    pub fn look(&mut self, chain: &Chain, now_ms: u64) -> Vec<LedgerEvent> {
        let mut seen = Vec::new();
        while let Some(block) = chain.block(self.next_block) {
            self.next_block += 1;
            for request in requests_of(block) {
                if self.waiting.len() >= WAITING_MAX {
                    continue;
                }
                seen.push(LedgerEvent::WillApprove { id: super::authorization::id_of(&request), after: self.after });
                let after_ms = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
                self.waiting.push((now_ms.saturating_add(after_ms), request));
            }
        }
        seen
    }

    /// The signed votes that are due, for the chain to take.
    ///
    /// # Errors
    /// A key's own trouble.
    pub fn due(&mut self, chain: &Chain, now_ms: u64) -> Result<Vec<Bytes>, KeyError> {
        let count = self.waiting.iter().take_while(|(at, _)| *at <= now_ms).count();
        let mut votes = Vec::new();
        let mut sent: Vec<(usize, u64)> = Vec::new();
        for (_, request) in self.waiting.drain(..count) {
            for index in voters(chain, &self.keys, &request) {
                let Some(key) = self.keys.get(index) else { continue };
                let before = sent.iter().filter(|(by, _)| *by == index).count() as u64;
                let nonce = chain.pending_nonce(key.address()) + before;
                sent.push((index, nonce));
                votes.push(vote(chain, key, nonce, &request, now_ms)?);
            }
        }
        Ok(votes)
    }
}

/// What the events of a block asked for, rebuilt from the events alone.
fn requests_of(block: &Block) -> Vec<Request> {
    let logs = block.transactions.iter().flat_map(|mined| mined.receipt.logs());
    let events = logs.filter_map(|log| binding::AuthorizationRequested::decode_log_data_validate(&log.data).ok());
    let request = |event: binding::AuthorizationRequested| Request {
        requestIdHash: keccak256(&event.requestId),
        toolHash: keccak256(&event.toolName),
        actionHash: event.actionHash,
        requestHash: event.requestHash,
        requester: event.requester,
        expiresAt: event.expiresAt,
        riskBps: event.riskBps,
        epoch: event.epoch,
    };
    events.map(request).collect()
}

/// The fewest of these approvers, by index, whose votes settle a request; none for one that is settled.
fn voters(chain: &Chain, keys: &[SigningKey], request: &Request) -> Vec<usize> {
    let contract = chain.contract();
    let entry = contract.entry(super::authorization::id_of(request), chain.head());
    if entry.stored != ChainStatus::Pending {
        return Vec::new();
    }
    let bit = |index: usize| keys.get(index).and_then(|key| contract.approver(key.address())).map_or(0, bit_of);
    let settles = |chosen: &[usize]| {
        contract.meets(entry.line, chosen.iter().fold(entry.votes, |votes, index| votes | bit(*index)))
    };
    let mut chosen = Vec::new();
    for index in 0..keys.len() {
        if settles(&chosen) {
            break;
        }
        if bit(index) & !entry.votes != 0 {
            chosen.push(index);
        }
    }
    // Whoever stands before one that is needed may not be.
    for index in chosen.clone() {
        let without: Vec<usize> = chosen.iter().copied().filter(|other| *other != index).collect();
        if settles(&without) {
            chosen = without;
        }
    }
    chosen
}

fn vote(chain: &Chain, key: &SigningKey, nonce: u64, request: &Request, now_ms: u64) -> Result<Bytes, KeyError> {
    let input: Bytes = binding::voteCall { r: request.clone(), approve: true, note: String::new() }.abi_encode().into();
    let message = Message { from: key.address(), to: TxKind::Call(CONTRACT), value: U256::ZERO, input: &input };
    // A vote that would revert now is sent all the same: the block then says why.
    let gas = chain.estimate(&message, now_ms).unwrap_or(VOTE_GAS);
    let mut transaction = TxEip1559 {
        chain_id: chain.chain_id(),
        nonce,
        gas_limit: gas.max(VOTE_GAS),
        max_fee_per_gas: u128::from(chain.next_base_fee()) * 2 + TIP_WEI,
        max_priority_fee_per_gas: TIP_WEI,
        to: TxKind::Call(CONTRACT),
        value: U256::ZERO,
        access_list: Default::default(),
        input,
    };
    let signature = key.signer().sign_transaction_sync(&mut transaction)?;
    Ok(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into())
}

/// Enough for a vote that settles its request.
const VOTE_GAS: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::fixture::{START_MS, act, ask, chain, dev, request, state};

    #[test]
    fn as_few_as_are_needed_sign_when_they_had_time_to_read() {
        let mut chain = chain();
        let mut approvers = Approvers::new([1, 2, 3].map(dev).to_vec(), Duration::from_secs(5));
        let (low, high) = (request("low", 5_000), request("high", 9_500));
        act(&mut chain, 0, ask("low", &low), START_MS);
        act(&mut chain, 0, ask("high", &high), START_MS);
        assert_eq!(approvers.look(&chain, START_MS).len(), 2);
        assert_eq!(approvers.look(&chain, START_MS), []);
        assert_eq!(approvers.due_at_ms(), Some(START_MS + 5_000));
        assert_eq!(approvers.due(&chain, START_MS + 4_999).unwrap(), Vec::<Bytes>::new());
        // Account 1 for both, account 2 for the one that needs security as well.
        let votes = approvers.due(&chain, START_MS + 5_000).unwrap();
        assert_eq!(votes.len(), 3);
        for vote in votes {
            chain.submit(&vote, START_MS + 5_000).unwrap();
        }
        chain.mine(START_MS + 10_000);
        assert_eq!((state(&chain, &low, chain.head()), state(&chain, &high, chain.head())), ((2, 0b001), (2, 0b101)));
        assert_eq!(approvers.due_at_ms(), None);
    }

    #[test]
    fn what_people_settled_meanwhile_is_left_alone() {
        let mut chain = chain();
        let mut approvers = Approvers::new([1, 2, 3].map(dev).to_vec(), Duration::from_secs(5));
        let (denied, begun) = (request("denied", 5_000), request("begun", 9_500));
        act(&mut chain, 0, ask("denied", &denied), START_MS);
        act(&mut chain, 0, ask("begun", &begun), START_MS);
        approvers.look(&chain, START_MS);
        let vote = |r: &Request, approve| binding::voteCall { r: r.clone(), approve, note: String::new() }.abi_encode();
        act(&mut chain, 3, vote(&denied, false), START_MS);
        act(&mut chain, 3, vote(&begun, true), START_MS);
        // Operations has voted, security has not.
        let votes = approvers.due(&chain, START_MS + 5_000).unwrap();
        let senders: Vec<_> =
            votes.iter().map(|raw| super::super::pool::decode(raw, 31337).unwrap().signer()).collect();
        assert_eq!(senders, [dev(2).address()]);
    }
}
