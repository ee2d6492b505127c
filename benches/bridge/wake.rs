//! A file that is renamed in, until somebody knows of it.

use std::time::Duration;

use anyhow::Result;
use guardrail::bridge::Progress;

use super::WARM_UP;
use super::running::Running;
use super::site::{Site, rename_in};
use super::watcher::Watcher;
use crate::fixture::{Prepared, Scratch};
use crate::harness::{Direction, Group, Metric, Sorted, us};

const SAMPLES: usize = 100;
/// Between two samples, for what a file set off to come to rest.
const REST: Duration = Duration::from_millis(20);

pub struct Wake;

impl Group for Wake {
    fn metrics(&self) -> &'static [Metric] {
        &[Metric {
            name: "rename → handler ÷ raw inotify rename → wake: median",
            unit: "µs",
            target: 4.0,
            direction: Direction::AtMost,
        }]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let site = Site::new()?;
        let mut bridge = Running::start(&site)?;
        let mut took_us = Vec::with_capacity(WARM_UP + SAMPLES);
        for request in Prepared::many(WARM_UP + SAMPLES)? {
            bridge.forget();
            let renamed = site.send_request(&request)?;
            let woken = |at, made: &Progress| (matches!(made, Progress::Woken) && at >= renamed).then_some(());
            took_us.push(us(bridge.until("the bridge wakes", woken)?.0.duration_since(renamed)));
            bridge.pending(&request.id)?;
            std::thread::sleep(REST);
        }
        bridge.stop()?;
        summary(took_us)
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let scratch = Scratch::new()?;
        let dir = scratch.path("requests");
        std::fs::create_dir(&dir)?;
        let watcher = Watcher::of(&dir)?;
        let mut took_us = Vec::with_capacity(WARM_UP + SAMPLES);
        for request in Prepared::many(WARM_UP + SAMPLES)? {
            let renamed = rename_in(&scratch.path("sample"), &dir.join(request.file_name()), &request.bytes)?;
            took_us.push(us(watcher.appeared(&request.file_name())?.duration_since(renamed)));
            std::thread::sleep(REST);
        }
        summary(took_us)
    }
}

fn summary(mut took_us: Vec<f64>) -> Result<Vec<f64>> {
    Ok(vec![Sorted::new(took_us.split_off(WARM_UP))?.median()])
}
