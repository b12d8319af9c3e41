"""Changes to frames: some to the bytes, some to the JSON, so that both layers are reached."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_NUMBERS = (
    b"0", b"-0", b"-1", b"1", b"1.5", b"1e3", b"1E-9", b"1e999", b"-1e999", b"00", b"+1", b"0x1",
    b"2147483648", b"9007199254740993", b"9223372036854775807", b"9223372036854775808",
    b"18446744073709551616", b"9" * 400, b"NaN", b"Infinity", b"null", b"true", b'""', b"[]",
)  # fmt: skip
_TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udc00", b"\x00",
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", b"\xef\xbb\xbf", b" ", b"\n",
    b'"topic":', b'"data":', b'"op":"auth",', b'"op":"subscribe",', b'"type":"COMMAND_RESP",',
    b"[" * 300, b'{"a":' * 300,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.5,
    1e308, "", "-", ".", "%", "%2E", "a.b", "0", "-1", "null", "\0", "\ud800", "\U0001f4a9", "é",
    "x" * 49, "x" * 300, "." * 100, [], {}, [[]], [{}], [None], {"": ""}, "snapshot", "delta",
)  # fmt: skip

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Return the frame with a few changes; `others` lend it pieces."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        raw = rng.choice(_MUTATIONS)(rng, raw, others)
    return raw


def _flip(rng: random.Random, raw: bytes, _others: Sequence[bytes]) -> bytes:
    if not raw:
        return raw
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


def _insert(rng: random.Random, raw: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(raw))
    return raw[:at] + rng.choice((*_TOKENS, rng.randbytes(rng.randint(1, 8)))) + raw[at:]


def _cut(rng: random.Random, raw: bytes, _others: Sequence[bytes]) -> bytes:
    begin, end = sorted((rng.randint(0, len(raw)), rng.randint(0, len(raw))))
    return raw[:begin] if rng.random() < 0.3 else raw[:begin] + raw[end:]


def _splice(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    begin, end = sorted((rng.randint(0, len(other)), rng.randint(0, len(other))))
    at = rng.randint(0, len(raw))
    return raw[:at] + other[begin:end] + raw[at:]


def _renumber(rng: random.Random, raw: bytes, _others: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(raw))
    if not found:
        return raw
    number = rng.choice(found)
    return raw[: number.start()] + rng.choice(_NUMBERS) + raw[number.end() :]


def _revalue(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Change one value, name, or element of the document, which stays a document."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return _flip(rng, raw, others)
    spots = list(_spots(document))
    if not spots:
        return json.dumps(rng.choice(_VALUES)).encode()
    parent, key = rng.choice(spots)
    what = rng.randrange(5)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[str(rng.choice(_VALUES))] = parent.pop(key)
    elif what == 2:
        donor, from_key = rng.choice(spots)
        parent[key] = json.loads(json.dumps(donor.get(from_key) if isinstance(donor, dict) else 0))
    elif what == 3 and isinstance(parent, list):
        parent.extend(parent[key : key + 1] * rng.choice((1, 2, 50)))
    else:
        parent[key] = rng.choice(_VALUES)
    try:
        return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return raw


def _spots(document: Any) -> list[tuple[Any, Any]]:
    """List every place of a document as its parent and key."""
    spots: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        keys = (
            node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        )
        for key in keys:
            spots.append((node, key))
            waiting.append(node[key])
    return spots


_MUTATIONS: tuple[Mutation, ...] = (
    _flip, _insert, _cut, _splice, _renumber, _renumber, _revalue, _revalue, _revalue, _revalue,
)  # fmt: skip
