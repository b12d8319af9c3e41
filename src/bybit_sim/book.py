"""A limit order book in whole ticks and steps, and the depth-limited views topics send of it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import insort
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Size = TypeVar("Size", int, tuple[int, int])

_MEAN_REACH = 6.0  # changes cluster near the top: mean distance from it, in levels
_DELETE_SHARE = 0.2
_INSERT_SHARE = 0.35
_RPI_EVERY = 4  # of the levels, about one in so many holds RPI orders too
_RPI_ALONE_EVERY = 9  # of the prices, one in so many has RPI orders only, if nothing else is there


class Ladder:
    """One side of a book: prices in ticks, kept in order, with sizes in steps.

    Bids are held as negated prices so that index 0 is the best level on either side.
    """

    __slots__ = ("keys", "sign", "sizes")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, int] = {}

    @property
    def best(self) -> int:
        """Best price in ticks."""
        return self.keys[0] * self.sign

    def set(self, price: int, size: int) -> None:
        """Put a level, new or known."""
        key = price * self.sign
        if key not in self.sizes:
            insort(self.keys, key)
        self.sizes[key] = size

    def drop(self, index: int) -> None:
        """Remove the level at a depth."""
        del self.sizes[self.keys.pop(index)]

    def drop_through(self, price: int) -> None:
        """Remove every level at `price` or better."""
        key = price * self.sign
        while self.keys and self.keys[0] <= key:
            self.drop(0)

    def top(self, depth: int) -> dict[int, int]:
        """Return the best `depth` levels as price to size, best first."""
        sign, sizes = self.sign, self.sizes
        return {key * sign: sizes[key] for key in self.keys[:depth]}


class Book:
    """Both sides, never crossed, moved by a seeded random source."""

    def __init__(self, rng: random.Random, *, middle: int, levels: int, size: int) -> None:
        self._rng = rng
        self._levels = levels
        self._size = size
        self._home = middle
        self._reach = max(20, abs(middle) // 20)
        self.bids = Ladder(-1)
        self.asks = Ladder(1)
        for side, start in ((self.bids, middle), (self.asks, middle + 1)):
            side.keys = []
            key = start * side.sign
            for _ in range(levels):
                side.keys.append(key)
                side.sizes[key] = self._some_size()
                key += rng.choice((1, 1, 1, 2, 3))

    def _some_size(self) -> int:
        return int(self._rng.expovariate(1.0) * self._size) + 1

    def step(self) -> int:
        """Let the market act once; return the direction the price moved: -1, 0 or 1."""
        rng = self._rng
        # A gentle pull towards the starting price keeps a day-long run near its seed.
        pull = max(-0.05, min(0.05, (self._home - self.bids.best) / self._reach))
        draw = rng.random()
        move = 1 if draw < 0.12 + pull else -1 if draw > 0.88 + pull else 0
        if move > 0:
            self._shift(gaining=self.bids, giving=self.asks)
        elif move < 0:
            self._shift(gaining=self.asks, giving=self.bids)
        for side in (self.bids, self.asks):
            for _ in range(rng.randint(1, 2)):
                self._touch(side)
        best = rng.choice((self.bids, self.asks))
        self._resize(best, 0)
        self._refill(self.bids)
        self._refill(self.asks)
        return move

    def _shift(self, *, gaining: Ladder, giving: Ladder) -> None:
        """Let one side take the best price of the other."""
        taken = giving.best
        giving.drop_through(taken)
        if not giving.keys or abs(giving.best - taken) > 2:  # noqa: PLR2004 - ticks of spread
            giving.set(taken + giving.sign, self._some_size())
        gaining.set(taken, self._some_size())

    def _touch(self, side: Ladder) -> None:
        rng = self._rng
        index = min(int(rng.expovariate(1 / _MEAN_REACH)), len(side.keys) - 1)
        draw = rng.random()
        if draw < _DELETE_SHARE and index > 0 and len(side.keys) > self._levels // 2:
            side.drop(index)
        elif draw < _DELETE_SHARE + _INSERT_SHARE:
            # One tick behind a level that exists is behind the best, so it cannot cross.
            side.set((side.keys[index] + 1) * side.sign, self._some_size())
        else:
            self._resize(side, index)

    def _resize(self, side: Ladder, index: int) -> None:
        key = side.keys[index]
        size = self._some_size()
        side.sizes[key] = size + 1 if size == side.sizes[key] else size

    def _refill(self, side: Ladder) -> None:
        while len(side.keys) > self._levels:
            side.drop(len(side.keys) - 1)
        while len(side.keys) < self._levels:
            gap = self._rng.choice((1, 1, 1, 2, 3))
            side.set((side.keys[-1] + gap) * side.sign, self._some_size())


@dataclass(frozen=True, slots=True)
class BookChange(Generic[Size]):
    """What a view must tell its subscribers; an empty size removes a level."""

    bids: list[tuple[int, Size]]
    asks: list[tuple[int, Size]]


class View(ABC, Generic[Size]):
    """The best levels as last told to subscribers, with their update id.

    All subscribers of a topic share one view, hence one stream of `u`; it outlives them, so
    that a later subscriber continues the numbering (v5 reference: `u` is per symbol and depth).

    Attributes:
        update_id: `u` of the last change.
        bids: price in ticks to size, best first.
        asks: likewise.
    """

    def __init__(self, book: Book, depth: int, update_id: int) -> None:
        self._book = book
        self._depth = depth
        self.update_id = update_id
        self.bids: dict[int, Size] = self._look(book.bids)
        self.asks: dict[int, Size] = self._look(book.asks)

    def advance(self) -> BookChange[Size] | None:
        """Take over the book's present top; None (and the same `u`) if it looks the same."""
        bids = self._look(self._book.bids)
        asks = self._look(self._book.asks)
        if bids == self.bids and asks == self.asks:
            return None
        change = BookChange(self._difference(self.bids, bids), self._difference(self.asks, asks))
        change.bids.sort(reverse=True)
        change.asks.sort()
        self.bids, self.asks = bids, asks
        self.update_id += 1
        return change

    @abstractmethod
    def _look(self, side: Ladder) -> dict[int, Size]:
        """Return the levels of a side that subscribers see now."""

    @property
    @abstractmethod
    def _gone(self) -> Size:
        """Size that removes a level."""

    def _difference(self, old: dict[int, Size], new: dict[int, Size]) -> list[tuple[int, Size]]:
        gone = self._gone
        changed = list(new.items() - old.items())
        # A level pushed out of the window by depth is told as removed, like a deleted one.
        changed.extend((price, gone) for price in old.keys() - new.keys())
        return changed


class BookView(View[int]):
    """The best `depth` levels, sizes in steps."""

    _gone = 0

    def _look(self, side: Ladder) -> dict[int, int]:
        return side.top(self._depth)


class RpiBookView(View[tuple[int, int]]):
    """The best levels with their share of retail price improvement: (other size, RPI size).

    Which levels have RPI orders, and where such orders stand alone, follows from price and size,
    so that two views of one book agree.
    """

    _gone = (0, 0)

    def _look(self, side: Ladder) -> dict[int, tuple[int, int]]:
        seen: dict[int, tuple[int, int]] = {}
        sizes = side.sizes
        for key in side.keys[: self._depth]:
            size = sizes[key]
            seen[key * side.sign] = (size, size // 2 if (key + size) % _RPI_EVERY == 0 else 0)
            behind = key + 1
            if behind % _RPI_ALONE_EVERY == 0 and behind not in sizes:
                seen[behind * side.sign] = (0, size)
        return dict(islice(seen.items(), self._depth))
