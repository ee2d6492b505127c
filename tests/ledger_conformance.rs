//! One suite for both ledgers: a real Anvil and the in-memory one of `--mock-chain`, each behind a real bridge.
//!
//! Every scenario runs on each. What one ledger's bridge signed is checked with the other's domain as well, and
//! must fail there.

use std::process::Output;

use alloy::primitives::aliases::U40;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolError, SolInterface};
use guardrail::channel::{Channel, ResponseKind};
use guardrail::contract::bindings::Authorization as binding;
use guardrail::contract::{IAuthorization, policy_line};
use guardrail::crypto::{self, SigningDomain};
use guardrail::evidence::{
    ChainVerdict, Clock, DenialKind, Endpoint, VerifiedApproval, VerifiedDecision, VerifiedDenial, Verifier,
};
use guardrail::schema::message::OutcomeKind;
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, LedgerKind, Outcome, OutcomeMessage, Timestamp, TrustAnchors, VoteProof,
};
use serde_json::{Value, json};

use crate::bridge_life::consume_message;
use crate::support::{Process, World, claim, deployment, dev, drop_file, request};

/// A ledger with a bridge on it.
struct Site {
    world: World,
    /// Read once, when it began.
    anchors: TrustAnchors,
    /// The mock ledger's bridge is the world's chain itself.
    _bridge: Option<Process>,
}

/// What starts one kind of ledger.
trait Ledger {
    fn start(environment: &[(&str, &str)], before: impl FnOnce(&Channel)) -> Site;
}

struct Evm;

impl Ledger for Evm {
    fn start(environment: &[(&str, &str)], before: impl FnOnce(&Channel)) -> Site {
        let world = World::new();
        before(&world.channel());
        let bridge = world.bridge_with(environment);
        Site { anchors: world.anchors(), world, _bridge: Some(bridge) }
    }
}

struct Mock;

impl Ledger for Mock {
    fn start(environment: &[(&str, &str)], before: impl FnOnce(&Channel)) -> Site {
        let world = World::mock(environment, before);
        Site { anchors: world.anchors(), world, _bridge: None }
    }
}

/// Runs every scenario on both ledgers.
macro_rules! on_both_ledgers {
    ($($scenario:ident),* $(,)?) => {
        mod evm {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario::<super::Evm>().await;
            })*
        }

        mod mock {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario::<super::Mock>().await;
            })*
        }
    };
}

on_both_ledgers!(
    approved_consumed_recorded,
    denied_by_one,
    expired_undecided,
    approved_by_transactions,
    cancelled_by_the_administrator,
    seen_before_is_refused,
    several_in_one_transaction,
    one_claim_of_two,
    every_error_is_the_contracts,
    the_set_up_is_the_dev_chains,
);

impl Site {
    fn start<L: Ledger>() -> Site {
        L::start(&[], |_| {})
    }

    /// Publishes a request; its id on the ledger.
    fn publish(&self, request: &AuthRequest) -> AuthorizationId {
        self.world.channel().publish_request(request).unwrap();
        self.world.pending_id(&request.request_id)
    }

    fn approve(&self, request: &AuthRequest, account: &str, more: &[&str]) {
        let arguments = ["approve", request.request_id.as_str(), "--dev-account", account];
        self.world.ok(&[&arguments[..], more].concat());
    }

    /// A verifier who takes the ledger for the other kind; everything else is as it should be.
    fn misled(&self) -> Verifier {
        let other = match self.world.ledger {
            LedgerKind::Evm => LedgerKind::Mock,
            LedgerKind::Mock => LedgerKind::Evm,
        };
        Verifier::for_ledger(other, self.anchors.clone(), None).unwrap()
    }

    /// The verified decision; the misled verifier fails at `step`.
    async fn decision(&self, request: &AuthRequest, step: u8) -> (VerifiedDecision, AuthResponse) {
        let response = self.world.response(&request.request_id, ResponseKind::Decision).await;
        let decision = self.world.verifier().await.verify_decision(request, &response, Timestamp::now()).unwrap();
        let failure = self.misled().verify_decision(request, &response, Timestamp::now()).unwrap_err();
        assert_eq!(failure.step, step, "{failure}");
        (decision, response)
    }

