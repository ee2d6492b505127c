//! A vote, from its rename to the answer that a watcher of `responses/` sees.

use std::time::Instant;

use anyhow::Result;

use super::WARM_UP;
use super::running::Running;
use super::site::Site;
use super::submission::Floor;
use super::watcher::Watcher;
use crate::baseline::{Account, Log};
use crate::fixture::{Ledger, Prepared, Scratch, dev};
use crate::harness::{Direction, Group, Metric, Sorted, ms};

const SAMPLES: usize = 200;
/// About what a response with its evidence has. The baseline appends it to a file of its own and syncs that, the
/// cheapest durable write there is; the bridge's is a file that appears whole.
const RESPONSE_BYTES: usize = 8 * 1024;

pub struct Decision;

impl Group for Decision {
    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "vote renamed in → response visible ÷ sign, fsync, decide, durable write: median",
            unit: "ms",
            target: 2.0,
            direction: Direction::AtMost,
        }]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let site = Site::new()?;
        let responses = Watcher::of(&site.channel.responses_dir())?;
        let mut bridge = Running::start(&site)?;
        let mut took_ms = Vec::with_capacity(WARM_UP + SAMPLES);
        for request in Prepared::many(WARM_UP + SAMPLES)? {
            site.send_request(&request)?;
            bridge.pending(&request.id)?;
            let vote = request.approval(site.ledger.contract)?;
            let renamed = site.send_vote(&vote)?;
            took_ms.push(ms(responses.appeared(&request.file_name())?.duration_since(renamed)));
        }
        bridge.stop()?;
        Ok(vec![Sorted::new(took_ms.split_off(WARM_UP))?.median()])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let ledger = Ledger::start()?;
        let scratch = Scratch::new()?;
        let mut floor = Floor::new(&ledger, Account::new(dev::REQUESTER)?, &scratch)?;
        let mut answers = Log::create(&scratch.path("answers"))?;
        let answer = vec![b'x'; RESPONSE_BYTES];
        let mut took_ms = Vec::with_capacity(WARM_UP + SAMPLES);
        for request in Prepared::many(WARM_UP + SAMPLES)? {
            floor.send(&request.call())?;
            let call = request.decide_call(&request.approval(ledger.contract)?);
            let begun = Instant::now();
            floor.send(&call)?;
            answers.append(&answer)?;
            took_ms.push(ms(begun.elapsed()));
        }
        Ok(vec![Sorted::new(took_ms.split_off(WARM_UP))?.median()])
    }
}
