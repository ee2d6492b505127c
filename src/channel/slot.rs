//! The single slot: `auth_request.json` in, `auth_response.json` out, under an advisory lock.

use fs2::FileExt;

use super::name::SLOT_RESPONSE;
use super::{Channel, ChannelError};
use crate::atomic_file;

/// The advisory lock `.lock`, held until dropped.
#[derive(Debug)]
pub struct SlotLock {
    _file: std::fs::File,
}

impl Channel {
    /// Takes the lock that single-slot readers and writers share, if nobody holds it.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn try_lock_slot(&self) -> Result<Option<SlotLock>, ChannelError> {
        let path = self.root.join(".lock");
        let file = self.open_lock(&path)?;
        match file.try_lock_exclusive() {
            Ok(()) => Ok(Some(SlotLock { _file: file })),
            Err(error) if error.kind() == fs2::lock_contended_error().kind() => Ok(None),
            Err(source) => Err(ChannelError::Io { what: "lock", path, source }),
        }
    }

    /// Replaces `auth_response.json`, the one file that is replaced. The caller holds the lock.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub(super) fn replace_slot_response(&self, bytes: &[u8]) -> Result<(), ChannelError> {
        let target = self.root.join(SLOT_RESPONSE);
        atomic_file::replace(&self.tmp_dir(), &target, bytes, self.sharing.file_mode())
            .map_err(ChannelError::io("write", &target))
    }
}
