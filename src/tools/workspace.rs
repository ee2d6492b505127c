//! The one directory that tools read and write, held open.
//!
//! Every path is opened relative to the directory's handle with `openat2`, so the kernel
//! itself refuses to leave it, also when a symbolic link is swapped in meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::ToolError;
use super::settings::ProtectedFiles;
use super::validators::WorkspacePath;

/// The rule of a [`ToolError::Path`] for a name that nothing stands under.
pub(super) const DOES_NOT_EXIST: &str = "does not exist in the workspace";

/// A directory that was opened once; what later stands under its name does not matter.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    directory: Arc<OwnedFd>,
}

impl Workspace {
    /// Opens a directory as the workspace.
    ///
    /// # Errors
    /// When it cannot be opened as a directory, or is the file system's root.
    pub fn open(root: &Path) -> Result<Workspace, ToolError> {
        let failed = |source: io::Error| ToolError::Workspace { root: root.to_owned(), source };
        let canonical = root.canonicalize().map_err(failed)?;
        if canonical.parent().is_none() {
            return Err(ToolError::WorkspaceRefused { root: canonical, rule: "is the root of the file system" });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &canonical, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        Ok(Workspace { root: canonical, directory: Arc::new(directory) })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens a file for reading. Symbolic links inside the workspace are followed; where they
    /// lead must be a file that may be read under its own name, too.
    pub(super) fn open_file(&self, path: &WorkspacePath, protected: &ProtectedFiles) -> Result<File, ToolError> {
        // O_NONBLOCK: opening a FIFO that nobody writes must not wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(self.directory.as_fd(), path.as_str(), flags, Mode::empty(), resolve)
            .map_err(|errno| path_error(path.as_str(), "read", errno))?;
        let stat = rustix::fs::fstat(&opened).map_err(|errno| path_error(path.as_str(), "read", errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(rule(path.as_str(), "is a directory, not a file")),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(rule(path.as_str(), "is not a regular file")),
        }
        self.check_resolved(path, &opened, protected)?;
        Ok(File::from(opened))
    }

    /// Checks the name that an open file really has, so that a link is no way around a rule.
    fn check_resolved(
        &self,
        path: &WorkspacePath,
        opened: &OwnedFd,
        protected: &ProtectedFiles,
    ) -> Result<(), ToolError> {
        let name_of = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let failed = |source| ToolError::File { action: "resolve", path: path.as_str().to_owned(), source };
        let (file, root) = (name_of(opened).map_err(failed)?, name_of(&self.directory).map_err(failed)?);
        let relative = file.strip_prefix(&root).ok().and_then(Path::to_str);
        let Some(relative) = relative else {
            return Err(rule(path.as_str(), "leads out of the workspace"));
        };
        let resolved = WorkspacePath::parse(relative).and_then(|resolved| protected.check(&resolved));
        resolved.map_err(|source| ToolError::LeadsTo { path: path.as_str().to_owned(), source })
    }

    /// Opens the directory that holds a file, without following any symbolic link.
    pub(super) fn open_parent(&self, path: &WorkspacePath) -> Result<OwnedFd, ToolError> {
        self.open_directory(path.parent())
    }

    /// Opens the directory that holds a file, and makes those that are missing.
    pub(super) fn create_parent(&self, path: &WorkspacePath) -> Result<OwnedFd, ToolError> {
        self.create_directory(path.parent())
    }

    /// Opens a directory of the workspace and makes what is missing of it.
    pub(super) fn create_directory(&self, relative: &str) -> Result<OwnedFd, ToolError> {
        let mut made = String::new();
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            let parent = self.open_directory(&made)?;
            match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => sync(&parent, relative)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(path_error(relative, "create", errno)),
            }
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
        }
        self.open_directory(relative)
    }

    fn open_directory(&self, relative: &str) -> Result<OwnedFd, ToolError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let name = if relative.is_empty() { "." } else { relative };
        rustix::fs::openat2(self.directory.as_fd(), name, flags, Mode::empty(), resolve)
            .map_err(|errno| path_error(name, "open", errno))
    }

    /// What stands under a file's name; nothing for a name that is free.
    pub(super) fn existing(
        &self,
        parent: &OwnedFd,
        path: &WorkspacePath,
    ) -> Result<Option<rustix::fs::Stat>, ToolError> {
        match rustix::fs::statat(parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok(Some(stat)),
                FileType::Symlink => Err(rule(path.as_str(), "is a symbolic link; write to the file it leads to")),
                FileType::Directory => Err(rule(path.as_str(), "is a directory, not a file")),
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => Err(rule(path.as_str(), "is not a regular file")),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(path_error(path.as_str(), "look at", errno)),
        }
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync(directory: &OwnedFd, path: &str) -> Result<(), ToolError> {
    rustix::fs::fsync(directory).map_err(|errno| path_error(path, "sync", errno))
}

fn rule(path: &str, rule: &'static str) -> ToolError {
    ToolError::Path { path: path.to_owned(), rule }
}

/// An error of the kernel, as the rule it stands for where there is one.
pub(super) fn path_error(path: &str, action: &'static str, errno: Errno) -> ToolError {
    match errno {
        Errno::XDEV => rule(path, "leads out of the workspace"),
        Errno::LOOP => rule(path, "goes through a symbolic link that is not followed"),
        Errno::NOENT => rule(path, DOES_NOT_EXIST),
        Errno::NOTDIR => rule(path, "goes through something that is not a directory"),
        Errno::NOSYS => rule(path, "cannot be opened safely: the kernel has no openat2, Linux 5.6 or newer is needed"),
        other => ToolError::File { action, path: path.to_owned(), source: other.into() },
    }
}
