//! Ten thousand requests at once, and what they do to the ones that come after.

use std::time::Instant;

use anyhow::Result;

use super::prepared;
use super::running::Running;
use super::site::Site;
use super::submission::{Floor, bridge_latencies_ms};
use crate::baseline::{Account, BATCH_GAS, CALL_GAS, presigned};
use crate::fixture::{Ledger, Prepared, Scratch, dev};
use crate::harness::{Direction, Group, Metric, Sorted};

/// Transactions that the unbatched baseline has on the way at one time.
const IN_FLIGHT: usize = 16;
/// Requests in one transaction, as many as the protocol allows.
const BATCH: usize = 400;
/// Batches on the way at one time: as many as a block of Anvil's takes, which does not come back for more.
const BATCHES_IN_FLIGHT: usize = 2;
const FEW_PENDING: usize = 10;
/// Few, so that ten pending do not become many more.
const LATENCY_SAMPLES: usize = 50;

/// The requests are signed and written before each clock starts; every half has a chain of its own.
#[derive(Default)]
pub struct Load {
    requests: Vec<Prepared>,
}

impl Group for Load {
    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "10,000 dropped files ÷ one call a transaction, pre-signed, 16 in flight",
                unit: "1/s",
                target: 5.0,
                direction: Direction::AtLeast,
            },
            Metric {
                name: "10,000 dropped files ÷ batches of 400, pre-signed",
                unit: "1/s",
                target: 0.7,
                direction: Direction::AtLeast,
            },
            Metric {
                name: "latency at 10,000 pending ÷ at 10, beside the same of Anvil itself",
                unit: "×",
                target: 1.3,
                direction: Direction::AtMost,
            },
        ]
    }

    /// The clock of the 10,000 starts with the bridge's run, before it has looked into the channel.
    fn ours(&mut self) -> Result<Vec<f64>> {
        let requests = prepared(&mut self.requests)?;
        let few = Loaded::by_bridge(&requests[..FEW_PENDING])?;
        let many = Loaded::by_bridge(requests)?;
        Ok(vec![many.per_s, many.per_s, many.latency_ms / few.latency_ms])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let requests = prepared(&mut self.requests)?;
        let singles_per_s = one_by_one(requests)?;
        let few = Loaded::by_batches(&requests[..FEW_PENDING])?;
        let many = Loaded::by_batches(requests)?;
        Ok(vec![singles_per_s, many.per_s, many.latency_ms / few.latency_ms])
    }
}

/// How fast requests came to be pending, and how long one takes once they are.
struct Loaded {
    per_s: f64,
    latency_ms: f64,
}

impl Loaded {
    fn by_bridge(requests: &[Prepared]) -> Result<Self> {
        let site = Site::new()?;
        site.fill(requests)?;
        let mut bridge = Running::start(&site)?;
        let took = bridge.all_pending(requests.len())?.duration_since(bridge.started);
        let took_ms = bridge_latencies_ms(&site, &mut bridge, LATENCY_SAMPLES)?;
        bridge.stop()?;
        Ok(Loaded { per_s: requests.len() as f64 / took.as_secs_f64(), latency_ms: Sorted::new(took_ms)?.median() })
    }

    fn by_batches(requests: &[Prepared]) -> Result<Self> {
        let ledger = Ledger::start()?;
        let scratch = Scratch::new()?;
        let mut account = Account::new(dev::REQUESTER)?;
        let calls = requests.chunks(BATCH).map(Prepared::batch_call);
        let raws = presigned(&mut account, ledger.contract, calls, BATCH_GAS)?;
        let mut rpc = ledger.connect()?;
        let begun = Instant::now();
        for raws in raws.chunks(BATCHES_IN_FLIGHT) {
            rpc.send_all_sync(raws)?;
        }
        let took = begun.elapsed();
        let took_ms = Floor::new(&ledger, account, &scratch)?.latencies_ms(LATENCY_SAMPLES)?;
        Ok(Loaded { per_s: requests.len() as f64 / took.as_secs_f64(), latency_ms: Sorted::new(took_ms)?.median() })
    }
}

/// Requests a second with a transaction for each. JSON-RPC batches keep the nonces in order, and were faster here
/// than 16 connections and than asking for the receipts afterwards.
fn one_by_one(requests: &[Prepared]) -> Result<f64> {
    let ledger = Ledger::start()?;
    let mut account = Account::new(dev::REQUESTER)?;
    let raws = presigned(&mut account, ledger.contract, requests.iter().map(Prepared::call), CALL_GAS)?;
    let mut rpc = ledger.connect()?;
    let begun = Instant::now();
    for raws in raws.chunks(IN_FLIGHT) {
        rpc.send_all_sync(raws)?;
    }
    Ok(requests.len() as f64 / begun.elapsed().as_secs_f64())
}
