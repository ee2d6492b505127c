//! `write_file`: replaces a file in one step and keeps what was there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::registry::{Context, Tool, ValidCall, blocking};
use super::settings::ToolSettings;
use super::spec::{Declaration, Kind, Parameter};
use super::validators::WorkspacePath;
use super::workspace::{self, Workspace};
use crate::crypto::hash::sha256;
use crate::crypto::random;
use crate::schema::{Sha256Digest, Tier};

/// Where the previous contents are kept, by their hash.
const BACKUPS: &str = ".guardrail/backups";
/// Permission bits that are kept; a file that changes does not stay set-user-id.
const MODE_KEPT: u32 = 0o777;

const DECLARATION: Declaration = Declaration {
    name: "write_file",
    tier: Tier::Write,
    base_risk_bps: 4000,
    description: "Writes the whole content of a file of the workspace, in one step. Keeps a backup of what was there and \
                  returns the checksum of what is there now.",
    parameters: &[
        Parameter {
            name: "file_path",
            kind: Kind::WritePath,
            required: true,
            description: "Path of the file, relative to the workspace.",
        },
        Parameter { name: "content", kind: Kind::Content, required: true, description: "The whole new content." },
        Parameter {
            name: "reasoning",
            kind: Kind::Reasoning,
            required: true,
            description: "Why, how it is tested, and how it can be rolled back.",
        },
    ],
};

#[derive(Deserialize)]
struct Input {
    file_path: WorkspacePath,
    content: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    success: bool,
    /// SHA-256 of the new content.
    checksum: Sha256Digest,
    /// Where the previous content is, relative to the workspace; null for a new file.
    backup_path: Option<String>,
}

pub(super) struct WriteFile;

#[async_trait]
impl Tool for WriteFile {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError> {
        let input: Input = call.input()?;
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        let output = blocking("writing", move || write(&workspace, &settings, &input)).await?;
        call.output(&output)
    }

    async fn resolve(&self, call: &ValidCall, context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        let input: Input = call.input()?;
        let (workspace, settings) = (context.workspace.clone(), context.settings.clone());
        let current = blocking("reading", move || current_sha256(&workspace, &settings, &input.file_path)).await?;
        Ok(Map::from_iter([("replaces_sha256".to_owned(), json!(current))]))
    }
}

/// The hash of what would be replaced; nothing where the name is free.
fn current_sha256(
    workspace: &Workspace,
    settings: &ToolSettings,
    path: &WorkspacePath,
) -> Result<Option<Sha256Digest>, ToolError> {
    match workspace.open_parent(path) {
        Ok(parent) => Ok(previous(workspace, settings, &parent, path)?.map(|(bytes, _)| sha256(&bytes))),
        Err(ToolError::Path { rule, .. }) if rule == workspace::DOES_NOT_EXIST => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(workspace: &Workspace, settings: &ToolSettings, input: &Input) -> Result<Output, ToolError> {
    let path = &input.file_path;
    let parent = workspace.create_parent(path)?;
    let previous = previous(workspace, settings, &parent, path)?;
    let (backup_path, mode) = match &previous {
        Some((bytes, mode)) => (Some(back_up(workspace, path, bytes)?), Some(*mode)),
        None => (None, None),
    };
    replace(&parent, path, input.content.as_bytes(), mode)?;
    Ok(Output { success: true, checksum: sha256(input.content.as_bytes()), backup_path })
}

/// The content and mode of the file as it is.
fn previous(
    workspace: &Workspace,
    settings: &ToolSettings,
    parent: &OwnedFd,
    path: &WorkspacePath,
) -> Result<Option<(Vec<u8>, Mode)>, ToolError> {
    let Some(stat) = workspace.existing(parent, path)? else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = rustix::fs::openat(parent, path.file_name(), flags, Mode::empty())
        .map_err(|errno| workspace::path_error(path.as_str(), "read", errno))?;
    let limit = settings.limits.read_bytes_max;
    let mut bytes = Vec::new();
    File::from(opened).take(limit + 1).read_to_end(&mut bytes).map_err(|source| ToolError::File {
        action: "read",
        path: path.as_str().to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(ToolError::FileTooLarge { path: path.as_str().to_owned(), size: bytes.len() as u64, limit });
    }
    Ok(Some((bytes, Mode::from_raw_mode(stat.st_mode & MODE_KEPT))))
}

/// Keeps a content under its hash, out of git's sight. The same content is kept once.
fn back_up(workspace: &Workspace, path: &WorkspacePath, bytes: &[u8]) -> Result<String, ToolError> {
    let digest = sha256(bytes).to_string();
    let directory = format!("{BACKUPS}/{}/{}", &digest[..16], path.parent());
    let backup_path = format!("{}/{}", directory.trim_end_matches('/'), path.file_name());
    let own = workspace.create_directory(".guardrail")?;
    replace_named(&own, ".gitignore", ".guardrail/.gitignore", b"*\n", None)?;
    let parent = workspace.create_directory(&directory)?;
    replace_named(&parent, path.file_name(), &backup_path, bytes, Some(Mode::from_raw_mode(0o600)))?;
    Ok(backup_path)
}

fn replace(parent: &OwnedFd, path: &WorkspacePath, bytes: &[u8], mode: Option<Mode>) -> Result<(), ToolError> {
    replace_named(parent, path.file_name(), path.as_str(), bytes, mode)
}

/// Puts a whole file under a name: a temporary file, synced, renamed, and the directory
/// synced, so that after a crash there is the old content or the new one.
fn replace_named(parent: &OwnedFd, name: &str, shown: &str, bytes: &[u8], mode: Option<Mode>) -> Result<(), ToolError> {
    let tag: [u8; 8] = random::bytes().map_err(ToolError::Random)?;
    let temporary = format!(".guardrail-{}.tmp", alloy::hex::encode(tag));
    let written = write_temporary(parent, &temporary, bytes, mode).and_then(|()| {
        rustix::fs::renameat(parent, &temporary, parent, name)?;
        Ok(())
    });
    if let Err(source) = written {
        // Best effort: the error that matters is the one that is returned.
        let _ = rustix::fs::unlinkat(parent, &temporary, AtFlags::empty());
        return Err(ToolError::File { action: "write", path: shown.to_owned(), source });
    }
    workspace::sync(parent, shown)
}

fn write_temporary(parent: &OwnedFd, name: &str, bytes: &[u8], mode: Option<Mode>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A new file gets what the process's umask leaves.
    let opened = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666))?;
    if let Some(mode) = mode {
        rustix::fs::fchmod(&opened, mode)?;
    }
    let mut file = File::from(opened);
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "write_file_tests.rs"]
mod tests;