    async fn approval(&self, request: &AuthRequest, step: u8) -> (VerifiedApproval, AuthResponse) {
        match self.decision(request, step).await {
            (VerifiedDecision::Approved(approval), response) => (*approval, response),
            other => panic!("{other:?}"),
        }
    }

    async fn denial(&self, request: &AuthRequest, step: u8) -> (VerifiedDenial, AuthResponse) {
        match self.decision(request, step).await {
            (VerifiedDecision::Denied(denial), response) => (denial, response),
            other => panic!("{other:?}"),
        }
    }

    /// Consumes and records what was approved, each answer verified; the misled verifier fails at the signature.
    async fn execute(&self, request: &AuthRequest, approval: VerifiedApproval) {
        let (verifier, misled, channel) = (self.world.verifier().await, self.misled(), self.world.channel());
        let id = approval.authorization_id();
        let (secret, claim) = claim();
        channel.publish_consume(&consume_message(request, id, claim)).unwrap();
        let consumed = self.world.response(&request.request_id, ResponseKind::Consumed(claim)).await;
        let consumption = verifier.verify_consumption(approval, claim, &consumed, Timestamp::now()).await.unwrap();
        assert_eq!((consumption.claim(), consumption.chain()), (claim, ChainVerdict::Checked));
        let failure = misled.consumption(request, id, claim, &consumed, Clock::Audit).unwrap_err();
        assert_eq!(failure.step, 5, "{failure}");

        let outcome = Outcome::Succeeded;
        let outcome_hash = crypto::outcome_hash(id, claim, outcome, &json!({"status": "simulated"})).unwrap();
        let message = OutcomeMessage {
            kind: OutcomeKind::Outcome,
            request_id: request.request_id.clone(),
            authorization_id: id,
            claim_secret: secret,
            outcome,
            outcome_hash,
            timestamp: Timestamp::now(),
        };
        channel.publish_outcome(&message).unwrap();
        let recorded = self.world.response(&request.request_id, ResponseKind::Recorded).await;
        verifier.verify_recorded(request, id, outcome, outcome_hash, &recorded).unwrap();
        let failure = misled.verify_recorded(request, id, outcome, outcome_hash, &recorded).unwrap_err();
        assert_eq!(failure.step, 5, "{failure}");
    }
}

/// A request that one vote settles.
fn small(branch: &str) -> AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": branch}))
}

async fn approved_consumed_recorded<L: Ledger>() {
    let site = Site::start::<L>();
    let request = deployment();
    let id = site.publish(&request);
    site.approve(&request, "1", &["--condition", "canary first"]);
    assert!(site.world.ok(&["pending", "--json"]).contains(&id.to_string()), "one vote does not settle it");
    site.approve(&request, "2", &["--condition", "notify ops"]);
    let (approval, _) = site.approval(&request, 3).await;
    let mut conditions = approval.conditions().to_vec();
    conditions.sort();
    assert_eq!(
        (approval.authorization_id(), conditions),
        (id, vec!["canary first".to_owned(), "notify ops".to_owned()])
    );
    site.execute(&request, approval).await;
    let events = site.world.audit(id);
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = [
        "AuthorizationRequested",
        "VoteCast",
        "VoteCast",
        "AuthorizationApproved",
        "AuthorizationConsumed",
        "ExecutionRecorded",
    ];
    assert_eq!(names, expected);
    assert!(events.iter().all(|event| event["ledger"] == site.world.ledger.as_str()), "{events:#?}");
    site.world.empties("claimed");
    assert_eq!(site.world.quarantined(), []);
}

