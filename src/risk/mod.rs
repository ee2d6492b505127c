//! How much an action or a command may harm, from its parsed form and its context alone.
//!
//! A score is a base plus modifiers that only add; a rule or the model lifts it to what they say at
//! least. Words in the reasoning can raise it and never take it below the tier's floor; an unknown
//! tool is critical, and so is a command that cannot be parsed. No clock and no I/O: the moment is
//! an argument, rules and weights are values.

pub mod command;
mod command_score;
pub mod config;
pub mod evaluate;
mod impact;
pub mod model;
mod off_hours;
mod policy;
mod reasoning;
mod shipped;
mod text;
mod traits;

pub use command::CommandRisk;
pub use command_score::CommandAssessment;
pub use config::{RiskError, RiskModifiers, RunContext, Thresholds};
pub use model::{Model, ModelShare};
pub use policy::{AppliedModifier, RiskAssessment, RiskInput, RiskPolicy, RiskRoute, base_range};
pub use shipped::command_rules;
pub use text::persuasion;

#[cfg(test)]
#[path = "properties_tests.rs"]
mod properties;
