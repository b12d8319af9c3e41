"""Names for what happens once: an epoch per process, a trace per received frame."""

from __future__ import annotations

import secrets
from itertools import count

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, as in a ULID


def new_epoch(now_ms: int) -> str:
    """Return a ULID: 26 characters that sort by the time they were made."""
    value = (now_ms << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


class TraceIds:
    """Cheap unique trace ids of 32 hex digits (W3C Trace Context): random per process, counted."""

    def __init__(self) -> None:
        self._prefix = f"{secrets.randbits(64) | 1:016x}"
        self._count = count(1)

    def __call__(self) -> str:
        """Return the next id."""
        return f"{self._prefix}{next(self._count):016x}"
