//! What an operator does to a bridge in its year: prunes, backs up and restores, rotates keys.

use guardrail::channel::ResponseKind;
use guardrail::evidence::{Endpoint, VerifiedDecision, Verifier};
use guardrail::schema::Timestamp;
use serde_json::{Value, json};

use crate::fault_support::{End, Life, Observer, drive, states_of, status};
use crate::support::{World, deployment, dev, request};

fn sample() -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": "main"}))
}

fn pruned(world: &World, age: &str) -> Value {
    serde_json::from_str(&world.ok(&["bridge", "prune", "--older-than", age, "--json"])).unwrap()
}

/// A private key of Anvil's public mnemonic, in a file.
fn key_file(world: &World, index: usize) -> String {
    let path = world.path(&format!("key{index}"));
    std::fs::write(&path, alloy::hex::encode(dev(index).signer().to_bytes())).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn pruning_forgets_what_ended_and_still_knows_a_replay() {
    let (world, bridge) = World::with_bridge();
    let observer = Observer::new(&world);
    let ends = [End::Recorded, End::Recorded, End::Pending];
    let mut lives = ends.map(|end| Life::of(sample(), end).begin(&observer.channel));
    drive(&world, &observer, &mut lives);
    world.eventually("only the pending request is in hand", || (world.files("claimed").len() == 1).then_some(()));
    assert_eq!(pruned(&world, "1h"), json!({"requests": 0, "responses": 0, "nonces": 0}));

    // While the bridge runs; the pending request and the newest nonce stay.
    let gone = pruned(&world, "0s");
    assert_eq!((&gone["requests"], &gone["responses"]), (&json!(2), &json!(6)));
    assert!(gone["nonces"].as_u64().unwrap() > 0, "{gone}");
    let after = status(&world);
    assert_eq!((&after["states"]["recorded"], &after["states"]["pending"]), (&json!(0), &json!(1)));
    assert!(after["nonce"]["next"].as_u64().unwrap() > 0, "{after}");

    let name = format!("{}.json", lives[0].id());
    observer.channel.publish_request(&lives[0].request).unwrap();
    world.quarantined_as(&name, "replay");
    assert_eq!(world.requests_on_chain(), 3);

    // What was left goes on, also after a restart.
    drop(bridge);
    let _bridge = world.bridge();
    lives[2].end = End::Recorded;
    drive(&world, &observer, &mut lives[2..]);
    assert_eq!(status(&world)["states"]["recorded"], json!(1));
}

#[test]
fn an_older_backup_learns_the_rest_from_the_chain() {
    let (world, mut bridge) = World::with_bridge();
    let observer = Observer::new(&world);
    let mut lives = [Life::of(sample(), End::Pending).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);
    let copy = world.path("copy.sqlite");
    world.ok(&["bridge", "backup", copy.to_str().unwrap()]);
    let again = world.run(&["bridge", "backup", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "a backup replaces nothing");

    lives[0].end = End::Recorded;
    drive(&world, &observer, &mut lives);
    world.empties("claimed");
    bridge.kill();
    for suffix in ["", "-wal", "-shm"] {
        let path = world.path(&format!("state/journal.sqlite{suffix}"));
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::copy(&copy, world.path("state/journal.sqlite")).unwrap();
    let _bridge = world.bridge();
    world.eventually("the chain tells what the copy does not know", || {
        (status(&world)["states"]["recorded"] == json!(1)).then_some(())
    });
    let mut more = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    drive(&world, &observer, &mut more);
    assert_eq!(world.requests_on_chain(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_signer_key_signs_once_the_contract_names_it() {
    let (world, bridge) = World::with_bridge();
    drop(bridge);
    let signer = key_file(&world, 6);
    let command = || {
        let mut command = world.command(&["bridge", "--once", "--signer-key-file", &signer]);
        command.output().unwrap()
    };
    let refused = command();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("as the response signer"), "{refused:?}");

    let old = world.anchors();
    world.ok(&["admin", "set-bridge", &dev(0).address().to_string(), &dev(6).address().to_string()]);
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    assert!(command().status.success());
    world.ok(&["approve", request.request_id.as_str()]);
    assert!(command().status.success());
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let endpoint = Endpoint::connect(&world.anvil.url).await.unwrap();
    let verdict = |anchors, endpoint| {
        let verifier = Verifier::new(anchors, Some(endpoint)).unwrap();
        verifier.verify_decision(&request, &response, Timestamp::now())
    };
    assert!(matches!(verdict(world.anchors(), endpoint.clone()), Ok(VerifiedDecision::Approved(_))));
    assert!(verdict(old, endpoint).is_err(), "the old anchors know neither the epoch nor the signer");
}

#[test]
fn a_new_requester_key_begins_a_journal_of_its_own() {
    let (world, bridge) = World::with_bridge();
    let observer = Observer::new(&world);
    let mut lives = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);
    drop(bridge);
    assert!(world.run(&["bridge", "--once"]).status.success(), "drained with the old key");
    assert_eq!(status(&world)["states"], states_of(&[guardrail::schema::RequestState::Recorded]));

    let [old, new, signer] = [0, 4, 9].map(|index| dev(index).address().to_string());
    world.ok(&["admin", "set-bridge", &new, &signer]);
    world.ok(&["admin", "remove-bridge", &old]);
    let key = key_file(&world, 4);
    let run = |state: &str| {
        let mut command = world.command(&["bridge", "--once", "--requester-key-file", &key]);
        command.env("GUARDRAIL_STATE_DIR", world.path(state)).output().unwrap()
    };
    let refused = run("state");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("then use another --state-dir"), "{refused:?}");

    let request = sample();
    observer.channel.publish_request(&request).unwrap();
    let accepted = run("state2");
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    let found = world.ok(&["audit", "--json"]);
    let asked: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = asked.iter().find(|event| event["detail"]["request_id"] == request.request_id.as_str());
    assert_eq!(event.map(|event| &event["detail"]["requester"]), Some(&json!(new)), "{found}");
}
