"""Times in buckets, and how late the event loop is."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.runtime.histogram import QUICK_SECONDS, Histogram, Histograms
from ws_gateway.runtime.loop_lag import LoopLag


@given(st.lists(st.tuples(st.floats(-1, 100), st.integers(1, 50))))
def test_each_bucket_holds_what_is_at_most_its_bound(values: list[tuple[float, int]]) -> None:
    """The last one holds all, and the sum never falls."""
    histogram = Histogram(QUICK_SECONDS)
    for value, stands_for in values:
        before = histogram.total
        histogram.observe(value, stands_for)
        assert histogram.total >= before
    told = histogram.cumulative()
    for bound, count in zip(QUICK_SECONDS, told[:-1], strict=True):
        assert count == sum(many for value, many in values if max(value, 0.0) <= bound)
    assert told[-1] == sum(many for _, many in values)


def test_histograms_of_other_labels_are_others() -> None:
    """Each is made when it is asked for, once."""
    measure = Histograms((1.0,))
    assert list(measure.items()) == []
    measure.of("a", "b").observe(0.5)
    assert measure.of("a", "b").cumulative() == [1, 1]
    assert measure.of("a", "c").cumulative() == [0, 0]
    assert [labels for labels, _ in measure.items()] == [("a", "b"), ("a", "c")]


async def test_a_blocked_loop_is_seen() -> None:
    """Whoever holds the loop up shows as lateness, in the histogram and as the most of late."""
    lag = LoopLag()
    measuring = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(0.9)  # noqa: ASYNC251 - the fault
    async with asyncio.timeout(30):
        while lag.most_seconds == 0.0:  # noqa: ASYNC110 - nothing tells when it has looked
            await asyncio.sleep(0.01)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    assert lag.most_seconds >= 0.3
    assert lag.lateness.total >= 0.3
