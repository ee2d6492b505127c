//! The smaller files of the channel: votes, consumptions, outcomes (PROTOCOL sections 4 and 8).

use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, B256, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::hex;
use super::ids::{AuthorizationId, RequestId, Sha256Digest, Timestamp, ToolName};
use super::json;
use super::request::field_refusal;
use super::rule::{Refusal, Rule};

/// Longest note of a vote, in bytes.
pub const NOTE_BYTES_MAX: usize = 512;

/// Parses a message that has no hash of its own from the bytes of a file.
///
/// # Errors
/// The first rule of PROTOCOL section 1 that the bytes break.
pub fn parse_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let tree = json::parse_strict(bytes)?;
    if !tree.is_object() {
        return Err(Refusal::new(Rule::NotAnObject, "a message is a JSON object"));
    }
    T::deserialize(tree).map_err(field_refusal)
}

/// A note on a vote: at most 512 bytes, no control characters but line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Note(String);

impl Note {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lines that count as conditions: split at line feeds, empty lines dropped, nothing trimmed.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.split('\n').filter(|line| !line.is_empty())
    }
}

impl FromStr for Note {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(format!("expected a note of at most {NOTE_BYTES_MAX} bytes, found {}", text.len()));
        }
        match text.chars().find(|c| c.is_control() && *c != '\n') {
            Some(c) => Err(format!("expected a note without control characters, found {c:?}")),
            None => Ok(Note(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An approver's signed decision, as it lies in `votes/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteFile {
    pub id: AuthorizationId,
    pub tool_name: ToolName,
    pub action_hash: Sha256Digest,
    pub approve: bool,
    pub note: Note,
    #[serde(with = "hex::address")]
    pub approver: Address,
    #[serde(with = "hex::bytes")]
    pub signature: Bytes,
}

/// Asks the bridge to consume an approved authorization on chain under a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumeMessage {
    pub kind: ConsumeKind,
    pub request_id: RequestId,
    pub authorization_id: AuthorizationId,
    pub action_hash: Sha256Digest,
    pub claim: Sha256Digest,
    pub timestamp: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsumeKind {
    #[serde(rename = "consume")]
    Consume,
}

/// What came of a critical action. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    /// Consumed, and whether the tool ran to its end cannot be known.
    Unknown,
}

impl Outcome {
    /// The contract's number: 1 succeeded, 2 failed, 3 unknown.
    pub const fn code(self) -> u8 {
        match self {
            Outcome::Succeeded => 1,
            Outcome::Failed => 2,
            Outcome::Unknown => 3,
        }
    }

    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Outcome::Succeeded),
            2 => Some(Outcome::Failed),
            3 => Some(Outcome::Unknown),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        })
    }
}

/// Tells the bridge what came of a consumed authorization; only the holder of the claim's secret can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeMessage {
    pub kind: OutcomeKind,
    pub request_id: RequestId,
    pub authorization_id: AuthorizationId,
    pub claim_secret: ClaimSecret,
    pub outcome: Outcome,
    pub outcome_hash: Sha256Digest,
    pub timestamp: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeKind {
    #[serde(rename = "outcome")]
    Outcome,
}

/// The 32 random bytes whose SHA-256 is a claim: 64 lower-case hex digits. Never shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimSecret(pub B256);

impl fmt::Debug for ClaimSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimSecret(…)")
    }
}

impl Serialize for ClaimSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&alloy::hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ClaimSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sha256Digest::deserialize(deserializer).map(|digest| ClaimSecret(digest.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_a_limit_and_no_control_characters() {
        assert!("x".repeat(NOTE_BYTES_MAX).parse::<Note>().is_ok());
        assert!("é".repeat(257).parse::<Note>().is_err());
        assert!("tab\there".parse::<Note>().is_err());
        let note: Note = " canary first\n\nnotify #ops ".parse().unwrap();
        assert_eq!(note.lines().collect::<Vec<_>>(), [" canary first", "notify #ops "]);
    }

    #[test]
    fn a_vote_file_has_one_spelling() {
        let good = r#"{"id":"0x44c91e4adf4f6ae42ccdc79bea5ab8a78606621e0cc971881e785b21ed2284cf","tool_name":"a","action_hash":"ed2d2dfa0ddd60f35d65384b7a2e4fae0f0f55c0f604311b73c226f35049c1fc","approve":true,"note":"","approver":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","signature":"0x00ff"}"#;
        let vote: VoteFile = parse_message(good.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&vote).unwrap(), good);
        for (from, to) in [
            ("0x44c9", "0x44C9"),
            ("0x7099", "0x7098"),
            ("0x00ff", "0x00FF"),
            ("ed2d", "0xed"),
            ("\"approve\":true", "\"approve\":1"),
        ] {
            let refusal = parse_message::<VoteFile>(good.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(refusal.rule, Rule::FieldValue, "{from}: {refusal}");
        }
    }
}
