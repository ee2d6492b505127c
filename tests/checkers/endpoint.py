"""Step 6 of section 7: what an endpoint of the verifier's own says, over plain JSON-RPC."""

import json
import urllib.error
import urllib.request

import eth_abi
from eth_utils import keccak

from hashes import unhex
from strict_json import Refused

TIMEOUT_S = 10
ANSWER_BYTES_MAX = 4 * 1024 * 1024
WALLET_GAS_MAX = 100_000
# bytes4(keccak256("isValidSignature(bytes32,bytes)")), ERC-1271
WALLET_SELECTOR = keccak(text="isValidSignature(bytes32,bytes)")[:4]
STATUS_SELECTOR = keccak(text="statusOf(bytes32)")[:4]


class Reverted(Exception):
    """The node ran the call, which failed."""


class Endpoint:
    def __init__(self, url: str):
        self.url = url

    def same_chain(self, anchors: dict):
        if int(self._call("eth_chainId"), 16) != anchors["chain_id"]:
            raise Refused("the endpoint is of another chain id")
        if self._block(0)["hash"] != anchors["genesis_hash"]:
            raise Refused("the endpoint's genesis is another")
        code = unhex(self._call("eth_getCode", anchors["contract"], "latest"))
        if "0x" + keccak(code).hex() != anchors["code_hash"]:
            raise Refused("the contract's code is another")

    def canonical(self, number: int, block_hash: str, confirmations: int):
        if self._block(number)["hash"] != block_hash:
            raise Refused(f"block {number} is another on the chain")
        depth = int(self._call("eth_blockNumber"), 16) - number + 1
        if depth < confirmations:
            raise Refused(f"block {number} is {depth} deep, {confirmations} are pinned")

    def status(self, contract: str, identifier: str, block: int | None) -> int:
        data = STATUS_SELECTOR + unhex(identifier)
        at = "latest" if block is None else hex(block)
        try:
            return int(self._call("eth_call", {"to": contract, "data": "0x" + data.hex()}, at), 16)
        except (Reverted, ValueError) as error:
            raise Refused(f"the contract does not say what the status is: {error}") from error

    def accepts(self, wallet: str, digest: bytes, signature: bytes, asker: str, block: int) -> bool:
        """Whether a contract took a signature for its own (ERC-1271) when it was asked by `asker`, after `block`."""
        data = WALLET_SELECTOR + eth_abi.encode(["bytes32", "bytes"], [digest, signature])
        gas = WALLET_GAS_MAX + 21_000 + 16 * len(data)
        call = {"from": asker, "to": wallet, "data": "0x" + data.hex(), "gas": hex(gas)}
        try:
            answer = unhex(self._call("eth_call", call, hex(block)))
        except Reverted:
            return False
        return answer[:32] == WALLET_SELECTOR + bytes(28)

    def _block(self, number: int) -> dict:
        block = self._call("eth_getBlockByNumber", hex(number), False)
        if not isinstance(block, dict):
            raise Refused(f"the endpoint has no block {number}")
        return block

    def _call(self, method: str, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as stream:
                answer = json.loads(stream.read(ANSWER_BYTES_MAX))
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise Refused(f"the endpoint does not answer {method}: {error}") from error
        if "error" in answer:
            if method == "eth_call":
                raise Reverted(str(answer["error"]))
            raise Refused(f"the endpoint refuses {method}: {answer['error']}")
        return answer["result"]