async fn denied_by_one<L: Ledger>() {
    let site = Site::start::<L>();
    let request = deployment();
    let id = site.publish(&request);
    site.approve(&request, "1", &[]);
    let reason = "not during the freeze";
    site.world.ok(&["deny", request.request_id.as_str(), "--reason", reason, "--dev-account", "2"]);
    let (denial, _) = site.denial(&request, 3).await;
    let expected = VerifiedDenial {
        kind: DenialKind::Denied,
        reason: reason.to_owned(),
        approver: dev(2).address(),
        authorization_id: id,
    };
    assert_eq!(denial, expected);
    let late = site.world.run(&["approve", request.request_id.as_str(), "--dev-account", "2"]);
    assert_eq!(late.status.code(), Some(2), "{late:?}");
}

async fn expired_undecided<L: Ledger>() {
    let site = L::start(&[("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", "4")], |_| {});
    let request = deployment();
    let id = site.publish(&request);
    let (denial, response) = site.denial(&request, 5).await;
    assert_eq!((denial.kind, denial.authorization_id, response.evidence), (DenialKind::Expired, id, None));
    let status = site.status(id).await;
    assert_eq!(status, 7);
}

async fn approved_by_transactions<L: Ledger>() {
    let site = Site::start::<L>();
    let request = deployment();
    site.publish(&request);
    site.approve(&request, "3", &["--on-chain"]);
    site.approve(&request, "2", &["--on-chain", "--condition", "x"]);
    // A transaction has no domain: here the bridge's own signature is what gives a misled verifier the truth.
    let (approval, response) = site.approval(&request, 5).await;
    assert_eq!(approval.conditions(), ["x"]);
    let votes = response.evidence.unwrap().votes;
    assert!(votes.iter().all(|vote| matches!(vote.proof, VoteProof::Transaction(_))), "{votes:?}");
    site.execute(&request, approval).await;
}

async fn cancelled_by_the_administrator<L: Ledger>() {
    let site = Site::start::<L>();
    let request = deployment();
    let id = site.publish(&request);
    site.approve(&request, "1", &["--on-chain"]);
    site.world.ok(&["cancel", request.request_id.as_str(), "--reason", "superseded"]);
    let (denial, _) = site.denial(&request, 5).await;
    let expected = VerifiedDenial {
        kind: DenialKind::Cancelled,
        reason: "cancelled: superseded".to_owned(),
        approver: dev(8).address(),
        authorization_id: id,
    };
    assert_eq!(denial, expected);
    assert_eq!(site.world.audit_names(id), ["AuthorizationRequested", "VoteCast", "AuthorizationCancelled"]);
}

async fn seen_before_is_refused<L: Ledger>() {
    let site = Site::start::<L>();
    let request = small("main");
    let id = site.publish(&request);
    let name = format!("{}.json", request.request_id);
    let path = site.world.path("channel/requests").join(&name);
    drop_file(&path, &request.canonical().unwrap());
    site.world.quarantined_as(&name, "replay");
    assert_eq!(site.world.audit_names(id), ["AuthorizationRequested"]);
    // The ledger itself takes it no second time either.
    let r = site.on_ledger(&request).await;
    let again = binding::requestAuthorizationCall {
        r,
        requestId: request.request_id.to_string(),
        toolName: request.tool_name.to_string(),
    };
    assert_eq!(site.error(0, &again).await, error(binding::AlreadyRequested { id: id.0 }));
}

async fn several_in_one_transaction<L: Ledger>() {
    let requests: Vec<AuthRequest> = (0..5).map(|index| small(&format!("branch-{index}"))).collect();
    let site = L::start(&[], |channel| {
        for request in &requests {
            channel.publish_request(request).unwrap();
        }
    });
    let ids: Vec<AuthorizationId> = requests.iter().map(|r| site.world.pending_id(&r.request_id)).collect();
    let mut transactions: Vec<Value> = ids.iter().map(|id| site.world.audit(*id)[0]["transaction"].clone()).collect();
    transactions.dedup();
    assert_eq!(transactions.len(), 1, "{transactions:?}");
    for request in &requests {
        site.approve(request, "1", &[]);
    }
    for (request, id) in requests.iter().zip(&ids) {
        let (approval, _) = site.approval(request, 3).await;
        assert_eq!(approval.authorization_id(), *id);
        site.execute(request, approval).await;
    }
}

