//! The score of an action and the route it takes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::{CommandRisk, CommandScorer};
use super::config::{ActionExample, RiskError, RiskModifiers, RunContext, Thresholds};
use super::model::{Model, ModelShare};
use super::off_hours::OffHours;
use super::text::persuasion;
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
    /// What the run did before.
    pub context: &'a RunContext,
}

/// A score with everything that went into it: `base` and the deltas add up to `score`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskAssessment {
    pub score: RiskScore,
    pub tier: Tier,
    pub route: RiskRoute,
    pub base: RiskScore,
    pub modifiers: Vec<AppliedModifier>,
    /// What the model saw. Its share is the modifier `model`.
    #[serde(default)]
    pub model: ModelShare,
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

/// A working hour at which examples are scored that name no other: a Wednesday noon, UTC.
const WORKING_HOUR: Timestamp = Timestamp::from_unix_ms(1_795_608_000_000);

/// Validated thresholds, modifiers, rules and model: the only thing that scores an action.
#[derive(Clone, Debug)]
pub struct RiskPolicy {
    pub(super) thresholds: Thresholds,
    modifiers: RiskModifiers,
    off_hours: OffHours,
    pub(super) commands: Option<CommandScorer>,
    pub(super) model: Option<Model>,
}

impl RiskPolicy {
    /// Checks the settings of `tool_config.yaml`. Without [`RiskPolicy::with_commands`] every
    /// command is critical; without [`RiskPolicy::with_model`] rules alone decide.
    ///
    /// # Errors
    /// Thresholds out of order, an unknown time zone, an empty pattern, an example of a modifier
    /// that does not do what it says.
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
        let policy = RiskPolicy { thresholds, modifiers, off_hours, commands: None, model: None };
        policy.check_examples()?;
        Ok(policy)
    }

    /// Adds the rules for commands.
    ///
    /// # Errors
    /// A rule that cannot be read or that its own examples contradict.
    pub fn with_commands(mut self, rules: &CommandRisk) -> Result<Self, RiskError> {
        self.commands = Some(CommandScorer::new(rules)?);
        Ok(self)
    }

    /// Adds the model.
    #[must_use]
    pub fn with_model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    pub fn modifiers(&self) -> &RiskModifiers {
        &self.modifiers
    }

    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    pub fn commands(&self) -> Option<&CommandScorer> {
        self.commands.as_ref()
    }

    fn check_examples(&self) -> Result<(), RiskError> {
        for (modifier, evidence) in self.modifiers.evidence() {
            let raises = |example: &ActionExample| {
                // A read raises what only a read can raise; everything else is tried as a write.
                let tier = if modifier == "credential_read" { Tier::Safe } else { Tier::Write };
                let found = traits::find(&self.modifiers, &example.tool, tier, &example.parameters, &example.context);
                let at = example.at.unwrap_or(WORKING_HOUR);
                self.modifiers_of(tier, &found, &example.reasoning, at).iter().any(|applied| applied.name == modifier)
            };
            let shown = |example: &ActionExample| {
                format!("{} {}", example.tool, serde_json::Value::Object(example.parameters.clone()))
            };
            if let Some(example) = evidence.matches.iter().find(|example| !raises(example)) {
                return Err(RiskError::ExampleMissed { modifier, example: shown(example) });
            }
            if let Some(example) = evidence.not_match.iter().find(|example| raises(example)) {
                return Err(RiskError::ExampleRaised { modifier, example: shown(example) });
            }
        }
        Ok(())
    }

    /// Scores an action at a moment. Pure and total: the same input gives the same answer.
    pub fn assess(&self, input: &RiskInput<'_>, now: Timestamp) -> RiskAssessment {
        let tier = input.tier.unwrap_or(Tier::Critical);
        let (floor, _) = base_range(tier);
        let base = if input.tier.is_some() { input.base.max(floor) } else { RiskScore::MAX };
        let found = traits::find(&self.modifiers, input.tool_name, tier, input.parameters, input.context);
        let mut modifiers = self.modifiers_of(tier, &found, input.reasoning, now);
        if let Some(modifier) = self.script_modifier(base, &modifiers, input.parameters) {
            modifiers.push(modifier);
        }
        let sum =
            |modifiers: &[AppliedModifier]| i32::from(base.bps()) + modifiers.iter().map(|m| m.delta_bps).sum::<i32>();

        let model = self.model_share(input, &modifiers, sum(&modifiers));
        if model.share > RiskScore::MIN {
            let why = format!("the model gives {} for its features", model.probability);
            modifiers.push(AppliedModifier::new("model", model.share, why));
        }

        let raw = sum(&modifiers);
        let ceiling = if found.has("credential_read") { RiskScore::MAX } else { self.ceiling(tier) };
        let bounded = raw.clamp(i32::from(floor.bps()), i32::from(ceiling.bps()));
        if bounded != raw {
            modifiers.push(AppliedModifier {
                name: "bounds".to_owned(),
                delta_bps: bounded - raw,
                justification: match tier {
                    Tier::Safe if ceiling < RiskScore::MAX => {
                        "a read stays below asking: it is refused where it must not happen".to_owned()
                    }
                    Tier::Safe | Tier::Write | Tier::Critical => "a score ends at 1".to_owned(),
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
            model,
            impact: impact::estimate(input.tool_name.as_str(), tier, input.tier.is_some(), &found),
        }
    }

    fn model_share(&self, input: &RiskInput<'_>, modifiers: &[AppliedModifier], sum_bps: i32) -> ModelShare {
        let Some(model) = &self.model else { return ModelShare::default() };
        if input.tier.is_none() {
            // An unknown tool is certain already.
            return ModelShare::default();
        }
        let signals = telling(modifiers);
        let (probability, top_features) = model.action(input.tool_name.as_str(), &signals, input.parameters);
        let share = i32::from(probability.bps()) - sum_bps;
        ModelShare { probability, share: RiskScore::from_bps_capped(u32::try_from(share).unwrap_or(0)), top_features }
    }

    /// A shell script that is written is as risky as running it.
    fn script_modifier(
        &self,
        base: RiskScore,
        modifiers: &[AppliedModifier],
        parameters: &Map<String, Value>,
    ) -> Option<AppliedModifier> {
        let path = ["file_path", "path"].iter().find_map(|name| parameters.get(*name)?.as_str())?;
        let content = parameters.get("content")?.as_str()?;
        let shell = [".sh", ".bash", ".zsh", ".ksh"].iter().any(|end| path.ends_with(end))
            || content.starts_with("#!/bin/sh")
            || content.starts_with("#!/bin/bash")
            || content.starts_with("#!/usr/bin/env bash");
        if !shell || content.len() > super::command::shape::COMMAND_BYTES_MAX {
            return None;
        }
        let scorer = self.commands.as_ref()?;
        let findings = scorer.judge(&scorer.follow(content));
        let worst = findings.found.first()?;
        if worst.risk < self.thresholds.require_blockchain || worst.rule == "not_followed" {
            return None;
        }
        let sum = i32::from(base.bps()) + modifiers.iter().map(|m| m.delta_bps).sum::<i32>();
        let delta_bps = i32::from(worst.risk.bps()) - sum;
        (delta_bps > 0).then(|| AppliedModifier {
            name: "script".to_owned(),
            delta_bps,
            justification: format!("the script would run `{}`: {} ({})", worst.command, worst.why, worst.rule),
        })
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
        for (name, signal) in config.signals.all() {
            if let Some((_, why)) = found.signals.iter().find(|(raised, _)| *raised == name) {
                applied.push(AppliedModifier::new(name, signal.add, why.clone()));
            }
        }
        match tier {
            // Nobody has to argue for a look.
            Tier::Safe => {}
            Tier::Write | Tier::Critical => {
                applied.extend(reasoning::penalties(&config.reasoning, reasoning));
                if let Some(phrase) = persuasion::find(reasoning) {
                    let why = format!("the reasoning speaks to whoever decides: `{phrase}`");
                    applied.push(AppliedModifier::new("persuasion", config.signals.persuasion.add, why));
                }
            }
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
        let by_tier = match tier {
            Tier::Safe | Tier::Write => RiskRoute::Execute,
            Tier::Critical => RiskRoute::RequireAuthorization,
        };
        self.route_of(score).max(by_tier)
    }

    /// The route that a score takes by itself.
    pub(super) fn route_of(&self, score: RiskScore) -> RiskRoute {
        if score < self.thresholds.auto_execute {
            RiskRoute::Execute
        } else if score < self.thresholds.require_review {
            RiskRoute::ExecuteAndReview
        } else if score < self.thresholds.require_blockchain {
            RiskRoute::AskOperator
        } else {
            RiskRoute::RequireAuthorization
        }
    }
}

/// The modifiers that the model hears of: what is done, not what is said of it nor when.
pub(super) fn telling(modifiers: &[AppliedModifier]) -> Vec<&str> {
    let names = modifiers.iter().map(|modifier| modifier.name.as_str());
    let silent = ["persuasion", "off_hours", "bounds", "model", "first_use", "write_burst", "untrusted_content"];
    names.filter(|name| !name.starts_with("reasoning") && !silent.contains(name)).collect()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
