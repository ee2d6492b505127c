//! The bridge's side: scanning, claiming, answering, finishing.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::name::{Incoming, ResponseKind, SLOT_REQUEST};
use super::watch::Watch;
use super::{BridgeLock, Channel, ChannelError, MESSAGE_BYTES_MAX, read_refusal};
use crate::atomic_file;
use crate::crash;
use crate::crypto::random;
use crate::schema::{Refusal, RequestId, Rule};

/// Most files that one scan takes of a directory; the rest wait for the next one, so that work goes on between.
pub const SCAN_FILES_MAX: usize = 400;
/// Bytes read after which a scan takes no further file.
const SCAN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often somebody else's file is moved out of the way of one answer.
const PUBLISH_ATTEMPTS_MAX: usize = 8;

/// The channel as the one bridge that holds it sees it.
#[derive(Debug)]
pub struct Inbox {
    channel: Channel,
    lock_timeout: Duration,
    /// Since when the slot's lock keeps its file from being claimed.
    slot_locked_since: Cell<Option<Instant>>,
    /// Names of `requests/` that the last look found and no scan has taken yet.
    backlog: RefCell<VecDeque<OsString>>,
    /// The same of `claimed/`, while it is read again.
    claimed_backlog: RefCell<VecDeque<OsString>>,
    _lock: BridgeLock,
}

/// What a scan of directories came to.
#[derive(Debug, Default)]
pub struct Scan {
    pub claimed: Vec<Claimed>,
    /// Names that were there, taken or refused.
    pub seen: usize,
    /// There was more than one scan takes.
    pub more: bool,
    bytes: usize,
    /// What failed; the files it is about are in `claimed/` or where they were.
    pub trouble: Vec<ChannelError>,
}

impl Scan {
    fn take(&mut self, file: Result<Option<Claimed>, ChannelError>) {
        match file {
            Ok(claimed) => {
                let content = claimed.as_ref().and_then(|claimed| claimed.content.as_ref().ok());
                self.bytes += content.map_or(0, Vec::len);
                self.claimed.extend(claimed);
            }
            Err(error) => self.trouble.push(error),
        }
    }

    fn names(&mut self, names: Result<Vec<OsString>, ChannelError>) -> Vec<OsString> {
        match names {
            Ok(names) => {
                self.seen += names.len();
                names
            }
            Err(error) => {
                self.trouble.push(error);
                Vec::new()
            }
        }
    }
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
    pub fn take(mut channel: Channel, lock_timeout: Duration) -> Result<Self, ChannelError> {
        let lock = channel.claim_for_bridge()?;
        channel.write_apart()?;
        Ok(Inbox {
            channel,
            lock_timeout,
            slot_locked_since: Cell::new(None),
            backlog: RefCell::default(),
            claimed_backlog: RefCell::default(),
            _lock: lock,
        })
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

    /// Claims what lies in the inbox now, votes first, by ascending name, at most [`SCAN_FILES_MAX`]
    /// files of a directory. A file whose name is none of the channel's is quarantined. Trouble
    /// with one file keeps no other out.
    pub fn claim_new(&self) -> Scan {
        let mut scan = Scan::default();
        if self.channel.root.join(SLOT_REQUEST).symlink_metadata().is_ok() {
            scan.take(self.claim_slot());
        }
        let votes = self.channel.votes_dir();
        let names = scan.names(sorted_names(&votes));
        let mut names = VecDeque::from(names);
        self.claim_some(&votes, &mut names, &mut scan, |incoming| matches!(incoming, Incoming::Vote { .. }));
        scan.more |= !names.is_empty();

        let requests = self.channel.requests_dir();
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            backlog.extend(scan.names(sorted_names(&requests)));
        } else {
            scan.seen += backlog.len();
        }
        self.claim_some(&requests, &mut backlog, &mut scan, |incoming| !matches!(incoming, Incoming::Vote { .. }));
        scan.more |= !backlog.is_empty();
        scan
    }

    fn claim_some(
        &self,
        dir: &Path,
        names: &mut VecDeque<OsString>,
        scan: &mut Scan,
        belongs: impl Fn(&Incoming) -> bool,
    ) {
        for _ in 0..SCAN_FILES_MAX {
            if scan.bytes >= SCAN_BYTES_MAX {
                return;
            }
            let Some(name) = names.pop_front() else { return };
            let path = dir.join(&name);
            match name.to_str().and_then(Incoming::parse) {
                Some(incoming) if belongs(&incoming) => scan.take(self.claim(path, incoming)),
                Some(_) | None => scan.take(self.refuse_name(&path)),
            }
        }
    }

    /// Reads again what was claimed and not finished: before a restart, or when something failed;
    /// as much as one scan takes, until there is no more. A request that is among `known` is in
    /// the journal and waits there, so its file is left alone.
    pub fn claimed_before(&self, known: &HashSet<RequestId>) -> Scan {
        let mut scan = Scan::default();
        let dir = self.channel.claimed_dir();
        let mut backlog = self.claimed_backlog.borrow_mut();
        if backlog.is_empty() {
            backlog.extend(scan.names(sorted_names(&dir)));
        }
        while scan.claimed.len() < SCAN_FILES_MAX && scan.bytes < SCAN_BYTES_MAX {
            let Some(name) = backlog.pop_front() else { break };
            let path = dir.join(&name);
            match name.to_str().and_then(Incoming::parse) {
                Some(Incoming::Request(id)) if known.contains(&id) => {}
                Some(incoming) => scan.take(self.read(path, incoming).map(Some)),
                None => scan.take(self.refuse_name(&path)),
            }
        }
        scan.more = !backlog.is_empty();
        scan
    }

