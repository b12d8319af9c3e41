"""Names for what happens once, and where every observation ends."""

from __future__ import annotations

import re

from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds, new_epoch


def test_epochs_sort_by_time_and_differ() -> None:
    """A later process has a greater epoch, and two of one millisecond differ."""
    epochs = [new_epoch(ms) for ms in (1, 2, 1_790_000_000_000, 1_790_000_000_001)]
    assert epochs == sorted(epochs)
    assert new_epoch(5) != new_epoch(5)
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", epoch) for epoch in epochs)


def test_trace_ids_are_unique_and_of_the_w3c_form() -> None:
    """32 hex digits, never all zeros, other ones in every process."""
    ids, others = TraceIds(), TraceIds()
    drawn = [ids() for _ in range(100)] + [others() for _ in range(100)]
    assert len(set(drawn)) == 200
    assert all(re.fullmatch(r"(?!0{32})[0-9a-f]{32}", each) for each in drawn)


def test_settled_counts_every_end() -> None:
    """Confirmed, suppressed, shed and rejected are ends; markers are not counted."""
    counters = Counters()
    counters.confirmed = 3
    counters.suppressed["duplicate"] = 2
    counters.shed["no_room"] = 4
    counters.shed["awaiting_snapshot"] = 1
    counters.rejected["returned"] = 5
    counters.markers = 100
    assert counters.settled() == 15


def test_latency_quantiles_are_of_the_newest_events() -> None:
    """None before the first; then what that share stayed below, of a bounded number."""
    counters = Counters()
    assert counters.latency_quantile(0.5) is None
    counters.latencies_us.extend(range(100_000))
    assert len(counters.latencies_us) == 8192
    middle = counters.latency_quantile(0.5)
    assert middle is not None
    assert abs(middle - (100_000 - 4096)) <= 1
    assert counters.latency_quantile(1.0) == 99_999
