//! Values that cannot name anything outside what a tool may touch.
//!
//! Each is parsed once, from text alone; what depends on the disk is checked when the
//! workspace opens the path.

use std::fmt;

use ignore::overrides::OverrideBuilder;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::error::InvalidValue;
use crate::suggest;

/// Longest path, in bytes (Linux PATH_MAX without its end).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest name of a branch, in bytes.
pub const BRANCH_BYTES_MAX: usize = 244;
/// Longest file pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Directories that no tool opens: git's own, whose files can run programs, and the agent's.
const PROTECTED_PARTS: [&str; 3] = [".git", ".guardrail", "ipc_channel"];

macro_rules! parsed_text {
    ($type:ident) => {
        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::parse(&text).map_err(D::Error::custom)
            }
        }
    };
}

/// A file of the workspace: relative, `/`-separated, without `.` and `..`, outside the
/// protected directories. Where it really leads is for [`super::Workspace`] to check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath(String);
parsed_text!(WorkspacePath);

impl WorkspacePath {
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        no_control(text, PATH_BYTES_MAX)?;
        let shown = || text.to_owned();
        if text.starts_with('/') || text.starts_with('~') {
            return Err(InvalidValue::AbsolutePath(shown()));
        }
        if text.contains('\\') {
            return Err(InvalidValue::Backslash(shown()));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(InvalidValue::PathTraversal(shown()));
        }
        if text.ends_with('/') {
            return Err(InvalidValue::NotAFile(shown()));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.is_empty() {
            return Err(InvalidValue::NotAFile(shown()));
        }
        match parts.iter().find(|part| is_protected(part)) {
            Some(part) => Err(InvalidValue::ProtectedPath { path: shown(), part: (*part).to_owned() }),
            None => Ok(WorkspacePath(parts.join("/"))),
        }
    }

    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory it is in; the empty string for the workspace itself.
    pub fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

/// Says whether a path component is one that no tool opens.
pub(super) fn is_protected(part: &str) -> bool {
    PROTECTED_PARTS.iter().any(|protected| part.eq_ignore_ascii_case(protected))
}

/// A branch: git's own rules (`git check-ref-format`) for `refs/heads/<name>`, and beyond
/// them no leading dash, no `HEAD`, no control character of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchName(String);
parsed_text!(BranchName);

impl BranchName {
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        no_control(text, BRANCH_BYTES_MAX)?;
        match broken_branch_rule(text) {
            Some(rule) => Err(InvalidValue::BranchName { name: text.to_owned(), rule }),
            None => Ok(BranchName(text.to_owned())),
        }
    }
}

fn broken_branch_rule(text: &str) -> Option<&'static str> {
    let parts = || text.split('/');
    let rules: [(bool, &'static str); 10] = [
        (text.starts_with('-'), "it begins with a dash"),
        (text == "HEAD" || text == "@", "the name is git's own"),
        (text.contains([' ', '~', '^', ':', '?', '*', '[', '\\']), "it holds a space or one of ~ ^ : ? * [ \\"),
        (text.contains(".."), "it holds `..`"),
        (text.contains("@{"), "it holds `@{`"),
        (parts().any(str::is_empty), "it begins or ends with a slash or holds two in a row"),
        (parts().any(|part| part.starts_with('.')), "a part of it begins with a dot"),
        (parts().any(|part| part.ends_with(".lock")), "a part of it ends with `.lock`"),
        (text.ends_with('.'), "it ends with a dot"),
        (text.contains('\u{7f}'), "it holds a control character"),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule)
}

/// An environment that the configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// # Errors
    /// The allowed names, and the nearest of them.
    pub fn parse(text: &str, allowed: &[String]) -> Result<Self, InvalidValue> {
        if allowed.iter().any(|name| name == text) {
            return Ok(EnvironmentName(text.to_owned()));
        }
        Err(InvalidValue::Environment {
            name: text.escape_debug().take(64).collect(),
            hint: suggest::did_you_mean(text, allowed.iter().map(String::as_str)),
            allowed: allowed.join(", "),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A database: what every engine takes without quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbName(String);
parsed_text!(DbName);

impl DbName {
    /// # Errors
    /// When the text is no such name.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if is_identifier(text) && text.len() <= 63 {
            Ok(DbName(text.to_owned()))
        } else {
            Err(InvalidValue::Database(text.escape_debug().take(64).collect()))
        }
    }
}

/// A test module: a dotted Python name, or the path of a file in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestModule(String);
parsed_text!(TestModule);

impl TestModule {
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        no_control(text, PATH_BYTES_MAX)?;
        if text.split('.').all(is_identifier) && !text.ends_with(".py") {
            return Ok(TestModule(text.to_owned()));
        }
        if text.starts_with('-') || !(text.contains('/') || text.ends_with(".py")) {
            return Err(InvalidValue::Module(text.to_owned()));
        }
        WorkspacePath::parse(text).map(|path| TestModule(path.0))
    }
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Which files a search looks at, in the syntax of ignore files: `*.py`, `backend/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePattern(String);
parsed_text!(FilePattern);

impl FilePattern {
    /// # Errors
    /// When it is no glob, or one that excludes.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        no_control(text, PATTERN_BYTES_MAX)?;
        let refuse = |rule: &str| Err(InvalidValue::Pattern { pattern: text.to_owned(), rule: rule.to_owned() });
        if text.starts_with('!') {
            return refuse("it excludes; name what to look at");
        }
        if text.split('/').any(|part| part == "..") {
            return refuse("it holds `..`");
        }
        match OverrideBuilder::new("/").add(text) {
            Ok(_) => Ok(FilePattern(text.to_owned())),
            Err(error) => refuse(&error.to_string()),
        }
    }
}

/// Refuses empty and overlong text and control characters.
pub(super) fn no_control(text: &str, bytes_max: usize) -> Result<(), InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::Empty);
    }
    if text.len() > bytes_max {
        return Err(InvalidValue::TooLong { length: text.len(), max: bytes_max });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(InvalidValue::ControlCharacter(u32::from(found))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "validators_tests.rs"]
mod tests;
