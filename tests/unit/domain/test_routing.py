"""Routing keys: written, read back, and never longer than AMQP takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.topics import STRANGE_SYMBOLS, any_topics
from ws_gateway.client.routing import Route, read_routing_key
from ws_gateway.domain.routing import binding_keys, routing_key
from ws_gateway.domain.topic import (
    MAX_SYMBOL_BYTES,
    Category,
    Channel,
    EventClass,
    Topic,
    build_topic,
    parse_topic,
)


@pytest.mark.parametrize(
    ("event_class", "category", "symbol", "key"),
    [
        (EventClass.TRADE, "linear", "BTCUSDT", "trade.linear.BTCUSDT"),
        (
            EventClass.TICKER,
            "option",
            "XRP-30OCT26-0.4-P-USDT",
            "ticker.option.XRP-30OCT26-0%2E4-P-USDT",
        ),
        (EventClass.TRADE, "spread", "SOLUSDT_SOL/USDT", "trade.spread.SOLUSDT_SOL/USDT"),
        (EventClass.BALANCE, None, None, "balance.-.-"),
        (EventClass.INSURANCE, "linear", "", "insurance.linear.-"),
        (EventClass.TICKER, "spot", "100%.X", "ticker.spot.100%25%2EX"),
        (EventClass.TICKER, "spot", "%2E", "ticker.spot.%252E"),
        (EventClass.TICKER, "spot", "-", "ticker.spot.%2D"),
    ],
)
def test_routing_key(
    event_class: EventClass, category: str | None, symbol: str | None, key: str
) -> None:
    """Dots inside a symbol are escaped, slashes kept, absent words written as a dash."""
    assert routing_key(event_class, category, symbol) == key


@given(
    symbol=st.one_of(st.none(), STRANGE_SYMBOLS),
    category=st.one_of(st.none(), st.sampled_from(Category), STRANGE_SYMBOLS),
)
def test_any_key_is_read_back(symbol: str | None, category: str | None) -> None:
    """Whatever the words hold, there are three of them and each means what it meant."""
    key = routing_key(EventClass.TRADE, category, symbol)
    assert read_routing_key(key) == Route("trade", category, symbol)


@given(any_topics())
def test_every_topic_has_a_key_that_amqp_takes(topic: Topic) -> None:
    """A routing key has 255 bytes at most; a topic's own symbol is not enough to pass them."""
    for symbol in (topic.symbol, "." * MAX_SYMBOL_BYTES):
        key = routing_key(topic.event_class, topic.category, symbol)
        assert len(key.encode()) <= 255
        assert read_routing_key(key) == Route(topic.event_class, topic.category, symbol)


@pytest.mark.parametrize("key", ["", "quarantine.malformed", "trade.linear.BTCUSDT.more"])
def test_another_key_is_told_apart(key: str) -> None:
    """The sentence says what was found."""
    with pytest.raises(ValueError, match="no routing key of an event"):
        read_routing_key(key)


@pytest.mark.parametrize(
    ("topic", "keys"),
    [
        (parse_topic("orderbook.50.BTCUSDT", Category.LINEAR), ("orderbook.linear.BTCUSDT",)),
        (parse_topic("publicTrade.BTC", Category.OPTION), ("trade.option.BTC",)),
        (parse_topic("tickers.A-0.4-P", Category.OPTION), ("ticker.option.A-0%2E4-P",)),
        (build_topic(Channel.SYSTEM_STATUS), ("system_status.-.-",)),
        (build_topic(Channel.EXECUTION_FAST), ("execution.#",)),
        (build_topic(Channel.BALANCE), ("balance.#",)),
        (
            build_topic(Channel.POSITION, category=Category.INVERSE),
            ("position.inverse.*", "position.-.-"),
        ),
        (build_topic(Channel.SPREAD_ORDER), ("order.spread.*", "order.-.-")),
    ],
)
def test_what_to_bind_for_a_topic(topic: Topic, keys: tuple[str, ...]) -> None:
    """One key for public data; a category with its markers, or the whole class, for private."""
    assert binding_keys(topic) == keys
