// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../src/Authorization.sol";
import {IAuthorization} from "../src/IAuthorization.sol";
import {Fixture} from "./utils/Fixture.sol";

/// The contract computes what `tests/vectors/protocol_v1.json` says, which an independent implementation made.
contract VectorsTest is Fixture {
    uint256 private constant CASES = 3;
    /// Anvil's first dev account, whose first contract has the address in the vectors' domain.
    address private constant DEPLOYER = 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266;

    string private json;

    function setUp() public override {
        json = vm.readFile(string.concat(vm.projectRoot(), "/../tests/vectors/protocol_v1.json"));
        vm.chainId(vm.parseJsonUint(json, ".domain.chainId"));
        vm.warp(vm.parseJsonUint(json, ".cases[0].expires_at") - 300);

        IAuthorization.Bridge[] memory bridges = initialBridges();
        bridges[0].requester = DEPLOYER;
        IAuthorization.ApproverInit[] memory approvers = initialApprovers();
        approvers[2].account = vm.parseJsonAddress(json, ".cases[0].vote.signer");
        vm.prank(DEPLOYER);
        auth = new Authorization(ADMIN, approvers, initialPolicy(), bridges);
        vm.assertEq(address(auth), vm.parseJsonAddress(json, ".domain.verifyingContract"));
    }

    function path(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(i), "].", field);
    }

    function text(uint256 i, string memory field) private view returns (string memory) {
        return vm.parseJsonString(json, path(i, field));
    }

    function sha(uint256 i, string memory field) private view returns (bytes32) {
        return vm.parseBytes32(string.concat("0x", text(i, field)));
    }

    function requestAt(uint256 i) private view returns (IAuthorization.Request memory) {
        return IAuthorization.Request({
            requestIdHash: keccak256(bytes(text(i, "request.request_id"))),
            toolHash: keccak256(bytes(text(i, "request.tool_name"))),
            actionHash: sha(i, "action_hash"),
            requestHash: sha(i, "request_hash"),
            requester: vm.parseJsonAddress(json, path(i, "requester")),
            expiresAt: uint40(vm.parseJsonUint(json, path(i, "expires_at"))),
            riskBps: uint16(vm.parseJsonUint(json, path(i, "risk_bps"))),
            epoch: uint64(vm.parseJsonUint(json, path(i, "epoch")))
        });
    }

    function test_IdsAndDigests() public view {
        for (uint256 i = 0; i < CASES; ++i) {
            IAuthorization.Request memory r = requestAt(i);
            vm.assertEq(auth.hashRequest(r), vm.parseJsonBytes32(json, path(i, "authorization_id")));
            bool approve = vm.parseJsonBool(json, path(i, "vote.approve"));
            vm.assertEq(
                auth.hashVote(r, approve, text(i, "vote.note")),
                vm.parseJsonBytes32(json, path(i, "vote.eip712_digest"))
            );
        }
    }

    function test_VotesAreAccepted() public {
        uint8[CASES] memory expected = [PENDING, DENIED, PENDING];
        for (uint256 i = 0; i < CASES; ++i) {
            IAuthorization.Request memory r = requestAt(i);
            vm.prank(DEPLOYER);
            auth.requestAuthorization(r, text(i, "request.request_id"), text(i, "request.tool_name"));
            auth.decide(
                r,
                one(
                    IAuthorization.SignedVote({
                        approver: vm.parseJsonAddress(json, path(i, "vote.signer")),
                        approve: vm.parseJsonBool(json, path(i, "vote.approve")),
                        note: text(i, "vote.note"),
                        signature: vm.parseJsonBytes(json, path(i, "vote.signature"))
                    })
                )
            );
            bytes32 id = vm.parseJsonBytes32(json, path(i, "authorization_id"));
            assertStatus(id, expected[i]);
            (,,, uint32 votes) = auth.requestState(id);
            vm.assertEq(votes, expected[i] == PENDING ? 4 : 0);
        }
    }

    function topic(string memory name) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(".event_topics.", name));
    }

    function test_EventTopicsAndSelector() public view {
        vm.assertEq(IAuthorization.AuthorizationRequested.selector, topic("AuthorizationRequested"));
        vm.assertEq(IAuthorization.VoteCast.selector, topic("VoteCast"));
        vm.assertEq(IAuthorization.AuthorizationApproved.selector, topic("AuthorizationApproved"));
        vm.assertEq(IAuthorization.AuthorizationDenied.selector, topic("AuthorizationDenied"));
        vm.assertEq(IAuthorization.AuthorizationCancelled.selector, topic("AuthorizationCancelled"));
        vm.assertEq(IAuthorization.AuthorizationConsumed.selector, topic("AuthorizationConsumed"));
        vm.assertEq(IAuthorization.ExecutionRecorded.selector, topic("ExecutionRecorded"));
        vm.assertEq(abi.encodePacked(IAuthorization.vote.selector), vm.parseJsonBytes(json, ".vote_selector"));
    }
}
