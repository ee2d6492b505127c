//! Bundles from a real bridge and a real chain, of every kind there is, for the tests that tamper with them.

use std::process::Command;

use alloy::primitives::{Address, B256, Bytes};
use guardrail::channel::ResponseKind;
use guardrail::crypto::{self, SigningDomain};
use guardrail::evidence::bundle::{BundleAnchors, Consumption, RecordedOutcome};
use guardrail::evidence::{Bundle, Verifier};
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, Decision, Outcome, Sha256Digest, Timestamp, TrustAnchors,
};
use serde_json::{Value, json};

use crate::fault_support::{End, Life, Observer, becomes, drive};
use crate::jsonrpc::Rpc;
use crate::support::{Process, World, deployment, dev, project, request};

/// Decisions, consumptions and outcomes in the big transactions.
pub const BATCH: usize = 32;

/// What everything below is made of. The chain and the bridge live on.
pub struct Fixture {
    pub world: World,
    _bridge: Process,
    /// Both epochs.
    pub anchors: TrustAnchors,
    /// Approved, consumed and recorded in transactions of 32.
    pub batch: Vec<Bundle>,
    /// Two that were approved in one block by two transactions, among one transaction of each other type.
    pub neighbours: Vec<Bundle>,
    /// Approved by one vote, consumed, recorded; each in a transaction of its own. The first two of epoch 1,
    /// the last of epoch 2.
    pub single: Vec<Bundle>,
    pub by_transaction: Bundle,
    pub denied: Bundle,
    /// Denied after an approval of the same request by somebody else.
    pub outvoted: Bundle,
    pub cancelled: Bundle,
    /// The bridge's word, signed.
    pub refused: Bundle,
}

impl Fixture {
    pub async fn make() -> Fixture {
        let world = World::in_memory();
        let mut bridge = world.bridge();
        let observer = Observer::new(&world);
        let first = world.anchors();

        let batch = batch(&world, &observer, &mut bridge, &first);
        let neighbours = neighbours(&world, &observer, &first);
        let mut single: Vec<Bundle> = (0..2).map(|index| recorded(&world, &observer, &first, small(index))).collect();

        let asked = deployment();
        observer.channel.publish_request(&asked).unwrap();
        world.pending_id(&asked.request_id);
        for account in ["3", "2"] {
            world.ok(&[
                "approve",
                asked.request_id.as_str(),
                "--dev-account",
                account,
                "--on-chain",
                "--condition",
                "x",
            ]);
        }
        let by_transaction = decided(&world, &first, asked).await;

        let asked = small(2);
        observer.channel.publish_request(&asked).unwrap();
        world.pending_id(&asked.request_id);
        world.ok(&["deny", asked.request_id.as_str(), "--reason", "cancelled: no, it is denied", "--dev-account", "1"]);
        let denied = decided(&world, &first, asked).await;

        let asked = deployment();
        observer.channel.publish_request(&asked).unwrap();
        world.pending_id(&asked.request_id);
        world.ok(&["approve", asked.request_id.as_str(), "--dev-account", "1"]);
        world.ok(&["deny", asked.request_id.as_str(), "--reason", "not now", "--dev-account", "2"]);
        let outvoted = decided(&world, &first, asked).await;

        let asked = small(3);
        observer.channel.publish_request(&asked).unwrap();
        world.pending_id(&asked.request_id);
        world.ok(&["cancel", asked.request_id.as_str(), "--reason", "superseded"]);
        let cancelled = decided(&world, &first, asked).await;

        world.ok(&["admin", "set-approver", &dev(5).address().to_string(), "security"]);
        let anchors = world.anchors().with_epochs_of(&first);
        assert_eq!(anchors.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 2]);
        single.push(recorded(&world, &observer, &anchors, small(4)));
        let refused = refused(&anchors);
        Fixture {
            world,
            _bridge: bridge,
            anchors,
            batch,
            neighbours,
            single,
            by_transaction,
            denied,
            outvoted,
            cancelled,
            refused,
        }
    }

    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.anchors.clone(), None).unwrap()
    }

    /// One of each kind.
    pub fn kinds(&self) -> Vec<&Bundle> {
        let mut all = vec![&self.batch[0], &self.batch[31], &self.neighbours[0], &self.neighbours[1]];
        all.extend(&self.single);
        all.extend([&self.by_transaction, &self.denied, &self.outvoted, &self.cancelled, &self.refused]);
        all
    }

    pub fn domain(&self) -> SigningDomain {
        SigningDomain::new(self.anchors.chain_id, self.anchors.contract)
    }
}

