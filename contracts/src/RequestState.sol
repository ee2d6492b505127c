// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

enum Status {
    None,
    Pending,
    Approved,
    Denied,
    Consumed,
    Recorded,
    Cancelled,
    Expired // never stored: it follows from the clock
}

/// @dev What is stored about a request, packed in one word; its id commits to all the rest.
///
/// | bits  | what                                                     |
/// | 0–7   | status                                                   |
/// | 8–15  | index of the policy line, frozen when it was requested   |
/// | 16–55 | expiry, Unix seconds                                     |
/// | 56–87 | approvals counted, one bit an approver                   |
type RequestState is uint256;

using {exists, status, line, expiresAt, votes, current, withStatus, withVotes} for RequestState global;

function newRequestState(uint256 line_, uint40 expiresAt_) pure returns (RequestState) {
    return RequestState.wrap(uint256(Status.Pending) | (line_ << 8) | (uint256(expiresAt_) << 16));
}

function exists(RequestState s) pure returns (bool) {
    return RequestState.unwrap(s) != 0;
}

function status(RequestState s) pure returns (Status) {
    return Status(uint8(RequestState.unwrap(s)));
}

function line(RequestState s) pure returns (uint8) {
    return uint8(RequestState.unwrap(s) >> 8);
}

function expiresAt(RequestState s) pure returns (uint40) {
    return uint40(RequestState.unwrap(s) >> 16);
}

function votes(RequestState s) pure returns (uint32) {
    return uint32(RequestState.unwrap(s) >> 56);
}

/// The status as the clock stands: what is open is Expired from its expiry on.
function current(RequestState s) view returns (Status stored) {
    stored = s.status();
    bool open = stored == Status.Pending || stored == Status.Approved;
    if (open && block.timestamp >= s.expiresAt()) return Status.Expired;
}

function withStatus(RequestState s, Status status_) pure returns (RequestState) {
    return RequestState.wrap((RequestState.unwrap(s) & ~uint256(0xff)) | uint256(status_));
}

/// Adds votes; one that was counted stays counted.
function withVotes(RequestState s, uint32 votes_) pure returns (RequestState) {
    return RequestState.wrap(RequestState.unwrap(s) | (uint256(votes_) << 56));
}
