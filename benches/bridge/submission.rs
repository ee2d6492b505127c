//! A request, from its rename to its receipt.

use std::time::Instant;

use alloy::primitives::Address;
use anyhow::Result;

use super::WARM_UP;
use super::running::Running;
use super::site::Site;
use crate::baseline::{Account, CALL_GAS, Log, Rpc};
use crate::fixture::{Ledger, Prepared, Scratch, dev};
use crate::harness::{Direction, Group, Metric, Sorted, ms};

const SAMPLES: usize = 400;

pub struct Submission;

impl Group for Submission {
    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "request renamed in → receipt seen ÷ sign, fsync, send: median",
                unit: "ms",
                target: 1.5,
                direction: Direction::AtMost,
            },
            Metric {
                name: "request renamed in → receipt seen ÷ sign, fsync, send: p99",
                unit: "ms",
                target: 3.0,
                direction: Direction::AtMost,
            },
        ]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let site = Site::new()?;
        let mut bridge = Running::start(&site)?;
        let took_ms = bridge_latencies_ms(&site, &mut bridge, WARM_UP + SAMPLES)?;
        bridge.stop()?;
        summary(took_ms)
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let ledger = Ledger::start()?;
        let scratch = Scratch::new()?;
        let mut floor = Floor::new(&ledger, Account::new(dev::REQUESTER)?, &scratch)?;
        summary(floor.latencies_ms(WARM_UP + SAMPLES)?)
    }
}

fn summary(mut took_ms: Vec<f64>) -> Result<Vec<f64>> {
    let took = Sorted::new(took_ms.split_off(WARM_UP))?;
    Ok(vec![took.median(), took.percentile(99)])
}

/// Sends requests one after another; how long each took from its rename to its receipt, in ms.
pub fn bridge_latencies_ms(site: &Site, bridge: &mut Running, count: usize) -> Result<Vec<f64>> {
    let mut took_ms = Vec::with_capacity(count);
    for request in Prepared::many(count)? {
        let renamed = site.send_request(&request)?;
        took_ms.push(ms(bridge.pending(&request.id)?.duration_since(renamed)));
    }
    Ok(took_ms)
}

/// The least that gets a request on chain and remembers it: sign, sync one file, send, see the receipt.
pub struct Floor {
    account: Account,
    contract: Address,
    log: Log,
    rpc: Rpc,
}

impl Floor {
    pub fn new(ledger: &Ledger, account: Account, scratch: &Scratch) -> Result<Self> {
        Ok(Floor {
            account,
            contract: ledger.contract,
            log: Log::create(&scratch.path("log"))?,
            rpc: ledger.connect()?,
        })
    }

    pub fn send(&mut self, calldata: &[u8]) -> Result<()> {
        let raw = self.account.call(self.contract, calldata, CALL_GAS)?;
        self.log.append(&raw)?;
        self.rpc.send_sync(&raw)
    }

    /// Sends requests one after another; how long each took, in ms.
    pub fn latencies_ms(&mut self, count: usize) -> Result<Vec<f64>> {
        let calls: Vec<_> = Prepared::many(count)?.iter().map(Prepared::call).collect();
        let mut took_ms = Vec::with_capacity(count);
        for call in calls {
            let begun = Instant::now();
            self.send(&call)?;
            took_ms.push(ms(begun.elapsed()));
        }
        Ok(took_ms)
    }
}
