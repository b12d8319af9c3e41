"""Ids that sort by creation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.storage.identity import rising_ids


@given(st.lists(st.integers(0, 2**61), min_size=1, max_size=50))
def test_ids_rise_whatever_the_clock_does(times: list[int]) -> None:
    """Each id is a valid UUID of version 7 and greater than the one before."""
    clock = iter(times)
    next_id = rising_ids(now_ns=lambda: next(clock), random_bits=lambda _: 0)
    ids = [next_id() for _ in times]
    assert ids == sorted(set(ids))
    assert {one.version for one in ids} == {7}


def test_an_id_tells_its_millisecond() -> None:
    """The first 48 bits are the Unix time in milliseconds."""
    next_id = rising_ids(now_ns=lambda: 1_791_365_008_335_999_999, random_bits=lambda _: 0)
    assert next_id().int >> 80 == 1_791_365_008_335
