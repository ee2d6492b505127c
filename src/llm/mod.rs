//! The planner seam: who decides on the next step of a run.
//!
//! A planner sees the conversation and the tools, and answers with one call or an answer. It
//! keeps nothing between two questions, so a run that was interrupted goes on from its
//! conversation alone. What a planner says is a proposal: names and parameters are checked
//! and scored by others.

mod scenario;
mod scripted;
mod template;

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema::ToolName;

pub use scripted::ScriptedPlanner;

/// Decides on the next step.
#[async_trait]
pub trait Planner: Send + Sync {
    /// The next step after a conversation.
    ///
    /// # Errors
    /// When no step can be named; nothing has happened then.
    async fn next(&self, conversation: &[Message], tools: &[&ToolSpecView]) -> Result<Plan, PlannerError>;

    /// Who is planning, for the screen.
    fn describe(&self) -> String;
}

/// What a planner is told of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpecView {
    pub name: ToolName,
    pub description: String,
    /// JSON Schema.
    pub parameters: Value,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// What an assistant's message asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<ToolCall>,
    /// What a tool's message reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ToolResultView>,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    User,
    Assistant,
    Tool,
}

/// A call as it was proposed: not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub name: String,
    pub parameters: Map<String, Value>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResultView {
    pub tool_name: String,
    pub ok: bool,
    /// People refused it, or nobody answered in time; `ok` is false then.
    pub denied: bool,
    pub value: Value,
}

/// A planner's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    Call { thought: String, call: ToolCall },
    Finish { answer: String },
}

/// Why there is no next step.
#[derive(Debug, thiserror::Error)]
pub enum PlannerError {
    #[error("cannot read the scenario {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the scenario {} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}: {problem}", path.display())]
    Scenario { path: PathBuf, problem: String },
    #[error("the conversation holds no prompt")]
    NoPrompt,
    #[error("step `{step}` refers to `{reference}`: {problem}")]
    Reference { step: String, reference: String, problem: String },
    #[error("the conversation does not follow the scenario: step `{step}` calls {expected}, the result is of {found}")]
    Diverged { step: String, expected: String, found: String },
}
