//! What the agent knows between two steps: typed, serialised into every checkpoint.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::ids::{CheckpointId, ThreadId};
use super::topology::Node;
use crate::crypto::hash::sha256;
use crate::llm::{Message, Role, ToolCall, ToolResultView};
use crate::risk::RiskAssessment;
use crate::schema::{
    AuthRequest, AuthorizationId, Outcome, Refusal, RequestId, RiskScore, Sha256Digest, Tier, Timestamp, json,
};

/// Version of [`AgentState`] in a checkpoint. A change of its shape raises it.
pub const STATE_VERSION: u32 = 1;

/// Actions listed for review, denials and rejected responses that a state keeps; the oldest go.
pub const LIST_ITEMS_MAX: usize = 256;

/// The parameter that carries the planner's own words, which say why and not what.
const REASONING: &str = "reasoning";

/// Everything a step reads and writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentState {
    pub thread: ThreadId,
    pub messages: Vec<Message>,
    /// The tool that the planner chose, as it named it; none between two actions.
    pub current_tool: Option<String>,
    pub tool_parameters: Option<Map<String, Value>>,
    /// Whether a request is out and no decision on it was verified yet.
    pub pending_authorization: bool,
    pub auth_request_id: Option<RequestId>,
    /// The request of `auth_request_id`, whole, so that a resumed run never makes a second one.
    pub auth_request: Option<Value>,
    /// Responses to that request that failed verification.
    pub rejected_responses: Vec<RejectedResponse>,
    pub execution_results: Vec<ExecutionResult>,
    pub error_state: Option<ErrorState>,
    pub errors_in_a_row: u32,
    /// Planner calls since the user last spoke.
    pub iteration_count: u32,
    pub risk_score: Option<RiskScore>,
    pub assessment: Option<RiskAssessment>,
    pub operator: Option<OperatorAnswer>,
    /// Why the chosen action is refused without asking anyone.
    pub refusal: Option<String>,
    /// What came of the last request since the user last spoke.
    pub authorization: Option<Authorization>,
    /// Actions that ran and are to be looked at by a person.
    pub reviews: Vec<ReviewItem>,
    pub denials: Vec<DeniedAction>,
    pub end: Option<EndReason>,
}

/// A tool that ran, or that was asked for and did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionResult {
    pub tool_name: String,
    pub ok: bool,
    pub denied: bool,
    pub at: Timestamp,
    pub risk_score: Option<RiskScore>,
    pub request_id: Option<RequestId>,
    pub outcome: Option<Outcome>,
    /// Index into `messages` of the result itself.
    pub message: usize,
}

/// What failed, until the error handler has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorState {
    pub node: Node,
    pub kind: ErrorKind,
    pub detail: String,
}

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No plan came back.
    Planner,
    /// The planner asked for a tool or parameters that do not exist or are not allowed.
    Call,
    /// The tool ran and failed.
    Tool,
    /// A request could not be made, or its answer could not be used.
    Authorization,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAnswer {
    Granted,
    Refused,
}

/// What came of a request for authorization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Authorization {
    /// Verified; `outcome` once the tool is done.
    Approved {
        authorization_id: AuthorizationId,
        conditions: Vec<String>,
        outcome: Option<Outcome>,
    },
    Refused {
        kind: RefusalKind,
        reason: String,
    },
}

/// Why an action was not authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// An approver said no.
    Denied,
    Cancelled,
    /// The bridge found that the request breaks a rule.
    RefusedByBridge,
    /// Nobody decided before the request expired.
    Expired,
    /// No answer came before the agent's own deadline.
    TimedOut,
    /// Answers came, and none of them verified.
    VerificationFailed,
    /// Nobody took the request from the channel.
    BridgeUnreachable,
}

impl RefusalKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalKind::Denied => "denied",
            RefusalKind::Cancelled => "cancelled",
            RefusalKind::RefusedByBridge => "refused_by_bridge",
            RefusalKind::Expired => "expired",
            RefusalKind::TimedOut => "timed_out",
            RefusalKind::VerificationFailed => "verification_failed",
            RefusalKind::BridgeUnreachable => "bridge_unreachable",
        }
    }

    /// Whether a person decided, so that asking again would only bother them.
    pub const fn is_a_persons_word(self) -> bool {
        match self {
            RefusalKind::Denied | RefusalKind::Cancelled => true,
            RefusalKind::RefusedByBridge
            | RefusalKind::Expired
            | RefusalKind::TimedOut
            | RefusalKind::VerificationFailed
            | RefusalKind::BridgeUnreachable => false,
        }
    }
}

/// A response that failed verification and was quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectedResponse {
    /// 1 to 6, PROTOCOL section 7; 0 where it did not parse.
    pub step: u8,
    pub reason: String,
}

