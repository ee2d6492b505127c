//! What breaks a rule goes to quarantine under that rule, its sender is told where that is
//! possible, and the next good message gets through.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use alloy::primitives::{Bytes, U256, uint};
use guardrail::channel::ResponseKind;
use guardrail::crypto::{self, SigningDomain};
use guardrail::evidence::{DenialKind, VerifiedDecision, Verifier};
use guardrail::schema::message::OutcomeKind;
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, ConsumeMessage, Decision, Outcome, OutcomeMessage, RequestId,
    Timestamp, VoteFile,
};
use serde_json::{Value, json};

use crate::bridge_life::consume_message;
use crate::support::{World, claim, deployment, dev, drop_file, request, request_at};

/// The group order of secp256k1.
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

fn inbox(world: &World, name: &str) -> PathBuf {
    world.path("channel/requests").join(name)
}

fn drop_request(world: &World, request: &AuthRequest, bytes: &[u8]) {
    drop_file(&inbox(world, &format!("{}.json", request.request_id)), bytes);
}

/// The request with one field changed, and every hash left as it was.
fn with(request: &AuthRequest, field: &str, value: Value) -> Vec<u8> {
    let mut tree = request.tree().clone();
    tree[field] = value;
    serde_json::to_vec(&tree).unwrap()
}

/// The bridge's word, signed: refused under this rule.
async fn refused(world: &World, verifier: &Verifier, request: &AuthRequest, rule: &str) {
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Denied(denial) = decision else { panic!("{decision:?}") };
    assert_eq!(denial.kind, DenialKind::Refused);
    assert!(denial.reason.starts_with(&format!("refused: {rule}")), "{rule}: {}", denial.reason);
    world.channel().remove_response(&request.request_id, ResponseKind::Decision).unwrap();
}

