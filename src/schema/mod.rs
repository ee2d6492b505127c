//! The wire types of protocol version 1: what crosses a boundary, as pure data.
//!
//! Nothing here performs I/O, hashing or signing. Raw bytes become typed values
//! through [`json::parse_strict`] and the `parse` constructors; a value that exists
//! has passed every rule of the protocol page that concerns its own shape.

pub mod anchors;
pub mod anchors_diff;
pub mod hex;
pub mod ids;
pub mod json;
pub mod ledger;
pub mod lifecycle;
pub mod message;
pub mod request;
pub mod response;
pub mod rule;

pub use anchors::TrustAnchors;
pub use anchors_diff::Difference;
pub use ids::{AuthorizationId, RequestId, RiskScore, Sha256Digest, Tier, Timestamp, ToolName};
pub use ledger::LedgerKind;
pub use lifecycle::{IllegalEvent, LifecycleEvent, RequestState};
pub use message::{ConsumeMessage, Outcome, OutcomeMessage, VoteFile};
pub use request::{AuthRequest, EstimatedImpact};
pub use response::{AuthResponse, Decision, Evidence, EvidenceVote, VoteProof};
pub use rule::{Refusal, Rule};
