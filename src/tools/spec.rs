//! What a tool is called with: one table a tool, from which both the JSON Schema and the
//! check are made, so that they cannot drift apart.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::{InvalidValue, ToolError};
use super::settings::ToolSettings;
use super::validators::{
    BranchName, DbName, EnvironmentName, FilePattern, PATH_BYTES_MAX, TestModule, WorkspacePath, no_control,
};
use crate::schema::request::REASONING_BYTES_MAX;
use crate::schema::{RiskScore, Tier, ToolName};
use crate::suggest;

/// Most files of one commit.
const FILES_MAX: usize = 256;
/// Longest line of text, such as a query, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Longest commit message, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Largest line number.
const LINE_NUMBER_MAX: i64 = 1_000_000_000;

/// What is known of a tool without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolSpec {
    pub name: ToolName,
    pub tier: Tier,
    pub description: String,
    pub base_risk: RiskScore,
    pub requires_reasoning: bool,
    /// JSON Schema of the parameters.
    pub parameters: Value,
}

/// What a tool says of itself; the registry adds what the configuration says.
pub(super) struct Declaration {
    pub name: &'static str,
    /// The least strict tier that it may be given.
    pub tier: Tier,
    pub base_risk_bps: u32,
    pub description: &'static str,
    pub parameters: &'static [Parameter],
}

impl Declaration {
    pub(super) fn requires_reasoning(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.required && parameter.kind == Kind::Reasoning)
    }
}

pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub description: &'static str,
}

/// The values a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file of the workspace that is read.
    ReadPath,
    /// A file of the workspace that is written.
    WritePath,
    /// Files of the workspace that are committed.
    CommitPaths,
    /// The whole new content of a file.
    Content,
    Reasoning,
    /// One line of text.
    Line,
    CommitMessage,
    FilePattern,
    Branch,
    Environment,
    Database,
    TestModule,
    LineNumber,
    Boolean,
}

impl Kind {
    fn schema(self, settings: &ToolSettings) -> Map<String, Value> {
        let schema = match self {
            Kind::ReadPath | Kind::WritePath => json!({"type": "string", "minLength": 1, "maxLength": PATH_BYTES_MAX}),
            Kind::CommitPaths => json!({
                "type": "array", "minItems": 1, "maxItems": FILES_MAX,
                "items": {"type": "string", "minLength": 1, "maxLength": PATH_BYTES_MAX},
            }),
            Kind::Content => json!({"type": "string", "maxLength": settings.limits.write_bytes_max}),
            Kind::Reasoning => json!({"type": "string", "maxLength": REASONING_BYTES_MAX}),
            Kind::Line => json!({"type": "string", "minLength": 1, "maxLength": LINE_BYTES_MAX}),
            Kind::CommitMessage => json!({"type": "string", "minLength": 1, "maxLength": MESSAGE_BYTES_MAX}),
            Kind::FilePattern | Kind::Branch | Kind::Database | Kind::TestModule => {
                json!({"type": "string", "minLength": 1})
            }
            Kind::Environment => json!({"type": "string", "enum": settings.allowed_environments}),
            Kind::LineNumber => json!({"type": "integer", "minimum": 1, "maximum": LINE_NUMBER_MAX}),
            Kind::Boolean => json!({"type": "boolean"}),
        };
        match schema {
            Value::Object(map) => map,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Kind::CommitPaths => "a list of texts",
            Kind::LineNumber => "a whole number",
            Kind::Boolean => "true or false",
            Kind::ReadPath
            | Kind::WritePath
            | Kind::Content
            | Kind::Reasoning
            | Kind::Line
            | Kind::CommitMessage
            | Kind::FilePattern
            | Kind::Branch
            | Kind::Environment
            | Kind::Database
            | Kind::TestModule => "a text",
        }
    }

