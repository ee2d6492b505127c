//! Fits the weights: linfa's logistic regression, held to weights that can only raise.
//!
//! A plain fit gives some features a negative weight. Those features are dropped and the rest is
//! fitted again, until none is negative: a logistic regression over the features that speak for
//! harm. Then the intercept is lowered until next to no safe training row reaches the threshold.

use std::collections::{BTreeMap, BTreeSet};

use linfa::Dataset;
use linfa::traits::Fit;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use sha2::{Digest, Sha256};

use super::{BUCKETS, Card, FORMAT, Model, ModelFile, UNIT, bucket, features};
use crate::risk::config::RunContext;
use crate::risk::evaluate::{self, Kind, Label, MOMENT, Row, Tools};
use crate::risk::policy::{RiskInput, RiskPolicy, telling};
use crate::schema::ToolName;

/// Strength of the L2 penalty.
const ALPHA: f64 = 2.0;
const ITERATIONS_MAX: u64 = 150;
/// Fits until no weight is negative; what is left after that is set to zero.
const ROUNDS_MAX: usize = 25;
/// Part of the safe rows that may reach the threshold by the model.
const SAFE_OVER_THRESHOLD_MAX: f64 = 0.002;
/// A feature that fewer samples have says nothing.
const SAMPLES_MIN: usize = 2;

/// Why no model came out.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("there must be dangerous and safe rows, found {dangerous} and {safe} samples")]
    OneClass { dangerous: usize, safe: usize },
    #[error("the fit failed")]
    Fit(#[source] linfa_logistic::error::Error),
    #[error("the samples do not fit into a matrix")]
    Shape(#[source] ndarray::ShapeError),
    #[error("a file that was just made does not read")]
    Unreadable(#[from] super::ModelError),
    #[error("a model that was just made is no JSON")]
    Json(#[from] serde_json::Error),
}

/// Where the rows came from, for the model card.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    pub name: String,
    pub bytes: &'a [u8],
    pub date: String,
    pub seed: u64,
}

struct Sample {
    buckets: BTreeSet<usize>,
    dangerous: bool,
}

/// Fits a model to rows. The rows' scores by rules alone play no part.
///
/// # Errors
/// Rows of one class, or a fit that does not come to an end.
pub fn fit(policy: &RiskPolicy, tools: &dyn Tools, rows: &[Row], source: &Source<'_>) -> Result<ModelFile, TrainError> {
    let samples: Vec<Sample> = rows.iter().flat_map(|row| samples_of(policy, tools, row)).collect();
    let dangerous = samples.iter().filter(|sample| sample.dangerous).count();
    let safe = samples.len() - dangerous;
    if dangerous == 0 || safe == 0 {
        return Err(TrainError::OneClass { dangerous, safe });
    }
    let (weights, intercept) = raising_fit(&samples)?;
    let threshold = policy.thresholds().require_blockchain.as_f64();
    let intercept = lowered(&samples, &weights, intercept, threshold);
    let mut file = ModelFile {
        format: FORMAT,
        buckets: BUCKETS,
        intercept: units(intercept),
        curve: curve(),
        weights: weights
            .iter()
            .map(|(bucket, weight)| (*bucket, units(*weight)))
            .filter(|(_, weight)| *weight > 0)
            .collect(),
        card: card(rows, source, threshold),
    };
    let model = Model::parse(&serde_json::to_vec(&file)?)?;
    file.card.metrics = metrics(policy.clone().with_model(model), tools, rows);
    Ok(file)
}

/// The worst program of a dangerous command, each program of a safe one: which of several programs
/// makes a command dangerous is what the strictest rule says.
fn samples_of(policy: &RiskPolicy, tools: &dyn Tools, row: &Row) -> Vec<Sample> {
    let dangerous = row.label == Label::Dangerous;
    let sample = |visit: &dyn Fn(features::Sink<'_>)| {
        let mut buckets = BTreeSet::new();
        visit(&mut |kind, a, b| {
            buckets.insert(bucket(kind, a, b));
        });
        Sample { buckets, dangerous }
    };
    match row.kind {
        Kind::Command => {
            let (Some(command), Some(scorer)) = (&row.command, policy.commands()) else { return Vec::new() };
            let followed = scorer.follow(command);
            let spoken = followed.invocations.iter().filter(|invocation| features::speaks_of(invocation));
            let mut risky: Vec<_> = spoken.map(|invocation| (scorer.risk_of(invocation), invocation)).collect();
            if dangerous {
                risky.sort_by_key(|(risk, _)| std::cmp::Reverse(*risk));
                risky.truncate(1);
            }
            risky.iter().map(|(_, invocation)| sample(&|sink| features::of_invocation(invocation, sink))).collect()
        }
        Kind::Action => {
            let Some(Ok(tool_name)) = row.tool_name.as_deref().map(str::parse::<ToolName>) else { return Vec::new() };
            let Some((tier, base)) = tools.tier_and_base(&tool_name) else { return Vec::new() };
            let parameters = row.parameters.clone().unwrap_or_default();
            let context = RunContext::default();
            let input = RiskInput {
                tool_name: &tool_name,
                tier: Some(tier),
                base,
                parameters: &parameters,
                reasoning: "",
                context: &context,
            };
            let assessment = policy.assess(&input, MOMENT);
            let signals = telling(&assessment.modifiers);
            vec![sample(&|sink| features::of_action(tool_name.as_str(), &signals, &parameters, sink))]
        }
    }
}

fn raising_fit(samples: &[Sample]) -> Result<(BTreeMap<usize, f64>, f64), TrainError> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for bucket in samples.iter().flat_map(|sample| &sample.buckets) {
        *counts.entry(*bucket).or_default() += 1;
    }
    let mut columns: Vec<usize> =
        counts.into_iter().filter(|(_, count)| *count >= SAMPLES_MIN).map(|(bucket, _)| bucket).collect();
    let mut fitted = (BTreeMap::new(), 0.0);
    for round in 1..=ROUNDS_MAX {
        let values: Vec<f64> = samples
            .iter()
            .flat_map(|sample| columns.iter().map(|column| f64::from(u8::from(sample.buckets.contains(column)))))
            .collect();
        let matrix = Array2::from_shape_vec((samples.len(), columns.len()), values).map_err(TrainError::Shape)?;
        let targets: Array1<bool> = samples.iter().map(|sample| sample.dangerous).collect();
        let regression = LogisticRegression::default().alpha(ALPHA).max_iterations(ITERATIONS_MAX).with_intercept(true);
        let model = regression.fit(&Dataset::new(matrix, targets)).map_err(TrainError::Fit)?;
        // Which class is the positive one is linfa's choice.
        let sign = if model.labels().pos.class { 1.0 } else { -1.0 };
        let weights: Vec<f64> = model.params().iter().map(|weight| weight * sign).collect();
        let kept: Vec<usize> =
            columns.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0).map(|(column, _)| *column).collect();
        fitted = (
            columns.iter().copied().zip(weights).filter(|(_, weight)| *weight > 0.0).collect(),
            model.intercept() * sign,
        );
        if kept.len() == columns.len() || round == ROUNDS_MAX {
            break;
        }
        columns = kept;
    }
    Ok(fitted)
}

