//! Endpoints that lose, delay, double, garble and lie, and that enforce geth's rules: nothing is lost, nothing is twice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::fault_support::{Dice, End, Life, Observer, alarms_become, becomes, drive, size, soak};
use crate::proxy::{Fault, Proxy, Sent};
use crate::support::{Process, World, dev, request};

/// How long the bridge waits for an answer, in milliseconds.
const CALL_TIMEOUT_MS: &str = "500";
/// How long a request lives: longer than a test, so that what is slow is not lost for that.
const LIFETIME_S: &str = "3600";

/// A set-up whose bridge reaches its chain by a proxy alone.
struct Hostile {
    world: World,
    proxy: Proxy,
    bridge: Process,
    observer: Observer,
    lives: Vec<Life>,
}

impl Hostile {
    fn new(test: &str) -> Hostile {
        let world = World::new();
        world.configure(&[
            ("authorization_timeout_s", LIFETIME_S),
            ("call_timeout_ms", CALL_TIMEOUT_MS),
            ("resubmit_interval_s", "1"),
        ]);
        let proxy = Proxy::start(&world.anvil.url, Dice::roll_out(test));
        let bridge = world.bridge_with(&[("GUARDRAIL_RPC_URL", &proxy.url)]);
        let observer = Observer::new(&world);
        Hostile { world, proxy, bridge, observer, lives: Vec::new() }
    }

    /// So many requests, all the way to their decisions; of every five one is consumed and one recorded.
    fn through(&mut self, requests: usize) {
        let ends = [End::Approved, End::Consumed, End::Approved, End::Recorded, End::Approved];
        self.lives.extend((0..requests).map(|index| begun(&self.observer, ends[index % ends.len()])));
        drive(&self.world, &self.observer, &mut self.lives);
    }

    fn check(&self) {
        self.observer.check(&self.world, &self.lives);
        assert_eq!(self.world.quarantined(), []);
    }

    /// Attempts at one nonce that came by.
    fn attempts(&self, nonce: u64) -> Vec<Sent> {
        let mut attempts = sent(&self.proxy);
        attempts.retain(|sent| sent.nonce == nonce);
        attempts.dedup_by_key(|sent| sent.hash);
        attempts
    }
}

/// The bridge's own transactions that came by.
fn sent(proxy: &Proxy) -> Vec<Sent> {
    proxy.sent_by(dev(0).address())
}

/// A request that one vote settles, already published.
fn begun(observer: &Observer, end: End) -> Life {
    Life::of(request("deploy_to_production", 0.8, json!({"branch": "main"})), end).begin(&observer.channel)
}

fn delay() -> Duration {
    if soak() { Duration::from_secs(30) } else { Duration::from_secs(2) }
}

/// Rounds after which a fault that never came is no chance any more.
const MORE_OCCASIONS: usize = 10;

#[test]
fn each_fault_alone_loses_nothing_and_repeats_nothing() {
    let mut hostile = Hostile::new("hostile_rpc, each alone");
    for fault in Fault::all(delay()) {
        eprintln!("{fault:?}");
        let per_mille = if fault.is_lie() { 500 } else { 100 };
        hostile.proxy.misbehave(per_mille, &[fault]);
        hostile.through(size(3, 30));
        // The plan is drawn: a fault that has not come yet gets more occasions.
        for _ in 0..MORE_OCCASIONS {
            if fault.is_lie() || hostile.proxy.happened().contains_key(&fault) {
                break;
            }
            hostile.through(size(3, 30));
        }
    }
    hostile.proxy.behave();
    hostile.check();
    // The nonce may be asked for seldom; every other fault had occasion enough.
    let happened = hostile.proxy.happened();
    for fault in Fault::all(delay()) {
        assert!(fault.is_lie() || happened.contains_key(&fault), "{fault:?} never happened: {happened:#?}");
    }
}

#[test]
fn all_faults_together_lose_nothing_and_repeat_nothing() {
    let mut hostile = Hostile::new("hostile_rpc, all together");
    let mut dice = Dice::roll_out("hostile_rpc, how often");
    for _ in 0..size(1, 4) {
        hostile.proxy.misbehave(100 + dice.below(101), &Fault::all(delay()));
        hostile.through(size(10, 30));
        hostile.proxy.behave();
        hostile.check();
    }
    eprintln!("{:#?}", hostile.proxy.happened());
}

#[test]
fn a_bridge_killed_among_faults_goes_on() {
    let mut hostile = Hostile::new("hostile_rpc, with a kill");
    hostile.proxy.misbehave(150, &Fault::all(delay()));
    for _ in 0..size(2, 10) {
        hostile.lives.extend([begun(&hostile.observer, End::Approved), begun(&hostile.observer, End::Recorded)]);
        hostile.world.empties("requests");
        hostile.bridge.kill();
        // It may find an endpoint that is silent just then, and says so; whoever runs it starts it again.
        let url = hostile.proxy.url.clone();
        hostile.bridge = hostile
            .world
            .eventually("it starts", || Some(hostile.world.try_bridge(&[("GUARDRAIL_RPC_URL", &url)]).ok()?.process));
        drive(&hostile.world, &hostile.observer, &mut hostile.lives);
    }
    hostile.proxy.behave();
    hostile.check();
}

