"""Facts read from frames: identities, times, and payloads as they came."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.scripted_venue import book, encode
from ws_gateway.client.routing import read_routing_key
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.routing import routing_key
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.messages import WireFrame, decode_frame
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
STRATEGY = {
    "strategyId": "g-1", "strategyType": "twap", "category": "UTA_USDT", "symbol": "BTCUSDT",
    "size": "0.10", "status": 2, "updatedTimeE3": TS - 5,
}  # fmt: skip
NOTICE = {"id": "n-1", "title": "t", "state": "scheduled", "begin": "1", "product": [1, 2]}
LEG = {"category": "future_leg", "orderId": "", "symbol": "SOLUSDT", "updatedTime": "1"}
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
    "system_status": (
        build_topic(Channel.SYSTEM_STATUS),
        {"ts": TS, "data": [NOTICE]},
        [
            {"data": [NOTICE | {"id": "n-2"}]},
            {"data": [NOTICE | {"state": "ongoing"}]},
            {"data": [NOTICE | {"begin": "2"}]},
            {"data": [NOTICE, NOTICE | {"id": "n-2"}]},
        ],
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
    "execution_fast": (
        build_topic(Channel.EXECUTION_FAST),
        {"creationTime": TS, "data": [EXECUTION]},
        [
            {"data": [EXECUTION | {"execId": "e-2"}]},
            {"data": [EXECUTION | {"category": "spot"}]},
        ],
    ),
    "strategy": (
        build_topic(Channel.STRATEGY),
        {"id": "x", "creationTime": TS, "data": [STRATEGY]},
        [
            {"data": [STRATEGY | {"strategyId": "g-2"}]},
            {"data": [STRATEGY | {"updatedTimeE3": TS}]},
            {"data": [STRATEGY | {"status": 3}]},
        ],
    ),
    "spread_order": (
        build_topic(Channel.SPREAD_ORDER),
        {"id": "x", "creationTime": TS, "data": [LEG | {"orderId": "o-1"}]},
        [
            {"data": [LEG | {"orderId": "o-2"}]},
            {"data": [LEG | {"orderId": "o-1", "category": "combination"}]},
            {"data": [LEG | {"orderId": "o-1", "orderStatus": "Filled"}]},
        ],
    ),
    "spread_execution": (
        build_topic(Channel.SPREAD_EXECUTION),
        {"id": "x", "creationTime": TS, "data": [LEG | {"execId": "e-1"}]},
        [
            {"data": [LEG | {"execId": "e-2"}]},
            {"data": [LEG | {"execId": "e-1", "category": "combination"}]},
        ],
    ),
    "dcp": (
        build_topic(Channel.DCP, category=Category.SPOT),
        {"creationTime": TS, "data": [{"state": "1"}]},
        [{"creationTime": TS + 1}, {"data": [{"state": "2"}]}],
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
FRAME_FIELDS = WireFrame.__struct_encode_fields__
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
        ("execution_fast", "execId"), ("strategy", "strategyId"), ("strategy", "updatedTimeE3"),
        ("spread_order", "orderId"), ("spread_execution", "execId"), ("system_status", "id"),
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


@pytest.mark.parametrize("name", ["trades", "kline", "system_status"])
def test_an_empty_list_is_quarantined(name: str) -> None:
    """A frame of trades, candles or notices has at least one."""
    topic, fields, _ = CASES[name]
    with pytest.raises(Quarantine):
        read(topic, **(fields | {"data": []}))


def test_a_closed_candle_is_one_fact_however_often_it_is_told() -> None:
    """Its final frame may be repeated with a later time."""
    topic, fields, _ = CASES["kline"]
    closed = fields | {"data": [CANDLE | {"confirm": True}]}
    assert read(topic, **closed)[0].event_id == read(topic, **(closed | {"ts": TS + 1}))[0].event_id


def test_an_unchanged_notice_is_one_fact_however_often_it_is_told() -> None:
    """The venue may say again what it said, at another time."""
    topic, fields, _ = CASES["system_status"]
    assert read(topic, **fields)[0].event_id == read(topic, **(fields | {"ts": TS + 9}))[0].event_id


def test_the_fast_and_the_full_execution_are_two_facts() -> None:
    """They carry one `execId` and different fields; neither may pass for the other's repeat."""
    fields: dict[str, Any] = {"creationTime": TS, "data": [EXECUTION]}
    topics = [
        build_topic(channel, category=category)
        for channel in (Channel.EXECUTION, Channel.EXECUTION_FAST)
        for category in (None, LINEAR)
    ]
    assert len({read(topic, **fields)[0].event_id for topic in topics}) == 4


@pytest.mark.parametrize(
    ("channel", "record"),
    [
        (Channel.ORDER, ORDER),
        (Channel.EXECUTION, EXECUTION),
        (Channel.EXECUTION_FAST, EXECUTION),
        (Channel.POSITION, POSITION),
    ],
)
def test_a_records_category_wins_over_its_topics(channel: Channel, record: dict[str, Any]) -> None:
    """The topic's stands in where the record names none, as on old accounts."""
    silent = {key: value for key, value in record.items() if key != "category"}
    topic = build_topic(channel, category=Category.INVERSE)
    for data, category in (
        (record, "linear"),
        (silent, "inverse"),
        (silent | {"category": ""}, "inverse"),
    ):
        (fact,) = read(topic, creationTime=TS, data=[data])
        assert fact.category == category
    (fact,) = read(build_topic(channel), creationTime=TS, data=[silent])
    assert fact.category is None


