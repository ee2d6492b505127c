//! `tool_config.yaml`: tiers, base risks, thresholds, modifiers, time and size limits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use super::error::{InvalidValue, ToolError};
use super::validators::WorkspacePath;
use crate::risk::{CommandRisk, Model, RiskError, RiskModifiers, RiskPolicy, Thresholds, base_range, command_rules};
use crate::schema::{RiskScore, Tier, ToolName};
use crate::suggest;

/// The whole file, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    pub tool_tiers: ToolTiers,
    pub risk_thresholds: Thresholds,
    pub timeouts: Timeouts,
    /// Base scores in place of the tools' own, each within the range of the tool's tier.
    #[serde(default)]
    pub base_risks: BTreeMap<ToolName, RiskScore>,
    #[serde(default)]
    pub risk_modifiers: RiskModifiers,
    /// The rules for commands; those that ship with the program where the file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_risk: Option<CommandRisk>,
    #[serde(default = "default_environments")]
    pub allowed_environments: Vec<String>,
    /// Files that no tool reads or commits, in the syntax of ignore files; `!` makes an exception.
    #[serde(default = "default_protected_files")]
    pub protected_files: Vec<String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub git: GitIdentity,
}

/// Which tool may do how much by itself. A tool in no list is critical; a name may stand
/// here before the tool is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolTiers {
    pub tier1_safe: Vec<ToolName>,
    pub tier2_write: Vec<ToolName>,
    pub tier3_critical: Vec<ToolName>,
}

/// Seconds after which something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// How long an authorization is waited for; the age at which a request is stale.
    pub authorization_timeout: u64,
    /// How long a tool may run.
    pub tool_execution_timeout: u64,
}

/// Most of what a tool takes in and gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest file that is read.
    pub read_bytes_max: u64,
    /// Largest text in a result.
    pub output_bytes_max: usize,
    /// Largest content that is written.
    pub write_bytes_max: usize,
    /// Most matches of a search.
    pub search_matches_max: usize,
    /// Most failures that a test run describes.
    pub failure_details_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            read_bytes_max: 16 * 1024 * 1024,
            output_bytes_max: 64 * 1024,
            write_bytes_max: 1024 * 1024,
            search_matches_max: 200,
            failure_details_max: 50,
        }
    }
}

/// Who the agent's commits are by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitIdentity {
    pub author_name: String,
    pub author_email: String,
}

impl Default for GitIdentity {
    fn default() -> Self {
        GitIdentity { author_name: "Guardrail Agent".to_owned(), author_email: "agent@guardrail.invalid".to_owned() }
    }
}

fn default_environments() -> Vec<String> {
    ["production", "staging", "development"].map(str::to_owned).to_vec()
}

fn default_protected_files() -> Vec<String> {
    let patterns = [
        ".env",
        ".env.*",
        "!.env.example",
        "*.pem",
        "*.key",
        "*.p12",
        "id_rsa",
        "id_ecdsa",
        "id_ed25519",
        ".netrc",
        ".git-credentials",
        ".pypirc",
    ];
    patterns.map(str::to_owned).to_vec()
}

impl ToolConfig {
    /// The part that scores actions and commands, with the model that ships with the program.
    ///
    /// # Errors
    /// As [`RiskPolicy::new`] and [`RiskPolicy::with_commands`].
    pub fn risk_policy(&self) -> Result<RiskPolicy, RiskError> {
        self.risk_policy_with(Model::shipped()?)
    }

    /// [`ToolConfig::risk_policy`] with a model of one's own.
    ///
    /// # Errors
    /// As [`ToolConfig::risk_policy`].
    pub fn risk_policy_with(&self, model: Model) -> Result<RiskPolicy, RiskError> {
        let policy = RiskPolicy::new(self.risk_thresholds, self.risk_modifiers.clone())?;
        let policy = match &self.command_risk {
            Some(rules) => policy.with_commands(rules)?,
            None => policy.with_commands(&command_rules()?)?,
        };
        Ok(policy.with_model(model))
    }

