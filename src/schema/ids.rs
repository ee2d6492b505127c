//! Identifiers and small values that stand for themselves: each parses once, at the boundary.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::B256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::hex;

macro_rules! string_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

/// A UUIDv7 (RFC 9562), lower case: 36 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// Builds a UUIDv7 from Unix milliseconds and ten random bytes (RFC 9562 section 5.7).
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let t = unix_ms.to_be_bytes();
        let r = random;
        let bytes = [
            t[2],
            t[3],
            t[4],
            t[5],
            t[6],
            t[7],
            0x70 | (r[0] & 0x0f),
            r[1],
            0x80 | (r[2] & 0x3f),
            r[3],
            r[4],
            r[5],
            r[6],
            r[7],
            r[8],
            r[9],
        ];
        let digits = alloy::hex::encode(bytes);
        RequestId(format!(
            "{}-{}-{}-{}-{}",
            &digits[0..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..32]
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() == 36
            && bytes.iter().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => *b == b'-',
                14 => *b == b'7',
                19 => matches!(b, b'8' | b'9' | b'a' | b'b'),
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        if well_formed { Ok(RequestId(text.to_owned())) } else { Err("expected a lower-case UUIDv7".to_owned()) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
string_serde!(RequestId);

/// A name of a tool: `[a-z][a-z0-9_]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(String);

impl ToolName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if first && rest && text.len() <= 64 {
            Ok(ToolName(text.to_owned()))
        } else {
            Err("expected a tool name: [a-z][a-z0-9_]{0,63}".to_owned())
        }
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
string_serde!(ToolName);

/// A point in time, to the millisecond: RFC 3339, UTC, three decimals, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From Unix milliseconds.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Timestamp(unix_ms)
    }

    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Unix seconds, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The system clock.
    pub fn now() -> Self {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected RFC 3339 in UTC with three decimals, as 2026-11-22T12:00:00.000Z".to_owned();
        let instant: jiff::Timestamp = text.parse().map_err(|_| expected())?;
        let stamp = Timestamp(instant.as_millisecond());
        if stamp.to_string() == text { Ok(stamp) } else { Err(expected()) }
    }
}
string_serde!(Timestamp);

/// A SHA-256 value; in files 64 lower-case hex digits without a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sha256Digest(pub B256);

impl Sha256Digest {
    pub const ZERO: Sha256Digest = Sha256Digest(B256::ZERO);
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloy::hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Sha256Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 64 || text.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("expected 64 lower-case hex digits".to_owned());
        }
        hex::parse_b256(&format!("0x{text}")).map(Sha256Digest)
    }
}
string_serde!(Sha256Digest);

/// keccak256 of the ABI-encoded `Request` struct; in files lower-case `0x…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AuthorizationId(pub B256);

impl AuthorizationId {
    pub const ZERO: AuthorizationId = AuthorizationId(B256::ZERO);
}

impl fmt::Display for AuthorizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloy::hex::encode_prefixed(self.0))
    }
}

impl fmt::Debug for AuthorizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuthorizationId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hex::parse_b256(text).map(AuthorizationId)
    }
}
string_serde!(AuthorizationId);

/// A risk score in ten-thousandths: 0 to 10,000. In files a number from 0 to 1 with at most four decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RiskScore(u16);

impl RiskScore {
    pub const MIN: RiskScore = RiskScore(0);
    pub const MAX: RiskScore = RiskScore(10_000);

    /// From ten-thousandths; more than 10,000 is capped at 1.
    pub const fn from_bps_capped(bps: u32) -> Self {
        if bps >= 10_000 { RiskScore::MAX } else { RiskScore(bps as u16) }
    }

    /// From a number that must lie in [0, 1] and have at most four decimals.
    ///
    /// # Errors
    /// A sentence that says which of the two failed.
    pub fn from_f64(value: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("expected a risk score from 0 to 1, found {value}"));
        }
        let bps = (value * 10_000.0).round();
        if bps / 10_000.0 == value {
            Ok(RiskScore(bps as u16))
        } else {
            Err(format!("expected a risk score with at most four decimals, found {value}"))
        }
    }

    pub const fn bps(self) -> u16 {
        self.0
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for RiskScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for RiskScore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for RiskScore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RiskScore::from_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How much a tool may do by itself; ordered, the higher the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Reads.
    Safe,
    /// Changes the workspace; can be undone.
    Write,
    /// Reaches beyond the workspace; runs with a permit only.
    Critical,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Safe => "safe",
            Tier::Write => "write",
            Tier::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_lower_case_uuid_v7() {
        let made = RequestId::from_parts(0x0193_a1b2_0000, [0xff; 10]);
        assert_eq!(made.as_str(), "0193a1b2-0000-7fff-bfff-ffffffffffff");
        assert_eq!(made.as_str().parse::<RequestId>(), Ok(made));
        for bad in [
            "",
            "0193A1B2-0000-7000-8000-000000000001",
            "0193a1b2-0000-4000-8000-000000000001",
            "0193a1b2-0000-7000-c000-000000000001",
        ] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn timestamps_have_one_spelling() {
        let stamp: Timestamp = "2026-11-22T12:00:01.250Z".parse().unwrap();
        assert_eq!((stamp.unix_ms() % 1000, stamp.to_string().as_str()), (250, "2026-11-22T12:00:01.250Z"));
        for bad in [
            "2026-11-22T12:00:01Z",
            "2026-11-22T12:00:01.25Z",
            "2026-11-22T12:00:01.250+00:00",
            "2026-11-22 12:00:01.250Z",
            "2026-11-22T12:00:01.2500Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn risk_scores_are_exact_ten_thousandths() {
        for bps in 0..=10_000u16 {
            let value: f64 = format!("{}.{:04}", bps / 10_000, bps % 10_000).parse().unwrap();
            assert_eq!(RiskScore::from_f64(value).map(RiskScore::bps), Ok(bps));
        }
        for bad in [-0.1, 1.0001, 0.12345, f64::NAN] {
            assert!(RiskScore::from_f64(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tool_names_are_short_and_plain() {
        assert!("a".repeat(64).parse::<ToolName>().is_ok());
        for bad in ["", "A", "1a", "a-b", "_a", &"a".repeat(65)] {
            assert!(bad.parse::<ToolName>().is_err(), "{bad}");
        }
    }
}
