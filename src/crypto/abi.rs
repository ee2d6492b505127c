//! The contract's interface as PROTOCOL section 5 writes it, in Rust types.
//!
//! A verifier works from this page alone. `contract` deploys the compiled artifact; a test
//! holds the two to the same selectors and topics.

use alloy::primitives::B256;
use alloy::sol;
use alloy::sol_types::SolEvent;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct Request {
        bytes32 requestIdHash;
        bytes32 toolHash;
        bytes32 actionHash;
        bytes32 requestHash;
        address requester;
        uint40  expiresAt;
        uint16  riskBps;
        uint64  epoch;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct SignedVote { address approver; bool approve; string note; bytes signature; }

    function requestAuthorization(Request calldata r, string calldata requestId, string calldata toolName) external;
    function decide(Request calldata r, SignedVote[] calldata votes) external;
    function vote(Request calldata r, bool approve, string calldata note) external;
    function consume(Request calldata r, bytes32 claim) external;
    function recordExecution(Request calldata r, uint8 outcome, bytes32 outcomeHash) external;
    function cancel(Request calldata r, string calldata reason) external;
    function statusOf(bytes32 id) external view returns (uint8);

    function requestBatch(Request[] calldata r, string[] calldata requestIds, string[] calldata toolNames) external;
    function decideBatch(Request[] calldata r, SignedVote[][] calldata votes) external;
    function consumeBatch(Request[] calldata r, bytes32[] calldata claims) external;
    function recordBatch(Request[] calldata r, uint8[] calldata outcomes, bytes32[] calldata outcomeHashes) external;

    #[derive(Debug, PartialEq, Eq)]
    event AuthorizationRequested(bytes32 indexed id, address indexed requester, bytes32 indexed actionHash, bytes32 requestHash, string requestId, string toolName, uint16 riskBps, uint40 expiresAt, uint64 epoch);
    #[derive(Debug, PartialEq, Eq)]
    event VoteCast(bytes32 indexed id, address indexed approver, bool approve, string note);
    #[derive(Debug, PartialEq, Eq)]
    event AuthorizationApproved(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver);
    #[derive(Debug, PartialEq, Eq)]
    event AuthorizationDenied(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver, string reason);
    #[derive(Debug, PartialEq, Eq)]
    event AuthorizationCancelled(bytes32 indexed id, bytes32 indexed actionHash, address indexed by, string reason);
    #[derive(Debug, PartialEq, Eq)]
    event AuthorizationConsumed(bytes32 indexed id, bytes32 indexed actionHash, address indexed executor, bytes32 claim);
    #[derive(Debug, PartialEq, Eq)]
    event ExecutionRecorded(bytes32 indexed id, bytes32 indexed outcomeHash, uint8 outcome);
}

sol! {
    /// ERC-1271: a contract says whether a signature is its own.
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
}

/// What `statusOf` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStatus {
    None,
    Pending,
    Approved,
    Denied,
    Consumed,
    Recorded,
    Cancelled,
    Expired,
}

impl ChainStatus {
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(ChainStatus::None),
            1 => Some(ChainStatus::Pending),
            2 => Some(ChainStatus::Approved),
            3 => Some(ChainStatus::Denied),
            4 => Some(ChainStatus::Consumed),
            5 => Some(ChainStatus::Recorded),
            6 => Some(ChainStatus::Cancelled),
            7 => Some(ChainStatus::Expired),
            _ => None,
        }
    }

    /// The number that `statusOf` answers.
    pub const fn code(self) -> u8 {
        match self {
            ChainStatus::None => 0,
            ChainStatus::Pending => 1,
            ChainStatus::Approved => 2,
            ChainStatus::Denied => 3,
            ChainStatus::Consumed => 4,
            ChainStatus::Recorded => 5,
            ChainStatus::Cancelled => 6,
            ChainStatus::Expired => 7,
        }
    }

    /// Whether time still matters: undecided, or approved and not consumed.
    pub const fn is_open(self) -> bool {
        match self {
            ChainStatus::Pending | ChainStatus::Approved => true,
            ChainStatus::None
            | ChainStatus::Denied
            | ChainStatus::Consumed
            | ChainStatus::Recorded
            | ChainStatus::Cancelled
            | ChainStatus::Expired => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            ChainStatus::None => "none",
            ChainStatus::Pending => "pending",
            ChainStatus::Approved => "approved",
            ChainStatus::Denied => "denied",
            ChainStatus::Consumed => "consumed",
            ChainStatus::Recorded => "recorded",
            ChainStatus::Cancelled => "cancelled",
            ChainStatus::Expired => "expired",
        }
    }
}

/// The topics of the events of a request's life, in the order of a life.
pub const LIFE_TOPICS: [B256; 7] = [
    AuthorizationRequested::SIGNATURE_HASH,
    VoteCast::SIGNATURE_HASH,
    AuthorizationApproved::SIGNATURE_HASH,
    AuthorizationDenied::SIGNATURE_HASH,
    AuthorizationCancelled::SIGNATURE_HASH,
    AuthorizationConsumed::SIGNATURE_HASH,
    ExecutionRecorded::SIGNATURE_HASH,
];
