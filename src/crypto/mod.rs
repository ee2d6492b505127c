//! Hashes, EIP-712 digests, signatures: PROTOCOL sections 3 and 4, and the ABI of section 5.
//!
//! Pure functions over [`crate::schema`] types; no I/O, no clock.

pub mod abi;
pub mod eip712;
pub mod hash;
pub mod key;
pub mod random;

pub use eip712::{SigningDomain, response_digest, vote_digest, vote_digest_by_hash};
pub use hash::{action_hash, authorization_id, claim_of, evidence_hash, outcome_hash, request_hash, seal};
pub use key::{SignatureError, SigningKey, recover};
