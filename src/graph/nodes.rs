//! The nodes that need no decision of an approver: planning, assessing, running what may run
//! on its own, asking for what may not, handling errors.

use std::error::Error;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::agent::{Agent, OperatorQuestion, Run, Step};
use super::checkpoint::Started;
use super::end::{AgentError, RunEndReason};
use super::events::AgentEvent;
use super::state::{
    ActionResult, AgentState, Authorization, CheckpointId, EndReason, ErrorKind, ErrorState, OperatorAnswer,
    RefusalKind, ReviewItem, leaves_traces, push_bounded,
};
use super::topology::Node;
use crate::channel::MESSAGE_BYTES_MAX;
use crate::crypto::{action_hash, random};
use crate::llm::{Message, Plan, Role, ToolSpecView};
use crate::risk::config::BURST_WINDOW_S;
use crate::risk::{RiskInput, RiskRoute, RunContext, persuasion};
use crate::schema::request::{REASONING_BYTES_MAX, RequestFields};
use crate::schema::{AuthRequest, RiskScore, Tier, Timestamp, ToolName};
use crate::tools::ValidCall;

/// How long a tool may go on after the run was asked to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Texts of one result that are searched for words to their reader.
const READ_TEXTS_MAX: usize = 1024;

impl Agent {
    /// Asks the planner for the next action.
    pub(super) async fn reasoning(&self, run: &Run<'_>, state: &mut AgentState) -> Result<Step, AgentError> {
        let iterations_max = self.parts.config.agent.max_iterations;
        if state.iteration_count >= iterations_max {
            state.end = Some(EndReason::IterationLimit { iterations_max });
            return Ok(Step::Done);
        }
        state.iteration_count += 1;
        let tools: Vec<&ToolSpecView> = self.tools.iter().collect();
        let limit = self.parts.config.planner_timeout();
        let planned = tokio::select! {
            () = run.stop.cancelled() => return Ok(Step::Leave(RunEndReason::Stopped)),
            planned = timeout(limit, self.parts.planner.next(&state.messages, &tools)) => planned,
        };
        match planned {
            Ok(Ok(Plan::Call { thought, call })) => {
                self.emit(AgentEvent::Thought { text: thought.clone() });
                let (tool_name, parameters) = (call.name.clone(), call.parameters.clone());
                state.begin_action(thought, call);
                self.emit(AgentEvent::ActionChosen { tool_name, parameters });
            }
            Ok(Ok(Plan::Finish { answer })) => {
                let content = answer.clone();
                state.messages.push(Message { role: Role::Assistant, content, tool_call: None, result: None });
                state.end = Some(EndReason::Finished { answer });
            }
            Ok(Err(error)) => fail(state, Node::Reasoning, ErrorKind::Planner, chain_text(&error)),
            Err(_) => {
                let detail = format!("the planner gave no answer within {} s", limit.as_secs());
                fail(state, Node::Reasoning, ErrorKind::Planner, detail);
            }
        }
        Ok(Step::Done)
    }

    /// Scores the chosen action, and settles what no approver needs to be asked for.
    pub(super) async fn risk_assessment(&self, run: &Run<'_>, state: &mut AgentState) -> Result<Step, AgentError> {
        let node = Node::RiskAssessment;
        let (tool, parameters) = match chosen(state) {
            Ok(chosen) => chosen,
            Err(detail) => return Ok(failed(state, node, ErrorKind::Call, detail)),
        };
        let now = Timestamp::now();
        let spec = self.parts.registry.spec(&tool);
        // What the approver would read is what is scored.
        let reasoning = match parameters.get("reasoning").and_then(Value::as_str) {
            Some(words) if !words.is_empty() => words,
            Some(_) | None => last_thought(state),
        };
        let context = self.run_context(state, &tool, now);
        let assessment = self.parts.risk.assess(
            &RiskInput {
                tool_name: &tool,
                tier: spec.map(|spec| spec.tier),
                base: spec.map_or(RiskScore::MAX, |spec| spec.base_risk),
                parameters: &parameters,
                reasoning,
                context: &context,
            },
            now,
        );
        self.emit(AgentEvent::RiskAssessed { tool_name: tool.to_string(), assessment: assessment.clone() });
        state.risk_score = Some(assessment.score);
        state.assessment = Some(assessment.clone());
        if let Err(error) = self.parts.registry.validate(&tool, &parameters) {
            return Ok(failed(state, node, ErrorKind::Call, chain_text(&error)));
        }
        let cooldown_s = self.parts.config.agent.denial_cooldown;
        let denied = state.denied_before(tool.as_str(), &parameters, now, cooldown_s).map_err(unusable("the call"))?;
        if let Some(denial) = denied {
            let reason = format!("the same action was denied at {}: {}", denial.at, denial.reason);
            state.authorization =
                Some(Authorization::Refused { kind: RefusalKind::Denied, reason: denial.reason.clone() });
            self.refuse(state, &tool, reason, now);
            return Ok(Step::Done);
        }
        if assessment.route == RiskRoute::AskOperator {
            let question =
                OperatorQuestion { tool_name: tool.as_str(), parameters: &parameters, assessment: &assessment };
            let answer = tokio::select! {
                () = run.stop.cancelled() => return Ok(Step::Leave(RunEndReason::Stopped)),
                answer = self.ask_operator(&question) => answer,
            };
            state.operator = Some(match answer {
                Ok(()) => OperatorAnswer::Granted,
                Err(_) => OperatorAnswer::Refused,
            });
            if let Err(reason) = answer {
                self.refuse(state, &tool, reason, now);
            }
        }
        Ok(Step::Done)
    }

