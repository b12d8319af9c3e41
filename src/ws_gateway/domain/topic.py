"""A topic of the venue: built from what a service asks for, parsed from what the venue says.

The catalogue below is the venue's own list (Bybit v5 docs, public and private topics); everything
that depends on which channels, depths or intervals exist reads it from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ws_gateway.errors import Rejected


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
    POSITION = "position"
    BALANCE = "balance"
    GREEKS = "greeks"
    DCP = "dcp"


PRIVATE_CHANNELS = frozenset(
    {
        Channel.ORDER,
        Channel.EXECUTION,
        Channel.POSITION,
        Channel.BALANCE,
        Channel.GREEKS,
        Channel.DCP,
    }
)
"""Channels of the private socket; they take neither category nor symbol."""

_OTHER_NAME = {
    Channel.TRADES: EventClass.TRADE,
    Channel.ORDERBOOK_RPI: EventClass.ORDERBOOK,
}
EVENT_CLASS_OF = {
    channel: _OTHER_NAME.get(channel) or EventClass(channel.value) for channel in Channel
}
"""Which queue a channel feeds: the one of its own name, with two exceptions."""

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

_SPOT_LIKE = (Category.SPOT, Category.LINEAR, Category.INVERSE)
_DERIVATIVES = (Category.LINEAR, Category.INVERSE)

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
"""Where a public channel exists (Bybit v5 docs, one page per topic)."""

_PREFIX_OF = {
    Channel.TRADES: "publicTrade",
    Channel.TICKER: "tickers",
    Channel.ORDERBOOK: "orderbook",
    Channel.ORDERBOOK_RPI: "orderbook.rpi",
    Channel.KLINE: "kline",
    Channel.LIQUIDATION: "allLiquidation",
    Channel.INSURANCE: "insurance",
    Channel.ADL_ALERT: "adlAlert",
    Channel.PRICE_LIMIT: "priceLimit",
    Channel.ORDER: "order",
    Channel.EXECUTION: "execution",
    Channel.POSITION: "position",
    Channel.BALANCE: "wallet",
    Channel.GREEKS: "greeks",
    Channel.DCP: "dcp",
}
_CHANNEL_OF_PREFIX = {
    prefix: channel
    for channel, prefix in _PREFIX_OF.items()
    if channel is not Channel.ORDERBOOK_RPI
}
_PARAMETRISED = frozenset({Channel.ORDERBOOK, Channel.KLINE})


@dataclass(frozen=True, slots=True)
class Topic:
    """One stream of the venue: (category, name) for public data, (account, name) for private.

    Attributes:
        name: the venue's own text, e.g. `orderbook.50.BTCUSDT`.
        category: product line it is of; None where it is of none or of all.
        channel: data kind.
        symbol: instrument, base coin or pool named by the topic; None on private topics.
        parameter: depth or interval, as text; None where the channel has none.
        endpoint: which of the venue's sockets carries it.
        key: identity of the stream inside this process, e.g. `linear:orderbook.50.BTCUSDT`.
    """

    name: str
    category: Category | None
    channel: Channel
    symbol: str | None
    parameter: str | None = None
    endpoint: Endpoint = field(init=False, compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", _endpoint(self.channel, self.category))
        object.__setattr__(self, "key", f"{self.endpoint}:{self.name}")

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


def build_topic(
    channel: Channel,
    *,
    category: Category | None = None,
    symbol: str | None = None,
    depth: int | None = None,
    interval: str | None = None,
) -> Topic:
    """Build the topic that serves a wish.

    Raises:
        Rejected: the combination does not exist at the venue; the error names the field and what
            would have been accepted.
    """
    if channel in PRIVATE_CHANNELS:
        _refuse_extras(channel, category=category, symbol=symbol, depth=depth, interval=interval)
        return Topic(_PREFIX_OF[channel], None, channel, None)
    if channel not in CHANNEL_CATEGORIES:
        raise Rejected(
            f"channel {channel} is not served yet",
            code="channel_not_served",
            field="channel",
            found=channel.value,
            allowed=[c.value for c in (*CHANNEL_CATEGORIES, *PRIVATE_CHANNELS)],
        )
    if category is None:
        raise Rejected(
            f"channel {channel} needs a category", code="category_missing", field="category"
        )
    if category not in CHANNEL_CATEGORIES[channel]:
        raise Rejected(
            f"category {category} has no channel {channel}",
            code="channel_not_in_category",
            field="category",
            found=category.value,
            allowed=[c.value for c in CHANNEL_CATEGORIES[channel]],
        )
    if not symbol:
        raise Rejected(
            f"channel {channel} needs a symbol, for example BTCUSDT",
            code="symbol_missing",
            field="symbol",
        )
    parameter = _parameter(channel, category, depth, interval)
    name = ".".join(part for part in (_PREFIX_OF[channel], parameter, symbol) if part)
    return Topic(name, category, channel, symbol, parameter)


def parse_topic(name: str, category: Category | None) -> Topic:
    """Read the venue's topic text back into a topic.

    The symbol is everything after the known prefix: option strikes contain dots
    (`tickers.XRP-30OCT26-0.4-P-USDT`) and spread symbols slashes.

    Raises:
        Rejected: the text belongs to no channel of that kind of socket.
    """
    unknown = Rejected(
        f"topic {name!r} is unknown on the {category or 'private'} socket",
        code="unknown_topic",
        field="topic",
        found=name,
    )
    if category is None:
        channel = _CHANNEL_OF_PREFIX.get(name)
        if channel is None or channel not in PRIVATE_CHANNELS:
            raise unknown
        return Topic(name, None, channel, None)
    prefix, _, rest = name.partition(".")
    channel = _CHANNEL_OF_PREFIX.get(prefix)
    if channel is None or channel in PRIVATE_CHANNELS or not rest:
        raise unknown
    if channel not in _PARAMETRISED:
        return Topic(name, category, channel, rest)
    parameter, _, symbol = rest.partition(".")
    if not symbol:
        raise unknown
    if channel is Channel.ORDERBOOK and parameter == "rpi":
        return Topic(name, category, Channel.ORDERBOOK_RPI, symbol)
    return Topic(name, category, channel, symbol, parameter)


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
