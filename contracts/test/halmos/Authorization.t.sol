// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../../src/Authorization.sol";
import {IAuthorization} from "../../src/IAuthorization.sol";
import {Test} from "../utils/Test.sol";

/// The cheatcodes of halmos that the proofs use.
interface Svm {
    function createBytes(uint256 size, string calldata name) external returns (bytes memory);
    function createUint(uint256 bits, string calldata name) external returns (uint256);
    function enableSymbolicStorage(address account) external;
}

/// Proofs for `halmos`, which runs every function named `check_…` with arguments that stand for all values, from a
/// contract whose mappings stand for all contents: every request can be in any state, whether or not it can be
/// reached, and every account be or not be an approver. Signatures stand for all byte strings of 65 bytes; `ecrecover`
/// is a function about which nothing is known. What the constructor writes outside mappings (the epoch, which is 1,
/// the admin, the masks) stays as it is.
contract AuthorizationProof is Test {
    Svm private constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    uint8 private constant NONE = 0;
    uint8 private constant APPROVED = 2;
    uint8 private constant DENIED = 3;
    uint8 private constant CONSUMED = 4;
    uint8 private constant RECORDED = 5;

    Authorization private auth;

    function setUp() public {
        IAuthorization.ApproverInit[] memory approvers = new IAuthorization.ApproverInit[](1);
        approvers[0] = IAuthorization.ApproverInit(address(0xA1), 1);
        IAuthorization.PolicyLine[] memory lines = new IAuthorization.PolicyLine[](1);
        lines[0] = IAuthorization.PolicyLine(0, new IAuthorization.Quorum[](1));
        lines[0].quorum[0] = IAuthorization.Quorum(0, 1);
        auth = new Authorization(address(0xAD), approvers, lines, new IAuthorization.Bridge[](0));
        svm.enableSymbolicStorage(address(auth));
        warpAnywhere();
    }

    function warpAnywhere() private {
        vm.warp(svm.createUint(40, "time"));
    }

    /// A clock only goes forward.
    function warpOn() private {
        uint256 later = svm.createUint(40, "later");
        vm.assume(later >= block.timestamp);
        vm.warp(later);
    }

    function one(IAuthorization.SignedVote memory a) private pure returns (IAuthorization.SignedVote[] memory list) {
        list = new IAuthorization.SignedVote[](1);
        list[0] = a;
    }

    function two(IAuthorization.SignedVote memory a, IAuthorization.SignedVote memory b)
        private
        pure
        returns (IAuthorization.SignedVote[] memory list)
    {
        list = new IAuthorization.SignedVote[](2);
        (list[0], list[1]) = (a, b);
    }

    function signedVote(address approver, bool approve) private returns (IAuthorization.SignedVote memory) {
        return IAuthorization.SignedVote(approver, approve, "", svm.createBytes(65, "signature"));
    }

    /// Any one act on the request `r` by any account.
    function act(uint8 kind, address caller, IAuthorization.Request calldata r, bool approve, address approver)
        private
        returns (bool success)
    {
        bytes memory data;
        if (kind == 0) data = abi.encodeCall(auth.vote, (r, approve, ""));
        else if (kind == 1) data = abi.encodeCall(auth.decide, (r, one(signedVote(approver, approve))));
        else if (kind == 2) data = abi.encodeCall(auth.consume, (r, bytes32(svm.createUint(256, "claim"))));
        else if (kind == 3) data = abi.encodeCall(auth.recordExecution, (r, uint8(svm.createUint(8, "outcome")), 0));
        else if (kind == 4) data = abi.encodeCall(auth.cancel, (r, ""));
        else data = abi.encodeCall(auth.requestAuthorization, (r, "id", "tool"));
        vm.prank(caller);
        (success,) = address(auth).call(data);
    }

    // --------------------------------------------------------------------------------- a requester cannot approve

    function check_RequesterCannotVote(IAuthorization.Request calldata r, bool approve) external {
        vm.prank(r.requester);
        (bool success,) = address(auth).call(abi.encodeCall(auth.vote, (r, approve, "")));
        assert(!success);
    }

    function check_RequesterCannotSign(IAuthorization.Request calldata r, bool approve, address caller) external {
        IAuthorization.SignedVote[] memory votes = one(signedVote(r.requester, approve));
        vm.prank(caller);
        (bool success,) = address(auth).call(abi.encodeCall(auth.decide, (r, votes)));
        assert(!success);
    }

    /// Not beside another's signature either.
    function check_RequesterCannotSignBesideAnother(IAuthorization.Request calldata r, address other, bool first)
        external
    {
        IAuthorization.SignedVote memory own = signedVote(r.requester, true);
        IAuthorization.SignedVote memory others = signedVote(other, true);
        IAuthorization.SignedVote[] memory votes = first ? two(own, others) : two(others, own);
        (bool success,) = address(auth).call(abi.encodeCall(auth.decide, (r, votes)));
        assert(!success);
    }

    // ------------------------------------------------------------------------------------------------ consume once

    function check_ConsumeOnce(IAuthorization.Request calldata r, bytes32 claim, bytes32 other, address caller)
        external
    {
        vm.prank(r.requester);
        (bool success,) = address(auth).call(abi.encodeCall(auth.consume, (r, claim)));
        vm.assume(success);
        assert(auth.statusOf(auth.hashRequest(r)) == CONSUMED);
        warpOn();
        vm.prank(caller);
        (success,) = address(auth).call(abi.encodeCall(auth.consume, (r, other)));
        assert(!success);
    }

    /// With this, what is consumed can never be approved or consumed again: nothing leads out of the terminal states.
    function check_TerminalStatesStay(
        uint8 kind,
        address caller,
        IAuthorization.Request calldata r,
        bool approve,
        address approver
    ) external {
        bytes32 id = auth.hashRequest(r);
        uint8 before = auth.statusOf(id);
        vm.assume(before >= DENIED);
        warpOn();
        act(kind, caller, r, approve, approver);
        uint8 afterwards = auth.statusOf(id);
        assert(afterwards == before || (before == CONSUMED && afterwards == RECORDED));
    }

    // -------------------------------------------------------------------------------------- no approval after expiry

    function check_NothingIsApprovedAfterExpiry(
        uint8 kind,
        address caller,
        IAuthorization.Request calldata r,
        bool approve,
        address approver
    ) external {
        bytes32 id = auth.hashRequest(r);
        uint8 before = auth.statusOf(id);
        (, uint40 expiresAt,,) = auth.requestState(id);
        vm.assume(before != NONE);
        vm.assume(block.timestamp >= expiresAt);
        act(kind, caller, r, approve, approver);
        uint8 afterwards = auth.statusOf(id);
        assert(afterwards != APPROVED);
        assert(afterwards != CONSUMED || before == CONSUMED);
    }

    /// An approval, whoever brings it, is of the present epoch, before expiry and while nothing is paused.
    function check_ApprovalNeedsTheEpochAndTheClock(
        bool signed,
        address caller,
        IAuthorization.Request calldata r,
        address approver
    ) external {
        bytes32 id = auth.hashRequest(r);
        vm.assume(auth.statusOf(id) != APPROVED);
        act(signed ? 1 : 0, caller, r, true, approver);
        if (auth.statusOf(id) == APPROVED) {
            (, uint40 expiresAt,,) = auth.requestState(id);
            assert(r.epoch == auth.epoch());
            assert(!auth.paused());
            assert(block.timestamp < expiresAt);
        }
    }
}