    /// Tier and base score of every tool that a tier lists, built or not: the file's base, or the
    /// lowest of the tier.
    ///
    /// # Errors
    /// A tool in two tiers.
    pub fn tool_bases(&self) -> Result<BTreeMap<ToolName, (Tier, RiskScore)>, ToolError> {
        let tiers = self.tiers()?;
        let base = |name: &ToolName, tier: Tier| self.base_risks.get(name).copied().unwrap_or(base_range(tier).0);
        Ok(tiers.into_iter().map(|(name, tier)| (name.clone(), (tier, base(&name, tier)))).collect())
    }

    /// The part that the registry is built from.
    ///
    /// # Errors
    /// A tool in two tiers, a base score outside its tier or for a tool in no tier, an empty
    /// list of environments, a limit of zero, a pattern that is none.
    pub fn tool_settings(&self) -> Result<ToolSettings, ToolError> {
        let tiers = self.tiers()?;
        for (name, base) in &self.base_risks {
            let Some(tier) = tiers.get(name) else {
                let hint = suggest::did_you_mean(name.as_str(), tiers.keys().map(ToolName::as_str));
                return refuse(format!("base_risks: `{name}` is in no tier{hint}"));
            };
            let (low, high) = base_range(*tier);
            if *base < low || *base > high {
                return refuse(format!("base_risks: `{name}` is {base}; a {tier} tool has {low} to {high}"));
            }
        }
        if self.allowed_environments.is_empty() {
            return refuse("allowed_environments: the list is empty");
        }
        if self.timeouts.tool_execution_timeout == 0 || self.timeouts.authorization_timeout == 0 {
            return refuse("timeouts: a time limit of 0 seconds lets nothing run");
        }
        let Limits { read_bytes_max, output_bytes_max, write_bytes_max, search_matches_max, failure_details_max } =
            self.limits;
        if read_bytes_max == 0 || output_bytes_max == 0 || write_bytes_max == 0 {
            return refuse("limits: a size limit of 0 lets nothing through");
        }
        if search_matches_max == 0 || failure_details_max == 0 {
            return refuse("limits: a limit of 0 entries lets nothing through");
        }
        let GitIdentity { author_name, author_email } = &self.git;
        let unusable = |text: &String| text.trim().is_empty() || text.contains(['<', '>', '\n', '\0']);
        if unusable(author_name) || unusable(author_email) {
            return refuse("git: author_name and author_email need a value without <, > and line ends");
        }
        Ok(ToolSettings {
            tiers,
            base_risks: self.base_risks.clone(),
            tool_execution_timeout: Duration::from_secs(self.timeouts.tool_execution_timeout),
            allowed_environments: self.allowed_environments.clone(),
            limits: self.limits,
            git: self.git.clone(),
            protected_files: ProtectedFiles::new(&self.protected_files)?,
        })
    }

    fn tiers(&self) -> Result<BTreeMap<ToolName, Tier>, ToolError> {
        let ToolTiers { tier1_safe, tier2_write, tier3_critical } = &self.tool_tiers;
        let lists = [(tier1_safe, Tier::Safe), (tier2_write, Tier::Write), (tier3_critical, Tier::Critical)];
        let mut tiers = BTreeMap::new();
        for (names, tier) in lists {
            for name in names {
                if tiers.insert(name.clone(), tier).is_some() {
                    return refuse(format!("tool_tiers: `{name}` is named twice"));
                }
            }
        }
        Ok(tiers)
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, ToolError> {
    Err(ToolError::Settings(problem.into()))
}

/// Validated settings of the registry and its tools.
#[derive(Clone, Debug)]
pub struct ToolSettings {
    pub(super) tiers: BTreeMap<ToolName, Tier>,
    pub(super) base_risks: BTreeMap<ToolName, RiskScore>,
    pub(super) tool_execution_timeout: Duration,
    pub(super) allowed_environments: Vec<String>,
    pub(super) limits: Limits,
    pub(super) git: GitIdentity,
    pub(super) protected_files: ProtectedFiles,
}

/// The files that hold credentials, by pattern.
#[derive(Clone)]
pub(super) struct ProtectedFiles {
    matcher: Gitignore,
}

impl fmt::Debug for ProtectedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The matcher's own text is its compiled automata.
        write!(f, "ProtectedFiles({} patterns)", self.matcher.len())
    }
}

