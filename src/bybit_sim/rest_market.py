"""REST's view of what the streams tell: trades, candles and books agree with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bybit_sim.book_feed import BookFeed
from bybit_sim.broadcaster import Broadcaster
from bybit_sim.config import SimulatorError
from bybit_sim.market import Market, SymbolMarket, Trade
from bybit_sim.topics import KLINE_MS
from bybit_sim.trade_feeds import KlineFeed, trade_row

_TRADE_LIMITS = {"spot": (60, 60), "linear": (500, 1000), "inverse": (500, 1000),
                 "option": (500, 1000)}  # fmt: skip
_KLINE_LIMIT = (200, 1000)
_BOOK_LIMITS = {"spot": (1, 1000), "linear": (25, 1000), "inverse": (25, 1000), "option": (1, 25)}
# REST's `u` is that of the deepest stream (v5 reference 11.12); for options that is assumed.
_BOOK_DEPTH = {"spot": 1000, "linear": 1000, "inverse": 1000, "option": 100}


class MarketDesk:
    """Builds the `result` of market data; a parameter that makes no sense raises its sentence."""

    def __init__(self, market: Market, broadcaster: Broadcaster) -> None:
        self._market = market
        self._broadcaster = broadcaster

    def recent_trades(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:  # noqa: ARG002 - as the others
        """Return the last trades, newest first, with the ids of the stream.

        Raises:
            SimulatorError: a parameter makes no sense; the text is what Bybit's client sees.
        """
        category = _category(query, _TRADE_LIMITS)
        limit = _limit(query, *_TRADE_LIMITS[category])
        if category == "option" and "symbol" not in query:
            markets = self._market.options_of(query.get("baseCoin", "BTC"))
        else:
            markets = [self._symbol(category, query)]
        told = [(trade, market) for market in markets for trade in market.past_trades]
        told.sort(key=_matched_at)  # stable: of one instant, the later match stays the later
        rows = [_trade_row(market, trade) for trade, market in reversed(told[-limit:])]
        return {"category": category, "list": rows}

    def recent_spread_trades(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:  # noqa: ARG002 - as the others
        """Return the last trades of a spread, newest first, as the official SDK reads them.

        Raises:
            SimulatorError: as above.
        """
        limit = _limit(query, *_TRADE_LIMITS["linear"])
        market = self._symbol("spread", query)
        told = list(market.past_trades)[-limit:]
        return {"list": [_trade_row(market, trade) for trade in reversed(told)]}

    def candles(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        """Return candles, newest first, the running one included.

        Told is what the stream told: a symbol nobody watched stood still and has no past.

        Raises:
            SimulatorError: as above.
        """
        category = _category({"category": "linear"} | dict(query), ("spot", "linear", "inverse"))
        symbol, interval = query.get("symbol", ""), query.get("interval", "")
        self._symbol(category, query)
        if interval not in KLINE_MS:
            raise SimulatorError("params error: interval")
        limit = _limit(query, *_KLINE_LIMIT)
        start, end = _number(query, "start", 0), _number(query, "end", 2**63)
        stream = self._broadcaster.find(category, f"kline.{interval}.{symbol}")
        feed = None if stream is None else stream.feed
        rows = feed.rows(now_ms, start, end, limit) if isinstance(feed, KlineFeed) else []
        return {"symbol": symbol, "category": category, "list": rows}

    def book(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        """Return the book as the deepest stream has told it, with that stream's `u`.

        Raises:
            SimulatorError: as above.
        """
        category = _category(query, _BOOK_LIMITS)
        limit = _limit(query, *_BOOK_LIMITS[category])
        market = self._symbol(category, query)
        name = f"orderbook.{_BOOK_DEPTH[category]}.{market.instrument.symbol}"
        stream = self._broadcaster.find(category, name)
        if stream is None or not isinstance(stream.feed, BookFeed):
            raise SimulatorError("params error: symbol invalid")
        if not stream.sockets:  # nobody was told anything that this could contradict
            stream.feed.resume(now_ms)
        return stream.feed.picture(limit, now_ms)

    def _symbol(self, category: str, query: Mapping[str, str]) -> SymbolMarket:
        symbol = query.get("symbol", "")
        if not self._market.has(category, symbol):
            raise SimulatorError(f"params error: symbol invalid {symbol}")
        return self._market.symbol(category, symbol)


def _matched_at(entry: tuple[Trade, SymbolMarket]) -> int:
    return entry[0].time_ms


def _trade_row(market: SymbolMarket, trade: Trade) -> dict[str, Any]:
    told = trade_row(market, trade)
    row: dict[str, Any] = {
        "execId": told["i"],
        "symbol": told["s"],
        "price": told["p"],
        "size": told["v"],
        "side": told["S"],
        "time": str(told["T"]),
    }
    if market.instrument.category != "spread":
        row |= {"isBlockTrade": told["BT"], "isRPITrade": told.get("RPI", False)}
    row["seq"] = str(told["seq"])
    if market.instrument.category == "option":
        row |= {key: told[key] for key in ("mP", "iP", "mIv", "iv")}
    return row


def _category(query: Mapping[str, str], known: Mapping[str, Any] | tuple[str, ...]) -> str:
    category = query.get("category", "")
    if category not in known:
        raise SimulatorError("Illegal category")
    return category


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    limit = _number(query, "limit", default)
    if not 1 <= limit <= most:
        raise SimulatorError("params error: limit")
    return limit


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if text and not text.isdecimal():
        raise SimulatorError(f"params error: {name}")
    return int(text) if text else default
