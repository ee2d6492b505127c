//! The score of a command line: what its programs begin with, what the strictest rule says, and
//! what the model adds.

use serde::{Deserialize, Serialize};

use super::command::Findings;
use super::model::ModelShare;
use super::policy::{AppliedModifier, RiskPolicy, RiskRoute};
use crate::schema::RiskScore;

/// A score with everything that went into it: `base` and the deltas add up to `score`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandAssessment {
    pub score: RiskScore,
    pub route: RiskRoute,
    pub base: RiskScore,
    pub modifiers: Vec<AppliedModifier>,
    /// Other rules that were met, less strict than the one that decided.
    pub also: Vec<AppliedModifier>,
    pub model: ModelShare,
    /// Programs that the command runs, the first of them.
    pub programs: Vec<String>,
}

/// Programs that an assessment names.
const PROGRAMS_MAX: usize = 32;

impl RiskPolicy {
    /// Scores a command line. Pure and total; runs and reads nothing.
    pub fn assess_command(&self, command: &str) -> CommandAssessment {
        let Some(scorer) = &self.commands else {
            return CommandAssessment {
                score: RiskScore::MAX,
                route: RiskRoute::RequireAuthorization,
                base: RiskScore::MAX,
                modifiers: Vec::new(),
                also: Vec::new(),
                model: ModelShare::default(),
                programs: Vec::new(),
            };
        };
        let followed = scorer.follow(command);
        let findings = scorer.judge(&followed);
        let mut modifiers = Vec::new();
        let mut score = findings.base;
        let decided = findings.found.first().filter(|finding| finding.risk > score);
        if let Some(finding) = decided {
            modifiers.push(AppliedModifier {
                name: finding.rule.clone(),
                delta_bps: i32::from(finding.risk.bps()) - i32::from(score.bps()),
                justification: said(&finding.why, &finding.command),
            });
            score = finding.risk;
        }
        let mut model = ModelShare::default();
        if let Some(weights) = &self.model {
            let (probability, worst) = weights.command(&followed);
            model.probability = probability;
            model.top_features = worst
                .and_then(|at| followed.invocations.get(at))
                .map(|invocation| weights.explain_invocation(invocation))
                .unwrap_or_default();
            if probability > score {
                model.share = RiskScore::from_bps_capped(u32::from(probability.bps() - score.bps()));
                let why = format!("the model gives {probability} for its features");
                modifiers.push(AppliedModifier::new("model", model.share, why));
                score = probability;
            }
        }
        let route = self.route_of(score);
        CommandAssessment {
            score,
            route,
            base: findings.base,
            also: also(&findings, decided.is_some()),
            modifiers,
            model,
            programs: followed
                .invocations
                .iter()
                .take(PROGRAMS_MAX)
                .map(|invocation| invocation.program.clone())
                .collect(),
        }
    }
}

fn also(findings: &Findings, first_decided: bool) -> Vec<AppliedModifier> {
    let rest = findings.found.iter().skip(usize::from(first_decided));
    rest.map(|finding| AppliedModifier {
        name: finding.rule.clone(),
        delta_bps: 0,
        justification: format!("{}; by itself {}", said(&finding.why, &finding.command), finding.risk),
    })
    .collect()
}

fn said(why: &str, command: &str) -> String {
    if command.is_empty() { why.to_owned() } else { format!("`{command}`: {why}") }
}
