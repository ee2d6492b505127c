//! Evidence: header, receipt and transaction proofs, built from a node and checked by anyone.
//!
//! [`block`] builds, [`trie`] proves and checks, [`verify`] applies PROTOCOL section 7, and
//! [`endpoint`] is the read-only view of a chain that a verifier of its own asks.

pub mod block;
pub mod endpoint;
pub mod trie;
pub mod verdict;
pub mod verify;
mod votes;

pub use block::BlockProofs;
pub use endpoint::{Endpoint, EndpointError};
pub use verdict::{
    ChainVerdict, Clock, DenialKind, VerifiedApproval, VerifiedConsumption, VerifiedDecision, VerifiedDenial,
    VerifyFailure,
};
pub use verify::Verifier;
