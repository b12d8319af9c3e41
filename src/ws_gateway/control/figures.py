"""The delivery counters as `/health` and the last log line tell them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ws_gateway.runtime.counters import Counters

QUANTILE_AGE_SECONDS = 0.5
"""How long latencies serve further callers: finding them sorts thousands of numbers on the loop
that moves events, and `/health` needs no key, so anybody may ask as often as they like."""


class Figures:
    """Reads the counters; whatever is counted is as it is now.

    Args:
        counters: where the rooms count.
        in_flight: answers how many observations are held in memory.
        spooled: answers how many are on disk alone.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        counters: Counters,
        in_flight: Callable[[], int],
        spooled: Callable[[], int] = lambda: 0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._in_flight = in_flight
        self._spooled = spooled
        self._monotonic = monotonic
        self._latency: dict[str, int | None] = {}
        self._latency_at: float | None = None

    def now(self) -> dict[str, Any]:
        """Tell them; `received` always equals the sum of where observations are or ended."""
        counters = self._counters
        return {
            "received": counters.received,
            "confirmed": counters.confirmed,
            "in_flight": self._in_flight(),
            "spooled": self._spooled(),
            "suppressed": dict(counters.suppressed),
            "shed": dict(counters.shed),
            "rejected": dict(counters.rejected),
            "restored": counters.restored,
            "markers": counters.markers,
            "quarantined": dict(counters.quarantined),
            "resent": counters.resent,
            "returned": counters.returned,
            "nacked": counters.nacked,
            "reconciled": dict(counters.reconciled),
            "differing": dict(counters.differing),
            "reconciliations": dict(counters.reconciliations),
            **self._newest_latency(),
        }

    def _newest_latency(self) -> dict[str, int | None]:
        now = self._monotonic()
        if self._latency_at is None or now - self._latency_at >= QUANTILE_AGE_SECONDS:
            self._latency = {
                "latency_p50_us": self._counters.latency_quantile(0.50),
                "latency_p99_us": self._counters.latency_quantile(0.99),
            }
            self._latency_at = now
        return self._latency