async fn one_claim_of_two<L: Ledger>() {
    let site = Site::start::<L>();
    let request = small("main");
    let id = site.publish(&request);
    site.approve(&request, "1", &[]);
    let (approval, _) = site.approval(&request, 3).await;
    let verifier = site.world.verifier().await;
    let mut verdicts = Vec::new();
    for (_, claim) in [claim(), claim()] {
        site.world.channel().publish_consume(&consume_message(&request, id, claim)).unwrap();
        let consumed = site.world.response(&request.request_id, ResponseKind::Consumed(claim)).await;
        verdicts.push(verifier.verify_consumption(approval.clone(), claim, &consumed, Timestamp::now()).await);
    }
    assert!(verdicts[0].is_ok(), "{:?}", verdicts[0]);
    let failure = verdicts.remove(1).unwrap_err();
    assert_eq!((failure.step, failure.reason.contains("another claim")), (4, true), "{failure}");
}

// ------------------------------------------------------------------------------------- straight to the contract

/// An error as its name and arguments.
fn error(error: impl SolError) -> binding::AuthorizationErrors {
    binding::AuthorizationErrors::abi_decode(&error.abi_encode()).unwrap()
}

impl Site {
    async fn provider(&self) -> impl Provider + use<> {
        Endpoint::connect(&self.world.anvil.url).await.unwrap().provider().clone()
    }

    async fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        let asked = TransactionRequest::default().to(self.anchors.contract).input(call.abi_encode().into());
        C::abi_decode_returns(&self.provider().await.call(asked).await.unwrap()).unwrap()
    }

    /// What the contract reverts with when an account calls it, asked and estimated.
    async fn error<C: SolCall>(&self, account: usize, call: &C) -> binding::AuthorizationErrors {
        let asked = TransactionRequest::default()
            .from(dev(account).address())
            .to(self.anchors.contract)
            .input(call.abi_encode().into());
        let provider = self.provider().await;
        let called = provider.call(asked.clone()).await.unwrap_err();
        let estimated = provider.estimate_gas(asked).await.unwrap_err();
        let [called, estimated]: [Bytes; 2] =
            [called, estimated].map(|error| error.as_error_resp().unwrap().as_revert_data().unwrap());
        // An error that tells the time tells that of the last block to a call, and may tell the next one's to an estimate.
        assert_eq!(called[..4], estimated[..4]);
        binding::AuthorizationErrors::abi_decode(&called).unwrap()
    }

    async fn status(&self, id: AuthorizationId) -> u8 {
        self.ask(&binding::statusOfCall { id: id.0 }).await
    }

    /// A request as the ledger has it.
    async fn on_ledger(&self, request: &AuthRequest) -> IAuthorization::Request {
        let expires_at_s = self.expiry(request).await;
        let r = crypto::hash::chain_request(request, dev(0).address(), expires_at_s, 1).unwrap();
        IAuthorization::Request {
            requestIdHash: r.requestIdHash,
            toolHash: r.toolHash,
            actionHash: r.actionHash,
            requestHash: r.requestHash,
            requester: r.requester,
            expiresAt: r.expiresAt,
            riskBps: r.riskBps,
            epoch: r.epoch,
        }
    }

    async fn expiry(&self, request: &AuthRequest) -> u64 {
        let rows: Vec<Value> = serde_json::from_str(&self.world.ok(&["pending", "--json"])).unwrap();
        let row = rows.iter().find(|row| row["request_id"] == request.request_id.as_str()).unwrap();
        assert_eq!(row["ledger"], self.world.ledger.as_str());
        row["expires_at"].as_u64().unwrap()
    }

    fn domain(&self) -> SigningDomain {
        SigningDomain::of(self.world.ledger, 31337, self.anchors.contract)
    }
}