#[test]
fn a_transaction_that_the_base_fee_left_behind_gets_out_in_two_replacements() {
    let mut hostile = Hostile::new("hostile_rpc, stuck");
    let rpc = hostile.observer.rpc.clone();
    rpc.automine(false);
    let nonce = rpc.number("eth_getTransactionCount", json!([dev(0).address(), "latest"]));
    hostile.lives.push(begun(&hostile.observer, End::Approved));
    let first = hostile.world.eventually("the first attempt", || hostile.attempts(nonce).first().cloned());
    // Just above what it can pay; every block from now on is as expensive.
    let base_fee = json!([format!("{:#x}", first.max_fee_wei + 1)]);
    let id = hostile.lives[0].id().clone();
    hostile.world.eventually("it is mined", || {
        rpc.call("anvil_setNextBlockBaseFeePerGas", base_fee.clone());
        rpc.mine();
        hostile.observer.ledger().id_of(&id)
    });
    // One attempt for each resubmit interval: the first, and at most two more.
    let attempts = hostile.attempts(nonce);
    assert!((2..=3).contains(&attempts.len()), "{attempts:#?}");
    assert!(attempts[1..].iter().all(|sent| sent.answer == Ok(())), "geth's rules are kept: {attempts:#?}");
    rpc.automine(true);
    rpc.mine();
    drive(&hostile.world, &hostile.observer, &mut hostile.lives);
    hostile.check();
}

#[test]
fn a_flood_of_requests_keeps_within_what_geth_takes_from_one_account() {
    let mut hostile = Hostile::new("hostile_rpc, flood");
    let rpc = hostile.observer.rpc.clone();
    rpc.automine(false);
    // One after another, so that they do not share a transaction.
    for number in 1..=20 {
        hostile.lives.push(begun(&hostile.observer, End::Approved));
        hostile.world.empties("requests");
        if number <= 16 {
            hostile.world.eventually("it is sent", || (distinct_nonces(&hostile.proxy) >= number).then_some(()));
        }
    }
    rpc.automine(true);
    rpc.mine();
    drive(&hostile.world, &hostile.observer, &mut hostile.lives);
    hostile.check();
    let refused: Vec<Sent> = sent(&hostile.proxy).into_iter().filter(|sent| sent.answer.is_err()).collect();
    let over = refused.iter().filter(|sent| sent.answer == Err("account limit exceeded".to_owned())).count();
    assert_eq!(over, 0, "{refused:#?}");
}

fn distinct_nonces(proxy: &Proxy) -> usize {
    let mut nonces: Vec<u64> = sent(proxy).iter().map(|sent| sent.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    nonces.len()
}

/// A set-up with two endpoints of one chain.
struct Two {
    world: World,
    first: Proxy,
    second: Proxy,
    _bridge: Process,
    observer: Observer,
    lives: Vec<Life>,
}

impl Two {
    fn new(test: &str) -> Two {
        let world = World::new();
        let first = Proxy::start(&world.anvil.url, Dice::roll_out(test));
        let second = Proxy::start(&world.anvil.url, Dice::roll_out(test));
        world.configure(&[
            ("authorization_timeout_s", LIFETIME_S),
            ("call_timeout_ms", CALL_TIMEOUT_MS),
            ("more_rpc_urls", &format!("[\"{}\"]", second.url)),
            ("resubmit_interval_s", "1"),
        ]);
        let bridge = world.bridge_with(&[("GUARDRAIL_RPC_URL", &first.url)]);
        let observer = Observer::new(&world);
        Two { world, first, second, _bridge: bridge, observer, lives: Vec::new() }
    }

    fn through(&mut self, end: End) {
        self.lives.push(begun(&self.observer, end));
        drive(&self.world, &self.observer, &mut self.lives);
    }
}

#[test]
fn where_one_endpoint_dies_another_takes_over() {
    let mut two = Two::new("hostile_rpc, failover");
    two.through(End::Recorded);
    let hashes = |proxy: &Proxy| -> BTreeSet<_> { sent(proxy).iter().map(|sent| sent.hash).collect() };
    let to_first = hashes(&two.first);
    assert_eq!(to_first.len(), 4, "the request, its decision, its consumption, its record");
    becomes("what is sent goes to all", &to_first, || hashes(&two.second));
    two.first.die();
    two.through(End::Recorded);
    alarms_become(&two.world, &["endpoint_down"]);
    two.first.revive();
    two.second.die();
    two.through(End::Approved);
    two.second.revive();
    alarms_become(&two.world, &[]);
    two.observer.check(&two.world, &two.lives);
}

#[test]
fn where_both_endpoints_die_everything_waits() {
    let mut two = Two::new("hostile_rpc, both");
    two.first.die();
    two.second.die();
    two.lives.push(begun(&two.observer, End::Approved));
    alarms_become(&two.world, &["endpoint_down"]);
    assert_eq!(two.observer.ledger().requests(), 0);
    two.first.revive();
    two.second.revive();
    two.through(End::Recorded);
    alarms_become(&two.world, &[]);
    two.observer.check(&two.world, &two.lives);
}

#[test]
fn where_endpoints_disagree_nothing_is_answered_until_they_agree() {
    for liar in [|two: &Two| two.first.fork(), |two: &Two| two.second.fork()] {
        let mut two = Two::new("hostile_rpc, a lie");
        two.lives.push(begun(&two.observer, End::Approved));
        let id = two.observer.requested(&two.world, two.lives[0].id());
        liar(&two);
        two.lives[0].approve(&two.observer, id);
        two.world.empties("votes");
        two.observer.rpc.mine();
        alarms_become(&two.world, &["endpoints_disagree"]);
        assert_eq!(two.world.files("responses"), Vec::<String>::new());
        two.first.rejoin();
        two.second.rejoin();
        drive(&two.world, &two.observer, &mut two.lives);
        alarms_become(&two.world, &[]);
        two.observer.check(&two.world, &two.lives);
    }
}
