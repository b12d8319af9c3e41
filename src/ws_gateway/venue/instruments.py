"""The instruments the venue lists: read in the background, kept while REST is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from random import Random
from typing import Protocol

import structlog

from ws_gateway.domain.category import Listing
from ws_gateway.domain.topic import Category, Channel
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.venue.nearest import SymbolIndex
from ws_gateway.venue.rest import Instrument

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_RETRY_BASE_SECONDS = 2.0
_RETRY_CAP_SECONDS = 60.0
_SHORTEST_PAUSE_SHARE = 0.25
_JITTER = 0.1
_FRESH_SECONDS = 30.0
_ASK_SECONDS = 3.0
_NOT_YET = "it has not been read yet"


class InstrumentSource(Protocol):
    """Who knows the lists; `BybitRest`."""

    async def instruments(
        self, category: Category, base_coin: str | None = None
    ) -> list[Instrument]:
        """Return all of a category. Raises `VenueLost` or `Rejected`."""


class Instruments:
    """The lists of the enabled categories, as they were last read.

    Nothing waits for them: what is asked for before they are read is answered by shape.

    Args:
        source: where they are read.
        categories: which are read.
        option_base_coins: whose options are listed; the venue lists them per coin only.
        rng: source of chance, so that a test can own it.
        refresh_seconds: between two readings, give or take a tenth.
        retry_base_seconds: width of the first delay after a failure.
    """

    def __init__(
        self,
        source: InstrumentSource,
        *,
        categories: Collection[Category],
        option_base_coins: Sequence[str],
        rng: Random,
        refresh_seconds: float = 900.0,
        retry_base_seconds: float = _RETRY_BASE_SECONDS,
    ) -> None:
        self._source = source
        self._categories = tuple(each for each in Category if each in categories)
        self._coins = tuple(option_base_coins)
        self._rng = rng
        self._refresh_seconds = refresh_seconds
        self._retry_base_seconds = retry_base_seconds
        self._symbols: dict[Category, frozenset[str]] = {}
        self._indexes: dict[tuple[Category, Channel | None], SymbolIndex] = {}
        self._read_at: dict[Category, float] = {}
        self._asking = asyncio.Lock()
        self._option_coins: frozenset[str] = frozenset()
        self._refused_coins: set[str] = set()
        self._faults: dict[Category, str] = dict.fromkeys(self._categories, _NOT_YET)

    @property
    def is_complete(self) -> bool:
        """Say whether the list of every enabled category was read at least once."""
        return len(self._symbols) == len(self._categories)

    def listing(self, channel: Channel, symbol: str) -> Listing:
        """Say which lists name a symbol; trades of options are named by their base coin."""
        unread = frozenset(each for each in self._categories if each not in self._symbols)
        return Listing(
            categories=self._naming(channel, symbol),
            unread=unread,
            why_unread="; ".join(dict.fromkeys(self._faults[each] for each in sorted(unread))),
            other_case=(
                symbol.upper()
                if symbol != symbol.upper() and self._naming(channel, symbol.upper())
                else None
            ),
        )

    async def misspelt(
        self, channel: Channel, symbol: str, categories: Collection[Category]
    ) -> list[str]:
        """Name the listed symbols that a symbol no list names was probably meant to be.

        A list that was not read just now is read again before, for the symbol may be new.

        Args:
            channel: kind of data; trades of options are named by their base coin.
            symbol: as written.
            categories: where it may be listed.

        Returns:
            The most alike first; empty if the symbol is listed, if nothing is like it, or if it
            cannot be told because a list is not to be had.
        """
        if not self._could_mean(channel, symbol, categories):
            return []
        try:
            async with asyncio.timeout(_ASK_SECONDS), self._asking:
                for category in categories:
                    if time.monotonic() - self._read_at[category] >= _FRESH_SECONDS:
                        self._keep(category, await self._rows(category))
        except (TimeoutError, VenueLost, Rejected) as exc:
            log.info("venue.symbol_unchecked", symbol=symbol, why=str(exc) or "no answer in time")
            return []
        return self._could_mean(channel, symbol, categories)

    def _could_mean(
        self, channel: Channel, symbol: str, categories: Collection[Category]
    ) -> list[str]:
        if not categories or any(each not in self._symbols for each in categories):
            return []
        if any(symbol in self._names(channel, each) for each in categories):
            return []
        found = dict.fromkeys(
            near for each in categories for near in self._index(channel, each).near(symbol)
        )
        return SymbolIndex(found).near(symbol)

    def _index(self, channel: Channel, category: Category) -> SymbolIndex:
        key = (category, channel if channel is Channel.TRADES else None)
        if key not in self._indexes:
            self._indexes[key] = SymbolIndex(self._names(channel, category))
        return self._indexes[key]

    def _names(self, channel: Channel, category: Category) -> frozenset[str]:
        if category is Category.OPTION and channel is Channel.TRADES:
            return self._option_coins
        return self._symbols.get(category, frozenset())

    def _naming(self, channel: Channel, symbol: str) -> tuple[Category, ...]:
        return tuple(each for each in self._categories if symbol in self._names(channel, each))

    async def run(self) -> None:
        """Read the lists now and again, until cancelled."""
        late: tuple[Category, ...] = self._categories
        delays = self._fresh_delays()
        while True:
            least = await self._read(late)
            late = tuple(each for each in late if each in self._faults)
            if late:
                pause = max(least, next(delays), self._retry_base_seconds * _SHORTEST_PAUSE_SHARE)
            else:
                late, delays = self._categories, self._fresh_delays()
                pause = self._refresh_seconds * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(pause)

    async def _read(self, categories: Sequence[Category]) -> float:
        """Read some lists; answers how long the venue asked to be left alone."""
        least = 0.0
        for category in categories:
            before = self._faults.get(category, "")
            try:
                rows = await self._rows(category)
            except (VenueLost, Rejected) as exc:
                self._faults[category] = str(exc)
                if isinstance(exc, VenueLost):
                    least = max(least, exc.retry_after_seconds or 0.0)
                if before in {"", _NOT_YET}:  # the first of a row of failures
                    log.warning("venue.instruments_unread", category=category.value, why=str(exc))
                continue
            self._faults.pop(category, None)
            self._keep(category, rows)
            if before:
                log.info("venue.instruments_read", category=category.value, listed=len(rows))
        return least

    async def _rows(self, category: Category) -> list[Instrument]:
        if category is not Category.OPTION:
            return await self._source.instruments(category)
        rows: list[Instrument] = []
        for coin in self._coins:
            try:
                rows += await self._source.instruments(category, coin)
            except Rejected as exc:
                if coin not in self._refused_coins:
                    self._refused_coins.add(coin)
                    log.warning("venue.option_coin_refused", coin=coin, why=str(exc))
        return rows

    def _keep(self, category: Category, rows: Sequence[Instrument]) -> None:
        self._symbols[category] = frozenset(row.symbol for row in rows)
        self._read_at[category] = time.monotonic()
        for channel in (None, Channel.TRADES):
            self._indexes.pop((category, channel), None)
        if category is Category.OPTION:
            self._option_coins = frozenset(row.base_coin for row in rows if row.base_coin)

    def _fresh_delays(self) -> Iterator[float]:
        return full_jitter(
            base_seconds=self._retry_base_seconds,
            cap_seconds=_RETRY_CAP_SECONDS,
            rng=self._rng,
            first_at_once=False,
        )
