//! What the parameters of an action say about it.

use serde_json::{Map, Value};

use super::config::{RiskModifiers, RunContext};
use super::text::paths::PathClass;
use super::text::{code, credentials, names, sql};
use crate::schema::{Tier, ToolName};

/// Parameters that hold prose or content; what they mention is not what is touched.
const FREE_TEXT: [&str; 5] = ["content", "message", "query", "reasoning", "value"];

/// Free texts and patterns, in which signs of a shell mean nothing.
const NO_NAMES: [&str; 12] = [
    "content",
    "message",
    "query",
    "reasoning",
    "value",
    "description",
    "pattern",
    "file_pattern",
    "body",
    "title",
    "regex",
    "diff",
];

/// Parameters that say what is done rather than to what.
const VERBS: [&str; 5] = ["action", "command", "method", "mode", "operation"];

/// Longest value shown in a justification, in characters.
const SHOWN_CHARS_MAX: usize = 64;
/// Most of a content that is read, in bytes.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// Branches that nobody changes alone.
const PROTECTED_BRANCHES: [&str; 7] = ["main", "master", "production", "prod", "trunk", "release", "stable"];

/// The traits found, each as what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    pub production: Option<String>,
    pub secrets_path: Option<String>,
    pub destructive: Option<String>,
    /// The signals of `config.rs` by name, with what raised them.
    pub signals: Vec<(&'static str, String)>,
    /// Lines of the content that is written.
    pub content_lines: usize,
    /// Files that are named.
    pub files: usize,
    pub environment: Option<String>,
    pub target: Option<String>,
}

impl Traits {
    pub fn has(&self, name: &str) -> bool {
        self.signals.iter().any(|(found, _)| *found == name)
    }

    fn raise(&mut self, name: &'static str, why: String) {
        if !self.has(name) {
            self.signals.push((name, why));
        }
    }
}

/// Reads the traits of an action. Every string outside the free texts counts, whatever its
/// parameter is called, so that a tool nobody has thought of is scored too.
pub(super) fn find(
    config: &RiskModifiers,
    tool_name: &ToolName,
    tier: Tier,
    parameters: &Map<String, Value>,
    context: &RunContext,
) -> Traits {
    let targets = || strings(parameters, |name| !FREE_TEXT.contains(&name));
    let verbs = strings(parameters, |name| VERBS.contains(&name));
    let is_production = |text: &str| config.production.environments.iter().any(|name| same(name, text));
    let is_secret = |text: &str| {
        let text = text.to_lowercase();
        // An example holds no credentials; protected_files makes the same exception.
        let example = [".example", ".sample", ".template", ".dist"].iter().any(|end| text.ends_with(end));
        !example && config.secrets_path.contains.iter().any(|part| text.contains(&part.to_lowercase()))
    };
    let destructive = |text: &str| {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| config.destructive.words.iter().any(|verb| same(verb, word))).map(str::to_owned).next()
    };
    let named = |names: &[&str]| {
        let value = names.iter().find_map(|name| parameters.get(*name)).and_then(Value::as_str);
        value.map(shown)
    };
    let mut found = Traits {
        production: targets().into_iter().find(|text| is_production(text)).map(shown),
        // A branch is no place where credentials live, whatever it is called after.
        secrets_path: strings(parameters, |name| !FREE_TEXT.contains(&name) && !name.contains("branch"))
            .into_iter()
            .find(|text| is_secret(text))
            .map(shown),
        destructive: std::iter::once(tool_name.as_str()).chain(verbs).find_map(destructive),
        environment: named(&["environment", "env", "stage", "namespace"]),
        target: named(&[
            "file_path",
            "path",
            "db_name",
            "database",
            "branch",
            "branch_name",
            "service",
            "package",
            "name",
            "target",
        ]),
        files: parameters
            .get("files")
            .and_then(Value::as_array)
            .map_or(usize::from(parameters.contains_key("file_path")), Vec::len),
        ..Traits::default()
    };
    paths(&mut found, tier, parameters);
    names_of(&mut found, config, tool_name, tier, parameters);
    content(&mut found, parameters);
    dependencies(&mut found, tool_name, parameters);
    run(&mut found, config, tier, context);
    found
}

