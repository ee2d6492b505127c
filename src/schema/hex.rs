//! Strict hex in files: lower-case `0x…` byte strings and EIP-55 addresses.
//!
//! One value has one spelling, so a file cannot be changed without changing what it says.

use alloy::primitives::{Address, B256, Bytes};

/// Parses `0x` and exactly 64 lower-case hex digits.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_b256(text: &str) -> Result<B256, String> {
    parse_bytes(text).and_then(|bytes| {
        B256::try_from(bytes.as_ref()).map_err(|_| format!("expected 32 bytes of hex, found {}", bytes.len()))
    })
}

/// Parses `0x` and an even number of lower-case hex digits.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_bytes(text: &str) -> Result<Bytes, String> {
    let digits = text.strip_prefix("0x").ok_or("expected a byte string that begins with 0x")?;
    if digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("expected lower-case hex".to_owned());
    }
    alloy::hex::decode(digits).map(Bytes::from).map_err(|e| format!("expected lower-case hex: {e}"))
}

/// Parses an address in its EIP-55 spelling.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse_checksummed(text, None).map_err(|e| format!("expected an EIP-55 address: {e}"))
}

macro_rules! serde_with {
    ($name:ident, $type:ty, $parse:expr, $show:expr) => {
        pub mod $name {
            use super::*;
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                let show: fn(&$type) -> String = $show;
                serializer.serialize_str(&show(value))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(D::Error::custom)
            }
        }
    };
}

serde_with!(b256, B256, parse_b256, |v| alloy::hex::encode_prefixed(v));
serde_with!(bytes, Bytes, parse_bytes, |v| alloy::hex::encode_prefixed(v));
serde_with!(address, Address, parse_address, |v| v.to_checksum(None));

/// A list of byte strings.
pub mod bytes_list {
    use super::*;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(values: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(alloy::hex::encode_prefixed))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|t| parse_bytes(t).map_err(D::Error::custom)).collect()
    }
}
