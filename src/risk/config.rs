//! The risk keys of `tool_config.yaml`: thresholds and modifiers.
//!
//! Every amount is a [`RiskScore`], so that a modifier cannot lower a score by construction.

use serde::{Deserialize, Serialize};

use super::off_hours::{HourRange, Weekday};
use crate::schema::RiskScore;

/// Why risk settings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RiskError {
    #[error(
        "risk_thresholds: expected auto_execute <= require_review <= require_blockchain, found {auto_execute}, {require_review}, {require_blockchain}"
    )]
    ThresholdOrder { auto_execute: RiskScore, require_review: RiskScore, require_blockchain: RiskScore },
    #[error(
        "risk_thresholds: require_review is {require_review}; it must be above {floor}, the floor of reading tools"
    )]
    ReviewBelowSafeFloor { require_review: RiskScore, floor: RiskScore },
    #[error(
        "risk_modifiers.off_hours.time_zone: `{name}` is not a known time zone; use a name such as Europe/Berlin or UTC"
    )]
    TimeZone { name: String },
    #[error("risk_modifiers.{key}: an empty entry would match everything; remove it")]
    EmptyPattern { key: &'static str },
}

/// Where one route ends and the next, stricter one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Below it an action runs.
    pub auto_execute: RiskScore,
    /// Below it an action runs and is listed for review.
    pub require_review: RiskScore,
    /// Below it a terminal asks; from it on a permit is needed, whatever the tier.
    pub require_blockchain: RiskScore,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            auto_execute: RiskScore::from_bps_capped(3000),
            require_review: RiskScore::from_bps_capped(7000),
            require_blockchain: RiskScore::from_bps_capped(7000),
        }
    }
}

/// What adds to a base score, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskModifiers {
    pub production: ProductionModifier,
    pub off_hours: OffHoursModifier,
    pub secrets_path: SecretsPathModifier,
    pub destructive: DestructiveModifier,
    pub reasoning: ReasoningModifier,
}

/// An action whose parameters name a production environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductionModifier {
    pub add: RiskScore,
    /// Names of production environments, compared without case.
    pub environments: Vec<String>,
}

impl Default for ProductionModifier {
    fn default() -> Self {
        ProductionModifier {
            add: RiskScore::from_bps_capped(2000),
            environments: words(&["production", "prod", "live"]),
        }
    }
}

/// An action when few people are there to notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OffHoursModifier {
    pub add: RiskScore,
    /// Off-hours of every day, as `18:00-08:00`: the first minute counts, the last does not.
    pub hours: HourRange,
    /// Days that are off-hours from midnight to midnight.
    pub days: Vec<Weekday>,
    /// IANA name of the zone that hours and days are in.
    pub time_zone: String,
}

impl Default for OffHoursModifier {
    fn default() -> Self {
        OffHoursModifier {
            add: RiskScore::from_bps_capped(1000),
            hours: HourRange::NIGHT,
            days: vec![Weekday::Saturday, Weekday::Sunday],
            time_zone: "UTC".to_owned(),
        }
    }
}

/// An action that touches a path where credentials live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsPathModifier {
    pub add: RiskScore,
    /// Parts of a path, compared without case.
    pub contains: Vec<String>,
}

impl Default for SecretsPathModifier {
    fn default() -> Self {
        SecretsPathModifier {
            add: RiskScore::from_bps_capped(3000),
            contains: words(&["secret", "credential", ".env", ".pem", ".key", "id_rsa", "id_ed25519", ".ssh"]),
        }
    }
}

/// An action that removes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DestructiveModifier {
    pub add: RiskScore,
    /// Words of a tool's name or of an `action`, `operation`, `command`, `method` or `mode` parameter.
    pub words: Vec<String>,
}

impl Default for DestructiveModifier {
    fn default() -> Self {
        DestructiveModifier {
            add: RiskScore::from_bps_capped(2000),
            words: words(&[
                "delete", "drop", "destroy", "truncate", "remove", "purge", "wipe", "erase", "reset", "force", "kill",
            ]),
        }
    }
}

/// What missing, short or careless reasoning adds. Good reasoning adds nothing and takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasoningModifier {
    /// None at all; takes the place of `short`.
    pub missing: RiskScore,
    /// Shorter than `characters_min`.
    pub short: RiskScore,
    /// Says nothing of tests.
    pub no_tests: RiskScore,
    /// Says nothing of a way back.
    pub no_rollback: RiskScore,
    pub characters_min: usize,
}

impl Default for ReasoningModifier {
    fn default() -> Self {
        ReasoningModifier {
            missing: RiskScore::from_bps_capped(500),
            short: RiskScore::from_bps_capped(250),
            no_tests: RiskScore::from_bps_capped(250),
            no_rollback: RiskScore::from_bps_capped(250),
            characters_min: 50,
        }
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}
