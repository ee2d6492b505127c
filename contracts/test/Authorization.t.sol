// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../src/Authorization.sol";
import {IAuthorization as I} from "../src/IAuthorization.sol";
import {Fixture} from "./utils/Fixture.sol";
import {Vm} from "./utils/Test.sol";
import {Wallet} from "./utils/Wallet.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// A wallet that says yes after spending more gas than it is given.
contract GreedyWallet is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        uint256 start = gasleft();
        while (start - gasleft() < 100_000) {}
        return this.isValidSignature.selector;
    }
}

/// A wallet that never ends.
contract EndlessWallet {
    fallback() external {
        while (true) {}
    }
}

/// A wallet that says yes at length.
contract LoudWallet {
    fallback(bytes calldata) external returns (bytes memory answer) {
        answer = new bytes(100_000);
        (answer[0], answer[1], answer[2], answer[3]) = (0x16, 0x26, 0xba, 0x7e);
    }
}

/// A wallet that answers with the right four bytes alone.
contract ShortWallet {
    fallback(bytes calldata) external returns (bytes memory) {
        return hex"1626ba7e";
    }
}

contract AuthorizationTest is Fixture {
    bytes32 private constant CLAIM = keccak256("secret");
    bytes32 private constant OUTCOME = keccak256("outcome");

    // ------------------------------------------------------------------------------------------------ requests

    function test_Request() public {
        I.Request memory r = makeRequest(9000);
        vm.expectEmit(address(auth));
        emit I.AuthorizationRequested(
            idOf(r), REQUESTER, r.actionHash, r.requestHash, REQUEST_ID, TOOL, 9000, r.expiresAt, 1
        );
        bytes32 id = submit(r);
        (uint8 status, uint40 expiresAt, uint8 line, uint32 votes) = auth.requestState(id);
        vm.assertEq(abi.encode(status, expiresAt, line, votes), abi.encode(PENDING, r.expiresAt, 1, 0));
        vm.assertEq(auth.hashRequest(r), id);
    }

    function expectRefused(I.Request memory r, bytes memory error_) private {
        vm.prank(REQUESTER);
        vm.expectRevert(error_);
        auth.requestAuthorization(r, REQUEST_ID, TOOL);
    }

    function test_RevertWhen_RequestIsNotTheSenders() public {
        I.Request memory r = makeRequest(1);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(I.NotRequester.selector, STRANGER, REQUESTER));
        auth.requestAuthorization(r, REQUEST_ID, TOOL);
    }

    function test_RevertWhen_RequesterHasNoBridge() public {
        I.Request memory r = makeRequest(1);
        r.requester = STRANGER;
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(I.UnknownRequester.selector, STRANGER));
        auth.requestAuthorization(r, REQUEST_ID, TOOL);
    }

    function test_RevertWhen_RequestBreaksARule() public {
        I.Request memory r = makeRequest(1);
        r.epoch = 2;
        expectRefused(r, abi.encodeWithSelector(I.StaleEpoch.selector, 2, 1));

        r = makeRequest(1);
        r.requestIdHash = 0;
        expectRefused(r, abi.encodeWithSelector(I.RequestIdMismatch.selector, keccak256(bytes(REQUEST_ID)), 0));

        r = makeRequest(1);
        r.toolHash = 0;
        expectRefused(r, abi.encodeWithSelector(I.ToolNameMismatch.selector, keccak256(bytes(TOOL)), 0));

        r = makeRequest(10_001);
        expectRefused(r, abi.encodeWithSelector(I.RiskOutOfRange.selector, 10_001));

        r = makeRequest(1);
        r.expiresAt = uint40(block.timestamp);
        bytes memory error_ = abi.encodeWithSelector(
            I.ExpiryOutOfRange.selector, r.expiresAt, block.timestamp + 1, block.timestamp + 30 days
        );
        expectRefused(r, error_);

        r.expiresAt = uint40(block.timestamp + 30 days + 1);
        error_ = abi.encodeWithSelector(
            I.ExpiryOutOfRange.selector, r.expiresAt, block.timestamp + 1, block.timestamp + 30 days
        );
        expectRefused(r, error_);

        r = makeRequest(1);
        bytes32 id = submit(r);
        expectRefused(r, abi.encodeWithSelector(I.AlreadyRequested.selector, id));
    }

    function testFuzz_RequestFreezesItsLineAndExpiry(uint16 riskBps, uint40 lifetime) public {
        I.Request memory r = makeRequest(riskBps % 10_001);
        r.expiresAt = uint40(block.timestamp + 1 + lifetime % 30 days);
        bytes32 id = submit(r);
        (uint8 status, uint40 expiresAt, uint8 line, uint32 votes) = auth.requestState(id);
        vm.assertEq(
            abi.encode(status, expiresAt, line, votes), abi.encode(PENDING, r.expiresAt, r.riskBps >= 9000 ? 1 : 0, 0)
        );
        vm.warp(r.expiresAt - 1);
        assertStatus(id, PENDING);
        vm.warp(r.expiresAt);
        assertStatus(id, EXPIRED);
    }

    /// The id is the hash of the encoding; a field out of its type's range is refused, not cut.
    function testFuzz_HashIsOfTheEncoding(I.Request memory r, uint8 field, uint256 dirt) public view {
        vm.assertEq(auth.hashRequest(r), keccak256(abi.encode(r)));
        uint256[4] memory bits = [uint256(160), 40, 16, 64];
        field = field % 4;
        dirt = dirt % (uint256(1) << (256 - bits[field]));
        if (dirt == 0) dirt = 1;
        uint256[8] memory words = abi.decode(abi.encode(r), (uint256[8]));
        words[4 + field] |= dirt << bits[field];
        (bool success,) = address(auth).staticcall(abi.encodePacked(auth.hashRequest.selector, words));
        vm.assertFalse(success);
    }

    function test_ASecondBridgeRequests() public {
        vm.prank(ADMIN);
        auth.setBridge(STRANGER, SIGNER);
        I.Request memory r = makeRequest(1);
        r.requester = STRANGER;
        assertStatus(submit(r), PENDING);
        assertStatus(submit(makeRequest(1)), PENDING);
        vm.prank(ADMIN);
        auth.removeBridge(REQUESTER);
        r = makeRequest(1);
        expectRefused(r, abi.encodeWithSelector(I.UnknownRequester.selector, REQUESTER));
        r.requester = STRANGER;
        assertStatus(submit(r), PENDING);
    }

    function test_RevertWhen_NameLengthIsOutOfRange() public {
        I.Request memory r = makeRequest(1);
        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 65, 1, 64));
        auth.requestAuthorization(r, string(new bytes(65)), TOOL);

        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 0, 1, 64));
        auth.requestAuthorization(r, REQUEST_ID, "");

        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 0, 1, 64));
        auth.requestAuthorization(r, "", TOOL);

        vm.prank(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 65, 1, 64));
        auth.requestAuthorization(r, REQUEST_ID, string(new bytes(65)));
    }

    function test_RequestBatchSkipsWhatIsThere() public {
        I.Request[] memory r = new I.Request[](3);
        string[] memory ids = new string[](3);
        string[] memory tools = new string[](3);
        for (uint256 i = 0; i < 3; ++i) {
            (r[i], ids[i], tools[i]) = (makeNumbered(i, 1), makeRequestId(i), TOOL);
        }
        vm.prank(REQUESTER);
        auth.requestAuthorization(r[1], ids[1], TOOL);
        vm.expectEmit(address(auth));
        emit I.BatchItemSkipped(idOf(r[1]), 1, I.AlreadyRequested.selector);
        vm.prank(REQUESTER);
        auth.requestBatch(r, ids, tools);
        for (uint256 i = 0; i < 3; ++i) {
            assertStatus(idOf(r[i]), PENDING);
        }
    }

    function test_RequestBatchOfTheLargestSizeFitsATransaction() public {
        I.Request[] memory r = new I.Request[](400);
        string[] memory ids = new string[](400);
        string[] memory tools = new string[](400);
        for (uint256 i = 0; i < 400; ++i) {
            r[i] = makeRequest(9000);
            ids[i] = string.concat("0193a1b2-0000-7000-8000-000000000", vm.toString(i + 100));
            r[i].requestIdHash = keccak256(bytes(ids[i]));
            r[i].actionHash = keccak256(bytes(ids[i]));
            r[i].requestHash = keccak256(abi.encode(i));
            tools[i] = TOOL;
        }
        vm.prank(REQUESTER);
        uint256 before = gasleft();
        auth.requestBatch(r, ids, tools);
        // Beside execution a transaction pays for its calldata: below 5,200 gas an item of this shape.
        vm.assertTrue(before - gasleft() + 21_000 + 400 * 5200 < 16_777_216);
        assertStatus(idOf(r[399]), PENDING);
    }

    function test_RevertWhen_BatchIsTooLargeOrUneven() public {
        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 401, 400));
        auth.requestBatch(new I.Request[](401), new string[](401), new string[](401));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 1, 0));
        auth.requestBatch(new I.Request[](1), new string[](1), new string[](0));
        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 33, 32));
        auth.decideBatch(new I.Request[](33), new I.SignedVote[][](33));
        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 33, 32));
        auth.consumeBatch(new I.Request[](33), new bytes32[](33));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 1, 2));
        auth.recordBatch(new I.Request[](1), new uint8[](2), new bytes32[](1));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 1, 2));
        auth.recordBatch(new I.Request[](1), new uint8[](1), new bytes32[](2));
        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 33, 32));
        auth.recordBatch(new I.Request[](33), new uint8[](33), new bytes32[](33));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 1, 0));
        auth.requestBatch(new I.Request[](1), new string[](0), new string[](1));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 2, 1));
        auth.decideBatch(new I.Request[](2), new I.SignedVote[][](1));
        vm.expectRevert(abi.encodeWithSelector(I.ArrayLengthMismatch.selector, 2, 1));
        auth.consumeBatch(new I.Request[](2), new bytes32[](1));
    }

    // --------------------------------------------------------------------------------------------------- votes

    function test_OneVoteIsEnoughBelowTheSecondLine() public {
        (I.Request memory r, bytes32 id) = submitted(8999);
        vm.expectEmit(address(auth));
        emit I.VoteCast(id, SECURITY_VOTER, true, "canary first");
        vm.expectEmit(address(auth));
        emit I.AuthorizationApproved(id, r.actionHash, SECURITY_VOTER);
        auth.decide(r, one(signVote(SECURITY_KEY, r, true, "canary first")));
        assertStatus(id, APPROVED);
    }

    function test_TwoRolesAreNeededFromTheSecondLineUp() public {
        (I.Request memory r, bytes32 id) = submitted(9000);
        auth.decide(r, two(signVote(OPERATIONS_KEY, r, true, ""), signVote(OPERATIONS2_KEY, r, true, "")));
        assertStatus(id, PENDING);
        vm.expectEmit(address(auth));
        emit I.AuthorizationApproved(id, r.actionHash, SECURITY_VOTER);
        auth.decide(r, one(signVote(SECURITY_KEY, r, true, "")));
        assertStatus(id, APPROVED);
        (,,, uint32 votes) = auth.requestState(id);
        vm.assertEq(votes, 7);
    }

    function test_OwnVotes() public {
        (I.Request memory r, bytes32 id) = submitted(10_000);
        vm.prank(OPERATIONS_VOTER);
        auth.vote(r, true, "");
        assertStatus(id, PENDING);
        vm.expectEmit(address(auth));
        emit I.VoteSkipped(id, OPERATIONS_VOTER);
        vm.prank(OPERATIONS_VOTER);
        auth.vote(r, true, "again");
        vm.prank(SECURITY_VOTER);
        auth.vote(r, true, "");
        assertStatus(id, APPROVED);
        vm.expectEmit(address(auth));
        emit I.AuthorizationDenied(id, r.actionHash, OPERATIONS_VOTER, "second thoughts");
        vm.prank(OPERATIONS_VOTER);
        auth.vote(r, false, "second thoughts");
        assertStatus(id, DENIED);
    }

    function test_ADenialWinsWhereverItStands() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        vm.recordLogs();
        auth.decide(r, two(signVote(OPERATIONS_KEY, r, true, ""), signVote(SECURITY_KEY, r, false, "freeze")));
        assertStatus(id, DENIED);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], I.VoteCast.selector);
        vm.assertEq(logs[1].topics[0], I.AuthorizationDenied.selector);
    }

    function test_ARepeatedApprovalCountsOnce() public {
        (I.Request memory r, bytes32 id) = submitted(9000);
        I.SignedVote memory v = signVote(OPERATIONS_KEY, r, true, "");
        vm.expectEmit(address(auth));
        emit I.VoteSkipped(id, OPERATIONS_VOTER);
        auth.decide(r, two(v, v));
        assertStatus(id, PENDING);
    }

    function test_RevertWhen_VoteIsNotValid() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory v = signVote(OPERATIONS_KEY, r, true, "");
        v.note = "changed";
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, OPERATIONS_VOTER));
        auth.decide(r, one(v));

        I.SignedVote memory foreign = signVote(0xBAD, r, true, "");
        vm.expectRevert(abi.encodeWithSelector(I.NotApprover.selector, foreign.approver));
        auth.decide(r, one(foreign));

        foreign.approver = REQUESTER;
        vm.expectRevert(abi.encodeWithSelector(I.RequesterCannotVote.selector, id, REQUESTER));
        auth.decide(r, one(foreign));

        v = signVote(OPERATIONS_KEY, r, true, string(new bytes(513)));
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 513, 0, 512));
        auth.decide(r, one(v));

        vm.expectRevert(abi.encodeWithSelector(I.NoVotes.selector, id));
        auth.decide(r, new I.SignedVote[](0));

        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 33, 32));
        auth.decide(r, new I.SignedVote[](33));

        r.riskBps = 2;
        vm.expectRevert(abi.encodeWithSelector(I.UnknownRequest.selector, idOf(r)));
        auth.decide(r, one(v));
    }

    function test_RevertWhen_NoteHasAControlCharacter() public {
        (I.Request memory r, bytes32 id) = submitted(9000);
        bytes memory error_ = abi.encodeWithSelector(I.ControlCharacter.selector, 2);
        string[5] memory notes = [unicode"ab\u0000", "ab\t", "ab\x1f\n", "ab\x7f", unicode"a\u0085"];
        for (uint256 i = 0; i < notes.length; ++i) {
            I.SignedVote[] memory votes = one(signVote(OPERATIONS_KEY, r, true, notes[i]));
            vm.expectRevert(error_);
            auth.decide(r, votes);
            vm.expectRevert(error_);
            vm.prank(OPERATIONS_VOTER);
            auth.vote(r, false, notes[i]);
            vm.expectRevert(error_);
            vm.prank(REQUESTER);
            auth.cancel(r, notes[i]);
        }
        auth.decide(r, one(signVote(OPERATIONS_KEY, r, true, unicode"first:\u00a0canary\nsecond: ~ \u00c2 日本")));
        (,,, uint32 votes_) = auth.requestState(id);
        vm.assertEq(votes_, 1);
    }

    function testFuzz_NotesHoldNoControlCharacter(bytes memory raw) public {
        (I.Request memory r,) = submitted(1);
        vm.assume(raw.length <= 512);
        bool bad = false;
        for (uint256 i = 0; i < raw.length; ++i) {
            uint8 c = uint8(raw[i]);
            if (c < 32 && c != 10) bad = true;
            if (c == 127) bad = true;
            if (i != 0 && uint8(raw[i - 1]) == 0xc2 && c < 0xa0) bad = true;
        }
        vm.prank(SECURITY_VOTER);
        (bool success,) = address(auth).call(abi.encodeCall(I.vote, (r, true, string(raw))));
        vm.assertTrue(success != bad);
    }

    function test_RevertWhen_TheVoterMayNotVote() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        vm.expectRevert(abi.encodeWithSelector(I.NotApprover.selector, STRANGER));
        vm.prank(STRANGER);
        auth.vote(r, true, "");
        vm.expectRevert(abi.encodeWithSelector(I.RequesterCannotVote.selector, id, REQUESTER));
        vm.prank(REQUESTER);
        auth.vote(r, true, "");
        vm.expectRevert(abi.encodeWithSelector(I.RequesterCannotVote.selector, id, REQUESTER));
        vm.prank(REQUESTER);
        auth.vote(r, false, "");
        vm.expectRevert(abi.encodeWithSelector(I.LengthOutOfRange.selector, 513, 0, 512));
        vm.prank(SECURITY_VOTER);
        auth.vote(r, false, string(new bytes(513)));
    }

    /// Who was a bridge's requester and is an approver now cannot touch what it asked for as one.
    function test_RevertWhen_AFormerRequesterVotesOnItsOwn() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        I.ApproverInit[] memory set = new I.ApproverInit[](1);
        set[0] = I.ApproverInit(REQUESTER, 2);
        vm.startPrank(ADMIN);
        auth.removeBridge(REQUESTER);
        auth.setApprovers(set, new address[](0));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(I.RequesterCannotVote.selector, id, REQUESTER));
        vm.prank(REQUESTER);
        auth.vote(r, false, "");
    }

    function test_RevertWhen_TheSignatureIsOfAnotherLength() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory v = signVote(OPERATIONS_KEY, r, true, "");
        for (uint256 length = 0; length < 67; ++length) {
            if (length == 65) continue;
            v.signature = new bytes(length);
            vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, OPERATIONS_VOTER));
            auth.decide(r, one(v));
        }
    }

    function testFuzz_OnlyTheApproversOwnSignatureCounts(uint256 key, bytes32 noise, bool approve) public {
        (I.Request memory r, bytes32 id) = submitted(1);
        key = key % (type(uint128).max - 1) + 1;
        vm.assume(key != OPERATIONS_KEY);
        I.SignedVote memory v = signVote(key, r, approve, "");
        v.approver = OPERATIONS_VOTER;
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, OPERATIONS_VOTER));
        auth.decide(r, one(v));
        v.signature = abi.encodePacked(noise, noise, uint8(27));
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, OPERATIONS_VOTER));
        auth.decide(r, one(v));
    }

    /// The bitmap and its masks say what counting one by one says.
    function testFuzz_AQuorumIsCountedRight(uint8[7] memory roles, uint8[3] memory needs, uint256 voters) public {
        I.ApproverInit[] memory set = new I.ApproverInit[](7);
        uint256[8] memory present;
        uint256[8] memory given;
        for (uint256 i = 0; i < 7; ++i) {
            set[i] = I.ApproverInit(vm.addr(0x1000 + i), roles[i] % 3 + 3);
            bool votes = voters & (uint256(1) << i) != 0;
            (present[0], present[set[i].role]) = (present[0] + 1, present[set[i].role] + 1);
            if (votes) (given[0], given[set[i].role]) = (given[0] + 1, given[set[i].role] + 1);
        }
        I.PolicyLine[] memory lines = new I.PolicyLine[](1);
        lines[0].quorum = new I.Quorum[](3);
        bool met = true;
        bool possible = true;
        for (uint256 i = 0; i < 3; ++i) {
            uint8 role = i == 0 ? 0 : uint8(i + 2);
            lines[0].quorum[i] = I.Quorum(role, needs[i] % 5 + 1);
            // The three of the fixture are there too, and none of them votes.
            if (lines[0].quorum[i].count > present[role] + (i == 0 ? 3 : 0)) possible = false;
            if (lines[0].quorum[i].count > given[role]) met = false;
        }
        vm.startPrank(ADMIN);
        auth.setApprovers(set, new address[](0));
        if (!possible) vm.expectPartialRevert(I.PolicyCannotBeMet.selector);
        auth.setPolicy(lines);
        vm.stopPrank();
        if (!possible) return;

        (I.Request memory r, bytes32 id) = submitted(1);
        for (uint256 i = 0; i < 7; ++i) {
            if (voters & (uint256(1) << i) == 0) continue;
            if (auth.statusOf(id) == APPROVED) break;
            vm.prank(set[i].account);
            auth.vote(r, true, "");
        }
        assertStatus(id, met ? APPROVED : PENDING);
    }

    function test_RevertWhen_SignatureIsMalleated() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory vote = signVote(OPERATIONS_KEY, r, true, "");
        (uint8 v, bytes32 x, bytes32 s) = vm.sign(OPERATIONS_KEY, auth.hashVote(r, true, ""));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        vote.signature = abi.encodePacked(x, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, OPERATIONS_VOTER));
        auth.decide(r, one(vote));
    }

    function test_RevertWhen_ApprovingTooLate() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote[] memory votes = approvals(r);
        vm.warp(r.expiresAt);
        assertStatus(id, EXPIRED);
        vm.expectRevert(abi.encodeWithSelector(I.RequestExpired.selector, id, r.expiresAt));
        auth.decide(r, votes);
        vm.expectRevert(abi.encodeWithSelector(I.RequestExpired.selector, id, r.expiresAt));
        vm.prank(OPERATIONS_VOTER);
        auth.vote(r, false, "");
    }

    function test_DecideBatchSkipsABadItem() public {
        I.Request[] memory r = new I.Request[](3);
        I.SignedVote[][] memory votes = new I.SignedVote[][](3);
        for (uint256 i = 0; i < 3; ++i) {
            r[i] = makeNumbered(i, 9000);
            vm.prank(REQUESTER);
            auth.requestAuthorization(r[i], makeRequestId(i), TOOL);
            votes[i] = approvals(r[i]);
        }
        votes[1][1].signature[3] ^= 0x01;
        votes[2][0] = signVote(OPERATIONS_KEY, r[2], false, "no");
        vm.expectEmit(address(auth));
        emit I.BatchItemSkipped(idOf(r[1]), 1, I.InvalidSignature.selector);
        auth.decideBatch(r, votes);
        assertStatus(idOf(r[0]), APPROVED);
        assertStatus(idOf(r[1]), PENDING);
        assertStatus(idOf(r[2]), DENIED);
        (,,, uint32 counted) = auth.requestState(idOf(r[1]));
        vm.assertEq(counted, 0);
    }

    // ------------------------------------------------------------------------------------------------- wallets

    function walletVote(address wallet, I.Request memory r) private view returns (I.SignedVote memory v) {
        v = signVote(SECURITY_KEY, r, true, "");
        v.approver = wallet;
    }

    function addSecurityWallet(address wallet) private {
        I.ApproverInit[] memory set = new I.ApproverInit[](1);
        set[0] = I.ApproverInit(wallet, 2);
        vm.prank(ADMIN);
        auth.setApprovers(set, new address[](0));
    }

    function test_AContractWalletApproves() public {
        address wallet = address(new Wallet(SECURITY_VOTER));
        addSecurityWallet(wallet);
        (I.Request memory r, bytes32 id) = submitted(9000);
        auth.decide(r, two(signVote(OPERATIONS_KEY, r, true, ""), walletVote(wallet, r)));
        assertStatus(id, APPROVED);
    }

    function test_RevertWhen_AWalletRefusesOrSpendsTooMuch() public {
        address wallet = address(new Wallet(STRANGER));
        address greedy = address(new GreedyWallet());
        addSecurityWallet(wallet);
        addSecurityWallet(greedy);
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory v = walletVote(wallet, r);
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, wallet));
        auth.decide(r, one(v));
        v = walletVote(greedy, r);
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, greedy));
        auth.decide(r, one(v));
    }

    /// However much a wallet spends or returns, a decision pays at most 100,000 gas for asking it, and for the copy.
    function test_AWalletCannotBurnTheCallersGas() public {
        address[3] memory wallets =
            [address(new GreedyWallet()), address(new EndlessWallet()), address(new LoudWallet())];
        for (uint256 i = 0; i < wallets.length; ++i) {
            addSecurityWallet(wallets[i]);
        }
        (I.Request memory r, bytes32 id) = submitted(9000);
        for (uint256 i = 0; i < wallets.length; ++i) {
            I.SignedVote[] memory votes = one(walletVote(wallets[i], r));
            uint256 before = gasleft();
            (bool success,) = address(auth).call(abi.encodeCall(I.decide, (r, votes)));
            vm.assertTrue(before - gasleft() < 250_000);
            // What is long within the bound is still a yes.
            vm.assertTrue(success == (i == 2));
        }
        assertStatus(id, PENDING);
    }

    function test_RevertWhen_AWalletAnswersTooShort() public {
        address wallet = address(new ShortWallet());
        addSecurityWallet(wallet);
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory v = walletVote(wallet, r);
        vm.expectRevert(abi.encodeWithSelector(I.InvalidSignature.selector, id, wallet));
        auth.decide(r, one(v));
    }

    function test_AContractWalletDenies() public {
        address wallet = address(new Wallet(SECURITY_VOTER));
        addSecurityWallet(wallet);
        (I.Request memory r, bytes32 id) = submitted(1);
        I.SignedVote memory v = signVote(SECURITY_KEY, r, false, "no");
        v.approver = wallet;
        auth.decide(r, one(v));
        assertStatus(id, DENIED);
    }

    function test_ABatchNeverAsksAWallet() public {
        address wallet = address(new Wallet(SECURITY_VOTER));
        addSecurityWallet(wallet);
        (I.Request memory r, bytes32 id) = submitted(1);
        I.Request[] memory list = new I.Request[](1);
        list[0] = r;
        I.SignedVote[][] memory votes = new I.SignedVote[][](1);
        votes[0] = one(walletVote(wallet, r));
        vm.expectEmit(address(auth));
        emit I.BatchItemSkipped(id, 0, I.InvalidSignature.selector);
        auth.decideBatch(list, votes);
        assertStatus(id, PENDING);
    }

    // ----------------------------------------------------------------------------------------------- execution

    function test_ConsumeOnceAndRecordOnce() public {
        (I.Request memory r, bytes32 id) = approved(9000);
        vm.expectEmit(address(auth));
        emit I.AuthorizationConsumed(id, r.actionHash, REQUESTER, CLAIM);
        vm.prank(REQUESTER);
        auth.consume(r, CLAIM);
        assertStatus(id, CONSUMED);
        vm.expectRevert(abi.encodeWithSelector(I.WrongStatus.selector, id, CONSUMED));
        vm.prank(REQUESTER);
        auth.consume(r, CLAIM);

        vm.warp(r.expiresAt + 1);
        vm.expectEmit(address(auth));
        emit I.ExecutionRecorded(id, OUTCOME, 3);
        vm.prank(REQUESTER);
        auth.recordExecution(r, 3, OUTCOME);
        assertStatus(id, RECORDED);
        vm.expectRevert(abi.encodeWithSelector(I.WrongStatus.selector, id, RECORDED));
        vm.prank(REQUESTER);
        auth.recordExecution(r, 3, OUTCOME);
    }

    function test_RevertWhen_ConsumeIsNotAllowed() public {
        (I.Request memory r, bytes32 id) = submitted(9000);
        vm.expectRevert(abi.encodeWithSelector(I.WrongStatus.selector, id, PENDING));
        vm.prank(REQUESTER);
        auth.consume(r, CLAIM);
        auth.decide(r, approvals(r));
        vm.expectRevert(abi.encodeWithSelector(I.NotRequester.selector, STRANGER, REQUESTER));
        vm.prank(STRANGER);
        auth.consume(r, CLAIM);
        vm.expectRevert(abi.encodeWithSelector(I.ZeroClaim.selector, id));
        vm.prank(REQUESTER);
        auth.consume(r, 0);
        vm.warp(r.expiresAt);
        vm.expectRevert(abi.encodeWithSelector(I.RequestExpired.selector, id, r.expiresAt));
        vm.prank(REQUESTER);
        auth.consume(r, CLAIM);
    }

    function test_RevertWhen_RecordIsNotAllowed() public {
        (I.Request memory r, bytes32 id) = consumed(1);
        vm.expectRevert(abi.encodeWithSelector(I.NotRequester.selector, STRANGER, REQUESTER));
        vm.prank(STRANGER);
        auth.recordExecution(r, 1, OUTCOME);
        vm.expectRevert(abi.encodeWithSelector(I.OutcomeOutOfRange.selector, 4));
        vm.prank(REQUESTER);
        auth.recordExecution(r, 4, OUTCOME);
        vm.expectRevert(abi.encodeWithSelector(I.OutcomeOutOfRange.selector, 0));
        vm.prank(REQUESTER);
        auth.recordExecution(r, 0, OUTCOME);
        I.Request memory other = makeRequest(2);
        vm.expectRevert(abi.encodeWithSelector(I.UnknownRequest.selector, idOf(other)));
        vm.prank(REQUESTER);
        auth.recordExecution(other, 1, OUTCOME);
        bytes32 otherId = submit(other);
        vm.expectRevert(abi.encodeWithSelector(I.WrongStatus.selector, otherId, PENDING));
        vm.prank(REQUESTER);
        auth.recordExecution(other, 1, OUTCOME);
        assertStatus(id, CONSUMED);
    }

    function test_ConsumeAndRecordBatchesSkip() public {
        I.Request[] memory r = new I.Request[](2);
        for (uint256 i = 0; i < 2; ++i) {
            r[i] = makeNumbered(i, 1);
            vm.prank(REQUESTER);
            auth.requestAuthorization(r[i], makeRequestId(i), TOOL);
        }
        auth.decide(r[1], approvals(r[1]));
        bytes32[] memory claims = new bytes32[](2);
        (claims[0], claims[1]) = (CLAIM, CLAIM);
        vm.expectEmit(address(auth));
        emit I.BatchItemSkipped(idOf(r[0]), 0, I.WrongStatus.selector);
        vm.prank(REQUESTER);
        auth.consumeBatch(r, claims);
        assertStatus(idOf(r[0]), PENDING);
        assertStatus(idOf(r[1]), CONSUMED);

        uint8[] memory outcomes = new uint8[](2);
        (outcomes[0], outcomes[1]) = (1, 1);
        vm.expectEmit(address(auth));
        emit I.BatchItemSkipped(idOf(r[0]), 0, I.WrongStatus.selector);
        vm.prank(REQUESTER);
        auth.recordBatch(r, outcomes, claims);
        assertStatus(idOf(r[1]), RECORDED);
    }

    function test_CancelByRequesterAndAdmin() public {
        (I.Request memory r, bytes32 id) = submitted(1);
        vm.expectRevert(abi.encodeWithSelector(I.NotRequesterOrAdmin.selector, STRANGER));
        vm.prank(STRANGER);
        auth.cancel(r, "");
        vm.expectEmit(address(auth));
        emit I.AuthorizationCancelled(id, r.actionHash, REQUESTER, "not needed");
        vm.prank(REQUESTER);
        auth.cancel(r, "not needed");
        assertStatus(id, CANCELLED);
        vm.expectRevert(abi.encodeWithSelector(I.WrongStatus.selector, id, CANCELLED));
        vm.prank(ADMIN);
        auth.cancel(r, "");

        r = makeRequest(2);
        vm.expectRevert(abi.encodeWithSelector(I.UnknownRequest.selector, idOf(r)));
        vm.prank(ADMIN);
        auth.cancel(r, "");
        id = submit(r);
        vm.warp(r.expiresAt);
        vm.expectRevert(abi.encodeWithSelector(I.RequestExpired.selector, id, r.expiresAt));
        vm.prank(ADMIN);
        auth.cancel(r, "");
        assertStatus(id, EXPIRED);
    }

    // ---------------------------------------------------------------------------------------- pause and epochs

    function test_PauseStopsAllButDenialsCancellationsAndRecords() public {
        (I.Request memory done,) = consumed(1);
        (I.Request memory pending, bytes32 pendingId) = submitted(2);
        (I.Request memory ready, bytes32 readyId) = approved(3);
        vm.prank(ADMIN);
        auth.pause();
        vm.assertTrue(auth.paused());

        bytes memory error_ = abi.encodeWithSelector(I.ContractPaused.selector);
        expectRefused(makeRequest(4), error_);
        I.SignedVote[] memory votes = approvals(pending);
        vm.expectRevert(error_);
        auth.decide(pending, votes);
        vm.expectRevert(error_);
        vm.prank(REQUESTER);
        auth.consume(ready, CLAIM);

        vm.prank(REQUESTER);
        auth.recordExecution(done, 1, OUTCOME);
        vm.prank(SECURITY_VOTER);
        auth.vote(ready, false, "");
        assertStatus(readyId, DENIED);
        vm.prank(REQUESTER);
        auth.cancel(pending, "");
        assertStatus(pendingId, CANCELLED);

        vm.prank(ADMIN);
        auth.unpause();
        submitted(5);
    }

    function test_AnOlderEpochNeitherApprovesNorConsumes() public {
        (I.Request memory pending, bytes32 pendingId) = submitted(1);
        (I.Request memory ready, bytes32 readyId) = approved(2);
        vm.expectEmit(address(auth));
        emit I.EpochRaised(2);
        vm.prank(ADMIN);
        auth.setBridge(address(0xB2), SIGNER);

        bytes memory error_ = abi.encodeWithSelector(I.StaleEpoch.selector, 1, 2);
        I.SignedVote[] memory votes = approvals(pending);
        vm.expectRevert(error_);
        auth.decide(pending, votes);
        vm.expectRevert(error_);
        vm.prank(REQUESTER);
        auth.consume(ready, CLAIM);
        assertStatus(pendingId, PENDING);
        assertStatus(readyId, APPROVED);
        auth.decide(pending, one(signVote(SECURITY_KEY, pending, false, "")));
        assertStatus(pendingId, DENIED);
    }

    // ------------------------------------------------------------------------------------------ administration

    function test_Views() public view {
        I.Approver[] memory approvers = new I.Approver[](3);
        approvers[0] = I.Approver(OPERATIONS_VOTER, 1, 0);
        approvers[1] = I.Approver(SECURITY_VOTER, 2, 1);
        approvers[2] = I.Approver(OPERATIONS2_VOTER, 1, 2);
        vm.assertEq(abi.encode(auth.approvers()), abi.encode(approvers));
        vm.assertEq(abi.encode(auth.policy()), abi.encode(initialPolicy()));
        vm.assertEq(abi.encode(auth.bridges()), abi.encode(initialBridges()));
        vm.assertEq(auth.epoch(), 1);
        vm.assertEq(auth.admin(), ADMIN);
        vm.assertEq(auth.pendingAdmin(), address(0));
        vm.assertFalse(auth.paused());
    }

    function test_SetApproversRemovesAddsAndMoves() public {
        I.ApproverInit[] memory set = new I.ApproverInit[](2);
        set[0] = I.ApproverInit(STRANGER, 3);
        set[1] = I.ApproverInit(OPERATIONS2_VOTER, 2);
        address[] memory remove = new address[](1);
        remove[0] = SECURITY_VOTER;
        vm.prank(ADMIN);
        auth.setApprovers(set, remove);

        I.Approver[] memory expected = new I.Approver[](3);
        expected[0] = I.Approver(OPERATIONS_VOTER, 1, 0);
        expected[1] = I.Approver(STRANGER, 3, 1);
        expected[2] = I.Approver(OPERATIONS2_VOTER, 2, 2);
        vm.assertEq(abi.encode(auth.approvers()), abi.encode(expected));
        vm.assertEq(auth.epoch(), 2);

        (I.Request memory r, bytes32 id) = submitted(9000);
        auth.decide(r, two(signVote(OPERATIONS_KEY, r, true, ""), signVote(OPERATIONS2_KEY, r, true, "")));
        assertStatus(id, APPROVED);
    }

    function expectAdminRefused(I.ApproverInit[] memory set, address[] memory remove, bytes memory error_) private {
        vm.prank(ADMIN);
        vm.expectRevert(error_);
        auth.setApprovers(set, remove);
    }

    function test_RevertWhen_ApproversBreakARule() public {
        I.ApproverInit[] memory none = new I.ApproverInit[](0);
        I.ApproverInit[] memory set = new I.ApproverInit[](1);
        address[] memory remove = new address[](1);
        remove[0] = SECURITY_VOTER;
        expectAdminRefused(none, remove, abi.encodeWithSelector(I.PolicyCannotBeMet.selector, 1));
        remove[0] = STRANGER;
        expectAdminRefused(none, remove, abi.encodeWithSelector(I.NotApprover.selector, STRANGER));
        remove = new address[](0);
        expectAdminRefused(set, remove, abi.encodeWithSelector(I.ZeroAddress.selector));
        expectAdminRefused(none, new address[](33), abi.encodeWithSelector(I.TooMany.selector, 33, 32));
        expectAdminRefused(
            new I.ApproverInit[](33), new address[](0), abi.encodeWithSelector(I.TooMany.selector, 33, 32)
        );
        set[0] = I.ApproverInit(STRANGER, 0);
        expectAdminRefused(set, remove, abi.encodeWithSelector(I.RoleOutOfRange.selector, 0));
        set[0] = I.ApproverInit(STRANGER, 8);
        expectAdminRefused(set, remove, abi.encodeWithSelector(I.RoleOutOfRange.selector, 8));
        set[0] = I.ApproverInit(REQUESTER, 1);
        expectAdminRefused(set, remove, abi.encodeWithSelector(I.RequesterIsApprover.selector, REQUESTER));
        set = new I.ApproverInit[](30);
        for (uint160 i = 0; i < 30; ++i) {
            set[i] = I.ApproverInit(address(0x1000 + i), 1);
        }
        expectAdminRefused(set, remove, abi.encodeWithSelector(I.TooMany.selector, 33, 32));
    }

    function test_ThirtyTwoApproversCanAllBeNeeded() public {
        I.ApproverInit[] memory set = new I.ApproverInit[](29);
        for (uint256 i = 0; i < 29; ++i) {
            set[i] = I.ApproverInit(vm.addr(0x1000 + i), 7);
        }
        vm.prank(ADMIN);
        auth.setApprovers(set, new address[](0));
        I.PolicyLine[] memory lines = initialPolicy();
        lines[1].quorum[0] = I.Quorum(0, 32);
        lines[1].quorum[1] = I.Quorum(7, 29);
        vm.prank(ADMIN);
        auth.setPolicy(lines);

        (I.Request memory r, bytes32 id) = submitted(9500);
        auth.decide(r, approvals(r));
        auth.decide(r, one(signVote(OPERATIONS2_KEY, r, true, "")));
        I.SignedVote[] memory votes = new I.SignedVote[](29);
        for (uint256 i = 0; i < 29; ++i) {
            assertStatus(id, PENDING);
            votes[i] = signVote(0x1000 + i, r, true, "");
        }
        auth.decide(r, votes);
        assertStatus(id, APPROVED);
    }

    function expectPolicyRefused(I.PolicyLine[] memory lines, bytes memory error_) private {
        vm.prank(ADMIN);
        vm.expectRevert(error_);
        auth.setPolicy(lines);
    }

    function test_RevertWhen_PolicyBreaksARule() public {
        expectPolicyRefused(new I.PolicyLine[](0), abi.encodeWithSelector(I.LengthOutOfRange.selector, 0, 1, 5));
        expectPolicyRefused(new I.PolicyLine[](6), abi.encodeWithSelector(I.LengthOutOfRange.selector, 6, 1, 5));
        I.PolicyLine[] memory lines = initialPolicy();
        lines[0].minRiskBps = 1;
        expectPolicyRefused(lines, abi.encodeWithSelector(I.PolicyNotAscending.selector, 0, 1));
        lines = initialPolicy();
        lines[1].minRiskBps = 0;
        expectPolicyRefused(lines, abi.encodeWithSelector(I.PolicyNotAscending.selector, 1, 0));
        lines[1].minRiskBps = 10_001;
        expectPolicyRefused(lines, abi.encodeWithSelector(I.RiskOutOfRange.selector, 10_001));
        lines = initialPolicy();
        lines[1].quorum[0].count = 0;
        expectPolicyRefused(lines, abi.encodeWithSelector(I.EmptyQuorum.selector, 1));
        lines[1].quorum = new I.Quorum[](0);
        expectPolicyRefused(lines, abi.encodeWithSelector(I.EmptyQuorum.selector, 1));
        lines[1].quorum = new I.Quorum[](7);
        expectPolicyRefused(lines, abi.encodeWithSelector(I.TooMany.selector, 7, 6));
        lines = initialPolicy();
        lines[1].quorum[1].role = 8;
        expectPolicyRefused(lines, abi.encodeWithSelector(I.RoleOutOfRange.selector, 8));
        lines[1].quorum[1] = I.Quorum(2, 2);
        expectPolicyRefused(lines, abi.encodeWithSelector(I.PolicyCannotBeMet.selector, 1));
    }

    function test_APolicyOfTheLargestSize() public {
        I.PolicyLine[] memory lines = new I.PolicyLine[](5);
        for (uint16 i = 0; i < 5; ++i) {
            lines[i] = I.PolicyLine(i * 1000, new I.Quorum[](6));
            for (uint256 j = 0; j < 6; ++j) {
                lines[i].quorum[j] = I.Quorum(uint8(j % 3), 1);
            }
        }
        vm.prank(ADMIN);
        auth.setPolicy(lines);
        vm.assertEq(abi.encode(auth.policy()), abi.encode(lines));
        for (uint16 i = 0; i < 5; ++i) {
            bytes32 id = submit(makeRequest(i * 1000 + 999));
            (,, uint8 line,) = auth.requestState(id);
            vm.assertEq(line, i);
        }
    }

    function test_BridgesRotate() public {
        vm.prank(ADMIN);
        auth.setBridge(REQUESTER, address(0x52));
        vm.assertEq(auth.bridges()[0].signer, address(0x52));
        vm.expectEmit(address(auth));
        emit I.BridgeRemoved(REQUESTER);
        vm.prank(ADMIN);
        auth.removeBridge(REQUESTER);
        vm.assertEq(auth.bridges().length, 0);
        expectRefused(makeRequest(1), abi.encodeWithSelector(I.UnknownRequester.selector, REQUESTER));
        vm.expectRevert(abi.encodeWithSelector(I.UnknownRequester.selector, REQUESTER));
        vm.prank(ADMIN);
        auth.removeBridge(REQUESTER);
        vm.expectRevert(abi.encodeWithSelector(I.RequesterIsApprover.selector, SECURITY_VOTER));
        vm.prank(ADMIN);
        auth.setBridge(SECURITY_VOTER, SIGNER);
        vm.expectRevert(abi.encodeWithSelector(I.ZeroAddress.selector));
        vm.prank(ADMIN);
        auth.setBridge(address(0), SIGNER);
        vm.expectRevert(abi.encodeWithSelector(I.ZeroAddress.selector));
        vm.prank(ADMIN);
        auth.setBridge(REQUESTER, address(0));
        vm.startPrank(ADMIN);
        for (uint160 i = 0; i < 8; ++i) {
            auth.setBridge(address(0x2000 + i), SIGNER);
        }
        vm.expectRevert(abi.encodeWithSelector(I.TooMany.selector, 9, 8));
        auth.setBridge(address(0x2008), SIGNER);
        vm.stopPrank();
    }

    function test_RevertWhen_DeployedWithoutAnAdmin() public {
        I.ApproverInit[] memory approvers = initialApprovers();
        I.PolicyLine[] memory lines = initialPolicy();
        I.Bridge[] memory bridges = initialBridges();
        vm.expectRevert(abi.encodeWithSelector(I.ZeroAddress.selector));
        new Authorization(address(0), approvers, lines, bridges);
    }

    /// A shorter policy leaves nothing of the longer one behind.
    function test_ThePolicyShrinksAndGrows() public {
        I.PolicyLine[] memory lines = new I.PolicyLine[](1);
        lines[0] = I.PolicyLine(0, new I.Quorum[](1));
        lines[0].quorum[0] = I.Quorum(2, 1);
        vm.prank(ADMIN);
        auth.setPolicy(lines);
        vm.assertEq(abi.encode(auth.policy()), abi.encode(lines));
        (I.Request memory r, bytes32 id) = submitted(10_000);
        auth.decide(r, one(signVote(SECURITY_KEY, r, true, "")));
        assertStatus(id, APPROVED);
        vm.prank(ADMIN);
        auth.setPolicy(initialPolicy());
        vm.assertEq(abi.encode(auth.policy()), abi.encode(initialPolicy()));
    }

    function test_AdministrationIsLogged() public {
        I.ApproverInit[] memory set = new I.ApproverInit[](1);
        set[0] = I.ApproverInit(STRANGER, 3);
        address[] memory remove = new address[](1);
        remove[0] = OPERATIONS2_VOTER;
        vm.startPrank(ADMIN);
        vm.expectEmit(address(auth));
        emit I.ApproverRemoved(OPERATIONS2_VOTER, 1, 2);
        vm.expectEmit(address(auth));
        emit I.ApproverSet(STRANGER, 3, 2);
        vm.expectEmit(address(auth));
        emit I.EpochRaised(2);
        auth.setApprovers(set, remove);
        vm.expectEmit(address(auth));
        emit I.PolicySet(initialPolicy());
        vm.expectEmit(address(auth));
        emit I.EpochRaised(3);
        auth.setPolicy(initialPolicy());
        vm.expectEmit(address(auth));
        emit I.BridgeSet(address(0xB2), SIGNER);
        auth.setBridge(address(0xB2), SIGNER);
        vm.expectEmit(address(auth));
        emit I.BridgeRemoved(address(0xB2));
        vm.expectEmit(address(auth));
        emit I.EpochRaised(5);
        auth.removeBridge(address(0xB2));
        vm.expectEmit(address(auth));
        emit I.Paused(ADMIN);
        auth.pause();
        vm.expectEmit(address(auth));
        emit I.Unpaused(ADMIN);
        auth.unpause();
        vm.expectEmit(address(auth));
        emit I.AdminTransferStarted(ADMIN, STRANGER);
        auth.transferAdmin(STRANGER);
        vm.stopPrank();
    }

    function test_AdminMovesInTwoSteps() public {
        vm.prank(ADMIN);
        auth.transferAdmin(STRANGER);
        vm.assertEq(auth.admin(), ADMIN);
        vm.expectRevert(abi.encodeWithSelector(I.NotPendingAdmin.selector, REQUESTER));
        vm.prank(REQUESTER);
        auth.acceptAdmin();
        vm.expectEmit(address(auth));
        emit I.AdminTransferred(ADMIN, STRANGER);
        vm.prank(STRANGER);
        auth.acceptAdmin();
        vm.assertEq(auth.admin(), STRANGER);
        vm.assertEq(auth.pendingAdmin(), address(0));
    }

    function test_RevertWhen_CallerIsNotAdmin() public {
        bytes memory error_ = abi.encodeWithSelector(I.NotAdmin.selector, STRANGER);
        vm.startPrank(STRANGER);
        vm.expectRevert(error_);
        auth.setApprovers(new I.ApproverInit[](0), new address[](0));
        vm.expectRevert(error_);
        auth.setPolicy(new I.PolicyLine[](0));
        vm.expectRevert(error_);
        auth.setBridge(STRANGER, STRANGER);
        vm.expectRevert(error_);
        auth.removeBridge(REQUESTER);
        vm.expectRevert(error_);
        auth.pause();
        vm.expectRevert(error_);
        auth.unpause();
        vm.expectRevert(error_);
        auth.transferAdmin(STRANGER);
        vm.stopPrank();
    }
}