    /// What the run did before, as far as it matters for the risk of the next action.
    fn run_context(&self, state: &AgentState, tool: &ToolName, now: Timestamp) -> RunContext {
        let since_ms = now.unix_ms().saturating_sub(BURST_WINDOW_S.saturating_mul(1000));
        let leaves = |name: &str| {
            let spec =
                name.parse().ok().and_then(|name: ToolName| self.parts.registry.spec(&name).map(|spec| spec.tier));
            leaves_traces(spec.unwrap_or(Tier::Critical))
        };
        let recent =
            state.execution_results.iter().filter(|result| result.at.unix_ms() > since_ms && leaves(&result.tool_name));
        RunContext {
            first_use: !state.execution_results.iter().any(|result| result.tool_name == tool.as_str()),
            recent_writes: u32::try_from(recent.count()).unwrap_or(u32::MAX),
            untrusted: read_since_the_user_spoke(state).find_map(persuasion::find).map(str::to_owned),
        }
    }

    async fn ask_operator(&self, question: &OperatorQuestion<'_>) -> Result<(), String> {
        let Some(operator) = &self.parts.operator else {
            let score = question.assessment.score;
            return Err(format!("a risk of {score} needs a person's word, and there is no terminal to ask at"));
        };
        let granted = operator.ask(question).await;
        self.emit(AgentEvent::OperatorAnswered { tool_name: question.tool_name.to_owned(), granted });
        if granted { Ok(()) } else { Err("the operator said no".to_owned()) }
    }

    /// The planner sees the refusal as the action's result; the router sees it in the state.
    fn refuse(&self, state: &mut AgentState, tool: &ToolName, reason: String, now: Timestamp) {
        self.emit(AgentEvent::ActionRefused { tool_name: tool.to_string(), reason: reason.clone() });
        state.end_action(ActionResult::denied(json!({ "status": "refused", "reason": reason })), now);
        state.refusal = Some(reason);
    }

    /// Runs a tool that may run on its own. One that was begun before and cut off is not begun
    /// again: the planner is told to look.
    pub(super) async fn safe_execution(
        &self,
        run: &Run<'_>,
        saved: &CheckpointId,
        state: &mut AgentState,
    ) -> Result<Step, AgentError> {
        let node = Node::SafeExecution;
        let (tool, call) = match self.chosen_call(state) {
            Ok(chosen) => chosen,
            Err(detail) => return Ok(failed(state, node, ErrorKind::Call, detail)),
        };
        if leaves_traces(call.tier()) {
            match self.parts.store.mark_started(run.lock, saved.number, Timestamp::now())? {
                Started::Now => {}
                Started::Before => {
                    let value = json!({
                        "status": "interrupted",
                        "detail": "this call was begun before and cut off; it was not repeated. Look at what it left before going on.",
                    });
                    self.end_tool(state, ActionResult::failed(value));
                    return Ok(Step::Done);
                }
            }
        }
        self.emit(AgentEvent::ToolStarted { tool_name: tool.to_string() });
        let running = self.parts.registry.run(&call, &self.parts.workspace);
        tokio::pin!(running);
        let result = tokio::select! {
            result = &mut running => result,
            () = run.stop.cancelled() => match timeout(STOP_GRACE, &mut running).await {
                Ok(result) => result,
                Err(_) => return Ok(Step::Leave(RunEndReason::Stopped)),
            },
        };
        match result {
            Ok(value) => {
                list_for_review(state, &call);
                self.end_tool(state, ActionResult::ok(value));
                Ok(Step::Done)
            }
            Err(error) => Ok(failed(state, node, ErrorKind::Tool, chain_text(&error))),
        }
    }

