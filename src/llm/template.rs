//! Texts that refer to earlier results: `{{step.field}}`.
//!
//! A reference is a step's id and a path into its result. `*` stands for every element of a
//! list, one a line. Two opening braces always begin a reference.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Results by the id of their step.
pub(super) type Results<'a> = BTreeMap<&'a str, &'a Value>;

/// A reference that stands for nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadReference {
    pub reference: String,
    pub problem: String,
}

enum Piece<'t> {
    Text(&'t str),
    Reference(&'t str),
}

/// The ids of the steps that a text refers to.
pub(super) fn references(text: &str) -> Result<Vec<&str>, BadReference> {
    let step_of = |piece| match piece {
        Piece::Text(_) => None,
        Piece::Reference(reference) => Some(split(reference).0),
    };
    Ok(pieces(text)?.into_iter().filter_map(step_of).collect())
}

/// The ids of the steps that any text of a value refers to.
pub(super) fn references_in(value: &Value) -> Result<Vec<&str>, BadReference> {
    match value {
        Value::String(text) => references(text),
        Value::Array(items) => collect(items.iter()),
        Value::Object(map) => collect(map.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Vec::new()),
    }
}

fn collect<'v>(values: impl Iterator<Item = &'v Value>) -> Result<Vec<&'v str>, BadReference> {
    let nested = values.map(references_in).collect::<Result<Vec<_>, _>>()?;
    Ok(nested.into_iter().flatten().collect())
}

/// A text with its references filled in.
pub(super) fn render(text: &str, results: &Results<'_>) -> Result<String, BadReference> {
    pieces(text)?.into_iter().try_fold(String::new(), |mut rendered, piece| {
        match piece {
            Piece::Text(text) => rendered.push_str(text),
            Piece::Reference(reference) => rendered.push_str(&shown(&value_of(reference, results)?)),
        }
        Ok(rendered)
    })
}

/// A value with the references in its texts filled in. A text that is one reference and
/// nothing else becomes the value itself, so that a number stays a number.
pub(super) fn render_value(value: &Value, results: &Results<'_>) -> Result<Value, BadReference> {
    Ok(match value {
        Value::String(text) => match pieces(text)?.as_slice() {
            [Piece::Reference(reference)] => value_of(reference, results)?,
            _ => Value::String(render(text, results)?),
        },
        Value::Array(items) => items.iter().map(|item| render_value(item, results)).collect::<Result<_, _>>()?,
        Value::Object(map) => Value::Object(render_map(map, results)?),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// [`render_value`] for every value of a map.
pub(super) fn render_map(map: &Map<String, Value>, results: &Results<'_>) -> Result<Map<String, Value>, BadReference> {
    map.iter().map(|(name, value)| Ok((name.clone(), render_value(value, results)?))).collect()
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadReference> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((reference, behind)) = after.split_once("}}") else {
            let reference = after.lines().next().unwrap_or_default().to_owned();
            return Err(BadReference { reference, problem: "`{{` is never closed".to_owned() });
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let reference = reference.trim();
        let well_formed = reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'*'));
        if !well_formed || reference.split('.').any(str::is_empty) {
            let problem = "expected a step's id and a path, as in {{step.field}}".to_owned();
            return Err(BadReference { reference: reference.to_owned(), problem });
        }
        pieces.push(Piece::Reference(reference));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn split(reference: &str) -> (&str, &str) {
    reference.split_once('.').unwrap_or((reference, ""))
}

fn value_of(reference: &str, results: &Results<'_>) -> Result<Value, BadReference> {
    let (step, path) = split(reference);
    let bad = |problem: String| BadReference { reference: reference.to_owned(), problem };
    let Some(result) = results.get(step) else {
        return Err(bad(format!("step `{step}` has no result in this conversation")));
    };
    let keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
    follow(result, &keys).map_err(|key| bad(format!("its result has no `{key}`")))
}

fn follow(value: &Value, keys: &[&str]) -> Result<Value, String> {
    let Some((key, rest)) = keys.split_first() else { return Ok(value.clone()) };
    match value {
        Value::Array(items) if *key == "*" => {
            let lines = items.iter().map(|item| follow(item, rest).map(|found| shown(&found)));
            Ok(Value::String(lines.collect::<Result<Vec<_>, _>>()?.join("\n")))
        }
        Value::Array(items) => {
            let found = key.parse::<usize>().ok().and_then(|at| items.get(at));
            follow(found.ok_or_else(|| (*key).to_owned())?, rest)
        }
        Value::Object(map) => follow(map.get(*key).ok_or_else(|| (*key).to_owned())?, rest),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err((*key).to_owned()),
    }
}

/// A value as text: a text as it is, anything else as JSON.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(text: &str, results: &Results<'_>) -> (String, String) {
        let bad = render(text, results).unwrap_err();
        (bad.reference, bad.problem)
    }

    #[test]
    fn fills_in_fields_elements_and_lists() {
        let found = json!([{"file": "a", "line": 1}, {"file": "b", "line": 2}]);
        let commit = json!({"hash": "c0ffee", "size": {"files": 3}});
        let results = Results::from([("found", &found), ("commit", &commit)]);
        let text = "{{commit.hash}}: {{ commit.size.files }} files, first {{found.0.file}}, all\n{{found.*.line}}";
        assert_eq!(render(text, &results), Ok("c0ffee: 3 files, first a, all\n1\n2".to_owned()));
        assert_eq!(render("no { reference }", &results), Ok("no { reference }".to_owned()));
        let value = json!({"line": "{{found.1.line}}", "list": ["line {{found.1.line}}"], "flag": true});
        assert_eq!(render_value(&value, &results), Ok(json!({"line": 2, "list": ["line 2"], "flag": true})));
        assert_eq!(references_in(&value), Ok(vec!["found", "found"]));
    }

    #[test]
    fn names_a_reference_that_stands_for_nothing() {
        let commit = json!({"hash": "c0ffee"});
        let results = Results::from([("commit", &commit)]);
        let pair = |reference: &str, why: &str| (reference.to_owned(), why.to_owned());
        assert_eq!(
            problem("{{tests.passed}}", &results),
            pair("tests.passed", "step `tests` has no result in this conversation")
        );
        assert_eq!(problem("{{commit.id}}", &results), pair("commit.id", "its result has no `id`"));
        assert_eq!(problem("{{commit.hash.x}}", &results), pair("commit.hash.x", "its result has no `x`"));
        assert_eq!(problem("{{commit", &results), pair("commit", "`{{` is never closed"));
        assert_eq!(problem("{{a b}}", &results).1, "expected a step's id and a path, as in {{step.field}}");
        assert_eq!(problem("{{}}", &results).0, "");
    }
}
