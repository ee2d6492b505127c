//! Names of threads and checkpoints.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::schema::Timestamp;

/// A conversation with its checkpoints: `[a-z0-9][a-z0-9-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(String);

impl ThreadId {
    /// A new id: the moment to the second, and random digits.
    pub fn generate(now: Timestamp, random: [u8; 4]) -> Self {
        let digits: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
        let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
        ThreadId(format!("{date}-{time}-{}", alloy::hex::encode(random)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ThreadId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        if bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || b == b'-') && text.len() <= 64 {
            Ok(ThreadId(text.to_owned()))
        } else {
            Err("expected a thread id: [a-z0-9][a-z0-9-]{0,63}".to_owned())
        }
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checkpoint of a thread: `thread/000004`, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    pub thread: ThreadId,
    pub number: u32,
}

impl FromStr for CheckpointId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a checkpoint id: <thread>/<six digits>".to_owned();
        let (thread, number) = text.split_once('/').ok_or_else(expected)?;
        let id = CheckpointId { thread: thread.parse()?, number: number.parse().map_err(|_| expected())? };
        if id.to_string() == text { Ok(id) } else { Err(expected()) }
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:06}", self.thread, self.number)
    }
}

macro_rules! string_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}
string_serde!(ThreadId);
string_serde!(CheckpointId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let thread = ThreadId::generate("2026-11-22T12:00:01.250Z".parse().unwrap(), [0xab, 0, 1, 2]);
        assert_eq!(thread.as_str(), "20261122-120001-ab000102");
        assert_eq!(thread.as_str().parse(), Ok(thread.clone()));
        let id = CheckpointId { thread, number: 4 };
        assert_eq!(id.to_string(), "20261122-120001-ab000102/000004");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "a", "a/", "a/4", "a/0000004", "A/000004", "../000004", "a/b/000004", "-/000001"] {
            assert!(bad.parse::<CheckpointId>().is_err(), "{bad}");
        }
    }
}
