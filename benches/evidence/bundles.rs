//! Bundles of requests that went through a chain together: 32 decisions, consumptions and outcomes a transaction.

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::{SolCall, SolEvent};
use anyhow::{Context, Result};
use guardrail::contract::read_anchors;
use guardrail::crypto::{self, SigningDomain, SigningKey, abi};
use guardrail::evidence::bundle::{BundleAnchors, Consumption, RecordedOutcome};
use guardrail::evidence::{BlockProofs, Bundle, Endpoint};
use guardrail::schema::anchors::DEV_CHAIN_ID;
use guardrail::schema::{
    AuthResponse, Decision, Evidence, EvidenceVote, Outcome, Sha256Digest, Timestamp, TrustAnchors, VoteFile, VoteProof,
};
use serde_json::json;

use crate::baseline::{Account, BATCH_GAS};
use crate::fixture::{LIFETIME_S, Ledger, Prepared, dev};

/// Bundles and what a verifier pins for them.
pub struct Made {
    pub anchors: TrustAnchors,
    pub bundles: Vec<Bundle>,
}

/// Takes requests through their whole life, `each` of them in every transaction, and proves it.
pub fn make(requests: &[Prepared], each: usize) -> Result<Made> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ledger = Ledger::start()?;
    let mut maker = Maker::new(&ledger, &runtime)?;
    let mut bundles = Vec::with_capacity(requests.len());
    for chunk in requests.chunks(each) {
        bundles.extend(maker.lives(chunk)?);
    }
    Ok(Made { anchors: maker.anchors, bundles })
}

struct Maker<'a> {
    ledger: &'a Ledger,
    runtime: &'a tokio::runtime::Runtime,
    endpoint: Endpoint,
    account: Account,
    signer: SigningKey,
    domain: SigningDomain,
    anchors: TrustAnchors,
}

/// A transaction of several calls, with its block.
struct Sent {
    hash: B256,
    block: BlockProofs,
}

impl<'a> Maker<'a> {
    fn new(ledger: &'a Ledger, runtime: &'a tokio::runtime::Runtime) -> Result<Self> {
        let endpoint = runtime.block_on(Endpoint::connect(&ledger.url()))?;
        let anchors = runtime.block_on(read_anchors(endpoint.provider(), ledger.contract, 1, LIFETIME_S))?;
        Ok(Maker {
            ledger,
            runtime,
            endpoint,
            account: Account::new(dev::REQUESTER)?,
            signer: SigningKey::dev(dev::SIGNER)?,
            domain: SigningDomain::new(DEV_CHAIN_ID, ledger.contract),
            anchors,
        })
    }

    fn lives(&mut self, requests: &[Prepared]) -> Result<Vec<Bundle>> {
        self.send(Prepared::batch_call(requests))?;
        let votes: Vec<VoteFile> =
            requests.iter().map(|request| request.approval(self.ledger.contract)).collect::<Result<_>>()?;
        let r: Vec<abi::Request> = requests.iter().map(|request| request.on_chain.clone()).collect();
        let signed = votes.iter().map(|vote| vec![signed(vote)]).collect();
        let decided = self.send(abi::decideBatchCall { r: r.clone(), votes: signed }.abi_encode())?;
        let claims: Vec<Sha256Digest> =
            requests.iter().map(|p| crypto::hash::sha256(p.id.as_str().as_bytes())).collect();
        let on_chain = claims.iter().map(|claim| claim.0).collect();
        let consumed = self.send(abi::consumeBatchCall { r: r.clone(), claims: on_chain }.abi_encode())?;
        let result = json!({ "value": { "status": "simulated" }, "conditions": [] });
        let hashes: Vec<Sha256Digest> = requests
            .iter()
            .zip(&claims)
            .map(|(p, claim)| Ok(crypto::outcome_hash(p.authorization_id(), *claim, Outcome::Succeeded, &result)?))
            .collect::<Result<_>>()?;
        let call = abi::recordBatchCall {
            r,
            outcomes: vec![Outcome::Succeeded.code(); requests.len()],
            outcomeHashes: hashes.iter().map(|hash| hash.0).collect(),
        };
        let recorded = self.send(call.abi_encode())?;

        let mut bundles = Vec::with_capacity(requests.len());
        for ((request, vote), claim) in requests.iter().zip(&votes).zip(&claims) {
            let approved = self.response(request, Decision::Approved, Some(vote), &decided)?;
            let consumed = self.response(request, Decision::Consumed, None, &consumed)?;
            let recorded = self.response(request, Decision::Recorded, None, &recorded)?;
            bundles.push(Bundle {
                request: request.request(),
                anchors: BundleAnchors::of(&self.anchors, request.on_chain.epoch).context("the epoch is not pinned")?,
                decision: approved,
                consumption: Some(Consumption { claim: *claim, response: consumed }),
                outcome: Some(RecordedOutcome {
                    outcome: Outcome::Succeeded,
                    result: result.clone(),
                    response: recorded,
                }),
            });
        }
        Ok(bundles)
    }