@pytest.mark.parametrize("seq", [-1, "-1", 5, 2**63 - 1])
def test_a_position_that_was_never_traded_is_a_fact(seq: int | str) -> None:
    """Its `seq` is -1; the docs print it quoted."""
    topic, fields, _ = CASES["position"]
    (fact,) = read(topic, **(fields | {"data": [POSITION | {"seq": seq}]}))
    assert f":0:{seq}:" in fact.event_id


@pytest.mark.parametrize("name", ["spread_order", "spread_execution"])
@pytest.mark.parametrize("row", ["combination", "spot_leg", "future_leg"])
def test_rows_of_a_spread_are_of_the_category_spread(name: str, row: str) -> None:
    """What the venue calls their category says which part of the spread they are."""
    topic, fields, _ = CASES[name]
    (fact,) = read(topic, **(fields | {"data": [fields["data"][0] | {"category": row}]}))
    assert (fact.category, fact.symbol) == ("spread", "SOLUSDT")


@pytest.mark.parametrize(
    ("told", "category"),
    [
        ("UTA_SPOT", "spot"),
        ("UTA_USDT", "linear"),
        ("UTA_USDC_FUTURE", "linear"),
        ("UTA_INVERSE_FUTURE", "inverse"),
        ("UTA_NEW", None),
    ],
)
def test_a_strategy_is_of_a_product_line(told: str, category: str | None) -> None:
    """Its own names for them are translated; one nobody knows is none."""
    topic, fields, _ = CASES["strategy"]
    (fact,) = read(topic, **(fields | {"data": [STRATEGY | {"category": told}]}))
    assert (fact.category, fact.symbol) == (category, "BTCUSDT")


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
        ("execution_fast", {"data": [EXECUTION | {"symbol": text, "category": text}]}),
        ("strategy", {"data": [STRATEGY | {"strategyId": text, "updatedTimeE3": number}]}),
        ("spread_order", {"data": [LEG | {"orderId": text, "category": text, "symbol": text}]}),
        ("system_status", {"data": [NOTICE | {"id": text, "state": text}]}),
    ):
        topic, fields, _ = CASES[name]
        try:
            facts = read(topic, **(fields | change))
        except Quarantine:
            continue
        for fact in facts:
            assert fact.event_id.isascii()
            assert len(fact.event_id) <= 255
            key = routing_key(topic.event_class, fact.category, fact.symbol)
            assert len(key.encode()) <= 255, "a routing key is a short string too"
            assert read_routing_key(key) == (topic.event_class, fact.category, fact.symbol or None)


@bounded
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_quarantined(raw: bytes) -> None:
    """Decoding raises nothing else."""
    for data in (raw, b'{"topic":"order","creationTime":1,"data":[' + raw + b"]}"):
        with suppress(Quarantine):
            frame = decode_frame(data)
            read_observations(build_topic(Channel.ORDER), frame, 1, TRACE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@bounded
@given(document=JSON | st.dictionaries(st.sampled_from(sorted(FRAME_FIELDS)), JSON))
def test_any_json_is_a_frame_or_quarantined(document: object) -> None:
    """Also where the envelope's own fields hold what nobody expects."""
    with suppress(Quarantine):
        decode_frame(json.dumps(document).encode())


@st.composite
def changed_frames(draw: st.DrawFn) -> tuple[Topic, dict[str, Any]]:
    """Draw a frame of any channel in which some values are not what they should be."""
    topic, fields, others = CASES[draw(st.sampled_from(sorted(CASES)))]
    frame = dict(fields | draw(st.sampled_from([{}, *others])))
    data = frame["data"]
    record = dict(data if isinstance(data, dict) else data[0])
    record |= draw(st.dictionaries(st.sampled_from(sorted(record)), JSON, max_size=3))
    frame["data"] = draw(st.just(record if isinstance(data, dict) else [record]) | JSON)
    frame |= draw(st.dictionaries(st.sampled_from(sorted(FRAME_FIELDS)), JSON, max_size=2))
    return topic, frame


@bounded
@given(changed_frames())
def test_any_frame_of_any_channel_is_facts_or_quarantined(
    drawn: tuple[Topic, dict[str, Any]],
) -> None:
    """What comes out can be delivered: its id and its routing key are what AMQP takes."""
    topic, fields = drawn
    with suppress(Quarantine):
        frame = decode_frame(json.dumps({"topic": topic.name} | fields).encode())
        for fact in read_observations(topic, frame, 1, TRACE):
            assert fact.event_id.isascii()
            assert len(fact.event_id) <= 255
            message = Address("x", fact, "main").frames(Event(fact, "E", 1))
            assert fact.payload in message


def test_every_channel_has_a_case() -> None:
    """What is said of every channel here is said of every channel there is."""
    assert {topic.channel for topic, _, _ in CASES.values()} == set(Channel) - {
        Channel.ORDERBOOK_RPI
    }


def test_nesting_without_end_is_quarantined() -> None:
    """A record nested beyond reason costs only itself."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(Quarantine):
        decode_frame(b'{"topic":"order","creationTime":1,"data":[{"x":' + deep + b"}]}")
