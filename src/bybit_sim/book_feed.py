"""Order book topics: snapshot then deltas, or snapshots only at depth 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import PublicTopic

REPUSH_MS = 3_000.0


class BookFeed(Feed):
    """`orderbook.{depth}.{symbol}` (v5 reference 6.1)."""

    def __init__(self, topic: PublicTopic, market: SymbolMarket) -> None:
        super().__init__(topic, (market,))
        self._market = market
        self.view = market.view(topic.depth)
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

    def _snapshot(self, now_ms: int) -> bytes:
        bids, asks = self._levels(self.view.bids.items()), self._levels(self.view.asks.items())
        return self._frame("snapshot", now_ms, bids, asks)

    def _levels(self, levels: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
        price, size = self._market.prices.text, self._market.sizes.text
        # A removed level is "0", not "0.000", on every recorded frame since 2023.
        return [(price(at), size(steps) if steps else "0") for at, steps in levels]

    def _frame(
        self, kind: str, now_ms: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]]
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
        if topic.category in {"linear", "inverse"} and topic.depth != 1:
            frame = {"topic": topic.name, "type": kind, "ts": now_ms}
        else:
            frame = {"topic": topic.name, "ts": now_ms, "type": kind}
            if topic.category == "option":
                frame["id"] = f"{topic.name}-{self._seq}-{now_ms}"
        frame["data"] = data
        frame["cts"] = self._matched_ms
        return encode(frame)


class RepushingBookFeed(BookFeed):
    """Depth 1: the same, and repeated when nothing changes."""

    period_ms = REPUSH_MS / 6  # looked at often, sent only when 3 s have passed
