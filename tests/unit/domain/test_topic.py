"""Topics: built from wishes, parsed from the venue's text, and back again."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.topics import public_topics
from ws_gateway.domain.topic import (
    DEPTHS,
    EVENT_CLASS_OF,
    LANE_OF,
    MAX_SYMBOL_BYTES,
    PRIVATE_CATEGORIES,
    PRIVATE_CHANNELS,
    PUBLIC_CHANNELS,
    Category,
    Channel,
    Endpoint,
    EventClass,
    Lane,
    Topic,
    build_topic,
    parse_topic,
)
from ws_gateway.errors import Rejected

bounded = settings(deadline=None, max_examples=200)


@bounded
@given(public_topics())
def test_a_public_topic_survives_the_wire(topic: Topic) -> None:
    """What is built and what is parsed from its name are the same, field by field."""
    parsed = parse_topic(topic.name, topic.category)
    assert parsed == topic
    assert parsed.key == topic.key
    assert hash(parsed) == hash(topic)


PRIVATE_NAMES = {
    (Channel.ORDER, None): "order",
    (Channel.ORDER, Category.SPOT): "order.spot",
    (Channel.ORDER, Category.LINEAR): "order.linear",
    (Channel.ORDER, Category.INVERSE): "order.inverse",
    (Channel.ORDER, Category.OPTION): "order.option",
    (Channel.EXECUTION, None): "execution",
    (Channel.EXECUTION, Category.SPOT): "execution.spot",
    (Channel.EXECUTION, Category.LINEAR): "execution.linear",
    (Channel.EXECUTION, Category.INVERSE): "execution.inverse",
    (Channel.EXECUTION, Category.OPTION): "execution.option",
    (Channel.EXECUTION_FAST, None): "execution.fast",
    (Channel.EXECUTION_FAST, Category.SPOT): "execution.fast.spot",
    (Channel.EXECUTION_FAST, Category.LINEAR): "execution.fast.linear",
    (Channel.EXECUTION_FAST, Category.INVERSE): "execution.fast.inverse",
    (Channel.EXECUTION_FAST, Category.OPTION): "execution.fast.option",
    (Channel.POSITION, None): "position",
    (Channel.POSITION, Category.LINEAR): "position.linear",
    (Channel.POSITION, Category.INVERSE): "position.inverse",
    (Channel.POSITION, Category.OPTION): "position.option",
    (Channel.BALANCE, None): "wallet",
    (Channel.GREEKS, None): "greeks",
    (Channel.STRATEGY, None): "strategy",
    (Channel.SPREAD_ORDER, None): "spread.order",
    (Channel.SPREAD_ORDER, Category.SPREAD): "spread.order",
    (Channel.SPREAD_EXECUTION, None): "spread.execution",
    (Channel.SPREAD_EXECUTION, Category.SPREAD): "spread.execution",
    (Channel.DCP, Category.SPOT): "dcp.spot",
    (Channel.DCP, Category.LINEAR): "dcp.future",
    (Channel.DCP, Category.INVERSE): "dcp.future",
    (Channel.DCP, Category.OPTION): "dcp.option",
}


@pytest.mark.parametrize("channel", sorted(PRIVATE_CHANNELS))
@pytest.mark.parametrize("category", [None, *Category])
def test_a_private_topic_survives_the_wire(channel: Channel, category: Category | None) -> None:
    """Each form that exists has the venue's name and comes back from it; the others are refused."""
    name = PRIVATE_NAMES.get((channel, category))
    if name is None:
        with pytest.raises(Rejected) as caught:
            build_topic(channel, category=category)
        assert caught.value.field == "category"
        assert caught.value.allowed or not PRIVATE_CATEGORIES[channel]
        return
    topic = build_topic(channel, category=category)
    assert topic.is_private
    assert (topic.name, topic.symbol, topic.key) == (name, None, f"private:{name}")
    assert parse_topic(name, topic.category) == topic
    assert parse_topic(name, None) == topic, "the private socket names no category"
    assert topic.category in (category, None, Category.SPREAD)


def test_one_topic_of_futures_stands_for_linear_and_inverse() -> None:
    """Its two wishes are one stream, which is of no single category."""
    linear = build_topic(Channel.DCP, category=Category.LINEAR)
    assert linear == build_topic(Channel.DCP, category=Category.INVERSE)
    assert linear.category is None


def test_the_deprecated_dcp_is_refused_with_what_replaced_it() -> None:
    """Nobody has to guess what to write instead."""
    with pytest.raises(Rejected, match="needs a category, one of spot, linear, inverse, option"):
        build_topic(Channel.DCP)


def test_system_status_has_a_socket_of_its_own() -> None:
    """It is public, of no category, and known by its name alone."""
    topic = build_topic(Channel.SYSTEM_STATUS)
    assert (topic.name, topic.endpoint) == ("system.status", Endpoint.STATUS)
    assert not topic.is_private
    assert parse_topic(topic.name, topic.category) == topic


