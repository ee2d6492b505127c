//! The rules that ship with the program, for a configuration that brings none of its own.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::command::CommandRisk;
use super::config::RiskError;

const SHIPPED: &str = include_str!("../../config/tool_config.yaml");

/// The one section of the file that is of interest here.
#[derive(Deserialize)]
struct File {
    command_risk: CommandRisk,
    #[serde(flatten)]
    _rest: std::collections::BTreeMap<String, IgnoredAny>,
}

/// The rules for commands of the file that was compiled in.
///
/// # Errors
/// None for a build that passed its tests.
pub fn command_rules() -> Result<CommandRisk, RiskError> {
    let file: File =
        serde_saphyr::from_str(SHIPPED).map_err(|error| RiskError::Shipped { detail: error.to_string() })?;
    Ok(file.command_risk)
}
