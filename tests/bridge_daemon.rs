//! The bridge as a service: how it stops, what it says of itself, what it raises an alarm about.

use guardrail::schema::RequestState;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fault_support::{
    End, Life, Observer, alarms, alarms_become, becomes, drive, free_port, same, states_of, status,
};
use crate::jsonrpc::{Message, Rpc, exchange};
use crate::support::{Anvil, World, dev, request};

const GWEI: u128 = 1_000_000_000;

fn sample() -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": "main"}))
}

fn account() -> String {
    dev(0).address().to_string()
}

fn set_balance(observer: &Observer, wei: u128) {
    observer.rpc.call("anvil_setBalance", json!([account(), format!("{wei:#x}")]));
}

/// Waits until the journal has a transaction on its way, and answers with its nonces.
fn on_their_way(world: &World) -> Value {
    world.eventually("a transaction is on its way", || {
        let open = status(world)["nonce"]["open"].take();
        (open != json!([])).then_some(open)
    })
}

#[test]
fn an_idle_bridge_stops_at_once_by_either_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let mut bridge = world.bridge();
        bridge.signal(signal);
        assert_eq!(bridge.ended().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_stop_waits_for_what_is_on_its_way() {
    let world = World::new();
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    observer.rpc.automine(false);
    let lives = [Life::of(sample(), End::Pending).begin(&observer.channel)];
    on_their_way(&world);
    bridge.signal(Signal::TERM);
    observer.rpc.automine(true);
    observer.rpc.mine();
    assert_eq!(bridge.ended().code(), Some(0));
    observer.check(&world, &lives);
    assert_eq!(status(&world)["running"], Value::Null);
}

#[test]
fn a_stop_that_cannot_wait_longer_says_so_and_the_next_start_goes_on() {
    let world = World::new();
    world.configure(&[("deadline_s", "1")]);
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    observer.rpc.automine(false);
    let mut lives = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    let open = on_their_way(&world);
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.ended().code(), Some(4));
    let after = status(&world);
    assert_eq!(
        (&after["states"], &after["nonce"]["open"], &after["running"]),
        (&states_of(&[RequestState::Received]), &open, &Value::Null)
    );
    observer.rpc.automine(true);
    observer.rpc.mine();
    let _bridge = world.bridge();
    drive(&world, &observer, &mut lives);
    observer.check(&world, &lives);
}