/// A good request still gets its decision; nothing else was answered or reached the chain.
async fn good_one_gets_through(world: &World, verifier: &Verifier, requests_before: usize) {
    let good = deployment();
    world.channel().publish_request(&good).unwrap();
    world.pending_id(&good.request_id);
    world.ok(&["approve", good.request_id.as_str()]);
    let response = world.response(&good.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&good, &response, Timestamp::now()).unwrap();
    assert!(matches!(decision, VerifiedDecision::Approved(_)), "{decision:?}");
    assert_eq!(world.files("responses"), [format!("{}.json", good.request_id)]);
    assert_eq!(world.requests_on_chain(), requests_before + 1);
    world.empties("claimed");
    world.empties("requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_a_rule() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let ahead = Timestamp::from_unix_ms(Timestamp::now().unix_ms() + 60_000);
    let stale = Timestamp::from_unix_ms(Timestamp::now().unix_ms() - 301_000);
    let parameters = || json!({"branch": "main", "environment": "production"});
    let good = deployment().canonical().unwrap();
    let text = String::from_utf8(good).unwrap();
    let oversize = format!("{}{}", text, " ".repeat(257 * 1024 - text.len()));

    // Each under a fresh id of its own, which its file is named after.
    type Change = Box<dyn Fn(&AuthRequest) -> Vec<u8>>;
    let cases: Vec<(AuthRequest, Change, &str)> = vec![
        (deployment(), Box::new(|r| r.canonical().unwrap()[1..].to_vec()), "not JSON"),
        (deployment(), Box::new(|_| vec![b'{', 0xFF, b'}']), "not UTF-8"),
        (deployment(), Box::new(move |_| oversize.clone().into_bytes()), "too large"),
        (
            deployment(),
            Box::new(|r| {
                let text = String::from_utf8(r.canonical().unwrap()).unwrap();
                text.replacen('{', "{\"tool_n\\u0061me\":\"read_file\",", 1).into_bytes()
            }),
            "duplicate name after unescaping",
        ),
        (deployment(), Box::new(|r| with(r, "approved", json!(true))), "unknown or missing field"),
        (deployment(), Box::new(|r| with(r, "salt", Value::Null)), "field value"),
        (deployment(), Box::new(|r| with(r, "risk_score", json!(0.123_45))), "field value"),
        (deployment(), Box::new(|r| with(r, "parameters", json!({"$approved": true}))), "reserved key"),
        (request_at("deploy_to_production", 0.9, parameters(), stale), Box::new(|r| r.canonical().unwrap()), "stale"),
        (request_at("deploy_to_production", 0.9, parameters(), ahead), Box::new(|r| r.canonical().unwrap()), "stale"),
        (deployment(), Box::new(|r| with(r, "parameters", json!({"branch": "evil"}))), "action_hash"),
        (request("deploy_to_production", 0.6, parameters()), Box::new(|r| r.canonical().unwrap()), "risk floor"),
        (request("launch_missiles", 0.9999, json!({})), Box::new(|r| r.canonical().unwrap()), "risk floor"),
    ];
    for (sent, bytes, rule) in &cases {
        let bytes = bytes(sent);
        drop_request(&world, sent, &bytes);
        world.quarantined_as(&format!("{}.json", sent.request_id), rule);
        // What can be read is answered under its own hash.
        let read = AuthRequest::parse(&bytes).ok().filter(|read| read.request_id == sent.request_id);
        let told = read.unwrap_or_else(|| sent.clone());
        refused(&world, &verifier, &told, rule).await;
    }

    // An unknown tool at risk 1 is let in: its floor is 1, not a ban. People decide.
    let unknown = request("launch_missiles", 1.0, json!({}));
    world.channel().publish_request(&unknown).unwrap();
    world.pending_id(&unknown.request_id);
    assert_eq!(world.quarantined().len(), cases.len());
    good_one_gets_through_beside(&world, &verifier, &unknown).await;
}

/// As [`good_one_gets_through`], while another request stays undecided.
async fn good_one_gets_through_beside(world: &World, verifier: &Verifier, undecided: &AuthRequest) {
    world.ok(&["deny", undecided.request_id.as_str(), "--reason", "no"]);
    world.response(&undecided.request_id, ResponseKind::Decision).await;
    world.channel().remove_response(&undecided.request_id, ResponseKind::Decision).unwrap();
    good_one_gets_through(world, verifier, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_messages() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let outside = world.path("outside.json");
    let linked = deployment();
    std::fs::write(&outside, linked.canonical().unwrap()).unwrap();

    let path = |request: &AuthRequest| inbox(&world, &format!("{}.json", request.request_id));
    let (pipe, directory) = (deployment(), deployment());
    std::os::unix::fs::symlink(&outside, path(&linked)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path(&pipe),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::fs::create_dir(path(&directory)).unwrap();
    for sent in [&linked, &pipe, &directory] {
        world.quarantined_as(&format!("{}.json", sent.request_id), "not a regular file");
        refused(&world, &verifier, sent, "not a regular file").await;
    }
    assert!(outside.exists(), "what a link points to is left alone");

    // Nobody can be told: the name is no request's, or not the one inside.
    let (named, inside) = (deployment(), deployment());
    let unreadable = PathBuf::from(OsStr::from_bytes(b"r\xFFquest.json"));
    drop_file(&world.path("channel/requests").join(unreadable), b"{}");
    drop_file(&inbox(&world, "notes.json"), b"{}");
    drop_file(&inbox(&world, &format!("{}.json.bak", inside.request_id)), &inside.canonical().unwrap());
    drop_request(&world, &named, &inside.canonical().unwrap());
    for file in [
        "unreadable-name".to_owned(),
        "notes.json".to_owned(),
        format!("{}.json.bak", inside.request_id),
        format!("{}.json", named.request_id),
    ] {
        world.quarantined_as(&file, "file name is not its id");
    }
    good_one_gets_through(&world, &verifier, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_never_displaces_the_real_answer() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let real = deployment();
    let captured = real.canonical().unwrap();
    let name = format!("{}.json", real.request_id);
    let answer = world.path("channel/responses").join(&name);
    world.channel().publish_request(&real).unwrap();
    world.pending_id(&real.request_id);
    // While it waits for its decision.
    drop_request(&world, &real, &captured);
    world.quarantined_as(&name, "replay");
    world.ok(&["approve", real.request_id.as_str()]);
    world.response(&real.request_id, ResponseKind::Decision).await;
    let bytes = std::fs::read(&answer).unwrap();

    // The same bytes once it is answered: the stored answer is published again, bit for bit.
    world.channel().remove_response(&real.request_id, ResponseKind::Decision).unwrap();
    drop_request(&world, &real, &captured);
    world.response(&real.request_id, ResponseKind::Decision).await;
    assert_eq!(std::fs::read(&answer).unwrap(), bytes);

    // Other content under the same id, whole in itself: refused, and the real answer stays.
    let mut other = (*request("deploy_to_production", 1.0, json!({"branch": "evil"}))).clone();
    other.request_id = real.request_id.clone();
    let salt = other.salt.clone().unwrap();
    other.action_hash =
        crypto::action_hash(&other.request_id, other.timestamp, &salt, &other.tool_name, &other.parameters).unwrap();
    let other = AuthRequest::from_fields(other).unwrap();
    let replays = |world: &World| world.quarantined().iter().filter(|(_, rule)| rule == "replay").count();
    let before = replays(&world);
    drop_request(&world, &other, &other.canonical().unwrap());
    world.eventually("the other content is quarantined", || (replays(&world) == before + 1).then_some(()));
    // And unreadable content under the same id, which gets no answer of its own either.
    drop_request(&world, &real, b"{");
    world.quarantined_as(&name, "not JSON");
    assert_eq!(std::fs::read(&answer).unwrap(), bytes);

    // The id of a request that was refused stays refused.
    let low = request("deploy_to_production", 0.1, json!({"branch": "main"}));
    world.channel().publish_request(&low).unwrap();
    refused(&world, &verifier, &low, "risk floor").await;
    world.channel().publish_request(&low).unwrap();
    world.quarantined_as(&format!("{}.json", low.request_id), "replay");

    world.channel().remove_response(&real.request_id, ResponseKind::Decision).unwrap();
    good_one_gets_through(&world, &verifier, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_answer_does_not_keep_the_real_one_out() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let request = deployment();
    let name = format!("{}.json", request.request_id);
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    drop_file(&world.path("channel/responses").join(&name), b"{\"decision\":\"denied\"}");
    world.ok(&["deny", request.request_id.as_str(), "--reason", "no"]);
    world.quarantined_as(&name, "a different file is already published");
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let kept = std::fs::read(world.path("channel/quarantine").join(&name)).unwrap();
    assert_eq!(kept, b"{\"decision\":\"denied\"}");
}

/// A vote as an approver signs it.
fn vote(world: &World, request: &AuthRequest, id: AuthorizationId, key: usize) -> VoteFile {
    let domain = SigningDomain::new(31337, world.anchors().contract);
    let (tool_name, action_hash) = (request.tool_name.clone(), request.action_hash);
    let digest = crypto::vote_digest(&domain, id, &tool_name, action_hash, true, "");
    VoteFile {
        id,
        tool_name,
        action_hash,
        approve: true,
        note: "".parse().unwrap(),
        approver: dev(key).address(),
        signature: dev(key).sign(digest).unwrap(),
    }
}

/// The other signature that recovers to the same account: `s` in the upper half.
fn high_s(signature: &Bytes) -> Bytes {
    let s = ORDER - U256::from_be_slice(&signature[32..64]);
    let mut bytes = signature.to_vec();
    bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    bytes[64] = 27 + 28 - bytes[64];
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_that_break_a_rule() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let (request, other) = (deployment(), deployment());
    world.channel().publish_request(&request).unwrap();
    world.channel().publish_request(&other).unwrap();
    let (id, other_id) = (world.pending_id(&request.request_id), world.pending_id(&other.request_id));
    let unknown: AuthorizationId = format!("0x{}", "ab".repeat(32)).parse().unwrap();
    let of = |key| vote(&world, &request, id, key);
    let cases = [
        (VoteFile { id: unknown, ..of(1) }, "unknown request"),
        // Signed by somebody else than it says; by somebody who is nobody; by the one who asks.
        (VoteFile { signature: of(5).signature, ..of(1) }, "signature"),
        (of(5), "unknown approver"),
        (of(0), "unknown approver"),
        (VoteFile { signature: high_s(&of(2).signature), ..of(2) }, "signature"),
        // A true vote for another request, moved over here; and one that says what it is for.
        (VoteFile { signature: vote(&world, &other, other_id, 3).signature, ..of(3) }, "signature"),
        (VoteFile { id, ..vote(&world, &other, other_id, 3) }, "action_hash"),
        (VoteFile { tool_name: "read_file".parse().unwrap(), ..of(1) }, "action_hash"),
        // An approval turned into a denial, and a note that was never signed.
        (VoteFile { approve: false, ..of(2) }, "signature"),
        (VoteFile { note: "skip the tests".parse().unwrap(), ..of(2) }, "signature"),
    ];
    for (count, (vote, rule)) in cases.iter().enumerate() {
        world.channel().publish_vote(vote).unwrap();
        let name = format!("{}.{:#x}.json", vote.id, vote.approver);
        let found = world.eventually(&format!("{name} is quarantined: {rule}"), || {
            let found = world.quarantined();
            (found.len() == count + 1).then_some(found)
        });
        assert!(found.contains(&(name.clone(), (*rule).to_owned())), "{name}, {rule}: {found:#?}");
    }
    // A name that is not its content's.
    let misnamed = format!("{id}.{:#x}.json", dev(2).address());
    let bytes = serde_json::to_vec(&of(1)).unwrap();
    drop_file(&world.path("channel/votes").join(&misnamed), &bytes);
    world.quarantined_as(&misnamed, "file name is not its id");

    assert_eq!(world.audit_names(id), ["AuthorizationRequested"], "no vote was carried to the chain");
    world.channel().publish_vote(&of(1)).unwrap();
    world.channel().publish_vote(&of(2)).unwrap();
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    assert!(matches!(decision, VerifiedDecision::Approved(_)), "{decision:?}");
    assert_eq!(world.audit_names(other_id), ["AuthorizationRequested"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumptions_and_outcomes_that_break_a_rule() {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let (request, stranger) = (deployment(), deployment());
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    let (secret, claim) = claim();
    let file = |request_id: &RequestId| format!("{request_id}.{claim}.consume.json");
    let good = consume_message(&request, id, claim);
    let outcome_hash = crypto::outcome_hash(id, claim, Outcome::Succeeded, &json!({})).unwrap();
    let outcome = OutcomeMessage {
        kind: OutcomeKind::Outcome,
        request_id: request.request_id.clone(),
        authorization_id: id,
        claim_secret: secret,
        outcome: Outcome::Succeeded,
        outcome_hash,
        timestamp: Timestamp::now(),
    };
    let outcome_file = format!("{}.outcome.json", request.request_id);
    let channel = world.channel();

    // Before anybody approved.
    channel.publish_consume(&good).unwrap();
    world.quarantined_as(&file(&request.request_id), "wrong state");
    channel.publish_consume(&consume_message(&stranger, id, claim)).unwrap();
    world.quarantined_as(&file(&stranger.request_id), "unknown request");
    channel.publish_consume(&ConsumeMessage { action_hash: stranger.action_hash, ..good.clone() }).unwrap();
    world.quarantined_as(&file(&request.request_id), "action_hash");
    channel.publish_outcome(&outcome).unwrap();
    world.quarantined_as(&outcome_file, "wrong state");
    assert_eq!(world.audit_names(id), ["AuthorizationRequested"]);

    world.ok(&["approve", request.request_id.as_str()]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let VerifiedDecision::Approved(approval) = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap()
    else {
        panic!("{response:?}")
    };
    channel.publish_consume(&good).unwrap();
    let consumed = world.response(&request.request_id, ResponseKind::Consumed(claim)).await;
    verifier.verify_consumption(*approval, claim, &consumed, Timestamp::now()).await.unwrap();

    let (wrong, _) = crate::support::claim();
    channel.publish_outcome(&OutcomeMessage { claim_secret: wrong, ..outcome.clone() }).unwrap();
    world.quarantined_as(&outcome_file, "claim secret");
    channel.publish_outcome(&outcome).unwrap();
    let recorded = world.response(&request.request_id, ResponseKind::Recorded).await;
    verifier.verify_recorded(&request, id, Outcome::Succeeded, outcome_hash, &recorded).unwrap();
    // Told once, it cannot be told otherwise.
    channel.publish_outcome(&OutcomeMessage { outcome: Outcome::Failed, outcome_hash: claim, ..outcome }).unwrap();
    world.quarantined_as(&outcome_file, "replay");
    let events = world.audit_names(id);
    assert_eq!(events[4..], ["AuthorizationConsumed", "ExecutionRecorded"]);
}

/// Real answers of one bridge: two approvals and a denial.
struct Answered {
    world: World,
    verifier: Verifier,
    approved: (AuthRequest, AuthResponse),
    other: (AuthRequest, AuthResponse),
    denied: (AuthRequest, AuthResponse),
}

async fn answered() -> Answered {
    let (world, _bridge) = World::with_bridge();
    let verifier = world.verifier().await;
    let mut answers = Vec::new();
    for decision in [Decision::Approved, Decision::Approved, Decision::Denied] {
        let request = deployment();
        world.channel().publish_request(&request).unwrap();
        world.pending_id(&request.request_id);
        match decision {
            Decision::Denied => world.ok(&["deny", request.request_id.as_str(), "--reason", "no"]),
            _ => world.ok(&["approve", request.request_id.as_str(), "--condition", "canary first"]),
        };
        let response = world.response(&request.request_id, ResponseKind::Decision).await;
        assert_eq!(response.decision, decision);
        verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
        answers.push((request, response));
    }
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap();
    Answered { world, verifier, approved: next(), other: next(), denied: next() }
}

impl Answered {
    /// The step at which it fails.
    fn step(&self, request: &AuthRequest, response: &AuthResponse) -> u8 {
        match self.verifier.verify_decision(request, response, Timestamp::now()) {
            Err(failure) => failure.step,
            Ok(decision) => panic!("it verified: {decision:?}"),
        }
    }

    /// Signed again by the bridge's own key: what a corrupted bridge could publish.
    fn signed(&self, response: AuthResponse) -> AuthResponse {
        let domain = SigningDomain::new(31337, self.world.anchors().contract);
        let evidence_hash = crypto::hash::evidence_hash(response.evidence.as_ref()).unwrap();
        let response = AuthResponse { evidence_hash, ..response };
        let signature = dev(9).sign(crypto::eip712::response_digest(&domain, &response)).unwrap();
        AuthResponse { signature, ..response }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changed_byte_and_no_changed_field_verifies() {
    let answers = answered().await;
    let (request, response) = &answers.approved;
    let whole = response.canonical().unwrap();
    // A prime stride reaches every part of the file; each byte is changed in three ways.
    for at in (0..whole.len()).step_by(61) {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let Ok(changed) = AuthResponse::parse(&bytes) else { continue };
            assert_ne!(&changed, response, "byte {at} ^ {flip:#x} has no meaning");
            let verdict = answers.verifier.verify_decision(request, &changed, Timestamp::now());
            assert!(verdict.is_err(), "byte {at} ^ {flip:#x} verified: {changed:?}");
        }
    }
    // Every field taken from a real answer to another request, or of another decision.
    for foreign in [&answers.other.1, &answers.denied.1] {
        let (tree, foreign) = (serde_json::to_value(response).unwrap(), serde_json::to_value(foreign).unwrap());
        let mut differing = 0;
        for (name, value) in foreign.as_object().unwrap() {
            let mut changed = tree.clone();
            changed[name] = value.clone();
            if changed == tree {
                continue;
            }
            differing += 1;
            let changed = AuthResponse::parse(&serde_json::to_vec(&changed).unwrap()).unwrap();
            let verdict = answers.verifier.verify_decision(request, &changed, Timestamp::now());
            assert!(verdict.is_err(), "{name} verified");
        }
        assert!(differing >= 9, "{differing} fields differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_holds_for_its_own_request_while_it_lasts() {
    let answers = answered().await;
    let ((request, response), (other, _)) = (&answers.approved, &answers.other);
    assert_eq!(answers.step(other, response), 1);
    let renamed = AuthResponse { request_id: other.request_id.clone(), ..response.clone() };
    assert_eq!(answers.step(other, &renamed), 2);
    assert_eq!(answers.step(other, &answers.signed(renamed)), 2);

    // On its last millisecond it holds, from its expiry on it is old.
    let expires_ms = i64::try_from(response.evidence.as_ref().unwrap().expires_at).unwrap() * 1000;
    let at = |ms| answers.verifier.verify_decision(request, response, Timestamp::from_unix_ms(ms));
    assert!(at(expires_ms - 1).is_ok());
    let failure = at(expires_ms).unwrap_err();
    assert_eq!((failure.step, failure.reason.as_str()), (1, "the authorization has expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_no_approval_whoever_signs_it() {
    let answers = answered().await;
    let ((request, denial), (_, approval)) = (&answers.denied, &answers.approved);
    let turned = AuthResponse { decision: Decision::Approved, denial_reason: None, ..denial.clone() };
    assert_eq!(answers.step(request, &turned), 3);
    assert_eq!(answers.step(request, &answers.signed(turned.clone())), 3);
    // The approver's vote turned round: it recovers to somebody else.
    let mut evidence = denial.evidence.clone().unwrap();
    evidence.votes[0].approve = true;
    let forged = answers.signed(AuthResponse { evidence: Some(evidence), ..turned.clone() });
    assert_eq!(answers.step(request, &forged), 3);
    // True votes of another request's approval under this one.
    let mut evidence = denial.evidence.clone().unwrap();
    evidence.votes = approval.evidence.clone().unwrap().votes;
    let borrowed = answers.signed(AuthResponse {
        evidence: Some(evidence),
        conditions: approval.conditions.clone(),
        approver: approval.approver,
        ..turned
    });
    assert_eq!(answers.step(request, &borrowed), 3);
    // And the other way round: an approval cannot be told as a denial, nor be pared to one vote.
    let (request, approval) = &answers.approved;
    let turned = AuthResponse { decision: Decision::Denied, denial_reason: Some("no".to_owned()), ..approval.clone() };
    assert_eq!(answers.step(request, &answers.signed(turned)), 3);
    let mut evidence = approval.evidence.clone().unwrap();
    evidence.votes.truncate(1);
    let pared =
        AuthResponse { evidence: Some(evidence), conditions: vec!["canary first".to_owned()], ..approval.clone() };
    assert_eq!(answers.step(request, &answers.signed(pared)), 3);
    let unconditional = AuthResponse { conditions: vec![], ..approval.clone() };
    assert_eq!(answers.step(request, &answers.signed(unconditional)), 3);
}
