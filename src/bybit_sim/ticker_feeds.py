"""Ticker topics: merged deltas on futures, full pictures elsewhere; and price limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bybit_sim.decimals import fixed, plain
from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import PublicTopic

_FUNDING_MS = 8 * 3_600_000
_INDEX_PREMIUM = Decimal("1.0004")
_LIMIT_PERCENT = 5
# A price and its size usually travel together (v5 reference 6.5).
_PAIRS = {"bid1Price": "bid1Size", "bid1Size": "bid1Price", "ask1Price": "ask1Size",
          "ask1Size": "ask1Price"}  # fmt: skip
_DELIVERY = {"BTC-25DEC26": "2026-12-25T08:00:00Z", "BTCUSDZ26": "2026-12-25T08:00:00Z"}
_WITHOUT_USD_INDEX = frozenset({"SOLUSDT"})  # `usdIndexPrice` is "" for some coins


def _day_change(market: SymbolMarket) -> Decimal:
    opened = market.open_price
    return Decimal(market.last_price - opened) / Decimal(opened) if opened else Decimal(0)


class TickerFeed(Feed):
    """`tickers.{symbol}` on spot, option and spread: every frame is a snapshot."""

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self._last: dict[str, str] = {}
        self._seq = market.seq

    def resume(self, now_ms: int) -> None:
        """Take the present picture as the one everybody has."""
        self._last = self._picture(now_ms)
        self._seq = self._market.seq

    def greet(self, now_ms: int) -> bytes:
        """Return the picture everybody has."""
        return self._frame("snapshot", now_ms, self._last)

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - a ticker has one market
        """Any tick may have changed the picture."""
        return True

    def collect(self, now_ms: int) -> bytes | None:
        """Return the new picture, None if it is the old one."""
        picture = self._picture(now_ms)
        if picture == self._last:
            return None
        self._last = picture
        self._seq = self._market.seq
        return self._frame("snapshot", now_ms, picture)

    def _picture(self, now_ms: int) -> dict[str, str]:  # noqa: ARG002 - futures need the time
        category = self.topic.category
        if category == "spot":
            return spot_picture(self._market)
        return (
            option_picture(self._market) if category == "option" else spread_picture(self._market)
        )

    def _frame(self, kind: str, now_ms: int, data: dict[str, str]) -> bytes:
        topic = self.topic
        frame: dict[str, Any] = {"topic": topic.name, "ts": now_ms, "type": kind}
        if topic.category == "spot":
            frame["cs"] = self._seq
        elif topic.category == "option":
            frame["id"] = f"{topic.name}-{self._seq}-{now_ms}"
        frame["data"] = data
        return encode(frame)


class FuturesTickerFeed(TickerFeed):
    """`tickers.{symbol}` on linear and inverse: a snapshot, then only the fields that changed."""

    def collect(self, now_ms: int) -> bytes | None:
        """Return the changed fields, None if there are none."""
        old, new = self._last, self._picture(now_ms)
        changed = {key for key, text in new.items() if old[key] != text}
        if not changed:
            return None
        changed |= {_PAIRS[key] for key in changed & _PAIRS.keys()}
        self._last = new
        self._seq = self._market.seq
        data = {key: text for key, text in new.items() if key in changed or key == "symbol"}
        return self._frame("delta", now_ms, data)

    def _picture(self, now_ms: int) -> dict[str, str]:
        return futures_picture(self._market, now_ms)

    def _frame(self, kind: str, now_ms: int, data: dict[str, str]) -> bytes:
        name = self.topic.name
        return encode({"topic": name, "type": kind, "data": data, "cs": self._seq, "ts": now_ms})


def futures_picture(market: SymbolMarket, now_ms: int) -> dict[str, str]:
    """Build all fields of a linear or inverse ticker; dated contracts have others than perps."""
    instrument, book, price = market.instrument, market.book, market.prices.text
    mark = market.prices.exact(market.mark_price())
    interest = market.sizes.exact(market.open_interest)
    inverse = instrument.category == "inverse"
    value = interest / mark if inverse else interest * mark
    volume = market.sizes.exact(market.volume)
    turnover = volume / mark if inverse else market.turnover
    picture = {
        "symbol": instrument.symbol,
        "tickDirection": market.direction,
        "price24hPcnt": fixed(_day_change(market), 6),
        "lastPrice": price(market.last_price),
        "prevPrice24h": price(market.open_price),
        "highPrice24h": price(market.high),
        "lowPrice24h": price(market.low),
        "prevPrice1h": price(market.open_price),
        "markPrice": price(market.mark_price()),
        "indexPrice": fixed(mark * _INDEX_PREMIUM, 2),
        "openInterest": market.sizes.text(market.open_interest),
        "openInterestValue": fixed(value, 2),
        "singleOpenInterest": plain(interest / 2),
        "singleOpenInterestValue": fixed(value / 2, 2),
        "turnover24h": fixed(turnover, 4),
        "volume24h": fixed(volume, 4),
    }
    if instrument.kind.endswith("Futures"):
        picture |= {
            "deliveryTime": _DELIVERY[instrument.symbol],
            "basisRate": "0.01066315",
            "deliveryFeeRate": "0.0005",
            "predictedDeliveryPrice": "0.00",
            "basis": "315.06",
            "basisRateYear": "0.30655351",
            "nextFundingTime": "",
            "fundingRate": "",
        }
    else:
        picture |= {
            "fundingIntervalHour": "8",
            "fundingCap": "0.005",
            "nextFundingTime": str((now_ms // _FUNDING_MS + 1) * _FUNDING_MS),
            "fundingRate": "0.0001",
        }
    picture |= {
        "bid1Price": price(book.bids.best),
        "bid1Size": market.sizes.text(book.bids.sizes[book.bids.keys[0]]),
        "ask1Price": price(book.asks.best),
        "ask1Size": market.sizes.text(book.asks.sizes[book.asks.keys[0]]),
    }
    if instrument.kind == "LinearPerpetual":
        picture |= {"preOpenPrice": "", "preQty": "", "curPreListingPhase": ""}
    return picture


def spot_picture(market: SymbolMarket) -> dict[str, str]:
    """Build all fields of a spot ticker; it has no bid and ask."""
    symbol, price = market.instrument.symbol, market.prices.text
    index = market.prices.exact(market.mark_price()) * _INDEX_PREMIUM
    return {
        "symbol": symbol,
        "lastPrice": price(market.last_price),
        "highPrice24h": price(market.high),
        "lowPrice24h": price(market.low),
        "prevPrice24h": price(market.open_price),
        "volume24h": market.sizes.text(market.volume),
        "turnover24h": plain(market.turnover),
        "price24hPcnt": fixed(_day_change(market), 4),
        "usdIndexPrice": "" if symbol in _WITHOUT_USD_INDEX else plain(index),
    }


def option_picture(market: SymbolMarket) -> dict[str, str]:
    """Build all fields of an option ticker; the greeks are constants of their sign."""
    book, price, size = market.book, market.prices.text, market.sizes.text
    put = market.instrument.kind == "Put"
    return {
        "symbol": market.instrument.symbol,
        "bidPrice": price(book.bids.best),
        "bidSize": size(book.bids.sizes[book.bids.keys[0]]),
        "bidIv": "0.3285",
        "askPrice": price(book.asks.best),
        "askSize": size(book.asks.sizes[book.asks.keys[0]]),
        "askIv": "0.4489",
        "lastPrice": price(market.last_price),
        "highPrice24h": price(market.high),
        "lowPrice24h": price(market.low),
        "markPrice": price(market.mark_price()),
        "indexPrice": "83885",
        "markPriceIv": "0.3868",
        "underlyingPrice": "86977.1",
        "openInterest": size(market.open_interest),
        "turnover24h": fixed(market.turnover, 4),
        "volume24h": size(market.volume),
        "totalVolume": size(market.volume),
        "totalTurnover": fixed(market.turnover, 0),
        "delta": "-0.5" if put else "0.5",
        "gamma": "0.00001",
        "vega": "100",
        "theta": "-40",
        "predictedDeliveryPrice": "0",
        "change24h": fixed(_day_change(market), 8),
    }


def spread_picture(market: SymbolMarket) -> dict[str, str]:
    """Build all fields of a spread ticker; prices may be negative."""
    book, price, size = market.book, market.prices.text, market.sizes.text
    return {
        "symbol": market.instrument.symbol,
        "bidPrice": price(book.bids.best),
        "bidSize": size(book.bids.sizes[book.bids.keys[0]]),
        "askPrice": price(book.asks.best),
        "askSize": size(book.asks.sizes[book.asks.keys[0]]),
        "lastPrice": price(market.last_price),
        "highPrice24h": price(market.high),
        "lowPrice24h": price(market.low),
        "prevPrice24h": price(market.open_price),
        "volume24h": size(market.volume),
    }


class PriceLimitFeed(Feed):
    """`priceLimit.{symbol}` (v5 reference 6.10): the frame has no `type`."""

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self._last: dict[str, str] = {}

    def resume(self, now_ms: int) -> None:  # noqa: ARG002 - limits know no time
        """Take the present limits as those everybody has."""
        self._last = self._limits()

    def greet(self, now_ms: int) -> bytes:
        """Return the limits everybody has."""
        return encode({"topic": self.topic.name, "data": self._last, "ts": now_ms})

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - a limit has one market
        """Any tick may have moved the limits."""
        return True

    def collect(self, now_ms: int) -> bytes | None:
        """Return the limits if they moved."""
        limits = self._limits()
        if limits == self._last:
            return None
        self._last = limits
        return self.greet(now_ms)

    def _limits(self) -> dict[str, str]:
        mark, price = self._market.mark_price(), self._market.prices.text
        return {
            "symbol": self.topic.symbol,
            "buyLmt": price(mark * (100 + _LIMIT_PERCENT) // 100),
            "sellLmt": price(mark * (100 - _LIMIT_PERCENT) // 100),
        }