    /// The next look at `claimed/` begins at its first file.
    pub fn forget_backlog(&self) {
        self.claimed_backlog.borrow_mut().clear();
    }

    fn refuse_name(&self, path: &Path) -> Result<Option<Claimed>, ChannelError> {
        self.channel.quarantine(path, &Refusal::new(Rule::FileName, "the name is none of the channel's")).map(|()| None)
    }

    /// A client that holds the slot's lock may be in the middle of writing: its file is left alone.
    fn claim_slot(&self) -> Result<Option<Claimed>, ChannelError> {
        let Some(_lock) = self.channel.try_lock_slot()? else {
            let since = self.slot_locked_since.get().unwrap_or_else(Instant::now);
            self.slot_locked_since.set(Some(since));
            if since.elapsed() > self.lock_timeout {
                tracing::error!(target: "guardrail::channel", held_s = since.elapsed().as_secs(), "a client holds the single slot's lock; its request waits");
            }
            return Ok(None);
        };
        self.slot_locked_since.set(None);
        let random = random::bytes().map_err(ChannelError::io("name a claim in", &self.channel.root))?;
        self.claim(self.channel.root.join(SLOT_REQUEST), Incoming::slot_claim(random))
    }

    /// A claim is a rename. It need not be durable: after a power cut the file is in either place.
    fn claim(&self, from: PathBuf, incoming: Incoming) -> Result<Option<Claimed>, ChannelError> {
        let to = self.channel.claimed_dir().join(incoming.file_name());
        crash::point("claim.before");
        let claimed = renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE);
        crash::point("claim.after");
        match claimed {
            Ok(()) => {
                tracing::trace!(target: "guardrail::channel", file = %self.channel.shown(&from), "claimed");
                self.read(to, incoming).map(Some)
            }
            Err(rustix::io::Errno::NOENT) => Ok(None),
            // An approver may follow an approval with a denial: it waits until the first is journalled.
            Err(rustix::io::Errno::EXIST) if matches!(incoming, Incoming::Vote { .. }) => Ok(None),
            Err(rustix::io::Errno::EXIST) => {
                self.channel
                    .quarantine(&from, &Refusal::new(Rule::Replay, "a file of this name is being worked on"))?;
                Ok(None)
            }
            Err(errno) => Err(ChannelError::Io { what: "claim", path: from, source: errno.into() }),
        }
    }

    fn read(&self, path: PathBuf, incoming: Incoming) -> Result<Claimed, ChannelError> {
        let content = match atomic_file::read_bounded_nofollow(&path, MESSAGE_BYTES_MAX) {
            Ok(bytes) => Ok(bytes),
            Err(error) => match read_refusal(error, &path) {
                ChannelError::Refused(refusal) => Err(refusal),
                other => return Err(other),
            },
        };
        Ok(Claimed { incoming, path, content })
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

    /// Forgets several claimed files whose work is done. A crash may leave some of them, also after
    /// this: who reads them again knows by the journal that they are done.
    ///
    /// # Errors
    /// [`ChannelError::Io`] with the first that could not be removed; the others are.
    pub fn finish_all(&self, done: &[Incoming]) -> Result<(), ChannelError> {
        let dir = self.channel.claimed_dir();
        let mut failed = Ok(());
        for incoming in done {
            let path = dir.join(incoming.file_name());
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => failed = failed.and(Err(ChannelError::io("remove", &path)(error))),
            }
        }
        failed
    }

    /// Whether the channel can be written to at all, and how many bytes it has room for.
    ///
    /// # Errors
    /// [`ChannelError::Io`] where it cannot.
    pub fn room(&self) -> Result<u64, ChannelError> {
        for dir in [self.channel.responses_dir(), self.channel.claimed_dir(), self.channel.tmp_dir()] {
            // By the effective user and the mount: a read-only file system says no here as well.
            rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)
                .map_err(|errno| ChannelError::io("write to", &dir)(errno.into()))?;
        }
        fs2::available_space(self.channel.root()).map_err(ChannelError::io("measure", self.channel.root()))
    }

    /// Publishes a response. An identical one that is there already is success; one that
    /// differs is not the bridge's, goes to quarantine and keeps no answer out.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn publish_response(&self, id: &RequestId, kind: ResponseKind, bytes: &[u8]) -> Result<(), ChannelError> {
        crash::point("publish.before");
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

    /// Publishes the answer to a single-slot client; `false` where a client holds the lock.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn publish_slot_response(&self, bytes: &[u8]) -> Result<bool, ChannelError> {
        match self.channel.try_lock_slot()? {
            Some(_lock) => self.channel.replace_slot_response(bytes).map(|()| true),
            None => Ok(false),
        }
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
