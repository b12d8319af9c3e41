"""System notices: the one topic of the status socket, and what REST tells of them."""

from __future__ import annotations

import random
import uuid
from collections import deque
from typing import Any

from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import STATUS_TOPIC, PublicTopic

_NOTICES_KEPT = 100


class StatusFeed(Feed):
    """`system.status` (v5 reference 6.11): speaks only when something happens."""

    def __init__(self, topic: PublicTopic) -> None:
        super().__init__(topic, ())

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - notices have no market
        """Notices do not follow ticks."""
        return False

    def collect(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - frames go out on events
        """Return nothing: notices are announced when they are posted."""
        return None


class StatusBoard:
    """Remembers notices, newest first; whoever posts one also has to announce its frame.

    Attributes:
        notices: rows as they stand now.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}:status")
        self.notices: deque[dict[str, Any]] = deque(maxlen=_NOTICES_KEPT)

    def post(self, notice: dict[str, Any]) -> dict[str, Any]:
        """Add a notice, with an id of its own; return the row, which may be changed later."""
        row = {"id": str(uuid.UUID(int=self._rng.getrandbits(128), version=1)), **notice}
        self.notices.appendleft(row)
        return row

    def frame(self, row: dict[str, Any], now_ms: int) -> bytes:
        """Write what subscribers are told of a notice; there is no `type`."""
        return encode({"topic": STATUS_TOPIC, "ts": now_ms, "data": [row]})
