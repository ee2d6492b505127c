//! A request's life through a real bridge and a real chain.

use guardrail::channel::ResponseKind;
use guardrail::crypto;
use guardrail::evidence::ChainVerdict;
use guardrail::evidence::{DenialKind, VerifiedDecision};
use guardrail::schema::message::{ConsumeKind, OutcomeKind};
use guardrail::schema::{
    AuthRequest, AuthorizationId, ConsumeMessage, Decision, Outcome, OutcomeMessage, Sha256Digest, Timestamp,
};
use serde_json::json;

use crate::support::{World, claim, deployment, dev, request, request_at};

pub fn consume_message(request: &AuthRequest, id: AuthorizationId, claim: Sha256Digest) -> ConsumeMessage {
    ConsumeMessage {
        kind: ConsumeKind::Consume,
        request_id: request.request_id.clone(),
        authorization_id: id,
        action_hash: request.action_hash,
        claim,
        timestamp: Timestamp::now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_consumed_recorded_and_every_step_verifies() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let (channel, request) = (world.channel(), deployment());
    channel.publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);

    // One of two: the quorum of 0.9 is one of operations and one of security.
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "1", "--condition", "canary first"]);
    let shown = world.ok(&["pending", "--json"]);
    assert!(shown.contains(&id.to_string()), "one vote does not settle it: {shown}");
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "2", "--condition", "notify ops"]);

    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Approved(approval) = decision else { panic!("{decision:?}") };
    assert_eq!(approval.authorization_id(), id);
    let mut conditions = approval.conditions().to_vec();
    conditions.sort();
    assert_eq!(conditions, ["canary first", "notify ops"]);
    assert_eq!(approval.approvers().len(), 2);

    let (secret, claim) = claim();
    channel.publish_consume(&consume_message(&request, id, claim)).unwrap();
    let consumed = world.response(&request.request_id, ResponseKind::Consumed(claim)).await;
    let consumption = verifier.verify_consumption(*approval, claim, &consumed, Timestamp::now()).await.unwrap();
    assert_eq!((consumption.claim(), consumption.chain()), (claim, ChainVerdict::Checked));

    let outcome_hash = crypto::outcome_hash(id, claim, Outcome::Succeeded, &json!({"status": "simulated"})).unwrap();
    channel
        .publish_outcome(&OutcomeMessage {
            kind: OutcomeKind::Outcome,
            request_id: request.request_id.clone(),
            authorization_id: id,
            claim_secret: secret,
            outcome: Outcome::Succeeded,
            outcome_hash,
            timestamp: Timestamp::now(),
        })
        .unwrap();
    let recorded = world.response(&request.request_id, ResponseKind::Recorded).await;
    verifier.verify_recorded(&request, id, Outcome::Succeeded, outcome_hash, &recorded).unwrap();
    assert!(verifier.verify_recorded(&request, id, Outcome::Failed, outcome_hash, &recorded).is_err());

    assert_eq!(
        world.audit_names(id),
        [
            "AuthorizationRequested",
            "VoteCast",
            "VoteCast",
            "AuthorizationApproved",
            "AuthorizationConsumed",
            "ExecutionRecorded"
        ]
    );
    // Nothing is left lying about.
    world.empties("claimed");
    assert_eq!(world.quarantined(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_by_the_approvers_own_transactions_count_and_verify() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "3", "--on-chain"]);
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "2", "--on-chain", "--condition", "x"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Approved(approval) = decision else { panic!("{decision:?}") };
    assert_eq!(approval.conditions(), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_ends_it_with_its_reason() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = request("delete_database", 1.0, json!({"db_name": "users"}));
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "1"]);
    world.ok(&["deny", request.request_id.as_str(), "--reason", "not during the freeze", "--dev-account", "2"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Denied(denial) = decision else { panic!("{decision:?}") };
    assert_eq!(
        (denial.kind, denial.reason.as_str(), denial.approver, denial.authorization_id),
        (DenialKind::Denied, "not during the freeze", dev(2).address(), id)
    );
    let refused = world.run(&["approve", request.request_id.as_str(), "--dev-account", "2"]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_and_a_block_past_the_expiry_says_so() {
    let world = World::new();
    let _bridge = world.bridge_with(&[("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", "4")]);
    let verifier = world.verifier().await;
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Denied(denial) = decision else { panic!("{decision:?}") };
    assert_eq!((denial.kind, response.evidence), (DenialKind::Expired, None));
    assert!(denial.reason.starts_with("expired: "), "{}", denial.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_killed_while_a_request_waits_goes_on_where_it_was() {
    let world = World::new();
    let mut bridge = world.bridge();
    let verifier = world.verifier().await;
    let (first, second) = (deployment(), deployment());
    world.channel().publish_request(&first).unwrap();
    world.pending_id(&first.request_id);
    bridge.kill();
    // While nobody listens: a vote that settles it, and another request.
    world.ok(&["approve", first.request_id.as_str()]);
    world.channel().publish_request(&second).unwrap();
    let _bridge = world.bridge();
    let response = world.response(&first.request_id, ResponseKind::Decision).await;
    assert!(matches!(verifier.verify_decision(&first, &response, Timestamp::now()), Ok(VerifiedDecision::Approved(_))));
    world.pending_id(&second.request_id);
    assert_eq!(world.requests_on_chain(), 2);
}

/// A crash between the publication of an answer and the removal of the files that led to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_already_is_cleared_away_after_a_crash() {
    let (world, mut bridge) = World::with_bridge();
    let request = deployment();
    let claimed = world.path("channel/claimed");
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    // A vote is taken and forgotten at once, so it is copied while no bridge looks.
    bridge.kill();
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "1"]);
    let left = [format!("{}.json", request.request_id), format!("{id}.{:#x}.json", dev(1).address())];
    let bytes =
        [claimed.join(&left[0]), world.path("channel/votes").join(&left[1])].map(|path| std::fs::read(path).unwrap());
    let mut bridge = world.bridge();
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "2"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    world.empties("claimed");
    bridge.kill();
    for (name, bytes) in left.iter().zip(&bytes) {
        std::fs::write(claimed.join(name), bytes).unwrap();
    }
    let _bridge = world.bridge();
    world.empties("claimed");
    assert_eq!(world.quarantined(), []);
    assert_eq!(world.response(&request.request_id, ResponseKind::Decision).await, response);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_slot_works_twice_in_a_row() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    for _ in 0..2 {
        let request = deployment();
        let channel = world.channel();
        std::fs::write(channel.root().join("tmp/slot"), request.canonical().unwrap()).unwrap();
        std::fs::rename(channel.root().join("tmp/slot"), channel.root().join("auth_request.json")).unwrap();
        world.pending_id(&request.request_id);
        world.ok(&["approve", request.request_id.as_str()]);
        let path = channel.root().join("auth_response.json");
        let response = world.eventually("the slot is answered", || {
            let bytes = std::fs::read(&path).ok()?;
            guardrail::schema::AuthResponse::parse(&bytes).ok().filter(|r| r.request_id == request.request_id)
        });
        assert_eq!(response.decision, Decision::Approved);
        verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_claims_one_consumes_and_the_other_learns_whose_it_is() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = request_at("deploy_to_production", 0.8, json!({"branch": "main"}), Timestamp::now());
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    world.ok(&["approve", request.request_id.as_str(), "--dev-account", "1"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let VerifiedDecision::Approved(approval) = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap()
    else {
        panic!("not approved")
    };
    let mut verdicts = Vec::new();
    for (_, claim) in [claim(), claim()] {
        world.channel().publish_consume(&consume_message(&request, id, claim)).unwrap();
        let consumed = world.response(&request.request_id, ResponseKind::Consumed(claim)).await;
        verdicts.push(verifier.verify_consumption((*approval).clone(), claim, &consumed, Timestamp::now()).await);
    }
    assert!(verdicts[0].is_ok(), "{:?}", verdicts[0]);
    let failure = verdicts.remove(1).unwrap_err();
    assert_eq!((failure.step, failure.reason.contains("another claim")), (4, true), "{failure}");
}
