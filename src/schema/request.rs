//! The `AuthRequest`: everything an approver decides on (PROTOCOL section 2).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::ids::{RequestId, RiskScore, Sha256Digest, Timestamp, ToolName};
use super::json;
use super::rule::{Refusal, Rule};

/// Longest `reasoning`, in bytes.
pub const REASONING_BYTES_MAX: usize = 8 * 1024;
/// Longest `agent_state_checkpoint`, `agent_id` and impact strings, in bytes.
pub const LABEL_BYTES_MAX: usize = 512;

/// What the agent estimates an action would touch, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimatedImpact {
    pub users_affected: String,
    pub downtime_risk: String,
    pub data_risk: String,
}

/// The fields of a request, in their types. `None` means that the field is absent:
/// `null` is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFields {
    pub request_id: RequestId,
    pub timestamp: Timestamp,
    pub tool_name: ToolName,
    pub parameters: Map<String, Value>,
    pub agent_state_checkpoint: String,
    pub action_hash: Sha256Digest,
    pub risk_score: RiskScore,
    pub estimated_impact: EstimatedImpact,
    pub reasoning: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<Sha256Digest>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
}

/// A request together with the tree it was parsed from; hashes are taken over the tree,
/// never over the typed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthRequest {
    fields: RequestFields,
    tree: Value,
}

impl AuthRequest {
    /// Parses a request from the bytes of a file.
    ///
    /// # Errors
    /// The first rule of PROTOCOL sections 1 and 2 that the bytes break. Freshness, replay,
    /// the action hash and the risk floor are for who knows the clock, the journal and the
    /// configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::from_tree(json::parse_strict(bytes)?)
    }

    /// Builds a request from a parsed tree.
    ///
    /// # Errors
    /// As [`AuthRequest::parse`].
    pub fn from_tree(tree: Value) -> Result<Self, Refusal> {
        if !tree.is_object() {
            return Err(Refusal::new(Rule::NotAnObject, "an AuthRequest is a JSON object"));
        }
        let fields = RequestFields::deserialize(&tree).map_err(field_refusal)?;
        check_limits(&fields)?;
        for (name, value) in &fields.parameters {
            check_parameter(name, value, true)?;
        }
        Ok(AuthRequest { fields, tree })
    }

    /// Builds a request from typed fields, as the agent does.
    ///
    /// # Errors
    /// As [`AuthRequest::parse`].
    pub fn from_fields(fields: RequestFields) -> Result<Self, Refusal> {
        let tree = serde_json::to_value(&fields).map_err(|e| Refusal::new(Rule::NotJson, e.to_string()))?;
        Self::parse(&json::canonical(&tree)?)
    }

    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// Canonical bytes of the whole request.
    ///
    /// # Errors
    /// None for a parsed request.
    pub fn canonical(&self) -> Result<Vec<u8>, Refusal> {
        json::canonical(&self.tree)
    }
}

impl std::ops::Deref for AuthRequest {
    type Target = RequestFields;

    fn deref(&self) -> &RequestFields {
        &self.fields
    }
}

/// Reads the `request_id` of a file that may break other rules, so that its sender can be answered.
pub fn peek_request_id(tree: &Value) -> Option<RequestId> {
    tree.get("request_id").and_then(Value::as_str).and_then(|text| text.parse().ok())
}

/// Refuses `null` for an optional field: a field is there or it is not.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Tells a broken field name from a broken field value, by serde's own wording.
pub fn field_refusal(error: serde_json::Error) -> Refusal {
    let detail = error.to_string();
    let names = detail.starts_with("unknown field") || detail.starts_with("missing field");
    Refusal::new(if names { Rule::UnknownOrMissingField } else { Rule::FieldValue }, detail)
}

