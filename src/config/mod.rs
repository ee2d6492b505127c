//! Loads a YAML file into its owner's type, once, with errors that say where and what instead.
//!
//! Scalars can be overridden from the environment: `PREFIX__SECTION__KEY=value` sets
//! `section.key` of the file whose prefix is `PREFIX`. The types belong to the modules
//! that use them; nothing here knows any of their keys.

mod overrides;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};

use crate::suggest;

/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Why a configuration could not be used. Every text names the file or the variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is larger than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}: not UTF-8 text", path.display())]
    NotUtf8 { path: PathBuf },
    /// The file says something that its type does not allow.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Content { path: PathBuf, line: u64, column: u64, problem: String },
    /// An environment variable names no scalar of the file or holds the wrong type.
    #[error("environment variable {variable}: {problem}")]
    Override { variable: String, problem: String },
    #[error("{}: cannot apply environment overrides to this type: {detail}", path.display())]
    NotOverridable { path: PathBuf, detail: String },
}

/// Reads `path` into `T` and applies the overrides that begin with `env_prefix` and two underscores.
///
/// # Errors
/// Unknown keys and wrong types with file, line, column and the nearest right name;
/// an override with the name of its variable.
pub fn load_yaml<T: DeserializeOwned + Serialize>(path: &Path, env_prefix: &str) -> Result<T, ConfigError> {
    // A variable that is not UTF-8 cannot be meant for us unless its name is; the name decides.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(env_prefix))
        .map(|(variable, value)| match value.into_string() {
            Ok(value) => Ok((variable, value)),
            Err(_) => Err(ConfigError::Override { variable, problem: "its value is not UTF-8".to_owned() }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    load_yaml_with(path, env_prefix, variables)
}

/// Reads `path` into `T`, and nothing else: what a verifier pins must not move with the environment.
///
/// # Errors
/// As [`load_yaml`], of the file alone.
pub fn load_yaml_pinned<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse(path, &read_limited(path)?)
}

/// [`load_yaml`] with the environment as an argument.
///
/// # Errors
/// As [`load_yaml`].
pub fn load_yaml_with<T: DeserializeOwned + Serialize>(
    path: &Path,
    env_prefix: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let text = read_limited(path)?;
    let value = parse(path, &text)?;
    overrides::apply(path, value, env_prefix, variables)
}

fn read_limited(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::NotUtf8 { path: path.to_owned() })
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location();
        ConfigError::Content {
            path: path.to_owned(),
            line: location.map_or(1, |at| at.line()),
            column: location.map_or(1, |at| at.column()),
            problem: problem_of(&error),
        }
    })
}