fn paths(found: &mut Traits, tier: Tier, parameters: &Map<String, Value>) {
    let is_path = |name: &str| {
        !NO_NAMES.contains(&name)
            && ["path", "file", "dir", "folder", "target", "destination", "source"]
                .iter()
                .any(|part| name.contains(part))
    };
    for text in strings(parameters, is_path) {
        if text.len() > 4096 || text.contains("://") {
            continue;
        }
        let class = PathClass::of(text, "");
        let leaves =
            class.system || text.starts_with('~') || text.contains("../") || text.contains("..\\") || text == "..";
        match tier {
            // A read of what holds no credentials stays a read, wherever it is.
            Tier::Safe => {
                if class.secret || (leaves && (class.system || class.autorun || text.contains(".."))) {
                    found.raise(
                        "credential_read",
                        format!("`{}` holds credentials or lies outside the workspace", shown(text)),
                    );
                }
            }
            Tier::Write | Tier::Critical => {
                if leaves {
                    found.raise("outside_workspace", format!("`{}` is not in the workspace", shown(text)));
                }
                if class.autorun {
                    found.raise("autorun_file", format!("`{}` is run by itself later", shown(text)));
                }
                if class.secret && found.secrets_path.is_none() {
                    found.secrets_path = Some(shown(text));
                }
                if class.pipeline {
                    found.raise(
                        "pipeline_file",
                        format!("`{}` says how software is built, deployed or hosted", shown(text)),
                    );
                }
                if class.migration {
                    found.raise("migration", format!("`{}` changes the shape of a database", shown(text)));
                }
                if class.git_dir {
                    found.raise("outside_workspace", format!("`{}` is the repository's own storage", shown(text)));
                }
            }
        }
    }
}

fn names_of(
    found: &mut Traits,
    config: &RiskModifiers,
    tool_name: &ToolName,
    tier: Tier,
    parameters: &Map<String, Value>,
) {
    if tier == Tier::Safe {
        return;
    }
    let _ = config;
    let everything = |text: &str| {
        matches!(text.trim(), "*" | "**" | "%" | "--all" | "-A" | "/" | "~" | "/*" | "./*" | "*.*" | ".*" | "0.0.0.0/0")
    };
    if !tool_name.as_str().contains("test")
        && let Some(text) =
            strings(parameters, |name| !NO_NAMES.contains(&name)).into_iter().find(|text| everything(text))
    {
        found.raise("wide_blast", format!("`{}` is everything", shown(text)));
    }
    let shell = |text: &str| {
        text.len() <= 4096
            && (text.contains("$(")
                || text.contains('`')
                || text.contains("&&")
                || text.contains("||")
                || text.contains(';')
                || text.contains(" | ")
                || text.contains('\n')
                || text.contains(">/")
                || text.contains("> /"))
    };
    let names_only = |name: &str| !NO_NAMES.contains(&name) && name != "command";
    if let Some(text) = strings(parameters, names_only).into_iter().find(|text| shell(text)) {
        found.raise("shell_syntax", format!("`{}` is written for a shell", shown(text)));
    }
    let on_branch =
        ["git", "branch", "push", "merge", "commit", "rebase"].iter().any(|part| tool_name.as_str().contains(part));
    if on_branch {
        let branch = |text: &&str| {
            let name = text.trim_start_matches("refs/heads/").trim_start_matches("origin/");
            PROTECTED_BRANCHES.contains(&name) || name.starts_with("release/") || name.starts_with("hotfix/")
        };
        if let Some(text) =
            strings(parameters, |name| name.contains("branch") || name == "target" || name == "ref" || name == "name")
                .into_iter()
                .find(branch)
        {
            found.raise("protected_branch", format!("`{}` is a branch that nobody changes alone", shown(text)));
        }
    }
}

