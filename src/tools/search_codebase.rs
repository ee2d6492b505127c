//! `search_codebase`: ripgrep's own engine, in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use grep::regex::{RegexMatcher, RegexMatcherBuilder};
use grep::searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch};
use ignore::overrides::OverrideBuilder;
use ignore::{DirEntry, Walk, WalkBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ToolError;
use super::output;
use super::registry::{Context, Tool, ValidCall, blocking};
use super::settings::{Limits, ToolSettings};
use super::spec::{Declaration, Kind, Parameter};
use super::validators::{FilePattern, WorkspacePath, is_protected};
use super::workspace::Workspace;
use crate::schema::Tier;

/// Lines of context on each side of a match.
const CONTEXT_LINES: usize = 1;
/// Longest line shown, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Largest expression after it was compiled, in bytes.
const REGEX_BYTES_MAX: usize = 10 * 1024 * 1024;

const DECLARATION: Declaration = Declaration {
    name: "search_codebase",
    tier: Tier::Safe,
    base_risk_bps: 1000,
    description: "Searches the files of the workspace for a text or a regular expression. Honours ignore files. Returns \
                  each match with its file, line number, line and context.",
    parameters: &[
        Parameter { name: "query", kind: Kind::Line, required: true, description: "The text to look for." },
        Parameter {
            name: "file_pattern",
            kind: Kind::FilePattern,
            required: false,
            description: "Which files to look at, such as *.py or backend/**; all of them by default.",
        },
        Parameter {
            name: "regex",
            kind: Kind::Boolean,
            required: false,
            description: "Whether the query is a regular expression; false by default.",
        },
    ],
};

#[derive(Deserialize)]
struct Input {
    query: String,
    file_pattern: Option<FilePattern>,
    #[serde(default)]
    regex: bool,
}

/// One match. Last entries without a file say how much was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Found {
    file: String,
    line_number: u64,
    #[serde(rename = "match")]
    line: String,
    context: String,
}

pub(super) struct SearchCodebase;

#[async_trait]
impl Tool for SearchCodebase {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError> {
        let input: Input = call.input()?;
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        // A search that nobody waits for any more stops at the next file.
        let abandoned = Abandoned(Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&abandoned.0);
        let found = blocking("the search", move || search(&workspace, &settings, &input, &stop)).await?;
        call.output(&found)
    }
}

struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn search(
    workspace: &Workspace,
    settings: &ToolSettings,
    input: &Input,
    stop: &AtomicBool,
) -> Result<Vec<Found>, ToolError> {
    let matcher = matcher(input)?;
    let mut searcher = SearcherBuilder::new()
        .line_number(true)
        .before_context(CONTEXT_LINES)
        .after_context(CONTEXT_LINES)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(settings.limits.read_bytes_max.try_into().unwrap_or(usize::MAX)))
        .build();
    let mut matches = Matches::new(settings.limits);
    for entry in walk(workspace, input.file_pattern.as_ref())? {
        if stop.load(Ordering::Relaxed) {
            return Err(ToolError::Interrupted { what: "the search" });
        }
        match entry {
            Ok(entry) => {
                if let Some(path) = searchable(workspace, settings, &entry) {
                    search_file(&mut searcher, &matcher, workspace, settings, &path, &mut matches);
                }
            }
            Err(_) => matches.unsearched += 1,
        }
    }
    Ok(matches.finish())
}

fn matcher(input: &Input) -> Result<RegexMatcher, ToolError> {
    RegexMatcherBuilder::new()
        .fixed_strings(!input.regex)
        .line_terminator(Some(b'\n'))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build(&input.query)
        .map_err(|error| ToolError::Regex { query: input.query.clone(), detail: error.to_string() })
}

