"""Which topics exist on which socket, as the v5 reference tables 6.0 and 7.1 list them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bybit_sim.instruments import PUBLIC_CATEGORIES
from bybit_sim.market import Market

PRIVATE_PATH = "/v5/private"
STATUS_KIND = "status"
SOCKET_KINDS = {
    **{f"/v5/public/{category}": category for category in PUBLIC_CATEGORIES},
    "/v5/public/misc/status": STATUS_KIND,
    PRIVATE_PATH: "private",
}
"""Paths of the sockets, each with what it is: a category, `status` or `private`."""

KLINE_MS = {
    "1": 60_000,
    "3": 180_000,
    "5": 300_000,
    "15": 900_000,
    "30": 1_800_000,
    "60": 3_600_000,
    "120": 7_200_000,
    "240": 14_400_000,
    "360": 21_600_000,
    "720": 43_200_000,
    "D": 86_400_000,
    "W": 604_800_000,
    "M": 2_592_000_000,  # thirty days: the simulator does not keep a calendar
}

_BOOK_PUSH_MS = {
    "spot": {1: 10, 50: 20, 200: 100, 1000: 200},
    "linear": {1: 10, 50: 20, 200: 100, 1000: 200},
    "inverse": {1: 10, 50: 20, 200: 100, 1000: 200},
    "option": {25: 20, 100: 100},
    "spread": {25: 20},
}
_RPI_PUSH_MS = 100
_RPI_CATEGORIES = frozenset({"spot", "linear", "inverse"})
# Topics that are a prefix and a symbol: the sockets that have them, with their push interval.
_PUSH_MS = {
    **{("publicTrade", each): 0 for each in ("spot", "linear", "inverse", "spread")},
    ("tickers", "spot"): 50,
    **{("tickers", each): 100 for each in ("linear", "inverse", "option", "spread")},
    **{("allLiquidation", each): 500 for each in ("linear", "inverse")},
    **{("priceLimit", each): 300 for each in ("spot", "linear", "inverse")},
}
STATUS_TOPIC = "system.status"
_POOLS = {"linear": ("USDT", "USDC"), "inverse": ("inverse",)}

_PRIVATE_PLAIN = frozenset({"order", "execution", "execution.fast", "position", "wallet", "greeks"})
_PRIVATE_SILENT = frozenset({
    "strategy", "dcp.future", "dcp.spot", "dcp.option", "spread.order", "spread.execution",
    "rfq.open.rfqs", "rfq.open.quotes", "rfq.open.trades",
})  # fmt: skip
_PRIVATE_BY_CATEGORY = {
    "order": ("spot", "linear", "inverse", "option"),
    "execution": ("spot", "linear", "inverse", "option"),
    "execution.fast": ("spot", "linear", "inverse", "option"),
    "position": ("linear", "inverse", "option"),
}
PRIVATE_CATEGORISED = frozenset(
    f"{name}.{category}" for name, all_ in _PRIVATE_BY_CATEGORY.items() for category in all_
)
PRIVATE_TOPICS = _PRIVATE_PLAIN | _PRIVATE_SILENT | PRIVATE_CATEGORISED


class Channel(StrEnum):
    """Kind of a public topic."""

    ORDERBOOK = "orderbook"
    TRADE = "publicTrade"
    TICKERS = "tickers"
    KLINE = "kline"
    LIQUIDATION = "allLiquidation"
    INSURANCE = "insurance"
    ADL_ALERT = "adlAlert"
    PRICE_LIMIT = "priceLimit"
    RPI_BOOK = "orderbook.rpi"
    SYSTEM_STATUS = "system.status"


@dataclass(frozen=True, slots=True)
class PublicTopic:
    """A public topic that exists.

    Attributes:
        category: of the socket it was asked on.
        name: the topic text.
        channel: its kind.
        symbol: what follows the prefix: a symbol, a base coin (option trades) or a pool.
        depth: of a book, else 0.
        interval: of a kline, else "".
        push_ms: shortest time between two frames.
    """

    category: str
    name: str
    channel: Channel
    symbol: str
    depth: int = 0
    interval: str = ""
    push_ms: int = 0


def is_plausible_spot_topic(name: str) -> bool:
    """Tell whether only the symbol can be wrong, which spot refuses in words of its own."""
    prefix, _, rest = name.partition(".")
    if prefix == "orderbook":
        depth, _, rest = rest.partition(".")
        return depth in {"1", "50", "200", "1000", "rpi"} and bool(rest)
    return prefix in {"publicTrade", "tickers"} and bool(rest)


def find_topic(  # noqa: PLR0911 - one return per form of a topic
    market: Market, category: str, name: str
) -> PublicTopic | None:
    """Return the public topic of that exact name on that socket, None if there is none.

    Symbols may hold dots (`XRP-30OCT26-0.4-P-USDT`), so only the known prefix is split off.
    """
    if category == STATUS_KIND:
        exists = name == STATUS_TOPIC
        return PublicTopic(category, name, Channel.SYSTEM_STATUS, "") if exists else None
    prefix, _, rest = name.partition(".")
    if prefix == Channel.ORDERBOOK:
        return _book_topic(market, category, name, rest)
    if prefix == Channel.KLINE:
        return _kline_topic(market, category, name, rest)
    if prefix in {Channel.INSURANCE, Channel.ADL_ALERT}:
        exists = rest in _POOLS.get(category, ())
        return PublicTopic(category, name, Channel(prefix), rest, push_ms=1000) if exists else None
    if prefix == Channel.TRADE and category == "option":
        exists = bool(market.options_of(rest))
        return PublicTopic(category, name, Channel.TRADE, rest) if exists else None
    push_ms = _PUSH_MS.get((prefix, category))
    if push_ms is None or not market.has(category, rest):
        return None
    return PublicTopic(category, name, Channel(prefix), rest, push_ms=push_ms)


def _book_topic(market: Market, category: str, name: str, rest: str) -> PublicTopic | None:
    depth_text, _, symbol = rest.partition(".")
    if depth_text == "rpi" and category in _RPI_CATEGORIES and market.has(category, symbol):
        return PublicTopic(category, name, Channel.RPI_BOOK, symbol, push_ms=_RPI_PUSH_MS)
    # Compared as text: "050" and "+50" are not depths.
    for depth, push_ms in _BOOK_PUSH_MS[category].items():
        if depth_text == str(depth) and market.has(category, symbol):
            return PublicTopic(
                category, name, Channel.ORDERBOOK, symbol, depth=depth, push_ms=push_ms
            )
    return None


def _kline_topic(market: Market, category: str, name: str, rest: str) -> PublicTopic | None:
    interval, _, symbol = rest.partition(".")
    known = interval in KLINE_MS and category in {"spot", "linear", "inverse"}
    if not known or not market.has(category, symbol):
        return None
    return PublicTopic(category, name, Channel.KLINE, symbol, interval=interval, push_ms=1000)