async fn every_error_is_the_contracts<L: Ledger>() {
    let site = Site::start::<L>();
    let pending = deployment();
    let id = site.publish(&pending).0;
    let r = site.on_ledger(&pending).await;
    let requester = dev(0).address();
    let now_s = u64::try_from(Timestamp::now().unix_s()).unwrap();
    let fresh = |change: &dyn Fn(&mut IAuthorization::Request)| {
        let mut fresh = IAuthorization::Request {
            requestIdHash: keccak256("new"),
            toolHash: keccak256("tool"),
            expiresAt: U40::from(now_s + 300),
            ..r.clone()
        };
        change(&mut fresh);
        binding::requestAuthorizationCall { r: fresh, requestId: "new".to_owned(), toolName: "tool".to_owned() }
    };
    let unknown = fresh(&|_| {}).r;
    let unknown_id = site.ask(&binding::hashRequestCall { r: unknown.clone() }).await;
    let vote = |r: &IAuthorization::Request, note: &str| binding::voteCall {
        r: r.clone(),
        approve: true,
        note: note.to_owned(),
    };

    // Requests.
    assert_eq!(
        site.error(1, &fresh(&|_| {})).await,
        error(binding::NotRequester { caller: dev(1).address(), requester })
    );
    assert_eq!(
        site.error(1, &fresh(&|r| r.requester = dev(1).address())).await,
        error(binding::UnknownRequester { requester: dev(1).address() })
    );
    assert_eq!(site.error(0, &fresh(&|r| r.epoch = 2)).await, error(binding::StaleEpoch { given: 2, current: 1 }));
    assert_eq!(
        site.error(0, &fresh(&|r| r.requestIdHash = B256::ZERO)).await,
        error(binding::RequestIdMismatch { given: keccak256("new"), expected: B256::ZERO })
    );
    assert_eq!(
        site.error(0, &fresh(&|r| r.toolHash = B256::ZERO)).await,
        error(binding::ToolNameMismatch { given: keccak256("tool"), expected: B256::ZERO })
    );
    let nameless = binding::requestAuthorizationCall { requestId: String::new(), ..fresh(&|_| {}) };
    let length = |length: u64, min: u64, max: u64| {
        error(binding::LengthOutOfRange { length: U256::from(length), min: U256::from(min), max: U256::from(max) })
    };
    assert_eq!(site.error(0, &nameless).await, length(0, 1, 64));
    assert_eq!(
        site.error(0, &fresh(&|r| r.riskBps = 10_001)).await,
        error(binding::RiskOutOfRange { riskBps: 10_001 })
    );
    for expires_at in [1, now_s + 31 * 24 * 3600] {
        let refused = site.error(0, &fresh(&|r| r.expiresAt = U40::from(expires_at))).await;
        let binding::AuthorizationErrors::ExpiryOutOfRange(refused) = refused else { panic!("{refused:?}") };
        assert_eq!(refused.expiresAt, U40::from(expires_at));
        assert_eq!(refused.latest - refused.earliest, U256::from(30 * 24 * 3600 - 1));
    }
    let lengths = binding::requestBatchCall { r: vec![r.clone()], requestIds: Vec::new(), toolNames: Vec::new() };
    assert_eq!(
        site.error(0, &lengths).await,
        error(binding::ArrayLengthMismatch { items: U256::from(1), others: U256::from(0) })
    );

    // Votes.
    assert_eq!(site.error(1, &vote(&unknown, "")).await, error(binding::UnknownRequest { id: unknown_id }));
    assert_eq!(site.error(0, &vote(&r, "")).await, error(binding::RequesterCannotVote { id, requester }));
    assert_eq!(site.error(5, &vote(&r, "")).await, error(binding::NotApprover { account: dev(5).address() }));
    assert_eq!(site.error(1, &vote(&r, &"x".repeat(513))).await, length(513, 0, 512));
    for (note, index) in [("ab\u{1}", 2), ("\u{7f}", 0), ("\u{e9}\u{85}", 3), ("\r\n", 0)] {
        let expected = error(binding::ControlCharacter { index: U256::from(index) });
        assert_eq!(site.error(1, &vote(&r, note)).await, expected, "{note:?}");
    }
    let decide = |votes: Vec<IAuthorization::SignedVote>| binding::decideCall { r: r.clone(), votes };
    assert_eq!(site.error(5, &decide(Vec::new())).await, error(binding::NoVotes { id }));
    let signed = |domain: &SigningDomain, approver: Address| {
        let hash = AuthorizationId(id);
        let digest = crypto::vote_digest(domain, hash, &pending.tool_name, pending.action_hash, true, "");
        let signature = dev(1).sign(digest).unwrap();
        IAuthorization::SignedVote { approver, approve: true, note: String::new(), signature }
    };
    let own = signed(&site.domain(), dev(1).address());
    assert_eq!(
        site.error(5, &decide(vec![own.clone(); 33])).await,
        error(binding::TooMany { given: U256::from(33), max: U256::from(32) })
    );
    let others = signed(&site.domain(), dev(3).address());
    assert_eq!(
        site.error(5, &decide(vec![own, others])).await,
        error(binding::InvalidSignature { id, approver: dev(3).address() })
    );
    // Signed for the other kind of ledger, at this very address.
    let contract = site.anchors.contract;
    let elsewhere = match site.world.ledger {
        LedgerKind::Evm => SigningDomain::mock(31337, contract),
        LedgerKind::Mock => SigningDomain::new(31337, contract),
    };
    assert_eq!(
        site.error(5, &decide(vec![signed(&elsewhere, dev(1).address())])).await,
        error(binding::InvalidSignature { id, approver: dev(1).address() })
    );

    // Execution.
    let consume = |claim: B256| binding::consumeCall { r: r.clone(), claim };
    let caller = dev(1).address();
    assert_eq!(site.error(1, &consume(B256::ZERO)).await, error(binding::NotRequester { caller, requester }));
    assert_eq!(site.error(0, &consume(B256::ZERO)).await, error(binding::ZeroClaim { id }));
    assert_eq!(site.error(0, &consume(B256::repeat_byte(1))).await, error(binding::WrongStatus { id, status: 1 }));
    let record = |outcome: u8| binding::recordExecutionCall { r: r.clone(), outcome, outcomeHash: B256::ZERO };
    assert_eq!(site.error(0, &record(4)).await, error(binding::OutcomeOutOfRange { outcome: 4 }));
    assert_eq!(site.error(0, &record(1)).await, error(binding::WrongStatus { id, status: 1 }));
    let cancel = |reason: &str| binding::cancelCall { r: r.clone(), reason: reason.to_owned() };
    assert_eq!(site.error(1, &cancel("")).await, error(binding::NotRequesterOrAdmin { caller }));
    assert_eq!(site.error(8, &cancel("\t")).await, error(binding::ControlCharacter { index: U256::from(0) }));
    assert_eq!((site.status(AuthorizationId(id)).await, site.status(AuthorizationId(unknown_id)).await), (1, 0));
}

