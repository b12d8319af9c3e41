"""Up to where the facts of a private topic are known to be delivered."""

from __future__ import annotations

import msgspec

DIGEST_BYTES = 8
"""Length of what stands for a fact in `Mark.seen`."""


class Mark(msgspec.Struct, frozen=True):
    """How far one topic was delivered, in one product line.

    Attributes:
        category: product line; empty where the topic has none.
        through: exchange time, ms: what happened before was delivered.
        seen: digests of what lies within the overlap and was delivered.
        living: orders that lived then, or positions that were not flat
            (`category:symbol:index:seq`).
    """

    topic: str
    category: str
    through: int
    seen: frozenset[bytes] = frozenset()
    living: frozenset[str] = frozenset()
