//! The quality of the reasoning that came with an action.

use super::config::ReasoningModifier;
use super::policy::AppliedModifier;

/// Words that show the author thought of a way back.
const ROLLBACK_PHRASES: [&str; 5] = ["rollback", "roll back", "roll-back", "rolled back", "revert"];

/// What the reasoning adds: nothing when it is present, long enough and names testing and
/// a rollback plan. Words never subtract, so eloquence buys nothing.
pub(super) fn penalties(config: &ReasoningModifier, reasoning: &str) -> Vec<AppliedModifier> {
    let text = reasoning.trim().to_lowercase();
    let length = text.chars().count();
    let min = config.characters_min;
    let mut found = Vec::new();
    if length == 0 {
        // Never less than short reasoning would add, whatever the file says.
        found.push(AppliedModifier::new(
            "reasoning_missing",
            config.missing.max(config.short),
            "no reasoning was given",
        ));
    } else if length < min {
        let why = format!("the reasoning has {length} characters, fewer than {min}");
        found.push(AppliedModifier::new("reasoning_short", config.short, why));
    }
    if !text.split(|c: char| !c.is_alphanumeric()).any(|word| word.starts_with("test")) {
        found.push(AppliedModifier::new(
            "reasoning_no_tests",
            config.no_tests,
            "the reasoning does not speak of tests",
        ));
    }
    if !ROLLBACK_PHRASES.iter().any(|phrase| text.contains(phrase)) {
        let why = "the reasoning names no rollback plan";
        found.push(AppliedModifier::new("reasoning_no_rollback", config.no_rollback, why));
    }
    found
}
