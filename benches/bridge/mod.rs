//! The bridge: how near it comes to the least that gets a call on chain and an answer into a file.

mod decision;
mod load;
mod restart;
mod running;
mod site;
mod submission;
mod wake;
mod watcher;

use anyhow::Result;

use crate::fixture::Prepared;
use crate::harness::{Area, Group};

pub const AREA: Area = Area { name: "bridge", groups };

/// Samples taken before those that count.
const WARM_UP: usize = 20;
/// Open requests of the metrics about a loaded bridge.
const PENDING: usize = 10_000;

fn groups() -> Vec<Box<dyn Group>> {
    vec![
        Box::new(submission::Submission),
        Box::new(decision::Decision),
        Box::new(wake::Wake),
        Box::<load::Load>::default(),
        Box::<restart::Restart>::default(),
    ]
}

/// As many requests as a loaded bridge has, made once for all runs: each run has a chain of its own.
fn prepared(requests: &mut Vec<Prepared>) -> Result<&[Prepared]> {
    if requests.is_empty() {
        *requests = Prepared::many(PENDING)?;
    }
    Ok(requests)
}
