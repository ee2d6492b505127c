//! What an action would touch if it went wrong, in words for an approver, each with its reason.

use super::traits::Traits;
use crate::schema::{EstimatedImpact, Tier};

/// Files or lines from which a change is large.
const FILES_LARGE: usize = 10;
const LINES_LARGE: usize = 500;
/// Longest statement, in characters; the wire allows 512 bytes.
const SHOWN_CHARS_MAX: usize = 160;

/// Estimates the impact of an action from its tool, environment, target and size; `known` is
/// false for a tool that no tier lists.
pub(super) fn estimate(tool: &str, tier: Tier, known: bool, traits: &Traits) -> EstimatedImpact {
    let target = traits.target.as_deref().map(|target| format!(" `{target}`")).unwrap_or_default();
    EstimatedImpact {
        users_affected: limited(users(tool, tier, known, traits, &target)),
        downtime_risk: limited(downtime(tool, tier, known, traits)),
        data_risk: limited(data(tool, tier, known, traits, &target)),
    }
}

fn users(tool: &str, tier: Tier, known: bool, traits: &Traits, target: &str) -> String {
    if !known {
        return format!("unknown: assume all, nobody listed `{tool}`");
    }
    match (tier, &traits.production, &traits.environment) {
        (Tier::Safe, ..) => "none: it only reads".to_owned(),
        (_, Some(production), _) => format!("all users of {production}: a parameter names it"),
        (Tier::Write, ..) if traits.has("pipeline_file") => {
            format!("everyone who builds or deploys from it:{target} is infrastructure")
        }
        (Tier::Write, ..) if traits.has("outside_workspace") => {
            format!("whoever uses this machine:{target} is not in the workspace")
        }
        (Tier::Write, ..) => "none: changes stay in the workspace".to_owned(),
        (Tier::Critical, None, _) if traits.destructive.is_some() => format!(
            "everyone who depends on what is removed:{}",
            if target.is_empty() { " no target is named" } else { target }
        ),
        (Tier::Critical, None, Some(environment)) => format!("those of {environment}: the parameters name it"),
        (Tier::Critical, None, None) => format!("those of the target{target}: no environment is named"),
    }
}

fn downtime(tool: &str, tier: Tier, known: bool, traits: &Traits) -> String {
    if !known {
        return "unknown: assume high".to_owned();
    }
    match (tier, &traits.destructive, &traits.production) {
        (Tier::Safe, ..) => "none: it only reads".to_owned(),
        (Tier::Critical, Some(verb), _) => format!("high: what `{verb}` takes away is missing until it is restored"),
        (_, _, Some(_)) => "medium: a live system changes".to_owned(),
        (Tier::Critical, None, None) => format!("medium: {tool} reaches beyond the workspace"),
        (Tier::Write, ..) if traits.has("pipeline_file") => "low: the next build or deployment uses it".to_owned(),
        (Tier::Write, ..) => "none: nothing that runs is changed".to_owned(),
    }
}

fn data(tool: &str, tier: Tier, known: bool, traits: &Traits, target: &str) -> String {
    if !known {
        return "unknown: assume high".to_owned();
    }
    if traits.has("credential_read")
        || (tier != Tier::Safe && (traits.secrets_path.is_some() || traits.has("credentials_content")))
    {
        return "medium: credentials may be exposed or replaced".to_owned();
    }
    match (tier, &traits.destructive) {
        (Tier::Safe, _) => "none: it only reads".to_owned(),
        (Tier::Critical, Some(verb)) => format!("high: `{verb}` may not be undone"),
        (_, _) if traits.has("destructive_content") => format!(
            "high: what{} holds destroys data when it runs",
            if target.is_empty() { " the content" } else { target }
        ),
        (_, _) if traits.has("migration") => "medium: a migration changes stored data when it runs".to_owned(),
        (Tier::Critical, None) => format!("low: {tool} removes nothing by itself"),
        (Tier::Write, _) if traits.files >= FILES_LARGE || traits.content_lines >= LINES_LARGE => {
            format!(
                "low: {} files, {} lines; git can undo it, a large change is hard to review",
                traits.files, traits.content_lines
            )
        }
        (Tier::Write, _) => "low: git can undo it".to_owned(),
    }
}

fn limited(text: String) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        text
    } else {
        text.chars().take(SHOWN_CHARS_MAX - 1).chain(['…']).collect()
    }
}
