//! The IPC channel: the only code that knows the file names under `ipc_channel/` (PROTOCOL section 1).
//!
//! [`Channel`] is what every process sees: where things lie, publishing without overwriting,
//! quarantine. [`inbox`] is the bridge's side: scanning and claiming. [`response`] is the
//! agent's side: waiting. [`watch`] turns inotify into hints; the directory is the truth.

pub mod inbox;
pub mod name;
pub mod response;
pub mod slot;
pub mod watch;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use serde::Serialize;

use crate::atomic_file::{self, Placed, ReadError};
use crate::schema::{AuthRequest, ConsumeMessage, OutcomeMessage, Refusal, RequestId, Rule, Timestamp, VoteFile, json};

pub use inbox::{Claimed, Inbox, Scan};
pub use name::{Incoming, ResponseKind};
pub use response::Waited;

/// Longest response, in bytes.
pub const RESPONSE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest file of any other kind, in bytes.
pub const MESSAGE_BYTES_MAX: u64 = 256 * 1024;
/// Files kept in `quarantine/`, reasons not counted; past it the oldest go.
pub const QUARANTINE_FILES_MAX: usize = 1_000;
/// Longest name that a refused file keeps; a longer one gets one of ours, and its own stands in the reason.
const QUARANTINE_NAME_BYTES_MAX: usize = 160;
const REASON_SUFFIX: &str = ".reason.json";

#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{path} is there already and says something else")]
    Different { path: PathBuf },
    #[error("another bridge holds {path}; one bridge serves one channel")]
    BridgeRunning { path: PathBuf },
    #[error("cannot watch {path}: {source}")]
    Watch { path: PathBuf, source: notify::Error },
}

impl ChannelError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChannelError {
        let path = path.to_owned();
        move |source| ChannelError::Io { what, path, source }
    }
}

/// Who may use the channel beside its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Directories 0700, files 0600.
    #[default]
    OwnerOnly,
    /// Directories 2770, files 0660: agent and bridge run as different users of one group.
    Group,
}

impl Sharing {
    const fn dir_mode(self) -> u32 {
        match self {
            Sharing::OwnerOnly => 0o700,
            Sharing::Group => 0o2770,
        }
    }

    const fn file_mode(self) -> u32 {
        match self {
            Sharing::OwnerOnly => 0o600,
            Sharing::Group => 0o660,
        }
    }
}

/// A channel directory.
#[derive(Clone, Debug)]
pub struct Channel {
    root: PathBuf,
    sharing: Sharing,
    tmp: &'static str,
}

/// The lock that one bridge holds for its whole life.
#[derive(Debug)]
pub struct BridgeLock {
    _file: File,
}

#[derive(Serialize)]
struct Reason<'a> {
    file: &'a str,
    rule: &'a str,
    detail: &'a str,
    at: Timestamp,
}

/// Where everybody but the bridge writes what is not whole yet, and where the bridge does.
const TMP: &str = "tmp";
const BRIDGE_TMP: &str = ".bridge.tmp";
const DIRECTORIES: [&str; 6] = ["requests", "responses", "votes", "claimed", "quarantine", TMP];

