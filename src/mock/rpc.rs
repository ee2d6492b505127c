//! JSON-RPC 2.0: one call or several in one body, each answered by [`super::eth`].

use alloy::primitives::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Calls in one body.
pub const CALLS_PER_BATCH_MAX: usize = 256;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcFailure {
    pub code: i64,
    pub message: String,
    pub data: Option<Bytes>,
}

impl RpcFailure {
    pub const PARSE: i64 = -32700;
    pub const INVALID_REQUEST: i64 = -32600;
    pub const NO_METHOD: i64 = -32601;
    pub const INVALID_PARAMS: i64 = -32602;
    pub const INTERNAL: i64 = -32603;
    /// What geth answers to a transaction that it does not take.
    pub const REJECTED: i64 = -32000;
    /// Too many logs for one answer (EIP-1474).
    pub const LIMIT: i64 = -32005;
    /// A call that reverted.
    pub const REVERTED: i64 = 3;

    pub fn new(code: i64, message: impl Into<String>) -> Self {
        RpcFailure { code, message: message.into(), data: None }
    }

    pub fn params(message: impl Into<String>) -> Self {
        RpcFailure::new(Self::INVALID_PARAMS, message)
    }
}

/// The positional parameters of one call.
pub struct Params(Vec<Value>);

impl Params {
    /// A parameter that must be there.
    ///
    /// # Errors
    /// [`RpcFailure::INVALID_PARAMS`].
    pub fn get<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<T, RpcFailure> {
        self.optional(index, name)?.ok_or_else(|| RpcFailure::params(format!("missing parameter {index}: {name}")))
    }

    /// A parameter that may be missing or null.
    ///
    /// # Errors
    /// [`RpcFailure::INVALID_PARAMS`] where it is there and no `T`.
    pub fn optional<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<Option<T>, RpcFailure> {
        let Some(value) = self.0.get(index).filter(|value| !value.is_null()) else { return Ok(None) };
        let parsed = serde_json::from_value(value.clone());
        parsed.map(Some).map_err(|e| RpcFailure::params(format!("parameter {index}, {name}: {e}")))
    }
}

/// Turns an answer into JSON.
///
/// # Errors
/// [`RpcFailure::INTERNAL`] for what has no JSON form.
pub fn answer<T: Serialize>(value: T) -> Result<Value, RpcFailure> {
    serde_json::to_value(value).map_err(|e| RpcFailure::new(RpcFailure::INTERNAL, e.to_string()))
}

/// Answers a body; `None` where it asks for no answer.
pub fn serve(body: &[u8], mut call: impl FnMut(&str, &Params) -> Result<Value, RpcFailure>) -> Option<Value> {
    let parsed: Value = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(error) => return Some(failure(Value::Null, &RpcFailure::new(RpcFailure::PARSE, error.to_string()))),
    };
    let invalid = |why: &str| Some(failure(Value::Null, &RpcFailure::new(RpcFailure::INVALID_REQUEST, why)));
    match parsed {
        Value::Array(calls) if calls.is_empty() => invalid("an empty batch"),
        Value::Array(calls) if calls.len() > CALLS_PER_BATCH_MAX => {
            invalid(&format!("{} calls in one batch, at most {CALLS_PER_BATCH_MAX} are taken", calls.len()))
        }
        Value::Array(calls) => {
            let answers: Vec<Value> = calls.into_iter().filter_map(|one| serve_one(one, &mut call)).collect();
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        one => serve_one(one, &mut call),
    }
}

fn serve_one(mut request: Value, call: &mut impl FnMut(&str, &Params) -> Result<Value, RpcFailure>) -> Option<Value> {
    let id = request.get("id").cloned();
    let invalid = |why: &str| RpcFailure::new(RpcFailure::INVALID_REQUEST, why);
    let params = request.get_mut("params").map(Value::take);
    let answered = match (request.get("method").and_then(Value::as_str), params) {
        _ if !request.is_object() => Err(invalid("a request is an object")),
        (None, _) => Err(invalid("a request names a method")),
        (Some(method), Some(Value::Array(params))) => call(method, &Params(params)),
        (Some(method), None | Some(Value::Null)) => call(method, &Params(Vec::new())),
        (Some(_), Some(_)) => Err(RpcFailure::params("parameters are an array")),
    };
    match (id, answered) {
        (Some(id), Ok(result)) => Some(json!({"jsonrpc": "2.0", "id": id, "result": result})),
        (Some(id), Err(error)) => Some(failure(id, &error)),
        // Without an id it asks for no answer, unless it is no request at all.
        (None, Err(error)) if error.code == RpcFailure::INVALID_REQUEST => Some(failure(Value::Null, &error)),
        (None, Ok(_) | Err(_)) => None,
    }
}

fn failure(id: Value, error: &RpcFailure) -> Value {
    let mut body = json!({"code": error.code, "message": error.message});
    if let Some(data) = &error.data {
        body["data"] = json!(data);
    }
    json!({"jsonrpc": "2.0", "id": id, "error": body})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(method: &str, params: &Params) -> Result<Value, RpcFailure> {
        match method {
            "echo" => answer(params.get::<String>(0, "text")?),
            _ => Err(RpcFailure::new(RpcFailure::NO_METHOD, "no such method")),
        }
    }

    fn served(body: &str) -> Option<Value> {
        serve(body.as_bytes(), echo)
    }

    fn code(body: &str) -> i64 {
        served(body).unwrap()["error"]["code"].as_i64().unwrap()
    }

    #[test]
    fn one_call_or_several_in_order() {
        let one = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":["a"]}"#;
        assert_eq!(served(one), Some(json!({"jsonrpc": "2.0", "id": 1, "result": "a"})));
        let two = format!("[{one},{}]", one.replace("1,", "\"x\",").replace("\"a\"", "\"b\""));
        let answers = served(&two).unwrap();
        assert_eq!(answers[0]["result"], "a");
        assert_eq!((&answers[1]["id"], &answers[1]["result"]), (&json!("x"), &json!("b")));
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        assert_eq!(code("{"), RpcFailure::PARSE);
        assert_eq!(code("[]"), RpcFailure::INVALID_REQUEST);
        assert_eq!(code("7"), RpcFailure::INVALID_REQUEST);
        assert_eq!(code(r#"{"id":1}"#), RpcFailure::INVALID_REQUEST);
        assert_eq!(code(r#"{"id":1,"method":"nothing"}"#), RpcFailure::NO_METHOD);
        assert_eq!(code(r#"{"id":1,"method":"echo","params":[]}"#), RpcFailure::INVALID_PARAMS);
        assert_eq!(code(r#"{"id":1,"method":"echo","params":[7]}"#), RpcFailure::INVALID_PARAMS);
        assert_eq!(code(r#"{"id":1,"method":"echo","params":{"text":"a"}}"#), RpcFailure::INVALID_PARAMS);
        let many = format!("[{}]", vec!["1"; CALLS_PER_BATCH_MAX + 1].join(","));
        assert_eq!(code(&many), RpcFailure::INVALID_REQUEST);
        let most = served(&format!("[{}]", vec!["1"; CALLS_PER_BATCH_MAX].join(","))).unwrap();
        assert_eq!(most.as_array().unwrap().len(), CALLS_PER_BATCH_MAX);
    }

    #[test]
    fn a_call_without_an_id_gets_no_answer() {
        assert_eq!(served(r#"{"method":"echo","params":["a"]}"#), None);
        assert_eq!(served(r#"[{"method":"echo","params":["a"]}]"#), None);
    }
}
