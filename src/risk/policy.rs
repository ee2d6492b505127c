//! The score of an action and the route it takes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::{RiskError, RiskModifiers, Thresholds};
use super::off_hours::OffHours;
use super::{impact, reasoning, traits};
use crate::schema::{EstimatedImpact, RiskScore, Tier, Timestamp, ToolName};

/// What is scored.
#[derive(Clone, Copy, Debug)]
pub struct RiskInput<'a> {
    pub tool_name: &'a ToolName,
    /// `None` for a tool that no tier lists: it is critical.
    pub tier: Option<Tier>,
    pub base: RiskScore,
    pub parameters: &'a Map<String, Value>,
    /// Why, in the agent's words; the empty string where it said nothing.
    pub reasoning: &'a str,
}

/// A score with everything that went into it: `base` and the deltas add up to `score`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskAssessment {
    pub score: RiskScore,
    pub tier: Tier,
    pub route: RiskRoute,
    pub base: RiskScore,
    pub modifiers: Vec<AppliedModifier>,
    pub impact: EstimatedImpact,
}

/// One thing that changed a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedModifier {
    pub name: String,
    /// Ten-thousandths. Negative only for `bounds`, which keeps a score in its tier's range.
    pub delta_bps: i32,
    pub justification: String,
}

impl AppliedModifier {
    pub(super) fn new(name: &str, add: RiskScore, justification: impl Into<String>) -> Self {
        AppliedModifier { name: name.to_owned(), delta_bps: i32::from(add.bps()), justification: justification.into() }
    }
}

/// What happens to an action; ordered, the strictest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskRoute {
    /// It runs.
    Execute,
    /// It runs and is listed for review.
    ExecuteAndReview,
    /// A terminal asks; without one it is refused.
    AskOperator,
    /// It runs with a permit only.
    RequireAuthorization,
}

/// The lowest and the highest base score of a tier. The lowest is the tier's floor.
pub const fn base_range(tier: Tier) -> (RiskScore, RiskScore) {
    let (low, high) = match tier {
        Tier::Safe => (1000, 2000),
        Tier::Write => (3000, 5000),
        Tier::Critical => (7000, 10_000),
    };
    (RiskScore::from_bps_capped(low), RiskScore::from_bps_capped(high))
}

/// Validated thresholds and modifiers: the only thing that scores an action.
#[derive(Clone, Debug)]
pub struct RiskPolicy {
    thresholds: Thresholds,
    modifiers: RiskModifiers,
    off_hours: OffHours,
}

impl RiskPolicy {
    /// Checks the settings of `tool_config.yaml`.
    ///
    /// # Errors
    /// Thresholds out of order, an unknown time zone, an empty pattern.
    pub fn new(thresholds: Thresholds, modifiers: RiskModifiers) -> Result<Self, RiskError> {
        let Thresholds { auto_execute, require_review, require_blockchain } = thresholds;
        if auto_execute > require_review || require_review > require_blockchain {
            return Err(RiskError::ThresholdOrder { auto_execute, require_review, require_blockchain });
        }
        let (floor, _) = base_range(Tier::Safe);
        if require_review <= floor {
            return Err(RiskError::ReviewBelowSafeFloor { require_review, floor });
        }
        let lists = [
            ("production.environments", &modifiers.production.environments),
            ("secrets_path.contains", &modifiers.secrets_path.contains),
            ("destructive.words", &modifiers.destructive.words),
        ];
        if let Some((key, _)) = lists.iter().find(|(_, list)| list.iter().any(|entry| entry.trim().is_empty())) {
            return Err(RiskError::EmptyPattern { key });
        }
        let off_hours = OffHours::new(&modifiers.off_hours)?;
        Ok(RiskPolicy { thresholds, modifiers, off_hours })
    }

    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Scores an action at a moment. Pure and total: the same input gives the same answer.
    pub fn assess(&self, input: &RiskInput<'_>, now: Timestamp) -> RiskAssessment {
        let tier = input.tier.unwrap_or(Tier::Critical);
        let (floor, _) = base_range(tier);
        let base = if input.tier.is_some() { input.base.max(floor) } else { RiskScore::MAX };
        let found = traits::find(&self.modifiers, input.tool_name, input.parameters);
        let mut modifiers = self.modifiers_of(tier, &found, input.reasoning, now);

        let raw = i32::from(base.bps()) + modifiers.iter().map(|modifier| modifier.delta_bps).sum::<i32>();
        let bounded = raw.clamp(i32::from(floor.bps()), i32::from(self.ceiling(tier).bps()));
        if bounded != raw {
            modifiers.push(AppliedModifier {
                name: "bounds".to_owned(),
                delta_bps: bounded - raw,
                justification: match tier {
                    Tier::Safe => "a read stays below asking: it is refused where it must not happen".to_owned(),
                    Tier::Write | Tier::Critical => "a score ends at 1".to_owned(),
                },
            });
        }
        let score = RiskScore::from_bps_capped(bounded.unsigned_abs());
        RiskAssessment {
            score,
            tier,
            route: self.route(tier, score),
            base,
            modifiers,
            impact: impact::estimate(tier, input.tier.is_some(), &found),
        }
    }

    fn modifiers_of(
        &self,
        tier: Tier,
        found: &traits::Traits,
        reasoning: &str,
        now: Timestamp,
    ) -> Vec<AppliedModifier> {
        let config = &self.modifiers;
        let mut applied = Vec::new();
        if let Some(environment) = &found.production {
            let why = format!("the environment is `{environment}`");
            applied.push(AppliedModifier::new("production", config.production.add, why));
        }
        if let Some(moment) = self.off_hours.contains(now) {
            applied.push(AppliedModifier::new("off_hours", config.off_hours.add, format!("off-hours: {moment}")));
        }
        if let Some(path) = &found.secrets_path {
            let why = format!("`{path}` is where credentials live");
            applied.push(AppliedModifier::new("secrets_path", config.secrets_path.add, why));
        }
        if let Some(verb) = &found.destructive {
            let why = format!("`{verb}` is destructive");
            applied.push(AppliedModifier::new("destructive", config.destructive.add, why));
        }
        match tier {
            // Nobody has to argue for a look.
            Tier::Safe => {}
            Tier::Write | Tier::Critical => applied.extend(reasoning::penalties(&config.reasoning, reasoning)),
        }
        applied
    }

    /// The highest score of a tier. A read never prompts and never asks for a permit.
    fn ceiling(&self, tier: Tier) -> RiskScore {
        match tier {
            Tier::Safe => RiskScore::from_bps_capped(u32::from(self.thresholds.require_review.bps()).saturating_sub(1)),
            Tier::Write | Tier::Critical => RiskScore::MAX,
        }
    }

    fn route(&self, tier: Tier, score: RiskScore) -> RiskRoute {
        let by_score = if score < self.thresholds.auto_execute {
            RiskRoute::Execute
        } else if score < self.thresholds.require_review {
            RiskRoute::ExecuteAndReview
        } else if score < self.thresholds.require_blockchain {
            RiskRoute::AskOperator
        } else {
            RiskRoute::RequireAuthorization
        };
        let by_tier = match tier {
            Tier::Safe | Tier::Write => RiskRoute::Execute,
            Tier::Critical => RiskRoute::RequireAuthorization,
        };
        by_score.max(by_tier)
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
