//! Evidence: header, receipt and transaction proofs, built from a node and checked by anyone.
//!
//! [`block`] builds, [`trie`] proves and checks, [`steps`] and [`verify`] apply PROTOCOL section 7,
//! [`bundle`] and [`check`] make and check the one file for a stranger, and [`endpoint`] is the read-only
//! view of a chain that a verifier of its own asks.

pub mod block;
pub mod bundle;
mod chain;
pub mod check;
pub mod endpoint;
mod event;
mod proof;
pub mod report;
mod steps;
pub mod trie;
pub mod verdict;
pub mod verify;
mod votes;

pub use block::BlockProofs;
pub use bundle::Bundle;
pub use check::{BundleFailure, BundleReport};
pub use endpoint::{Endpoint, EndpointError};
pub use report::{Report, StepReport, StepVerdict};
pub use verdict::{
    ChainVerdict, Clock, Cure, DenialKind, VerifiedApproval, VerifiedConsumption, VerifiedDecision, VerifiedDenial,
    VerifyFailure,
};
pub use verify::{Expected, Verifier};