/// A request that one vote settles.
fn small(index: usize) -> AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": format!("release-{index}"), "environment": "production"}))
}

/// Requests that go through every stage together: each stage's files are there before a bridge looks.
fn batch(world: &World, observer: &Observer, bridge: &mut Process, anchors: &TrustAnchors) -> Vec<Bundle> {
    let mut lives: Vec<Life> = (0..BATCH).map(|_| Life::new(End::Recorded)).collect();
    bridge.kill();
    for life in &lives {
        observer.channel.publish_request(&life.request).unwrap();
    }
    *bridge = world.bridge();
    becomes("requests on chain", &BATCH, || observer.ledger().requests());
    for stage in 0..3 {
        bridge.kill();
        let ledger = observer.ledger();
        for life in &mut lives {
            assert!(!life.advance(observer, &ledger));
        }
        *bridge = world.bridge();
        let answers = |life: &Life| life.kinds()[stage].file_name(life.id());
        let all: Vec<String> = lives.iter().map(answers).collect();
        world.eventually(&format!("stage {stage} is answered"), || {
            all.iter().all(|name| observer.channel.responses_dir().join(name).exists()).then_some(())
        });
    }
    let bundles: Vec<Bundle> = lives.iter().map(|life| bundle_of(observer, anchors, life)).collect();
    for pick in [
        (|b: &Bundle| b.decision.blockchain_tx_hash) as fn(&Bundle) -> B256,
        |b| b.consumption.as_ref().unwrap().response.blockchain_tx_hash,
        |b| b.outcome.as_ref().unwrap().response.blockchain_tx_hash,
    ] {
        let mut transactions: Vec<B256> = bundles.iter().map(pick).collect();
        transactions.sort_unstable();
        transactions.dedup();
        assert_eq!(transactions.len(), 1, "all {BATCH} in one transaction");
    }
    bundles
}

