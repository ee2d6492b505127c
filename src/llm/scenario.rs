//! Scenario files: prompts and the steps that answer them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::PlannerError;
use super::template::{self, BadReference};
use crate::schema::ToolName;

/// Largest scenario file, in bytes.
const SCENARIO_BYTES_MAX: u64 = 1024 * 1024;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub prompts: Vec<Script>,
}

/// What happens on one prompt.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ScriptFields")]
pub(super) struct Script {
    pub prompt: String,
    pub branch: Branch,
}

/// A script as it is written: the keys of its branch stand beside its prompt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFields {
    prompt: String,
    #[serde(default)]
    steps: Vec<Step>,
    answer: String,
}

impl From<ScriptFields> for Script {
    fn from(fields: ScriptFields) -> Self {
        Script { prompt: fields.prompt, branch: Branch { steps: fields.steps, answer: fields.answer } }
    }
}

/// Steps in their order, and what is said at their end.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Branch {
    #[serde(default)]
    pub steps: Vec<Step>,
    pub answer: String,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub id: String,
    pub thought: String,
    pub tool: ToolName,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Goes on here, in place of what follows, when people refused the call.
    #[serde(default)]
    pub on_denied: Option<Branch>,
    /// The same when it failed.
    #[serde(default)]
    pub on_error: Option<Branch>,
}

impl Scenario {
    /// Reads and checks a file.
    pub(super) fn load(path: &Path) -> Result<Self, PlannerError> {
        let problem = |problem: String| PlannerError::Scenario { path: path.to_owned(), problem };
        let text = read(path)?;
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        let scenario: Scenario =
            serde_saphyr::from_str_with_options(&text, options).map_err(|error| problem(error.to_string()))?;
        scenario.check().map_err(problem)?;
        Ok(scenario)
    }

    /// The script of a prompt, compared without case, spacing and closing punctuation.
    pub(super) fn find(&self, prompt: &str) -> Option<&Script> {
        let wanted = normalised(prompt);
        self.prompts.iter().find(|script| normalised(&script.prompt) == wanted)
    }

    fn check(&self) -> Result<(), String> {
        let mut prompts = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for script in &self.prompts {
            if !prompts.insert(normalised(&script.prompt)) {
                return Err(format!("the prompt `{}` is there twice", script.prompt));
            }
            for step in steps_of(&script.branch) {
                let well_formed = step.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if step.id.is_empty() || !well_formed {
                    return Err(format!("`{}` is not a step's id: expected lower-case letters, digits and _", step.id));
                }
                if !ids.insert(step.id.as_str()) {
                    return Err(format!("the step `{}` is there twice", step.id));
                }
            }
        }
        self.prompts.iter().try_for_each(|script| check_branch(&script.branch, &ids))
    }
}

/// The steps of a branch and of the branches in it.
fn steps_of(branch: &Branch) -> Vec<&Step> {
    let mut found = Vec::new();
    for step in &branch.steps {
        found.push(step);
        for inner in [&step.on_denied, &step.on_error].into_iter().flatten() {
            found.extend(steps_of(inner));
        }
    }
    found
}

/// Every text refers only to steps that the file holds.
fn check_branch(branch: &Branch, ids: &BTreeSet<&str>) -> Result<(), String> {
    let known = |place: &str, references: Result<Vec<&str>, BadReference>| {
        let references = references.map_err(|bad| format!("{place}: `{}`: {}", bad.reference, bad.problem))?;
        match references.into_iter().find(|id| !ids.contains(id)) {
            Some(id) => Err(format!("{place} refers to the step `{id}`, which the file does not hold")),
            None => Ok(()),
        }
    };
    known("an answer", template::references(&branch.answer))?;
    for step in &branch.steps {
        let place = format!("step `{}`", step.id);
        known(&place, template::references(&step.thought))?;
        step.parameters.values().try_for_each(|value| known(&place, template::references_in(value)))?;
        for inner in [&step.on_denied, &step.on_error].into_iter().flatten() {
            check_branch(inner, ids)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, PlannerError> {
    let failed = |source| PlannerError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed)?.take(SCENARIO_BYTES_MAX + 1);
    file.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SCENARIO_BYTES_MAX {
        return Err(PlannerError::TooLarge { path: path.to_owned(), limit: SCENARIO_BYTES_MAX });
    }
    Ok(text)
}

fn normalised(prompt: &str) -> String {
    let words: Vec<String> = prompt.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").trim_matches(['.', '!', '?', '"', '\'', ' ']).to_owned()
}