async fn the_set_up_is_the_dev_chains<L: Ledger>() {
    let site = Site::start::<L>();
    let anchors = &site.anchors;
    let epoch = anchors.latest().unwrap();
    let approvers = site.ask(&binding::approversCall {}).await;
    let seats: Vec<(Address, u8, u8)> = approvers.iter().map(|a| (a.account, a.role, a.bit)).collect();
    assert_eq!(seats, [(dev(1).address(), 1, 0), (dev(3).address(), 1, 1), (dev(2).address(), 2, 2)]);
    let policy: Vec<IAuthorization::PolicyLine> =
        guardrail::contract::Setup::example_policy().iter().map(policy_line).collect();
    assert_eq!(site.ask(&binding::policyCall {}).await, policy);
    assert_eq!((epoch.epoch, site.ask(&binding::pausedCall {}).await), (1, false));
    assert_eq!(
        (site.ask(&binding::adminCall {}).await, site.ask(&binding::pendingAdminCall {}).await),
        (dev(8).address(), Address::ZERO)
    );
    let bridges = site.ask(&binding::bridgesCall {}).await;
    assert_eq!(bridges, [IAuthorization::Bridge { requester: dev(0).address(), signer: dev(9).address() }]);
    let domain = site.ask(&binding::eip712DomainCall {}).await;
    assert_eq!(
        (domain.fields[0], domain.name.as_str(), domain.version.as_str(), domain.chainId, domain.verifyingContract),
        (0x0f, site.world.ledger.domain_name(), "1", U256::from(31337), anchors.contract)
    );

    // What is derived from a request.
    let request = deployment();
    let id = site.publish(&request);
    let r = site.on_ledger(&request).await;
    assert_eq!(site.ask(&binding::hashRequestCall { r: r.clone() }).await, id.0);
    let digest = site.ask(&binding::hashVoteCall { r, approve: false, note: "é\n".to_owned() }).await;
    assert_eq!(digest, crypto::vote_digest(&site.domain(), id, &request.tool_name, request.action_hash, false, "é\n"));
    site.approve(&request, "3", &["--on-chain"]);
    let state = site.ask(&binding::requestStateCall { id: id.0 }).await;
    let expires_at = U40::from(site.expiry(&request).await);
    assert_eq!((state.status, state.expiresAt, state.line, state.votes), (1, expires_at, 1, 0b010));
}

