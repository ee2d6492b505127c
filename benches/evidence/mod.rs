//! Evidence: what it costs to check, how large it is, how fast an audit reads.

mod auditing;
mod bundles;
mod checking;

use crate::harness::{Area, Group};

pub const AREA: Area = Area { name: "evidence", groups };

fn groups() -> Vec<Box<dyn Group>> {
    vec![Box::<checking::Checking>::default(), Box::<auditing::Auditing>::default()]
}
