//! `git_commit`: commits the named files, and only those.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::git;
use super::read_file::read_bytes;
use super::registry::{Context, Tool, ValidCall, blocking};
use super::spec::{Declaration, Kind, Parameter};
use super::validators::WorkspacePath;
use crate::crypto::hash::sha256;
use crate::schema::Tier;

const DECLARATION: Declaration = Declaration {
    name: "git_commit",
    tier: Tier::Write,
    base_risk_bps: 3500,
    description: "Commits the named files of the workspace and nothing else. Returns the commit and its size.",
    parameters: &[
        Parameter { name: "message", kind: Kind::CommitMessage, required: true, description: "The commit message." },
        Parameter {
            name: "files",
            kind: Kind::CommitPaths,
            required: true,
            description: "Paths of the files to commit, relative to the workspace.",
        },
    ],
};

#[derive(Deserialize)]
struct Input {
    message: String,
    files: Vec<WorkspacePath>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    commit_hash: String,
    files_changed: u64,
    insertions: u64,
    deletions: u64,
}

pub(super) struct GitCommit;

#[async_trait]
impl Tool for GitCommit {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError> {
        let input: Input = call.input()?;
        let output = commit(&input, context).await?;
        call.output(&output)
    }

    async fn resolve(&self, call: &ValidCall, context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        let input: Input = call.input()?;
        let arguments = ["--verify", "--quiet", "--end-of-options", "HEAD^{commit}"];
        let head = git::attempt(context.workspace, &context.settings.git, "rev-parse", &arguments).await?;
        let head = head.status.success().then(|| head.stdout.text().trim().to_owned());
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        let contents = blocking("reading", move || {
            let hash = |file: &WorkspacePath| match read_bytes(&workspace, &settings, file) {
                Ok(bytes) => Ok((file.as_str().to_owned(), json!(sha256(&bytes)))),
                Err(ToolError::Path { rule, .. }) if rule == super::workspace::DOES_NOT_EXIST => {
                    Ok((file.as_str().to_owned(), Value::Null))
                }
                Err(error) => Err(error),
            };
            input.files.iter().map(hash).collect::<Result<Map<String, Value>, ToolError>>()
        })
        .await?;
        Ok(Map::from_iter([("head".to_owned(), json!(head)), ("files_sha256".to_owned(), Value::Object(contents))]))
    }
}

async fn commit(input: &Input, context: &Context<'_>) -> Result<Output, ToolError> {
    let (workspace, identity) = (context.workspace, &context.settings.git);
    let files: Vec<&str> = input.files.iter().map(WorkspacePath::as_str).collect();
    let with_files = |options: &[&'static str]| -> Vec<String> {
        options.iter().chain(&["--"]).copied().chain(files.iter().copied()).map(str::to_owned).collect()
    };

    // New files have to be known to git before `--only` can name them; deletions are staged too.
    let staging = with_files(&["--all"]);
    git::run(workspace, identity, "add", &borrowed(&staging)).await?;
    let changed = with_files(&["--cached", "--quiet", "--no-ext-diff"]);
    let unchanged = git::attempt(workspace, identity, "diff", &borrowed(&changed)).await?;
    match unchanged.status.code() {
        Some(0) => return Err(ToolError::NothingToCommit),
        Some(1) => {}
        _ => return Err(git::failure("diff", &unchanged)),
    }

    let message = format!("--message={}", input.message);
    let mut committing =
        vec!["--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", &message, "--only", "--"];
    committing.extend(&files);
    git::run(workspace, identity, "commit", &committing).await?;

    let head = git::run(workspace, identity, "rev-parse", &["--verify", "--end-of-options", "HEAD"]).await?;
    let commit_hash = head.trim().to_owned();
    let options =
        ["--root", "--no-commit-id", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", "-r", "-z"];
    let mut counting = options.to_vec();
    counting.extend(["--end-of-options", &commit_hash]);
    let numbers = git::run(workspace, identity, "diff-tree", &counting).await?;
    Ok(count(commit_hash, &numbers))
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Adds up `insertions TAB deletions TAB path NUL`; a binary file counts no lines (`-`).
fn count(commit_hash: String, numstat: &str) -> Output {
    let mut output = Output { commit_hash, files_changed: 0, insertions: 0, deletions: 0 };
    for entry in numstat.split('\0').filter(|entry| !entry.is_empty()) {
        let mut numbers = entry.split('\t').map(|field| field.parse::<u64>().unwrap_or_default());
        output.files_changed += 1;
        output.insertions += numbers.next().unwrap_or_default();
        output.deletions += numbers.next().unwrap_or_default();
    }
    output
}

#[cfg(test)]
#[path = "git_commit_tests.rs"]
mod tests;
