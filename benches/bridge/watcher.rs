//! inotify by itself: what a thread sees of one directory, and when.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::running::PATIENCE;

const EVENTS_BYTES: usize = 4096;

/// A thread that waits for files to appear in a directory. It ends when the directory is removed.
pub struct Watcher(Receiver<(Instant, OsString)>);

impl Watcher {
    pub fn of(dir: &Path) -> Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, dir, WatchFlags::MOVED_TO | WatchFlags::CREATE)?;
        let (seen, events) = channel();
        std::thread::spawn(move || follow(watch, &seen));
        Ok(Watcher(events))
    }

    /// When a file of this name was seen to appear.
    pub fn appeared(&self, name: &str) -> Result<Instant> {
        loop {
            let (at, appeared) = self.0.recv_timeout(PATIENCE).with_context(|| format!("{name} never appeared"))?;
            if appeared == name {
                return Ok(at);
            }
        }
    }
}

fn follow(watch: OwnedFd, seen: &Sender<(Instant, OsString)>) {
    let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    while let Ok(event) = events.next() {
        let at = Instant::now();
        if event.events().contains(ReadFlags::IGNORED) {
            return;
        }
        let Some(name) = event.file_name() else { continue };
        if seen.send((at, OsString::from_vec(name.to_bytes().to_vec()))).is_err() {
            return;
        }
    }
}
