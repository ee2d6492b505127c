"""The shapes of sections 2, 6 and 9 of docs/PROTOCOL.md: which members there are, and how each is spelled."""

import re
import unicodedata
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Callable

from eth_utils import is_checksum_address

from strict_json import Refused

Check = Callable[[Any], bool]

ZERO_ADDRESS = "0x" + "00" * 20
ZERO_BYTES32 = "0x" + "00" * 32
ZERO_DIGEST = "00" * 32
NOTE_BYTES_MAX = 512
REASONING_BYTES_MAX = 8 * 1024
VOTES_MAX = 256
HEADER_BYTES_MAX = 4096
PROOF_NODES_MAX = 64


def matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def integer(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def many(check: Check, count_max: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= count_max and all(map(check, value))


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_object(value: Any) -> bool:
    return isinstance(value, dict)


def is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def is_address(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("0x[0-9a-fA-F]{40}", value) is not None and is_checksum_address(value)


def is_timestamp(value: Any) -> bool:
    try:
        milliseconds(value)
    except (TypeError, ValueError):
        return False
    return True


def is_note(value: Any) -> bool:
    """At most 512 bytes, and no control character but U+000A."""
    if not isinstance(value, str) or len(value.encode()) > NOTE_BYTES_MAX:
        return False
    return all(char == "\n" or unicodedata.category(char) != "Cc" for char in value)


def is_risk_score(value: Any) -> bool:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        return False
    return (Decimal(repr(value)) * 10_000) % 1 == 0


is_digest = matches("[0-9a-f]{64}")
is_bytes32 = matches("0x[0-9a-f]{64}")
is_bytes = matches("0x(?:[0-9a-f]{2})*")
is_count = integer(0, 2**53 - 1)


def milliseconds(timestamp: str) -> int:
    """Unix milliseconds of RFC 3339 in UTC with three decimals and a `Z`."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", timestamp) is None:
        raise ValueError(timestamp)
    when = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return int(when.timestamp()) * 1000 + when.microsecond // 1000


def members(what: str, value: Any, needed: dict[str, Check], optional: dict[str, Check] | None = None) -> dict:
    """Holds an object to exactly these members, each of its form."""
    optional = optional or {}
    if not isinstance(value, dict):
        raise Refused(f"{what} is no object")
    for name in value:
        if name not in needed and name not in optional:
            raise Refused(f"unknown field {what}.{name}")
    for name, check in {**needed, **optional}.items():
        if name not in value:
            if name in needed:
                raise Refused(f"no {what}.{name}")
        elif not check(value[name]):
            raise Refused(f"{what}.{name} is not of its form")
    return value


IMPACT = {"users_affected": is_text, "downtime_risk": is_text, "data_risk": is_text}
REQUEST = {
    "request_id": matches("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    "timestamp": is_timestamp,
    "tool_name": matches("[a-z][a-z0-9_]{0,63}"),
    "parameters": is_object,
    "agent_state_checkpoint": is_text,
    "action_hash": is_digest,
    "risk_score": is_risk_score,
    "estimated_impact": is_object,
    "reasoning": lambda value: isinstance(value, str) and len(value.encode()) <= REASONING_BYTES_MAX,
}
REQUEST_OPTIONAL = {
    "salt": matches("[0-9a-f]{32}"),
    "agent_id": is_text,
    "policy_hash": is_digest,
    "context": is_object,
}
RESPONSE = {
    "request_id": REQUEST["request_id"],
    "authorization_id": is_bytes32,
    "action_hash": is_digest,
    "request_hash": is_digest,
    "decision": lambda value: value in ("approved", "denied", "consumed", "recorded"),
    "blockchain_tx_hash": is_bytes32,
    "block_number": is_count,
    "block_hash": is_bytes32,
    "timestamp": is_timestamp,
    "approver": is_address,
    "signature": is_bytes,
    "denial_reason": lambda value: value is None or isinstance(value, str),
    "conditions": many(is_text, VOTES_MAX * NOTE_BYTES_MAX),
    "evidence_hash": is_digest,
    "evidence": lambda value: value is None or isinstance(value, dict),
}
EVIDENCE = {
    "chain_id": integer(1, 2**53 - 1),
    "contract": is_address,
    "requester": is_address,
    "expires_at": integer(1, 2**40 - 1),
    "risk_bps": integer(0, 2**16 - 1),
    "epoch": is_count,
    "block_header": lambda value: is_bytes(value) and len(value) <= 2 + 2 * HEADER_BYTES_MAX,
    "transaction_index": is_count,
    "transaction_proof": many(is_bytes, PROOF_NODES_MAX),
    "receipt_proof": many(is_bytes, PROOF_NODES_MAX),
    "log_index": is_count,
    "votes": many(is_object, VOTES_MAX),
}
VOTE = {"approver": is_address, "approve": is_bool, "note": is_note}
BRIDGE = {"signer": is_address, "requester": is_address}
EPOCH = {
    "epoch": is_count,
    "approvers": many(is_object, 256),
    "policy": many(is_object, 256),
    "bridges": many(is_object, 256),
}
ANCHORS = {
    "chain_id": integer(1, 2**53 - 1),
    "genesis_hash": is_bytes32,
    "contract": is_address,
    "code_hash": is_bytes32,
    "max_lifetime": integer(1, 2**40),
    "epochs": many(is_object, 10_000),
}
# What only the verifier's own file says, since it is about its own chain check.
ANCHORS_OWN = {
    "confirmations": is_count,
    "chain_check": lambda value: value in ("on", "off", True, False),
}


def check_request(value: Any) -> dict:
    request = members("request", value, REQUEST, REQUEST_OPTIONAL)
    members("request.estimated_impact", request["estimated_impact"], IMPACT)
    return request


def check_response(what: str, value: Any) -> dict:
    response = members(what, value, RESPONSE)
    if response["evidence"] is not None:
        evidence = members(f"{what}.evidence", response["evidence"], EVIDENCE)
        for index, vote in enumerate(evidence["votes"]):
            form = {"transaction": is_bytes} if "transaction" in vote else {"signature": is_bytes}
            members(f"{what}.evidence.votes[{index}]", vote, VOTE | form)
    return response


def check_anchors(what: str, value: Any, optional: dict[str, Check]) -> dict:
    anchors = members(what, value, ANCHORS, optional)
    seen = set()
    for epoch in anchors["epochs"]:
        members(f"{what}.epochs", epoch, EPOCH)
        if epoch["epoch"] in seen:
            raise Refused(f"{what} names epoch {epoch['epoch']} twice")
        seen.add(epoch["epoch"])
        _check_epoch(what, epoch)
    return anchors


def _check_epoch(what: str, epoch: dict) -> None:
    addresses = set()
    for approver in epoch["approvers"]:
        members(f"{what} approver", approver, {"address": is_address, "role": is_text})
        if approver["role"] == "any":
            raise Refused(f"{what}: `any` is no role")
        addresses.add(approver["address"])
    if len(addresses) != len(epoch["approvers"]):
        raise Refused(f"{what}: an approver has one role")
    for line in epoch["policy"]:
        members(f"{what} policy", line, {"min_risk_bps": integer(0, 10_000), "quorum": is_object})
        if not line["quorum"] or not all(integer(1, 256)(count) for count in line["quorum"].values()):
            raise Refused(f"{what}: a quorum needs counts, each at least 1")
    if not epoch["policy"] or epoch["policy"][0]["min_risk_bps"] != 0:
        raise Refused(f"{what}: the first line of a policy is 0")
    for bridge in epoch["bridges"]:
        members(f"{what} bridge", bridge, BRIDGE)