#[test]
fn once_drains_the_channel_and_ends() {
    let world = World::new();
    let once = |world: &World| {
        let output = world.run(&["bridge", "--once"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    once(&world);
    let observer = Observer::new(&world);
    let ends = [End::Recorded, End::Approved, End::Pending];
    let mut lives = ends.map(|end| Life::of(sample(), end).begin(&observer.channel));
    // A request, its vote, its consumption, its outcome: each answered by a run of its own.
    for step in 0..5 {
        once(&world);
        assert_eq!((world.files("requests"), world.files("votes")), (Vec::new(), Vec::new()), "after run {step}");
        let ledger = observer.ledger();
        for life in &mut lives {
            life.advance(&observer, &ledger);
        }
    }
    observer.check(&world, &lives);
}

#[test]
fn the_status_tells_of_a_bridge_that_runs_and_of_one_that_is_gone() {
    let world = World::new();
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    let lives = [Life::of(sample(), End::Pending).begin(&observer.channel)];
    observer.requested(&world, lives[0].id());
    observer.check(&world, &lives);
    let running = status(&world);
    assert_eq!(running["running"]["pid"], bridge.0.id());
    assert!(running["running"]["since"].as_str().unwrap().ends_with('Z'), "{running}");
    let oldest = &running["oldest_pending"];
    assert_eq!(oldest["request_id"], lives[0].id().as_str());
    assert!(oldest["age_s"].is_u64(), "{running}");
    let next = observer.rpc.number("eth_getTransactionCount", json!([account(), "latest"]));
    assert_eq!(running["nonce"], json!({"next": next, "open": []}));
    assert!(running["balance"]["pays_for_requests"].as_u64().unwrap() > 1_000, "{running}");
    let balance = observer.rpc.call("eth_getBalance", json!([account(), "latest"]));
    let balance = u128::from_str_radix(balance.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    becomes("the balance", &json!(balance.to_string()), || status(&world)["balance"]["wei"].take());
    bridge.kill();
    let mut gone = status(&world);
    assert_eq!(gone["running"], Value::Null);
    let mut running = running;
    let facts = |status: &mut Value| [status["states"].take(), status["open"].take(), status["nonce"].take()];
    assert_eq!(facts(&mut gone), facts(&mut running));
}

#[test]
fn a_low_balance_raises_an_alarm_until_somebody_pays() {
    let world = World::new();
    let _bridge = world.bridge();
    let observer = Observer::new(&world);
    alarms_become(&world, &[]);
    // Half of fees.low_balance_gwei.
    set_balance(&observer, 50_000_000 * GWEI);
    alarms_become(&world, &["low_balance"]);
    let mut lives = [Life::of(sample(), End::Approved).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);
    set_balance(&observer, 1_000_000_000 * GWEI);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
}

#[test]
fn an_empty_account_loses_nothing() {
    let world = World::new();
    world.configure(&[("resubmit_interval_s", "1")]);
    let _bridge = world.bridge();
    let observer = Observer::new(&world);
    set_balance(&observer, 0);
    alarms_become(&world, &["low_balance"]);
    let mut lives = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    world.empties("requests");
    becomes("the states", &states_of(&[RequestState::Received]), || status(&world)["states"].take());
    set_balance(&observer, 1_000_000_000 * GWEI);
    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
}

#[test]
fn fees_above_the_ceiling_are_waited_out() {
    let world = World::on(Anvil::start_with(&["--block-base-fee-per-gas", "9000000000"]));
    world.configure(&[("max_fee_gwei", "1"), ("resubmit_interval_s", "1")]);
    let _bridge = world.bridge();
    let observer = Observer::new(&world);
    let mut lives = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    alarms_become(&world, &["fee_ceiling"]);
    assert_eq!(observer.ledger().requests(), 0);
    observer.rpc.call("anvil_setNextBlockBaseFeePerGas", json!(["0x1"]));
    observer.rpc.mine();
    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
}

#[test]
fn another_chain_on_the_same_port_stops_it_with_an_explanation() {
    let port = free_port();
    let mut world = World::on(Anvil::start_on(port, &[]));
    let bridge = world.try_bridge(&[]).unwrap();
    let before = Rpc::new(&world.anvil.url).call("eth_getBlockByNumber", json!(["0x0", false]))["hash"].take();
    world.anvil.process.kill();
    world.anvil = Anvil::start_on(port, &["--timestamp", "1700000000"]);
    let end = bridge.end();
    assert_eq!(end.status.code(), Some(2), "{end:#?}");
    let said = "error: the chain is another one than before: genesis was ";
    let explained = end.stderr.lines().any(|line| line.starts_with(&format!("{said}{}", before.as_str().unwrap())));
    assert!(explained, "{end:#?}");
    assert!(end.stderr.contains("  hint: the journal in this state directory belongs to the other chain"), "{end:#?}");
    // Nor does it start there.
    let again = world.try_bridge(&[]).err().unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:#?}");
}

#[test]
fn a_chain_whose_clock_is_ahead_raises_an_alarm() {
    let world = World::new();
    let _bridge = world.bridge();
    let observer = Observer::new(&world);
    alarms_become(&world, &[]);
    observer.rpc.call("evm_increaseTime", json!([3600]));
    observer.rpc.mine();
    alarms_become(&world, &["clock_skew"]);
}

#[test]
fn health_and_metrics_are_served_where_the_configuration_says() {
    let world = World::new();
    let address = format!("127.0.0.1:{}", free_port());
    world.configure(&[("listen", &format!("\"{address}\""))]);
    let bridge = world.bridge();
    let observer = Observer::new(&world);
    let get = |path: &str| -> Message { exchange(&address, &format!("GET {path} HTTP/1.1"), b"").unwrap() };
    let health = || {
        let answer = get("/health");
        (answer.status(), serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (code, mut page) = health();
    assert_eq!((code, &page["status"], &page["pid"]), (200, &json!("ok"), &json!(bridge.0.id())));
    same("the alarms", &page["alarms"].take(), &json!([]));

    let mut lives = [Life::of(sample(), End::Recorded).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);
    becomes("the metrics", &true, || {
        let text = String::from_utf8(get("/metrics").body).unwrap();
        ["guardrail_requests_total 1", "guardrail_alarm{alarm=\"low_balance\"} 0", "guardrail_in_flight 0"]
            .iter()
            .all(|line| text.lines().any(|found| found == *line))
    });
    assert_eq!(get("/elsewhere").status(), 404);

    set_balance(&observer, 0);
    becomes("the alarms of the page", &(503, vec!["low_balance".to_owned()]), || {
        let (code, page) = health();
        (code, alarms(&page))
    });
    becomes("the alarms of page and status are the same", &true, || health().1["alarms"] == status(&world)["alarms"]);
    drop(bridge);
    assert!(exchange(&address, "GET /health HTTP/1.1", b"").is_err());
}