/// An action that ran on its own and is listed for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewItem {
    pub tool_name: String,
    pub parameters: Map<String, Value>,
    pub risk_score: RiskScore,
    pub at: Timestamp,
}

/// An action that a person denied in this thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedAction {
    pub action: Sha256Digest,
    pub reason: String,
    pub at: Timestamp,
}

/// Why the graph came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
pub enum EndReason {
    /// The planner is done.
    Finished {
        answer: String,
    },
    IterationLimit {
        iterations_max: u32,
    },
    ErrorLimit {
        last: String,
    },
    /// A consumed authorization without a known outcome; it is not run again.
    OutcomeUnknown {
        request_id: RequestId,
    },
}

impl AgentState {
    pub fn new(thread: ThreadId) -> Self {
        AgentState {
            thread,
            messages: Vec::new(),
            current_tool: None,
            tool_parameters: None,
            pending_authorization: false,
            auth_request_id: None,
            auth_request: None,
            rejected_responses: Vec::new(),
            execution_results: Vec::new(),
            error_state: None,
            errors_in_a_row: 0,
            iteration_count: 0,
            risk_score: None,
            assessment: None,
            operator: None,
            refusal: None,
            authorization: None,
            reviews: Vec::new(),
            denials: Vec::new(),
            end: None,
        }
    }

    /// The user speaks: limits, the list for review and the last authorization begin anew.
    pub fn begin_turn(&mut self, prompt: &str) {
        self.clear_action();
        self.renew_limits();
        self.authorization = None;
        self.reviews.clear();
        self.messages.push(Message { role: Role::User, content: prompt.to_owned(), tool_call: None, result: None });
    }

    /// A run that a limit ended goes on with a new budget.
    pub fn renew_limits(&mut self) {
        self.end = None;
        self.error_state = None;
        self.errors_in_a_row = 0;
        self.iteration_count = 0;
    }

    /// The planner chose an action.
    pub fn begin_action(&mut self, thought: String, call: ToolCall) {
        self.clear_action();
        self.current_tool = Some(call.name.clone());
        self.tool_parameters = Some(call.parameters.clone());
        self.messages.push(Message { role: Role::Assistant, content: thought, tool_call: Some(call), result: None });
    }

    /// The action is over, one way or the other; the planner sees `value` next.
    pub fn end_action(&mut self, result: ActionResult, now: Timestamp) {
        let tool_name = self.current_tool.clone().unwrap_or_default();
        self.execution_results.push(ExecutionResult {
            tool_name: tool_name.clone(),
            ok: result.ok,
            denied: result.denied,
            at: now,
            risk_score: self.risk_score,
            request_id: self.auth_request_id.clone(),
            outcome: result.outcome,
            message: self.messages.len(),
        });
        self.messages.push(Message {
            role: Role::Tool,
            content: String::new(),
            tool_call: None,
            result: Some(ToolResultView { tool_name, ok: result.ok, denied: result.denied, value: result.value }),
        });
        if result.ok {
            self.errors_in_a_row = 0;
        }
        self.clear_action();
    }

    fn clear_action(&mut self) {
        self.current_tool = None;
        self.tool_parameters = None;
        self.pending_authorization = false;
        self.auth_request_id = None;
        self.auth_request = None;
        self.rejected_responses.clear();
        self.risk_score = None;
        self.assessment = None;
        self.operator = None;
        self.refusal = None;
    }

    /// The request that is out, parsed back from the tree that was hashed.
    ///
    /// # Errors
    /// The rule that a tampered checkpoint breaks; `None` where no request is out.
    pub fn request(&self) -> Result<Option<AuthRequest>, Refusal> {
        self.auth_request.clone().map(AuthRequest::from_tree).transpose()
    }

    /// Remembers a person's denial of the current action.
    pub fn remember_denial(&mut self, reason: &str, now: Timestamp) -> Result<(), Refusal> {
        if let (Some(tool), Some(parameters)) = (&self.current_tool, &self.tool_parameters) {
            let action = action_digest(tool, parameters)?;
            push_bounded(&mut self.denials, DeniedAction { action, reason: reason.to_owned(), at: now });
        }
        Ok(())
    }

