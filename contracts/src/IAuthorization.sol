// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The ledger on which people approve an agent's critical actions
/// @notice A request names one exact action by hash. Approvers vote on it, its requester consumes the approval
/// once, and records how the action went. Every call brings the whole request and the contract hashes it again, so
/// no event can say what the id does not commit to.
///
/// None → Pending → Approved → Consumed → Recorded. Denied and Cancelled end a request; Expired is computed from
/// the clock and ends what is Pending or Approved. A request of an older epoch keeps its status, but can be neither
/// approved nor consumed.
interface IAuthorization {
    // ------------------------------------------------------------------------------------------------- structs

    /// @notice What an id commits to: `id = keccak256(abi.encode(request))`.
    struct Request {
        bytes32 requestIdHash; // keccak256 of the request id
        bytes32 toolHash; // keccak256 of the tool's name
        bytes32 actionHash; // SHA-256 of the canonical action
        bytes32 requestHash; // SHA-256 of the whole canonical request
        address requester; // who sends the request, consumes it and records its outcome
        uint40 expiresAt; // Unix seconds; live while the block's time is lower
        uint16 riskBps; // risk score × 10,000
        uint64 epoch; // the epoch of approvers, roles, policy and bridges it was made under
    }

    /// @notice A vote as its approver signed it (EIP-712, type `Vote`).
    struct SignedVote {
        address approver;
        bool approve;
        string note; // the conditions of an approval, one a line, or the reason of a denial
        bytes signature; // 65 bytes r ‖ s ‖ v, or what the approver's ERC-1271 wallet takes
    }

    /// @notice An account and the one role it votes in.
    struct ApproverInit {
        address account;
        uint8 role; // 1 to 7
    }

    /// @notice An approver with the bit that stands for its vote in a request's bitmap.
    struct Approver {
        address account;
        uint8 role;
        uint8 bit; // 0 to 31
    }

    /// @notice How many votes of a role are needed. Role 0 counts every approver.
    struct Quorum {
        uint8 role;
        uint8 count;
    }

    /// @notice The counts, all of which a request needs whose risk reaches `minRiskBps` and no higher line's.
    struct PolicyLine {
        uint16 minRiskBps;
        Quorum[] quorum;
    }

    /// @notice An account that may send requests, and the key that signs its responses off-chain.
    struct Bridge {
        address requester;
        address signer;
    }

    // -------------------------------------------------------------------------------------------------- events

    /// @notice A request is waiting for votes.
    event AuthorizationRequested(
        bytes32 indexed id,
        address indexed requester,
        bytes32 indexed actionHash,
        bytes32 requestHash,
        string requestId,
        string toolName,
        uint16 riskBps,
        uint40 expiresAt,
        uint64 epoch
    );
    /// @notice A vote was counted.
    event VoteCast(bytes32 indexed id, address indexed approver, bool approve, string note);
    /// @notice An approval was not counted because its approver's already is.
    event VoteSkipped(bytes32 indexed id, address indexed approver);
    /// @notice The quorum is met; `approver` cast the vote that met it.
    event AuthorizationApproved(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver);
    /// @notice `approver` ended the request.
    event AuthorizationDenied(bytes32 indexed id, bytes32 indexed actionHash, address indexed approver, string reason);
    /// @notice The requester or the admin withdrew the request.
    event AuthorizationCancelled(bytes32 indexed id, bytes32 indexed actionHash, address indexed by, string reason);
    /// @notice The approval was used up, by whoever knows the secret behind `claim`.
    event AuthorizationConsumed(
        bytes32 indexed id, bytes32 indexed actionHash, address indexed executor, bytes32 claim
    );
    /// @notice How the action went: 1 succeeded, 2 failed, 3 unknown.
    event ExecutionRecorded(bytes32 indexed id, bytes32 indexed outcomeHash, uint8 outcome);
    /// @notice Item `index` of a batch changed nothing; `reason` is the selector of the error that the single form
    /// reverts with.
    event BatchItemSkipped(bytes32 indexed id, uint256 index, bytes4 reason);