    /// The result of the current action, on screen and in the state.
    pub(super) fn end_tool(&self, state: &mut AgentState, result: ActionResult) {
        self.emit(AgentEvent::ToolFinished {
            tool_name: state.current_tool.clone().unwrap_or_default(),
            ok: result.ok,
            value: result.value.clone(),
        });
        state.end_action(result, Timestamp::now());
    }

    /// Builds the request, whole and final, into the state. It is published only from the
    /// checkpoint that holds it, so a crash in between never makes a second one.
    pub(super) async fn blockchain_request(&self, run: &Run<'_>, state: &mut AgentState) -> Result<Step, AgentError> {
        let node = Node::BlockchainRequest;
        let (tool, call) = match self.chosen_call(state) {
            Ok(chosen) => chosen,
            Err(detail) => return Ok(failed(state, node, ErrorKind::Call, detail)),
        };
        let parameters = match self.parts.registry.resolve(&call, &self.parts.workspace).await {
            Ok(parameters) => parameters,
            Err(error) => return Ok(failed(state, node, ErrorKind::Call, chain_text(&error))),
        };
        let number = self.parts.store.next_number(run.lock)?;
        let resumes_from = CheckpointId { thread: run.lock.thread().clone(), number };
        let request = match self.build_request(state, &tool, &call, parameters, &resumes_from)? {
            Ok(request) => request,
            Err(detail) => return Ok(failed(state, node, ErrorKind::Authorization, detail)),
        };
        state.pending_authorization = true;
        state.auth_request_id = Some(request.request_id.clone());
        state.auth_request = Some(request.tree().clone());
        state.authorization = None;
        self.emit(AgentEvent::AuthorizationRequested {
            request_id: request.request_id.clone(),
            tool_name: tool.to_string(),
            risk_score: request.risk_score.as_f64(),
            action_hash: request.action_hash,
            resumes_from,
        });
        Ok(Step::Done)
    }

    fn build_request(
        &self,
        state: &AgentState,
        tool: &ToolName,
        call: &ValidCall,
        parameters: Map<String, Value>,
        resumes_from: &CheckpointId,
    ) -> Result<Result<AuthRequest, String>, AgentError> {
        let Some(assessment) = &state.assessment else {
            return Ok(Err("the action was not assessed".to_owned()));
        };
        let request_id = random::request_id().map_err(AgentError::Random)?;
        let salt = alloy::hex::encode(random::bytes::<16>().map_err(AgentError::Random)?);
        let timestamp = Timestamp::now();
        let built = action_hash(&request_id, timestamp, &salt, tool, &parameters).and_then(|action_hash| {
            AuthRequest::from_fields(RequestFields {
                request_id,
                timestamp,
                tool_name: tool.clone(),
                parameters,
                agent_state_checkpoint: resumes_from.to_string(),
                action_hash,
                risk_score: assessment.score,
                estimated_impact: assessment.impact.clone(),
                reasoning: shortened(reasoning_of(state, call), REASONING_BYTES_MAX),
                salt: Some(salt),
                agent_id: Some(self.parts.config.agent.id.clone()),
                policy_hash: None,
                context: Some(Map::from_iter([("risk".to_owned(), json!(assessment))])),
            })
        });
        let sized = built.and_then(|request| request.canonical().map(|bytes| (request, bytes.len())));
        Ok(match sized {
            Ok((request, length)) if u64::try_from(length).is_ok_and(|length| length <= MESSAGE_BYTES_MAX) => {
                Ok(request)
            }
            Ok((_, length)) => Err(format!("the request has {length} bytes, at most {MESSAGE_BYTES_MAX} are allowed")),
            Err(refusal) => Err(format!("the request cannot be made: {refusal}")),
        })
    }

