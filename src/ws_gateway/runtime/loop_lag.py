"""How late the event loop comes to what is due: everything else waits as long."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ws_gateway.runtime.histogram import QUICK_SECONDS, Histogram

LOOK_SECONDS = 0.5
REMEMBERED_SECONDS = 60.0


class LoopLag:
    """Sleeps and measures by how much it is woken late.

    Args:
        monotonic: clock in seconds.

    Attributes:
        lateness: every measurement since the start, in seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.lateness = Histogram(QUICK_SECONDS)
        self._newest: deque[float] = deque(maxlen=int(REMEMBERED_SECONDS / LOOK_SECONDS))

    @property
    def most_seconds(self) -> float:
        """Return the longest lateness of the last minute; 0 before the first measurement."""
        return max(self._newest, default=0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._monotonic() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self.note(self._monotonic() - due)

    def note(self, late_seconds: float) -> None:
        """Take note of one measurement."""
        self.lateness.observe(late_seconds)
        self._newest.append(max(0.0, late_seconds))
