"""Facts read from frames: identities, times, and payloads as they came."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.scripted_venue import book, encode
from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations

TS = 1_790_134_712_383
TRACE = "0" * 32
LINEAR = Category.LINEAR
bounded = settings(deadline=None, max_examples=200)


def public(channel: Channel, symbol: str = "BTCUSDT") -> Topic:
    """Build a linear topic."""
    return build_topic(channel, category=LINEAR, symbol=symbol)


TRADE = {"T": TS, "s": "BTCUSDT", "S": "Buy", "v": "0.10", "p": "83766.30", "i": "t-1", "BT": False}
CANDLE = {"start": TS, "end": TS + 59_999, "close": "1.50", "confirm": False, "timestamp": TS + 5}
ORDER = {
    "category": "linear", "orderId": "o-1", "symbol": "BTCUSDT", "updatedTime": "1", "qty": "0.10",
    "orderStatus": "New", "cumExecQty": "0", "leavesQty": "0.10", "price": "1.50",
}  # fmt: skip
EXECUTION = {"category": "linear", "symbol": "BTCUSDT", "execId": "e-1", "execPrice": "1.50"}
POSITION = {"category": "linear", "symbol": "BTCUSDT", "positionIdx": 0, "seq": 5, "size": "0.10"}
BOOK_DATA = {"s": "BTCUSDT", "b": [["1.10", "0"]], "a": [], "u": 7, "seq": 9}

Case = tuple[Topic, dict[str, Any], list[dict[str, Any]]]
CASES: dict[str, Case] = {
    "orderbook": (
        book(),
        {"type": "delta", "ts": TS, "cts": TS - 3, "data": BOOK_DATA},
        [{"data": BOOK_DATA | {"u": 8}}, {"data": BOOK_DATA | {"seq": 10}}, {"type": "snapshot"}],
    ),
    "trades": (
        public(Channel.TRADES),
        {"type": "snapshot", "ts": TS, "data": [TRADE]},
        [
            {"data": [TRADE | {"i": "t-2"}]},
            {"data": [TRADE, TRADE | {"i": "t-2"}]},
            {"data": [TRADE, TRADE | {"i": "t-3"}, TRADE | {"i": "t-2"}]},
        ],
    ),
    "kline": (
        build_topic(Channel.KLINE, category=LINEAR, symbol="BTCUSDT", interval="1"),
        {"type": "snapshot", "ts": TS, "data": [CANDLE]},
        [
            {"data": [CANDLE | {"start": TS + 60_000}]},
            {"data": [CANDLE | {"timestamp": TS + 6}]},
            {"data": [CANDLE | {"confirm": True}]},
        ],
    ),
    "ticker": (
        public(Channel.TICKER),
        {"type": "delta", "ts": TS, "cs": 5, "data": {"symbol": "BTCUSDT", "lastPrice": "1.50"}},
        [{"type": "snapshot"}, {"cs": 6}, {"ts": TS + 1}],
    ),
    "insurance": (
        public(Channel.INSURANCE, "USDT"),
        {"type": "delta", "ts": TS, "data": [{"coin": "BTC", "balance": "1.50"}]},
        [{"type": "snapshot"}, {"ts": TS + 1}],
    ),
    "liquidation": (
        public(Channel.LIQUIDATION),
        {"type": "snapshot", "ts": TS, "data": [{"T": TS, "v": "0.10", "p": "1.50"}]},
        [{"data": [{"T": TS, "v": "0.20", "p": "1.50"}]}, {"ts": TS + 1}],
    ),
    "adl_alert": (
        public(Channel.ADL_ALERT, "USDT"),
        {"type": "snapshot", "ts": TS, "data": [{"c": "BTC", "b": 1.50}]},
        [{"data": [{"c": "BTC", "b": 1.51}]}],
    ),
    "price_limit": (
        public(Channel.PRICE_LIMIT),
        {"ts": TS, "data": {"symbol": "BTCUSDT", "buyLmt": "1.50"}},
        [{"data": {"symbol": "BTCUSDT", "buyLmt": "1.60"}}],
    ),
    "order": (
        build_topic(Channel.ORDER),
        {"id": "x", "creationTime": TS, "data": [ORDER]},
        [
            {"data": [ORDER | {"orderId": "o-2"}]},
            {"data": [ORDER | {"updatedTime": "2"}]},
            {"data": [ORDER | {"cumExecQty": "0.05"}]},
            {"data": [ORDER | {"orderStatus": "Filled"}]},
            {"data": [ORDER | {"takeProfit": "9"}]},
            {"data": [ORDER | {"category": "inverse"}]},
        ],
    ),
    "execution": (
        build_topic(Channel.EXECUTION),
        {"id": "x", "creationTime": TS, "data": [EXECUTION]},
        [
            {"data": [EXECUTION | {"execId": "e-2"}]},
            {"data": [EXECUTION | {"symbol": "ETHUSDT"}]},
            {"data": [EXECUTION | {"category": "spot"}]},
        ],
    ),
    "position": (
        build_topic(Channel.POSITION),
        {"id": "x", "creationTime": TS, "data": [POSITION]},
        [
            {"data": [POSITION | {"positionIdx": 1}]},
            {"data": [POSITION | {"seq": 6}]},
            {"data": [POSITION | {"size": "0.20"}]},
        ],
    ),
    "balance": (
        build_topic(Channel.BALANCE),
        {"id": "x", "creationTime": TS, "data": [{"accountType": "UNIFIED", "equity": "1.50"}]},
        [{"creationTime": TS + 1}, {"data": [{"accountType": "UNIFIED", "equity": "1.60"}]}],
    ),
    "greeks": (
        build_topic(Channel.GREEKS),
        {"creationTime": TS, "data": [{"baseCoin": "BTC", "totalDelta": "0.10"}]},
        [{"creationTime": TS + 1}, {"data": [{"baseCoin": "ETH", "totalDelta": "0.10"}]}],
    ),
}
every_case = pytest.mark.parametrize("name", CASES)


def read(topic: Topic, at: int = 1, **fields: Any) -> list[Observation]:
    """Read the facts of a frame with these fields."""
    frame = decode_frame(encode(topic=topic.name, **fields))
    return read_observations(topic, frame, at, TRACE)


@every_case
def test_the_same_fact_has_the_same_id_whenever_it_is_read(name: str) -> None:
    """Neither our clock nor our trace takes part in an identity."""
    topic, fields, _ = CASES[name]
    (first,) = read(topic, 1, **fields)
    (second,) = read(topic, 2, **fields)
    assert first.event_id == second.event_id


@every_case
def test_different_facts_have_different_ids(name: str) -> None:
    """Whatever makes it another fact makes it another id."""
    topic, fields, others = CASES[name]
    ids = [read(topic, **(fields | other))[0].event_id for other in [{}, *others]]
    assert len(set(ids)) == len(ids)


@every_case
def test_times_are_the_venues(name: str) -> None:
    """The exchange's time, the matching engine's where there is one, and ours beside them."""
    topic, fields, _ = CASES[name]
    (fact,) = read(topic, 1_790_134_712_390_123, **fields)
    assert fact.timestamp == TS
    assert fact.matched_at == fields.get("cts")
    assert (fact.received_at, fact.trace_id) == (1_790_134_712_390_123, TRACE)


@every_case
def test_ids_are_short_ascii(name: str) -> None:
    """An id fits an AMQP short string."""
    topic, fields, _ = CASES[name]
    (fact,) = read(topic, **fields)
    assert fact.event_id.isascii()
    assert len(fact.event_id) <= 255


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        (name, lost)
        for name, (_, fields, _) in CASES.items()
        for lost in ("ts", "creationTime", "data")
        if lost in fields
    ],
)
def test_a_missing_field_is_quarantined(name: str, lost: str) -> None:
    """A frame without its time or its data, or with null in their place, is refused by name."""
    topic, fields, _ = CASES[name]
    rest = {key: value for key, value in fields.items() if key != lost}
    for broken in (rest, rest | {lost: None}):
        with pytest.raises(Quarantine) as caught:
            read(topic, **broken)
        assert caught.value.reason == "missing_field"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("orderbook", "u"), ("trades", "i"), ("kline", "start"), ("kline", "confirm"),
        ("order", "orderId"), ("order", "updatedTime"), ("order", "symbol"),
        ("execution", "execId"), ("position", "positionIdx"), ("greeks", "baseCoin"),
    ],
)  # fmt: skip
def test_a_record_without_identity_is_quarantined(name: str, field: str) -> None:
    """What an identity is made of must be there."""
    topic, fields, _ = CASES[name]
    data = fields["data"]
    record = dict(data if data is BOOK_DATA else data[0])
    del record[field]
    with pytest.raises(Quarantine):
        read(topic, **(fields | {"data": record if data is BOOK_DATA else [record]}))


@pytest.mark.parametrize("kind", [None, "", "new"])
def test_a_book_of_unknown_type_is_quarantined(kind: str | None) -> None:
    """Whether it replaces or changes the book cannot be guessed."""
    with pytest.raises(Quarantine):
        read(book(), type=kind, ts=TS, data=BOOK_DATA)


@pytest.mark.parametrize("channel", [Channel.TRADES, Channel.KLINE])
def test_an_empty_list_is_quarantined(channel: Channel) -> None:
    """A frame of trades or candles has at least one."""
    with pytest.raises(Quarantine):
        read(public(channel), type="snapshot", ts=TS, data=[])


def test_a_closed_candle_is_one_fact_however_often_it_is_told() -> None:
    """Its final frame may be repeated with a later time."""
    topic, fields, _ = CASES["kline"]
    closed = fields | {"data": [CANDLE | {"confirm": True}]}
    assert read(topic, **closed)[0].event_id == read(topic, **(closed | {"ts": TS + 1}))[0].event_id


def test_categories_and_depths_do_not_share_ids() -> None:
    """The same update id on spot, on linear, or at another depth is another fact."""
    topics = [book(category=Category.SPOT), book(), book(depth=200)]
    ids = {read(t, type="delta", ts=TS, data=BOOK_DATA)[0].event_id for t in topics}
    assert len(ids) == 3


def test_one_private_record_is_one_fact() -> None:
    """Two fills of one frame are two facts of one time, each with its own bytes."""
    topic, fields, _ = CASES["execution"]
    records = [EXECUTION, EXECUTION | {"execId": "e-2", "symbol": "ETHUSDT"}]
    facts = read(topic, **(fields | {"data": records}))
    assert [(fact.symbol, fact.category, fact.kind) for fact in facts] == [
        ("BTCUSDT", "linear", Kind.UPDATE),
        ("ETHUSDT", "linear", Kind.UPDATE),
    ]
    assert [msgspec.json.decode(fact.payload) for fact in facts] == records


def test_a_private_frame_without_records_has_no_facts() -> None:
    """An empty list is no mistake."""
    assert read(build_topic(Channel.ORDER), creationTime=TS, data=[]) == []


def test_payloads_are_the_received_bytes() -> None:
    """Decimals keep their zeros, and spaces and key order stay."""
    payload = b'{ "u":7,"b":[["71419.80","0.000"]], "a":[],"s":"BTCUSDT" ,"seq":1,"n":1.50}'
    raw = b'{"topic":"orderbook.50.BTCUSDT","data":%b,"ts":5,"type":"delta"}' % payload
    (fact,) = read_observations(book(), decode_frame(raw), 1, TRACE)
    assert fact.payload == payload


@bounded
@given(text=st.text(max_size=400), number=st.integers())
def test_hostile_values_make_short_ascii_ids_or_are_quarantined(text: str, number: int) -> None:
    """No text or number in an identity's fields breaks what delivery needs."""
    for name, change in (
        ("trades", {"data": [TRADE | {"i": text}, TRADE | {"i": text[::-1]}]}),
        ("orderbook", {"data": BOOK_DATA | {"u": number, "seq": number}}),
        ("kline", {"data": [CANDLE | {"start": number, "timestamp": number}]}),
        ("order", {"data": [ORDER | {"orderId": text, "updatedTime": text, "symbol": text}]}),
        ("execution", {"data": [EXECUTION | {"execId": text, "category": text}]}),
        ("position", {"data": [POSITION | {"symbol": text, "positionIdx": number}]}),
        ("greeks", {"data": [{"baseCoin": text}]}),
    ):
        topic, fields, _ = CASES[name]
        try:
            facts = read(topic, **(fields | change))
        except Quarantine:
            continue
        for fact in facts:
            assert fact.event_id.isascii()
            assert len(fact.event_id) <= 255
            key = f"price_limit.{fact.category}.{(fact.symbol or '-').replace('.', '%2E')}"
            assert len(key.encode()) <= 255, "a routing key is a short string too"


@bounded
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_quarantined(raw: bytes) -> None:
    """Decoding raises nothing else."""
    for data in (raw, b'{"topic":"order","creationTime":1,"data":[' + raw + b"]}"):
        with suppress(Quarantine):
            frame = decode_frame(data)
            read_observations(build_topic(Channel.ORDER), frame, 1, TRACE)


def test_nesting_without_end_is_quarantined() -> None:
    """A record nested beyond reason costs only itself."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(Quarantine):
        decode_frame(b'{"topic":"order","creationTime":1,"data":[{"x":' + deep + b"}]}")
