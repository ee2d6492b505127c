//! What `make bench` runs. Each area measures Guardrail beside the least that does the same.

mod baseline;
mod bridge;
mod evidence;
mod fixture;
mod harness;
mod risk;

use std::path::Path;

use anyhow::{Result, bail};
use guardrail::telemetry;

use crate::harness::Area;

const AREAS: &[Area] = &[bridge::AREA, evidence::AREA, risk::AREA];

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let benching = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| argument != "--bench");
    if !benching {
        // A test runner's `--all-targets` comes here too; there is nothing to test.
        return Ok(());
    }
    let areas: Vec<&Area> = match arguments.as_slice() {
        [] => AREAS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    // What runs in this process logs as it does in its own.
    telemetry::init(Path::new(env!("CARGO_TARGET_TMPDIR")), "bench", telemetry::Console::Quiet)?;
    harness::run(&areas, &fixture::project().join("bench/results.json"))
}

fn find(name: &str) -> Result<&'static Area> {
    match AREAS.iter().find(|area| area.name == name) {
        Some(area) => Ok(area),
        None => {
            let known: Vec<&str> = AREAS.iter().map(|area| area.name).collect();
            bail!("there is no area {name}; there are: {}", known.join(", "))
        }
    }
}
