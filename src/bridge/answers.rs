//! Writes responses: what the chain decided, with the evidence that proves it, signed.
//!
//! Writing asks nobody. What a proof needs of the chain is fetched before, into [`Answers`];
//! where it lacks something, it says what ([`Need`]). A response is journalled before its file
//! is published, and published again after a crash.

use std::collections::VecDeque;

use alloy::consensus::{Transaction, TxEnvelope};
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{Provider, RootProvider};
use alloy::sol_types::{SolCall, SolEvent};

use super::BridgeError;
use super::intake::RefusedRequest;
use super::journal::{ChainEvent, ChainVote, ItemEvent, JournalRequest, Reads, StoredResponse};
use crate::channel::ResponseKind;
use crate::crash;
use crate::crypto::{self, SigningDomain, SigningKey, abi};
use crate::evidence::block::canonical_form;
use crate::evidence::verify::{CANCELLED, EXPIRED, REFUSED};
use crate::evidence::{BlockProofs, EndpointError};
use crate::schema::{
    AuthResponse, AuthorizationId, Decision, Evidence, EvidenceVote, LedgerKind, Refusal, RequestId, RequestState,
    Sha256Digest, Timestamp, VoteProof,
};

/// Blocks whose proofs are kept: neighbours in a batch share one.
const BLOCKS_KEPT: usize = 8;
/// Transactions of other senders that carried votes.
const TRANSACTIONS_KEPT: usize = 64;

/// Builds and signs responses.
pub struct Answers {
    chain_id: u64,
    contract: Address,
    domain: SigningDomain,
    signer: SigningKey,
    blocks: VecDeque<BlockProofs>,
    transactions: VecDeque<TxEnvelope>,
}

/// What of the chain a response still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The block with this hash: its transactions and receipts.
    Block(B256),
    /// A transaction that carried a vote.
    Transaction(B256),
}

/// What was fetched for a [`Need`].
#[derive(Clone, Debug)]
pub enum Fetched {
    Block(Box<BlockProofs>),
    Transaction(Box<TxEnvelope>),
}

/// Why a response is not written now.
#[derive(Debug)]
pub enum Unwritten {
    Needs(Need),
    Failed(BridgeError),
}

impl<E: Into<BridgeError>> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Unwritten::Failed(error.into())
    }
}

impl Need {
    /// Asks an endpoint.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub async fn fetch(self, provider: &RootProvider) -> Result<Fetched, BridgeError> {
        match self {
            Need::Block(hash) => Ok(Fetched::Block(Box::new(BlockProofs::fetch(provider, hash).await?))),
            Need::Transaction(hash) => {
                let found = provider.get_transaction_by_hash(hash).await?;
                let transaction = found.ok_or(EndpointError::NoTransaction(hash))?;
                Ok(Fetched::Transaction(Box::new(transaction.inner.into_inner())))
            }
        }
    }
}

/// Everything of a response but its evidence and signature.
struct Draft {
    decision: Decision,
    approver: Address,
    denial_reason: Option<String>,
    conditions: Vec<String>,
}

/// What a response is about.
struct Subject {
    request_id: RequestId,
    authorization_id: AuthorizationId,
    action_hash: Sha256Digest,
    request_hash: Sha256Digest,
}

impl Draft {
    fn plain(decision: Decision) -> Self {
        Draft { decision, approver: Address::ZERO, denial_reason: None, conditions: Vec::new() }
    }

    fn denied(approver: Address, reason: String) -> Self {
        Draft { decision: Decision::Denied, approver, denial_reason: Some(reason), conditions: Vec::new() }
    }
}

impl Answers {
    pub fn new(ledger: LedgerKind, chain_id: u64, contract: Address, signer: SigningKey) -> Self {
        let domain = SigningDomain::of(ledger, chain_id, contract);
        Answers { chain_id, contract, domain, signer, blocks: VecDeque::new(), transactions: VecDeque::new() }
    }

