"""What a consumer gets: an event as a typed value, and news of what is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from ws_gateway.errors import Rejected

SCHEMA_VERSION = 1

UNEXPLAINED = "unexplained"
"""Reason of a gap that no marker explains: a queue that dropped its oldest, or a defect."""


EXPIRED = "expired"
"""Reason of a gap where the consumer's own queue, or the stream, went with what it held."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The message's body as `docs/contract` describes it; fields that come later are let through.

    Attributes:
        timestamp, matched_at: ms.
        received_at: µs.
        payload: Bybit's own data, or what a marker says; amounts are strings.
    """

    schema: int
    event_id: str
    event_type: str
    kind: str
    source: str
    category: str | None
    symbol: str | None
    topic: str
    account: str | None
    epoch: str
    sequence: int
    timestamp: int
    matched_at: int | None
    received_at: int
    trace_id: str
    payload: Any
    conflated: int = 0

    @property
    def is_marker(self) -> bool:
        """Say whether the gateway made it, to announce a hole or the end of one."""
        return self.kind in ("gap", "resumed")

    @property
    def is_complete(self) -> bool:
        """Say whether it ends a gap and nothing is missing any more; else read anew yourself."""
        return self.kind == "resumed" and self.payload.get("complete") is True


class _Version(msgspec.Struct, gc=False):
    """What every version of the envelope has."""

    schema: int


class _Hole(msgspec.Struct, gc=False):
    """What a `gap` marker says; both numbers, or neither."""

    reason: str
    from_sequence: int | None
    to_sequence: int | None
    detail: str

    def __post_init__(self) -> None:
        if (self.from_sequence is None) != (self.to_sequence is None):
            raise ValueError("a hole has two ends")


_decode = msgspec.json.Decoder(Envelope).decode
_decode_version = msgspec.json.Decoder(_Version).decode


def read_envelope(body: bytes) -> Envelope:
    """Read a message.

    Raises:
        msgspec.DecodeError: it is no event, or a marker that does not say what is missing.
        Rejected: it is of another version of the envelope.
    """
    try:
        envelope = _decode(body)
        if envelope.schema == SCHEMA_VERSION and envelope.kind == "gap":
            msgspec.convert(envelope.payload, _Hole)
    except (RecursionError, UnicodeDecodeError) as exc:
        raise msgspec.DecodeError(f"it is nested too deeply, or no UTF-8: {exc}") from exc
    except msgspec.DecodeError:
        # Of another version anything may be different, except where its number stands.
        _insist_on_version(_decode_version(body).schema)
        raise
    _insist_on_version(envelope.schema)
    return envelope


def _insist_on_version(found: int) -> None:
    if found != SCHEMA_VERSION:
        raise Rejected(
            f"the gateway writes version {found} of the envelope, and this consumer "
            f"reads {SCHEMA_VERSION}; update ws_gateway",
            code="schema_not_supported",
            found=found,
        )


def fields_of(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope's fields by name."""
    return {name: getattr(envelope, name) for name in Envelope.__struct_fields__}


class Settlement(Protocol):
    """What becomes of an event at the broker."""

    async def ack(self) -> None:
        """Tell the broker that it is done with."""

    async def reject(self, *, requeue: bool) -> None:
        """Give it back."""


class Event(Envelope, frozen=True, kw_only=True):
    """An event, and how to settle it with the broker.

    Attributes:
        settlement: behind `ack` and `reject`.
        body: the message as it came.
        redelivered: the broker gave it to somebody before, who did not acknowledge it.
        resent: the gateway sends it once more, because it does not know that it arrived.
        offset: its place in a stream queue, None in others.
    """

    body: bytes
    redelivered: bool
    resent: bool
    offset: int | None
    settlement: Settlement

    async def ack(self) -> None:
        """Tell the broker that it is done with; more than once does nothing, and it never fails.

        If the connection is gone, the event comes again and is dropped as a repeat.
        """
        await self.settlement.ack()

    async def reject(self, *, requeue: bool = False) -> None:
        """Give it back, to be thrown away, or to come again (`requeue`)."""
        await self.settlement.reject(requeue=requeue)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of a stream is missing.

    Attributes:
        topic, category, account: the stream; `account` is None on public ones. If the own queue
            expired, the event class and the filter's category, for it is about all streams.
        reason: as the marker says (`disconnect`, `sequence`, `restart`, `resubscribe`, `shed`,
            `spool_overflow`), `unexplained`, or `expired`.
        from_sequence, to_sequence: the hole in the gateway's numbers, both ends included; None
            where Bybit's side was missed, or the own queue expired.
        detail: for people.
        envelope: the marker, or the event behind the hole; None if the own queue expired.
    """

    topic: str
    category: str | None
    account: str | None
    reason: str
    from_sequence: int | None
    to_sequence: int | None
    detail: str
    envelope: Envelope | None


OnGap = Callable[[Gap], Awaitable[object] | object]
