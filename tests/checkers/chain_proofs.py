"""Headers, trie proofs, receipts and transactions, read with the `rlp` and `trie` packages."""

from dataclasses import dataclass

import eth_abi
import rlp
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from trie import HexaryTrie

from hashes import CURVE_ORDER
from strict_json import Refused

EVENTS = {
    "AuthorizationApproved": ("bytes32,bytes32,address", []),
    "AuthorizationDenied": ("bytes32,bytes32,address,string", ["string"]),
    "AuthorizationCancelled": ("bytes32,bytes32,address,string", ["string"]),
    "AuthorizationConsumed": ("bytes32,bytes32,address,bytes32", ["bytes32"]),
    "ExecutionRecorded": ("bytes32,bytes32,uint8", ["uint8"]),
}
# type -> (number of fields, index of chain id, of `to`, of data)
TYPED_TRANSACTIONS = {1: (11, 0, 4, 6), 2: (12, 0, 5, 7), 3: (14, 0, 5, 7), 4: (13, 0, 5, 7)}


def topic(event: str) -> bytes:
    return keccak(text=f"{event}({EVENTS[event][0]})")


@dataclass(frozen=True)
class Header:
    transactions_root: bytes
    receipts_root: bytes
    number: int
    timestamp: int


@dataclass(frozen=True)
class Log:
    address: str
    topics: list[bytes]
    data: bytes

    def read(self, event: str) -> list:
        """The data of this event, whose encoding has one form."""
        _, types = EVENTS[event]
        try:
            values = list(eth_abi.decode(types, self.data))
            again = eth_abi.encode(types, values)
        except (eth_abi.exceptions.DecodingError, eth_abi.exceptions.EncodingError, UnicodeError) as error:
            raise Refused(f"the data of {event} does not decode: {error}") from error
        if again != self.data:
            raise Refused(f"the data of {event} is not its canonical encoding")
        return values


def decode_rlp(what: str, data: bytes):
    try:
        return rlp.decode(data, strict=True)
    except (rlp.exceptions.DecodingError, RecursionError, IndexError, TypeError, ValueError) as error:
        raise Refused(f"{what} is not RLP: {error}") from error


def number(what: str, data) -> int:
    if not isinstance(data, bytes) or data[:1] == b"\0" or len(data) > 32:
        raise Refused(f"{what} is no RLP integer")
    return int.from_bytes(data)


def read_header(data: bytes) -> Header:
    fields = decode_rlp("block_header", data)
    if not isinstance(fields, list) or len(fields) < 15 or not all(isinstance(field, bytes) for field in fields):
        raise Refused("block_header is no header")
    if any(len(fields[index]) != 32 for index in (0, 1, 3, 4, 5)):
        raise Refused("block_header is no header")
    return Header(fields[4], fields[5], number("block number", fields[8]), number("block time", fields[11]))


class ReadLog(dict):
    """Nodes by their hash, and in which order they were asked for."""

    def __init__(self, nodes: list[bytes]):
        super().__init__((keccak(node), node) for node in nodes)
        self.read: list[bytes] = []

    def __getitem__(self, key: bytes) -> bytes:
        self.read.append(key)
        return super().__getitem__(key)


def prove(what: str, root: bytes, index: int, nodes: list[bytes]) -> bytes:
    """The value at `index` under `root`: present, its nodes from root to leaf, none unused."""
    known = ReadLog(nodes)
    try:
        value = HexaryTrie(known, root).get(rlp.encode(index))
    except Exception as error:  # trie names no set of its own for what is no node: whatever it throws, nothing is proven
        raise Refused(f"the {what} proof does not lead from the header's root: {type(error).__name__}") from error
    if not value:
        raise Refused(f"the {what} proof shows that there is none at {index}")
    if known.read != [keccak(node) for node in nodes]:
        raise Refused(f"the {what} proof's nodes do not run from root to leaf, none unused")
    # A shorter one stands inside its parent and is no node of a proof; no list of transactions is that short.
    if any(len(node) < 32 for node in nodes):
        raise Refused(f"the {what} proof holds a node that is shorter than a hash")
    if len(decode_rlp("the last node", nodes[-1])) != 2:
        raise Refused(f"the {what} is no leaf's value")
    return value


def read_logs(receipt: bytes, transaction: bytes) -> list[Log]:
    """The logs of a receipt that succeeded and is of its transaction's type."""
    if kind_of("receipt", receipt) != kind_of("transaction", transaction):
        raise Refused("the receipt is of another type than the transaction")
    fields = decode_rlp("receipt", receipt if kind_of("receipt", receipt) == 0 else receipt[1:])
    if not isinstance(fields, list) or len(fields) != 4 or not isinstance(fields[3], list):
        raise Refused("the receipt is none")
    if fields[0] != b"\x01":
        raise Refused("the transaction did not succeed")
    return [_log(entry) for entry in fields[3]]


def _log(entry) -> Log:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[1], list):
        raise Refused("the receipt holds something that is no log")
    address, topics, data = entry
    if len(address) != 20 or not isinstance(data, bytes) or any(len(found) != 32 for found in topics):
        raise Refused("the receipt holds something that is no log")
    return Log(to_checksum_address(address), topics, data)


def kind_of(what: str, data: bytes) -> int:
    """EIP-2718: a first byte below 0x80 is the type, a list is a legacy one."""
    if data and 0 < data[0] < 0x80:
        return data[0]
    if data and data[0] >= 0xC0:
        return 0
    raise Refused(f"the {what} has no type")


@dataclass(frozen=True)
class Transaction:
    sender: str
    chain_id: int
    to: bytes
    calldata: bytes


def read_transaction(raw: bytes) -> Transaction:
    """A signed transaction and who signed it."""
    kind = kind_of("transaction", raw)
    fields = decode_rlp("transaction", raw if kind == 0 else raw[1:])
    if not isinstance(fields, list):
        raise Refused("the transaction is none")
    if kind == 0:
        if len(fields) != 9:
            raise Refused("the transaction is none")
        v = number("v", fields[6])
        if v < 35:
            raise Refused("the transaction is for no chain in particular")
        chain_id, to, calldata = (v - 35) // 2, fields[3], fields[5]
    else:
        if kind not in TYPED_TRANSACTIONS:
            raise Refused(f"no transaction of type {kind} is known")
        count, chain, to_index, data_index = TYPED_TRANSACTIONS[kind]
        if len(fields) != count:
            raise Refused("the transaction is none")
        chain_id = number("chain id", fields[chain])
        to, calldata = fields[to_index], fields[data_index]
        if number("y parity", fields[-3]) > 1:
            raise Refused("y parity is 0 or 1")
    if not 0 < number("s", fields[-1]) <= CURVE_ORDER // 2:
        raise Refused("s is not low")
    if not isinstance(to, bytes) or not isinstance(calldata, bytes):
        raise Refused("the transaction is none")
    try:
        sender = Account.recover_transaction(raw)
    except Exception as error:  # eth-account names no set of its own: whatever it throws, nobody signed this
        raise Refused(f"nobody signed the transaction: {type(error).__name__}") from error
    return Transaction(sender, chain_id, to, calldata)
