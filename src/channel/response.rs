//! The agent's side: waiting for a response, taking it away once it is stored as evidence.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watch::Watch;
use super::{Channel, ChannelError, Incoming, RESPONSE_BYTES_MAX, ResponseKind, read_refusal};
use crate::atomic_file::{self, ReadError};
use crate::schema::{Refusal, RequestId};

/// How long the directory goes unread when no event comes: a lost event costs at most this.
const RESCAN_INTERVAL: Duration = Duration::from_secs(2);

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    Found(Vec<u8>),
    TimedOut,
    Stopped,
}

impl Channel {
    fn response_path(&self, id: &RequestId, kind: ResponseKind) -> PathBuf {
        self.responses_dir().join(kind.file_name(id))
    }

    /// Whether the bridge has taken a message and not finished it. It answers before it lets go
    /// of the file, so whoever asks this first and then finds no answer may publish again.
    pub fn is_taken(&self, message: &Incoming) -> bool {
        self.claimed_dir().join(message.file_name()).exists()
    }

    /// Reads a response if it is there. One that is no readable file is quarantined and counts as absent.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn read_response(&self, id: &RequestId, kind: ResponseKind) -> Result<Option<Vec<u8>>, ChannelError> {
        let path = self.response_path(id, kind);
        match atomic_file::read_bounded_nofollow(&path, RESPONSE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::NotFound) => Ok(None),
            Err(error) => match read_refusal(error, &path) {
                ChannelError::Refused(refusal) => self.quarantine(&path, &refusal).map(|()| None),
                other => Err(other),
            },
        }
    }

    /// Waits for a response until it is there, the deadline passes or the token is cancelled.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn wait_response(
        &self,
        id: &RequestId,
        kind: ResponseKind,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<Waited, ChannelError> {
        let watch = Watch::new(&[self.responses_dir()])?;
        loop {
            if let Some(bytes) = self.read_response(id, kind)? {
                return Ok(Waited::Found(bytes));
            }
            let rescan = Instant::now() + RESCAN_INTERVAL;
            tokio::select! {
                () = stop.cancelled() => return Ok(Waited::Stopped),
                () = watch.changed() => {}
                () = tokio::time::sleep_until(rescan.min(deadline)) => {
                    if Instant::now() >= deadline {
                        return Ok(self.read_response(id, kind)?.map_or(Waited::TimedOut, Waited::Found));
                    }
                }
            }
        }
    }

    /// Takes a response away, once it is verified and stored.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn remove_response(&self, id: &RequestId, kind: ResponseKind) -> Result<(), ChannelError> {
        let path = self.response_path(id, kind);
        atomic_file::remove(&path).map_err(ChannelError::io("remove", &path))
    }

    /// Moves a response that failed verification aside.
    ///
    /// # Errors
    /// [`ChannelError::Io`].
    pub fn quarantine_response(
        &self,
        id: &RequestId,
        kind: ResponseKind,
        refusal: &Refusal,
    ) -> Result<(), ChannelError> {
        self.quarantine(&self.response_path(id, kind), refusal)
    }
}