    /// Keeps what was fetched; the oldest goes.
    pub fn keep(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Block(block) => {
                if !self.blocks.iter().any(|kept| kept.hash() == block.hash()) {
                    self.blocks.truncate(BLOCKS_KEPT - 1);
                    self.blocks.push_front(*block);
                }
            }
            Fetched::Transaction(transaction) => {
                self.transactions.truncate(TRANSACTIONS_KEPT - 1);
                self.transactions.push_front(*transaction);
            }
        }
    }

    pub fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    /// The answer to a decided request.
    ///
    /// # Errors
    /// [`Unwritten`]; the request is then answered later.
    pub fn decision(&self, reads: &Reads<'_>, request: &JournalRequest) -> Result<StoredResponse, Unwritten> {
        let response = self.decision_response(reads, request)?;
        self.store(request, ResponseKind::Decision, &response)
    }

    fn decision_response(&self, reads: &Reads<'_>, request: &JournalRequest) -> Result<AuthResponse, Unwritten> {
        let id = request.authorization_id;
        match request.state {
            RequestState::Approved | RequestState::Consumed | RequestState::Recorded => {
                let event = self.event(reads, id, ItemEvent::Approved)?;
                let votes = self.approving_votes(reads, request)?;
                let conditions = votes.iter().flat_map(|vote| vote.note.lines()).map(str::to_owned).collect();
                let approver =
                    event.data.parse().map_err(|_| BridgeError::Corrupt(format!("approver {}", event.data)))?;
                let draft = Draft { decision: Decision::Approved, approver, denial_reason: None, conditions };
                self.proven(request, draft, &event, abi::AuthorizationApproved::SIGNATURE_HASH, votes)
            }
            RequestState::Denied => {
                let event = self.event(reads, id, ItemEvent::Denied)?;
                let approver: Address =
                    event.data.parse().map_err(|_| BridgeError::Corrupt(format!("approver {}", event.data)))?;
                let counted = reads.chain_votes(id)?;
                let vote = counted
                    .iter()
                    .find(|vote| vote.approver == approver && !vote.approve)
                    .ok_or_else(|| BridgeError::Corrupt(format!("{id} was denied without a vote")))?;
                let proof = self.vote_proof(reads, request, vote)?;
                let draft = Draft::denied(approver, vote.note.as_str().to_owned());
                self.proven(request, draft, &event, abi::AuthorizationDenied::SIGNATURE_HASH, vec![proof])
            }
            RequestState::Cancelled => {
                let event = self.event(reads, id, ItemEvent::Cancelled)?;
                let (by, reason) = event.data.split_once(' ').unwrap_or((event.data.as_str(), ""));
                let by = by.parse().map_err(|_| BridgeError::Corrupt(format!("cancelled by {by}")))?;
                let draft = Draft::denied(by, format!("{CANCELLED}{reason}"));
                self.proven(request, draft, &event, abi::AuthorizationCancelled::SIGNATURE_HASH, Vec::new())
            }
            RequestState::Expired => {
                let when = Timestamp::from_unix_ms(i64::try_from(request.expires_at_s).unwrap_or_default() * 1000);
                self.unproven(request, format!("{EXPIRED}nobody settled it by {when}"))
            }
            RequestState::Refused => {
                let why = reads.meta(&refusal_key(id))?.unwrap_or_else(|| "the contract would not take it".to_owned());
                self.unproven(request, format!("{REFUSED}{why}"))
            }
            RequestState::Received | RequestState::Pending => {
                Err(BridgeError::Corrupt(format!("{id} is {} and has no decision", request.state)).into())
            }
        }
    }

    /// The answer to a wish to consume: the consumption, whoever's claim it carries, or why there is none.
    ///
    /// # Errors
    /// As [`Answers::decision`].
    pub fn consumption(
        &self,
        reads: &Reads<'_>,
        request: &JournalRequest,
        claim: Sha256Digest,
    ) -> Result<StoredResponse, Unwritten> {
        let response = match request.state {
            RequestState::Consumed | RequestState::Recorded => {
                let event = self.event(reads, request.authorization_id, ItemEvent::Consumed)?;
                let draft = Draft::plain(Decision::Consumed);
                self.proven(request, draft, &event, abi::AuthorizationConsumed::SIGNATURE_HASH, Vec::new())?
            }
            RequestState::Denied | RequestState::Cancelled | RequestState::Expired | RequestState::Refused => {
                self.decision_response(reads, request)?
            }
            RequestState::Received | RequestState::Pending | RequestState::Approved => {
                return Err(BridgeError::Corrupt(format!("{} is not consumed", request.authorization_id)).into());
            }
        };
        self.store(request, ResponseKind::Consumed(claim), &response)
    }

    /// The answer to an outcome.
    ///
    /// # Errors
    /// As [`Answers::decision`].
    pub fn record(&self, reads: &Reads<'_>, request: &JournalRequest) -> Result<StoredResponse, Unwritten> {
        let event = self.event(reads, request.authorization_id, ItemEvent::Recorded)?;
        let draft = Draft::plain(Decision::Recorded);
        let response = self.proven(request, draft, &event, abi::ExecutionRecorded::SIGNATURE_HASH, Vec::new())?;
        self.store(request, ResponseKind::Recorded, &response)
    }

    /// The answer to a request that was refused before it was journalled.
    ///
    /// # Errors
    /// [`BridgeError::Key`].
    pub fn refusal(&self, refused: &RefusedRequest, refusal: &Refusal) -> Result<StoredResponse, BridgeError> {
        let (action_hash, request_hash) = match &refused.request {
            Some(request) => (request.action_hash, crypto::request_hash(request)?),
            None => (Sha256Digest::ZERO, Sha256Digest::ZERO),
        };
        let subject = Subject {
            request_id: refused.request_id.clone(),
            authorization_id: AuthorizationId::ZERO,
            action_hash,
            request_hash,
        };
        let response = self.word_alone(subject, format!("{REFUSED}{refusal}"))?;
        Ok(StoredResponse {
            name: ResponseKind::Decision.file_name(&refused.request_id),
            request_id: refused.request_id.clone(),
            bytes: response.canonical()?,
            slot: refused.slot,
        })
    }

    fn store(
        &self,
        request: &JournalRequest,
        kind: ResponseKind,
        response: &AuthResponse,
    ) -> Result<StoredResponse, Unwritten> {
        let request_id = request.request_id.clone();
        let slot = request.slot && kind == ResponseKind::Decision;
        Ok(StoredResponse { name: kind.file_name(&request_id), request_id, bytes: response.canonical()?, slot })
    }

    fn event(&self, reads: &Reads<'_>, id: AuthorizationId, kind: ItemEvent) -> Result<ChainEvent, BridgeError> {
        reads.event(id, kind)?.ok_or_else(|| BridgeError::Corrupt(format!("{id} has no {} event", kind.as_str())))
    }

    fn unproven(&self, request: &JournalRequest, reason: String) -> Result<AuthResponse, Unwritten> {
        let subject = Subject {
            request_id: request.request_id.clone(),
            authorization_id: request.authorization_id,
            action_hash: request.action_hash,
            request_hash: request.request_hash,
        };
        Ok(self.word_alone(subject, reason)?)
    }

    /// A denial that nothing on chain proves: the bridge's word, signed.
    fn word_alone(&self, subject: Subject, reason: String) -> Result<AuthResponse, BridgeError> {
        self.sign(AuthResponse {
            request_id: subject.request_id,
            authorization_id: subject.authorization_id,
            action_hash: subject.action_hash,
            request_hash: subject.request_hash,
            decision: Decision::Denied,
            blockchain_tx_hash: B256::ZERO,
            block_number: 0,
            block_hash: B256::ZERO,
            approver: Address::ZERO,
            timestamp: Timestamp::now(),
            signature: Bytes::new(),
            denial_reason: Some(reason),
            conditions: Vec::new(),
            evidence_hash: Sha256Digest::ZERO,
            evidence: None,
        })
    }

    fn proven(
        &self,
        request: &JournalRequest,
        draft: Draft,
        event: &ChainEvent,
        topic: B256,
        votes: Vec<EvidenceVote>,
    ) -> Result<AuthResponse, Unwritten> {
        let (contract, chain_id, id) = (self.contract, self.chain_id, request.authorization_id);
        let block = self.block(event.block_hash)?;
        let proof = block.prove(event.tx_hash)?;
        let evidence = Evidence {
            chain_id,
            contract,
            requester: request.requester,
            expires_at: request.expires_at_s,
            risk_bps: request.risk_score.bps(),
            epoch: request.epoch,
            block_header: block.header_rlp(),
            transaction_index: proof.transaction_index,
            transaction_proof: proof.transaction_proof,
            receipt_proof: proof.receipt_proof,
            log_index: block.log_index(event.tx_hash, contract, topic, id.0)?,
            votes,
        };
        let signed = self.sign(AuthResponse {
            request_id: request.request_id.clone(),
            authorization_id: id,
            action_hash: request.action_hash,
            request_hash: request.request_hash,
            decision: draft.decision,
            blockchain_tx_hash: event.tx_hash,
            block_number: event.block_number,
            block_hash: event.block_hash,
            approver: draft.approver,
            timestamp: Timestamp::now(),
            signature: Bytes::new(),
            denial_reason: draft.denial_reason,
            conditions: draft.conditions,
            evidence_hash: crypto::evidence_hash(Some(&evidence))?,
            evidence: Some(evidence),
        })?;
        Ok(signed)
    }

    fn sign(&self, mut response: AuthResponse) -> Result<AuthResponse, BridgeError> {
        crash::point("sign.response.before");
        response.signature = self.signer.sign(crypto::response_digest(&self.domain, &response))?;
        crash::point("sign.response.after");
        Ok(response)
    }

    fn block(&self, hash: B256) -> Result<&BlockProofs, Unwritten> {
        self.blocks.iter().find(|block| block.hash() == hash).ok_or(Unwritten::Needs(Need::Block(hash)))
    }

    fn approving_votes(&self, reads: &Reads<'_>, request: &JournalRequest) -> Result<Vec<EvidenceVote>, Unwritten> {
        let mut votes = Vec::new();
        for vote in reads.chain_votes(request.authorization_id)?.iter().filter(|vote| vote.approve) {
            votes.push(self.vote_proof(reads, request, vote)?);
        }
        Ok(votes)
    }

    /// A vote's own proof: the signature that came through this bridge, else what its transaction carried.
    fn vote_proof(
        &self,
        reads: &Reads<'_>,
        request: &JournalRequest,
        vote: &ChainVote,
    ) -> Result<EvidenceVote, Unwritten> {
        let id = request.authorization_id;
        let evidence =
            |proof| EvidenceVote { approver: vote.approver, approve: vote.approve, note: vote.note.clone(), proof };
        if let Some(signature) = reads.vote_signature(id, vote.approver, vote.approve, &vote.note)? {
            return Ok(evidence(VoteProof::Signature(signature)));
        }
        let envelope = self
            .transactions
            .iter()
            .find(|kept| *kept.tx_hash() == vote.tx_hash)
            .ok_or(Unwritten::Needs(Need::Transaction(vote.tx_hash)))?;
        let input = envelope.input();
        if abi::voteCall::abi_decode(input).is_ok() {
            return Ok(evidence(VoteProof::Transaction(canonical_form(envelope).into())));
        }
        signature_in(input, id, vote.approver, vote.approve)
            .map(|signature| evidence(VoteProof::Signature(signature)))
            .ok_or_else(|| {
                let what = format!("the vote of {} for {id} has no proof in {}", vote.approver, vote.tx_hash);
                Unwritten::Failed(BridgeError::Corrupt(what))
            })
    }
}

/// Finds an approver's signature in the calldata of `decide` or `decideBatch`.
fn signature_in(input: &[u8], id: AuthorizationId, approver: Address, approve: bool) -> Option<Bytes> {
    let decisions: Vec<(abi::Request, Vec<abi::SignedVote>)> = if let Ok(call) = abi::decideCall::abi_decode(input) {
        vec![(call.r, call.votes)]
    } else {
        let call = abi::decideBatchCall::abi_decode(input).ok()?;
        call.r.into_iter().zip(call.votes).collect()
    };
    let (_, votes) = decisions.into_iter().find(|(r, _)| crypto::authorization_id(r) == id)?;
    votes.into_iter().find(|vote| vote.approver == approver && vote.approve == approve).map(|vote| vote.signature)
}

/// Where the journal keeps why the contract refused a request.
pub fn refusal_key(id: AuthorizationId) -> String {
    format!("refusal {id}")
}
