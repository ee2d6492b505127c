// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../../src/Authorization.sol";
import {IAuthorization} from "../../src/IAuthorization.sol";
import {Test} from "./Test.sol";

/// A contract set up as on the dev chain, and helpers to make requests and sign votes.
abstract contract Fixture is Test {
    uint256 internal constant OPERATIONS_KEY = 0xA1;
    uint256 internal constant SECURITY_KEY = 0xA2;
    uint256 internal constant OPERATIONS2_KEY = 0xA3;

    uint8 internal constant NONE = 0;
    uint8 internal constant PENDING = 1;
    uint8 internal constant APPROVED = 2;
    uint8 internal constant DENIED = 3;
    uint8 internal constant CONSUMED = 4;
    uint8 internal constant RECORDED = 5;
    uint8 internal constant CANCELLED = 6;
    uint8 internal constant EXPIRED = 7;

    string internal constant REQUEST_ID = "0193a1b2-0000-7000-8000-000000000001";
    string internal constant TOOL = "deploy_to_production";

    address internal immutable ADMIN = address(0xAD);
    address internal immutable REQUESTER = address(0xB1);
    address internal immutable SIGNER = address(0x51);
    address internal immutable STRANGER = address(0x57);
    address internal immutable OPERATIONS_VOTER = vm.addr(OPERATIONS_KEY);
    address internal immutable SECURITY_VOTER = vm.addr(SECURITY_KEY);
    address internal immutable OPERATIONS2_VOTER = vm.addr(OPERATIONS2_KEY);

    Authorization internal auth;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        auth = new Authorization(ADMIN, initialApprovers(), initialPolicy(), initialBridges());
    }

    function initialApprovers() internal view returns (IAuthorization.ApproverInit[] memory list) {
        list = new IAuthorization.ApproverInit[](3);
        list[0] = IAuthorization.ApproverInit(OPERATIONS_VOTER, 1);
        list[1] = IAuthorization.ApproverInit(SECURITY_VOTER, 2);
        list[2] = IAuthorization.ApproverInit(OPERATIONS2_VOTER, 1);
    }

    /// One approver; from 0.9 up one of operations and one of security.
    function initialPolicy() internal pure returns (IAuthorization.PolicyLine[] memory lines) {
        lines = new IAuthorization.PolicyLine[](2);
        lines[0] = IAuthorization.PolicyLine(0, new IAuthorization.Quorum[](1));
        lines[0].quorum[0] = IAuthorization.Quorum(0, 1);
        lines[1] = IAuthorization.PolicyLine(9000, new IAuthorization.Quorum[](2));
        lines[1].quorum[0] = IAuthorization.Quorum(1, 1);
        lines[1].quorum[1] = IAuthorization.Quorum(2, 1);
    }

    function initialBridges() internal view returns (IAuthorization.Bridge[] memory list) {
        list = new IAuthorization.Bridge[](1);
        list[0] = IAuthorization.Bridge(REQUESTER, SIGNER);
    }

    function makeRequest(uint16 riskBps) internal view returns (IAuthorization.Request memory) {
        return IAuthorization.Request({
            requestIdHash: keccak256(bytes(REQUEST_ID)),
            toolHash: keccak256(bytes(TOOL)),
            actionHash: sha256("action"),
            requestHash: sha256("request"),
            requester: REQUESTER,
            expiresAt: uint40(block.timestamp + 300),
            riskBps: riskBps,
            epoch: auth.epoch()
        });
    }

    function makeRequestId(uint256 index) internal pure returns (string memory) {
        return string.concat("request-", vm.toString(index));
    }

    function makeNumbered(uint256 index, uint16 riskBps) internal view returns (IAuthorization.Request memory r) {
        r = makeRequest(riskBps);
        r.requestIdHash = keccak256(bytes(makeRequestId(index)));
    }

    function idOf(IAuthorization.Request memory r) internal pure returns (bytes32) {
        return keccak256(abi.encode(r));
    }

    function submit(IAuthorization.Request memory r) internal returns (bytes32 id) {
        vm.prank(r.requester);
        auth.requestAuthorization(r, REQUEST_ID, TOOL);
        return idOf(r);
    }

    function submitted(uint16 riskBps) internal returns (IAuthorization.Request memory r, bytes32 id) {
        r = makeRequest(riskBps);
        id = submit(r);
    }

    function approved(uint16 riskBps) internal returns (IAuthorization.Request memory r, bytes32 id) {
        (r, id) = submitted(riskBps);
        auth.decide(r, approvals(r));
    }

    function consumed(uint16 riskBps) internal returns (IAuthorization.Request memory r, bytes32 id) {
        (r, id) = approved(riskBps);
        vm.prank(REQUESTER);
        auth.consume(r, keccak256("secret"));
    }

    function signVote(uint256 key, IAuthorization.Request memory r, bool approve, string memory note)
        internal
        view
        returns (IAuthorization.SignedVote memory)
    {
        (uint8 v, bytes32 x, bytes32 s) = vm.sign(key, auth.hashVote(r, approve, note));
        return IAuthorization.SignedVote(vm.addr(key), approve, note, abi.encodePacked(x, s, v));
    }

    function one(IAuthorization.SignedVote memory a) internal pure returns (IAuthorization.SignedVote[] memory list) {
        list = new IAuthorization.SignedVote[](1);
        list[0] = a;
    }

    function two(IAuthorization.SignedVote memory a, IAuthorization.SignedVote memory b)
        internal
        pure
        returns (IAuthorization.SignedVote[] memory list)
    {
        list = new IAuthorization.SignedVote[](2);
        (list[0], list[1]) = (a, b);
    }

    /// One of operations and one of security, enough for any risk.
    function approvals(IAuthorization.Request memory r) internal view returns (IAuthorization.SignedVote[] memory) {
        return two(signVote(OPERATIONS_KEY, r, true, ""), signVote(SECURITY_KEY, r, true, ""));
    }

    function assertStatus(bytes32 id, uint8 status) internal view {
        vm.assertEq(auth.statusOf(id), status);
    }
}
