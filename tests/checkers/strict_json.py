"""JSON as section 1 of docs/PROTOCOL.md takes it: what it refuses, each rule by its name; and its canonical bytes."""

import json
import math
import re
from typing import Any

import rfc8785

INTEGER_MAX = 2**53 - 1
# No number that is worth reading is longer; Python's own limit for integers is 4,300 digits.
NUMBER_CHARS_MAX = 400
# Strings, so that they are passed over (one that does not end goes to the end), and brackets.
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")


class Refused(Exception):
    """A rule of the page is broken; the text names it."""


def parse(data: bytes, size_max: int, depth_max: int = 32) -> Any:
    """Parses bytes into a tree, and refuses whatever two readers could take differently."""
    if len(data) > size_max:
        raise Refused(f"too large: {len(data)} bytes, at most {size_max}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error
    _limit_depth(text, depth_max)
    try:
        tree = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise Refused(f"not JSON: {error}") from error
    _limit_strings(tree)
    return tree


def canonical(tree: Any) -> bytes:
    """RFC 8785."""
    try:
        return rfc8785.dumps(tree)
    except rfc8785.CanonicalizationError as error:
        raise Refused(f"no canonical form: {error}") from error


def nesting(tree: Any) -> int:
    """How deep arrays and objects nest; bounded by the parser's limit."""
    if isinstance(tree, dict):
        return 1 + max(map(nesting, tree.values()), default=0)
    if isinstance(tree, list):
        return 1 + max(map(nesting, tree), default=0)
    return 0


def _limit_depth(text: str, depth_max: int) -> None:
    """Before the parser sees it, since that recurses. Only brackets outside of strings nest."""
    depth = 0
    for token in TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > depth_max:
                raise Refused(f"nesting over {depth_max}")
        elif token[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate name after unescaping")
    return found


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_CHARS_MAX or abs(int(literal)) > INTEGER_MAX:
        raise Refused("integer beyond 2^53-1")
    return int(literal)


def _number(literal: str) -> float:
    if len(literal) > NUMBER_CHARS_MAX:
        raise Refused("number too long")
    value = float(literal)
    if math.isinf(value):
        raise Refused("number overflows")
    return value


def _constant(literal: str) -> float:
    raise Refused(f"not JSON: {literal}")


def _limit_strings(tree: Any) -> None:
    """The nesting is bounded by now, so recursion is."""
    if isinstance(tree, str):
        if "\0" in tree:
            raise Refused("U+0000")
        if SURROGATE.search(tree):
            raise Refused("lone surrogate")
    elif isinstance(tree, list):
        for value in tree:
            _limit_strings(value)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            _limit_strings(name)
            _limit_strings(value)