impl Channel {
    /// Opens a channel, creating what is missing. Modes of what is there stay as they are: the
    /// bridge sets them, by [`Channel::claim_for_bridge`].
    ///
    /// # Errors
    /// [`ChannelError::Io`] where a directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, ChannelError> {
        // Whoever comes after the bridge shares as it does: the mode of the directory says how.
        let mode = root.metadata().map(|meta| meta.permissions().mode()).unwrap_or_default();
        Self::open_shared(root, if mode & 0o020 == 0 { Sharing::OwnerOnly } else { Sharing::Group })
    }

    /// Opens a channel with the modes of `sharing` for what is created.
    ///
    /// # Errors
    /// As [`Channel::open`].
    pub fn open_shared(root: &Path, sharing: Sharing) -> Result<Self, ChannelError> {
        let channel = Channel { root: root.to_owned(), sharing, tmp: TMP };
        for dir in std::iter::once(channel.root.clone()).chain(DIRECTORIES.iter().map(|name| channel.root.join(name))) {
            atomic_file::ensure_dir(&dir, sharing.dir_mode()).map_err(ChannelError::io("create", &dir))?;
        }
        Ok(channel)
    }

    /// Takes the channel for one bridge and sets the modes of its directories.
    ///
    /// # Errors
    /// [`ChannelError::BridgeRunning`] where another process has it.
    pub fn claim_for_bridge(&self) -> Result<BridgeLock, ChannelError> {
        let path = self.root.join(".bridge.lock");
        let file = self.open_lock(&path)?;
        file.try_lock_exclusive().map_err(|error| {
            if error.kind() == fs2::lock_contended_error().kind() {
                ChannelError::BridgeRunning { path: path.clone() }
            } else {
                ChannelError::Io { what: "lock", path: path.clone(), source: error }
            }
        })?;
        let wanted = self.sharing.dir_mode();
        for dir in std::iter::once(self.root.clone()).chain(DIRECTORIES.iter().map(|name| self.root.join(name))) {
            let mode = dir.metadata().map_err(ChannelError::io("stat", &dir))?.permissions().mode() & 0o7777;
            if mode != wanted {
                std::fs::set_permissions(&dir, Permissions::from_mode(wanted))
                    .map_err(ChannelError::io("set the mode of", &dir))?;
            }
        }
        Ok(BridgeLock { _file: file })
    }

    fn open_lock(&self, path: &Path) -> Result<File, ChannelError> {
        atomic_file::open_lock(path, self.sharing.file_mode()).map_err(ChannelError::io("open", path))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn requests_dir(&self) -> PathBuf {
        self.root.join("requests")
    }

    pub fn responses_dir(&self) -> PathBuf {
        self.root.join("responses")
    }

    pub fn votes_dir(&self) -> PathBuf {
        self.root.join("votes")
    }

    pub fn claimed_dir(&self) -> PathBuf {
        self.root.join("claimed")
    }

    fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    fn tmp_dir(&self) -> PathBuf {
        self.root.join(self.tmp)
    }

    /// Lets the bridge that holds the channel write where nobody else does, so that what an
    /// earlier one left half-written can be told from an agent's, and goes.
    fn write_apart(&mut self) -> Result<(), ChannelError> {
        self.tmp = BRIDGE_TMP;
        let dir = self.tmp_dir();
        atomic_file::ensure_dir(&dir, self.sharing.dir_mode()).map_err(ChannelError::io("create", &dir))?;
        for entry in std::fs::read_dir(&dir).map_err(ChannelError::io("read", &dir))? {
            let path = entry.map_err(ChannelError::io("read", &dir))?.path();
            atomic_file::remove(&path).map_err(ChannelError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Publishes a request: durable when this returns, whole when anyone sees it.
    ///
    /// # Errors
    /// [`ChannelError::Different`] where another request has this id.
    pub fn publish_request(&self, request: &AuthRequest) -> Result<(), ChannelError> {
        let name = Incoming::Request(request.request_id.clone()).file_name();
        self.publish(&self.requests_dir().join(name), &request.canonical()?)
    }

    /// Publishes the wish to consume an authorization.
    ///
    /// # Errors
    /// As [`Channel::publish_request`].
    pub fn publish_consume(&self, message: &ConsumeMessage) -> Result<(), ChannelError> {
        let name = Incoming::Consume { request_id: message.request_id.clone(), claim: message.claim }.file_name();
        self.publish(&self.requests_dir().join(name), &canonical(message)?)
    }

    /// Publishes what came of a consumed authorization.
    ///
    /// # Errors
    /// As [`Channel::publish_request`].
    pub fn publish_outcome(&self, message: &OutcomeMessage) -> Result<(), ChannelError> {
        let name = Incoming::Outcome(message.request_id.clone()).file_name();
        self.publish(&self.requests_dir().join(name), &canonical(message)?)
    }

    /// Publishes an approver's vote.
    ///
    /// # Errors
    /// As [`Channel::publish_request`].
    pub fn publish_vote(&self, vote: &VoteFile) -> Result<(), ChannelError> {
        let name = Incoming::Vote { id: vote.id, approver: vote.approver }.file_name();
        self.publish(&self.votes_dir().join(name), &canonical(vote)?)
    }

    /// Writes a new file in one step; one that says the same already is success.
    fn publish(&self, target: &Path, bytes: &[u8]) -> Result<(), ChannelError> {
        let placed = atomic_file::write_new(&self.tmp_dir(), target, bytes, self.sharing.file_mode())
            .map_err(ChannelError::io("write", target))?;
        match placed {
            Placed::New => {
                tracing::debug!(target: "guardrail::channel", file = %self.shown(target), bytes = bytes.len(), "published");
                Ok(())
            }
            Placed::NameTaken => match atomic_file::read_bounded_nofollow(target, RESPONSE_BYTES_MAX) {
                Ok(there) if there == bytes => Ok(()),
                Ok(_) | Err(ReadError::NotRegular | ReadError::TooLarge { .. }) => {
                    Err(ChannelError::Different { path: target.to_owned() })
                }
                // Somebody took it meanwhile: it was there, which is what publishing means.
                Err(ReadError::NotFound) => Ok(()),
                Err(ReadError::Io(source)) => Err(ChannelError::Io { what: "read", path: target.to_owned(), source }),
            },
        }
    }

    /// Moves a refused file aside, with the rule it broke.
    ///
    /// # Errors
    /// [`ChannelError::Io`]; a file that is gone already is no error.
    pub fn quarantine(&self, path: &Path, refusal: &Refusal) -> Result<(), ChannelError> {
        let original = path.file_name().and_then(|name| name.to_str()).unwrap_or("unreadable-name").to_owned();
        loop {
            let (name, target) = self.free_quarantine_name(&original);
            match atomic_file::move_new(path, &target) {
                Ok(Placed::New) => return self.write_reason(&name, &original, refusal),
                // Somebody else took the name in between; the next one is free.
                Ok(Placed::NameTaken) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(ChannelError::Io { what: "quarantine", path: path.to_owned(), source }),
            }
        }
    }

    /// Keeps bytes that could not be published, with the reason.
    fn quarantine_bytes(&self, original: &str, bytes: &[u8], refusal: &Refusal) -> Result<(), ChannelError> {
        loop {
            let (name, target) = self.free_quarantine_name(original);
            let placed = atomic_file::write_new(&self.tmp_dir(), &target, bytes, self.sharing.file_mode())
                .map_err(ChannelError::io("write", &target))?;
            match placed {
                Placed::New => return self.write_reason(&name, original, refusal),
                Placed::NameTaken => {}
            }
        }
    }

    /// A name that is free in quarantine: the file's own where that is short and cannot be taken
    /// for a reason, else one of ours.
    fn free_quarantine_name(&self, original: &str) -> (String, PathBuf) {
        let dir = self.quarantine_dir();
        let own = if original.len() > QUARANTINE_NAME_BYTES_MAX || original.ends_with(REASON_SUFFIX) {
            format!("refused-{}", Timestamp::now().unix_ms())
        } else {
            original.to_owned()
        };
        let taken = |name: &str| dir.join(name).symlink_metadata().is_ok();
        let name = std::iter::once(own.clone())
            .chain((1u32..).map(|n| format!("{own}.{n}")))
            .find(|name| !taken(name))
            .unwrap_or(own);
        let path = dir.join(&name);
        (name, path)
    }

    fn write_reason(&self, name: &str, original: &str, refusal: &Refusal) -> Result<(), ChannelError> {
        tracing::warn!(target: "guardrail::channel", file = original, rule = %refusal.rule, detail = %refusal.detail, "quarantined");
        let reason =
            Reason { file: original, rule: refusal.rule.text(), detail: &refusal.detail, at: Timestamp::now() };
        let target = self.quarantine_dir().join(format!("{name}{REASON_SUFFIX}"));
        atomic_file::replace(&self.tmp_dir(), &target, &canonical(&reason)?, self.sharing.file_mode())
            .map_err(ChannelError::io("write", &target))
    }

    /// Keeps at most [`QUARANTINE_FILES_MAX`] refused files; those that were refused first go.
    ///
    /// # Errors
    /// [`ChannelError::Io`] with the first that could not be removed; the others are.
    pub fn trim_quarantine(&self) -> Result<(), ChannelError> {
        let dir = self.quarantine_dir();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(ChannelError::io("read", &dir))? {
            let entry = entry.map_err(ChannelError::io("read", &dir))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.ends_with(REASON_SUFFIX) {
                continue;
            }
            // The reason is ours, so its time is when the file was refused; a sender chooses its file's own.
            let reason = dir.join(format!("{name}{REASON_SUFFIX}"));
            let refused_at = reason.symlink_metadata().or_else(|_| entry.metadata()).and_then(|meta| meta.modified());
            files.push((refused_at.map_err(ChannelError::io("stat", &reason))?, name));
        }
        files.sort_unstable();
        let mut failed = None;
        for (_, name) in &files[..files.len().saturating_sub(QUARANTINE_FILES_MAX)] {
            for path in [dir.join(name), dir.join(format!("{name}{REASON_SUFFIX}"))] {
                let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                let removed = if is_dir { std::fs::remove_dir_all(&path) } else { atomic_file::remove(&path) };
                if let Err(error) = removed {
                    failed.get_or_insert_with(|| ChannelError::io("remove", &path)(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Where a request's own file lies while the bridge works on it.
    pub fn claimed_request_path(&self, id: &RequestId) -> PathBuf {
        self.claimed_dir().join(Incoming::Request(id.clone()).file_name())
    }

    /// Reads the request that an open authorization is about, from `claimed/` or, not yet taken, from `requests/`.
    ///
    /// # Errors
    /// [`ChannelError`]; `None` where the channel does not hold it.
    pub fn read_request(&self, id: &RequestId) -> Result<Option<AuthRequest>, ChannelError> {
        let name = Incoming::Request(id.clone()).file_name();
        for path in [self.claimed_dir().join(&name), self.requests_dir().join(&name)] {
            match atomic_file::read_bounded_nofollow(&path, MESSAGE_BYTES_MAX) {
                Ok(bytes) => return Ok(Some(AuthRequest::parse(&bytes)?)),
                Err(ReadError::NotFound) => {}
                Err(error) => return Err(read_refusal(error, &path)),
            }
        }
        Ok(None)
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    let tree = serde_json::to_value(value).map_err(|e| Refusal::new(Rule::NotJson, e.to_string()))?;
    json::canonical(&tree)
}

/// A file that cannot be read is refused by its rule; trouble of the system is an error of its own.
fn read_refusal(error: ReadError, path: &Path) -> ChannelError {
    match error {
        ReadError::NotRegular => {
            Refusal::new(Rule::NotRegularFile, "a symbolic link, directory, pipe or device").into()
        }
        ReadError::TooLarge { bytes_max } => {
            Refusal::new(Rule::TooLarge, format!("longer than {bytes_max} bytes")).into()
        }
        ReadError::NotFound => {
            ChannelError::Io { what: "read", path: path.to_owned(), source: io::ErrorKind::NotFound.into() }
        }
        ReadError::Io(source) => ChannelError::Io { what: "read", path: path.to_owned(), source },
    }
}
