"""A topic of the venue: built from what a service asks for, parsed from what the venue says.

Parsing is wider than building: recordings and the venue name books of depths that are no longer
offered. What exists at all stands in the catalogue, whose words are offered here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ws_gateway.domain.catalogue import (
    CHANNEL_CATEGORIES,
    DEFAULT_DEPTH,
    DEPTHS,
    EVENT_CLASS_OF,
    INTERVALS,
    LANE_OF,
    POOLED,
    POOLS,
    PRIVATE_CATEGORIES,
    PRIVATE_CHANNELS,
    PUBLIC_CHANNELS,
    Category,
    Channel,
    Endpoint,
    EventClass,
    Lane,
)
from ws_gateway.errors import Rejected

__all__ = [
    "CHANNEL_CATEGORIES",
    "DEFAULT_DEPTH",
    "DEPTHS",
    "EVENT_CLASS_OF",
    "INTERVALS",
    "LANE_OF",
    "MAX_SYMBOL_BYTES",
    "POOLED",
    "POOLS",
    "PRIVATE_CATEGORIES",
    "PRIVATE_CHANNELS",
    "PUBLIC_CHANNELS",
    "Category",
    "Channel",
    "Endpoint",
    "EventClass",
    "Lane",
    "Topic",
    "build_topic",
    "event_class_of_key",
    "parse_topic",
    "topic_of_key",
]

MAX_SYMBOL_BYTES = 64
"""Longest symbol of a topic. Escaped three to one it still fits a routing key of 255 bytes."""

_PUBLIC_PREFIX = {
    Channel.TRADES: "publicTrade",
    Channel.TICKER: "tickers",
    Channel.ORDERBOOK: "orderbook",
    Channel.ORDERBOOK_RPI: "orderbook.rpi",
    Channel.KLINE: "kline",
    Channel.LIQUIDATION: "allLiquidation",
    Channel.INSURANCE: "insurance",
    Channel.ADL_ALERT: "adlAlert",
    Channel.PRICE_LIMIT: "priceLimit",
}
_CHANNEL_OF_PREFIX = {prefix: channel for channel, prefix in _PUBLIC_PREFIX.items()}
_OF_ACCOUNT = "@"
_DEPTH = re.compile(r"[1-9][0-9]{0,4}")

_PRIVATE_NAME = {
    Channel.ORDER: "order",
    Channel.EXECUTION: "execution",
    Channel.EXECUTION_FAST: "execution.fast",
    Channel.POSITION: "position",
    Channel.BALANCE: "wallet",
    Channel.GREEKS: "greeks",
    Channel.STRATEGY: "strategy",
}
_SPREAD_NAME = {
    Channel.SPREAD_ORDER: "spread.order",
    Channel.SPREAD_EXECUTION: "spread.execution",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One stream of the venue: (category, name) for public data, (account, name) for private.

    Attributes:
        name: the venue's own text, e.g. `orderbook.50.BTCUSDT`.
        category: product line it is of; None where it is of none, of several, or of all.
        channel: data kind.
        symbol: instrument, base coin or pool named by the topic; None on private topics.
        parameter: depth or interval, as text; None where the channel has none.
        account: whose it is; None is the first account, and on public topics nobody's.
        endpoint: which of the venue's sockets carries it.
        key: identity of the stream inside this process, e.g. `linear:orderbook.50.BTCUSDT`, or
            `private@hedge:order` of a further account.
    """

    name: str
    category: Category | None
    channel: Channel
    symbol: str | None
    parameter: str | None = None
    account: str | None = None
    endpoint: Endpoint = field(init=False, compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", _endpoint(self.channel, self.category))
        whose = "" if self.account is None else f"{_OF_ACCOUNT}{self.account}"
        object.__setattr__(self, "key", f"{self.endpoint}{whose}:{self.name}")

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def event_class(self) -> EventClass:
        """Name the class whose queue this topic's events go to."""
        return EVENT_CLASS_OF[self.channel]

    @property
    def lane(self) -> Lane:
        """Name the promise under which this topic's events are delivered."""
        return LANE_OF[self.event_class]

    @property
    def is_private(self) -> bool:
        """Say whether the private socket carries it."""
        return self.endpoint is Endpoint.PRIVATE

    @property
    def has_update_ids(self) -> bool:
        """Say whether frames carry `u` that rises by 1, so that a hole can be found."""
        return self.channel is Channel.ORDERBOOK_RPI or (
            self.channel is Channel.ORDERBOOK and self.parameter != "1"
        )


def _endpoint(channel: Channel, category: Category | None) -> Endpoint:
    if channel in PRIVATE_CHANNELS:
        return Endpoint.PRIVATE
    if channel is Channel.SYSTEM_STATUS or category is None:
        return Endpoint.STATUS
    return Endpoint(category.value)


def _private_topics() -> dict[tuple[Channel, Category | None], Topic]:
    """List the private topics by what a service asks for."""
    topics: dict[tuple[Channel, Category | None], Topic] = {
        (channel, None): Topic(name, None, channel, None) for channel, name in _PRIVATE_NAME.items()
    }
    for channel, name in _PRIVATE_NAME.items():
        for category in PRIVATE_CATEGORIES[channel]:
            narrowed = Topic(f"{name}.{category}", category, channel, None)
            topics[channel, category] = narrowed
    for channel, name in _SPREAD_NAME.items():
        topic = Topic(name, Category.SPREAD, channel, None)
        topics[channel, None] = topics[channel, Category.SPREAD] = topic
    # One topic is of both kinds of futures, so it is of no single category.
    futures = Topic("dcp.future", None, Channel.DCP, None)
    topics[Channel.DCP, Category.LINEAR] = topics[Channel.DCP, Category.INVERSE] = futures
    for category in (Category.SPOT, Category.OPTION):
        topics[Channel.DCP, category] = Topic(f"dcp.{category}", category, Channel.DCP, None)
    return topics


_PRIVATE_TOPICS = _private_topics()
_STATUS_TOPIC = Topic("system.status", None, Channel.SYSTEM_STATUS, None)
_TOPIC_OF_NAME = {topic.name: topic for topic in (*_PRIVATE_TOPICS.values(), _STATUS_TOPIC)}


def build_topic(
    channel: Channel,
    *,
    category: Category | None = None,
    symbol: str | None = None,
    depth: int | None = None,
    interval: str | None = None,
    account: str | None = None,
) -> Topic:
    """Build the topic that serves a wish; `account` names a further account, None the first.

    Raises:
        Rejected: the combination does not exist at the venue; the error names the field and what
            would have been accepted.
    """
    if channel in PRIVATE_CHANNELS:
        _refuse_extras(channel, symbol=symbol, depth=depth, interval=interval)
        return _of_account(_build_private(channel, category), account)
    _refuse_extras(channel, account=account)
    if channel is Channel.SYSTEM_STATUS:
        _refuse_extras(channel, category=category, symbol=symbol, depth=depth, interval=interval)
        return _STATUS_TOPIC
    if category is None:
        raise Rejected(
            f"channel {channel} needs a category",
            code="category_missing",
            field="category",
            allowed=[c.value for c in CHANNEL_CATEGORIES[channel]],
        )
    if category not in CHANNEL_CATEGORIES[channel]:
        raise _not_in_category(channel, category, CHANNEL_CATEGORIES[channel])
    if not symbol:
        pools = list(POOLS[category]) if channel in POOLED else None
        raise Rejected(
            f"channel {channel} needs a symbol, for example {pools[0] if pools else 'BTCUSDT'}",
            code="symbol_missing",
            field="symbol",
            allowed=pools,
        )
    _check_symbol(channel, category, symbol)
    parameter = _parameter(channel, category, depth, interval)
    name = ".".join(part for part in (_PUBLIC_PREFIX[channel], parameter, symbol) if part)
    return Topic(name, category, channel, symbol, parameter)


@lru_cache(maxsize=4096)
def _of_account(topic: Topic, account: str | None) -> Topic:
    """Return one object for all that name the same topic of the same account."""
    return topic if account is None else replace(topic, account=account)


def parse_topic(name: str, category: Category | None, account: str | None = None) -> Topic:
    """Read the venue's topic text back into a topic.

    The symbol is everything after the known prefix: option strikes contain dots
    (`tickers.XRP-30OCT26-0.4-P-USDT`) and spread symbols slashes. A depth may be one that is no
    longer offered: recordings have it.

    Args:
        name: the venue's text.
        category: of the socket it came over, None for the private one and that of the system
            status; or the topic's own, as its `category` says.
        account: the further account it is of, None for the first and for public topics.

    Raises:
        Rejected: the text belongs to no channel of that kind of socket, or is of no account.
    """
    topic = _TOPIC_OF_NAME.get(name)
    if topic is not None and category in (None, topic.category):
        if account is not None and not topic.is_private:
            raise _nobodys(name, account)
        return _of_account(topic, account)
    topic = None if category is None else _parse_public(name, category)
    if topic is None:
        raise Rejected(
            f"topic {name!r} is unknown on the {category or 'private or status'} socket",
            code="unknown_topic",
            field="topic",
            found=name,
        )
    if account is not None:
        raise _nobodys(name, account)
    return topic


def _nobodys(name: str, account: str) -> Rejected:
    return Rejected(
        f"topic {name!r} is public, of no account", code="field_not_applicable",
        field="account", found=account,
    )  # fmt: skip


def topic_of_key(key: str) -> Topic:
    """Read a topic's key back into the topic.

    Raises:
        Rejected: it is the key of no topic.
    """
    place, _, name = key.partition(":")
    endpoint, _, account = place.partition(_OF_ACCOUNT)
    category = Category(endpoint) if endpoint in set(Category) else None
    return parse_topic(name, category, account or None)


def event_class_of_key(key: str) -> str:
    """Read the event class from a topic's key; a key that is of no topic is answered as it is."""
    try:
        topic = topic_of_key(key)
    except Rejected:
        return key
    return topic.event_class.value


def _build_private(channel: Channel, category: Category | None) -> Topic:
    topic = _PRIVATE_TOPICS.get((channel, category))
    if topic is not None:
        return topic
    offered = PRIVATE_CATEGORIES[channel]
    if category is None:
        allowed = [c.value for c in offered]
        raise Rejected(
            f"channel {channel} needs a category, one of {', '.join(allowed)}; "
            f"Bybit no longer offers it for all at once",
            code="category_missing",
            field="category",
            allowed=allowed,
        )
    if not offered:
        _refuse_extras(channel, category=category)
    raise _not_in_category(channel, category, offered)


def _parse_public(name: str, category: Category) -> Topic | None:
    prefix, _, symbol = name.partition(".")
    channel = _CHANNEL_OF_PREFIX.get(prefix)
    parameter: str | None = None
    if channel is Channel.ORDERBOOK:
        parameter, _, symbol = symbol.partition(".")
        if parameter == "rpi":
            channel, parameter = Channel.ORDERBOOK_RPI, None
        elif not _DEPTH.fullmatch(parameter):
            return None
    elif channel is Channel.KLINE:
        parameter, _, symbol = symbol.partition(".")
        if parameter not in INTERVALS:
            return None
    if channel is None or not symbol or category not in CHANNEL_CATEGORIES[channel]:
        return None
    return Topic(name, category, channel, symbol, parameter)


def _check_symbol(channel: Channel, category: Category, symbol: str) -> None:
    size = len(symbol.encode())
    if size > MAX_SYMBOL_BYTES:
        raise Rejected(
            f"a symbol has at most {MAX_SYMBOL_BYTES} bytes, not {size}",
            code="symbol_too_long",
            field="symbol",
            found=size,
        )
    if channel in POOLED and symbol not in POOLS[category]:
        pools = list(POOLS[category])
        raise Rejected(
            f"channel {channel} of {category} has the pools {', '.join(pools)}, not {symbol}",
            code="pool_not_offered",
            field="symbol",
            found=symbol,
            allowed=pools,
        )
    if channel is Channel.TRADES and category is Category.OPTION and "-" in symbol:
        coin = symbol.partition("-")[0]
        raise Rejected(
            f"trades of options come by base coin: ask for {coin}, not {symbol}",
            code="base_coin_wanted",
            field="symbol",
            found=symbol,
            allowed=[coin],
        )


def _not_in_category(
    channel: Channel, category: Category, offered: tuple[Category, ...]
) -> Rejected:
    return Rejected(
        f"category {category} has no channel {channel}",
        code="channel_not_in_category",
        field="category",
        found=category.value,
        allowed=[c.value for c in offered],
    )


def _parameter(
    channel: Channel, category: Category, depth: int | None, interval: str | None
) -> str | None:
    if channel is Channel.ORDERBOOK:
        _refuse_extras(channel, interval=interval)
        chosen = DEFAULT_DEPTH[category] if depth is None else depth
        if chosen not in DEPTHS[category]:
            raise Rejected(
                f"category {category} has no order book of depth {chosen}",
                code="depth_not_offered",
                field="depth",
                found=chosen,
                allowed=[str(d) for d in DEPTHS[category]],
            )
        return str(chosen)
    if channel is Channel.KLINE:
        _refuse_extras(channel, depth=depth)
        wanted = INTERVALS[0] if interval is None else interval
        if wanted not in INTERVALS:
            raise Rejected(
                f"candles have no interval {wanted!r}",
                code="interval_not_offered",
                field="interval",
                found=wanted,
                allowed=list(INTERVALS),
            )
        return wanted
    _refuse_extras(channel, depth=depth, interval=interval)
    return None


def _refuse_extras(channel: Channel, **extras: object) -> None:
    """Refuse fields that mean nothing for the channel, rather than ignore them silently."""
    for name, value in extras.items():
        if value is not None:
            raise Rejected(
                f"channel {channel} takes no {name}",
                code="field_not_applicable",
                field=name,
                found=value if isinstance(value, int) else str(value),
            )
