"""The consumer's checker: a step nothing explains is found, every explained one is accepted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.client.continuity import ContinuityChecker


def event(sequence: int, kind: str = "update", **fields: Any) -> dict[str, Any]:
    """Build the part of an envelope that the checker reads."""
    return {
        "category": "linear", "account": None, "topic": "t", "epoch": "E1", "kind": kind,
        "sequence": sequence, "payload": {},
    } | fields  # fmt: skip


def gap(sequence: int, first: int | None = None, last: int | None = None) -> dict[str, Any]:
    """Build a gap marker."""
    reason = "disconnect" if first is None else "shed"
    hole = {"reason": reason, "from_sequence": first, "to_sequence": last}
    return event(sequence, "gap", payload=hole)


def problems(*events: dict[str, Any]) -> int:
    """Count what the checker finds."""
    checker = ContinuityChecker()
    for each in events:
        checker.check(each)
    return len(checker.problems)


def test_steps_of_one_are_fine_and_others_are_not() -> None:
    """One sentence per hole."""
    assert problems(gap(1), event(2), event(3)) == 0
    assert problems(gap(1), event(3), event(4), event(9)) == 2


def test_a_marker_explains_only_the_hole_it_names() -> None:
    """All of it, and not one number more."""
    assert problems(gap(1), event(2), gap(6, 3, 5)) == 0
    assert problems(gap(1), event(2), gap(7, 3, 5)) == 1
    assert problems(gap(1), event(2), gap(7, 4, 6)) == 1


def test_a_marker_of_the_venues_side_explains_no_hole_of_ours() -> None:
    """A disconnect is no excuse for a number that is missing."""
    assert problems(gap(1), event(2), gap(4)) == 1


def test_a_hole_named_by_a_later_marker_is_taken_off_again() -> None:
    """Events that followed the lost one may stand before the marker that names it."""
    assert problems(gap(1), event(3), event(4), gap(5, 2, 2)) == 0
    assert problems(gap(1), event(4), event(5), gap(6, 2, 2)) == 1


def test_conflation_explains_as_many_as_it_counts() -> None:
    """A value that replaced two older ones may step by three."""
    assert problems(gap(1), event(4, conflated=2)) == 0
    assert problems(gap(1), event(4, conflated=1)) == 1
    checker = ContinuityChecker()
    for each in (gap(1), event(4, conflated=2), event(5), event(7, conflated=1)):
        checker.check(each)
    assert (checker.problems, checker.conflated) == ([], 3)


def test_conflation_explains_only_the_numbers_just_before() -> None:
    """What is missing before those is a hole, until a marker names it."""
    hole = (gap(1), event(2), event(6, conflated=2))
    assert problems(*hole) == 1
    assert problems(*hole, gap(7, 3, 3)) == 0
    assert problems(*hole, gap(7, 4, 5)) == 1


def test_a_marker_is_never_taken_for_a_conflated_one() -> None:
    """It names the hole itself, or explains nothing of our own numbering."""
    assert problems(gap(1), event(2), gap(5) | {"conflated": 2}) == 1
    assert problems(gap(1), event(2), event(5, "resumed", conflated=2)) == 1


def test_repeats_are_counted_and_no_problem() -> None:
    """Delivery is at least once."""
    checker = ContinuityChecker()
    for each in (gap(1), event(2), event(2), event(3)):
        checker.check(each)
    assert (checker.problems, checker.repeats) == ([], 1)


def test_a_new_epoch_begins_at_one_with_a_marker() -> None:
    """Joining late is fine; a restart that loses its first events is not."""
    assert problems(event(700), event(701)) == 0
    assert problems(event(1)) == 1
    assert problems(gap(1), gap(1) | {"epoch": "E2"}) == 0
    assert problems(gap(1), event(2, epoch="E2")) == 1


def test_repeats_of_a_former_epoch_are_repeats() -> None:
    """A gateway killed after it had delivered a spool leaves it to the next one once more."""
    checker = ContinuityChecker()
    second = {"epoch": "E2"}
    for each in (
        gap(1),
        event(2),
        event(3),
        gap(1) | second,
        event(3),
        event(4),
        event(2, **second),
    ):
        checker.check(each)
    assert (checker.problems, checker.repeats, checker.late) == ([], 1, 1)


def test_who_was_there_from_the_start_accepts_no_late_beginning() -> None:
    """A stream whose first events never came is a problem; its restart marker is its beginning."""

    def strict(*events: dict[str, Any]) -> int:
        checker = ContinuityChecker(from_start=True)
        for each in events:
            checker.check(each)
        return len(checker.problems)

    restart = event(1, "gap", payload={"reason": "restart", "from_sequence": None})
    assert strict(restart, event(2), event(3)) == 0
    assert strict(event(2), event(3)) == 1
    assert strict(event(1), event(2)) == 1
    assert strict(gap(1), event(2)) == 1  # a disconnect does not begin a run of numbering
    assert strict(restart, event(2), restart | {"epoch": "E2"}) == 0


def test_streams_are_told_apart() -> None:
    """By category on public topics, by account on private ones."""
    assert problems(gap(1), gap(1) | {"category": "spot"}, event(2)) == 0
    private = {"account": "main", "topic": "order"}
    linear, spot = {"category": "linear"}, {"category": "spot"}
    assert problems(gap(1) | private, event(2) | private | linear, event(3) | private | spot) == 0


@given(st.integers(3, 40), st.data())
def test_any_lost_event_but_the_ends_is_found(count: int, data: st.DataObject) -> None:
    """One number missing is one problem."""
    lost = data.draw(st.integers(2, count - 1))
    events = [gap(1), *(event(n) for n in range(2, count + 1) if n != lost)]
    assert problems(*events) == 1


def test_an_event_that_comes_late_fills_its_own_hole() -> None:
    """A private event may follow its successors after a refusal; neither lost nor repeated."""
    checker = ContinuityChecker()
    checker.check(gap(1))
    for number in (2, 5, 6):
        checker.check(event(number))
    assert len(checker.problems) == 1
    checker.check(event(4))
    assert len(checker.problems) == 1
    checker.check(event(3))
    assert (checker.problems, checker.late, checker.repeats) == ([], 2, 0)