    /// Checks a value; `None` where it has the wrong type.
    fn check(self, value: &Value, settings: &ToolSettings) -> Option<Result<(), InvalidValue>> {
        let text = value.as_str();
        Some(match self {
            Kind::ReadPath => read_path(text?, settings),
            Kind::WritePath => WorkspacePath::parse(text?).map(drop),
            Kind::CommitPaths => {
                let paths = value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
                if paths.is_empty() {
                    Err(InvalidValue::Empty)
                } else if paths.len() > FILES_MAX {
                    Err(InvalidValue::TooMany { length: paths.len(), max: FILES_MAX })
                } else {
                    paths.into_iter().try_for_each(|path| read_path(path, settings))
                }
            }
            Kind::Content => bounded(text?, settings.limits.write_bytes_max),
            Kind::Reasoning => bounded(text?, REASONING_BYTES_MAX),
            Kind::Line => no_control(text?, LINE_BYTES_MAX),
            Kind::CommitMessage => message(text?),
            Kind::FilePattern => FilePattern::parse(text?).map(drop),
            Kind::Branch => BranchName::parse(text?).map(drop),
            Kind::Environment => EnvironmentName::parse(text?, &settings.allowed_environments).map(drop),
            Kind::Database => DbName::parse(text?).map(drop),
            Kind::TestModule => TestModule::parse(text?).map(drop),
            Kind::LineNumber => match value.as_i64()? {
                line if (1..=LINE_NUMBER_MAX).contains(&line) => Ok(()),
                line => Err(InvalidValue::OutOfRange { value: line, min: 1, max: LINE_NUMBER_MAX }),
            },
            Kind::Boolean => value.as_bool().map(|_| Ok(()))?,
        })
    }
}

fn read_path(text: &str, settings: &ToolSettings) -> Result<(), InvalidValue> {
    settings.protected_files.check(&WorkspacePath::parse(text)?)
}

/// Text that may hold line ends and tabs and may be empty; U+0000 is in no message of ours.
fn bounded(text: &str, bytes_max: usize) -> Result<(), InvalidValue> {
    if text.len() > bytes_max {
        return Err(InvalidValue::TooLong { length: text.len(), max: bytes_max });
    }
    if text.contains('\0') { Err(InvalidValue::ControlCharacter(0)) } else { Ok(()) }
}

fn message(text: &str) -> Result<(), InvalidValue> {
    if text.trim().is_empty() {
        return Err(InvalidValue::Empty);
    }
    let one_line: String = text.chars().filter(|c| !matches!(c, '\n' | '\t')).collect();
    no_control(&one_line, MESSAGE_BYTES_MAX)
}

/// The JSON Schema of a table.
pub(super) fn schema(parameters: &[Parameter], settings: &ToolSettings) -> Value {
    let mut properties = Map::new();
    for parameter in parameters {
        let mut schema = parameter.kind.schema(settings);
        schema.insert("description".to_owned(), json!(parameter.description));
        properties.insert(parameter.name.to_owned(), Value::Object(schema));
    }
    let required: Vec<&str> = parameters.iter().filter(|p| p.required).map(|p| p.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Checks values against a table.
pub(super) fn check(
    tool: &ToolName,
    table: &[Parameter],
    values: &Map<String, Value>,
    settings: &ToolSettings,
) -> Result<(), ToolError> {
    if values.contains_key("$resolved") {
        return Err(ToolError::ResolvedGiven);
    }
    for (name, value) in values {
        let Some(parameter) = table.iter().find(|parameter| parameter.name == name) else {
            return Err(ToolError::UnknownParameter {
                tool: tool.clone(),
                parameter: name.escape_debug().take(64).collect(),
                hint: suggest::did_you_mean(name, table.iter().map(|parameter| parameter.name)),
            });
        };
        match parameter.kind.check(value, settings) {
            Some(Ok(())) => {}
            Some(Err(source)) => {
                return Err(ToolError::Invalid { tool: tool.clone(), parameter: name.clone(), source });
            }
            None => {
                return Err(ToolError::WrongType {
                    tool: tool.clone(),
                    parameter: name.clone(),
                    expected: parameter.kind.expected().to_owned(),
                    found: kind_of(value),
                });
            }
        }
    }
    match table.iter().find(|parameter| parameter.required && !values.contains_key(parameter.name)) {
        Some(missing) => Err(ToolError::MissingParameter { tool: tool.clone(), parameter: missing.name.to_owned() }),
        None => Ok(()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null; leave the parameter out",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
