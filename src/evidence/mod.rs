//! Header, receipt and transaction proofs: build and check; verification of a response.

pub mod verify;

pub use verify::{VerifiedApproval, VerifiedConsumption};