@bounded
@given(st.text(max_size=60), st.sampled_from([*Category, None]))
def test_any_text_is_a_topic_of_that_name_or_refused(name: str, category: Category | None) -> None:
    """Parsing never fails in another way, and never invents a name."""
    with suppress(Rejected):
        topic = parse_topic(name, category)
        assert topic.name == name
        assert parse_topic(topic.name, topic.category) == topic
        if category is not None:
            assert topic.category == category


@pytest.mark.parametrize(
    ("name", "category", "channel", "parameter", "symbol"),
    [
        (
            "tickers.XRP-30OCT26-0.4-P-USDT",
            Category.OPTION,
            Channel.TICKER,
            None,
            "XRP-30OCT26-0.4-P-USDT",
        ),
        (
            "orderbook.25.XRP-30OCT26-0.4-P-USDT",
            Category.OPTION,
            Channel.ORDERBOOK,
            "25",
            "XRP-30OCT26-0.4-P-USDT",
        ),
        (
            "orderbook.25.SOLUSDT_SOL/USDT",
            Category.SPREAD,
            Channel.ORDERBOOK,
            "25",
            "SOLUSDT_SOL/USDT",
        ),
        ("orderbook.rpi.BTCUSDT", Category.SPOT, Channel.ORDERBOOK_RPI, None, "BTCUSDT"),
        ("kline.D.BTCUSD", Category.INVERSE, Channel.KLINE, "D", "BTCUSD"),
        ("publicTrade.BTC", Category.OPTION, Channel.TRADES, None, "BTC"),
        ("allLiquidation.BTCUSDT", Category.LINEAR, Channel.LIQUIDATION, None, "BTCUSDT"),
        ("insurance.USDT", Category.LINEAR, Channel.INSURANCE, None, "USDT"),
        ("adlAlert.USDT", Category.LINEAR, Channel.ADL_ALERT, None, "USDT"),
        ("priceLimit.BTCUSDT", Category.SPOT, Channel.PRICE_LIMIT, None, "BTCUSDT"),
    ],
)
def test_the_venues_own_names_are_read(
    name: str, category: Category, channel: Channel, parameter: str | None, symbol: str
) -> None:
    """Dotted strikes and slashed spreads stay whole."""
    topic = parse_topic(name, category)
    assert (topic.channel, topic.parameter, topic.symbol) == (channel, parameter, symbol)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("", Category.LINEAR),
        ("orderbook", Category.LINEAR),
        ("orderbook.50", Category.LINEAR),
        ("orderbook.50.", Category.LINEAR),
        ("tickers.", Category.LINEAR),
        ("order", Category.LINEAR),
        ("order.linear", Category.SPOT),
        ("order.spread", None),
        ("position.spot", None),
        ("dcp", None),
        ("dcp.linear", None),
        ("system.status", Category.LINEAR),
        ("orderbook.full.MNTUSDT", Category.SPOT),
        ("orderbook.050.BTCUSDT", Category.SPOT),
        ("orderbook.rpi.BTC-25JUN27-106000-P-USDT", Category.OPTION),
        ("kline.2.BTCUSDT", Category.LINEAR),
        ("kline.1.BTC-25JUN27-106000-P-USDT", Category.OPTION),
        ("liquidation.BTCUSDT", Category.LINEAR),
        ("rfq.open.rfqs", None),
        ("tickers.BTCUSDT", None),
        ("candles.1.BTCUSDT", Category.SPOT),
    ],
)
def test_other_texts_are_unknown(name: str, category: Category | None) -> None:
    """A topic of the wrong kind of socket, or one cut short, is refused by name."""
    with pytest.raises(Rejected) as caught:
        parse_topic(name, category)
    assert caught.value.code == "unknown_topic"


def test_the_same_name_on_two_categories_is_two_streams() -> None:
    """A symbol means nothing without its category."""
    linear = parse_topic("orderbook.50.BTCUSDT", Category.LINEAR)
    spot = parse_topic("orderbook.50.BTCUSDT", Category.SPOT)
    assert linear != spot
    assert linear.key != spot.key