// ---------------------------------------------------------------------------------- what only the mock ledger has

/// What a refused command says, with its exit code.
fn refused(output: &Output, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.contains(says)), (Some(5), true), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

#[test]
fn no_command_takes_one_ledger_for_the_other() {
    let (mock, evm) = (World::mock(&[], |_| {}), World::new());
    for arguments in [&["pending"][..], &["bridge"], &["audit"], &["anchors", "init"], &["approve", "x"]] {
        let without = mock
            .command(arguments)
            .env("GUARDRAIL_MOCK_CHAIN", "false")
            .env("GUARDRAIL_STATE_DIR", evm.path("state"))
            .env("GUARDRAIL_CHANNEL", evm.path("channel"))
            .output()
            .unwrap();
        refused(&without, "is a mock ledger");
    }
    for arguments in [&["--mock-chain", "pending"][..], &["--mock-chain", "show", "x"]] {
        refused(&evm.command(arguments).env_remove("GUARDRAIL_MOCK_CHAIN").output().unwrap(), "is no mock ledger");
    }
}

#[test]
fn a_run_without_the_flag_asks_a_mock_ledger_for_nothing() {
    let world = World::mock(&[], |_| {});
    world.workspace();
    let run = ["--prompt", "Deploy the fix to production"];
    let output = world.agent_command(&run).env("GUARDRAIL_MOCK_CHAIN", "false").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a mock ledger"), "{output:?}");
    assert_eq!(world.requests_on_chain(), 0);
}