/// Two decisions in one block, each in a transaction of its own, among transactions of every type.
fn neighbours(world: &World, observer: &Observer, anchors: &TrustAnchors) -> Vec<Bundle> {
    let rpc = Rpc::new(&world.anvil.url);
    let mut lives: Vec<Life> =
        (10..12).map(|index| Life::of(small(index), End::Recorded).begin(&observer.channel)).collect();
    let ids: Vec<AuthorizationId> = lives.iter().map(|life| observer.requested(world, life.id())).collect();
    rpc.call("evm_setAutomine", json!([false]));
    strays(world);
    for (waiting, (life, id)) in (STRAYS.len() as u64 + 1..).zip(lives.iter_mut().zip(&ids)) {
        life.approve(observer, *id);
        world.eventually("the decision waits to be mined", || (pooled(&rpc) >= waiting).then_some(()));
    }
    rpc.call("evm_mine", json!([]));
    rpc.call("evm_setAutomine", json!([true]));
    drive(world, observer, &mut lives);
    let bundles: Vec<Bundle> = lives.iter().map(|life| bundle_of(observer, anchors, life)).collect();
    let [one, other] = [&bundles[0].decision, &bundles[1].decision];
    assert_eq!(one.block_hash, other.block_hash);
    assert_ne!(one.blockchain_tx_hash, other.blockchain_tx_hash);
    let block = rpc.call("eth_getBlockByHash", json!([one.block_hash, true]));
    let mut types: Vec<&str> =
        block["transactions"].as_array().unwrap().iter().map(|tx| tx["type"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["0x0", "0x1", "0x2", "0x2", "0x2", "0x3", "0x4"]);
    bundles
}

const STRAYS: [&[&str]; 5] = [
    &["--legacy"],
    &["--legacy", "--access-list", "[]"],
    &[],
    &["--blob", "--path"],
    &["--auth", "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"],
];

/// Sends one transaction of each type, by nobody in particular, and leaves them to be mined.
pub fn strays(world: &World) {
    let blob = world.path("blob");
    std::fs::write(&blob, [7u8; 1000]).unwrap();
    for (account, flags) in (4..).zip(STRAYS) {
        // Anvil's public dev keys, as it prints them.
        let mnemonic = "test test test test test test test test test test test junk";
        let mut command = Command::new(project().join("contracts/node_modules/.bin/cast"));
        command.args(["send", "--async", "--rpc-url", &world.anvil.url, "--mnemonic", mnemonic]);
        command.args(["--mnemonic-index", &account.to_string()]).args(flags);
        if flags.contains(&"--path") {
            command.arg(&blob);
        }
        let output = command.arg(dev(7).address().to_string()).output().unwrap();
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// How many transactions wait to be mined.
pub fn pooled(rpc: &Rpc) -> u64 {
    let status = rpc.call("txpool_status", json!([]));
    u64::from_str_radix(status["pending"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn recorded(world: &World, observer: &Observer, anchors: &TrustAnchors, request: AuthRequest) -> Bundle {
    let mut lives = [Life::of(request, End::Recorded).begin(&observer.channel)];
    drive(world, observer, &mut lives);
    bundle_of(observer, anchors, &lives[0])
}

async fn decided(world: &World, anchors: &TrustAnchors, request: AuthRequest) -> Bundle {
    let decision = world.response(&request.request_id, ResponseKind::Decision).await;
    let epoch = decision.evidence.as_ref().unwrap().epoch;
    let anchors = BundleAnchors::of(anchors, epoch).unwrap();
    Bundle { request, anchors, decision, consumption: None, outcome: None }
}

/// The bundle of a life that came to its end.
fn bundle_of(observer: &Observer, anchors: &TrustAnchors, life: &Life) -> Bundle {
    let answer = |kind| {
        let bytes = observer.channel.read_response(life.id(), kind).unwrap().unwrap();
        AuthResponse::parse(&bytes).unwrap()
    };
    let decision = answer(ResponseKind::Decision);
    let epoch = decision.evidence.as_ref().unwrap().epoch;
    let consumption = Consumption { claim: life.claim, response: answer(ResponseKind::Consumed(life.claim)) };
    let response = answer(ResponseKind::Recorded);
    Bundle {
        request: life.request.clone(),
        anchors: BundleAnchors::of(anchors, epoch).unwrap(),
        decision,
        consumption: Some(consumption),
        outcome: Some(RecordedOutcome { outcome: Outcome::Succeeded, result: Life::result(), response }),
    }
}

/// What the bridge says of a request that breaks a rule; nothing of it is on a chain.
fn refused(anchors: &TrustAnchors) -> Bundle {
    let request = small(9);
    let mut decision = AuthResponse {
        request_id: request.request_id.clone(),
        authorization_id: AuthorizationId::ZERO,
        action_hash: request.action_hash,
        request_hash: crypto::request_hash(&request).unwrap(),
        decision: Decision::Denied,
        blockchain_tx_hash: B256::ZERO,
        block_number: 0,
        block_hash: B256::ZERO,
        approver: Address::ZERO,
        timestamp: Timestamp::now(),
        signature: Bytes::new(),
        denial_reason: Some("refused: risk floor".to_owned()),
        conditions: Vec::new(),
        evidence_hash: Sha256Digest::ZERO,
        evidence: None,
    };
    resign(&SigningDomain::new(anchors.chain_id, anchors.contract), &mut decision);
    let anchors = BundleAnchors::of(anchors, 1).unwrap();
    Bundle { request, anchors, decision, consumption: None, outcome: None }
}

/// What a malicious bridge can do: hash and sign whatever it likes.
pub fn resign(domain: &SigningDomain, response: &mut AuthResponse) {
    response.evidence_hash = crypto::evidence_hash(response.evidence.as_ref()).unwrap();
    response.signature = dev(9).sign(crypto::response_digest(domain, response)).unwrap();
}

/// A bundle as a tree, to be changed freely.
pub fn tree(bundle: &Bundle) -> Value {
    serde_json::from_slice(&bundle.canonical().unwrap()).unwrap()
}