impl ProtectedFiles {
    fn new(patterns: &[String]) -> Result<Self, ToolError> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            if let Err(error) = builder.add_line(None, pattern) {
                return refuse(format!("protected_files: {error}"));
            }
        }
        let matcher = builder.build().map_err(|error| ToolError::Settings(format!("protected_files: {error}")))?;
        Ok(ProtectedFiles { matcher })
    }

    /// Refuses a file that a pattern names, in whatever directory.
    pub(super) fn check(&self, path: &WorkspacePath) -> Result<(), InvalidValue> {
        match self.matcher.matched_path_or_any_parents(path.as_str(), false) {
            ignore::Match::Ignore(glob) => Err(InvalidValue::CredentialFile {
                path: path.as_str().to_owned(),
                pattern: glob.original().to_owned(),
            }),
            ignore::Match::Whitelist(_) | ignore::Match::None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;

    /// The file that ships with the project.
    pub(crate) fn shipped() -> ToolConfig {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tool_config.yaml");
        crate::config::load_yaml_with(&path, "GUARDRAIL_TOOLS", []).unwrap()
    }

    fn refused(change: impl FnOnce(&mut ToolConfig)) -> String {
        let mut config = shipped();
        change(&mut config);
        config.tool_settings().unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_file_names_the_fifteen_and_says_what_the_code_defaults_to() {
        let config = shipped();
        let settings = config.tool_settings().unwrap();
        assert_eq!(settings.tiers.len(), 15);
        assert_eq!(config.risk_thresholds, Thresholds::default());
        assert_eq!(config.risk_modifiers.clone().without_evidence(), RiskModifiers::default());
        let bare = |evidence: &crate::risk::config::Evidence| {
            evidence.why.is_empty() || evidence.matches.is_empty() || evidence.not_match.is_empty()
        };
        assert_eq!(config.risk_modifiers.evidence().find(|(_, evidence)| bare(evidence)), None);
        assert_eq!(config.timeouts, Timeouts { authorization_timeout: 300, tool_execution_timeout: 600 });
        assert_eq!((config.limits, config.git.clone()), (Limits::default(), GitIdentity::default()));
        assert_eq!(config.allowed_environments, default_environments());
        assert_eq!(config.protected_files, default_protected_files());
        assert!(config.risk_policy().is_ok());
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        let name = |text: &str| -> ToolName { text.parse().unwrap() };
        assert_eq!(
            refused(|config| config.tool_tiers.tier1_safe.push(name("git_commit"))),
            "tool_config.yaml: tool_tiers: `git_commit` is named twice"
        );
        assert_eq!(
            refused(|config| config.base_risks.extend([(name("read_file"), RiskScore::MAX)])),
            "tool_config.yaml: base_risks: `read_file` is 1; a safe tool has 0.1 to 0.2"
        );
        assert_eq!(
            refused(|config| config.base_risks.extend([(name("read_fil"), RiskScore::MIN)])),
            "tool_config.yaml: base_risks: `read_fil` is in no tier (did you mean `read_file`?)"
        );
        assert!(refused(|config| config.allowed_environments.clear()).contains("allowed_environments"));
        assert!(refused(|config| config.timeouts.tool_execution_timeout = 0).contains("timeouts"));
        assert!(refused(|config| config.limits.search_matches_max = 0).contains("limits"));
        assert!(refused(|config| config.git.author_name = "a <b>".to_owned()).contains("git"));
        assert!(refused(|config| config.protected_files.push("[z-a]".to_owned())).contains("protected_files"));
    }

    #[test]
    fn credential_files_are_found_in_any_directory() {
        let files = shipped().tool_settings().unwrap().protected_files;
        let refused = |text: &str| files.check(&WorkspacePath::parse(text).unwrap()).is_err();
        assert!(
            [".env", "a/.env", "a/.env.local", "server.pem", "x/id_rsa", ".env/x"].iter().all(|path| refused(path))
        );
        assert!([".env.example", "env.py", "backend/auth.py", "key.py"].iter().all(|path| !refused(path)));
    }
}
