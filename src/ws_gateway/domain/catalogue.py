"""The venue's own list: which channels exist, on which sockets, and what is promised for them.

Everything that depends on which channels, depths or intervals exist reads it from here (Bybit v5
docs, public and private topics).
"""

from __future__ import annotations

from enum import StrEnum


class Category(StrEnum):
    """Product line of the venue; one public socket serves exactly one."""

    SPOT = "spot"
    LINEAR = "linear"
    INVERSE = "inverse"
    OPTION = "option"
    SPREAD = "spread"


class Endpoint(StrEnum):
    """Which of the venue's WebSocket addresses carries a topic; a socket is of exactly one."""

    SPOT = "spot"
    LINEAR = "linear"
    INVERSE = "inverse"
    OPTION = "option"
    SPREAD = "spread"
    STATUS = "status"
    """System status alone."""
    PRIVATE = "private"
    """Everything that needs a login, of all categories."""


class EventClass(StrEnum):
    """What a consumer reads from one queue."""

    TRADE = "trade"
    TICKER = "ticker"
    ORDERBOOK = "orderbook"
    KLINE = "kline"
    LIQUIDATION = "liquidation"
    INSURANCE = "insurance"
    ADL_ALERT = "adl_alert"
    PRICE_LIMIT = "price_limit"
    SYSTEM_STATUS = "system_status"
    ORDER = "order"
    EXECUTION = "execution"
    POSITION = "position"
    BALANCE = "balance"
    GREEKS = "greeks"
    DCP = "dcp"
    STRATEGY = "strategy"


class Lane(StrEnum):
    """What delivery promises an event class, and what gives way under pressure."""

    PRIVATE = "private"
    LEDGER = "ledger"
    BOOK = "book"
    LATEST = "latest"


class Channel(StrEnum):
    """Data kind as the gateway's own users name it."""

    TRADES = "trades"
    TICKER = "ticker"
    ORDERBOOK = "orderbook"
    ORDERBOOK_RPI = "orderbook_rpi"
    KLINE = "kline"
    LIQUIDATION = "liquidation"
    INSURANCE = "insurance"
    ADL_ALERT = "adl_alert"
    PRICE_LIMIT = "price_limit"
    SYSTEM_STATUS = "system_status"
    ORDER = "order"
    EXECUTION = "execution"
    EXECUTION_FAST = "execution_fast"
    POSITION = "position"
    BALANCE = "balance"
    GREEKS = "greeks"
    STRATEGY = "strategy"
    SPREAD_ORDER = "spread_order"
    SPREAD_EXECUTION = "spread_execution"
    DCP = "dcp"


_OTHER_NAME = {
    Channel.TRADES: EventClass.TRADE,
    Channel.ORDERBOOK_RPI: EventClass.ORDERBOOK,
    Channel.EXECUTION_FAST: EventClass.EXECUTION,
    Channel.SPREAD_ORDER: EventClass.ORDER,
    Channel.SPREAD_EXECUTION: EventClass.EXECUTION,
}
EVENT_CLASS_OF = {
    channel: _OTHER_NAME.get(channel) or EventClass(channel.value) for channel in Channel
}
"""Which queue a channel feeds: the one of its own name, with the exceptions above."""

LANE_OF = {
    EventClass.TRADE: Lane.LEDGER,
    EventClass.KLINE: Lane.LEDGER,
    EventClass.LIQUIDATION: Lane.LEDGER,
    EventClass.ORDERBOOK: Lane.BOOK,
    EventClass.TICKER: Lane.LATEST,
    EventClass.INSURANCE: Lane.LATEST,
    EventClass.ADL_ALERT: Lane.LATEST,
    EventClass.PRICE_LIMIT: Lane.LATEST,
    EventClass.SYSTEM_STATUS: Lane.LATEST,
    EventClass.ORDER: Lane.PRIVATE,
    EventClass.EXECUTION: Lane.PRIVATE,
    EventClass.POSITION: Lane.PRIVATE,
    EventClass.BALANCE: Lane.PRIVATE,
    EventClass.GREEKS: Lane.PRIVATE,
    EventClass.DCP: Lane.PRIVATE,
    EventClass.STRATEGY: Lane.PRIVATE,
}

DEPTHS = {
    Category.SPOT: (1, 50, 200, 1000),
    Category.LINEAR: (1, 50, 200, 1000),
    Category.INVERSE: (1, 50, 200, 1000),
    Category.OPTION: (25, 100),
    Category.SPREAD: (25,),
}
"""Book depths per category (Bybit v5 docs, Orderbook)."""

DEFAULT_DEPTH = {
    Category.SPOT: 50,
    Category.LINEAR: 50,
    Category.INVERSE: 50,
    Category.OPTION: 25,
    Category.SPREAD: 25,
}

INTERVALS = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
"""Candle intervals (Bybit v5 docs, Kline): minutes, day, week, month."""

POOLED = frozenset({Channel.INSURANCE, Channel.ADL_ALERT})
"""Channels that tell of a pool, not of a symbol."""

POOLS = {
    Category.LINEAR: ("USDT", "USDC"),
    Category.INVERSE: ("inverse",),
}
"""Insurance pools per socket. Bybit v5 docs (Insurance Pool, ADL Alert) name the pools but not the
socket of the inverse one, which is taken to be its own."""

_SPOT_LIKE = (Category.SPOT, Category.LINEAR, Category.INVERSE)
_DERIVATIVES = (Category.LINEAR, Category.INVERSE)
_PRODUCTS = (*_SPOT_LIKE, Category.OPTION)

# Not offered: `liquidation.{symbol}`, deprecated since February 2025 and at most one per second
# where `allLiquidation` has all; `orderbook.full.{symbol}`, whose deltas mean nothing without a
# REST snapshot beside them; and `rfq.*`, which is trading by negotiation.
CHANNEL_CATEGORIES = {
    Channel.TRADES: tuple(Category),
    Channel.TICKER: tuple(Category),
    Channel.ORDERBOOK: tuple(Category),
    Channel.ORDERBOOK_RPI: _SPOT_LIKE,
    Channel.KLINE: _SPOT_LIKE,
    Channel.LIQUIDATION: _DERIVATIVES,
    Channel.INSURANCE: _DERIVATIVES,
    Channel.ADL_ALERT: _DERIVATIVES,
    Channel.PRICE_LIMIT: _SPOT_LIKE,
}
"""Where a channel of the category sockets exists (Bybit v5 docs, one page per topic)."""

PUBLIC_CHANNELS = (*CHANNEL_CATEGORIES, Channel.SYSTEM_STATUS)
"""Channels that need no login."""

PRIVATE_CATEGORIES: dict[Channel, tuple[Category, ...]] = {
    Channel.ORDER: _PRODUCTS,
    Channel.EXECUTION: _PRODUCTS,
    Channel.EXECUTION_FAST: _PRODUCTS,
    Channel.POSITION: (*_DERIVATIVES, Category.OPTION),
    Channel.BALANCE: (),
    Channel.GREEKS: (),
    Channel.STRATEGY: (),
    Channel.SPREAD_ORDER: (Category.SPREAD,),
    Channel.SPREAD_EXECUTION: (Category.SPREAD,),
    Channel.DCP: _PRODUCTS,
}
"""What a private channel can be narrowed to; without a category it is of all, except `dcp`."""

PRIVATE_CHANNELS = frozenset(PRIVATE_CATEGORIES)
"""Channels of the private socket; they take no symbol."""
