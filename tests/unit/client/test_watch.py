"""What is missing from the events that come, and by which numbers."""

from __future__ import annotations

from typing import Any

from support.envelopes import envelope, gap
from ws_gateway.client.event import Envelope
from ws_gateway.client.watch import Watch


def watched(*envelopes: Envelope, follows_numbers: bool = True) -> list[tuple[Any, ...]]:
    """Show events to a watch; answers the gaps it finds."""
    watch = Watch(None, follows_numbers=follows_numbers)
    found = [watch.look_at(each) for each in envelopes]
    return [(one.reason, one.from_sequence, one.to_sequence) for one in found if one is not None]


def test_marker_is_a_gap_and_explains_the_step() -> None:
    """The hole that a marker names is told once, by the marker."""
    assert watched(envelope(4), gap(8, 5, 7), envelope(9)) == [("shed", 5, 7)]


def test_step_that_nothing_explains_is_a_gap() -> None:
    """It is told with the numbers that are missing; a step that is conflated is none."""
    assert watched(envelope(4), envelope(8)) == [("unexplained", 5, 7)]
    assert watched(envelope(4), envelope(8, conflated=3)) == []
    assert watched(envelope(4), envelope(8), follows_numbers=False) == []


def test_epoch_that_begins_late_lacks_its_beginning() -> None:
    """Of a new epoch, everything before its first event that came is missing."""
    assert watched(envelope(4), envelope(3, epoch="E2")) == [("unexplained", 1, 2)]


def test_epoch_of_a_clock_that_was_set_back_has_the_right_hole() -> None:
    """A later epoch need not be greater; what is missing is counted in its own numbers."""
    begin = gap(1, None, None, epoch="E1")
    back = [envelope(number, epoch="E1") for number in (2, 3, 9)]
    assert watched(envelope(42, epoch="E2"), begin, *back)[1:] == [("unexplained", 4, 8)]


def test_gap_comes_late_and_streams_are_apart() -> None:
    """Repeats are no gap, and another topic has numbers of its own."""
    other = envelope(50, topic="publicTrade.ETHUSDT")
    assert watched(envelope(4), other, envelope(4), envelope(5)) == []


async def test_more_holes_than_can_be_remembered() -> None:
    """The memory of holes is bounded, and the watch goes on."""
    found = watched(*(envelope(number * 2) for number in range(1, 3000)))
    assert len(found) == 2998