fn content(found: &mut Traits, parameters: &Map<String, Value>) {
    let Some(text) = ["content", "new_content", "text", "body", "patch", "diff", "replacement"]
        .iter()
        .find_map(|name| parameters.get(*name))
        .and_then(Value::as_str)
    else {
        return;
    };
    let mut end = text.len().min(CONTENT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    found.content_lines = text.lines().count();
    let path = ["file_path", "path", "file", "filename"]
        .iter()
        .find_map(|name| parameters.get(*name))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_lowercase();
    let ends = |list: &[&str]| list.iter().any(|end| path.ends_with(end));
    let prose = ends(&[".md", ".rst", ".txt", ".adoc", ".html"]);
    let about_tests = path.split(|c: char| !c.is_alphanumeric()).any(|word| {
        matches!(
            word,
            "test"
                | "tests"
                | "spec"
                | "specs"
                | "fixture"
                | "fixtures"
                | "mock"
                | "mocks"
                | "example"
                | "examples"
                | "testdata"
        )
    });
    if let Some(kind) = credentials::find(text).filter(|kind| *kind != "a password or key" || !(about_tests || prose)) {
        found.raise("credentials_content", format!("the content holds {kind}"));
    }
    if prose {
        return;
    }
    if let Some(line) = code::harmful_line(text) {
        found.raise("destructive_content", format!("the content holds `{}`", shown(line.trim())));
    }
    let calls = code::read(text);
    if !about_tests
        && ((calls.decodes && calls.executes && (text.contains("exec(") || text.contains("eval(")))
            || (calls.connects && (text.contains("pty.spawn") || text.contains("os.dup2"))))
    {
        found.raise("destructive_content", "the content runs what it decodes, or gives a shell away".to_owned());
    }
    if about_tests {
        return;
    }
    let statements = ends(&[".sql", ".ddl", ".psql", ".pgsql"]);
    let harmful = if statements {
        sql::read(text).is_harmful()
    } else {
        let upper = text.to_uppercase();
        ["DROP TABLE ", "DROP DATABASE ", "TRUNCATE TABLE ", "DROP SCHEMA ", "DROP COLUMN "]
            .iter()
            .any(|words| upper.contains(words))
            || [
                "op.drop_table(",
                "op.drop_column(",
                "drop_table :",
                "remove_column :",
                "dropTable(",
                "dropColumn(",
                "DeleteModel(",
                "RemoveField(",
                "deleteMany({})",
                "dropDatabase(",
            ]
            .iter()
            .any(|call| text.contains(call))
            || unbounded_delete(&upper)
    };
    if harmful {
        found.raise("destructive_content", "the content removes tables, columns or every row".to_owned());
    }
    let wide = [
        "\"Action\": \"*\"",
        "\"Action\":\"*\"",
        "\"Principal\": \"*\"",
        "\"Principal\":\"*\"",
        "AdministratorAccess",
        "cluster-admin",
        "privileged: true",
        "NOPASSWD: ALL",
        "NOPASSWD:ALL",
        "hostPID: true",
        "permissions: write-all",
    ];
    if let Some(words) = wide.iter().find(|words| text.contains(**words)) {
        found.raise("wide_blast", format!("the content grants everything: `{words}`"));
    }
}

/// `DELETE FROM x` with no WHERE before the statement or the string ends.
fn unbounded_delete(upper: &str) -> bool {
    upper.match_indices("DELETE FROM ").any(|(at, words)| {
        let rest = &upper[at + words.len()..];
        let statement = rest.split([';', '"', '`', '\n']).next().unwrap_or_default();
        let name = statement.split_whitespace().next().unwrap_or_default();
        !name.is_empty() && statement.trim() == name
    })
}

fn dependencies(found: &mut Traits, tool_name: &ToolName, parameters: &Map<String, Value>) {
    let installs =
        ["install", "dependency", "dependencies", "package"].iter().any(|word| tool_name.as_str().contains(word));
    if !installs {
        return;
    }
    for text in strings(parameters, |name| {
        !NO_NAMES.contains(&name) && !["version", "manager", "package_manager", "ecosystem"].contains(&name)
    }) {
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            if let Some(popular) = names::near_miss(word) {
                found.raise("lookalike_dependency", format!("`{}` is one slip away from `{popular}`", shown(word)));
            }
            let usual =
                ["pypi.org", "registry.npmjs.org", "crates.io", "rubygems.org"].iter().any(|host| word.contains(host));
            if names::is_foreign(word) && !usual {
                found.raise("foreign_dependency", format!("`{}` is outside the package index", shown(word)));
            }
        }
    }
}

fn run(found: &mut Traits, config: &RiskModifiers, tier: Tier, context: &RunContext) {
    if tier == Tier::Safe {
        return;
    }
    if context.first_use {
        found.raise("first_use", "this run uses the tool for the first time".to_owned());
    }
    if context.recent_writes >= config.signals.burst_writes_min {
        found.raise(
            "write_burst",
            format!("{} writes in the last {} s", context.recent_writes, super::config::BURST_WINDOW_S),
        );
    }
    if let Some(words) = &context.untrusted {
        found.raise("untrusted_content", format!("what was read since you last spoke says `{}`", shown(words)));
    }
}

fn same(name: &str, text: &str) -> bool {
    name.to_lowercase() == text.trim().to_lowercase()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

fn strings(parameters: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open: Vec<&Value> = parameters.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| value).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.push(text.as_str()),
            Value::Array(items) => open.extend(items),
            Value::Object(map) => open.extend(map.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found.sort_unstable();
    found
}
