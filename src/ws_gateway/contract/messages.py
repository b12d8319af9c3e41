"""The messages of each event class: one envelope per kind, with the payload that goes with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ws_gateway.contract.payloads import (
    AdlAlert,
    Balance,
    Book,
    Candle,
    Execution,
    Gap,
    Greeks,
    InsurancePool,
    Liquidation,
    Order,
    Position,
    PriceLimit,
    Resumed,
    StatusNotice,
    Strategy,
    Ticker,
    Trade,
    Unknown,
)
from ws_gateway.domain.event import Kind, Source
from ws_gateway.domain.topic import LANE_OF, Category, EventClass, Lane

SCHEMA_VERSION = 1

Conflated = Annotated[
    int,
    Meta(ge=1, description="How many older values this one replaced; their numbers are skipped."),
]


class Envelope(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every message has, whatever its class and kind."""

    schema: Annotated[Literal[1], Meta(description="Version of this envelope.")]
    event_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            description="Deterministic identity: the same fact read twice has the same id.",
        ),
    ]
    event_type: Annotated[str, Meta(description="Event class.")]
    source: Annotated[
        Source,
        Meta(
            description="How it came: by the stream, by REST (`rest`: private facts; `backfill`:"
            " trades and candles of a gap), or from a recording."
        ),
    ]
    category: Annotated[str | None, Meta(description="Product line, null where there is none.")]
    symbol: Annotated[str | None, Meta(description="Instrument, null where there is none.")]
    topic: Annotated[str, Meta(min_length=1, description="Bybit's own name of the stream.")]
    account: Annotated[str | None, Meta(description="On private topics; null on public ones.")]
    epoch: Annotated[
        str, Meta(min_length=1, description="One run of numbering of this gateway (a ULID).")
    ]
    sequence: Annotated[
        int, Meta(ge=1, description="Rises by exactly 1 per stream and epoch, markers included.")
    ]
    timestamp: Annotated[int, Meta(ge=0, description="Bybit's time, ms.")]
    matched_at: Annotated[
        int | None, Meta(description="Time of the matching engine, ms, where Bybit gives it.")
    ]
    received_at: Annotated[int, Meta(ge=0, description="The gateway's clock at the socket, µs.")]
    trace_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="One per received frame.")]
    payload: Any


class Quarantined(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A frame that could not be read: no event, but its bytes and why."""

    schema: Literal[1]
    reason: Annotated[str, Meta(description="malformed, unknown_topic, missing_field, …")]
    origin: Annotated[str, Meta(description="The connection's endpoint.")]
    detail: str
    received_at: Annotated[int, Meta(ge=0, description="The gateway's clock, µs.")]
    trace_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    size: Annotated[int, Meta(ge=0, description="Bytes of the frame.")]
    truncated: Annotated[bool, Meta(description="Only the first part of the bytes was kept.")]
    raw_base64: str


class AnyEvent(Envelope, kw_only=True, forbid_unknown_fields=True):
    """An event of any class and kind, whatever its payload."""

    kind: Kind
    conflated: Conflated | UnsetType = UNSET


_BOTH = (Kind.SNAPSHOT, Kind.DELTA)
_STATED = (Kind.SNAPSHOT, Kind.DELTA, Kind.UPDATE)
_UPDATE = (Kind.UPDATE,)

FACTS: dict[EventClass, tuple[tuple[Kind, ...], Any]] = {
    EventClass.TRADE: (_UPDATE, Annotated[list[Trade], Meta(min_length=1)]),
    EventClass.TICKER: (_STATED, Ticker),
    EventClass.ORDERBOOK: (_BOTH, Book),
    EventClass.KLINE: (_UPDATE, Annotated[list[Candle], Meta(min_length=1)]),
    EventClass.LIQUIDATION: (_UPDATE, list[Liquidation]),
    EventClass.INSURANCE: (_STATED, list[InsurancePool]),
    EventClass.ADL_ALERT: (_UPDATE, list[AdlAlert]),
    EventClass.PRICE_LIMIT: (_UPDATE, PriceLimit),
    EventClass.SYSTEM_STATUS: (_UPDATE, Annotated[list[StatusNotice], Meta(min_length=1)]),
    EventClass.ORDER: (_UPDATE, Order),
    EventClass.EXECUTION: (_UPDATE, Execution),
    EventClass.POSITION: (_UPDATE, Position),
    EventClass.BALANCE: (_UPDATE, Balance),
    EventClass.GREEKS: (_UPDATE, Greeks),
    EventClass.DCP: (_UPDATE, Unknown),
    EventClass.STRATEGY: (_UPDATE, Strategy),
}
"""The kinds of facts of a class, and the payload of each; markers come in every class."""

_MARKERS: dict[Kind, Any] = {Kind.GAP: Gap, Kind.RESUMED: Resumed}


def messages_of(event_class: EventClass) -> list[type[msgspec.Struct]]:
    """Return a model per kind of message of a class, told apart by `kind`."""
    kinds, payload = FACTS[event_class]
    facts = [_message(event_class, kind, payload) for kind in kinds]
    return facts + [_message(event_class, kind, made) for kind, made in _MARKERS.items()]


def _message(event_class: EventClass, kind: Kind, payload: Any) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("event_type", Annotated[Literal[event_class.value], Meta(description="Event class.")]),
        *_place(event_class),
        ("payload", payload),
    ]
    if LANE_OF[event_class] is Lane.LATEST and kind not in _MARKERS:
        fields.append(("conflated", Conflated | UnsetType, UNSET))
    return msgspec.defstruct(
        f"{_pascal(event_class)}{_pascal(kind)}",
        fields,
        bases=(Envelope,),
        tag_field="kind",
        tag=kind.value,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": f"`{event_class.value}`, kind `{kind.value}`."},
    )


def _place(event_class: EventClass) -> list[tuple[str, Any]]:
    """Return what narrows the envelope's place: category, symbol and account."""
    if LANE_OF[event_class] is Lane.PRIVATE:
        return [("account", Annotated[str, Meta(min_length=1, description="The account's name.")])]
    place: list[tuple[str, Any]] = [("account", None)]
    if event_class is EventClass.SYSTEM_STATUS:
        return [*place, ("category", None), ("symbol", None)]
    return [*place, ("category", Category), ("symbol", Annotated[str, Meta(min_length=1)])]


def _pascal(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))
