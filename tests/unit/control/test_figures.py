"""The counters as they are shown."""

from __future__ import annotations

from ws_gateway.control.figures import QUANTILE_AGE_SECONDS, Figures
from ws_gateway.runtime.counters import Counters


class CountingCounters(Counters):
    """Counts how often the latencies were sorted."""

    __slots__ = ("sorted_times",)

    def __init__(self) -> None:
        super().__init__()
        self.sorted_times = 0

    def latency_quantile(self, share: float) -> int | None:
        """Count, and answer as always."""
        self.sorted_times += 1
        return super().latency_quantile(share)


def test_many_callers_have_the_latencies_sorted_once_a_moment() -> None:
    """The counts are those of now all the same."""
    counters, now = CountingCounters(), 100.0
    counters.latencies_us.extend([10, 20, 30])
    figures = Figures(counters, lambda: 5, monotonic=lambda: now)
    assert figures.now()["latency_p50_us"] == 20
    for received in range(1, 50):
        counters.received = received
        counters.latencies_us.append(1000)
        shown = figures.now()
        assert (shown["received"], shown["in_flight"]) == (received, 5)
        assert shown["latency_p50_us"] == 20
    assert counters.sorted_times == 2
    now += QUANTILE_AGE_SECONDS
    assert figures.now()["latency_p50_us"] == 1000
    assert counters.sorted_times == 4


def test_before_the_first_event_there_is_no_latency() -> None:
    """Null, not zero."""
    shown = Figures(Counters(), lambda: 0).now()
    assert (shown["latency_p50_us"], shown["latency_p99_us"]) == (None, None)
