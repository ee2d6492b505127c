//! What the parameters of an action say about it.

use serde_json::{Map, Value};

use super::config::RiskModifiers;
use crate::schema::ToolName;

/// Parameters that hold prose or content; what they mention is not what is touched.
const FREE_TEXT: [&str; 5] = ["content", "message", "query", "reasoning", "value"];

/// Parameters that say what is done rather than to what.
const VERBS: [&str; 5] = ["action", "command", "method", "mode", "operation"];

/// Longest value shown in a justification, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// The traits found, each as what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    pub production: Option<String>,
    pub secrets_path: Option<String>,
    pub destructive: Option<String>,
}

/// Reads the traits of an action. Every string outside the free texts counts, whatever its
/// parameter is called, so that a tool nobody has thought of is scored too.
pub(super) fn find(config: &RiskModifiers, tool_name: &ToolName, parameters: &Map<String, Value>) -> Traits {
    let targets = || strings(parameters, |name| !FREE_TEXT.contains(&name));
    let verbs = strings(parameters, |name| VERBS.contains(&name));
    let is_production = |text: &str| config.production.environments.iter().any(|name| same(name, text));
    let is_secret = |text: &str| {
        let text = text.to_lowercase();
        config.secrets_path.contains.iter().any(|part| text.contains(&part.to_lowercase()))
    };
    let destructive = |text: &str| {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| config.destructive.words.iter().any(|verb| same(verb, word))).map(str::to_owned).next()
    };
    Traits {
        production: targets().into_iter().find(|text| is_production(text)).map(shown),
        secrets_path: targets().into_iter().find(|text| is_secret(text)).map(shown),
        destructive: std::iter::once(tool_name.as_str()).chain(verbs).find_map(destructive),
    }
}

fn same(name: &str, text: &str) -> bool {
    name.to_lowercase() == text.trim().to_lowercase()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

fn strings(parameters: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open: Vec<&Value> = parameters.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| value).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.push(text.as_str()),
            Value::Array(items) => open.extend(items),
            Value::Object(map) => open.extend(map.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found.sort_unstable();
    found
}
