//! The administrator's commands on a real chain, and what they do to requests under way.

use guardrail::channel::ResponseKind;
use guardrail::evidence::{DenialKind, VerifiedDecision};
use guardrail::schema::Timestamp;
use serde_json::Value;

use crate::support::{World, deployment, dev, project};

fn shown(world: &World) -> Value {
    serde_json::from_str(&world.ok(&["admin", "show", "--json"])).unwrap()
}

fn address(index: usize) -> String {
    dev(index).address().to_checksum(None)
}

#[test]
fn approvers_policy_bridges_pause_and_transfer() {
    let world = World::new();
    world.ok(&["deploy"]);
    assert_eq!(
        (&shown(&world)["epoch"]["epoch"], shown(&world)["admin"].as_str()),
        (&Value::from(1), Some(address(8).as_str()))
    );

    world.ok(&["admin", "set-approver", &address(5), "security"]);
    world.ok(&["admin", "remove-approver", &address(2)]);
    let approvers = shown(&world)["epoch"]["approvers"].clone();
    let roles: Vec<(&str, &str)> = approvers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["address"].as_str().unwrap(), a["role"].as_str().unwrap()))
        .collect();
    let mut expected = vec![(address(1), "operations"), (address(3), "operations"), (address(5), "security")];
    let mut found: Vec<(String, &str)> = roles.iter().map(|(a, r)| ((*a).to_owned(), *r)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    let policy = world.path("policy.yaml");
    std::fs::write(
        &policy,
        "policy:\n  - {min_risk_bps: 0, quorum: {any: 2}}\n  - {min_risk_bps: 5000, quorum: {security: 1}}\n",
    )
    .unwrap();
    world.ok(&["admin", "set-policy", policy.to_str().unwrap()]);
    let lines = shown(&world)["epoch"]["policy"].clone();
    assert_eq!(
        lines,
        serde_json::json!([{"min_risk_bps": 0, "quorum": {"any": 2}}, {"min_risk_bps": 5000, "quorum": {"security": 1}}])
    );

    world.ok(&["admin", "set-bridge", &address(4), &address(6)]);
    world.ok(&["admin", "remove-bridge", &address(0)]);
    let bridges = shown(&world)["epoch"]["bridges"].clone();
    assert_eq!(bridges, serde_json::json!([{"signer": address(6), "requester": address(4)}]));
    assert_eq!(shown(&world)["epoch"]["epoch"], 6, "each of five changes raised the epoch");

    world.ok(&["admin", "pause"]);
    assert_eq!(shown(&world)["paused"], true);
    world.ok(&["admin", "unpause"]);
    world.ok(&["admin", "transfer", &address(7)]);
    assert_eq!(
        (shown(&world)["admin"].as_str(), shown(&world)["pending_admin"].as_str()),
        (Some(address(8).as_str()), Some(address(7).as_str()))
    );
    world.ok(&["admin", "accept", "--dev-account", "7"]);
    assert_eq!(shown(&world)["admin"].as_str(), Some(address(7).as_str()));

    // What the contract refuses is said before anything is sent.
    let refused = world.run(&["admin", "pause"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("NotAdmin"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    let unmeetable = world.run(&["admin", "remove-approver", &address(5), "--dev-account", "7"]);
    assert!(String::from_utf8_lossy(&unmeetable.stderr).contains("PolicyCannotBeMet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_is_answered_with_its_reason() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    world.ok(&["cancel", request.request_id.as_str(), "--reason", "superseded"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Denied(denial) = decision else { panic!("{decision:?}") };
    assert_eq!(
        (denial.kind, denial.reason.as_str(), denial.approver),
        (DenialKind::Cancelled, "cancelled: superseded", dev(8).address())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_paused_a_request_waits_and_a_denial_still_counts() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let before = deployment();
    world.channel().publish_request(&before).unwrap();
    world.pending_id(&before.request_id);
    world.ok(&["admin", "pause"]);
    world.ok(&["deny", before.request_id.as_str(), "--reason", "paused for a reason"]);
    let response = world.response(&before.request_id, ResponseKind::Decision).await;
    assert!(matches!(verifier.verify_decision(&before, &response, Timestamp::now()), Ok(VerifiedDecision::Denied(_))));

    let during = deployment();
    world.channel().publish_request(&during).unwrap();
    world.eventually("the bridge has journalled it", || {
        world.channel().claimed_request_path(&during.request_id).exists().then_some(())
    });
    assert_eq!(world.ok(&["pending", "--json"]).trim(), "[]");
    world.ok(&["admin", "unpause"]);
    world.pending_id(&during.request_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_an_older_epoch_is_void() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    let id = world.pending_id(&request.request_id);
    world.ok(&["approve", request.request_id.as_str()]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    assert!(matches!(
        verifier.verify_decision(&request, &response, Timestamp::now()),
        Ok(VerifiedDecision::Approved(_))
    ));
    world.ok(&["admin", "set-approver", &address(5), "security"]);
    // Whoever pinned the new epoch runs nothing on it, and the contract consumes nothing.
    let failure = world.verifier().await.verify_decision(&request, &response, Timestamp::now()).unwrap_err();
    assert_eq!(failure.step, 1, "{failure}");
    let (_, claim) = crate::support::claim();
    world.channel().publish_consume(&crate::bridge_life::consume_message(&request, id, claim)).unwrap();
    let again = deployment();
    world.channel().publish_request(&again).unwrap();
    world.pending_id(&again.request_id);
    let audit = world.ok(&["audit", "--json"]);
    assert!(!audit.contains("AuthorizationConsumed"), "{audit}");
}

#[test]
fn deployed_code_is_compared_with_its_source() {
    let world = World::new();
    world.ok(&["deploy"]);
    let verified = world.ok(&["contract", "verify", "--json"]);
    assert!(verified.contains("\"matches_source\":true"), "{verified}");
    let known: Value = serde_json::from_slice(&std::fs::read(world.path("state/deployment.json")).unwrap()).unwrap();
    let contract = known["contract"].as_str().unwrap();

    // One byte of the code changed, by the node's own cheat.
    let cast = guardrail::node::find_tool("cast", &project().join("contracts")).unwrap();
    let rpc = |arguments: &[&str]| {
        let output = std::process::Command::new(&cast)
            .args(["rpc", "--rpc-url", &world.anvil.url])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let code = rpc(&["eth_getCode", contract, "latest"]);
    let mut bytes = alloy::hex::decode(code.as_str().unwrap()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    rpc(&["anvil_setCode", contract, &alloy::hex::encode_prefixed(bytes)]);
    let tampered = world.run(&["contract", "verify", "--address", contract]);
    assert_eq!(tampered.status.code(), Some(5), "{}", String::from_utf8_lossy(&tampered.stderr));
    let nothing = world.run(&["contract", "verify", "--address", &address(1)]);
    assert_eq!(nothing.status.code(), Some(5));
}
