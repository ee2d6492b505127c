//! `guardrail audit` on a real chain: what it finds, in every form, and where it goes on.

use std::collections::BTreeSet;

use guardrail::audit::{Join, LogStore, fetch};
use guardrail::evidence::Endpoint;
use guardrail::schema::{RequestId, TrustAnchors};
use serde_json::{Value, json};

use crate::fault_support::{End, Life, Observer, drive};
use crate::jsonrpc::Rpc;
use crate::support::{World, deployment, dev};

const DEPLOY: &str = "Deploy the fix to production";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was found, as (kind, stage, request).
fn findings(rows: &[Value]) -> BTreeSet<(String, String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let found = rows.iter().filter(|row| row["record"] == "finding");
    found.map(|row| (text(row, "finding"), text(row, "stage"), text(row, "request_id"))).collect()
}

fn expect(kind: &str, stage: &str, id: &RequestId) -> (String, String, String) {
    (kind.to_owned(), stage.to_owned(), id.to_string())
}

fn deployed(world: &World) -> RequestId {
    let mut agent = world.agent(&["--prompt", DEPLOY]);
    let (request_id, _) = agent.waits();
    world.pending_id(&request_id);
    world.ok(&["approve", request_id.as_str()]);
    agent.end().exited(0);
    request_id
}

#[test]
fn each_kind_of_finding_is_found_and_nothing_else() {
    let (world, bridge) = World::with_bridge();
    world.workspace();
    let good = deployed(&world);
    let clean = lines(&world.ok(&["audit", "--json", "--verify"]));
    assert_eq!(findings(&clean), BTreeSet::new(), "a deployment that went well");
    let bundles: Vec<&Value> = clean.iter().filter(|row| row["record"] == "bundle").collect();
    assert_eq!((bundles.len(), &bundles[0]["verified"], &bundles[0]["chain_checked"]), (1, &json!(true), &json!(true)));

    // Made elsewhere: this state directory has no evidence of them.
    let observer = Observer::new(&world);
    let mut lives =
        [End::Pending, End::Approved, End::Consumed, End::Recorded].map(|end| Life::new(end).begin(&observer.channel));
    drive(&world, &observer, &mut lives);
    let [pending, approved, consumed, recorded] = [0, 1, 2, 3].map(|index: usize| lives[index].id().clone());
    let mut expected = BTreeSet::from([
        expect("on_chain_not_here", "request", &pending),
        expect("on_chain_not_here", "decision", &approved),
        expect("on_chain_not_here", "decision", &consumed),
        expect("on_chain_not_here", "decision", &recorded),
        expect("approved_never_consumed", "decision", &approved),
        expect("consumed_never_recorded", "consumption", &consumed),
    ]);
    let rows = lines(&world.ok(&["audit", "--json", "--verify"]));
    assert_eq!(findings(&rows), expected);

    // Evidence that went missing, and evidence of what this chain never had.
    let evidence = |id: &RequestId, kind: &str| world.path(&format!("state/evidence/{id}.{kind}.json"));
    std::fs::remove_file(evidence(&good, "recorded")).unwrap();
    expected.insert(expect("on_chain_not_here", "outcome", &good));
    let (other, _other_bridge) = World::with_bridge();
    other.workspace();
    let foreign = deployed(&other);
    for kind in ["request", "response", "consumed", "recorded"] {
        let name = format!("{foreign}.{kind}.json");
        std::fs::copy(other.path("state/evidence").join(&name), world.path("state/evidence").join(&name)).unwrap();
    }
    expected.insert(expect("here_not_on_chain", "decision", &foreign));
    let rows = lines(&world.ok(&["audit", "--json"]));
    assert_eq!(findings(&rows), expected);

    // A key that the anchors do not pin: an approver who was added afterwards, in an epoch nobody pinned.
    let pinned = std::fs::read_to_string(world.path("state/anchors.yaml")).unwrap();
    let anchors: TrustAnchors = serde_json::from_value(without_approver(&world, 2)).unwrap();
    std::fs::write(world.path("fewer.json"), serde_json::to_vec(&anchors).unwrap()).unwrap();
    let fewer = world.path("fewer.json");
    let rows = lines(&world.ok(&["audit", "--json", "--anchors", fewer.to_str().unwrap()]));
    let foreign_keys: Vec<&Value> = rows.iter().filter(|row| row["finding"] == "foreign_key").collect();
    // Each of the four that were approved has a vote of account 2; its vote settled some of them.
    let settled = rows.iter().filter(|row| {
        row["event"] == "AuthorizationApproved" && row["detail"]["approver"] == dev(2).address().to_checksum(None)
    });
    assert_eq!(foreign_keys.len(), 4 + settled.count(), "{foreign_keys:#?}");
    assert!(foreign_keys.iter().all(|row| row["detail"].as_str().unwrap().contains(&dev(2).address().to_string())));
    assert_eq!(std::fs::read_to_string(world.path("state/anchors.yaml")).unwrap(), pinned);

    // With --verify what does not add up is the exit code: this bundle is of another chain's contract state.
    let output = world.run(&["audit", "--json", "--verify"]);
    assert_eq!(output.status.code(), Some(5));
    let rows = lines(&String::from_utf8(output.stdout).unwrap());
    assert!(
        findings(&rows).iter().any(|(kind, _, id)| kind == "not_verified" && *id == foreign.to_string()),
        "{rows:#?}"
    );
    drop(bridge);
}

