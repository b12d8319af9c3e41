"""One agenda for everything that happens by itself, worked off by one task."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable

from bybit_sim.config import Clock

logger = logging.getLogger(__name__)

Action = Callable[[float], None]
"""Called with the present time in milliseconds."""

_SLICE_MS = 15.0  # longest stretch of work before sockets get their turn
_SHORTEST_SLEEP_SECONDS = 0.001
_LONGEST_SLEEP_SECONDS = 0.2  # bounds how late a change of an injected clock is noticed


class Pulse:
    """Runs actions when they are due, in due order; late work is done at once, not dropped.

    Attributes:
        skew_ms: how far the server's own time is ahead of the agenda's. Only stamps are moved:
            an agenda that jumped would stop, or do a day's work at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agenda: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._sooner = asyncio.Event()
        self.skew_ms = 0.0

    def now_ms(self) -> float:
        """Return the clock's time in milliseconds."""
        return self._clock() * 1000.0

    def server_ms(self) -> int:
        """Return the time the server believes it is, in milliseconds."""
        return int(self.now_ms() + self.skew_ms)

    def at(self, due_ms: float, action: Action) -> None:
        """Put an action on the agenda."""
        entry = (due_ms, next(self._order), action)
        heapq.heappush(self._agenda, entry)
        if self._agenda[0] is entry:
            self._sooner.set()

    def run_due(self) -> None:
        """Do what is due, for at most a slice of time."""
        agenda = self._agenda
        now = self.now_ms()
        stop = now + _SLICE_MS
        while agenda and agenda[0][0] <= now < stop:
            _, _, action = heapq.heappop(agenda)
            action(now)
            now = self.now_ms()

    async def run(self) -> None:
        """Work the agenda off until cancelled."""
        while True:
            self._sooner.clear()
            self.run_due()
            wait = _LONGEST_SLEEP_SECONDS
            if self._agenda:
                wait = min(wait, (self._agenda[0][0] - self.now_ms()) / 1000.0)
            if wait <= 0:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(max(wait, _SHORTEST_SLEEP_SECONDS)):
                    await self._sooner.wait()
            except TimeoutError:
                continue
