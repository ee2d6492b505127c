//! What an action would touch if it went wrong, in words for an approver.

use super::traits::Traits;
use crate::schema::{EstimatedImpact, Tier};

/// Estimates the impact of an action; `known` is false for a tool that no tier lists.
pub(super) fn estimate(tier: Tier, known: bool, traits: &Traits) -> EstimatedImpact {
    let impact = |users: &str, downtime: &str, data: &str| EstimatedImpact {
        users_affected: users.to_owned(),
        downtime_risk: downtime.to_owned(),
        data_risk: data.to_owned(),
    };
    let mut estimate = match (known, tier) {
        (false, _) => impact("unknown: assume all", "unknown: assume high", "unknown: assume high"),
        (true, Tier::Safe) => impact("none", "none", "none"),
        (true, Tier::Write) => impact("none: changes stay in the workspace", "none", "low: can be undone"),
        (true, Tier::Critical) => impact("those of the target", "medium", "low"),
    };
    if tier == Tier::Safe {
        return estimate;
    }
    if let Some(environment) = &traits.production {
        estimate.users_affected = format!("all users of {environment}");
        estimate.downtime_risk = "medium: a live system changes".to_owned();
    }
    if traits.secrets_path.is_some() {
        estimate.data_risk = "medium: credentials may be exposed or replaced".to_owned();
    }
    if let (Tier::Critical, Some(verb)) = (tier, &traits.destructive) {
        if traits.production.is_none() {
            estimate.users_affected = "everyone who depends on what is removed".to_owned();
        }
        estimate.downtime_risk = "high".to_owned();
        estimate.data_risk = format!("high: `{verb}` may not be undone");
    }
    estimate
}
