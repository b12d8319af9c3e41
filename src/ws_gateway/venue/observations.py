"""From a wire frame to facts with an identity; payloads stay the venue's own bytes.

An identity is made only of what the venue says about the fact, never of when or over which socket
it was read, so that the same fact read twice has the same id.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

import msgspec

from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.messages import Count, WireFrame

_MAX_ID_BYTES = 255  # an AMQP short string


# Both become words of a routing key, which has 255 bytes in all.
_Symbol = Annotated[str, msgspec.Meta(max_length=48)]
_Category = Annotated[str, msgspec.Meta(max_length=10)]


class _Book(msgspec.Struct, gc=False):
    u: Count
    seq: Count = 0


class _Trade(msgspec.Struct, gc=False):
    i: str


class _Candle(msgspec.Struct, gc=False):
    start: Count
    confirm: bool
    timestamp: Count = 0


class _Order(msgspec.Struct, gc=False, rename="camel"):
    order_id: str
    updated_time: str
    symbol: _Symbol
    category: _Category = ""
    order_status: str = ""
    cum_exec_qty: str = ""
    leaves_qty: str = ""
    price: str = ""
    qty: str = ""
    trigger_price: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    cancel_type: str = ""
    reject_reason: str = ""


class _Execution(msgspec.Struct, gc=False, rename="camel"):
    exec_id: str
    symbol: _Symbol
    category: _Category = ""


class _Position(msgspec.Struct, gc=False, rename="camel"):
    symbol: _Symbol
    position_idx: Count
    category: _Category = ""
    seq: Count | str = 0


class _Greeks(msgspec.Struct, gc=False, rename="camel"):
    base_coin: _Symbol


_decode_book = msgspec.json.Decoder(_Book).decode
_decode_trades = msgspec.json.Decoder(list[_Trade]).decode
_decode_candles = msgspec.json.Decoder(list[_Candle]).decode
_decode_records = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_order = msgspec.json.Decoder(_Order).decode
_decode_execution = msgspec.json.Decoder(_Execution).decode
_decode_position = msgspec.json.Decoder(_Position).decode
_decode_greeks = msgspec.json.Decoder(_Greeks).decode

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
        if topic.is_private:
            return _private(topic, frame, received_at, trace_id)
        return [_PUBLIC[topic.channel](topic, frame, received_at, trace_id)]
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
    identity = f"{_timestamp(frame)}:{_digest(frame.data)}"
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
        _bounded(f"{topic.key}:{identity}"),
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
}


# ── private: one record is one fact ───────────────────────────────────────────────────────────


def _private(topic: Topic, frame: WireFrame, received_at: int, trace_id: str) -> list[Observation]:
    created = frame.creation_time
    if created is None:
        raise Quarantine("missing_field", f"{topic.name}: creationTime")
    identify = _PRIVATE[topic.channel]
    facts = []
    for raw in _decode_records(frame.data):
        identity, category, symbol = identify(raw, created)
        facts.append(
            Observation(
                topic,
                Kind.UPDATE,
                _bounded(f"{topic.key}:{identity}"),
                category,
                symbol,
                created,
                None,
                received_at,
                trace_id,
                None,
                bytes(raw),
            )
        )
    return facts


_Identity = tuple[str, str | None, str | None]


def _order(raw: msgspec.Raw, _created: int) -> _Identity:
    order = _decode_order(raw)
    # Two changes of one order can share a millisecond, so the changed fields take part.
    changed = _digest("|".join(msgspec.structs.astuple(order)).encode())
    return (
        f"{order.category}:{order.order_id}:{order.updated_time}:{changed}",
        order.category or None,
        order.symbol,
    )


def _execution(raw: msgspec.Raw, _created: int) -> _Identity:
    execution = _decode_execution(raw)
    return (
        f"{execution.category}:{execution.symbol}:{execution.exec_id}",
        execution.category or None,
        execution.symbol,
    )


def _position(raw: msgspec.Raw, _created: int) -> _Identity:
    position = _decode_position(raw)
    row = f"{position.category}:{position.symbol}:{position.position_idx}:{position.seq}"
    return f"{row}:{_digest(raw)}", position.category or None, position.symbol


def _balance(raw: msgspec.Raw, created: int) -> _Identity:
    return f"{created}:{_digest(raw)}", None, None


def _greeks(raw: msgspec.Raw, created: int) -> _Identity:
    coin = _decode_greeks(raw).base_coin
    return f"{created}:{coin}:{_digest(raw)}", "option", coin


_PRIVATE: dict[Channel, Callable[[msgspec.Raw, int], _Identity]] = {
    Channel.ORDER: _order,
    Channel.EXECUTION: _execution,
    Channel.POSITION: _position,
    Channel.BALANCE: _balance,
    Channel.GREEKS: _greeks,
    Channel.DCP: _balance,
}


def _timestamp(frame: WireFrame) -> int:
    if frame.ts is None:
        raise Quarantine("missing_field", f"{frame.topic}: ts")
    return frame.ts


def _digest(raw: bytes | msgspec.Raw) -> str:
    return blake2b(raw, digest_size=8).hexdigest()


def _bounded(event_id: str) -> str:
    if len(event_id) <= _MAX_ID_BYTES and event_id.isascii():
        return event_id
    return f"{event_id[:80].encode('ascii', 'replace').decode()}:{_digest(event_id.encode())}"
