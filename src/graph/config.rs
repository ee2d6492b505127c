//! The shape of `config/agent_config.yaml`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Highest `max_iterations` that a configuration may ask for.
pub const ITERATIONS_MAX: u32 = 10_000;

/// What `agent_config.yaml` says. Every key has a default, unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    pub agent: LoopConfig,
    pub llm: LlmConfig,
    pub ipc: IpcConfig,
    pub verify: VerifyConfig,
    /// Checkpoints, claims, intents, outcomes and evidence.
    pub state_dir: StateDir,
    /// What the tools may read and change.
    pub workspace: WorkspaceDir,
}

/// The step loop and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoopConfig {
    /// The name in a request's `agent_id`.
    pub id: String,
    /// Planner calls for one prompt.
    pub max_iterations: u32,
    /// Steps between two checkpoints. What concerns an authorization is always written.
    pub checkpoint_interval: u32,
    /// Failures in a row after which a run stops.
    pub max_errors: u32,
    /// Longest run for one prompt, in seconds, waiting included.
    pub run_timeout: u64,
    /// Seconds for which a denied action is not asked for again.
    pub denial_cooldown: u64,
    /// How much longer than a request lives its answer is waited for, in seconds: the bridge
    /// says `expired:` only once a block past the expiry is confirmed.
    pub answer_grace: u64,
    /// Longest wait for the chain to record an outcome, in seconds.
    pub record_timeout: u64,
}

/// Who plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmConfig {
    pub provider: Provider,
    /// The file that the scripted planner plays.
    pub scenario: PathBuf,
    pub model: String,
    pub temperature: f64,
    pub max_tokens: u32,
    /// Longest wait for one answer, in seconds.
    pub timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Plays a scenario file and asks no model.
    Scripted,
}

/// Where the channel lies, in the words of its single slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IpcConfig {
    pub request_path: PathBuf,
    pub response_path: PathBuf,
    /// Longest wait for the channel's lock, in seconds.
    pub lock_timeout: u64,
}

/// What a response is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyConfig {
    /// The pinned trust anchors, YAML or JSON.
    pub anchors: PathBuf,
    /// The agent's own read-only endpoint; empty where the anchors switch the chain check off.
    pub rpc_url: String,
}

macro_rules! dir_with_default {
    ($(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub PathBuf);

        impl Default for $name {
            fn default() -> Self {
                $name(PathBuf::from($default))
            }
        }
    };
}

dir_with_default!(
    /// A directory that only this agent writes.
    StateDir,
    ".guardrail"
);
dir_with_default!(
    /// The directory that the tools are confined to.
    WorkspaceDir,
    "."
);

impl Default for LoopConfig {
    fn default() -> Self {
        LoopConfig {
            id: "guardrail-agent".to_owned(),
            max_iterations: 20,
            checkpoint_interval: 1,
            max_errors: 5,
            run_timeout: 3600,
            denial_cooldown: 3600,
            answer_grace: 15,
            record_timeout: 60,
        }
    }
}

impl Default for LlmConfig {
    fn default() -> Self {
        LlmConfig {
            provider: Provider::Scripted,
            scenario: PathBuf::from("config/scenarios/demo.yaml"),
            model: "gpt-4".to_owned(),
            temperature: 0.1,
            max_tokens: 2000,
            timeout: 120,
        }
    }
}

impl Default for IpcConfig {
    fn default() -> Self {
        IpcConfig {
            request_path: PathBuf::from("./ipc_channel/auth_request.json"),
            response_path: PathBuf::from("./ipc_channel/auth_response.json"),
            lock_timeout: 30,
        }
    }
}

impl Default for VerifyConfig {
    fn default() -> Self {
        VerifyConfig { anchors: PathBuf::from(".guardrail/anchors.yaml"), rpc_url: "http://127.0.0.1:8545".to_owned() }
    }
}

/// Why a configuration of the right shape cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentConfigError {
    #[error("{key}: expected {expected}, found {found}")]
    Range { key: &'static str, expected: String, found: String },
    #[error("ipc.request_path and ipc.response_path must lie in one directory, the channel")]
    TwoChannels,
    #[error("ipc.{key}: expected a file named {expected}, found {}", found.display())]
    SlotName { key: &'static str, expected: &'static str, found: PathBuf },
}

