//! The bridge's side: scanning, claiming, answering, finishing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::name::{Incoming, ResponseKind, SLOT_REQUEST};
use super::watch::Watch;
use super::{BridgeLock, Channel, ChannelError, MESSAGE_BYTES_MAX, read_refusal};
use crate::atomic_file;
use crate::crypto::random;
use crate::schema::{Refusal, RequestId, Rule};

/// Most files that one scan takes; the rest wait for the next one, so that work goes on between.
pub const SCAN_FILES_MAX: usize = 2_048;
/// How often somebody else's file is moved out of the way of one answer.
const PUBLISH_ATTEMPTS_MAX: usize = 8;

/// The channel as the one bridge that holds it sees it.
#[derive(Debug)]
pub struct Inbox {
    channel: Channel,
    _lock: BridgeLock,
}

/// A file that the bridge has taken into `claimed/`, read once.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub incoming: Incoming,
    pub path: PathBuf,
    /// What was read, or why the file is none to read.
    pub content: Result<Vec<u8>, Refusal>,
}

impl Inbox {
    /// Takes a channel.
    ///
    /// # Errors
    /// [`ChannelError::BridgeRunning`] where another bridge has it.
    pub fn take(channel: Channel) -> Result<Self, ChannelError> {
        let lock = channel.claim_for_bridge()?;
        Ok(Inbox { channel, _lock: lock })
    }

    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Watches everything that a sender can write to.
    ///
    /// # Errors
    /// [`ChannelError::Watch`].
    pub fn watch(&self) -> Result<Watch, ChannelError> {
        Watch::new(&[self.channel.root.clone(), self.channel.requests_dir(), self.channel.votes_dir()])
    }

    /// Claims what lies in the inbox now, oldest name first, at most [`SCAN_FILES_MAX`] files.
    /// A file whose name is none of the channel's is quarantined.
    ///
    /// # Errors
    /// [`ChannelError::Io`] where the channel cannot be read or written; nothing is lost by it.
    pub fn claim_new(&self) -> Result<Vec<Claimed>, ChannelError> {
        let mut claimed = Vec::new();
        if self.channel.root.join(SLOT_REQUEST).symlink_metadata().is_ok() {
            let random = random::bytes().map_err(ChannelError::io("name a claim in", &self.channel.root))?;
            claimed.extend(self.claim(self.channel.root.join(SLOT_REQUEST), Incoming::slot_claim(random))?);
        }
        for dir in [self.channel.votes_dir(), self.channel.requests_dir()] {
            for name in sorted_names(&dir)?.into_iter().take(SCAN_FILES_MAX) {
                let path = dir.join(&name);
                match name.to_str().and_then(Incoming::parse) {
                    Some(incoming)
                        if matches!(incoming, Incoming::Vote { .. }) == (dir == self.channel.votes_dir()) =>
                    {
                        claimed.extend(self.claim(path, incoming)?);
                    }
                    Some(_) | None => {
                        self.channel
                            .quarantine(&path, &Refusal::new(Rule::FileName, "the name is none of the channel's"))?;
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// Reads again what was claimed and not finished before a restart.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn claimed_before(&self) -> Result<Vec<Claimed>, ChannelError> {
        let dir = self.channel.claimed_dir();
        let mut claimed = Vec::new();
        for name in sorted_names(&dir)? {
            let path = dir.join(&name);
            match name.to_str().and_then(Incoming::parse) {
                Some(incoming) => claimed.extend(self.read(path, incoming)?),
                None => self
                    .channel
                    .quarantine(&path, &Refusal::new(Rule::FileName, "the name is none of the channel's"))?,
            }
        }
        Ok(claimed)
    }

    /// A claim is a rename. It need not be durable: after a power cut the file is in either place.
    fn claim(&self, from: PathBuf, incoming: Incoming) -> Result<Option<Claimed>, ChannelError> {
        let to = self.channel.claimed_dir().join(incoming.file_name());
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {
                tracing::debug!(target: "guardrail::channel", file = %self.channel.shown(&from), "claimed");
                self.read(to, incoming)
            }
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(rustix::io::Errno::EXIST) => {
                self.channel
                    .quarantine(&from, &Refusal::new(Rule::Replay, "a file of this name is being worked on"))?;
                Ok(None)
            }
            Err(errno) => Err(ChannelError::Io { what: "claim", path: from, source: errno.into() }),
        }
    }

    fn read(&self, path: PathBuf, incoming: Incoming) -> Result<Option<Claimed>, ChannelError> {
        let content = match atomic_file::read_bounded_nofollow(&path, MESSAGE_BYTES_MAX) {
            Ok(bytes) => Ok(bytes),
            Err(error) => match read_refusal(error, &path) {
                ChannelError::Refused(refusal) => Err(refusal),
                other => return Err(other),
            },
        };
        Ok(Some(Claimed { incoming, path, content }))
    }

    /// Gives a parsed slot request its own name, as if it had come by `requests/`.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn rename_slot_claim(&self, claimed: &Claimed, id: &RequestId) -> Result<PathBuf, ChannelError> {
        let target = self.channel.claimed_request_path(id);
        match atomic_file::move_new(&claimed.path, &target).map_err(ChannelError::io("rename", &claimed.path))? {
            atomic_file::Placed::New => Ok(target),
            atomic_file::Placed::NameTaken => {
                self.channel.quarantine(
                    &claimed.path,
                    &Refusal::new(Rule::Replay, "a request of this id is being worked on"),
                )?;
                Ok(target)
            }
        }
    }

    /// Forgets a claimed file whose work is done.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn finish(&self, incoming: &Incoming) -> Result<(), ChannelError> {
        let path = self.channel.claimed_dir().join(incoming.file_name());
        atomic_file::remove(&path).map_err(ChannelError::io("remove", &path))
    }

    /// Publishes a response. An identical one that is there already is success; one that
    /// differs is not the bridge's, goes to quarantine and keeps no answer out.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn publish_response(&self, id: &RequestId, kind: ResponseKind, bytes: &[u8]) -> Result<(), ChannelError> {
        let name = kind.file_name(id);
        let target = self.channel.responses_dir().join(&name);
        for _ in 0..PUBLISH_ATTEMPTS_MAX {
            match self.channel.publish(&target, bytes) {
                Err(ChannelError::Different { .. }) => {
                    let refusal = Refusal::new(Rule::TargetExists, "it is not the bridge's answer of this name");
                    self.channel.quarantine(&target, &refusal)?;
                }
                other => return other,
            }
        }
        let refusal = Refusal::new(Rule::TargetExists, "others write answers of this name without end");
        self.channel.quarantine_bytes(&name, bytes, &refusal)
    }

    /// Publishes the answer to a single-slot client.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn publish_slot_response(&self, bytes: &[u8], lock_timeout: Duration) -> Result<(), ChannelError> {
        self.channel.publish_slot_response(bytes, lock_timeout).await
    }
}

fn sorted_names(dir: &Path) -> Result<Vec<OsString>, ChannelError> {
    let entries = std::fs::read_dir(dir).map_err(ChannelError::io("read", dir))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ChannelError::io("read", dir))?;
    names.sort_unstable();
    Ok(names)
}
