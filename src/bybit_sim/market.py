"""The seeded market: what happens in each symbol, tick by tick, independent of who watches."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from bybit_sim.book import Book, BookView, RpiBookView
from bybit_sim.decimals import Grid
from bybit_sim.instruments import Instrument

RPI_DEPTH = 50
_TRADE_SHARE = 0.4
_BATCH_SHARE = 0.2
_SPOT_TRADE_ID = 2_290_000_001_000_000_000  # recorded spot ids look like 2290000001225843671


@dataclass(frozen=True, slots=True)
class Trade:
    """One match; several of one tick share `seq` and `time_ms`.

    Attributes:
        trade_id: UUID on derivatives, digits on spot.
        side: of the taker, `Buy` or `Sell`.
        price: in ticks.
        size: in steps.
        seq: cross sequence.
        time_ms: when it matched.
        direction: `L` of the frame.
    """

    trade_id: str
    side: str
    price: int
    size: int
    seq: int
    time_ms: int
    direction: str


class SymbolMarket:
    """One symbol's book, trades and statistics: a pure function of seed, symbol and tick count.

    Time enters only as the stamp the caller passes to `tick`. `past_trades` holds the last trades,
    oldest first.
    """

    def __init__(self, instrument: Instrument, seed: int) -> None:
        self.instrument = instrument
        self._seed = seed
        # Seeding by text is stable across processes and Python versions (sha512 inside).
        self.rng = random.Random(f"{seed}:{instrument.category}:{instrument.symbol}")
        self.prices = Grid.of(instrument.tick, trims=instrument.trims_zeros)
        self.sizes = Grid.of(instrument.step, trims=instrument.trims_zeros)
        middle = self.prices.count(instrument.price)
        self.book = Book(self.rng, middle=middle, levels=instrument.levels, size=instrument.size)
        self.seq = self.rng.randrange(10**10, 9 * 10**11)
        self.matched_ms = 0
        self.ticks = 0
        self.last_price = middle
        self.direction = "ZeroPlusTick"
        swing = abs(middle) // 50 + 1
        self.open_price = middle - self.rng.randint(-swing, swing)
        self.high = max(middle, self.open_price)
        self.low = min(middle, self.open_price)
        self.volume = self.rng.randrange(10**5, 10**6) * instrument.size // 100
        self.turnover = self.prices.exact(middle) * self.sizes.exact(self.volume)
        self.open_interest = self.rng.randrange(10**4, 10**5) * instrument.size // 10
        self.fresh_trades: list[Trade] = []
        self._trade_number = _SPOT_TRADE_ID + self.rng.randrange(10**8)
        self.past_trades: deque[Trade] = deque(maxlen=instrument.trades_kept)
        self._views: dict[int, BookView] = {}
        self._rpi_view: RpiBookView | None = None

    def tick(self, now_ms: int) -> None:
        """Let the market act once at `now_ms`; `fresh_trades` then holds this tick's trades."""
        self.ticks += 1
        self.matched_ms = now_ms
        self.seq += self.rng.randint(1, 40)
        before_bid, before_ask = self.book.bids.best, self.book.asks.best
        move = self.book.step()
        self.fresh_trades = []
        if move or self.rng.random() < _TRADE_SHARE:
            buys = move > 0 or (move == 0 and self.rng.random() < 0.5)  # noqa: PLR2004
            self._print(buys=buys, price=before_ask if buys else before_bid, now_ms=now_ms)
            self.past_trades.extend(self.fresh_trades)

    def view(self, depth: int) -> BookView:
        """Return the one view of a depth, made on first use with a seeded `u` far from 1."""
        view = self._views.get(depth)
        if view is None:
            # Its own source: asking for a view must not change what the market does next.
            view = BookView(self.book, depth, self._first_update_id(str(depth)))
            self._views[depth] = view
        return view

    def rpi_view(self) -> RpiBookView:
        """Return the view with the RPI orders told apart."""
        if self._rpi_view is None:
            self._rpi_view = RpiBookView(self.book, RPI_DEPTH, self._first_update_id("rpi"))
        return self._rpi_view

    def mark_price(self) -> int:
        """Return a mark price in ticks, between the best bid and ask."""
        return (self.book.bids.best + self.book.asks.best) // 2

    def _first_update_id(self, view: str) -> int:
        source = random.Random(f"{self._seed}:{self.instrument.symbol_id}:{view}")
        return source.randrange(10**6, 3 * 10**7)

    def _print(self, *, buys: bool, price: int, now_ms: int) -> None:
        rng = self.rng
        count = rng.randint(2, 4) if rng.random() < _BATCH_SHARE else 1
        for _ in range(count):
            size = max(1, int(rng.expovariate(1.0) * self.instrument.size) // 10)
            if price == self.last_price:
                self.direction = "ZeroPlusTick" if "Plus" in self.direction else "ZeroMinusTick"
            else:
                self.direction = "PlusTick" if price > self.last_price else "MinusTick"
            self.fresh_trades.append(
                Trade(
                    trade_id=self._next_trade_id(),
                    side="Buy" if buys else "Sell",
                    price=price,
                    size=size,
                    seq=self.seq,
                    time_ms=now_ms,
                    direction=self.direction,
                )
            )
            self.last_price = price
            self.volume += size
            self.turnover += self.prices.exact(price) * self.sizes.exact(size)
        self.high = max(self.high, price)
        self.low = min(self.low, price)

    def _next_trade_id(self) -> str:
        if self.instrument.category == "spot":
            self._trade_number += 1
            return str(self._trade_number)
        # Recorded derivative ids are version 5 UUIDs; the bits come from the seed.
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=5))


class Market:
    """All symbols of all categories; each is built when first asked for."""

    def __init__(self, instruments: Mapping[tuple[str, str], Instrument], seed: int) -> None:
        self.instruments = instruments
        self._seed = seed
        self._symbols: dict[tuple[str, str], SymbolMarket] = {}

    def symbol(self, category: str, symbol: str) -> SymbolMarket:
        """Return one symbol's market.

        Raises:
            KeyError: no such instrument is listed.
        """
        market = self._symbols.get((category, symbol))
        if market is None:
            market = SymbolMarket(self.instruments[category, symbol], self._seed)
            self._symbols[category, symbol] = market
        return market

    def has(self, category: str, symbol: str) -> bool:
        """Tell whether an instrument is listed."""
        return (category, symbol) in self.instruments

    def options_of(self, base: str) -> list[SymbolMarket]:
        """Return the markets of every option on a base coin."""
        return [
            self.symbol("option", each.symbol)
            for each in self.instruments.values()
            if each.category == "option" and each.base == base
        ]

    def price(self, category: str, symbol: str) -> Decimal:
        """Return a symbol's present mark price."""
        market = self.symbol(category, symbol)
        return market.prices.exact(market.mark_price())
