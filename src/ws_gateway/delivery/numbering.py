"""Which numbers of its stream a message accounts for: its own is the last of them."""

from __future__ import annotations

import msgspec

from ws_gateway.delivery.envelope import body_of
from ws_gateway.delivery.message import Message
from ws_gateway.domain.event import Kind


class _Told(msgspec.Struct):
    """What is read of an envelope."""

    kind: str
    payload: msgspec.Raw


class _Hole(msgspec.Struct):
    """What is read of the payload of a gap marker."""

    from_sequence: int | None = None


_read_told = msgspec.json.Decoder(_Told).decode
_read_hole = msgspec.json.Decoder(_Hole).decode


def first_number(message: Message) -> int:
    """Return the first number of a message: a value has those it replaced before its own.

    Whoever loses a marker loses what it named, too.
    """
    if message.is_observed:
        return message.sequence - message.conflated
    told = _read_told(body_of(message.data))
    return first_of(told.kind, told.payload, message.sequence)


def first_of(kind: str, payload: msgspec.Raw, sequence: int) -> int:
    """Return the first number an envelope accounts for: a gap marker those of its hole, too."""
    if kind != Kind.GAP:
        return sequence
    first = _read_hole(payload).from_sequence
    return sequence if first is None else min(first, sequence)
