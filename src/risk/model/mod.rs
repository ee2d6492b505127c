//! A logistic model over hashed features of parsed actions. It can only raise a score.
//!
//! Weights are whole numbers, at least zero, and are summed as such; the curve from the sum to a
//! probability is a table of whole numbers. So the same input gives the same answer on every
//! machine, and a further feature never lowers it. Feature hashing: Weinberger et al., "Feature
//! Hashing for Large Scale Multitask Learning", 2009.

pub mod features;
#[cfg(feature = "risk-train")]
pub mod train;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::Followed;
use super::command::invocation::Invocation;
use crate::schema::RiskScore;

/// The model that ships with the program.
const SHIPPED: &str = include_str!("../../../config/risk_model.json");
/// Version of features and hashing; weights of another version mean something else.
pub const FORMAT: u32 = 1;
/// Buckets, a power of two.
pub const BUCKETS: usize = 4096;
/// One unit of a log-odds, in weights.
pub const UNIT: i32 = 1024;
/// Programs of one command that the model looks at.
const INVOCATIONS_MAX: usize = 2048;
/// Features that an explanation names.
const TOP_FEATURES: usize = 5;

/// Why a model is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("risk model: {0}")]
    Unreadable(String),
    #[error("risk model: format {found}, this program reads {FORMAT}")]
    Format { found: u32 },
    #[error("risk model: {0}")]
    Invalid(&'static str),
}

/// The file: weights by bucket, the curve, and what is known of how it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    pub format: u32,
    pub buckets: usize,
    /// Log-odds of no feature at all, in units of 1/1024.
    pub intercept: i32,
    /// Sum in units of 1/1024 to probability in ten-thousandths; ascending in both.
    pub curve: Vec<(i32, u16)>,
    /// Weight by bucket; a bucket that is absent weighs nothing.
    pub weights: BTreeMap<usize, i32>,
    pub card: Card,
}

/// The model card: what it was made from, and what was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub purpose: String,
    pub data: String,
    /// SHA-256 of the training file.
    pub data_sha256: String,
    pub date: String,
    pub seed: u64,
    pub rows: usize,
    pub dangerous_rows: usize,
    pub split: String,
    pub algorithm: String,
    pub thresholds: BTreeMap<String, f64>,
    /// Of the training rows themselves; what holds elsewhere is measured by `risk eval`.
    pub metrics: BTreeMap<String, f64>,
    pub limits: String,
}

/// A model that was checked.
#[derive(Clone, Debug)]
pub struct Model {
    weights: Vec<i32>,
    intercept: i32,
    curve: Vec<(i32, u16)>,
    pub card: Card,
}

/// What the model said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelShare {
    /// Probability of harm, in the model's eyes.
    pub probability: RiskScore,
    /// What it added to the score; nothing where rules said as much already.
    pub share: RiskScore,
    /// The heaviest features of what it looked at, and what each adds to the log-odds.
    pub top_features: Vec<(String, f64)>,
}

impl Model {
    /// The model that ships with the program.
    ///
    /// # Errors
    /// None for a build that passed its tests.
    pub fn shipped() -> Result<Model, ModelError> {
        Model::parse(SHIPPED.as_bytes())
    }

    /// # Errors
    /// JSON that is no model, another format, a weight below zero, a curve that falls.
    pub fn parse(bytes: &[u8]) -> Result<Model, ModelError> {
        let file: ModelFile =
            serde_json::from_slice(bytes).map_err(|error| ModelError::Unreadable(error.to_string()))?;
        if file.format != FORMAT {
            return Err(ModelError::Format { found: file.format });
        }
        if file.buckets != BUCKETS || file.weights.keys().any(|bucket| *bucket >= BUCKETS) {
            return Err(ModelError::Invalid("its number of buckets is not the program's"));
        }
        if file.weights.values().any(|weight| !(0..=64 * UNIT).contains(weight)) {
            return Err(ModelError::Invalid("a weight lies outside 0 to 65536: the model could lower a score"));
        }
        let rising = file.curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if file.curve.is_empty()
            || file.curve.len() > 1024
            || !rising
            || file.curve.iter().any(|(_, bps)| *bps > 10_000)
        {
            return Err(ModelError::Invalid("its curve is empty, too long or falls"));
        }
        let mut weights = vec![0; BUCKETS];
        for (bucket, weight) in &file.weights {
            weights[*bucket] = *weight;
        }
        Ok(Model { weights, intercept: file.intercept, curve: file.curve, card: file.card })
    }

    /// The probability for a command: that of its worst program.
    pub fn command(&self, followed: &Followed) -> (RiskScore, Option<usize>) {
        let mut worst = (RiskScore::MIN, None);
        for (at, invocation) in followed.invocations.iter().take(INVOCATIONS_MAX).enumerate() {
            if !features::speaks_of(invocation) {
                continue;
            }
            let probability = self.probability(|sink| features::of_invocation(invocation, sink));
            if worst.1.is_none() || probability > worst.0 {
                worst = (probability, Some(at));
            }
        }
        worst
    }

