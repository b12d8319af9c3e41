"""How far the venue's clock is ahead of ours: what a login's expiry is reckoned with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from ws_gateway.errors import Rejected, VenueLost

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

MEASURE_SECONDS, RETRY_SECONDS = 300.0, 30.0
"""How often the offset is measured, and how soon again after that failed."""

SLOWEST_ANSWER_SECONDS = 5.0
"""An answer that took longer tells too little: half of that is the error of the measurement."""

_STEP_MS = 200.0
"""Difference of our two clocks over one call that means the wall clock was set meanwhile."""

_EARLIEST_MS = 1_577_836_800_000  # 2020
_LATEST_MS = 4_102_444_800_000  # 2100


class ServerTime(Protocol):
    """Who knows the venue's clock."""

    async def server_time_ms(self) -> int:
        """Return it in Unix ms. Raises `VenueLost` or `Rejected`."""


class VenueClock:
    """Our clock, set right by the venue's.

    Args:
        server: who is asked.
        clock_us: our time of day, µs.
        monotonic: clock in seconds.
        measure_seconds, retry_seconds: pauses of `run`, after a measurement and after none.

    Attributes:
        offset_ms: server minus local; 0 until it was measured.
        uncertainty_ms: largest error of that.
        measured_at: when, by our clock; None before the first time.
    """

    def __init__(
        self,
        server: ServerTime,
        *,
        clock_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        measure_seconds: float = MEASURE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._server = server
        self._measure_seconds = measure_seconds
        self._retry_seconds = retry_seconds
        self._clock_us = clock_us
        self._monotonic = monotonic
        self.offset_ms = 0
        self.uncertainty_ms = 0
        self.measured_at: datetime | None = None

    def now_ms(self) -> int:
        """Return what the venue's clock shows now, as far as it was measured."""
        return self._clock_us() // 1000 + self.offset_ms

    async def measure(self) -> int:
        """Measure and keep the offset; answers it.

        Raises:
            VenueLost: the venue did not tell, or not in a way that tells its time; the offset
                stays what it was.
            Rejected: the venue refused to tell.
        """
        wall_us, began = self._clock_us(), self._monotonic()
        server_ms = await self._server.server_time_ms()
        took_ms = (self._monotonic() - began) * 1000
        wall_took_ms = (self._clock_us() - wall_us) / 1000
        if took_ms > SLOWEST_ANSWER_SECONDS * 1000:
            raise VenueLost("clock", f"the server time took {took_ms:.0f} ms, too long to use")
        if abs(wall_took_ms - took_ms) > _STEP_MS:
            raise VenueLost("clock", "our own clock was set while the server time was asked for")
        if not _EARLIEST_MS <= server_ms <= _LATEST_MS:
            raise VenueLost("clock", f"the server time {server_ms} is of no sensible year")
        self.offset_ms = round(server_ms - (wall_us / 1000 + took_ms / 2))
        self.uncertainty_ms = round(took_ms / 2) + 1
        self.measured_at = datetime.fromtimestamp(self._clock_us() / 1e6, tz=UTC)
        return self.offset_ms

    async def run(self) -> None:
        """Measure now and again, until cancelled; while the venue is away the offset stays."""
        is_away = False
        while True:
            try:
                await self.measure()
            except (VenueLost, Rejected) as exc:
                if not is_away:
                    log.info("venue.clock_not_measured", why=str(exc))
                is_away = True
                await asyncio.sleep(self._retry_seconds)
            else:
                is_away = False
                await asyncio.sleep(self._measure_seconds)