#[test]
fn a_run_with_the_flag_says_in_every_event_what_it_stands_on() {
    let world = World::mock(&[("GUARDRAIL_MOCK_APPROVE", "by-itself")], |_| {});
    world.workspace();
    let ended = world.agent(&["--prompt", "Deploy the fix to production"]).end();
    ended.exited(0);
    assert_eq!(ended.one("outcome_recorded")["ledger"], "mock");
    assert!(ended.events.iter().all(|event| event["ledger"] == "mock"), "{ended:#?}");
    assert!(ended.stderr.contains("MOCK LEDGER"), "{}", ended.stderr);
    let yaml = std::fs::read_to_string(world.path("state/anchors.yaml")).unwrap();
    assert!(yaml.starts_with("# MOCK LEDGER"), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dev_approvers_sign_by_themselves_after_a_while() {
    let environment = [("GUARDRAIL_MOCK_APPROVE", "by-itself")];
    let site = Mock::start(&environment, |_| {});
    let request = deployment();
    site.publish(&request);
    let (approval, response) = site.approval(&request, 5).await;
    let mut voters = [dev(1).address(), dev(2).address()];
    voters.sort();
    assert_eq!(approval.approvers(), voters);
    let votes = response.evidence.unwrap().votes;
    assert!(votes.iter().all(|vote| matches!(vote.proof, VoteProof::Transaction(_))), "{votes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ledger_is_a_chain_that_rolled_back() {
    let mut site = Site::start::<Mock>();
    let (settled, waiting) = (small("settled"), small("waiting"));
    site.publish(&settled);
    site.approve(&settled, "1", &[]);
    site.approval(&settled, 3).await;
    site.publish(&waiting);
    site.world.restart_mock();
    // The new ledger knew nothing of it; its bridge asks it again.
    site.world.pending_id(&waiting.request_id);
    site.approve(&waiting, "1", &[]);
    site.approval(&waiting, 3).await;
}

#[test]
fn every_log_line_of_a_transaction_says_what_it_is() {
    let world = World::mock(&[], |_| {});
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    // Sent and seen on chain by the bridge, accepted and confirmed by the ledger.
    let lines: Vec<String> = world.eventually("four lines tell of the transaction", || {
        let log = std::fs::read_to_string(world.path("state/logs/bridge.log")).unwrap();
        let of_transactions = log.lines().filter(|line| line.contains("tx=") || line.contains("hash: 0x"));
        let lines: Vec<String> = of_transactions.map(str::to_owned).collect();
        (lines.len() >= 4).then_some(lines)
    });
    assert!(lines.iter().all(|line| line.contains("MOCK")), "{lines:#?}");
}

#[test]
fn the_screens_say_what_it_is() {
    let world = World::mock(&[], |_| {});
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    let id = request.request_id.as_str();
    for (arguments, line) in [
        (&["pending"][..], "[MOCK LEDGER]"),
        (&["show", id], "[MOCK LEDGER]"),
        (&["audit"], "[MOCK LEDGER]"),
        (&["admin", "show"], "[MOCK LEDGER]"),
        (&["anchors", "init"], "# MOCK LEDGER"),
        (&["approve", id, "--dev-account", "1"], "[MOCK LEDGER]"),
    ] {
        let output = world.run(arguments);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        assert!(stdout.contains(line), "{arguments:?}: {stdout}");
        assert!(stderr.starts_with("MOCK LEDGER: in memory"), "{arguments:?}: {stderr}");
    }
    for arguments in [&["show", id, "--json"][..], &["admin", "show", "--json"]] {
        let value: Value = serde_json::from_str(&world.ok(arguments)).unwrap();
        assert_eq!(value["ledger"], "mock", "{arguments:?}");
    }
    for arguments in [&["node"][..], &["deploy"]] {
        let output = world.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("the mock ledger"), "{output:?}");
    }
    let paused = world.run(&["admin", "pause"]);
    assert_eq!(paused.status.code(), Some(2), "{paused:?}");
    assert!(String::from_utf8_lossy(&paused.stderr).contains("the mock ledger has no administration"), "{paused:?}");
}

/// The whole flow with no node at all.
#[test]
fn the_demo_plays_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(crate::support::BIN)
        .args(["--mock-chain", "demo", "--auto-approve", "--contracts", "nowhere"])
        .current_dir(crate::support::project())
        .env("GUARDRAIL_STATE_DIR", dir.path())
        .env("GUARDRAIL_ANVIL", dir.path().join("no-anvil"))
        .env("GUARDRAIL_MOCK_CONFIRM_MS", "50")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("bridge ready: MOCK LEDGER at http://127.0.0.1:"), "{stderr}");
    for line in
        ["MOCK accepted  ", "MOCK confirmed ", "An approver sees:\n[MOCK LEDGER]\n", "block 2: AuthorizationRequested"]
    {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    let audit: Vec<&str> = stdout.lines().filter(|line| line.ends_with("[MOCK LEDGER]")).collect();
    assert_eq!(audit.len(), 6, "{stdout}");
}
