"""Topics that tell of matches: trades, candles, liquidations."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, ClassVar

from bybit_sim.decimals import fixed, plain
from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket, Trade
from bybit_sim.topics import KLINE_MS, PublicTopic

_MOST_TRADES_PER_FRAME = 1_024
_WEEK_OFFSET_MS = 4 * 86_400_000  # the epoch was a Thursday; candles of a week start on Monday
_CANDLES_KEPT = 10_000
_QUIET_CANDLE_MS = 10_000.0


class TradeFeed(Feed):
    """`publicTrade.{symbol}`, or `.{baseCoin}` for options (v5 reference 6.4)."""

    def __init__(self, topic: PublicTopic, markets: tuple[SymbolMarket, ...]) -> None:
        super().__init__(topic, markets)
        self._rows: list[dict[str, Any]] = []

    def resume(self, now_ms: int) -> None:  # noqa: ARG002 - nothing of the pause is told
        """Forget what happened while nobody listened: trades are not replayed."""
        self._rows.clear()

    def absorb(self, market: SymbolMarket) -> bool:
        """Take the tick's trades."""
        for trade in market.fresh_trades:
            if len(self._rows) < _MOST_TRADES_PER_FRAME:
                self._rows.append(trade_row(market, trade))
        return bool(self._rows)

    def collect(self, now_ms: int) -> bytes | None:
        """Return all trades since the last frame, in order of matching."""
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        name = self.topic.name
        if self.topic.category in {"linear", "inverse"}:
            return encode({"topic": name, "type": "snapshot", "ts": now_ms, "data": rows})
        frame: dict[str, Any] = {"topic": name, "ts": now_ms, "type": "snapshot"}
        if self.topic.category == "option":
            frame["id"] = f"{name}-{rows[-1]['seq']}-{now_ms}"
        frame["data"] = rows
        return encode(frame)


def trade_row(market: SymbolMarket, trade: Trade) -> dict[str, Any]:
    """Build one element of `data`; keys and their order differ by category."""
    symbol, category = market.instrument.symbol, market.instrument.category
    price, size = market.prices.text(trade.price), market.sizes.text(trade.size)
    if category in {"linear", "inverse", "spread"}:
        row: dict[str, Any] = {
            "T": trade.time_ms,
            "s": symbol,
            "S": trade.side,
            "v": size,
            "p": price,
            "L": trade.direction,
            "i": trade.trade_id,
        }
        if category != "spread":
            row |= {"BT": False, "RPI": False}
        return row | {"seq": trade.seq}
    row = {
        "i": trade.trade_id,
        "T": trade.time_ms,
        "p": price,
        "v": size,
        "S": trade.side,
        "seq": trade.seq,
        "s": symbol,
        "BT": False,
    }
    if category == "spot":
        return row | {"RPI": False}
    return row | {
        "mP": market.prices.text(market.mark_price()),
        "iP": "83885.18491835",
        "mIv": "0.1389",
        "iv": "0.14",
    }


class _Candle:
    __slots__ = ("close", "end", "high", "low", "open", "start", "touched", "turnover", "volume")

    def __init__(self, start: int, end: int, price: Decimal) -> None:
        self.start = start
        self.end = end
        self.open = self.close = self.high = self.low = price
        self.volume = self.turnover = Decimal(0)
        self.touched = start

    def add(self, price: Decimal, size: Decimal, time_ms: int) -> None:
        self.close = price
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.volume += size
        self.turnover += price * size
        self.touched = time_ms


