"""Which newer value of a stream stands for an older one that was not sent yet, and how.

Only for the `latest` lane, and only under pressure. A frame that tells everything replaces what
came before it. A ticker of futures tells only what changed, so the two are laid over each other
field by field: leaving one out would leave its fields stale at the consumer until they change
again. The venue's bytes of each field stay as they are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ws_gateway.domain.event import Event, Kind
from ws_gateway.domain.topic import Channel

_Fields = dict[str, msgspec.Raw]
_SNAPSHOT, _DELTA = Kind.SNAPSHOT, Kind.DELTA
_decode_fields = msgspec.json.Decoder(_Fields).decode


class _Alert(msgspec.Struct, gc=False):
    s: str


_decode_alerts = msgspec.json.Decoder(list[_Alert]).decode


def conflate(older: Event, newer: Event) -> Event | None:
    """Answer one event in the newer one's place that tells what both do, None if none can.

    Args:
        older: what waits; no later event of its stream waits.
        newer: its successor, not a marker.
    """
    fact = newer.observation
    kind, channel = fact.kind, fact.topic.channel
    if (newer.epoch, newer.sequence) != (older.epoch, older.sequence + 1):
        return None  # `conflated` could not say what is missing in between
    if kind is _SNAPSHOT or channel is Channel.PRICE_LIMIT:
        return _replacing(older, newer)
    if channel is Channel.ADL_ALERT:
        return _replacing(older, newer) if _tells_of_all(older, newer) else None
    if channel is Channel.TICKER and kind is _DELTA:
        return _laid_over(older, newer)
    return None  # insurance tells of some pools only, and each status notice is a fact of its own


def _replacing(older: Event, newer: Event, **changes: Any) -> Event:
    fact = newer.observation
    if changes:
        fact = msgspec.structs.replace(fact, **changes)
    return Event(fact, newer.epoch, newer.sequence, older.conflated + 1)


def _laid_over(older: Event, newer: Event) -> Event | None:
    """Lay a delta over a snapshot or a delta; the result is of the older one's kind."""
    base = older.observation
    if base.kind not in (_SNAPSHOT, _DELTA):
        return None
    try:
        fields = _decode_fields(base.payload) | _decode_fields(newer.observation.payload)
    except msgspec.DecodeError:
        return None  # not the objects tickers are: tell both as they came
    return _replacing(older, newer, kind=base.kind, payload=msgspec.json.encode(fields))


def _tells_of_all(older: Event, newer: Event) -> bool:
    """Say whether every symbol of the older list stands in the newer one too."""
    try:
        told, again = (
            {one.s for one in _decode_alerts(event.observation.payload)} for event in (older, newer)
        )
    except msgspec.DecodeError:
        return False
    return told <= again
