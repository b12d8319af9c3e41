"""What the gateway saw, and what it tells consumers about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ws_gateway.domain.topic import Topic


class Kind(StrEnum):
    """How an event relates to what came before it in its stream."""

    SNAPSHOT = "snapshot"
    DELTA = "delta"
    UPDATE = "update"
    GAP = "gap"
    RESUMED = "resumed"


# An enum's member costs a lookup each time it is named; the hot path names these once per event.
_GAP, _RESUMED = Kind.GAP, Kind.RESUMED


class Source(StrEnum):
    """Where a fact was read."""

    STREAM = "stream"
    REST = "rest"
    BACKFILL = "backfill"
    REPLAY = "replay"


class GapReason(StrEnum):
    """Why a stream has a hole or starts anew."""

    DISCONNECT = "disconnect"
    SEQUENCE = "sequence"
    RESTART = "restart"
    RESUBSCRIBE = "resubscribe"
    SHED = "shed"
    SPOOL_OVERFLOW = "spool_overflow"


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One fact as the venue told it: not yet accepted, so without sequence.

    Attributes:
        topic: stream it belongs to.
        kind: snapshot, delta or update.
        event_id: deterministic identity, ASCII, at most 255 bytes (an AMQP short string).
        category: product line, or None where a private record names none.
        symbol: instrument, or None where the fact has none (balances).
        timestamp: exchange time, ms.
        matched_at: matching-engine time, ms, where the venue gives it.
        received_at: our clock at the socket, µs.
        trace_id: 32 hex digits, one per received frame.
        update_id: `u` of a book frame; None on other channels.
        payload: JSON bytes, the venue's own.
        source: where the fact was read.
    """

    topic: Topic
    kind: Kind
    event_id: str
    category: str | None
    symbol: str | None
    timestamp: int
    matched_at: int | None
    received_at: int
    trace_id: str
    update_id: int | None
    payload: bytes
    source: Source = Source.STREAM


class Event(msgspec.Struct, frozen=True, gc=False):
    """One accepted event, in its place in its stream.

    Attributes:
        observation: the fact (for a marker: a fact of our own, kind gap or resumed).
        epoch: names one run of numbering of this gateway.
        sequence: rises by exactly 1 per (stream, epoch), markers included.
        conflated: how many older values, of the numbers just before its own, it stands for.
    """

    observation: Observation
    epoch: str
    sequence: int
    conflated: int = 0

    @property
    def is_marker(self) -> bool:
        """Say whether the gateway made it, to announce a hole or the end of one."""
        kind = self.observation.kind
        return kind is _GAP or kind is _RESUMED


def marker_payload(
    kind: Kind,
    reason: str,
    hole: tuple[int, int] | None,
    detail: str,
    *,
    is_complete: bool = False,
) -> bytes:
    """Build the payload of a gap or resumed marker.

    A gap names the hole in our own numbering, or null where the venue's side was missed; a
    resumed marker says whether all that was missed has been told.
    """
    if kind is Kind.RESUMED:
        return msgspec.json.encode({"reason": reason, "complete": is_complete, "detail": detail})
    first, last = hole if hole is not None else (None, None)
    return msgspec.json.encode(
        {"reason": reason, "from_sequence": first, "to_sequence": last, "detail": detail}
    )
