"""Short ASCII names for facts, whatever the venue's own ids hold."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

MAX_ID_BYTES = 255
"""Longest event id: an AMQP short string."""

_KEPT_CHARS = 80


def digest(raw: bytes | msgspec.Raw) -> str:
    """Return 16 hex digits that stand for these bytes."""
    return blake2b(raw, digest_size=8).hexdigest()


def bounded_id(text: str) -> str:
    """Return the text as an event id: itself, or its begin and digest if it is long or foreign."""
    if len(text) <= MAX_ID_BYTES and text.isascii():
        return text
    begin = text[:_KEPT_CHARS].encode("ascii", "replace").decode()
    return f"{begin}:{digest(text.encode('utf-8', 'surrogatepass'))}"
