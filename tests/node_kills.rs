//! A chain that forgets: a node killed and started from an older state, reorganisations, rollbacks, dropped transactions.

use std::path::{Path, PathBuf};

use alloy::primitives::{B256, Bytes};
use serde_json::{Value, json};

use crate::fault_support::{End, Life, Observer, drive, free_port};
use crate::jsonrpc::Rpc;
use crate::support::{Anvil, Process, World, request};

/// A set-up in whose chain something is going to happen: one request decided, one consumed, one
/// recorded and one pending.
struct Story {
    world: World,
    _bridge: Process,
    observer: Observer,
    lives: Vec<Life>,
    /// The height before the first request.
    before: u64,
}

impl Story {
    fn new() -> Story {
        Self::on(Anvil::start())
    }

    fn on(anvil: Anvil) -> Story {
        let world = World::on(anvil);
        world.configure(&[("resubmit_interval_s", "1")]);
        let bridge = world.bridge();
        let observer = Observer::new(&world);
        let before = observer.rpc.number("eth_blockNumber", json!([]));
        let mut story = Story { world, _bridge: bridge, observer, lives: Vec::new(), before };
        story.more(&[End::Approved, End::Consumed, End::Recorded, End::Pending]);
        story
    }

    /// More requests, all the way to their ends.
    fn more(&mut self, ends: &[End]) {
        self.lives.extend(ends.iter().map(|end| Life::of(sample(), *end).begin(&self.observer.channel)));
        drive(&self.world, &self.observer, &mut self.lives);
    }

    /// Blocks since the first request, all of which a reorganisation takes away.
    fn depth(&self) -> u64 {
        self.height() - self.before
    }

    fn height(&self) -> u64 {
        self.observer.rpc.number("eth_blockNumber", json!([]))
    }

    /// What comes after still gets through, and everything counts once.
    fn goes_on(mut self) {
        self.more(&[End::Recorded, End::Pending]);
        self.observer.check(&self.world, &self.lives);
    }
}

/// One vote settles it.
fn sample() -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": "main"}))
}

#[test]
fn a_node_killed_and_started_from_an_older_state_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (state, older) = (dir.path().join("state.json"), dir.path().join("older.json"));
    let port = free_port();
    let arguments = ["--state", state.to_str().unwrap(), "--state-interval", "1"];
    let mut story = Story::on(Anvil::start_on(port, &arguments));
    keep(&story, &state, &older);
    let count = |story: &Story| story.observer.rpc.number("eth_getTransactionCount", json!([requester(), "latest"]));
    let before = count(&story);
    story.more(&[End::Approved, End::Pending, End::Consumed]);
    assert!(count(&story) > before);
    story.world.anvil.process.kill();
    std::fs::copy(&older, &state).unwrap();
    story.world.anvil = Anvil::start_on(port, &arguments);
    story.goes_on();
}

#[test]
fn a_node_killed_and_started_from_its_last_state_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (state, last) = (dir.path().join("state.json"), dir.path().join("last.json"));
    let port = free_port();
    let arguments = ["--state", state.to_str().unwrap(), "--state-interval", "1"];
    let mut story = Story::on(Anvil::start_on(port, &arguments));
    keep(&story, &state, &last);
    story.world.anvil.process.kill();
    std::fs::copy(&last, &state).unwrap();
    story.world.anvil = Anvil::start_on(port, &arguments);
    story.goes_on();
}

#[test]
fn a_reorganisation_that_drops_every_transaction_is_sent_again() {
    let story = Story::new();
    story.observer.rpc.call("anvil_reorg", json!([story.depth(), []]));
    story.goes_on();
}

#[test]
fn a_reorganisation_that_keeps_the_transactions_in_other_blocks_repeats_nothing() {
    let story = Story::new();
    let raw = transactions(&story.observer.rpc, story.before + 1..=story.height());
    let again: Vec<Value> = raw.iter().enumerate().map(|(block, raw)| json!([raw, block])).collect();
    story.observer.rpc.call("anvil_reorg", json!([story.depth(), again]));
    story.goes_on();
}

#[test]
fn a_reorganisation_that_keeps_half_of_the_transactions_gets_the_rest_again() {
    let story = Story::new();
    let raw = transactions(&story.observer.rpc, story.before + 1..=story.height());
    let half: Vec<Value> = raw.iter().take(raw.len() / 2).map(|raw| json!([raw, 0])).collect();
    story.observer.rpc.call("anvil_reorg", json!([story.depth(), half]));
    story.goes_on();
}

#[test]
fn a_rollback_is_sent_again() {
    let story = Story::new();
    story.observer.rpc.call("anvil_rollback", json!([story.depth()]));
    story.goes_on();
}

#[test]
fn a_rollback_by_one_block_is_sent_again() {
    let story = Story::new();
    story.observer.rpc.call("anvil_rollback", json!([1]));
    story.goes_on();
}

#[test]
fn a_transaction_that_the_node_dropped_is_sent_again() {
    let mut story = Story::new();
    let rpc = story.observer.rpc.clone();
    rpc.automine(false);
    story.lives.push(Life::of(sample(), End::Approved).begin(&story.observer.channel));
    let hash = story.world.eventually("its transaction is in the pool", || pooled(&rpc).first().copied());
    assert_eq!(rpc.call("anvil_dropTransaction", json!([hash])), json!(hash));
    story.world.eventually("it is in the pool again", || (!pooled(&rpc).is_empty()).then_some(()));
    rpc.automine(true);
    rpc.mine();
    drive(&story.world, &story.observer, &mut story.lives);
    story.goes_on();
}

fn requester() -> String {
    crate::support::dev(0).address().to_string()
}

/// Keeps a copy of the node's state file that holds the present head.
fn keep(story: &Story, state: &Path, copy: &PathBuf) {
    let head = story.height();
    story.world.eventually("the state file holds the head", || {
        // The node writes in place, so what is read may be half of it.
        let bytes = std::fs::read(state).ok()?;
        let tree: Value = serde_json::from_slice(&bytes).ok()?;
        (tree["best_block_number"] == head).then(|| std::fs::write(copy, bytes).unwrap())
    });
}

/// The raw transactions of a range of blocks, in order.
fn transactions(rpc: &Rpc, blocks: std::ops::RangeInclusive<u64>) -> Vec<Bytes> {
    let hashes = blocks.flat_map(|number| {
        let block = rpc.call("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
        serde_json::from_value::<Vec<B256>>(block["transactions"].clone()).unwrap()
    });
    hashes.map(|hash| serde_json::from_value(rpc.call("eth_getRawTransactionByHash", json!([hash]))).unwrap()).collect()
}

/// The hashes of what waits to be mined.
fn pooled(rpc: &Rpc) -> Vec<B256> {
    let content = rpc.call("txpool_content", json!([]));
    let accounts = content["pending"].as_object().unwrap().values();
    let transactions = accounts.flat_map(|by_nonce| by_nonce.as_object().unwrap().values());
    transactions.map(|transaction| serde_json::from_value(transaction["hash"].clone()).unwrap()).collect()
}