    /// The denial that a repeated action runs into, if it is younger than the cool-down.
    ///
    /// # Errors
    /// None for parameters that came from JSON.
    pub fn denied_before(
        &self,
        tool: &str,
        parameters: &Map<String, Value>,
        now: Timestamp,
        cooldown_s: u64,
    ) -> Result<Option<&DeniedAction>, Refusal> {
        let action = action_digest(tool, parameters)?;
        let since_ms = now.unix_ms().saturating_sub_unsigned(cooldown_s.saturating_mul(1000));
        Ok(self.denials.iter().rev().find(|denial| denial.action == action && denial.at.unix_ms() > since_ms))
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionResult {
    pub ok: bool,
    pub denied: bool,
    pub outcome: Option<Outcome>,
    pub value: Value,
}

impl ActionResult {
    pub fn ok(value: Value) -> Self {
        ActionResult { ok: true, denied: false, outcome: None, value }
    }

    pub fn failed(value: Value) -> Self {
        ActionResult { ok: false, denied: false, outcome: None, value }
    }

    pub fn denied(value: Value) -> Self {
        ActionResult { ok: false, denied: true, outcome: None, value }
    }
}

/// Keeps the last [`LIST_ITEMS_MAX`] items.
pub fn push_bounded<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= LIST_ITEMS_MAX {
        list.drain(..=list.len() - LIST_ITEMS_MAX);
    }
    list.push(item);
}

/// One name for the same tool with the same parameters. The reasoning does not count: other
/// words for the same action are the same action.
fn action_digest(tool: &str, parameters: &Map<String, Value>) -> Result<Sha256Digest, Refusal> {
    let parameters: Map<String, Value> =
        parameters.iter().filter(|(name, _)| *name != REASONING).map(|(n, v)| (n.clone(), v.clone())).collect();
    let tree = serde_json::json!({ "tool_name": tool, "parameters": parameters });
    json::canonical(&tree).map(|bytes| sha256(&bytes))
}

/// Whether a tool of this tier may have changed something when it was cut off.
pub const fn leaves_traces(tier: Tier) -> bool {
    match tier {
        Tier::Safe => false,
        Tier::Write | Tier::Critical => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn call(parameters: Value) -> ToolCall {
        ToolCall { name: "delete_database".to_owned(), parameters: parameters.as_object().unwrap().clone() }
    }

    #[test]
    fn a_state_survives_its_own_serialisation() {
        let mut state = AgentState::new("t".parse().unwrap());
        state.begin_turn("Delete the users database");
        state.begin_action("it is unused".to_owned(), call(json!({"db_name": "users"})));
        state.authorization = Some(Authorization::Refused { kind: RefusalKind::Denied, reason: "no".to_owned() });
        state.end = Some(EndReason::Finished { answer: "done".to_owned() });
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<AgentState>(&text).unwrap(), state);
        assert!(serde_json::from_str::<AgentState>(&text.replacen("{", "{\"surprise\":1,", 1)).is_err());
    }

    #[test]
    fn an_action_that_ended_leaves_only_its_result() {
        let mut state = AgentState::new("t".parse().unwrap());
        state.begin_turn("go");
        state.errors_in_a_row = 2;
        let before = state.clone();
        state.begin_action("try".to_owned(), call(json!({})));
        state.risk_score = Some(RiskScore::MAX);
        state.pending_authorization = true;
        state.end_action(ActionResult::ok(json!({"deleted": true})), at(7));
        let expected = ExecutionResult {
            tool_name: "delete_database".to_owned(),
            ok: true,
            denied: false,
            at: at(7),
            risk_score: Some(RiskScore::MAX),
            request_id: None,
            outcome: None,
            message: 2,
        };
        assert_eq!(state.execution_results, [expected]);
        assert_eq!(state.messages.len(), 3);
        let (messages, execution_results) = (before.messages.clone(), Vec::new());
        assert_eq!(AgentState { messages, execution_results, errors_in_a_row: 2, ..state }, before);
    }

    #[test]
    fn the_same_action_in_other_words_is_the_same_action() {
        let mut state = AgentState::new("t".parse().unwrap());
        state.begin_action("x".to_owned(), call(json!({"db_name": "users", "reasoning": "unused"})));
        state.remember_denial("no", at(1_000)).unwrap();
        let denial = DeniedAction { action: state.denials[0].action, reason: "no".to_owned(), at: at(1_000) };
        let ask = |parameters: Value, now: i64| {
            let parameters = parameters.as_object().unwrap().clone();
            state.denied_before("delete_database", &parameters, at(now), 60).unwrap().cloned()
        };
        assert_eq!(ask(json!({"reasoning": "please", "db_name": "users"}), 2_000), Some(denial));
        assert_eq!(ask(json!({"db_name": "orders"}), 2_000), None);
        assert_eq!(ask(json!({"db_name": "users"}), 61_000), None, "the cool-down is over");
    }

    #[test]
    fn lists_keep_their_newest_items() {
        let mut list = Vec::new();
        for n in 0..LIST_ITEMS_MAX + 3 {
            push_bounded(&mut list, n);
        }
        assert_eq!((list.len(), list[0], list[LIST_ITEMS_MAX - 1]), (LIST_ITEMS_MAX, 3, LIST_ITEMS_MAX + 2));
    }
}