/// The anchors of the chain without an approver, and with a policy that the rest can meet.
fn without_approver(world: &World, index: usize) -> Value {
    let mut anchors = serde_json::to_value(world.anchors()).unwrap();
    let address = dev(index).address().to_checksum(None);
    let epoch = &mut anchors["epochs"][0];
    epoch["approvers"].as_array_mut().unwrap().retain(|approver| approver["address"] != json!(address));
    epoch["policy"] = json!([{"min_risk_bps": 0, "quorum": {"any": 1}}]);
    anchors
}

#[test]
fn other_programs_read_it() {
    let (world, _bridge) = World::with_bridge();
    world.workspace();
    let id = deployed(&world);
    let events = lines(&world.ok(&["audit", "--format", "jsonl"]));
    assert_eq!(events.len(), 6);
    assert!(events.iter().all(|row| row["time"].as_u64().unwrap() > 1_700_000_000), "{events:#?}");

    let table = world.ok(&["audit", "--format", "csv", "--verify"]);
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((header.len(), rows.len()), (11, 7));
    assert_eq!((&rows[0][2], &rows[0][8], &rows[6][2]), ("AuthorizationRequested", id.as_str(), "verified"));

    let siem = lines(&world.ok(&["audit", "--format", "ocsf"]));
    assert_eq!(siem.len(), 6);
    for (row, event) in siem.iter().zip(&events) {
        assert_eq!(row["class_uid"], 6003);
        assert_eq!(row["api"]["operation"], event["event"]);
        assert_eq!(row["time"].as_u64().unwrap(), event["time"].as_u64().unwrap() * 1000);
    }
    let text = world.ok(&["audit", "--findings", "--verify"]);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with(&format!("bundle  {id} ")) && text.contains(": verified; chain: checked"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_goes_on_where_it_was_and_forgets_what_the_chain_dropped() {
    let (world, _bridge) = World::with_bridge();
    let observer = Observer::new(&world);
    let contract = observer_contract(&world);
    let provider = Endpoint::connect(&world.anvil.url).await.unwrap().provider().clone();
    let mut lives = [Life::new(End::Recorded).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);

    let dir = tempfile::tempdir().unwrap();
    let genesis = world.anchors().genesis_hash;
    let mut store = LogStore::open(dir.path(), genesis, contract).unwrap();
    let first = fetch::update(&provider, &mut store, contract, 0, |_| {}).await.unwrap();
    assert_eq!((first.from_block, first.logs, store.count().unwrap()), (0, 6, 6));
    drop(store);

    // A process that comes later reads what is new, and nothing twice.
    let rpc = Rpc::new(&world.anvil.url);
    let snapshot = rpc.call("evm_snapshot", json!([]));
    let mut more = [Life::new(End::Pending).begin(&observer.channel)];
    drive(&world, &observer, &mut more);
    let mut store = LogStore::open(dir.path(), genesis, contract).unwrap();
    let again = fetch::update(&provider, &mut store, contract, 0, |_| {}).await.unwrap();
    assert_eq!((again.from_block, again.logs, store.count().unwrap()), (first.head + 1, 1, 7));
    let nothing = fetch::update(&provider, &mut store, contract, 0, |_| {}).await.unwrap();
    assert_eq!((nothing.logs, store.count().unwrap()), (0, 7));

    // The node rolls back and goes another way: what was read of the dropped blocks goes.
    assert_eq!(rpc.call("evm_revert", json!([snapshot])), json!(true));
    let head = fetch::update(&provider, &mut store, contract, 0, |_| {}).await.unwrap();
    let mut join = Join::new(None).unwrap();
    store
        .each::<guardrail::audit::AuditError>(|log| {
            assert!(log.block <= head.head);
            join.take(&log.decode()?.unwrap()).map(|_| ())
        })
        .unwrap();
    let chain = observer.ledger().all_events();
    let on_chain: usize = chain.values().flatten().map(Vec::len).sum();
    assert_eq!(join.summary().events as usize, on_chain);
}

fn observer_contract(world: &World) -> alloy::primitives::Address {
    world.anchors().contract
}

#[test]
fn anchors_are_confirmed_by_somebody_and_changes_since_are_shown() {
    let world = World::new();
    world.ok(&["deploy"]);
    let unasked = world.run(&["anchors", "init", "--write"]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("somebody has to confirm"), "{unasked:?}");
    assert!(!world.path("state/anchors.yaml").exists());
    world.ok(&["anchors", "init", "--write", "--yes"]);
    assert_eq!(world.ok(&["anchors", "diff"]), "");

    let before: TrustAnchors = world.anchors();
    world.ok(&["admin", "set-approver", &dev(5).address().to_string(), "security"]);
    let output = world.run(&["anchors", "diff", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        said["differences"],
        json!([
            {"what": "epoch", "pinned": "1", "chain": "2"},
            {"what": format!("approver {}", dev(5).address()), "pinned": null, "chain": "security"},
        ])
    );
    let refused = world.run(&["anchors", "init", "--write", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "what is pinned is not replaced unasked");
    world.ok(&["anchors", "init", "--write", "--yes", "--force"]);
    assert_eq!(world.ok(&["anchors", "diff"]), "");
    let pinned: Value = serde_json::from_str(&world.ok(&["anchors", "init", "--json"])).unwrap();
    let kept = std::fs::read_to_string(world.path("state/anchors.yaml")).unwrap();
    assert_eq!(pinned["epochs"].as_array().unwrap().len(), 1);
    assert!(kept.contains("epoch: 1") && kept.contains("epoch: 2"), "{kept}");

    // Another contract at another address, and another chain.
    let other = World::new();
    let elsewhere = world.run(&["anchors", "diff", "--json", "--rpc-url", &other.anvil.url]);
    let said: Value = serde_json::from_slice(&elsewhere.stdout).unwrap();
    assert_eq!((elsewhere.status.code(), &said["differences"][0]["what"]), (Some(5), &json!("genesis_hash")));
    assert_eq!(said["differences"][0]["pinned"], json!(before.genesis_hash));
}

#[test]
fn an_audit_without_evidence_or_anchors_says_what_it_did_not_check() {
    let (world, _bridge) = World::with_bridge();
    world.channel().publish_request(&deployment()).unwrap();
    world.eventually("it is on chain", || (world.requests_on_chain() == 1).then_some(()));
    let output = world.run(&["audit"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success());
    assert!(told.contains("keys were not checked") && told.contains("no evidence is kept"), "{told}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("FINDING"), "{output:?}");
}
