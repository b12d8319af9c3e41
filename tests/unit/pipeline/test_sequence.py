"""Continuity of update ids, one frame at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.domain.event import Kind
from ws_gateway.pipeline.sequence import BookContinuity, Verdict

S, D = Kind.SNAPSHOT, Kind.DELTA


@pytest.mark.parametrize(
    ("last", "kind", "update_id", "verdict"),
    [
        (None, S, 5, Verdict.BEGINS),
        (None, S, 1, Verdict.BEGINS),
        (None, D, 5, Verdict.MISSES),
        (5, D, 6, Verdict.CONTINUES),
        (5, S, 6, Verdict.CONTINUES),
        (5, D, 5, Verdict.REPEATS),
        (5, D, 3, Verdict.REPEATS),
        (5, S, 5, Verdict.REPEATS),
        (5, D, 7, Verdict.MISSES),
        (5, S, 9, Verdict.RESETS),
        (5, S, 3, Verdict.RESETS),
        (5, S, 1, Verdict.RESETS),
        (5, D, 1, Verdict.MISSES),
        (0, S, 1, Verdict.RESETS),
        (0, D, 1, Verdict.MISSES),
    ],
)
def test_a_frame_is_judged_by_the_one_before_it(
    last: int | None, kind: Kind, update_id: int, verdict: Verdict
) -> None:
    """Every relation a frame can have to the book, and `u` 1 above all."""
    book = BookContinuity()
    if last is not None:
        book.judge(S, last)
    assert book.judge(kind, update_id) is verdict


def test_after_a_hole_only_a_snapshot_helps() -> None:
    """Deltas that would follow each other do not make a book."""
    book = BookContinuity()
    book.judge(S, 5)
    assert [book.judge(D, u) for u in (7, 8, 9)] == [Verdict.MISSES] * 3
    assert book.last is None
    assert book.judge(S, 10) is Verdict.BEGINS
    assert book.judge(D, 11) is Verdict.CONTINUES


def test_forgetting_awaits_a_snapshot() -> None:
    """Even the delta that would have continued is not taken."""
    book = BookContinuity()
    book.judge(S, 5)
    book.forget()
    assert book.judge(D, 6) is Verdict.MISSES


@given(st.lists(st.tuples(st.sampled_from([S, D]), st.integers(0, 8)), max_size=40))
def test_accepted_deltas_rise_by_one_since_a_snapshot(frames: list[tuple[Kind, int]]) -> None:
    """Whatever comes, what a consumer is given is a book without a hole."""
    book = BookContinuity()
    applied: int | None = None
    for kind, update_id in frames:
        verdict = book.judge(kind, update_id)
        if verdict is Verdict.CONTINUES:
            assert applied is not None
            assert update_id == applied + 1
        if verdict in (Verdict.BEGINS, Verdict.RESETS):
            assert kind is S
        if verdict is Verdict.MISSES:
            applied = None
        elif verdict is not Verdict.REPEATS:
            applied = update_id
        assert book.last == applied
