"""How often each of many names may do something."""

from __future__ import annotations

import pytest

from ws_gateway.runtime.token_buckets import TokenBuckets


def test_a_burst_is_served_then_one_per_interval() -> None:
    """Three at once, then the fourth waits for the bucket to fill."""
    buckets = TokenBuckets(burst=3, per_second=2)
    assert [buckets.take("a", 10.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a", 10.0) == pytest.approx(0.5)
    assert buckets.take("a", 10.25) == pytest.approx(0.25)
    assert buckets.take("a", 10.5) == 0.0
    assert buckets.take("a", 10.5) == pytest.approx(0.5)


def test_names_have_buckets_of_their_own() -> None:
    """One that is empty concerns nobody else."""
    buckets = TokenBuckets(burst=1, per_second=1)
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.0) > 0


def test_a_bucket_never_holds_more_than_a_burst() -> None:
    """A long silence earns no more than that."""
    buckets = TokenBuckets(burst=2, per_second=1)
    buckets.take("a", 0.0)
    taken = [buckets.take("a", 1_000_000.0) for _ in range(3)]
    assert [wait == 0.0 for wait in taken] == [True, True, False]


def test_looking_takes_nothing() -> None:
    """Who only asks how long the wait is has not been there."""
    buckets = TokenBuckets(burst=1, per_second=1)
    assert [buckets.wait_seconds("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert len(buckets) == 0


def test_memory_is_bounded_and_the_least_recent_name_goes_first() -> None:
    """However many names come, so many are remembered."""
    buckets = TokenBuckets(burst=1, per_second=0.001, most_names=3)
    for name in ("a", "b", "c"):
        buckets.take(name, 0.0)
    buckets.take("d", 0.0)
    assert len(buckets) == 3
    assert buckets.wait_seconds("a", 0.0) == 0.0
    assert all(buckets.wait_seconds(name, 0.0) > 0 for name in ("b", "c", "d"))
