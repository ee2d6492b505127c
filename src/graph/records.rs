//! What the agent keeps of an authorization beside its checkpoints, one file each.
//!
//! Under the state directory: `claims/`, `intents/`, `outcomes/` and `evidence/`, all 0600.
//! Each is written once and whole; a checkpoint that is copied or gone back to carries none
//! of them, so going back in the graph never goes back here.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::RefusalKind;
use crate::atomic_file::{self, Placed, ReadError};
use crate::channel::{MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::schema::message::ClaimSecret;
use crate::schema::{
    AuthRequest, AuthResponse, AuthorizationId, ConsumeMessage, OutcomeMessage, Refusal, RequestId, Sha256Digest,
    Timestamp, ToolName,
};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Largest outcome record, the tool's result included, in bytes.
const OUTCOME_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: ReadError,
    },
    #[error("{} is damaged: {detail}", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("{} is there already; two processes work on one authorization", path.display())]
    Taken { path: PathBuf },
}

/// The secret of a claim, and the message that asks to consume under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRecord {
    pub claim_secret: ClaimSecret,
    pub message: ConsumeMessage,
}

/// The consumption is being asked for: from here on somebody may have consumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedRecord {
    pub claim: Sha256Digest,
    pub at: Timestamp,
}

/// The tool is about to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRecord {
    pub request_id: RequestId,
    pub authorization_id: AuthorizationId,
    pub claim: Sha256Digest,
    pub tool_name: ToolName,
    pub action_hash: Sha256Digest,
    pub at: Timestamp,
}

/// What came of it: the message for the bridge, and the result under its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRecord {
    pub message: OutcomeMessage,
    pub result: Value,
    /// Why the tool was not run at all, where it was not.
    pub not_run: Option<RefusalKind>,
}

/// Which answer a stored response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Approved or denied.
    Response,
    Consumed,
    Recorded,
}

impl Evidence {
    const fn suffix(self) -> &'static str {
        match self {
            Evidence::Response => "response",
            Evidence::Consumed => "consumed",
            Evidence::Recorded => "recorded",
        }
    }
}

/// The record directories of one state directory.
#[derive(Clone, Debug)]
pub struct Records {
    root: PathBuf,
}

impl Records {
    /// Opens the directories, creating what is missing.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn open(state_dir: &Path) -> Result<Self, RecordError> {
        for name in ["claims", "intents", "outcomes", "evidence", "tmp"] {
            let dir = state_dir.join(name);
            atomic_file::ensure_dir(&dir, DIR_MODE).map_err(|source| RecordError::Io {
                what: "create",
                path: dir.clone(),
                source,
            })?;
        }
        Ok(Records { root: state_dir.to_owned() })
    }

    /// The records of a state directory, to be read alone: nothing is created.
    pub fn at(state_dir: &Path) -> Self {
        Records { root: state_dir.to_owned() }
    }

    /// The requests of which evidence is kept, by id. Empty where the directory is missing.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn with_evidence(&self) -> Result<Vec<RequestId>, RecordError> {
        let dir = self.root.join("evidence");
        let failed = |source| RecordError::Io { what: "list", path: dir.clone(), source };
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".response.json"));
            found.extend(id.and_then(|id| id.parse().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// # Errors
    /// [`RecordError`]; so for every reader and writer here.
    pub fn claim(&self, id: &RequestId) -> Result<Option<ClaimRecord>, RecordError> {
        self.read(&self.claim_path(id), MESSAGE_BYTES_MAX)
    }

    /// # Errors
    /// [`RecordError::Taken`] where a claim was drawn before.
    pub fn write_claim(&self, record: &ClaimRecord) -> Result<(), RecordError> {
        self.write_new(&self.claim_path(&record.message.request_id), record)
    }

    /// # Errors
    /// [`RecordError`].
    pub fn asked(&self, id: &RequestId) -> Result<Option<AskedRecord>, RecordError> {
        self.read(&self.asked_path(id), MESSAGE_BYTES_MAX)
    }

    /// # Errors
    /// [`RecordError::Taken`] where it was asked for before.
    pub fn write_asked(&self, id: &RequestId, record: &AskedRecord) -> Result<(), RecordError> {
        self.write_new(&self.asked_path(id), record)
    }

    /// # Errors
    /// [`RecordError`].
    pub fn intent(&self, id: &RequestId) -> Result<Option<IntentRecord>, RecordError> {
        self.read(&self.path("intents", id, ""), MESSAGE_BYTES_MAX)
    }

    /// # Errors
    /// [`RecordError::Taken`] where somebody was about to run before.
    pub fn write_intent(&self, record: &IntentRecord) -> Result<(), RecordError> {
        self.write_new(&self.path("intents", &record.request_id, ""), record)
    }

    /// # Errors
    /// [`RecordError`].
    pub fn outcome(&self, id: &RequestId) -> Result<Option<OutcomeRecord>, RecordError> {
        self.read(&self.path("outcomes", id, ""), OUTCOME_BYTES_MAX)
    }

    /// # Errors
    /// [`RecordError::Taken`] where an outcome was written before.
    pub fn write_outcome(&self, record: &OutcomeRecord) -> Result<(), RecordError> {
        self.write_new(&self.path("outcomes", &record.message.request_id, ""), record)
    }

    /// The bytes of a response that was verified and stored.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn evidence(&self, id: &RequestId, kind: Evidence) -> Result<Option<Vec<u8>>, RecordError> {
        read_bytes(&self.path("evidence", id, kind.suffix()), RESPONSE_BYTES_MAX)
    }

    /// Stores a verified response, exactly as it came. The first one that verified stays.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn store_evidence(&self, id: &RequestId, kind: Evidence, bytes: &[u8]) -> Result<(), RecordError> {
        self.place(&self.path("evidence", id, kind.suffix()), bytes).map(|_| ())
    }

    /// Stores the request that the evidence is about.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn store_request(&self, request: &AuthRequest) -> Result<(), RecordError> {
        let path = self.path("evidence", &request.request_id, "request");
        let bytes = request
            .canonical()
            .map_err(|refusal| RecordError::Damaged { path: path.clone(), detail: refusal.to_string() })?;
        self.place(&path, &bytes).map(|_| ())
    }

    /// The request that stored evidence is about.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn request(&self, id: &RequestId) -> Result<Option<AuthRequest>, RecordError> {
        let path = self.path("evidence", id, "request");
        let damaged = |refusal: Refusal| RecordError::Damaged { path: path.clone(), detail: refusal.to_string() };
        read_bytes(&path, MESSAGE_BYTES_MAX)?.map(|bytes| AuthRequest::parse(&bytes).map_err(damaged)).transpose()
    }

    /// A stored response, parsed.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn response(&self, id: &RequestId, kind: Evidence) -> Result<Option<AuthResponse>, RecordError> {
        let path = self.path("evidence", id, kind.suffix());
        let damaged = |refusal: Refusal| RecordError::Damaged { path: path.clone(), detail: refusal.to_string() };
        self.evidence(id, kind)?.map(|bytes| AuthResponse::parse(&bytes).map_err(damaged)).transpose()
    }

    fn claim_path(&self, id: &RequestId) -> PathBuf {
        self.path("claims", id, "")
    }

    fn asked_path(&self, id: &RequestId) -> PathBuf {
        self.path("claims", id, "asked")
    }

    fn path(&self, dir: &str, id: &RequestId, suffix: &str) -> PathBuf {
        let dot = if suffix.is_empty() { "" } else { "." };
        self.root.join(dir).join(format!("{id}{dot}{suffix}.json"))
    }

    fn read<T: DeserializeOwned>(&self, path: &Path, bytes_max: u64) -> Result<Option<T>, RecordError> {
        let damaged = |error: serde_json::Error| RecordError::Damaged { path: path.into(), detail: error.to_string() };
        read_bytes(path, bytes_max)?.map(|bytes| serde_json::from_slice(&bytes).map_err(damaged)).transpose()
    }

    fn write_new<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), RecordError> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| RecordError::Damaged { path: path.into(), detail: error.to_string() })?;
        match self.place(path, &bytes)? {
            Placed::New => Ok(()),
            Placed::NameTaken => Err(RecordError::Taken { path: path.to_owned() }),
        }
    }

    fn place(&self, path: &Path, bytes: &[u8]) -> Result<Placed, RecordError> {
        atomic_file::write_new(&self.root.join("tmp"), path, bytes, FILE_MODE).map_err(|source| RecordError::Io {
            what: "write",
            path: path.to_owned(),
            source,
        })
    }
}