    /// @notice Approvers, roles, policy or bridges changed: what is of an older epoch and not consumed is void.
    event EpochRaised(uint64 indexed epoch);
    event ApproverSet(address indexed account, uint8 role, uint8 bit);
    event ApproverRemoved(address indexed account, uint8 role, uint8 bit);
    event PolicySet(PolicyLine[] policy);
    event BridgeSet(address indexed requester, address indexed signer);
    event BridgeRemoved(address indexed requester);
    event Paused(address indexed by);
    event Unpaused(address indexed by);
    event AdminTransferStarted(address indexed admin, address indexed pendingAdmin);
    event AdminTransferred(address indexed previousAdmin, address indexed admin);

    // -------------------------------------------------------------------------------------------------- errors

    /// @notice Requests, approvals and consumption are stopped.
    error ContractPaused();
    error NotRequester(address caller, address requester);
    error NotRequesterOrAdmin(address caller);
    error UnknownRequester(address requester);
    error StaleEpoch(uint64 given, uint64 current);
    error RequestIdMismatch(bytes32 given, bytes32 expected);
    error ToolNameMismatch(bytes32 given, bytes32 expected);
    error LengthOutOfRange(uint256 length, uint256 min, uint256 max);
    /// @notice A note or reason holds a control character other than a line feed, which ends at byte `index`.
    error ControlCharacter(uint256 index);
    error RiskOutOfRange(uint16 riskBps);
    error ExpiryOutOfRange(uint40 expiresAt, uint256 earliest, uint256 latest);
    error AlreadyRequested(bytes32 id);
    error UnknownRequest(bytes32 id);
    error RequestExpired(bytes32 id, uint40 expiresAt);
    /// @notice `status` is what `statusOf` answers.
    error WrongStatus(bytes32 id, uint8 status);
    error NoVotes(bytes32 id);
    error NotApprover(address account);
    error RequesterCannotVote(bytes32 id, address requester);
    error InvalidSignature(bytes32 id, address approver);
    error ZeroClaim(bytes32 id);
    error OutcomeOutOfRange(uint8 outcome);
    error TooMany(uint256 given, uint256 max);
    error ArrayLengthMismatch(uint256 items, uint256 others);

    error NotAdmin(address caller);
    error NotPendingAdmin(address caller);
    error ZeroAddress();
    error RoleOutOfRange(uint8 role);
    /// @notice An account would be both an approver and a bridge's requester.
    error RequesterIsApprover(address account);
    error PolicyNotAscending(uint256 line, uint16 minRiskBps);
    error EmptyQuorum(uint256 line);
    /// @notice The approvers there are cannot meet this line.
    error PolicyCannotBeMet(uint256 line);

    // ------------------------------------------------------------------------------------------------ requests

    /// @notice Puts a request before the approvers. Sent by a registered bridge's requester, of the current epoch,
    /// expiring at most 30 days ahead.
    /// @param requestId The request's id in clear, 1 to 64 bytes; goes into the event.
    /// @param toolName The tool's name in clear, 1 to 64 bytes; goes into the event.
    function requestAuthorization(Request calldata r, string calldata requestId, string calldata toolName) external;

    /// @notice `requestAuthorization` for at most 400 requests; one that cannot be made is skipped with an event.
    function requestBatch(Request[] calldata r, string[] calldata requestIds, string[] calldata toolNames) external;

    // --------------------------------------------------------------------------------------------------- votes

    /// @notice Counts signed votes; anyone may bring them. A denial among them denies, whatever its place, and the
    /// approvals beside it are not looked at. Otherwise every vote must be valid; an approval that is already
    /// counted is skipped with an event.
    function decide(Request calldata r, SignedVote[] calldata votes) external;