    /// The heaviest features of a program.
    pub fn explain_invocation(&self, invocation: &Invocation) -> Vec<(String, f64)> {
        self.top(|sink| features::of_invocation(invocation, sink))
    }

    /// The probability for a tool call, and its heaviest features.
    pub fn action(
        &self,
        tool: &str,
        signals: &[&str],
        parameters: &Map<String, Value>,
    ) -> (RiskScore, Vec<(String, f64)>) {
        let probability = self.probability(|sink| features::of_action(tool, signals, parameters, sink));
        (probability, self.top(|sink| features::of_action(tool, signals, parameters, sink)))
    }

    fn probability(&self, visit: impl FnOnce(features::Sink<'_>)) -> RiskScore {
        let mut seen = [0u64; BUCKETS / 64];
        let mut sum = i64::from(self.intercept);
        visit(&mut |kind, a, b| {
            let bucket = bucket(kind, a, b);
            let (word, bit) = (bucket / 64, 1u64 << (bucket % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                sum += i64::from(self.weights[bucket]);
            }
        });
        self.curve_at(sum)
    }

    fn top(&self, visit: impl FnOnce(features::Sink<'_>)) -> Vec<(String, f64)> {
        let mut found: BTreeMap<usize, (String, i32)> = BTreeMap::new();
        visit(&mut |kind, a, b| {
            let bucket = bucket(kind, a, b);
            if self.weights[bucket] > 0 {
                let name = if b.is_empty() { format!("{kind} {a}") } else { format!("{kind} {a} {b}") };
                found
                    .entry(bucket)
                    .or_insert((name.chars().filter(|c| !c.is_control()).take(64).collect(), self.weights[bucket]));
            }
        });
        let mut found: Vec<(String, i32)> = found.into_values().collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found.truncate(TOP_FEATURES);
        found.into_iter().map(|(name, weight)| (name, f64::from(weight) / f64::from(UNIT))).collect()
    }

    fn curve_at(&self, sum: i64) -> RiskScore {
        let bps = match self.curve.iter().position(|(at, _)| i64::from(*at) >= sum) {
            Some(0) => u64::from(self.curve[0].1),
            Some(next) => {
                let ((x0, y0), (x1, y1)) = (self.curve[next - 1], self.curve[next]);
                let (run, rise) = (i64::from(x1) - i64::from(x0), i64::from(y1) - i64::from(y0));
                let above = (sum - i64::from(x0)) * rise / run;
                u64::from(y0).saturating_add_signed(above)
            }
            None => self.curve.last().map_or(0, |(_, bps)| u64::from(*bps)),
        };
        RiskScore::from_bps_capped(u32::try_from(bps).unwrap_or(u32::MAX))
    }
}

/// FNV-1a over kind and parts, folded to a bucket.
pub fn bucket(kind: &str, a: &str, b: &str) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    take(kind);
    take(a);
    take(b);
    ((hash ^ (hash >> 32)) as usize) & (BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(change: impl FnOnce(&mut Value)) -> Result<Model, ModelError> {
        let mut value = serde_json::json!({
            "format": 1, "buckets": BUCKETS, "intercept": -2048, "curve": [[-4096, 100], [0, 5000], [4096, 9900]],
            "weights": {"3": 1024}, "card": Card::default(),
        });
        change(&mut value);
        Model::parse(value.to_string().as_bytes())
    }

    #[test]
    fn the_shipped_model_reads() {
        let model = Model::shipped().unwrap();
        assert!(model.weights.iter().any(|weight| *weight > 0));
        assert!(!model.card.data_sha256.is_empty() && model.card.rows > 1000);
    }

    #[test]
    fn a_model_that_could_lower_a_score_is_refused() {
        assert!(file(|_| ()).is_ok());
        assert_eq!(file(|v| v["format"] = 2.into()).unwrap_err(), ModelError::Format { found: 2 });
        assert!(matches!(file(|v| v["weights"]["3"] = (-1).into()), Err(ModelError::Invalid(_))));
        assert!(matches!(file(|v| v["weights"]["4096"] = 1.into()), Err(ModelError::Invalid(_))));
        assert!(matches!(
            file(|v| v["curve"] = serde_json::json!([[0, 5000], [1, 4000]])),
            Err(ModelError::Invalid(_))
        ));
        assert!(matches!(file(|v| v["extra"] = 1.into()), Err(ModelError::Unreadable(_))));
    }

    #[test]
    fn the_curve_is_followed_between_its_points() {
        let model = file(|_| ()).unwrap();
        let at = |sum: i64| model.curve_at(sum).bps();
        assert_eq!(
            [at(-9999), at(-4096), at(-2048), at(0), at(2048), at(4096), at(99_999)],
            [100, 100, 2550, 5000, 7450, 9900, 9900]
        );
    }
}
