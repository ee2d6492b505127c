//! `read_file`: the text of a file, or of some of its lines.

use std::fs::File;
use std::io::{Read, Take};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::registry::{Context, Tool, ValidCall, blocking};
use super::settings::{Limits, ToolSettings};
use super::spec::{Declaration, Kind, Parameter};
use super::validators::WorkspacePath;
use super::workspace::Workspace;
use super::{language, output};
use crate::crypto::hash::sha256;
use crate::schema::Tier;

const DECLARATION: Declaration = Declaration {
    name: "read_file",
    tier: Tier::Safe,
    base_risk_bps: 1000,
    description: "Reads a text file of the workspace. Returns its content, language, number of lines and size in bytes.",
    parameters: &[
        Parameter {
            name: "file_path",
            kind: Kind::ReadPath,
            required: true,
            description: "Path of the file, relative to the workspace.",
        },
        Parameter {
            name: "start_line",
            kind: Kind::LineNumber,
            required: false,
            description: "First line to return, counted from 1.",
        },
        Parameter { name: "end_line", kind: Kind::LineNumber, required: false, description: "Last line to return." },
    ],
};

#[derive(Deserialize)]
struct Input {
    file_path: WorkspacePath,
    start_line: Option<usize>,
    end_line: Option<usize>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    content: String,
    language: &'static str,
    line_count: usize,
    /// Bytes.
    size: u64,
}

pub(super) struct ReadFile;

#[async_trait]
impl Tool for ReadFile {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError> {
        let input: Input = call.input()?;
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        let output = blocking("reading", move || read(&workspace, &settings, &input)).await?;
        call.output(&output)
    }

    async fn resolve(&self, call: &ValidCall, context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        let input: Input = call.input()?;
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        let bytes = blocking("reading", move || read_bytes(&workspace, &settings, &input.file_path)).await?;
        Ok(Map::from_iter([("file_sha256".to_owned(), json!(sha256(&bytes)))]))
    }
}

fn read(workspace: &Workspace, settings: &ToolSettings, input: &Input) -> Result<Output, ToolError> {
    let bytes = read_bytes(workspace, settings, &input.file_path)?;
    let size = bytes.len() as u64;
    let Some(text) = decode(&bytes) else {
        let content = format!("[guardrail: a binary file of {size} bytes, not shown]");
        return Ok(Output { content, language: "binary", line_count: 0, size });
    };
    let content = range(&text, input.start_line, input.end_line, &settings.limits);
    Ok(Output { content, language: language::of(input.file_path.file_name()), line_count: text.lines().count(), size })
}

/// The bytes of a file of the workspace, if it may be read and is not too large.
pub(super) fn read_bytes(
    workspace: &Workspace,
    settings: &ToolSettings,
    path: &WorkspacePath,
) -> Result<Vec<u8>, ToolError> {
    let limit = settings.limits.read_bytes_max;
    let failed = |source| ToolError::File { action: "read", path: path.as_str().to_owned(), source };
    let file = workspace.open_file(path, &settings.protected_files)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    let mut limited: Take<File> = file.take(limit + 1);
    if size <= limit {
        limited.read_to_end(&mut bytes).map_err(failed)?;
    }
    if size > limit || bytes.len() as u64 > limit {
        return Err(ToolError::FileTooLarge { path: path.as_str().to_owned(), size: size.max(limit + 1), limit });
    }
    Ok(bytes)
}

/// Text in UTF-8, or in UTF-16 with its mark; nothing for a binary file, which is one that
/// holds U+0000. Other bytes show as U+FFFD, and the text says how many there are.
fn decode(bytes: &[u8]) -> Option<String> {
    let units = |rest: &[u8], unit: fn([u8; 2]) -> u16| -> Vec<u16> {
        rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect()
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => String::from_utf16_lossy(&units(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => String::from_utf16_lossy(&units(rest, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, rest @ ..] => lossy(rest),
        _ => lossy(bytes),
    };
    (!text.contains('\0')).then_some(text)
}

fn lossy(bytes: &[u8]) -> String {
    let invalid = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    let text = String::from_utf8_lossy(bytes).into_owned();
    match invalid {
        0 => text,
        count => format!("{text}\n[guardrail: {count} places are not UTF-8 and show as U+FFFD]"),
    }
}

/// The lines asked for, as many as the limit allows.
fn range(text: &str, start_line: Option<usize>, end_line: Option<usize>, limits: &Limits) -> String {
    let first = start_line.unwrap_or(1);
    let last = end_line.unwrap_or(usize::MAX);
    let chosen: String;
    let chosen = if first == 1 && last == usize::MAX {
        text
    } else {
        let lines = text.split_inclusive('\n').skip(first.saturating_sub(1));
        chosen = lines.take(last.saturating_add(1).saturating_sub(first)).collect();
        &chosen
    };
    if chosen.len() <= limits.output_bytes_max {
        return chosen.to_owned();
    }
    let kept = &chosen[..output::boundary_below(chosen, limits.output_bytes_max)];
    let next = first + kept.matches('\n').count();
    let missing = chosen.len() - kept.len();
    format!("{kept}\n[guardrail: {missing} more bytes are not shown; go on with start_line {next}]")
}

#[cfg(test)]
#[path = "read_file_tests.rs"]
mod tests;
