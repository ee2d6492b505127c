//! Strict JSON: what RFC 8785 can canonicalise without two readers disagreeing.
//!
//! A scan over the raw bytes bounds nesting and integer literals before anything is
//! allocated; serde_json then parses into a tree that refuses duplicate names.

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

use super::rule::{Refusal, Rule};

/// Deepest nesting of arrays and objects that a message may have.
pub const NESTING_MAX: usize = 32;

/// Largest magnitude of an integer literal: 2⁵³ − 1, what every JSON reader holds exactly.
pub const INTEGER_MAX: u64 = 9_007_199_254_740_991;

const DUPLICATE_MARK: &str = "duplicate name";
const NUL_MARK: &str = "U+0000 in a string";

/// Parses one JSON text under the protocol's rules.
///
/// # Errors
/// A [`Refusal`] with the first rule the bytes break; nothing is canonicalised or
/// hashed before all of them hold.
pub fn parse_strict(bytes: &[u8]) -> Result<Value, Refusal> {
    parse_strict_within(bytes, NESTING_MAX)
}

/// [`parse_strict`] for what holds whole messages, and so nests deeper than one.
///
/// # Errors
/// As [`parse_strict`].
pub fn parse_strict_within(bytes: &[u8], nesting_max: usize) -> Result<Value, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Refusal::new(Rule::NotUtf8, format!("invalid UTF-8 after byte {}", e.valid_up_to())))?;
    scan(text.as_bytes(), nesting_max)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = StrictValue.deserialize(&mut deserializer).map_err(classify)?;
    deserializer.end().map_err(classify)?;
    Ok(value)
}

/// Canonical JSON (RFC 8785) of a parsed tree, or of what serialises to one.
///
/// # Errors
/// None for a tree that [`parse_strict`] returned; a tree built in memory with a number
/// that JSON cannot hold is refused.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json_canonicalizer::to_vec(value).map_err(|e| Refusal::new(Rule::NotJson, e.to_string()))
}

/// How deep arrays and objects nest in a tree; 0 for a scalar. Recurses as deep as the tree is.
pub fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn classify(error: serde_json::Error) -> Refusal {
    let detail = error.to_string();
    let rule = if detail.starts_with(DUPLICATE_MARK) {
        Rule::DuplicateName
    } else if detail.starts_with(NUL_MARK) {
        Rule::NulCharacter
    } else if detail.contains("surrogate") || detail.contains("unexpected end of hex escape") {
        Rule::LoneSurrogate
    } else if detail.contains("number out of range") {
        Rule::NumberOverflow
    } else {
        Rule::NotJson
    };
    Refusal::new(rule, detail)
}

/// Bounds nesting and integer literals in one pass, without allocating.
fn scan(bytes: &[u8], nesting_max: usize) -> Result<(), Refusal> {
    let mut depth = 0usize;
    let mut at = 0usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'[' | b'{' => {
                depth += 1;
                if depth > nesting_max {
                    return Err(Refusal::new(Rule::Nesting, format!("deeper than {nesting_max} levels at byte {at}")));
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                check_integer(&bytes[at..end], at)?;
                at = end;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    let length = rest.iter().position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
    start + length.unwrap_or(rest.len())
}

fn check_integer(literal: &[u8], at: usize) -> Result<(), Refusal> {
    let digits = literal.strip_prefix(b"-").unwrap_or(literal);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    let magnitude = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u64>().ok());
    match magnitude {
        Some(value) if value <= INTEGER_MAX => Ok(()),
        // An empty digit string is a syntax error that the parser names better.
        None if digits.is_empty() => Ok(()),
        _ => Err(Refusal::new(Rule::IntegerRange, format!("integer literal at byte {at} is beyond ±(2^53-1)"))),
    }
}

struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn without_nul<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom(NUL_MARK)) } else { Ok(()) }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        without_nul(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        without_nul(&value)?;
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(StrictValue)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            without_nul(&name)?;
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{DUPLICATE_MARK} {name:?}")));
            }
            let value = access.next_value_seed(StrictValue)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &[u8]) -> Rule {
        parse_strict(text).unwrap_err().rule
    }

    #[test]
    fn accepts_what_the_rules_allow() {
        let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse_strict(deep.as_bytes()).is_ok());
        let value = parse_strict(
            br#"{"big": 1e21, "max": -9007199254740991, "zero": -0.0, "s": "\ud83d\ude02 9007199254740993 [[["}"#,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            r#"{"big":1e+21,"max":-9007199254740991,"s":"😂 9007199254740993 [[[","zero":0}"#
        );
    }

    #[test]
    fn names_the_broken_rule() {
        assert_eq!(rule(br#"{"a":1,"\u0061":2}"#), Rule::DuplicateName);
        assert_eq!(rule(br#"{"a":{"b":1,"b":1}}"#), Rule::DuplicateName);
        assert_eq!(rule(br#"["\ud800"]"#), Rule::LoneSurrogate);
        assert_eq!(rule(br#"["\ud800x"]"#), Rule::LoneSurrogate);
        assert_eq!(rule(br#"["\udc00"]"#), Rule::LoneSurrogate);
        assert_eq!(rule(br#"{"\u0000":1}"#), Rule::NulCharacter);
        assert_eq!(rule(b"[9007199254740992]"), Rule::IntegerRange);
        assert_eq!(rule(b"[-123456789012345678901234567890]"), Rule::IntegerRange);
        assert_eq!(rule(b"[1e400]"), Rule::NumberOverflow);
        assert_eq!(rule("[".repeat(1_000_000).as_bytes()), Rule::Nesting);
        assert_eq!(rule(b"{\"a\":\"\xff\"}"), Rule::NotUtf8);
        assert_eq!(rule(b"{} {}"), Rule::NotJson);
        assert_eq!(rule(b"{\"a\":-}"), Rule::NotJson);
        assert_eq!(rule(b""), Rule::NotJson);
    }
}
