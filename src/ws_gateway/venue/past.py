"""What reading the past of a market has in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of REST.

    Attributes:
        result: as it came.
        received_at: our clock when it was there, µs.
        trace_id: 32 hex digits naming it.
    """

    result: msgspec.Raw
    received_at: int
    trace_id: str


def show_moment(at_ms: int) -> str:
    """Write a time for people, UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
