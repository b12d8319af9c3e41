"""Order book topics: snapshot then deltas, or snapshots only at depth 1."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from itertools import islice
from typing import Any, Generic

from bybit_sim.book import Size, View
from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import Channel, PublicTopic

REPUSH_MS = 3_000.0


class _AnyBookFeed(Feed, Generic[Size]):
    """What all books have in common; `view` is theirs alone.

    Attributes:
        view: the levels as last told, with their `u`.
    """

    def __init__(self, topic: PublicTopic, market: SymbolMarket, view: View[Size]) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self.view: View[Size] = view
        self._seq = market.seq
        self._matched_ms = market.matched_ms

    def resume(self, now_ms: int) -> None:
        """Bring the view up to date: nobody saw the frames in between."""
        self.view.advance()
        self._seq = self._market.seq
        self._matched_ms = self._market.matched_ms or now_ms

    def greet(self, now_ms: int) -> bytes:
        """Return a snapshot of what the other subscribers hold, with the present `u`."""
        return self._snapshot(now_ms)

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - a book has one market
        """Any tick may have moved the book."""
        return True

    def collect(self, now_ms: int) -> bytes | None:
        """Return a delta (depth 1: a snapshot) with `u` one higher, None if nothing moved."""
        change = self.view.advance()
        if change is None:
            return None
        self._seq = self._market.seq
        self._matched_ms = self._market.matched_ms
        if self.topic.depth == 1:
            return self._snapshot(now_ms)
        bids, asks = self._levels(change.bids), self._levels(change.asks)
        return self._frame("delta", now_ms, bids, asks)

    def beat(self, now_ms: int, last_push_ms: float) -> bytes | None:
        """Repeat an unchanged depth-1 book after 3 s, with the same `u`."""
        if self.topic.depth != 1 or now_ms - last_push_ms < REPUSH_MS:
            return None
        return self._snapshot(now_ms)

    def restart(self, now_ms: int) -> bytes:
        """Begin again at `u` 1 with a snapshot, as after a restart of Bybit's service."""
        self.resume(now_ms)
        self.view.update_id = 1
        return self._snapshot(now_ms)

    def picture(self, limit: int, now_ms: int) -> dict[str, Any]:
        """Return the best `limit` levels as last told, in the form of REST."""
        bids = self._levels(islice(self.view.bids.items(), limit))
        asks = self._levels(islice(self.view.asks.items(), limit))
        return {
            "s": self.topic.symbol,
            "b": bids,
            "a": asks,
            "ts": now_ms,
            "u": self.view.update_id,
            "seq": self._seq,
            "cts": self._matched_ms,
        }

    def _snapshot(self, now_ms: int) -> bytes:
        bids, asks = self._levels(self.view.bids.items()), self._levels(self.view.asks.items())
        return self._frame("snapshot", now_ms, bids, asks)

    @abstractmethod
    def _levels(self, levels: Iterable[tuple[int, Size]]) -> list[tuple[str, ...]]:
        """Write levels as they travel."""

    def _frame(
        self, kind: str, now_ms: int, bids: list[tuple[str, ...]], asks: list[tuple[str, ...]]
    ) -> bytes:
        topic = self.topic
        data = {
            "s": topic.symbol,
            "b": bids,
            "a": asks,
            "u": self.view.update_id,
            "seq": self._seq,
        }
        frame: dict[str, Any]
        # Key order is the recorded one (v5 reference 6.1 rule 12).
        futures = topic.category in {"linear", "inverse"}
        if futures and topic.depth != 1 and topic.channel is not Channel.RPI_BOOK:
            frame = {"topic": topic.name, "type": kind, "ts": now_ms}
        else:
            frame = {"topic": topic.name, "ts": now_ms, "type": kind}
            if topic.category == "option":
                frame["id"] = f"{topic.name}-{self._seq}-{now_ms}"
        frame["data"] = data
        frame["cts"] = self._matched_ms
        return encode(frame)


class BookFeed(_AnyBookFeed[int]):
    """`orderbook.{depth}.{symbol}` (v5 reference 6.1)."""

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, market, market.view(topic.depth))

    def _levels(self, levels: Iterable[tuple[int, int]]) -> list[tuple[str, ...]]:
        price, size = self._market.prices.text, self._market.sizes.text
        # A removed level is "0", not "0.000", on every recorded frame since 2023.
        return [(price(at), size(steps) if steps else "0") for at, steps in levels]


class RpiBookFeed(_AnyBookFeed[tuple[int, int]]):
    """`orderbook.rpi.{symbol}` (v5 reference 6.2): levels of price, other size and RPI size."""

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, market, market.rpi_view())

    def _levels(self, levels: Iterable[tuple[int, tuple[int, int]]]) -> list[tuple[str, ...]]:
        price, size = self._market.prices.text, self._market.sizes.text
        return [
            (price(at), size(other) if other else "0", size(rpi) if rpi else "0")
            for at, (other, rpi) in levels
        ]


class RepushingBookFeed(BookFeed):
    """Depth 1: the same, and repeated when nothing changes."""

    period_ms = REPUSH_MS / 6  # looked at often, sent only when 3 s have passed


AnyBookFeed = BookFeed | RpiBookFeed