@pytest.mark.parametrize(
    ("wish", "code", "field"),
    [
        ({"channel": Channel.TICKER, "symbol": "BTCUSDT"}, "category_missing", "category"),
        ({"channel": Channel.TICKER, "category": Category.SPOT}, "symbol_missing", "symbol"),
        (
            {"channel": Channel.TICKER, "category": Category.SPOT, "symbol": ""},
            "symbol_missing",
            "symbol",
        ),
        (
            {"channel": Channel.KLINE, "category": Category.OPTION, "symbol": "X"},
            "channel_not_in_category",
            "category",
        ),
        (
            {"channel": Channel.ORDERBOOK, "category": Category.SPOT, "symbol": "X", "depth": 25},
            "depth_not_offered",
            "depth",
        ),
        (
            {"channel": Channel.KLINE, "category": Category.SPOT, "symbol": "X", "interval": "2"},
            "interval_not_offered",
            "interval",
        ),
        (
            {"channel": Channel.TICKER, "category": Category.SPOT, "symbol": "X", "depth": 50},
            "field_not_applicable",
            "depth",
        ),
        (
            {
                "channel": Channel.ORDERBOOK,
                "category": Category.SPOT,
                "symbol": "X",
                "interval": "1",
            },
            "field_not_applicable",
            "interval",
        ),
        ({"channel": Channel.ORDER, "symbol": "BTCUSDT"}, "field_not_applicable", "symbol"),
        (
            {"channel": Channel.SYSTEM_STATUS, "category": Category.SPOT},
            "field_not_applicable",
            "category",
        ),
        (
            {"channel": Channel.GREEKS, "category": Category.OPTION},
            "field_not_applicable",
            "category",
        ),
        (
            {"channel": Channel.POSITION, "category": Category.SPOT},
            "channel_not_in_category",
            "category",
        ),
        (
            {"channel": Channel.INSURANCE, "category": Category.LINEAR, "symbol": "inverse"},
            "pool_not_offered",
            "symbol",
        ),
        (
            {"channel": Channel.ADL_ALERT, "category": Category.INVERSE, "symbol": "USDT"},
            "pool_not_offered",
            "symbol",
        ),
        (
            {"channel": Channel.TRADES, "category": Category.OPTION, "symbol": "BTC-4SEP26-1850-P"},
            "base_coin_wanted",
            "symbol",
        ),
        (
            {"channel": Channel.TICKER, "category": Category.SPOT, "symbol": "X" * 65},
            "symbol_too_long",
            "symbol",
        ),
    ],
)
def test_a_wish_that_cannot_be_served_names_its_field(
    wish: dict[str, object], code: str, field: str
) -> None:
    """The refusal says which field, and where there is a list, what would have been accepted."""
    with pytest.raises(Rejected) as caught:
        build_topic(**wish)  # type: ignore[arg-type]  # table of keyword arguments
    assert (caught.value.code, caught.value.field) == (code, field)
    if code.endswith(("_offered", "_in_category", "_wanted")):
        assert caught.value.allowed


@pytest.mark.parametrize("category", list(Category))
def test_a_book_without_a_depth_takes_one_that_exists(category: Category) -> None:
    """The default depth is offered in every category."""
    topic = build_topic(Channel.ORDERBOOK, category=category, symbol="X")
    assert topic.parameter is not None
    assert int(topic.parameter) in DEPTHS[category]


def test_old_depths_are_read_and_not_offered() -> None:
    """Recordings of 2024 have books of depth 500."""
    old = parse_topic("orderbook.500.XRPUSDT", Category.LINEAR)
    assert (old.channel, old.parameter, old.symbol) == (Channel.ORDERBOOK, "500", "XRPUSDT")
    assert old.has_update_ids
    with pytest.raises(Rejected, match="no order book of depth 500"):
        build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol="XRPUSDT", depth=500)


def test_the_longest_symbol_is_taken() -> None:
    """The bound is what a routing key can hold, not what exists today."""
    symbol = "X" * MAX_SYMBOL_BYTES
    assert build_topic(Channel.TICKER, category=Category.SPOT, symbol=symbol).symbol == symbol


def test_every_channel_is_public_or_private() -> None:
    """No channel is forgotten."""
    assert {*PUBLIC_CHANNELS, *PRIVATE_CHANNELS} == set(Channel)
    assert not PRIVATE_CHANNELS & {*PUBLIC_CHANNELS}


def test_every_channel_has_a_class_and_every_class_a_lane() -> None:
    """Nothing can be subscribed whose queue or promise is not known."""
    assert set(EVENT_CLASS_OF) == set(Channel)
    assert set(EVENT_CLASS_OF.values()) == set(EventClass) == set(LANE_OF)
    assert EVENT_CLASS_OF[Channel.TRADES] is EventClass.TRADE
    assert EVENT_CLASS_OF[Channel.ORDERBOOK_RPI] is EventClass.ORDERBOOK
    for channel in Channel:
        is_private = LANE_OF[EVENT_CLASS_OF[channel]] is Lane.PRIVATE
        assert is_private == (channel in PRIVATE_CHANNELS)


def test_a_book_of_depth_one_has_no_continuity() -> None:
    """Depth 1 repeats its update id; deeper and RPI books count by one."""
    one = build_topic(Channel.ORDERBOOK, category=Category.SPOT, symbol="X", depth=1)
    fifty = build_topic(Channel.ORDERBOOK, category=Category.SPOT, symbol="X", depth=50)
    rpi = build_topic(Channel.ORDERBOOK_RPI, category=Category.SPOT, symbol="X")
    assert not one.has_update_ids
    assert fifty.has_update_ids
    assert rpi.has_update_ids