class KlineFeed(Feed):
    """`kline.{interval}.{symbol}` (v5 reference 6.6): about once a second, `confirm` at the end."""

    period_ms: ClassVar[float | None] = 1_000.0

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self._interval_ms = KLINE_MS[topic.interval]
        self._candle = self._new_candle(0)
        self._closed: list[_Candle] = []
        self._past: deque[_Candle] = deque(maxlen=_CANDLES_KEPT)
        self._changed = True

    def resume(self, now_ms: int) -> None:
        """Go on with the running candle, or start one from the last price if it is over."""
        self._roll(now_ms)
        self._closed.clear()
        self._candle.touched = now_ms

    def rows(
        self, now_ms: int, start: int = 0, end: int = 2**63, limit: int = _CANDLES_KEPT
    ) -> list[list[str]]:
        """Return the candles for REST that start within a span, the running one included.

        The newest first; of more than there may be, those nearest to the end (v5 reference 11.13).
        """
        self._roll(now_ms)
        told = (self._candle, *reversed(self._past))
        wanted = (candle for candle in told if start <= candle.start <= end)
        return [_rest_row(candle) for candle in islice(wanted, limit)]

    def greet(self, now_ms: int) -> bytes:
        """Return the running candle."""
        return self._frame(self._candle, now_ms, confirm=False)

    def absorb(self, market: SymbolMarket) -> bool:
        """Add the tick's trades to their candle; frames go out by time."""
        for trade in market.fresh_trades:
            self._roll(trade.time_ms)
            price, size = market.prices.exact(trade.price), market.sizes.exact(trade.size)
            self._candle.add(price, size, trade.time_ms)
            self._changed = True
        return False

    def collect(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - frames go out by time
        """Return nothing: candles go out in `beat`."""
        return None

    def beat(self, now_ms: int, last_push_ms: float) -> bytes | None:
        """Return a closed candle if there is one, else the running one if it moved."""
        self._roll(now_ms)
        if self._closed:
            self._changed = True
            return self._frame(self._closed.pop(0), now_ms, confirm=True)
        if not self._changed and now_ms - last_push_ms < _QUIET_CANDLE_MS:
            return None
        self._changed = False
        return self._frame(self._candle, now_ms, confirm=False)

    def _roll(self, time_ms: int) -> None:
        if time_ms > self._candle.end:
            if self._candle.start > 0:  # the one of the constructor never was
                self._closed.append(self._candle)
                self._past.append(self._candle)
                self._past.extend(self._quiet(self._candle.end + 1, time_ms))
            self._candle = self._new_candle(time_ms)

    def _quiet(self, start: int, time_ms: int) -> Iterator[_Candle]:
        """Make the candles in which nothing happened before the one of now: none is left out."""
        now_start, length = self._new_candle(time_ms).start, self._interval_ms
        first = max(start, now_start - _CANDLES_KEPT * length)
        for at in range(first, now_start, length):
            yield _Candle(at, at + length - 1, self._candle.close)

    def _new_candle(self, time_ms: int) -> _Candle:
        offset = _WEEK_OFFSET_MS if self.topic.interval == "W" else 0
        start = time_ms - (time_ms - offset) % self._interval_ms
        price = self._market.prices.exact(self._market.last_price)
        return _Candle(start, start + self._interval_ms - 1, price)

    def _frame(self, candle: _Candle, now_ms: int, *, confirm: bool) -> bytes:
        row = {
            "start": candle.start,
            "end": candle.end,
            "interval": self.topic.interval,
            "open": plain(candle.open),
            "close": plain(candle.close),
            "high": plain(candle.high),
            "low": plain(candle.low),
            "volume": plain(candle.volume),
            "turnover": plain(candle.turnover),
            "confirm": confirm,
            "timestamp": candle.touched,
        }
        name = self.topic.name
        return encode({"topic": name, "data": [row], "ts": now_ms, "type": "snapshot"})


def _rest_row(candle: _Candle) -> list[str]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    amounts = (candle.volume, candle.turnover)
    return [str(candle.start), *(plain(each) for each in (*prices, *amounts))]


class LiquidationFeed(Feed):
    """`allLiquidation.{symbol}` (v5 reference 6.7): now and then, in 500 ms bundles."""

    period_ms: ClassVar[float | None] = 500.0

    def __init__(self, topic: PublicTopic, market: SymbolMarket, every_seconds: float) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self._every_ms = every_seconds * 1000.0
        self._rng = random.Random(f"{topic.category}:{topic.name}:{market.seq}")
        self._due_ms = 0.0

    def resume(self, now_ms: int) -> None:
        """Draw when the next liquidation happens."""
        self._draw(now_ms)

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - time decides, not ticks
        """Ticks do not matter here."""
        return False

    def collect(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - frames go out by time
        """Return nothing: liquidations go out in `beat`."""
        return None

    def beat(self, now_ms: int, last_push_ms: float) -> bytes | None:  # noqa: ARG002 - own timing
        """Return the liquidations of the last half second, if one was due."""
        if self._due_ms - now_ms > self._every_ms:  # the server's clock went back
            self._draw(now_ms)
        if now_ms < self._due_ms:
            return None
        self._draw(now_ms)
        rows = []
        for _ in range(self._rng.choice((1, 1, 2))):
            long = self._rng.random() < 0.5  # noqa: PLR2004 - a coin
            price = self._market.prices.exact(self._market.mark_price())
            # `p` is the bankruptcy price: below the market for a long, above it for a short.
            bankrupt = price * (Decimal("0.98") if long else Decimal("1.02"))
            rows.append(
                {
                    "T": now_ms - self._rng.randint(1, 499),
                    "s": self.topic.symbol,
                    "S": "Buy" if long else "Sell",
                    "v": self._market.sizes.text(self._rng.randint(1, 100)),
                    "p": fixed(bankrupt, self._market.prices.scale),
                }
            )
        rows.sort(key=_match_time)
        name = self.topic.name
        return encode({"topic": name, "type": "snapshot", "ts": now_ms, "data": rows})

    def _draw(self, now_ms: int) -> None:
        # Bounded rather than exponential: whoever waits for one gets one in known time.
        self._due_ms = now_ms + self._rng.uniform(0.25, 1.0) * self._every_ms


def _match_time(row: dict[str, Any]) -> int:
    return int(row["T"])