fn check_limits(fields: &RequestFields) -> Result<(), Refusal> {
    let limit = |name: &str, value: &str, max: usize| {
        if value.len() <= max {
            Ok(())
        } else {
            Err(Refusal::new(Rule::FieldValue, format!("{name} has {} bytes, at most {max} are allowed", value.len())))
        }
    };
    limit("reasoning", &fields.reasoning, REASONING_BYTES_MAX)?;
    limit("agent_state_checkpoint", &fields.agent_state_checkpoint, LABEL_BYTES_MAX)?;
    limit("agent_id", fields.agent_id.as_deref().unwrap_or_default(), LABEL_BYTES_MAX)?;
    limit("users_affected", &fields.estimated_impact.users_affected, LABEL_BYTES_MAX)?;
    limit("downtime_risk", &fields.estimated_impact.downtime_risk, LABEL_BYTES_MAX)?;
    limit("data_risk", &fields.estimated_impact.data_risk, LABEL_BYTES_MAX)?;
    match &fields.salt {
        Some(salt) if salt.len() != 32 || salt.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            Err(Refusal::new(Rule::FieldValue, "salt: expected 32 lower-case hex digits"))
        }
        _ => Ok(()),
    }
}

/// `$resolved` may stand at the top of `parameters`, `$sealed` alone in an object; any other
/// name that begins with `$` is reserved.
fn check_parameter(name: &str, value: &Value, top: bool) -> Result<(), Refusal> {
    if name.starts_with('$') && !(top && name == "$resolved" && value.is_object()) {
        return Err(Refusal::new(Rule::ReservedKey, format!("parameters hold the reserved key {name:?}")));
    }
    check_nested(value)
}

fn check_nested(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Object(map) if is_seal(map) => Ok(()),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| check_parameter(name, value, false)),
        Value::Array(items) => items.iter().try_for_each(check_nested),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn is_seal(map: &Map<String, Value>) -> bool {
    let digest = map.get("$sealed").and_then(Value::as_str);
    map.len() == 1 && digest.is_some_and(|text| text.parse::<Sha256Digest>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree() -> Value {
        json!({
            "request_id": "0193a1b2-0000-7000-8000-000000000001",
            "timestamp": "2026-11-22T12:00:00.000Z",
            "tool_name": "delete_database",
            "parameters": {"db_name": "users", "$resolved": {"host": "db-1"}, "value": {"$sealed": "00".repeat(32)}},
            "agent_state_checkpoint": "thread/1",
            "action_hash": "00".repeat(32),
            "risk_score": 0.9,
            "estimated_impact": {"users_affected": "all", "downtime_risk": "high", "data_risk": "high"},
            "reasoning": "because"
        })
    }

    fn with(pointer: &str, value: Value) -> Result<AuthRequest, Refusal> {
        let mut tree = tree();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        tree.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        AuthRequest::from_tree(tree)
    }

    #[test]
    fn a_whole_request_parses_and_serialises_to_its_own_tree() {
        let request = AuthRequest::from_tree(tree()).unwrap();
        let again = AuthRequest::from_fields((*request).clone()).unwrap();
        assert_eq!(again.canonical(), request.canonical());
    }

    #[test]
    fn refuses_each_broken_field_by_its_rule() {
        let rule = |pointer: &str, value: Value| with(pointer, value).unwrap_err().rule;
        assert_eq!(rule("/surprise", json!(1)), Rule::UnknownOrMissingField);
        assert_eq!(rule("/estimated_impact/extra", json!("x")), Rule::UnknownOrMissingField);
        assert_eq!(rule("/salt", Value::Null), Rule::FieldValue);
        assert_eq!(rule("/salt", json!("ABCD")), Rule::FieldValue);
        assert_eq!(rule("/context", Value::Null), Rule::FieldValue);
        assert_eq!(rule("/risk_score", json!(1.5)), Rule::FieldValue);
        assert_eq!(rule("/risk_score", json!(0.12345)), Rule::FieldValue);
        assert_eq!(rule("/timestamp", json!("2026-11-22T12:00:00Z")), Rule::FieldValue);
        assert_eq!(rule("/reasoning", json!("x".repeat(REASONING_BYTES_MAX + 1))), Rule::FieldValue);
        assert_eq!(rule("/parameters/$other", json!(1)), Rule::ReservedKey);
        assert_eq!(rule("/parameters/$resolved", json!("main")), Rule::ReservedKey);
        assert_eq!(rule("/parameters/value/$resolved", json!({})), Rule::ReservedKey);
        assert_eq!(rule("/parameters/value/also", json!({})), Rule::ReservedKey);
        assert_eq!(AuthRequest::from_tree(json!([])).unwrap_err().rule, Rule::NotAnObject);
    }
}