impl AgentConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn validate(&self) -> Result<(), AgentConfigError> {
        let agent = &self.agent;
        within("agent.max_iterations", u64::from(agent.max_iterations), u64::from(ITERATIONS_MAX))?;
        within("agent.checkpoint_interval", u64::from(agent.checkpoint_interval), u64::from(ITERATIONS_MAX))?;
        within("agent.max_errors", u64::from(agent.max_errors), u64::from(ITERATIONS_MAX))?;
        within("agent.run_timeout", agent.run_timeout, SECONDS_MAX)?;
        within("agent.answer_grace", agent.answer_grace, SECONDS_MAX)?;
        within("agent.record_timeout", agent.record_timeout, SECONDS_MAX)?;
        within("llm.timeout", self.llm.timeout, SECONDS_MAX)?;
        within("llm.max_tokens", u64::from(self.llm.max_tokens), u64::from(u32::MAX))?;
        within("ipc.lock_timeout", self.ipc.lock_timeout, SECONDS_MAX)?;
        if agent.denial_cooldown > SECONDS_MAX {
            return Err(range("agent.denial_cooldown", format!("0 to {SECONDS_MAX}"), &agent.denial_cooldown));
        }
        if !(0.0..=2.0).contains(&self.llm.temperature) {
            return Err(range("llm.temperature", "0 to 2".to_owned(), &self.llm.temperature));
        }
        if agent.id.is_empty() || agent.id.len() > AGENT_ID_BYTES_MAX || agent.id.chars().any(char::is_control) {
            let expected = format!("1 to {AGENT_ID_BYTES_MAX} bytes without control characters");
            return Err(range("agent.id", expected, &format!("{:?}", agent.id)));
        }
        self.channel_dir().map(|_| ())
    }

    /// The directory of the channel, which holds the two files of the single slot.
    ///
    /// # Errors
    /// [`AgentConfigError`] where the two paths do not name those files in one directory.
    pub fn channel_dir(&self) -> Result<&Path, AgentConfigError> {
        let request = slot_dir("request_path", &self.ipc.request_path, "auth_request.json")?;
        let response = slot_dir("response_path", &self.ipc.response_path, "auth_response.json")?;
        if request == response { Ok(request) } else { Err(AgentConfigError::TwoChannels) }
    }

    pub fn run_timeout(&self) -> Duration {
        Duration::from_secs(self.agent.run_timeout)
    }

    pub fn answer_grace(&self) -> Duration {
        Duration::from_secs(self.agent.answer_grace)
    }

    pub fn record_timeout(&self) -> Duration {
        Duration::from_secs(self.agent.record_timeout)
    }

    pub fn planner_timeout(&self) -> Duration {
        Duration::from_secs(self.llm.timeout)
    }
}

/// Longest of the time limits: 30 days, in seconds.
const SECONDS_MAX: u64 = 30 * 24 * 3600;
const AGENT_ID_BYTES_MAX: usize = 64;

fn within(key: &'static str, found: u64, max: u64) -> Result<(), AgentConfigError> {
    if (1..=max).contains(&found) { Ok(()) } else { Err(range(key, format!("1 to {max}"), &found)) }
}

fn range(key: &'static str, expected: String, found: &dyn std::fmt::Display) -> AgentConfigError {
    AgentConfigError::Range { key, expected, found: found.to_string() }
}

fn slot_dir<'a>(key: &'static str, path: &'a Path, expected: &'static str) -> Result<&'a Path, AgentConfigError> {
    match path.parent() {
        Some(dir) if path.file_name().is_some_and(|name| name == expected) => Ok(dir),
        Some(_) | None => Err(AgentConfigError::SlotName { key, expected, found: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_defaults_say() {
        let text = include_str!("../../config/agent_config.yaml");
        let config: AgentConfig = serde_saphyr::from_str(text).unwrap();
        assert_eq!(config, AgentConfig::default());
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.channel_dir(), Ok(Path::new("./ipc_channel")));
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused() {
        for bad in
            ["agents: {}", "agent: {max_iteration: 3}", "agent: {max_iterations: many}", "llm: {provider: oracle}"]
        {
            assert!(serde_saphyr::from_str::<AgentConfig>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        let check = |text: &str| {
            let config: AgentConfig = serde_saphyr::from_str(text).unwrap();
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(check("agent: {max_iterations: 0}"), "agent.max_iterations: expected 1 to 10000, found 0");
        assert_eq!(check("llm: {temperature: 3.5}"), "llm.temperature: expected 0 to 2, found 3.5");
        assert_eq!(check("agent: {id: ''}"), "agent.id: expected 1 to 64 bytes without control characters, found \"\"");
        assert_eq!(
            check("ipc: {request_path: a/auth_request.json, response_path: b/auth_response.json}"),
            AgentConfigError::TwoChannels.to_string()
        );
        assert_eq!(
            check("ipc: {request_path: a/request.json}"),
            "ipc.request_path: expected a file named auth_request.json, found a/request.json"
        );
    }
}
