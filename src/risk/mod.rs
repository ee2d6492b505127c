//! How much an action may harm, from its parsed parameters and context alone.
//!
//! A score is a tier's base plus modifiers that only add. Words in the reasoning can
//! raise it and never take it below the tier's floor; an unknown tool is critical.
//! No clock and no I/O: the moment is an argument.

pub mod config;
mod impact;
mod off_hours;
mod policy;
mod reasoning;
mod traits;

pub use config::{RiskError, RiskModifiers, Thresholds};
pub use policy::{AppliedModifier, RiskAssessment, RiskInput, RiskPolicy, RiskRoute, base_range};
