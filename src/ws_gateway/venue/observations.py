"""From a wire frame to facts with an identity; payloads stay the venue's own bytes.

An identity is made only of what the venue says about the fact, never of when or over which socket
it was read, so that the same fact read twice has the same id.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ws_gateway.domain.event import Kind, Observation, Source
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.fingerprint import bounded_id, digest
from ws_gateway.venue.messages import Count, WireFrame
from ws_gateway.venue.private_facts import identify


class _Book(msgspec.Struct, gc=False):
    u: Count
    seq: Count = 0


class _Trade(msgspec.Struct, gc=False):
    i: str


class _Candle(msgspec.Struct, gc=False):
    start: Count
    confirm: bool
    timestamp: Count = 0


class _Notice(msgspec.Struct, gc=False):
    id: str
    state: str = ""


_decode_book = msgspec.json.Decoder(_Book).decode
_decode_trades = msgspec.json.Decoder(list[_Trade]).decode
_decode_candles = msgspec.json.Decoder(list[_Candle]).decode
_decode_records = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_notices = msgspec.json.Decoder(list[_Notice]).decode

_KINDS = {"snapshot": Kind.SNAPSHOT, "delta": Kind.DELTA}


def read_observations(
    topic: Topic, frame: WireFrame, received_at: int, trace_id: str
) -> list[Observation]:
    """Read every fact of a data frame: one of a public frame, one per record of a private one.

    Args:
        topic: the stream the frame belongs to.
        frame: as decoded by `messages.decode_frame`.
        received_at: our clock at the socket, µs.
        trace_id: 32 hex digits naming the frame.

    Raises:
        Quarantine: a field that identity or continuity needs is missing or of another type.
    """
    try:
        read = _PUBLIC.get(topic.channel)
        if read is None:
            return _private(topic, frame, received_at, trace_id)
        return [read(topic, frame, received_at, trace_id)]
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Quarantine("missing_field", f"{topic.name}: {exc}") from exc


# ── public: one frame is one fact ─────────────────────────────────────────────────────────────


def _book(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    data = _decode_book(frame.data)
    kind = _KINDS.get(frame.type or "")
    if kind is None:
        raise Quarantine("missing_field", f"{topic.name}: type {frame.type!r} of a book")
    return Observation(
        topic,
        kind,
        f"{topic.key}:{kind[0]}{data.u}:{data.seq}",
        topic.category,
        topic.symbol,
        _timestamp(frame),
        frame.cts,
        received_at,
        trace_id,
        data.u,
        bytes(frame.data),
    )


def _trades(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    trades = _decode_trades(frame.data)
    if not trades:
        raise Quarantine("missing_field", f"{topic.name}: a trade frame without trades")
    identity = trades[0].i
    if len(trades) > 1:
        identity = f"{identity}:{trades[-1].i}:{len(trades)}"
    return _fact(topic, frame, received_at, trace_id, (Kind.UPDATE, identity))


def _candles(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    candles = _decode_candles(frame.data)
    if not candles:
        raise Quarantine("missing_field", f"{topic.name}: a candle frame without candles")
    newest = candles[-1]
    # A closed candle is one fact however often it is told; an open one is as new as its last trade.
    age = "closed" if newest.confirm else f"{newest.timestamp}:{_timestamp(frame)}"
    return _fact(topic, frame, received_at, trace_id, (Kind.UPDATE, f"{newest.start}:{age}"))


def _stated(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    kind = _KINDS.get(frame.type or "", Kind.UPDATE)
    identity = f"{kind[0]}{_timestamp(frame)}:{frame.cs or 0}"
    return _fact(topic, frame, received_at, trace_id, (kind, identity))


def _listed(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    identity = f"{_timestamp(frame)}:{digest(frame.data)}"
    return _fact(topic, frame, received_at, trace_id, (Kind.UPDATE, identity))


def _notices(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> Observation:
    notices = _decode_notices(frame.data)
    if not notices:
        raise Quarantine("missing_field", f"{topic.name}: a status frame without a notice")
    # Without the time it was sent: a notice is one fact however often it is told unchanged.
    identity = f"{notices[0].id}:{notices[0].state}:{len(notices)}:{digest(frame.data)}"
    return _fact(topic, frame, received_at, trace_id, (Kind.UPDATE, identity))


def _fact(
    topic: Topic, frame: WireFrame, received_at: int, trace_id: str, what: tuple[Kind, str]
) -> Observation:
    kind, identity = what
    payload = bytes(frame.data)
    if payload in (b"", b"null"):
        raise Quarantine("missing_field", f"{topic.name}: a frame without data")
    return Observation(
        topic,
        kind,
        bounded_id(f"{topic.key}:{identity}"),
        topic.category,
        topic.symbol,
        _timestamp(frame),
        None,
        received_at,
        trace_id,
        None,
        payload,
    )


_PUBLIC: dict[Channel, Callable[[Topic, WireFrame, int, str], Observation]] = {
    Channel.ORDERBOOK: _book,
    Channel.ORDERBOOK_RPI: _book,
    Channel.TRADES: _trades,
    Channel.KLINE: _candles,
    Channel.TICKER: _stated,
    Channel.INSURANCE: _stated,
    Channel.LIQUIDATION: _listed,
    Channel.ADL_ALERT: _listed,
    Channel.PRICE_LIMIT: _listed,
    Channel.SYSTEM_STATUS: _notices,
}


# ── private: one record is one fact ───────────────────────────────────────────────────────────


def _private(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> list[Observation]:
    created = frame.creation_time
    if created is None:
        raise Quarantine("missing_field", f"{topic.name}: creationTime")
    return [
        private_fact(topic, raw, created, received_at, trace_id)
        for raw in _decode_records(frame.data)
    ]


def private_fact(
    topic: Topic,
    raw: msgspec.Raw,
    told_at: int,
    received_at: int,
    trace_id: str,
    *,
    category: str | None = None,
    source: Source = Source.STREAM,
) -> Observation:
    """Make a fact of one private record, of the stream or of REST, with the id it has over both.

    Args:
        topic: the stream it belongs to.
        raw: the record, as received.
        told_at: `creationTime` of the frame, or `time` of the answer of REST, ms.
        received_at: our clock at the socket, µs.
        trace_id: 32 hex digits naming frame or answer.
        category: of an answer of REST, whose rows name none.
        source: where it was read.

    Raises:
        msgspec.DecodeError: a field that identity needs is missing or of another type.
    """
    identity, of, symbol = identify(topic, raw, told_at, category)
    return Observation(
        topic,
        Kind.UPDATE,
        bounded_id(f"{topic.key}:{identity}"),
        of,
        symbol,
        told_at,
        None,
        received_at,
        trace_id,
        None,
        bytes(raw),
        source,
    )


def _timestamp(frame: WireFrame) -> int:
    if frame.ts is None:
        raise Quarantine("missing_field", f"{frame.topic}: ts")
    return frame.ts
