//! The risk keys of `tool_config.yaml`: thresholds and modifiers.
//!
//! Every amount is a [`RiskScore`], so that a modifier cannot lower a score by construction.

use serde::{Deserialize, Serialize};

use super::off_hours::{HourRange, Weekday};
use crate::schema::{RiskScore, Timestamp, ToolName};

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
    #[error("risk_modifiers.{modifier}: its example {example} does not raise it")]
    ExampleMissed { modifier: &'static str, example: String },
    #[error("risk_modifiers.{modifier}: its counter-example {example} raises it")]
    ExampleRaised { modifier: &'static str, example: String },
    #[error(transparent)]
    Rules(#[from] super::command::RuleError),
    #[error("the rules that ship with the program cannot be read: {detail}")]
    Shipped { detail: String },
    #[error(transparent)]
    Model(#[from] super::model::ModelError),
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
    pub signals: Signals,
}

impl RiskModifiers {
    /// Every modifier's name with what is written to justify it.
    pub fn evidence(&self) -> impl Iterator<Item = (&'static str, &Evidence)> {
        [
            ("production", &self.production.evidence),
            ("off_hours", &self.off_hours.evidence),
            ("secrets_path", &self.secrets_path.evidence),
            ("destructive", &self.destructive.evidence),
        ]
        .into_iter()
        .chain(self.signals.all().map(|(name, signal)| (name, &signal.evidence)))
    }

    /// The same amounts without their justifications.
    #[must_use]
    pub fn without_evidence(mut self) -> Self {
        for evidence in [
            &mut self.production.evidence,
            &mut self.off_hours.evidence,
            &mut self.secrets_path.evidence,
            &mut self.destructive.evidence,
        ] {
            *evidence = Evidence::default();
        }
        self.signals.forget_evidence();
        self
    }
}

/// Why a modifier is there, with actions that raise it and actions that do not. Both are checked
/// when the file is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    pub why: String,
    #[serde(rename = "match")]
    pub matches: Vec<ActionExample>,
    pub not_match: Vec<ActionExample>,
}

/// An action as an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionExample {
    pub tool: ToolName,
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub reasoning: String,
    /// RFC 3339; a working hour where it is left out.
    #[serde(default)]
    pub at: Option<Timestamp>,
    #[serde(default)]
    pub context: RunContext,
}

/// What the run did before this action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunContext {
    /// The tool has not run in this run.
    pub first_use: bool,
    /// Writing and critical tools that ran in the last [`BURST_WINDOW_S`] seconds.
    pub recent_writes: u32,
    /// What was read since a person last spoke speaks to its reader; the words that do.
    pub untrusted: Option<String>,
}

/// Seconds in which writes are counted for a burst.
pub const BURST_WINDOW_S: i64 = 60;

/// One trait that adds an amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    pub add: RiskScore,
    #[serde(default)]
    pub evidence: Evidence,
}

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $name:ident: $bps:literal,)*) => {
        /// Traits of an action and of its run, each with what it adds.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Signals {
            $($(#[doc = $doc])+ pub $name: Signal,)*
            /// Writes within [`BURST_WINDOW_S`] from which a burst is one.
            pub burst_writes_min: u32,
        }

        impl Default for Signals {
            fn default() -> Self {
                Signals {
                    $($name: Signal { add: RiskScore::from_bps_capped($bps), evidence: Evidence::default() },)*
                    burst_writes_min: 10,
                }
            }
        }

        impl Signals {
            /// Each signal by its name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &Signal)> {
                [$((stringify!($name), &self.$name)),*].into_iter()
            }

            fn forget_evidence(&mut self) {
                $(self.$name.evidence = Evidence::default();)*
            }
        }
    };
}

signals! {
    /// A file that says how software is built, deployed or hosted.
    pipeline_file: 3000,
    /// A file that changes the shape of a database.
    migration: 1500,
    /// Content that destroys data, or fetches and runs what others wrote.
    destructive_content: 3500,
    /// Content that holds credentials.
    credentials_content: 3500,
    /// A target that is everything.
    wide_blast: 2000,
    /// A branch that nobody changes alone.
    protected_branch: 3000,
    /// A path that leaves the workspace.
    outside_workspace: 4500,
    /// A file that is run by itself later.
    autorun_file: 4000,
    /// A file with credentials is read; lifts a read out of its tier.
    credential_read: 6000,
    /// Shell syntax in what should be a name.
    shell_syntax: 4500,
    /// A dependency one slip away from a popular one.
    lookalike_dependency: 4500,
    /// A dependency from outside the package index.
    foreign_dependency: 3500,
    /// The run uses this tool for the first time.
    first_use: 200,
    /// Many writes in a short time.
    write_burst: 1000,
    /// Text that speaks to its reader was read since a person last spoke.
    untrusted_content: 1500,
    /// The reasoning speaks to the approver or the classifier.
    persuasion: 1000,
}

/// An action whose parameters name a production environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductionModifier {
    pub add: RiskScore,
    /// Names of production environments, compared without case.
    pub environments: Vec<String>,
    pub evidence: Evidence,
}

impl Default for ProductionModifier {
    fn default() -> Self {
        ProductionModifier {
            add: RiskScore::from_bps_capped(2000),
            environments: words(&["production", "prod", "live"]),
            evidence: Evidence::default(),
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
    pub evidence: Evidence,
}

impl Default for OffHoursModifier {
    fn default() -> Self {
        OffHoursModifier {
            add: RiskScore::from_bps_capped(1000),
            hours: HourRange::NIGHT,
            days: vec![Weekday::Saturday, Weekday::Sunday],
            time_zone: "UTC".to_owned(),
            evidence: Evidence::default(),
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
    pub evidence: Evidence,
}

impl Default for SecretsPathModifier {
    fn default() -> Self {
        SecretsPathModifier {
            add: RiskScore::from_bps_capped(3000),
            contains: words(&["secret", "credential", ".env", ".pem", ".key", "id_rsa", "id_ed25519", ".ssh"]),
            evidence: Evidence::default(),
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
    pub evidence: Evidence,
}

impl Default for DestructiveModifier {
    fn default() -> Self {
        DestructiveModifier {
            add: RiskScore::from_bps_capped(2000),
            words: words(&[
                "delete", "drop", "destroy", "truncate", "remove", "purge", "wipe", "erase", "reset", "force", "kill",
            ]),
            evidence: Evidence::default(),
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
