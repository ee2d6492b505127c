//! How well scores tell dangerous actions from safe ones, on rows with labels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::RunContext;
use super::policy::{RiskInput, RiskPolicy};
use crate::schema::{RiskScore, Tier, Timestamp, ToolName};

/// Bins of the calibration error.
const BINS: usize = 10;
/// A Wednesday noon, UTC: rows are scored at no particular hour, so at a working one.
pub const MOMENT: Timestamp = Timestamp::from_unix_ms(1_795_608_000_000);

/// One labelled row. Fields that are not known here are carried along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    pub label: Label,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Command,
    Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    Dangerous,
    Safe,
}

/// Which tier a tool is in and where its score begins, for rows that are tool calls.
pub trait Tools {
    fn tier_and_base(&self, tool: &ToolName) -> Option<(Tier, RiskScore)>;
}

impl Tools for BTreeMap<ToolName, (Tier, RiskScore)> {
    fn tier_and_base(&self, tool: &ToolName) -> Option<(Tier, RiskScore)> {
        self.get(tool).copied()
    }
}

/// Scores a row. A row that is no command and no call is critical, like everything that cannot be read.
pub fn score(policy: &RiskPolicy, tools: &dyn Tools, row: &Row) -> RiskScore {
    match row.kind {
        Kind::Command => row.command.as_deref().map_or(RiskScore::MAX, |command| policy.assess_command(command).score),
        Kind::Action => {
            let Some(Ok(tool_name)) = row.tool_name.as_deref().map(str::parse::<ToolName>) else {
                return RiskScore::MAX;
            };
            let empty = Map::new();
            let parameters = row.parameters.as_ref().unwrap_or(&empty);
            let known = tools.tier_and_base(&tool_name);
            let written = parameters.get("reasoning").and_then(Value::as_str);
            let input = RiskInput {
                tool_name: &tool_name,
                tier: known.map(|(tier, _)| tier),
                base: known.map_or(RiskScore::MAX, |(_, base)| base),
                parameters,
                reasoning: row.reasoning.as_deref().or(written).unwrap_or_default(),
                context: &RunContext::default(),
            };
            policy.assess(&input, MOMENT).score
        }
    }
}

/// A row that came out on the wrong side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    pub score: RiskScore,
    /// `missed` or `false_alarm`.
    pub mistake: &'static str,
    pub row: Row,
}

/// What was measured. Rates of nothing are `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub rows: usize,
    pub dangerous: usize,
    pub safe: usize,
    /// A score from here on counts as dangerous.
    pub threshold: RiskScore,
    pub true_positives: usize,
    pub false_positives: usize,
    pub true_negatives: usize,
    pub false_negatives: usize,
    pub recall: Option<f64>,
    pub false_positive_rate: Option<f64>,
    pub precision: Option<f64>,
    pub roc_auc: Option<f64>,
    /// Expected calibration error over ten bins of equal width.
    pub ece: Option<f64>,
    pub errors: Vec<Mistake>,
}

/// Scores every row and counts.
pub fn evaluate(policy: &RiskPolicy, tools: &dyn Tools, rows: &[Row]) -> Report {
    let threshold = policy.thresholds().require_blockchain;
    let scored: Vec<(RiskScore, &Row)> = rows.iter().map(|row| (score(policy, tools, row), row)).collect();
    let count = |positive: bool, label: Label| {
        scored.iter().filter(|(score, row)| (*score >= threshold) == positive && row.label == label).count()
    };
    let (true_positives, false_negatives) = (count(true, Label::Dangerous), count(false, Label::Dangerous));
    let (false_positives, true_negatives) = (count(true, Label::Safe), count(false, Label::Safe));
    let mut errors: Vec<Mistake> = scored
        .iter()
        .filter(|(score, row)| (*score >= threshold) != (row.label == Label::Dangerous))
        .map(|(score, row)| Mistake {
            score: *score,
            mistake: if row.label == Label::Dangerous { "missed" } else { "false_alarm" },
            row: (*row).clone(),
        })
        .collect();
    errors.sort_by(|a, b| b.mistake.cmp(a.mistake).then_with(|| a.score.cmp(&b.score)));
    let pairs: Vec<(RiskScore, bool)> =
        scored.iter().map(|(score, row)| (*score, row.label == Label::Dangerous)).collect();
    Report {
        rows: rows.len(),
        dangerous: true_positives + false_negatives,
        safe: false_positives + true_negatives,
        threshold,
        true_positives,
        false_positives,
        true_negatives,
        false_negatives,
        recall: ratio(true_positives, true_positives + false_negatives),
        false_positive_rate: ratio(false_positives, false_positives + true_negatives),
        precision: ratio(true_positives, true_positives + false_positives),
        roc_auc: roc_auc(&pairs),
        ece: calibration_error(&pairs),
        errors,
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The chance that a dangerous row scores above a safe one, ties counting half: the
/// Mann-Whitney statistic over the number of pairs.
fn roc_auc(pairs: &[(RiskScore, bool)]) -> Option<f64> {
    let mut by_score: BTreeMap<RiskScore, (u64, u64)> = BTreeMap::new();
    for (score, dangerous) in pairs {
        let counts = by_score.entry(*score).or_default();
        if *dangerous { counts.0 += 1 } else { counts.1 += 1 }
    }
    let (mut safe_below, mut wins) = (0u64, 0u64);
    for (dangerous, safe) in by_score.values() {
        wins += dangerous * (2 * safe_below + safe);
        safe_below += safe;
    }
    let dangerous: u64 = by_score.values().map(|counts| counts.0).sum();
    (dangerous > 0 && safe_below > 0).then(|| wins as f64 / (2 * dangerous * safe_below) as f64)
}

fn calibration_error(pairs: &[(RiskScore, bool)]) -> Option<f64> {
    let mut bins = [(0.0f64, 0usize, 0usize); BINS];
    for (score, dangerous) in pairs {
        let bin = (usize::from(score.bps()) * BINS / 10_001).min(BINS - 1);
        bins[bin].0 += score.as_f64();
        bins[bin].1 += usize::from(*dangerous);
        bins[bin].2 += 1;
    }
    let all = pairs.len() as f64;
    let error = bins.iter().map(|(sum, dangerous, _)| (sum - *dangerous as f64).abs() / all).sum();
    (!pairs.is_empty()).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(u32, bool)]) -> Vec<(RiskScore, bool)> {
        list.iter().map(|(bps, dangerous)| (RiskScore::from_bps_capped(*bps), *dangerous)).collect()
    }

    #[test]
    fn the_area_counts_pairs() {
        assert_eq!(roc_auc(&pairs(&[(1, false), (2, true)])), Some(1.0));
        assert_eq!(roc_auc(&pairs(&[(2, false), (1, true)])), Some(0.0));
        assert_eq!(roc_auc(&pairs(&[(1, false), (1, true)])), Some(0.5));
        assert_eq!(roc_auc(&pairs(&[(1, false), (3, false), (2, true), (4, true)])), Some(0.75));
        assert_eq!(roc_auc(&pairs(&[(1, true)])), None);
    }

    #[test]
    fn calibration_compares_scores_with_what_happened() {
        assert_eq!(calibration_error(&pairs(&[(10_000, true), (0, false)])), Some(0.0));
        assert_eq!(calibration_error(&pairs(&[(5000, true), (5000, false)])), Some(0.0));
        assert_eq!(calibration_error(&pairs(&[(2500, true)])), Some(0.75));
        assert_eq!(calibration_error(&[]), None);
    }
}