    fn send(&mut self, call: Vec<u8>) -> Result<Sent> {
        let raw = self.account.call(self.ledger.contract, &call, BATCH_GAS)?;
        self.ledger.connect()?.send_sync(&raw)?;
        let hash = keccak256(&raw);
        let provider = self.endpoint.provider();
        let block = self.runtime.block_on(async {
            let receipt = provider.get_transaction_receipt(hash).await?.context("no receipt")?;
            let block_hash = receipt.block_hash.context("a receipt without a block")?;
            Ok::<_, anyhow::Error>(BlockProofs::fetch(provider, block_hash).await?)
        })?;
        Ok(Sent { hash, block })
    }

    fn response(
        &self,
        request: &Prepared,
        decision: Decision,
        vote: Option<&VoteFile>,
        sent: &Sent,
    ) -> Result<AuthResponse> {
        let topic = match decision {
            Decision::Approved => abi::AuthorizationApproved::SIGNATURE_HASH,
            Decision::Denied => abi::AuthorizationDenied::SIGNATURE_HASH,
            Decision::Consumed => abi::AuthorizationConsumed::SIGNATURE_HASH,
            Decision::Recorded => abi::ExecutionRecorded::SIGNATURE_HASH,
        };
        let (id, contract) = (request.authorization_id(), self.ledger.contract);
        let proof = sent.block.prove(sent.hash)?;
        let r = &request.on_chain;
        let evidence = Evidence {
            chain_id: DEV_CHAIN_ID,
            contract,
            requester: r.requester,
            expires_at: r.expiresAt.to(),
            risk_bps: r.riskBps,
            epoch: r.epoch,
            block_header: sent.block.header_rlp(),
            transaction_index: proof.transaction_index,
            transaction_proof: proof.transaction_proof,
            receipt_proof: proof.receipt_proof,
            log_index: sent.block.log_index(sent.hash, contract, topic, id.0)?,
            votes: vote.map(proven).into_iter().collect(),
        };
        let mut response = AuthResponse {
            request_id: request.id.clone(),
            authorization_id: id,
            action_hash: Sha256Digest(r.actionHash),
            request_hash: Sha256Digest(r.requestHash),
            decision,
            blockchain_tx_hash: sent.hash,
            block_number: sent.block.header().number,
            block_hash: sent.block.hash(),
            approver: vote.map_or(Address::ZERO, |vote| vote.approver),
            timestamp: Timestamp::now(),
            signature: Bytes::new(),
            denial_reason: None,
            conditions: Vec::new(),
            evidence_hash: crypto::evidence_hash(Some(&evidence))?,
            evidence: Some(evidence),
        };
        response.signature = self.signer.sign(crypto::response_digest(&self.domain, &response))?;
        Ok(response)
    }
}

fn signed(vote: &VoteFile) -> abi::SignedVote {
    abi::SignedVote {
        approver: vote.approver,
        approve: vote.approve,
        note: vote.note.as_str().to_owned(),
        signature: vote.signature.clone(),
    }
}

fn proven(vote: &VoteFile) -> EvidenceVote {
    EvidenceVote {
        approver: vote.approver,
        approve: vote.approve,
        note: vote.note.clone(),
        proof: VoteProof::Signature(vote.signature.clone()),
    }
}
