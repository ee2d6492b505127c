"""The hashes of section 3 and the signatures of section 4 of docs/PROTOCOL.md."""

import hashlib
from decimal import Decimal
from typing import Any

import eth_abi
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_keys.exceptions import BadSignature, ValidationError as KeyValidationError
from eth_utils import keccak

from strict_json import Refused, canonical

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
REQUEST_TYPES = ["bytes32", "bytes32", "bytes32", "bytes32", "address", "uint40", "uint16", "uint64"]
REQUEST_TUPLE = f"({','.join(REQUEST_TYPES)})"
VOTE_SELECTOR = keccak(text=f"vote({REQUEST_TUPLE},bool,string)")[:4]
OUTCOMES = {"succeeded": 1, "failed": 2, "unknown": 3}

VOTE_TYPE = {
    "Vote": [
        {"name": "id", "type": "bytes32"},
        {"name": "tool_name", "type": "string"},
        {"name": "action_hash", "type": "bytes32"},
        {"name": "approve", "type": "bool"},
        {"name": "note", "type": "string"},
    ]
}
RESPONSE_TYPE = {
    "AuthResponse": [
        {"name": "request_id", "type": "string"},
        {"name": "authorization_id", "type": "bytes32"},
        {"name": "action_hash", "type": "bytes32"},
        {"name": "request_hash", "type": "bytes32"},
        {"name": "decision", "type": "string"},
        {"name": "blockchain_tx_hash", "type": "bytes32"},
        {"name": "block_number", "type": "uint64"},
        {"name": "block_hash", "type": "bytes32"},
        {"name": "approver", "type": "address"},
        {"name": "timestamp", "type": "string"},
        {"name": "denial_reason", "type": "string"},
        {"name": "conditions", "type": "string[]"},
        {"name": "evidence_hash", "type": "bytes32"},
    ]
}


def unhex(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


def sha256_jcs(tree: Any) -> str:
    return hashlib.sha256(canonical(tree)).hexdigest()


def action_preimage(request: dict) -> dict:
    return {
        "domain": "guardrail.action.v1",
        "request_id": request["request_id"],
        "timestamp": request["timestamp"],
        "salt": request.get("salt", ""),
        "tool_name": request["tool_name"],
        "parameters": request["parameters"],
    }


def action_hash(request: dict) -> str:
    return sha256_jcs(action_preimage(request))


def risk_bps(request: dict) -> int:
    """Exact: the score has at most four decimals."""
    return int(Decimal(repr(request["risk_score"])) * 10_000)


def chain_request(request: dict, requester: str, expires_at: int, epoch: int) -> tuple:
    """The contract's `Request`, its action and request hashes computed and not taken from anyone."""
    return (
        keccak(text=request["request_id"]),
        keccak(text=request["tool_name"]),
        unhex(action_hash(request)),
        unhex(sha256_jcs(request)),
        requester,
        expires_at,
        risk_bps(request),
        epoch,
    )


def authorization_id(fields: tuple) -> str:
    return "0x" + keccak(eth_abi.encode(REQUEST_TYPES, fields)).hex()


def outcome_hash(identifier: str, claim: str, outcome: str, result: Any) -> str:
    return sha256_jcs(
        {
            "domain": "guardrail.outcome.v1",
            "authorization_id": identifier,
            "claim": claim,
            "outcome": outcome,
            "result": result,
        }
    )


def vote_calldata(fields: tuple, approve: bool, note: str) -> bytes:
    return VOTE_SELECTOR + eth_abi.encode([REQUEST_TUPLE, "bool", "string"], [fields, approve, note])


def domain(chain_id: int, contract: str) -> dict:
    return {"name": "Guardrail", "version": "1", "chainId": chain_id, "verifyingContract": contract}


def vote_message(domain_data: dict, identifier: str, request: dict, approve: bool, note: str) -> SignableMessage:
    message = {
        "id": unhex(identifier),
        "tool_name": request["tool_name"],
        "action_hash": unhex(action_hash(request)),
        "approve": approve,
        "note": note,
    }
    return encode_typed_data(domain_data, VOTE_TYPE, message)


def response_message(domain_data: dict, response: dict) -> SignableMessage:
    message = {
        "request_id": response["request_id"],
        "authorization_id": unhex(response["authorization_id"]),
        "action_hash": unhex(response["action_hash"]),
        "request_hash": unhex(response["request_hash"]),
        "decision": response["decision"],
        "blockchain_tx_hash": unhex(response["blockchain_tx_hash"]),
        "block_number": response["block_number"],
        "block_hash": unhex(response["block_hash"]),
        "approver": response["approver"],
        "timestamp": response["timestamp"],
        "denial_reason": response["denial_reason"] or "",
        "conditions": response["conditions"],
        "evidence_hash": unhex(response["evidence_hash"]),
    }
    return encode_typed_data(domain_data, RESPONSE_TYPE, message)


def digest(message: SignableMessage) -> bytes:
    return keccak(b"\x19" + message.version + message.header + message.body)


def recover(message: SignableMessage, signature: str) -> str:
    """The signer of 65 bytes `r ‖ s ‖ v`, `v` 27 or 28, low `s`."""
    data = unhex(signature)
    if len(data) != 65:
        raise Refused(f"a signature has 65 bytes, not {len(data)}")
    if data[64] not in (27, 28):
        raise Refused(f"v is 27 or 28, not {data[64]}")
    if not 0 < int.from_bytes(data[32:64]) <= CURVE_ORDER // 2:
        raise Refused("s is not low")
    try:
        return Account.recover_message(message, signature=data)
    except (BadSignature, KeyValidationError, ValueError) as error:
        raise Refused(f"no signature: {error}") from error