fn read_bytes(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, RecordError> {
    match atomic_file::read_bounded_nofollow(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::NotFound) => Ok(None),
        Err(source @ (ReadError::NotRegular | ReadError::TooLarge { .. } | ReadError::Io(_))) => {
            Err(RecordError::Read { path: path.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::message::ConsumeKind;
    use alloy::primitives::B256;

    fn id() -> RequestId {
        "0193a1b2-0000-7000-8000-000000000001".parse().unwrap()
    }

    fn claim(secret: u8) -> ClaimRecord {
        let claim_secret = ClaimSecret(B256::repeat_byte(secret));
        let claim = crate::crypto::claim_of(&claim_secret);
        let message = ConsumeMessage {
            kind: ConsumeKind::Consume,
            request_id: id(),
            authorization_id: AuthorizationId::ZERO,
            action_hash: Sha256Digest::ZERO,
            claim,
            timestamp: Timestamp::from_unix_ms(1),
        };
        ClaimRecord { claim_secret, message }
    }

    #[test]
    fn a_claim_is_written_once_and_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        assert_eq!(records.claim(&id()).unwrap(), None);
        records.write_claim(&claim(7)).unwrap();
        assert!(matches!(records.write_claim(&claim(8)), Err(RecordError::Taken { .. })));
        let again = Records::open(dir.path()).unwrap();
        assert_eq!(again.claim(&id()).unwrap(), Some(claim(7)));
        assert_eq!(again.asked(&id()).unwrap(), None);
        let asked = AskedRecord { claim: claim(7).message.claim, at: Timestamp::from_unix_ms(2) };
        again.write_asked(&id(), &asked).unwrap();
        assert_eq!((again.asked(&id()).unwrap(), again.claim(&id()).unwrap()), (Some(asked), Some(claim(7))));
    }

    #[test]
    fn evidence_keeps_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.store_evidence(&id(), Evidence::Response, b"{ }").unwrap();
        records.store_evidence(&id(), Evidence::Response, b"{}").unwrap();
        assert_eq!(records.evidence(&id(), Evidence::Response).unwrap(), Some(b"{ }".to_vec()));
        assert_eq!(records.evidence(&id(), Evidence::Consumed).unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_and_not_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(format!("intents/{}.json", id())), b"{").unwrap();
        assert!(matches!(records.intent(&id()), Err(RecordError::Damaged { .. })));
        std::os::unix::fs::symlink("/dev/null", dir.path().join(format!("outcomes/{}.json", id()))).unwrap();
        assert!(matches!(records.outcome(&id()), Err(RecordError::Read { source: ReadError::NotRegular, .. })));
    }
}
