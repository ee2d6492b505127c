"""Writes the seeds of the fuzz target `proof` (fuzz/corpus/proof) with the `trie` package."""

import sys
from pathlib import Path

import rlp
from eth_utils import keccak
from trie import HexaryTrie

NEXT = b"\xee" * 32


def seed(index: int, nodes: list[bytes]) -> bytes:
    """Each node's hash of the next one replaced by the mark for it, as the target reads them."""
    marked = []
    for node, after in zip(nodes, nodes[1:] + [b""]):
        marked.append(node.replace(keccak(after), NEXT) if after else node)
    return index.to_bytes(4, "little") + b"".join(len(node).to_bytes(2, "little") + node for node in marked)


def of_list(count: int, index: int, size: int) -> bytes:
    trie = HexaryTrie({})
    for item in range(count):
        trie[rlp.encode(item)] = bytes([item % 251 + 1]) * (size + item % 7)
    return seed(index, [rlp.encode(node) for node in trie.get_proof(rlp.encode(index))])


def main():
    target = Path(sys.argv[1])
    # A leaf alone, a branch, two branches, an extension above them (128 and more), an index that is absent.
    for count, index, size in [(1, 0, 40), (2, 0, 40), (2, 1, 40), (17, 16, 60), (130, 127, 40), (130, 128, 40), (300, 299, 33)]:
        (target / f"list_{count}_{index}").write_bytes(of_list(count, index, size))
    (target / "absent").write_bytes(of_list(17, 16, 60)[4:].join([(99).to_bytes(4, "little"), b""]))
    leaf_at = lambda key, value: rlp.encode([key, value])
    # Extensions whose keys are longer together than any key.
    extension = rlp.encode([b"\x00" + b"\x77" * 32, NEXT])
    (target / "long_path").write_bytes(seed(1, [extension] * 5 + [leaf_at(b" ", b"\x01" * 40)]))
    # A value in a branch, an empty value, and a node that embeds the next.
    branch = [b""] * 16 + [b"\x01" * 40]
    (target / "branch_value").write_bytes(seed(0, [rlp.encode(branch)]))
    (target / "empty_value").write_bytes(seed(0, [leaf_at(b"\x20\x80", b"")]))
    embedded = [b""] * 16 + [b""]
    embedded[8] = [b"\x30", b"\x05" * 8]
    (target / "embedded").write_bytes(seed(0, [rlp.encode(embedded)]))


if __name__ == "__main__":
    main()
