// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../src/Authorization.sol";
import {IAuthorization} from "../src/IAuthorization.sol";
import {Fixture} from "./utils/Fixture.sol";
import {Handler} from "./utils/Handler.sol";

/// What holds after any sequence of acts. {Handler} checks each single step as well.
contract InvariantsTest is Fixture {
    address private constant SECOND_REQUESTER = address(0xB2);

    Authorization private twin;
    Handler private handler;

    function setUp() public override {
        vm.warp(1_800_000_000);
        IAuthorization.Bridge[] memory bridges = new IAuthorization.Bridge[](2);
        bridges[0] = IAuthorization.Bridge(REQUESTER, SIGNER);
        bridges[1] = IAuthorization.Bridge(SECOND_REQUESTER, SIGNER);
        auth = new Authorization(ADMIN, initialApprovers(), initialPolicy(), bridges);
        twin = new Authorization(ADMIN, initialApprovers(), initialPolicy(), bridges);
        handler = new Handler(auth, twin, ADMIN, [REQUESTER, SECOND_REQUESTER]);
    }

    /// forge acts through these alone.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_ConsumedAtMostOnce() public view {
        for (uint256 i = 0; i < handler.count(); ++i) {
            bytes32 id = idOf(handler.requestAt(i));
            vm.assertTrue(handler.timesConsumed(id) <= 1);
            vm.assertTrue(handler.timesApproved(id) <= 1);
            uint8 status = auth.statusOf(id);
            vm.assertTrue((status == CONSUMED || status == RECORDED) == (handler.timesConsumed(id) == 1));
        }
    }

    /// By distinct approvers, none of them the requester, under the line frozen at request time.
    function invariant_ApprovedMeansQuorum() public view {
        for (uint256 i = 0; i < handler.count(); ++i) {
            IAuthorization.Request memory r = handler.requestAt(i);
            (uint8 status,, uint8 line,) = auth.requestState(idOf(r));
            vm.assertEq(line, r.riskBps >= 9000 ? 1 : 0);
            if (status == APPROVED || status == CONSUMED || status == RECORDED) {
                vm.assertTrue(handler.quorumMet(r));
            }
        }
    }

    function invariant_ABatchDoesWhatItsItemsDo() public view {
        for (uint256 i = 0; i < handler.count(); ++i) {
            bytes32 id = idOf(handler.requestAt(i));
            (uint8 status, uint40 expiresAt, uint8 line, uint32 votes) = auth.requestState(id);
            (uint8 status2, uint40 expiresAt2, uint8 line2, uint32 votes2) = twin.requestState(id);
            vm.assertEq(abi.encode(status, expiresAt, line, votes), abi.encode(status2, expiresAt2, line2, votes2));
        }
        vm.assertEq(auth.epoch(), twin.epoch());
    }

    /// The handler reaches what the invariants are about; without this they could hold for nothing.
    function test_TheHandlerReachesEveryAct() public {
        for (uint256 i = 0; i < 4; ++i) {
            handler.request(i * 2, 9500, 300);
        }
        handler.vote(0, 0, true);
        handler.decide(1, 3, false);
        handler.decide(1, 1, true);
        for (uint256 i = 0; i < 8; ++i) {
            handler.decide(i, 7, false);
            handler.consume(i, true);
            handler.record(i, 1);
        }
        handler.request(0, 1, 300);
        handler.vote(handler.count() - 1, 2, false);
        for (uint256 i = 0; i < handler.count(); ++i) {
            handler.cancel(i * 4, true);
        }
        bytes32[7] memory kinds = [bytes32("request"), "approve", "deny", "decide", "consume", "record", "cancel"];
        for (uint256 i = 0; i < kinds.length; ++i) {
            vm.assertTrue(handler.successes(kinds[i]) != 0, string(abi.encodePacked(kinds[i])));
        }
    }
}
