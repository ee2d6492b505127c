//! The single slot: `auth_request.json` in, `auth_response.json` out, under an advisory lock.

use std::time::Duration;

use fs2::FileExt;
use tokio::time::Instant;

use super::name::SLOT_RESPONSE;
use super::{Channel, ChannelError};
use crate::atomic_file;

/// How often a lock that somebody else holds is tried again; flock has no event to wait for.
const LOCK_POLL: Duration = Duration::from_millis(25);

/// The advisory lock `.lock`, held until dropped.
#[derive(Debug)]
pub struct SlotLock {
    _file: std::fs::File,
}

impl Channel {
    /// Takes the lock that single-slot readers and writers share.
    ///
    /// # Errors
    /// [`ChannelError::LockTimeout`] where another process holds it for longer than `timeout`.
    pub async fn lock_slot(&self, timeout: Duration) -> Result<SlotLock, ChannelError> {
        let path = self.root.join(".lock");
        let file = self.open_lock(&path)?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock_exclusive() {
                Ok(()) => return Ok(SlotLock { _file: file }),
                Err(error) if error.kind() != fs2::lock_contended_error().kind() => {
                    return Err(ChannelError::Io { what: "lock", path, source: error });
                }
                Err(_) if Instant::now() >= deadline => {
                    return Err(ChannelError::LockTimeout { path, timeout_s: timeout.as_secs() });
                }
                Err(_) => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// Replaces `auth_response.json`, the one file that is replaced.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn publish_slot_response(&self, bytes: &[u8], lock_timeout: Duration) -> Result<(), ChannelError> {
        let _lock = self.lock_slot(lock_timeout).await?;
        let target = self.root.join(SLOT_RESPONSE);
        atomic_file::replace(&self.tmp_dir(), &target, bytes, self.sharing.file_mode())
            .map_err(ChannelError::io("write", &target))
    }
}