/// What is wrong, without the place, with the nearest right name where there is one.
fn problem_of(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::SerdeUnknownField { field, expected, .. } = error {
        let hint = suggest::did_you_mean(field, expected.iter().copied());
        return format!("unknown key `{field}`{hint}; known here: {}", expected.join(", "));
    }
    if let serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } = error {
        let hint = suggest::did_you_mean(variant, expected.iter().copied());
        return format!("unknown value `{variant}`{hint}; one of: {}", expected.join(", "));
    }
    DefaultMessageFormatter.format_message(error).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        agent: Agent,
        llm: Llm,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Agent {
        max_iterations: u32,
        #[serde(default)]
        debug: bool,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Llm {
        model: String,
        temperature: f64,
        seed: Option<u64>,
    }

    const GOOD: &str = "agent:\n  max_iterations: 20\nllm:\n  model: gpt-4\n  temperature: 0.1\n";

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Sample, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let name = file.path().display().to_string();
        load_yaml_with(file.path(), "GUARDRAIL_AGENT", variables).map_err(|e| e.to_string().replace(&name, "F"))
    }

    fn sample(max_iterations: u32, model: &str, temperature: f64, seed: Option<u64>, debug: bool) -> Sample {
        Sample { agent: Agent { max_iterations, debug }, llm: Llm { model: model.to_owned(), temperature, seed } }
    }

    #[test]
    fn reads_a_file_into_its_type() {
        assert_eq!(load(GOOD, &[]), Ok(sample(20, "gpt-4", 0.1, None, false)));
    }

    #[test]
    fn names_file_line_and_nearest_key() {
        assert_eq!(
            load(&GOOD.replace("max_iterations", "max_iteration"), &[]).unwrap_err(),
            "F:2:3: unknown key `max_iteration` (did you mean `max_iterations`?); known here: max_iterations, debug"
        );
    }

    #[test]
    fn refuses_wrong_types_duplicates_and_what_is_missing_with_their_line() {
        let first = |text: &str| load(text, &[]).unwrap_err();
        assert_eq!(first(&GOOD.replace("20", "many")), "F:2:19: invalid u32");
        assert_eq!(
            first(&GOOD.replace("20", "20\n  debug: yes")),
            "F:3:10: invalid boolean (strict mode expects true/false)"
        );
        assert!(first(&format!("{GOOD}agent:\n  max_iterations: 3\n")).starts_with("F:6:1: duplicate mapping key"));
        assert!(first(&GOOD.replace("  model: gpt-4\n", "")).contains("missing field `model`"));
        assert!(first("agent: [").starts_with("F:"));
    }

    #[test]
    fn overrides_scalars_from_the_environment() {
        let variables = [
            ("GUARDRAIL_AGENT__LLM__MODEL", "other"),
            ("GUARDRAIL_AGENT__LLM__TEMPERATURE", "1"),
            ("GUARDRAIL_AGENT__LLM__SEED", "7"),
            ("GUARDRAIL_AGENT__AGENT__DEBUG", "true"),
            ("GUARDRAIL_AGENT__AGENT__MAX_ITERATIONS", "5"),
            ("GUARDRAIL_AGENTS__LLM__MODEL", "not ours"),
        ];
        assert_eq!(load(GOOD, &variables), Ok(sample(5, "other", 1.0, Some(7), true)));
    }

    #[test]
    fn an_override_that_fits_nothing_names_its_variable() {
        let fails = |name: &str, value: &str| load(GOOD, &[(name, value)]).unwrap_err();
        assert_eq!(
            fails("GUARDRAIL_AGENT__LLM__MODLE", "x"),
            "environment variable GUARDRAIL_AGENT__LLM__MODLE: F has no key `llm.modle` (did you mean `model`?)"
        );
        assert_eq!(
            fails("GUARDRAIL_AGENT__LLM", "x"),
            "environment variable GUARDRAIL_AGENT__LLM: `llm` of F is a section or a list, only a single value can be overridden"
        );
        assert_eq!(
            fails("GUARDRAIL_AGENT__AGENT__MAX_ITERATIONS", "few"),
            "environment variable GUARDRAIL_AGENT__AGENT__MAX_ITERATIONS: `agent.max_iterations` of F expects a number"
        );
        assert_eq!(
            fails("GUARDRAIL_AGENT__AGENT__DEBUG", "yes"),
            "environment variable GUARDRAIL_AGENT__AGENT__DEBUG: `agent.debug` of F expects true or false"
        );
        assert!(
            fails("GUARDRAIL_AGENT__AGENT__MAX_ITERATIONS", "-1")
                .contains("MAX_ITERATIONS: `agent.max_iterations` of F: invalid value")
        );
    }

    #[test]
    fn a_large_or_absent_file_is_refused() {
        assert_eq!(load(&"#".repeat(CONFIG_BYTES_MAX as usize + 1), &[]).unwrap_err(), "F is larger than 262144 bytes");
        let absent = load_yaml_with::<Sample>(Path::new("/nonexistent/x.yaml"), "P", []).unwrap_err();
        assert_eq!(absent.to_string(), "cannot read /nonexistent/x.yaml");
    }
}
