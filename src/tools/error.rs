//! Why a tool did not run, or did not finish.

use std::io;
use std::path::PathBuf;

use crate::schema::{Refusal, Timestamp, ToolName};

/// The one error of the tools. Every text says the rule that was broken and, where there is
/// one, the next step.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("there is no tool `{name}`{hint}")]
    UnknownTool { name: ToolName, hint: String },
    #[error("{tool} has no parameter `{parameter}`{hint}")]
    UnknownParameter { tool: ToolName, parameter: String, hint: String },
    #[error("{tool} needs the parameter `{parameter}`")]
    MissingParameter { tool: ToolName, parameter: String },
    #[error("{tool}: `{parameter}` expects {expected}, found {found}")]
    WrongType { tool: ToolName, parameter: String, expected: String, found: &'static str },
    /// A value of the right type that breaks a rule.
    #[error("{tool}: `{parameter}`: {source}")]
    Invalid {
        tool: ToolName,
        parameter: String,
        #[source]
        source: InvalidValue,
    },
    #[error("tool_config.yaml: {0}")]
    Settings(String),
    #[error("cannot open the workspace {}", root.display())]
    Workspace {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the workspace {} {rule}", root.display())]
    WorkspaceRefused { root: PathBuf, rule: &'static str },
    /// A path that was fine as text and turned out not to be on disk.
    #[error("`{path}` {rule}")]
    Path { path: String, rule: &'static str },
    /// A link to a file that may not be opened under its own name.
    #[error("`{path}` leads to another file: {source}")]
    LeadsTo {
        path: String,
        #[source]
        source: InvalidValue,
    },
    #[error("cannot {action} `{path}`")]
    File {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` has {size} bytes, {limit} is the limit; use search_codebase to find the part you need")]
    FileTooLarge { path: String, size: u64, limit: u64 },
    #[error("`{query}` is not a regular expression: {detail}; leave `regex` out to search for the text itself")]
    Regex { query: String, detail: String },
    #[error("the search failed: {0}")]
    Search(String),
    #[error("cannot start `{program}`")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("git {command} failed: {detail}")]
    Git { command: String, detail: String },
    #[error("the branch `{branch}` does not exist in the workspace's repository{hint}")]
    NoSuchBranch { branch: String, hint: String },
    #[error("there is nothing to commit: the named files are as they were")]
    NothingToCommit,
    #[error("no tests were found{0}")]
    NoTests(String),
    #[error("the test runner did not report: {0}")]
    TestRunner(String),
    #[error("{tool} was stopped after {limit_s} seconds (timeouts.tool_execution_timeout)")]
    TimedOut { tool: ToolName, limit_s: u64 },
    #[error("the result of {tool} is not what the tool promises")]
    Result {
        tool: ToolName,
        #[source]
        source: serde_json::Error,
    },
    /// The worker thread of a tool ended without an answer.
    #[error("{what} was interrupted")]
    Interrupted { what: &'static str },
    #[error("`$resolved` is written by the tool, never by the planner")]
    ResolvedGiven,
    #[error("`{what}` is not what was approved: approved {approved}, now {now}; ask for a new authorization")]
    ResolvedChanged { what: String, approved: String, now: String },
    #[error("the action hash of the request is not the hash of what would run")]
    ActionHash,
    #[error("the action cannot be hashed")]
    Unhashable(#[source] Refusal),
    #[error("the authorization expired at {expires_at}, it is {now}; ask for a new one")]
    Expired { expires_at: Timestamp, now: Timestamp },
    #[error("the operating system gave no random bytes")]
    Random(#[source] io::Error),
}

/// The rule that a parameter's value breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("it is empty")]
    Empty,
    #[error("it has {length} bytes, at most {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("it has {length} entries, at most {max} are allowed")]
    TooMany { length: usize, max: usize },
    #[error("it is {value}, expected {min} to {max}")]
    OutOfRange { value: i64, min: i64, max: i64 },
    #[error("it holds the control character U+{0:04X}")]
    ControlCharacter(u32),
    #[error("`{0}` is an absolute path; give it relative to the workspace")]
    AbsolutePath(String),
    #[error("`{0}` climbs out with `..`; a path stays inside the workspace")]
    PathTraversal(String),
    #[error("`{0}` holds a backslash; separate directories with /")]
    Backslash(String),
    #[error("`{0}` names the workspace itself, not a file in it")]
    NotAFile(String),
    #[error("`{path}` is inside `{part}`, which belongs to git or to the agent itself; no tool opens it")]
    ProtectedPath { path: String, part: String },
    #[error("`{path}` holds credentials (tool_config.yaml: protected_files, `{pattern}`); no tool reads or commits it")]
    CredentialFile { path: String, pattern: String },
    #[error("`{name}` is not a branch name: {rule}")]
    BranchName { name: String, rule: &'static str },
    #[error("`{name}` is not an allowed environment{hint}; allowed: {allowed}")]
    Environment { name: String, hint: String, allowed: String },
    #[error("`{0}` is not a database name: letters, digits and underscores, not beginning with a digit, at most 63")]
    Database(String),
    #[error(
        "`{0}` is not a test module: expected a dotted name such as tests.test_auth or a path such as tests/test_auth.py"
    )]
    Module(String),
    #[error("`{pattern}` is not a file pattern: {rule}")]
    Pattern { pattern: String, rule: String },
}
