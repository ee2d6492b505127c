"""The seeds of the fuzz target `proof`: written with the `trie` package, and checked as that target reads them.

    python proof_seeds.py write DIRECTORY
    python proof_seeds.py check SEED...      one line each: the proven value in hexadecimal, or `refused`
"""

import sys
from pathlib import Path

import rlp
from eth_utils import keccak
from trie import HexaryTrie

import chain_proofs
from strict_json import Refused

# Stands in a node for the hash of the next one.
NEXT = b"\xee" * 32


def seed(index: int, nodes: list[bytes]) -> bytes:
    marked = [node.replace(keccak(after), NEXT) for node, after in zip(nodes, nodes[1:])] + nodes[-1:]
    return index.to_bytes(4, "little") + b"".join(len(node).to_bytes(2, "little") + node for node in marked)


def read(data: bytes) -> tuple[bytes, int, list[bytes]]:
    index, rest, nodes = int.from_bytes(data[:4], "little"), data[4:], []
    while len(rest) >= 2:
        length = int.from_bytes(rest[:2], "little")
        nodes.append(rest[2 : 2 + length])
        rest = rest[2 + length :]
    following = bytes(32)
    for position in reversed(range(len(nodes))):
        nodes[position] = nodes[position].replace(NEXT, following, 1)
        following = keccak(nodes[position])
    return following, index, nodes


def check(data: bytes) -> str:
    root, index, nodes = read(data)
    try:
        return chain_proofs.prove("seed", root, index, nodes).hex()
    except Refused:
        return "refused"


def of_list(count: int, index: int, size: int) -> list[bytes]:
    trie = HexaryTrie({})
    for item in range(count):
        trie[rlp.encode(item)] = bytes([item % 251 + 1]) * (size + item % 7)
    return [rlp.encode(node) for node in trie.get_proof(rlp.encode(index))]


def write(target: Path):
    # A leaf alone, a branch, two branches, two-byte keys, an index that is absent.
    for count, index, size in [(1, 0, 40), (2, 0, 40), (2, 1, 40), (17, 16, 60), (130, 127, 40), (130, 128, 40), (300, 299, 33)]:
        (target / f"list_{count}_{index}").write_bytes(seed(index, of_list(count, index, size)))
    (target / "absent").write_bytes(seed(99, of_list(17, 16, 60)))
    # Extensions whose keys are longer together than any key.
    extension = rlp.encode([b"\x00" + b"\x77" * 32, NEXT])
    (target / "long_path").write_bytes(seed(1, [extension] * 5 + [rlp.encode([b" ", b"\x01" * 40])]))
    # A value in a branch, an empty value, and a node that embeds the next.
    branch = [b""] * 16 + [b"\x01" * 40]
    (target / "branch_value").write_bytes(seed(0, [rlp.encode(branch)]))
    (target / "empty_value").write_bytes(seed(0, [rlp.encode([b"\x20\x80", b""])]))
    # A list of 32 bytes where a hash belongs: as long as one.
    leaf = rlp.encode([b"\x30", b"\x01" * 40])
    branch = b"\x80" * 8 + b"\xe0" + NEXT + b"\x80" * 8
    (target / "hash_in_a_list").write_bytes(seed(0, [bytes([0xC0 + len(branch)]) + branch, leaf]))
    (target / "short_root").write_bytes(seed(0, [rlp.encode([b"\x20\x80", b"\x26"])]))
    embedding = [b""] * 17
    embedding[8] = [b"\x30", b"\x05" * 8]
    (target / "embedded").write_bytes(seed(0, [rlp.encode(embedding)]))


def main():
    command, *paths = sys.argv[1:]
    if command == "write":
        write(Path(paths[0]))
    else:
        for path in paths:
            print(check(Path(path).read_bytes()))


if __name__ == "__main__":
    main()