/// The intercept at which at most [`SAFE_OVER_THRESHOLD_MAX`] of the safe samples reach the threshold.
fn lowered(samples: &[Sample], weights: &BTreeMap<usize, f64>, intercept: f64, threshold: f64) -> f64 {
    let sum = |sample: &Sample| sample.buckets.iter().filter_map(|bucket| weights.get(bucket)).sum::<f64>();
    let mut sums: Vec<f64> = samples.iter().filter(|sample| !sample.dangerous).map(sum).collect();
    sums.sort_by(|a, b| b.total_cmp(a));
    let allowed = (sums.len() as f64 * SAFE_OVER_THRESHOLD_MAX).floor() as usize;
    let highest = sums.get(allowed).copied().unwrap_or_default();
    // A margin, so that a safe row that is a little unlike these stays below as well.
    let margin = 1.0;
    intercept.min((threshold / (1.0 - threshold)).ln() - highest - margin)
}

fn units(value: f64) -> i32 {
    (value * f64::from(UNIT)).round().clamp(f64::from(-64 * UNIT), f64::from(64 * UNIT)) as i32
}

/// The logistic function at steps of a quarter from -8 to 8.
fn curve() -> Vec<(i32, u16)> {
    (-32..=32)
        .map(|step| {
            let x = f64::from(step) / 4.0;
            (units(x), (10_000.0 / (1.0 + (-x).exp())).round() as u16)
        })
        .collect()
}

fn card(rows: &[Row], source: &Source<'_>, threshold: f64) -> Card {
    Card {
        name: "guardrail risk model 1".to_owned(),
        purpose: "Raises the score of commands and tool calls that no rule was written for. It lowers none, and decides nothing alone.".to_owned(),
        data: format!("{}, made by scripts/risk_data.py; English words, Unix tools, no data of users", source.name),
        data_sha256: Sha256::digest(source.bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        date: source.date.clone(),
        seed: source.seed,
        rows: rows.len(),
        dangerous_rows: rows.iter().filter(|row| row.label == Label::Dangerous).count(),
        split: "by family: all rows made from one set of templates are in one split; data/risk/README.md".to_owned(),
        algorithm: format!("logistic regression (linfa), L2 penalty {ALPHA}, {BUCKETS} hashed binary features, weights held at zero or above, intercept lowered until at most {SAFE_OVER_THRESHOLD_MAX} of the safe samples reach the threshold"),
        thresholds: BTreeMap::from([("require_blockchain".to_owned(), threshold)]),
        metrics: BTreeMap::new(),
        limits: "It knows words, flags and facts of one program at a time, not what a script is for. It has seen few tools and one language.".to_owned(),
    }
}

fn metrics(policy: RiskPolicy, tools: &dyn Tools, rows: &[Row]) -> BTreeMap<String, f64> {
    let report = evaluate::evaluate(&policy, tools, rows);
    let named = [
        ("recall", report.recall),
        ("false_positive_rate", report.false_positive_rate),
        ("roc_auc", report.roc_auc),
        ("ece", report.ece),
    ];
    named
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (format!("train_{name}"), (value * 10_000.0).round() / 10_000.0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::RiskScore;

    #[test]
    fn no_weight_lowers_and_no_safe_sample_reaches_the_threshold() {
        let sample = |buckets: &[usize], dangerous| Sample { buckets: buckets.iter().copied().collect(), dangerous };
        let samples: Vec<Sample> = (0..60)
            .map(|at| match at % 3 {
                0 => sample(&[1, 2], true),
                1 => sample(&[1, 3], false),
                _ => sample(&[3], false),
            })
            .collect();
        let (weights, intercept) = raising_fit(&samples).unwrap();
        assert!(weights.values().all(|weight| *weight > 0.0) && weights.contains_key(&2) && !weights.contains_key(&3));
        let intercept = lowered(&samples, &weights, intercept, 0.7);
        let probability = |buckets: &[usize]| {
            let sum: f64 = intercept + buckets.iter().filter_map(|bucket| weights.get(bucket)).sum::<f64>();
            RiskScore::from_bps_capped((10_000.0 / (1.0 + (-sum).exp())) as u32)
        };
        assert!(probability(&[1, 3]) < RiskScore::from_bps_capped(7000) && probability(&[1, 2]) > probability(&[1, 3]));
    }
}
