//! Environment variables over a loaded configuration.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ConfigError;
use crate::suggest;

/// Sets the scalars that the variables name, one after another, so that a value which the
/// type refuses is reported under its own variable.
pub(super) fn apply<T: DeserializeOwned + Serialize>(
    path: &Path,
    mut value: T,
    prefix: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut ours: Vec<(String, String)> =
        variables.into_iter().filter(|(name, _)| segments(name, prefix).is_some()).collect();
    ours.sort();
    for (variable, text) in ours {
        let Some(keys) = segments(&variable, prefix) else { continue };
        let fail = |problem: String| ConfigError::Override { variable: variable.clone(), problem };
        let mut tree = serde_json::to_value(&value)
            .map_err(|e| ConfigError::NotOverridable { path: path.to_owned(), detail: e.to_string() })?;
        set(&mut tree, path, &keys, &text).map_err(fail)?;
        value = serde_json::from_value(tree)
            .map_err(|e| fail(format!("`{}` of {}: {e}", keys.join("."), path.display())))?;
    }
    Ok(value)
}

/// `PREFIX__A__B` as `["a", "b"]`; nothing for a variable of another prefix.
fn segments(variable: &str, prefix: &str) -> Option<Vec<String>> {
    let rest = variable.strip_prefix(prefix)?.strip_prefix("__")?;
    Some(rest.split("__").map(str::to_lowercase).collect())
}

fn set(tree: &mut Value, path: &Path, keys: &[String], text: &str) -> Result<(), String> {
    let dotted = keys.join(".");
    let file = path.display();
    let mut at = tree;
    for key in keys {
        let Value::Object(map) = at else {
            return Err(format!("{file} has no key `{dotted}`"));
        };
        if !map.contains_key(key) {
            let hint = suggest::did_you_mean(key, map.keys().map(String::as_str));
            return Err(format!("{file} has no key `{dotted}`{hint}"));
        }
        at = &mut map[key];
    }
    *at = match at {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Bool(_) => {
            text.parse().map(Value::Bool).map_err(|_| format!("`{dotted}` of {file} expects true or false"))?
        }
        Value::Number(_) => {
            text.parse().map(Value::Number).map_err(|_| format!("`{dotted}` of {file} expects a number"))?
        }
        // An option that is not set says nothing about its type: the narrowest reading that fits.
        Value::Null => serde_json::from_str(text)
            .ok()
            .filter(|value: &Value| value.is_number() || value.is_boolean())
            .unwrap_or_else(|| Value::String(text.to_owned())),
        Value::Object(_) | Value::Array(_) => {
            return Err(format!("`{dotted}` of {file} is a section or a list, only a single value can be overridden"));
        }
    };
    Ok(())
}