    /// @notice `decide` for at most 32 requests; one that cannot be decided is skipped with an event. ERC-1271
    /// approvers are never asked here.
    function decideBatch(Request[] calldata r, SignedVote[][] calldata votes) external;

    /// @notice The caller's own vote.
    /// @param note The conditions of an approval or the reason of a denial, at most 512 bytes, without control
    /// characters but line feeds.
    function vote(Request calldata r, bool approve, string calldata note) external;

    // ----------------------------------------------------------------------------------------------- execution

    /// @notice Uses up an approval, once. Sent by the requester before the action runs.
    /// @param claim SHA-256 of a secret that only the process about to run the action knows.
    function consume(Request calldata r, bytes32 claim) external;

    /// @notice `consume` for at most 32 requests; one that cannot be consumed is skipped with an event.
    function consumeBatch(Request[] calldata r, bytes32[] calldata claims) external;

    /// @notice Records how a consumed action went. Sent by the requester; works after expiry and while paused.
    /// @param outcome 1 succeeded, 2 failed, 3 unknown.
    function recordExecution(Request calldata r, uint8 outcome, bytes32 outcomeHash) external;

    /// @notice `recordExecution` for at most 32 requests; one that cannot be recorded is skipped with an event.
    function recordBatch(Request[] calldata r, uint8[] calldata outcomes, bytes32[] calldata outcomeHashes) external;

    /// @notice Withdraws a request that is pending or approved. Sent by its requester or the admin.
    /// @param reason As a note.
    function cancel(Request calldata r, string calldata reason) external;

    // ---------------------------------------------------------------------------------------------------- views

    /// @notice 0 none, 1 pending, 2 approved, 3 denied, 4 consumed, 5 recorded, 6 cancelled, 7 expired.
    function statusOf(bytes32 id) external view returns (uint8);

    /// @notice All that is kept about a request.
    /// @return status As `statusOf` says.
    /// @return expiresAt Unix seconds.
    /// @return line The policy line that was frozen when the request was made.
    /// @return votes The approvals counted, one bit an approver of the request's epoch.
    function requestState(bytes32 id) external view returns (uint8 status, uint40 expiresAt, uint8 line, uint32 votes);

    /// @notice The id of a request.
    function hashRequest(Request calldata r) external pure returns (bytes32);

    /// @notice The EIP-712 digest that an approver signs.
    function hashVote(Request calldata r, bool approve, string calldata note) external view returns (bytes32);

    /// @notice Every approver, by ascending bit.
    function approvers() external view returns (Approver[] memory);

    /// @notice Every policy line, by ascending risk.
    function policy() external view returns (PolicyLine[] memory);

    /// @notice Every registered bridge, in no particular order.
    function bridges() external view returns (Bridge[] memory);

    function epoch() external view returns (uint64);
    function paused() external view returns (bool);
    function admin() external view returns (address);
    function pendingAdmin() external view returns (address);

    // ------------------------------------------------------------------------------------------ administration

    /// @notice Removes approvers, then adds others or changes their role, in one epoch. Refused if the policy could
    /// not be met afterwards.
    function setApprovers(ApproverInit[] calldata set, address[] calldata remove) external;

    /// @notice Replaces the policy: 1 to 5 lines, the first from risk 0, strictly ascending, each with 1 to 6 counts
    /// that the present approvers can meet.
    function setPolicy(PolicyLine[] calldata lines) external;

    /// @notice Registers a bridge, or changes its response signer. At most 8 bridges.
    function setBridge(address requester, address signer) external;

    /// @notice Takes a bridge's right to make requests; what it consumed it can still record.
    function removeBridge(address requester) external;

    /// @notice Stops requests, approvals and consumption; never denials, cancellations and records.
    function pause() external;

    function unpause() external;

    /// @notice Names the next admin, who must accept. The zero address calls it off.
    function transferAdmin(address newAdmin) external;

    function acceptAdmin() external;
}