    /// Hands an error back to the planner, and ends the run when they pile up.
    pub(super) fn error_handler(&self, state: &mut AgentState) -> Step {
        let Some(error) = state.error_state.take() else { return Step::Done };
        state.errors_in_a_row += 1;
        self.emit(AgentEvent::ErrorHandled {
            node: error.node,
            detail: error.detail.clone(),
            errors_in_a_row: state.errors_in_a_row,
        });
        if state.current_tool.is_some() {
            let value = json!({ "status": "error", "kind": error.kind, "error": error.detail });
            self.end_tool(state, ActionResult::failed(value));
        }
        if state.errors_in_a_row >= self.parts.config.agent.max_errors {
            state.end = Some(EndReason::ErrorLimit { last: error.detail });
        }
        Step::Done
    }

    fn chosen_call(&self, state: &AgentState) -> Result<(ToolName, ValidCall), String> {
        let (tool, parameters) = chosen(state)?;
        let call = self.parts.registry.validate(&tool, &parameters).map_err(|error| chain_text(&error))?;
        Ok((tool, call))
    }
}

/// The chosen action as the planner named it.
fn chosen(state: &AgentState) -> Result<(ToolName, Map<String, Value>), String> {
    let name = state.current_tool.as_deref().ok_or("no tool was chosen")?;
    let tool: ToolName = name.parse().map_err(|rule| format!("{name:?} is no tool: {rule}"))?;
    Ok((tool, state.tool_parameters.clone().unwrap_or_default()))
}

/// What the agent says of an action: the tool's own parameter, or the thought that led to it.
fn reasoning_of<'a>(state: &'a AgentState, call: &'a ValidCall) -> &'a str {
    match call.reasoning() {
        "" => last_thought(state),
        words => words,
    }
}

/// Texts in the results of tools since the user last spoke, the newest first. What a file says may
/// have been written for whoever reads it.
fn read_since_the_user_spoke(state: &AgentState) -> impl Iterator<Item = &str> {
    let since = state.messages.iter().rev().take_while(|message| message.role != Role::User);
    let results = since.filter_map(|message| message.result.as_ref()).map(|result| &result.value);
    results.flat_map(texts_of)
}

/// The strings of a value, at most [`READ_TEXTS_MAX`].
fn texts_of(value: &Value) -> Vec<&str> {
    let (mut open, mut found) = (vec![value], Vec::new());
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) if found.len() < READ_TEXTS_MAX => found.push(text.as_str()),
            Value::Array(items) => open.extend(items),
            Value::Object(map) => open.extend(map.values()),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

fn last_thought(state: &AgentState) -> &str {
    state.messages.iter().rev().find(|m| m.role == Role::Assistant).map_or("", |m| &m.content)
}

fn list_for_review(state: &mut AgentState, call: &ValidCall) {
    let Some(assessment) = &state.assessment else { return };
    match assessment.route {
        RiskRoute::Execute => {}
        RiskRoute::ExecuteAndReview | RiskRoute::AskOperator | RiskRoute::RequireAuthorization => {
            let item = ReviewItem {
                tool_name: call.name().to_string(),
                parameters: call.parameters().clone(),
                risk_score: assessment.score,
                at: Timestamp::now(),
            };
            push_bounded(&mut state.reviews, item);
        }
    }
}

/// Text of at most `bytes_max` bytes, cut between characters, with a mark where it was cut.
fn shortened(text: &str, bytes_max: usize) -> String {
    const MARK: &str = " […]";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

fn fail(state: &mut AgentState, node: Node, kind: ErrorKind, detail: String) {
    state.error_state = Some(ErrorState { node, kind, detail });
}

fn failed(state: &mut AgentState, node: Node, kind: ErrorKind, detail: String) -> Step {
    fail(state, node, kind, detail);
    Step::Done
}

pub(super) fn unusable(what: &'static str) -> impl FnOnce(crate::schema::Refusal) -> AgentError {
    move |source| AgentError::Message { what, source }
}

/// An error with everything that it stems from, where that is not in its own words already.
pub(super) fn chain_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasoning_is_cut_between_characters_and_says_so() {
        assert_eq!(shortened("short", 8), "short");
        assert_eq!(shortened("ééééé", 10), "ééééé");
        assert_eq!(shortened("éééééé", 10), "éé […]");
        assert_eq!(shortened("éééééé", 11).len(), 10);
    }

    #[test]
    fn an_error_is_told_with_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open `x`")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("disk full")]
        struct Inner;
        assert_eq!(chain_text(&Outer(Inner)), "cannot open `x`: disk full");
        #[derive(Debug, thiserror::Error)]
        #[error("failed: {0}")]
        struct Saying(#[source] Inner);
        assert_eq!(chain_text(&Saying(Inner)), "failed: disk full");
    }
}
