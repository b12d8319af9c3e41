"""Names for what happens once: an epoch per process, a trace per received frame."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, as in a ULID
_EPOCH_LENGTH, _EPOCH_BITS = 26, 128


def new_epoch(now_ms: int) -> str:
    """Return a ULID: 26 characters that sort by the time they were made."""
    value = (now_ms << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def epoch_ms(epoch: str) -> int:
    """Read when an epoch was made, Unix time in ms.

    Raises:
        ValueError: it is no epoch.
    """
    if len(epoch) != _EPOCH_LENGTH:
        raise ValueError(f"{epoch[:_EPOCH_LENGTH]!r} is no epoch")
    value = 0
    for letter in epoch:
        value = value << 5 | _ALPHABET.index(letter)
    if value >> _EPOCH_BITS:
        raise ValueError(f"{epoch!r} is no epoch")
    return value >> 80


_BLOCK = 4096
_TAILS = [f"{number:03x}" for number in range(_BLOCK)]


class TraceIds:
    """Cheap unique trace ids of 32 hex digits (W3C Trace Context): random per process, counted.

    One is made per received frame, so the last digits come from a table.
    """

    def __init__(self) -> None:
        self._prefix = f"{secrets.randbits(64) | 1:016x}"
        self._block = 0
        self._next = 0
        self._head = f"{self._prefix}{0:013x}"

    def __call__(self) -> str:
        """Return the next id."""
        number = self._next
        if number == _BLOCK:
            self._block += 1
            self._head = f"{self._prefix}{self._block:013x}"
            number = 0
        self._next = number + 1
        return self._head + _TAILS[number]
