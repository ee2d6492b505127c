//! A bridge process with many open requests: how soon it is back, and what it holds in memory.

use std::time::{Duration, Instant};

use alloy::sol_types::SolEvent;
use anyhow::{Result, ensure};
use guardrail::crypto::abi;
use guardrail::schema::request::RequestFields;

use super::prepared;
use super::running::{BridgeProcess, PATIENCE};
use super::site::{Site, write_all};
use crate::baseline::count;
use crate::fixture::{Ledger, Prepared, Scratch};
use crate::harness::{Direction, Group, Metric, ms};

const MEMORY_MIB_MAX: f64 = 64.0;
/// For what a bridge does once everything is on chain to come to rest.
const REST: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Restart {
    requests: Vec<Prepared>,
}

impl Group for Restart {
    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "restart with 10,000 pending until ready ÷ reading and parsing 10,000 files",
                unit: "ms",
                target: 3.0,
                direction: Direction::AtMost,
            },
            Metric {
                name: "resident memory with 10,000 pending ÷ 64 MiB",
                unit: "MiB",
                target: 1.0,
                direction: Direction::AtMost,
            },
        ]
    }

    /// The process that took the requests in is killed; the next one is timed. The memory is the greater of the two.
    fn ours(&mut self) -> Result<Vec<f64>> {
        let requests = prepared(&mut self.requests)?;
        let site = Site::new()?;
        site.fill(requests)?;
        let (first, _) = BridgeProcess::start(&site)?;
        wait_until_on_chain(&site.ledger, requests.len())?;
        std::thread::sleep(REST);
        let taking_in_mib = first.resident_mib()?;
        drop(first);
        let (second, ready) = BridgeProcess::start(&site)?;
        std::thread::sleep(REST);
        Ok(vec![ms(ready), second.resident_mib()?.max(taking_in_mib)])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let requests = prepared(&mut self.requests)?;
        let scratch = Scratch::new()?;
        let dir = scratch.path("requests");
        std::fs::create_dir(&dir)?;
        write_all(&dir, requests)?;
        let begun = Instant::now();
        let mut parsed = 0;
        for entry in std::fs::read_dir(&dir)? {
            let request: RequestFields = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
            parsed += usize::from(!request.reasoning.is_empty());
        }
        let took = begun.elapsed();
        ensure!(parsed == requests.len(), "{parsed} requests were read");
        Ok(vec![ms(took), MEMORY_MIB_MAX])
    }
}

/// Reads each block's events once, so that the node is hardly kept from its work.
fn wait_until_on_chain(ledger: &Ledger, requests: usize) -> Result<()> {
    let mut rpc = ledger.connect()?;
    // Each event names its topic once.
    let topic = abi::AuthorizationRequested::SIGNATURE_HASH.to_string();
    let deadline = Instant::now() + PATIENCE;
    let (mut next, mut seen) = (0u64, 0);
    while seen < requests {
        ensure!(Instant::now() < deadline, "{seen} of {requests} requests are on chain");
        std::thread::sleep(POLL);
        let head = rpc.block_number()?;
        if head >= next {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{{"fromBlock":"{next:#x}","toBlock":"{head:#x}","topics":["{topic}"]}}]}}"#
            );
            seen += count(rpc.call(body.as_bytes())?, topic.as_bytes());
            next = head + 1;
        }
    }
    Ok(())
}
