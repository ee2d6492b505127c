// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IAuthorization} from "./IAuthorization.sol";
import {RequestState, Status, newRequestState} from "./RequestState.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {EnumerableMap} from "@openzeppelin/contracts/utils/structs/EnumerableMap.sol";

/// @title Authorization
/// @notice See {IAuthorization}.
///
/// An approver is a bit, a role is a mask of bits, and a quorum is `popcount(votes & mask) >= count`.
///
/// Each act that has a batch form is one private function that checks, then acts. When a check fails it has changed
/// nothing and returns the encoded custom error; the single form reverts with exactly that, the batch form reports
/// its selector and goes on.
contract Authorization is IAuthorization, EIP712 {
    using EnumerableMap for EnumerableMap.AddressToAddressMap;

    /// All that a request reads where there is one bridge: one full slot. Only `paused` is set by itself; the rest
    /// follows from the policy and the bridges when the epoch is raised.
    struct Config {
        uint24 epoch;
        bool paused;
        uint64 minRisks; // minRiskBps of policy lines 1 to 4, 16 bits each, line 1 lowest; the highest for a missing one
        address requester; // of the first bridge
    }

    /// The place of an approver. Its bit is its index.
    struct Seat {
        address account;
        uint8 role;
    }

    /// A request's state in a struct, so that its slot is computed once an act.
    struct Entry {
        RequestState state;
    }

    uint8 internal constant ANY = 0;
    uint8 internal constant OPERATIONS = 1;
    uint8 internal constant SECURITY = 2;
    uint8 internal constant MAX_ROLE = 7;

    uint256 internal constant MAX_APPROVERS = 32;
    uint256 internal constant MAX_BRIDGES = 8;
    /// As many as leave room in {Config}; line 0 starts at risk 0 and needs none.
    uint256 internal constant MAX_POLICY_LINES = 5;
    /// As many as fit one word with their masks.
    uint256 internal constant MAX_COUNTS_PER_LINE = 6;
    uint256 internal constant MAX_NAME_BYTES = 64;
    uint256 internal constant MAX_NOTE_BYTES = 512;
    uint256 internal constant MAX_LIFETIME_SECONDS = 30 days;
    uint256 internal constant MAX_RISK_BPS = 10_000;
    uint256 internal constant MAX_REQUESTS_PER_BATCH = 400;
    uint256 internal constant MAX_ITEMS_PER_BATCH = 32;
    uint256 internal constant ERC1271_GAS_MAX = 100_000;

    bytes32 private constant VOTE_TYPEHASH =
        keccak256("Vote(bytes32 id,string tool_name,bytes32 action_hash,bool approve,string note)");

    Config private _config;
    /// Eight masks of 32 approver bits: role 0, which is every approver, lowest.
    uint256 private _masks;
    /// A policy line's counts as the admin set them, 16 bits each (role, count), the first lowest; a zero ends them.
    uint96[MAX_POLICY_LINES] private _quorums;
    /// The same counts with each role's mask of this epoch, 40 bits each (mask, count), so that a decision reads one slot.
    mapping(uint256 line => uint256) private _rules;
    mapping(bytes32 id => Entry) private _entries;
    /// An approver's bit plus one; zero is nobody.
    mapping(address account => uint256) private _seatOf;
    Seat[MAX_APPROVERS] private _seats;
    /// Requester to response signer.
    EnumerableMap.AddressToAddressMap private _bridges;

    /// @inheritdoc IAuthorization
    address public admin;
    /// @inheritdoc IAuthorization
    address public pendingAdmin;

    modifier onlyAdmin() {
        if (msg.sender != admin) revert NotAdmin(msg.sender);
        _;
    }

    constructor(address admin_, ApproverInit[] memory approvers_, PolicyLine[] memory policy_, Bridge[] memory bridges_)
        EIP712("Guardrail", "1")
    {
        if (admin_ == address(0)) revert ZeroAddress();
        admin = admin_;
        emit AdminTransferred(address(0), admin_);

        for (uint256 i = 0; i < approvers_.length; ++i) {
            _setApprover(approvers_[i]);
        }
        for (uint256 i = 0; i < bridges_.length; ++i) {
            _setBridge(bridges_[i]);
        }
        _setPolicy(policy_);
        _raiseEpoch();
    }

    // ------------------------------------------------------------------------------------------------ requests

    /// @inheritdoc IAuthorization
    function requestAuthorization(Request calldata r, string calldata requestId, string calldata toolName) external {
        Config memory config = _config;
        _orRevert(_request(config, _isRequester(config, msg.sender), r, requestId, toolName));
    }

    /// @inheritdoc IAuthorization
    function requestBatch(Request[] calldata r, string[] calldata requestIds, string[] calldata toolNames) external {
        _checkBatch(r.length, MAX_REQUESTS_PER_BATCH, requestIds.length, toolNames.length);
        Config memory config = _config;
        bool registered = _isRequester(config, msg.sender);
        for (uint256 i = 0; i < r.length; ++i) {
            _orSkip(r[i], i, _request(config, registered, r[i], requestIds[i], toolNames[i]));
        }
    }

    /// Every check stands here, one after the other: this is the act that runs most often.
    function _request(
        Config memory config,
        bool registered,
        Request calldata r,
        string calldata requestId,
        string calldata toolName
    ) private returns (bytes memory error_) {
        if (msg.sender != r.requester) {
            return abi.encodeWithSelector(NotRequester.selector, msg.sender, r.requester);
        }
        if (!registered) return abi.encodeWithSelector(UnknownRequester.selector, msg.sender);
        if (config.paused) return abi.encodeWithSelector(ContractPaused.selector);
        uint64 given = r.epoch;
        if (given != config.epoch) return abi.encodeWithSelector(StaleEpoch.selector, given, config.epoch);

        uint256 length = bytes(requestId).length;
        if (length == 0 || length > MAX_NAME_BYTES) return _lengthError(length, 1, MAX_NAME_BYTES);
        length = bytes(toolName).length;
        if (length == 0 || length > MAX_NAME_BYTES) return _lengthError(length, 1, MAX_NAME_BYTES);
        bytes32 hash = keccak256(bytes(requestId));
        if (hash != r.requestIdHash) return abi.encodeWithSelector(RequestIdMismatch.selector, hash, r.requestIdHash);
        hash = keccak256(bytes(toolName));
        if (hash != r.toolHash) return abi.encodeWithSelector(ToolNameMismatch.selector, hash, r.toolHash);

        uint16 riskBps = r.riskBps;
        if (riskBps > MAX_RISK_BPS) return abi.encodeWithSelector(RiskOutOfRange.selector, riskBps);
        uint40 expiresAt = r.expiresAt;
        if (expiresAt <= block.timestamp || expiresAt - block.timestamp > MAX_LIFETIME_SECONDS) {
            return abi.encodeWithSelector(
                ExpiryOutOfRange.selector, expiresAt, block.timestamp + 1, block.timestamp + MAX_LIFETIME_SECONDS
            );
        }
        // `_hashRequest(r)` from what is at hand: a field of `calldata` is checked anew whenever it is read.
        bytes32 id = keccak256(
            abi.encode(r.requestIdHash, r.toolHash, r.actionHash, r.requestHash, msg.sender, expiresAt, riskBps, given)
        );
        Entry storage entry = _entries[id];
        if (entry.state.exists()) return abi.encodeWithSelector(AlreadyRequested.selector, id);

        entry.state = newRequestState(_lineFor(config.minRisks, riskBps), expiresAt);
        emit AuthorizationRequested(
            id, msg.sender, r.actionHash, r.requestHash, requestId, toolName, riskBps, expiresAt, given
        );
    }

    function _isRequester(Config memory config, address account) private view returns (bool) {
        return account == config.requester || _bridges.contains(account);
    }

    /// The last line whose risk the request reaches.
    function _lineFor(uint256 minRisks, uint256 riskBps) private pure returns (uint256 line) {
        for (; line < MAX_POLICY_LINES - 1; ++line) {
            if (riskBps < uint16(minRisks)) break;
            minRisks >>= 16;
        }
    }

    // --------------------------------------------------------------------------------------------------- votes

    /// @inheritdoc IAuthorization
    function decide(Request calldata r, SignedVote[] calldata votes) external {
        _orRevert(_decide(r, votes, ERC1271_GAS_MAX));
    }

    /// @inheritdoc IAuthorization
    function decideBatch(Request[] calldata r, SignedVote[][] calldata votes) external {
        _checkBatch(r.length, MAX_ITEMS_PER_BATCH, votes.length, r.length);
        for (uint256 i = 0; i < r.length; ++i) {
            _orSkip(r[i], i, _decide(r[i], votes[i], 0));
        }
    }

    /// @inheritdoc IAuthorization
    function vote(Request calldata r, bool approve, string calldata note) external {
        bytes32 id = _hashRequest(r);
        Entry storage entry = _entries[id];
        RequestState state = entry.state;
        _orRevert(approve ? _checkApprovable(r, id, state) : _checkOpen(id, state));
        (bytes memory error_, uint32 bit) = _checkVoter(r, id, msg.sender, note);
        _orRevert(error_);
        if (!approve) {
            _deny(r, id, entry, msg.sender, note);
        } else if (state.votes() & bit != 0) {
            emit VoteSkipped(id, msg.sender);
        } else {
            emit VoteCast(id, msg.sender, true, note);
            state = state.withVotes(bit);
            bool settled = _meets(_rules[state.line()], state.votes());
            _storeApprovals(r, id, entry, state, settled ? msg.sender : address(0));
        }
    }

    function _decide(Request calldata r, SignedVote[] calldata votes, uint256 walletGasMax)
        private
        returns (bytes memory error_)
    {
        bytes32 id = _hashRequest(r);
        if (votes.length == 0) return abi.encodeWithSelector(NoVotes.selector, id);
        if (votes.length > MAX_APPROVERS) return abi.encodeWithSelector(TooMany.selector, votes.length, MAX_APPROVERS);

        Entry storage entry = _entries[id];
        for (uint256 i = 0; i < votes.length; ++i) {
            if (!votes[i].approve) return _decideDenied(r, id, entry, votes[i], walletGasMax);
        }
        return _decideApproved(r, id, entry, votes, walletGasMax);
    }

    function _decideDenied(
        Request calldata r,
        bytes32 id,
        Entry storage entry,
        SignedVote calldata denial,
        uint256 walletGasMax
    ) private returns (bytes memory error_) {
        error_ = _checkOpen(id, entry.state);
        if (error_.length != 0) return error_;
        (error_,) = _checkSigned(r, id, denial, walletGasMax);
        if (error_.length != 0) return error_;
        _deny(r, id, entry, denial.approver, denial.note);
    }

    function _decideApproved(
        Request calldata r,
        bytes32 id,
        Entry storage entry,
        SignedVote[] calldata votes,
        uint256 walletGasMax
    ) private returns (bytes memory error_) {
        RequestState state = entry.state;
        error_ = _checkApprovable(r, id, state);
        if (error_.length != 0) return error_;

        uint256 rules = _rules[state.line()];
        uint256 repeated = 0; // bit i: votes[i] is already counted
        address settledBy = address(0);
        for (uint256 i = 0; i < votes.length; ++i) {
            SignedVote calldata v = votes[i];
            uint32 bit;
            (error_, bit) = _checkSigned(r, id, v, walletGasMax);
            if (error_.length != 0) return error_;
            if (state.votes() & bit != 0) {
                repeated |= uint256(1) << i;
                continue;
            }
            state = state.withVotes(bit);
            if (settledBy == address(0) && _meets(rules, state.votes())) settledBy = v.approver;
        }

        // Nothing was written before the last vote was checked.
        for (uint256 i = 0; i < votes.length; ++i) {
            SignedVote calldata v = votes[i];
            if (repeated & (uint256(1) << i) != 0) emit VoteSkipped(id, v.approver);
            else emit VoteCast(id, v.approver, true, v.note);
        }
        _storeApprovals(r, id, entry, state, settledBy);
    }

    /// What is pending or approved can be denied and cancelled, of any epoch, paused or not.
    function _checkOpen(bytes32 id, RequestState state) private view returns (bytes memory error_) {
        Status status = state.current();
        if (status != Status.Pending && status != Status.Approved) return _statusError(id, state);
    }

    function _checkApprovable(Request calldata r, bytes32 id, RequestState state)
        private
        view
        returns (bytes memory error_)
    {
        if (state.current() != Status.Pending) return _statusError(id, state);
        return _checkRunning(r);
    }

    /// Checks all of a vote but its signature, and answers with its approver's bit.
    function _checkVoter(Request calldata r, bytes32 id, address approver, string calldata note)
        private
        view
        returns (bytes memory error_, uint32 bit)
    {
        if (approver == r.requester) {
            return (abi.encodeWithSelector(RequesterCannotVote.selector, id, approver), 0);
        }
        uint256 seat = _seatOf[approver];
        if (seat == 0) return (abi.encodeWithSelector(NotApprover.selector, approver), 0);
        if (bytes(note).length != 0) error_ = _checkNote(bytes(note));
        bit = uint32(1) << uint32(seat - 1);
    }

    /// Refuses what a verifier would: U+0000 to U+001F but a line feed, U+007F, and U+0080 to U+009F, which UTF-8
    /// writes as 0xC2 and a byte below 0xA0.
    function _checkNote(bytes calldata note) private pure returns (bytes memory error_) {
        if (note.length > MAX_NOTE_BYTES) return _lengthError(note.length, 0, MAX_NOTE_BYTES);
        bytes1 previous = 0;
        for (uint256 i = 0; i < note.length; ++i) {
            bytes1 character = note[i];
            if ((character < 0x20 && character != "\n") || character == 0x7f || (previous == 0xc2 && character < 0xa0))
            {
                return abi.encodeWithSelector(ControlCharacter.selector, i);
            }
            previous = character;
        }
    }

    function _checkSigned(Request calldata r, bytes32 id, SignedVote calldata v, uint256 walletGasMax)
        private
        view
        returns (bytes memory error_, uint32 bit)
    {
        address approver = v.approver;
        string calldata note = v.note;
        (error_, bit) = _checkVoter(r, id, approver, note);
        if (error_.length != 0) return (error_, bit);

        bytes32 digest = _hashVote(r, id, v.approve, note);
        bytes calldata signature = v.signature;
        // The third value only details the problem.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (problem == ECDSA.RecoverError.NoError && recovered == approver) return (error_, bit);
        if (!_walletAccepts(approver, digest, signature, walletGasMax)) {
            error_ = abi.encodeWithSelector(InvalidSignature.selector, id, approver);
        }
    }

    /// Asks an ERC-1271 wallet. OpenZeppelin's `SignatureChecker` hands on all the gas there is, so the call is made
    /// here, where it can be bounded; the bound also limits what the wallet can return.
    function _walletAccepts(address wallet, bytes32 digest, bytes calldata signature, uint256 gasMax)
        private
        view
        returns (bool)
    {
        if (gasMax == 0 || wallet.code.length == 0) return false;
        (bool success, bytes memory answer) =
            wallet.staticcall{gas: gasMax}(abi.encodeCall(IERC1271.isValidSignature, (digest, signature)));
        return success && answer.length >= 32 && bytes32(answer) == bytes32(IERC1271.isValidSignature.selector);
    }

    function _deny(Request calldata r, bytes32 id, Entry storage entry, address approver, string calldata note)
        private
    {
        entry.state = entry.state.withStatus(Status.Denied);
        emit VoteCast(id, approver, false, note);
        emit AuthorizationDenied(id, r.actionHash, approver, note);
    }

    function _storeApprovals(Request calldata r, bytes32 id, Entry storage entry, RequestState state, address settledBy)
        private
    {
        if (settledBy == address(0)) {
            entry.state = state;
            return;
        }
        entry.state = state.withStatus(Status.Approved);
        emit AuthorizationApproved(id, r.actionHash, settledBy);
    }

    // ----------------------------------------------------------------------------------------------- execution

    /// @inheritdoc IAuthorization
    function consume(Request calldata r, bytes32 claim) external {
        _orRevert(_consume(r, claim));
    }

    /// @inheritdoc IAuthorization
    function consumeBatch(Request[] calldata r, bytes32[] calldata claims) external {
        _checkBatch(r.length, MAX_ITEMS_PER_BATCH, claims.length, r.length);
        for (uint256 i = 0; i < r.length; ++i) {
            _orSkip(r[i], i, _consume(r[i], claims[i]));
        }
    }

    /// @inheritdoc IAuthorization
    function recordExecution(Request calldata r, uint8 outcome, bytes32 outcomeHash) external {
        _orRevert(_record(r, outcome, outcomeHash));
    }

    /// @inheritdoc IAuthorization
    function recordBatch(Request[] calldata r, uint8[] calldata outcomes, bytes32[] calldata outcomeHashes) external {
        _checkBatch(r.length, MAX_ITEMS_PER_BATCH, outcomes.length, outcomeHashes.length);
        for (uint256 i = 0; i < r.length; ++i) {
            _orSkip(r[i], i, _record(r[i], outcomes[i], outcomeHashes[i]));
        }
    }

    /// @inheritdoc IAuthorization
    function cancel(Request calldata r, string calldata reason) external {
        if (msg.sender != r.requester && msg.sender != admin) revert NotRequesterOrAdmin(msg.sender);
        _orRevert(_checkNote(bytes(reason)));
        bytes32 id = _hashRequest(r);
        Entry storage entry = _entries[id];
        RequestState state = entry.state;
        _orRevert(_checkOpen(id, state));

        entry.state = state.withStatus(Status.Cancelled);
        emit AuthorizationCancelled(id, r.actionHash, msg.sender, reason);
    }

    function _consume(Request calldata r, bytes32 claim) private returns (bytes memory error_) {
        if (msg.sender != r.requester) return abi.encodeWithSelector(NotRequester.selector, msg.sender, r.requester);
        bytes32 id = _hashRequest(r);
        if (claim == 0) return abi.encodeWithSelector(ZeroClaim.selector, id);
        Entry storage entry = _entries[id];
        RequestState state = entry.state;
        if (state.current() != Status.Approved) return _statusError(id, state);
        error_ = _checkRunning(r);
        if (error_.length != 0) return error_;

        entry.state = state.withStatus(Status.Consumed);
        emit AuthorizationConsumed(id, r.actionHash, msg.sender, claim);
    }

    function _record(Request calldata r, uint8 outcome, bytes32 outcomeHash) private returns (bytes memory error_) {
        if (msg.sender != r.requester) return abi.encodeWithSelector(NotRequester.selector, msg.sender, r.requester);
        if (outcome < 1 || outcome > 3) return abi.encodeWithSelector(OutcomeOutOfRange.selector, outcome);
        bytes32 id = _hashRequest(r);
        Entry storage entry = _entries[id];
        RequestState state = entry.state;
        if (state.status() != Status.Consumed) return _statusError(id, state);

        entry.state = state.withStatus(Status.Recorded);
        emit ExecutionRecorded(id, outcomeHash, outcome);
    }

    // ---------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IAuthorization
    function statusOf(bytes32 id) external view returns (uint8) {
        return uint8(_entries[id].state.current());
    }

    /// @inheritdoc IAuthorization
    function requestState(bytes32 id) external view returns (uint8 status, uint40 expiresAt, uint8 line, uint32 votes) {
        RequestState state = _entries[id].state;
        return (uint8(state.current()), state.expiresAt(), state.line(), state.votes());
    }

    /// @inheritdoc IAuthorization
    function hashRequest(Request calldata r) external pure returns (bytes32) {
        return _hashRequest(r);
    }

    /// @inheritdoc IAuthorization
    function hashVote(Request calldata r, bool approve, string calldata note) external view returns (bytes32) {
        return _hashVote(r, _hashRequest(r), approve, note);
    }

    /// @inheritdoc IAuthorization
    function approvers() external view returns (Approver[] memory list) {
        list = new Approver[](_popcount(uint32(_masks)));
        uint256 count = 0;
        for (uint256 bit = 0; bit < MAX_APPROVERS; ++bit) {
            Seat memory seat = _seats[bit];
            if (seat.role != 0) list[count++] = Approver(seat.account, seat.role, uint8(bit));
        }
    }

    /// @inheritdoc IAuthorization
    function policy() external view returns (PolicyLine[] memory lines) {
        uint64 minRisks = _config.minRisks;
        lines = new PolicyLine[](_lineCount());
        for (uint256 i = 0; i < lines.length; ++i) {
            uint96 packed = _quorums[i];
            uint256 counts = 0;
            while (counts < MAX_COUNTS_PER_LINE && packed >> (counts * 16) != 0) ++counts;
            lines[i] = PolicyLine(i == 0 ? 0 : uint16(minRisks >> ((i - 1) * 16)), new Quorum[](counts));
            for (uint256 j = 0; j < counts; ++j) {
                uint16 entry = uint16(packed >> (j * 16));
                lines[i].quorum[j] = Quorum({role: uint8(entry >> 8), count: uint8(entry)});
            }
        }
    }

    /// @inheritdoc IAuthorization
    function bridges() external view returns (Bridge[] memory list) {
        list = new Bridge[](_bridges.length());
        for (uint256 i = 0; i < list.length; ++i) {
            (address requester, address signer) = _bridges.at(i);
            list[i] = Bridge(requester, signer);
        }
    }

    /// @inheritdoc IAuthorization
    function epoch() external view returns (uint64) {
        return _config.epoch;
    }

    /// @inheritdoc IAuthorization
    function paused() external view returns (bool) {
        return _config.paused;
    }

    // ------------------------------------------------------------------------------------------ administration

    /// @inheritdoc IAuthorization
    function setApprovers(ApproverInit[] calldata set, address[] calldata remove) external onlyAdmin {
        if (remove.length > MAX_APPROVERS) revert TooMany(remove.length, MAX_APPROVERS);
        for (uint256 i = 0; i < remove.length; ++i) {
            _removeApprover(remove[i]);
        }
        if (set.length > MAX_APPROVERS) revert TooMany(set.length, MAX_APPROVERS);
        for (uint256 i = 0; i < set.length; ++i) {
            _setApprover(set[i]);
        }
        _raiseEpoch();
    }

    /// @inheritdoc IAuthorization
    function setPolicy(PolicyLine[] calldata lines) external onlyAdmin {
        _setPolicy(lines);
        _raiseEpoch();
    }

    /// @inheritdoc IAuthorization
    function setBridge(address requester, address signer) external onlyAdmin {
        _setBridge(Bridge(requester, signer));
        _raiseEpoch();
    }

    /// @inheritdoc IAuthorization
    function removeBridge(address requester) external onlyAdmin {
        if (!_bridges.remove(requester)) revert UnknownRequester(requester);
        emit BridgeRemoved(requester);
        _raiseEpoch();
    }

    /// @inheritdoc IAuthorization
    function pause() external onlyAdmin {
        _config.paused = true;
        emit Paused(msg.sender);
    }

    /// @inheritdoc IAuthorization
    function unpause() external onlyAdmin {
        _config.paused = false;
        emit Unpaused(msg.sender);
    }

    /// @inheritdoc IAuthorization
    function transferAdmin(address newAdmin) external onlyAdmin {
        pendingAdmin = newAdmin;
        emit AdminTransferStarted(msg.sender, newAdmin);
    }

    /// @inheritdoc IAuthorization
    function acceptAdmin() external {
        if (msg.sender != pendingAdmin) revert NotPendingAdmin(msg.sender);
        emit AdminTransferred(admin, msg.sender);
        admin = msg.sender;
        delete pendingAdmin;
    }

    /// Adds an approver at the lowest free bit, or changes its role and keeps its bit.
    function _setApprover(ApproverInit memory a) private {
        if (a.account == address(0)) revert ZeroAddress();
        if (a.role == 0 || a.role > MAX_ROLE) revert RoleOutOfRange(a.role);
        if (_bridges.contains(a.account)) revert RequesterIsApprover(a.account);

        uint256 bit = _seatOf[a.account];
        if (bit != 0) {
            _masks &= ~_maskBits(_seats[--bit].role, bit);
        } else {
            while (bit < MAX_APPROVERS && _seats[bit].role != 0) ++bit;
            if (bit == MAX_APPROVERS) revert TooMany(MAX_APPROVERS + 1, MAX_APPROVERS);
            _seatOf[a.account] = bit + 1;
        }
        _seats[bit] = Seat(a.account, a.role);
        _masks |= _maskBits(a.role, bit);
        emit ApproverSet(a.account, a.role, uint8(bit));
    }

    function _removeApprover(address account) private {
        uint256 bit = _seatOf[account];
        if (bit == 0) revert NotApprover(account);
        uint8 role = _seats[--bit].role;
        _masks &= ~_maskBits(role, bit);
        delete _seatOf[account];
        delete _seats[bit];
        emit ApproverRemoved(account, role, uint8(bit));
    }

    function _setPolicy(PolicyLine[] memory lines) private {
        if (lines.length == 0 || lines.length > MAX_POLICY_LINES) {
            revert LengthOutOfRange(lines.length, 1, MAX_POLICY_LINES);
        }
        uint64 minRisks = type(uint64).max; // a missing line starts where no risk reaches
        for (uint256 i = 0; i < lines.length; ++i) {
            uint16 minRisk = lines[i].minRiskBps;
            if (minRisk > MAX_RISK_BPS) revert RiskOutOfRange(minRisk);
            if (i == 0 ? minRisk != 0 : minRisk <= lines[i - 1].minRiskBps) revert PolicyNotAscending(i, minRisk);
            if (i != 0) minRisks ^= uint64(~minRisk) << uint64((i - 1) * 16);
            _quorums[i] = _packQuorum(i, lines[i].quorum);
        }
        for (uint256 i = lines.length; i < MAX_POLICY_LINES; ++i) {
            delete _quorums[i];
        }
        _config.minRisks = minRisks;
        emit PolicySet(lines);
    }

    function _packQuorum(uint256 line, Quorum[] memory counts) private pure returns (uint96 packed) {
        if (counts.length > MAX_COUNTS_PER_LINE) revert TooMany(counts.length, MAX_COUNTS_PER_LINE);
        if (counts.length == 0) revert EmptyQuorum(line);
        for (uint256 i = 0; i < counts.length; ++i) {
            if (counts[i].role > MAX_ROLE) revert RoleOutOfRange(counts[i].role);
            if (counts[i].count == 0) revert EmptyQuorum(line);
            packed |= ((uint96(counts[i].role) << 8) | counts[i].count) << uint96(i * 16);
        }
    }

    function _setBridge(Bridge memory b) private {
        if (b.requester == address(0) || b.signer == address(0)) revert ZeroAddress();
        if (_seatOf[b.requester] != 0) revert RequesterIsApprover(b.requester);
        bool added = _bridges.set(b.requester, b.signer);
        if (added && _bridges.length() > MAX_BRIDGES) revert TooMany(_bridges.length(), MAX_BRIDGES);
        emit BridgeSet(b.requester, b.signer);
    }

    /// Ends every administrative change: resolves the policy against the approvers there are, refuses one that they
    /// cannot meet, copies the first bridge to where requests look first, and voids what was not consumed before.
    function _raiseEpoch() private {
        uint256 masks = _masks;
        uint256 lines = _lineCount();
        for (uint256 i = 0; i < lines; ++i) {
            uint256 rules = 0;
            uint256 shift = 0;
            for (uint96 counts = _quorums[i]; counts != 0; counts >>= 16) {
                uint256 mask = uint32(masks >> (uint256(uint8(counts >> 8)) * 32));
                rules |= ((mask << 8) | uint8(counts)) << shift;
                shift += 40;
            }
            if (!_meets(rules, uint32(masks))) revert PolicyCannotBeMet(i);
            _rules[i] = rules;
        }
        address requester = address(0);
        // A request looks for the requester alone; the signer is for those who verify responses.
        // slither-disable-next-line unused-return
        if (_bridges.length() != 0) (requester,) = _bridges.at(0);
        _config.requester = requester;
        emit EpochRaised(++_config.epoch);
    }

    function _lineCount() private view returns (uint256 count) {
        while (count < MAX_POLICY_LINES && _quorums[count] != 0) ++count;
    }

    // ------------------------------------------------------------------------------------------------- helpers

    function _hashRequest(Request calldata r) private pure returns (bytes32) {
        return keccak256(abi.encode(r));
    }

    function _hashVote(Request calldata r, bytes32 id, bool approve, string calldata note)
        private
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(VOTE_TYPEHASH, id, r.toolHash, r.actionHash, approve, keccak256(bytes(note))))
        );
    }

    /// Why a request cannot be acted on, given that its status is not the one the act needs.
    function _statusError(bytes32 id, RequestState state) private view returns (bytes memory) {
        if (state.status() == Status.None) return abi.encodeWithSelector(UnknownRequest.selector, id);
        Status status = state.current();
        if (status == Status.Expired) return abi.encodeWithSelector(RequestExpired.selector, id, state.expiresAt());
        return abi.encodeWithSelector(WrongStatus.selector, id, uint8(status));
    }

    function _checkRunning(Request calldata r) private view returns (bytes memory error_) {
        Config storage config = _config;
        if (config.paused) return abi.encodeWithSelector(ContractPaused.selector);
        uint64 given = r.epoch;
        if (given != config.epoch) return abi.encodeWithSelector(StaleEpoch.selector, given, config.epoch);
    }

    function _lengthError(uint256 length, uint256 min, uint256 max) private pure returns (bytes memory) {
        return abi.encodeWithSelector(LengthOutOfRange.selector, length, min, max);
    }

    function _checkBatch(uint256 items, uint256 max, uint256 second, uint256 third) private pure {
        if (items > max) revert TooMany(items, max);
        if (second != items) revert ArrayLengthMismatch(items, second);
        if (third != items) revert ArrayLengthMismatch(items, third);
    }

    function _orRevert(bytes memory error_) private pure {
        if (error_.length != 0) LowLevelCall.bubbleRevert(error_);
    }

    function _orSkip(Request calldata r, uint256 index, bytes memory error_) private {
        if (error_.length != 0) emit BatchItemSkipped(_hashRequest(r), index, bytes4(error_));
    }

    /// Whether `votes` meet every count of a policy line.
    function _meets(uint256 rules, uint32 votes) private pure returns (bool) {
        for (; rules != 0; rules >>= 40) {
            if (_popcount(votes & uint32(rules >> 8)) < uint8(rules)) return false;
        }
        return true;
    }

    /// An approver's bit in the mask of its role and in that of everyone.
    function _maskBits(uint8 role, uint256 bit) private pure returns (uint256) {
        return (uint256(1) << bit) | (uint256(1) << (bit + uint256(role) * 32));
    }

    /// Adds neighbouring fields of 1, 2 and 4 bits, then the four bytes by one multiplication (Hacker's Delight, 5-1).
    function _popcount(uint32 bits) private pure returns (uint256 count) {
        count = bits;
        // Unchecked: a field never borrows from its neighbour, and the product stays below 2^60.
        unchecked {
            count = count - ((count >> 1) & 0x55555555);
            count = (count & 0x33333333) + ((count >> 2) & 0x33333333);
            count = (count + (count >> 4)) & 0x0f0f0f0f;
            count = ((count * 0x01010101) >> 24) & 0xff;
        }
    }
}
