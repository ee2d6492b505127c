// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Authorization} from "../../src/Authorization.sol";
import {IAuthorization as I} from "../../src/IAuthorization.sol";
import {Test} from "./Test.sol";

/// Acts at random on two contracts: on `auth` item by item, on `twin` by batches where there are batches. It never
/// reverts; an act that is refused changes nothing, and an act that succeeds is checked against what is known of the
/// request (the ghosts) at once.
contract Handler is Test {
    uint8 private constant PENDING = 1;
    uint8 private constant APPROVED = 2;
    uint8 private constant DENIED = 3;
    uint8 private constant CONSUMED = 4;
    uint8 private constant RECORDED = 5;
    uint256 private constant ITEMS = 3;
    string private constant TOOL = "deploy_to_production";

    Authorization public immutable auth;
    Authorization public immutable twin;
    address private immutable ADMIN;
    address[2] private requesters;
    uint256[3] private keys;
    uint8[3] private roles;

    I.Request[] private requests;
    /// Ghosts, by id.
    mapping(bytes32 id => uint256) public timesConsumed;
    mapping(bytes32 id => uint256) public timesApproved;
    mapping(bytes32 id => uint8) private lastStatus;
    /// Approvers, one bit a key, who approved by a signature or a transaction that was taken.
    mapping(bytes32 id => uint256) private approvedBy;
    /// How often each kind of act succeeded, so that a run that reaches nothing shows.
    mapping(bytes32 kind => uint256) public successes;

    constructor(Authorization auth_, Authorization twin_, address admin, address[2] memory requesters_) {
        (auth, twin, ADMIN, requesters) = (auth_, twin_, admin, requesters_);
        (keys, roles) = ([uint256(0xA1), 0xA2, 0xA3], [1, 2, 1]);
    }

    // --------------------------------------------------------------------------------------------------- acts

    function request(uint256 seed, uint16 riskBps, uint40 lifetime) external {
        (I.Request[] memory r, string[] memory ids, string[] memory tools) =
            (new I.Request[](ITEMS), new string[](ITEMS), new string[](ITEMS));
        for (uint256 i = 0; i < ITEMS; ++i) {
            // The last item is one that may be there already.
            bool known = i == ITEMS - 1 && requests.length != 0;
            uint256 index = known ? seed % requests.length : requests.length + i;
            ids[i] = string.concat("request-", vm.toString(index));
            tools[i] = TOOL;
            if (known) {
                r[i] = requests[index];
                continue;
            }
            r[i] = I.Request({
                requestIdHash: keccak256(bytes(ids[i])),
                toolHash: keccak256(bytes(TOOL)),
                actionHash: keccak256(abi.encode(seed)),
                requestHash: keccak256(abi.encode(seed, i)),
                requester: requesters[seed % 2],
                expiresAt: uint40(block.timestamp + lifetime % 400),
                riskBps: riskBps % 10_100,
                epoch: auth.epoch()
            });
        }
        address caller = requesters[seed % 2];
        for (uint256 i = 0; i < ITEMS; ++i) {
            succeeds(caller, auth, abi.encodeCall(I.requestAuthorization, (r[i], ids[i], tools[i])), "request");
        }
        mustSucceed(caller, twin, abi.encodeCall(I.requestBatch, (r, ids, tools)));
        for (uint256 i = 0; i < ITEMS; ++i) {
            bytes32 id = keccak256(abi.encode(r[i]));
            if (lastStatus[id] == 0 && auth.statusOf(id) != 0) requests.push(r[i]);
            observe(r[i]);
        }
    }

    function vote(uint256 seed, uint256 voter, bool approve) external {
        I.Request memory r = pick(seed);
        if (r.requester == address(0)) return;
        // The fourth voter is the request's own requester.
        address caller = voter % 4 == 3 ? r.requester : vm.addr(keys[voter % 4]);
        bytes memory data = abi.encodeCall(I.vote, (r, approve, ""));
        bool success = succeeds(caller, auth, data, approve ? bytes32("approve") : bytes32("deny"));
        vm.assertTrue(success == succeeds(caller, twin, data, "twin"));
        vm.assertFalse(success && caller == r.requester);
        if (success && approve) approvedBy[keccak256(abi.encode(r))] |= uint256(1) << (voter % 4);
        observe(r);
    }

    function decide(uint256 seed, uint256 voters, bool deny) external {
        (I.Request[] memory r, I.SignedVote[][] memory votes) = (new I.Request[](ITEMS), new I.SignedVote[][](ITEMS));
        for (uint256 i = 0; i < ITEMS; ++i) {
            r[i] = pick(uint256(keccak256(abi.encode(seed, i % 2))));
            if (r[i].requester == address(0)) return;
            bool denied = deny && i == 0;
            bytes memory data = abi.encodeCall(I.decide, (r[i], signedBy(auth, r[i], voters, denied)));
            bool success = succeeds(address(this), auth, data, "decide");
            if (success && !denied) approvedBy[keccak256(abi.encode(r[i]))] |= voters % 8;
            votes[i] = signedBy(twin, r[i], voters, denied);
        }
        mustSucceed(address(this), twin, abi.encodeCall(I.decideBatch, (r, votes)));
        for (uint256 i = 0; i < ITEMS; ++i) {
            observe(r[i]);
        }
    }

    function consume(uint256 seed, bool byRequester) external {
        (I.Request[] memory r, bytes32[] memory claims) = (new I.Request[](ITEMS), new bytes32[](ITEMS));
        for (uint256 i = 0; i < ITEMS; ++i) {
            r[i] = pick(uint256(keccak256(abi.encode(seed, i % 2))));
            claims[i] = keccak256(abi.encode(seed, i));
        }
        if (r[0].requester == address(0)) return;
        address caller = byRequester ? r[0].requester : ADMIN;
        for (uint256 i = 0; i < ITEMS; ++i) {
            if (!succeeds(caller, auth, abi.encodeCall(I.consume, (r[i], claims[i])), "consume")) continue;
            ++timesConsumed[keccak256(abi.encode(r[i]))];
            vm.assertTrue(block.timestamp < r[i].expiresAt);
            vm.assertTrue(caller == r[i].requester && r[i].epoch == auth.epoch() && !auth.paused());
        }
        mustSucceed(caller, twin, abi.encodeCall(I.consumeBatch, (r, claims)));
        for (uint256 i = 0; i < ITEMS; ++i) {
            observe(r[i]);
        }
    }

    function record(uint256 seed, uint8 outcome) external {
        (I.Request[] memory r, uint8[] memory outcomes, bytes32[] memory hashes) =
            (new I.Request[](ITEMS), new uint8[](ITEMS), new bytes32[](ITEMS));
        for (uint256 i = 0; i < ITEMS; ++i) {
            r[i] = pick(uint256(keccak256(abi.encode(seed, i % 2))));
            outcomes[i] = outcome % 5;
        }
        if (r[0].requester == address(0)) return;
        for (uint256 i = 0; i < ITEMS; ++i) {
            bytes memory data = abi.encodeCall(I.recordExecution, (r[i], outcomes[i], hashes[i]));
            succeeds(r[0].requester, auth, data, "record");
        }
        mustSucceed(r[0].requester, twin, abi.encodeCall(I.recordBatch, (r, outcomes, hashes)));
        for (uint256 i = 0; i < ITEMS; ++i) {
            observe(r[i]);
        }
    }

    function cancel(uint256 seed, bool byAdmin) external {
        I.Request memory r = pick(seed);
        if (r.requester == address(0) || seed % 4 != 0) return;
        address caller = byAdmin ? ADMIN : r.requester;
        bytes memory data = abi.encodeCall(I.cancel, (r, "no longer needed"));
        vm.assertTrue(succeeds(caller, auth, data, "cancel") == succeeds(caller, twin, data, "twin"));
        observe(r);
    }

    function pass(uint256 seconds_) external {
        vm.warp(block.timestamp + seconds_ % 60);
        for (uint256 i = 0; i < requests.length; ++i) {
            observe(requests[i]);
        }
    }

    function raiseEpoch(uint256 seed) external {
        if (seed % 8 != 0) return;
        bytes memory data = abi.encodeCall(I.setBridge, (requesters[0], address(uint160(seed % 100 + 1))));
        mustSucceed(ADMIN, auth, data);
        mustSucceed(ADMIN, twin, data);
    }

    function pause(uint256 seed) external {
        bytes memory data = seed % 4 == 0 ? abi.encodeCall(I.pause, ()) : abi.encodeCall(I.unpause, ());
        mustSucceed(ADMIN, auth, data);
        mustSucceed(ADMIN, twin, data);
    }

    // ------------------------------------------------------------------------------------------------ for the test

    function count() external view returns (uint256) {
        return requests.length;
    }

    function requestAt(uint256 index) external view returns (I.Request memory) {
        return requests[index];
    }

    /// Whether those who approved meet the line that a request of this risk is under, counted one by one.
    function quorumMet(I.Request memory r) public view returns (bool) {
        uint256 voters = approvedBy[keccak256(abi.encode(r))];
        (bool operations, bool security) = (false, false);
        for (uint256 i = 0; i < keys.length; ++i) {
            if (voters & (uint256(1) << i) == 0) continue;
            if (roles[i] == 1) operations = true;
            else security = true;
        }
        return r.riskBps >= 9000 ? operations && security : operations || security;
    }

    // ---------------------------------------------------------------------------------------------------- helpers

    function pick(uint256 seed) private view returns (I.Request memory r) {
        if (requests.length != 0) r = requests[seed % requests.length];
    }

    function signedBy(Authorization target, I.Request memory r, uint256 voters, bool deny)
        private
        view
        returns (I.SignedVote[] memory votes)
    {
        uint256 length = 0;
        for (uint256 i = 0; i < keys.length; ++i) {
            if (voters & (uint256(1) << i) != 0) ++length;
        }
        votes = new I.SignedVote[](length);
        for (uint256 i = keys.length; i > 0; --i) {
            if (voters & (uint256(1) << (i - 1)) == 0) continue;
            bool approve = !(deny && length == 1);
            (uint8 v, bytes32 x, bytes32 s) = vm.sign(keys[i - 1], target.hashVote(r, approve, ""));
            votes[--length] = I.SignedVote(vm.addr(keys[i - 1]), approve, "", abi.encodePacked(x, s, v));
        }
    }

    function succeeds(address caller, Authorization target, bytes memory data, bytes32 kind)
        private
        returns (bool success)
    {
        vm.prank(caller);
        (success,) = address(target).call(data);
        if (success) ++successes[kind];
    }

    function mustSucceed(address caller, Authorization target, bytes memory data) private {
        vm.assertTrue(succeeds(caller, target, data, "twin"));
    }

    /// Checks the step from the status that was seen last.
    function observe(I.Request memory r) private {
        bytes32 id = keccak256(abi.encode(r));
        uint8 before = lastStatus[id];
        uint8 status = auth.statusOf(id);
        if (status == before) return;
        if (before >= DENIED) vm.assertTrue(before == CONSUMED && status == RECORDED);
        // One act can approve a request that another act of the same batch has just consumed or denied.
        if (status == APPROVED || (status == CONSUMED && before == PENDING)) {
            ++timesApproved[id];
            vm.assertTrue(block.timestamp < r.expiresAt && r.epoch == auth.epoch() && !auth.paused());
            vm.assertTrue(quorumMet(r));
        }
        lastStatus[id] = status;
    }
}