/// The files of the workspace in the order of their names. Nothing outside of it decides
/// which they are: no ignore file of a parent or of the user.
fn walk(workspace: &Workspace, pattern: Option<&FilePattern>) -> Result<Walk, ToolError> {
    let failed = |error: ignore::Error| ToolError::Search(error.to_string());
    let mut builder = WalkBuilder::new(workspace.root());
    builder
        .follow_links(false)
        .parents(false)
        .git_global(false)
        .require_git(false)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(|entry| !entry.file_name().to_str().is_some_and(is_protected));
    if let Some(pattern) = pattern {
        let mut overrides = OverrideBuilder::new(workspace.root());
        overrides.add(pattern.as_str()).map_err(failed)?;
        builder.overrides(overrides.build().map_err(failed)?);
    }
    Ok(builder.build())
}

/// The path of a file that may be read; nothing for a directory, a link or a protected file.
fn searchable(workspace: &Workspace, settings: &ToolSettings, entry: &DirEntry) -> Option<WorkspacePath> {
    if !entry.file_type()?.is_file() {
        return None;
    }
    let relative = entry.path().strip_prefix(workspace.root()).ok()?;
    let path = WorkspacePath::parse(relative.to_str()?).ok()?;
    settings.protected_files.check(&path).is_ok().then_some(path)
}

fn search_file(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    workspace: &Workspace,
    settings: &ToolSettings,
    path: &WorkspacePath,
    matches: &mut Matches,
) {
    matches.begin(path);
    let searched = match workspace.open_file(path, &settings.protected_files) {
        Ok(file) => searcher.search_file(matcher, &file, &mut *matches).is_ok(),
        Err(_) => false,
    };
    if !searched {
        matches.unsearched += 1;
    }
}

/// Collects matches up to the limits and counts the rest.
struct Matches {
    limits: Limits,
    found: Vec<Found>,
    bytes: usize,
    omitted: u64,
    /// Files and directories that could not be read, or not to their end.
    unsearched: u64,
    file: String,
    before: String,
    /// Whether the last match was kept, so that the lines after it are its context.
    open: bool,
}

impl Matches {
    fn new(limits: Limits) -> Self {
        Matches {
            limits,
            found: Vec::new(),
            bytes: 0,
            omitted: 0,
            unsearched: 0,
            file: String::new(),
            before: String::new(),
            open: false,
        }
    }

    fn begin(&mut self, path: &WorkspacePath) {
        path.as_str().clone_into(&mut self.file);
        self.before.clear();
        self.open = false;
    }

    fn full(&self) -> bool {
        self.found.len() >= self.limits.search_matches_max || self.bytes >= self.limits.output_bytes_max
    }

    fn finish(mut self) -> Vec<Found> {
        let note = |line| Found { file: String::new(), line_number: 0, line, context: String::new() };
        if self.omitted > 0 {
            let more = self.omitted;
            self.found
                .push(note(format!("[guardrail: {more} more matches are not shown; narrow the query or the files]")));
        }
        if self.unsearched > 0 {
            self.found.push(note(format!("[guardrail: {} files could not be searched]", self.unsearched)));
        }
        self.found
    }
}

/// A line as text, without its end.
fn line_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    output::cut(text.trim_end_matches(['\n', '\r']), LINE_BYTES_MAX)
}

impl Sink for Matches {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, std::io::Error> {
        let line = line_of(found.bytes());
        if let (true, Some(last)) = (self.open, self.found.last_mut()) {
            last.context.push_str(&format!("\n{line}"));
        }
        self.open = !self.full();
        if !self.open {
            self.omitted += 1;
            return Ok(true);
        }
        let context = format!("{}{line}", self.before);
        self.before = format!("{line}\n");
        self.bytes += self.file.len() + line.len() + context.len();
        let line_number = found.line_number().unwrap_or_default();
        self.found.push(Found { file: self.file.clone(), line_number, line, context });
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, std::io::Error> {
        let line = line_of(context.bytes());
        if let (true, SinkContextKind::After, Some(last)) = (self.open, context.kind(), self.found.last_mut()) {
            last.context.push_str(&format!("\n{line}"));
            self.bytes += line.len();
            self.open = false;
        }
        self.before = format!("{line}\n");
        Ok(true)
    }

    fn context_break(&mut self, _: &Searcher) -> Result<bool, std::io::Error> {
        self.before.clear();
        self.open = false;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "search_codebase_tests.rs"]
mod tests;
