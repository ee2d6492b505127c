// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// What `npm run bench-gas` measures the contract against; compiled with its compiler and its settings.
import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// An action with no lasting effect: the least that a timelock can execute and leave a trace.
contract EmitTarget {
    event Done(bytes32 indexed action);

    function act(bytes32 action) external {
        emit Done(action);
    }
}

/// An action that changes something: it writes one new slot.
contract StoreTarget {
    mapping(bytes32 action => uint256 block_) public doneIn;

    function act(bytes32 action) external {
        doneIn[action] = block.number;
    }
}
