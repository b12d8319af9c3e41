"""Breaks and holes: what stands in a stream where something is missing."""

from __future__ import annotations

from typing import Any

import msgspec

from support.pipeline_stage import BOOK, ORDERS, TICKER, TRADES, Stage, flowing
from ws_gateway.domain.event import GapReason, Kind
from ws_gateway.domain.topic import Lane, Topic

# ── breaks ────────────────────────────────────────────────────────────────────────────────────


def test_markers_have_ids_of_their_own() -> None:
    """No two markers share an id, and none is shared with a fact."""
    stage = Stage()
    stage.snapshot(5)
    stage.runner.break_streams([BOOK], GapReason.DISCONNECT, "gone")
    stage.snapshot(9)
    ids = [event.observation.event_id for event in stage.outlet.taken]
    assert len(set(ids)) == len(ids) == 6


def test_a_disconnect_is_announced_at_once_and_ended_by_data() -> None:
    """The gap marker does not wait for the reconnect; resumed stands right before the data."""
    stage = Stage()
    stage.tell(TICKER)
    stage.outlet.taken.clear()
    stage.runner.break_streams([TICKER], GapReason.DISCONNECT, "it broke")
    assert stage.told(TICKER) == ["gap disconnect"]
    assert stage.markers(TICKER)[0]["detail"] == "it broke"
    stage.tell(TICKER)
    assert stage.told(TICKER) == ["gap disconnect", "resumed disconnect", "update"]


def test_breaks_in_a_row_are_one_gap() -> None:
    """A reconnect that fails again does not repeat the marker."""
    stage = Stage()
    stage.tell(TICKER)
    stage.outlet.taken.clear()
    for _ in range(3):
        stage.runner.break_streams([TICKER], GapReason.DISCONNECT, "it broke")
    assert stage.told(TICKER) == ["gap disconnect"]


def test_resumed_says_complete_only_if_a_snapshot_tells_all_or_all_was_told() -> None:
    """Trades that were missed are missing; a book's snapshot and a complete reading are whole."""
    stage = Stage()
    stage.tell(TRADES)
    stage.snapshot(5)
    stage.runner.hold([ORDERS])
    stage.tell(ORDERS)
    stage.runner.resume([ORDERS], "away", is_complete=False)
    assert completes(stage, TRADES) == [False]
    assert completes(stage, BOOK) == [True]
    assert completes(stage, ORDERS) == [False]
    stage.runner.resume([ORDERS], "read", is_complete=True)
    stage.runner.resume([ORDERS], "read", is_complete=True)
    assert completes(stage, ORDERS) == [False, True]
    assert ends(stage, ORDERS)[-1] == {"reason": "restart", "complete": True, "detail": "read"}


def test_what_was_read_before_the_first_fact_of_a_stream_is_complete_with_it() -> None:
    """A private stream that is quiet after its reading lacks nothing when it speaks."""
    stage = Stage()
    stage.runner.hold([ORDERS])
    stage.runner.resume([ORDERS], "read", is_complete=True)
    stage.tell(ORDERS)
    assert completes(stage, ORDERS) == [True]


def test_what_delivery_lost_is_not_called_complete_by_a_reading_that_takes_it_for_told() -> None:
    """Only whoever holds the stream after the loss tells it again."""
    stage = Stage()
    stage.tell(ORDERS)
    stage.tell(ORDERS)
    stage.runner.events_lost([(ORDERS, 4)], "the spool was full")
    stage.tell(ORDERS)
    stage.runner.resume([ORDERS], "read", is_complete=True)
    assert completes(stage, ORDERS) == [False, False]
    stage.runner.hold([ORDERS])
    stage.runner.resume([ORDERS], "read", is_complete=True)
    assert completes(stage, ORDERS) == [False, False, True]


def completes(stage: Stage, topic: Topic) -> list[bool]:
    """Return what `resumed` markers of a stream say."""
    return [mark["complete"] for mark in ends(stage, topic)]


def ends(stage: Stage, topic: Topic) -> list[dict[str, Any]]:
    """Return the payloads of a stream's `resumed` markers."""
    return [
        msgspec.json.decode(event.observation.payload)
        for event in stage.outlet.of(topic)
        if event.observation.kind is Kind.RESUMED
    ]


# ── holes of our own ──────────────────────────────────────────────────────────────────────────


def test_a_shed_hole_is_named_by_its_numbers_when_room_returns() -> None:
    """The marker stands where the hole ends and names its first and last number."""
    stage = Stage()
    stage.tell(TRADES)
    stage.outlet.room[Lane.LEDGER] = 0
    for _ in range(3):
        stage.tell(TRADES)
    stage.outlet.room[Lane.LEDGER] = 100
    stage.tell(TRADES)
    assert stage.told(TRADES)[3:] == ["gap shed", "resumed shed", "update"]
    assert stage.numbers(TRADES) == [1, 2, 3, 7, 8, 9]
    marker = stage.markers(TRADES)[-1]
    assert (marker["from_sequence"], marker["to_sequence"]) == (4, 6)
    assert stage.counters.shed == {"no_room": 3}


def test_a_stream_that_is_quiet_afterwards_announces_its_hole_too() -> None:
    """Room is enough; no further fact is needed."""
    stage = Stage()
    stage.tell(TRADES)
    stage.outlet.room[Lane.LEDGER] = 0
    stage.tell(TRADES)
    stage.runner.room_again()
    assert stage.told(TRADES)[3:] == []
    stage.outlet.room[Lane.LEDGER] = 100
    stage.runner.room_again()
    stage.runner.room_again()
    assert stage.told(TRADES)[3:] == ["gap shed"]


def test_a_full_lane_does_not_keep_the_others_quiet() -> None:
    """Private holes are announced while the public lanes still have no room."""
    stage = Stage()
    for topic in (TRADES, ORDERS):
        stage.tell(topic)
    stage.outlet.room = {Lane.LEDGER: 0, Lane.PRIVATE: 0}
    for topic in (TRADES, ORDERS):
        stage.tell(topic)
    stage.outlet.room[Lane.PRIVATE] = 100
    stage.runner.room_again()
    assert stage.told(ORDERS)[3:] == ["gap shed"]
    assert stage.told(TRADES)[3:] == []


def test_a_book_with_a_hole_gets_a_fresh_snapshot() -> None:
    """The deltas before it would change a book nobody has."""
    stage = flowing()
    stage.outlet.room[Lane.BOOK] = 0
    stage.deltas(7, 8)
    stage.outlet.room[Lane.BOOK] = 100
    stage.deltas(9)
    assert stage.told() == ["gap shed"]
    assert stage.resync.asked == [BOOK]
    stage.snapshot(10)
    assert stage.told() == ["gap shed", "resumed shed", "snapshot 10"]


def test_a_snapshot_at_hand_when_room_returns_is_used() -> None:
    """No other one is asked for, and what follows it flows."""
    stage = flowing()
    stage.outlet.room[Lane.BOOK] = 0
    stage.deltas(7)
    stage.resync.asked.clear()
    stage.outlet.room[Lane.BOOK] = 100
    stage.snapshot(8)
    stage.deltas(9)
    assert stage.told() == ["gap shed", "resumed shed", "snapshot 8", "delta 9"]
    assert stage.resync.asked == []


def test_markers_without_room_become_part_of_the_hole() -> None:
    """A break in the middle of a hole is inside what the hole's marker names."""
    stage = Stage()
    stage.tell(TRADES)
    stage.outlet.room[Lane.LEDGER] = 0
    stage.runner.break_streams([TRADES], GapReason.DISCONNECT, "it broke")
    stage.tell(TRADES)
    stage.outlet.room[Lane.LEDGER] = 100
    stage.tell(TRADES)
    numbers = stage.numbers(TRADES)
    marker = stage.markers(TRADES)[-1]
    assert marker["from_sequence"] == 4
    assert marker["to_sequence"] == numbers[3] - 1


def test_an_event_given_up_is_named() -> None:
    """Delivery took it and could not keep its word: the consumer is told which number it was."""
    stage = Stage()
    for _ in range(3):
        stage.tell(TRADES)
    stage.runner.events_lost([(TRADES, 4)], "returned")
    assert stage.told(TRADES)[-1] == "gap shed"
    marker = stage.markers(TRADES)[-1]
    assert (marker["from_sequence"], marker["to_sequence"]) == (4, 4)
    assert marker["detail"] == "returned"
    stage.tell(TRADES)
    assert stage.told(TRADES)[-2:] == ["resumed shed", "update"]


def test_a_hole_is_named_before_any_other_marker() -> None:
    """A dropped stream with a hole of its own: the hole first, then the disconnect."""
    stage = Stage()
    stage.tell(TRADES)
    stage.runner.break_streams([TRADES], GapReason.RESUBSCRIBE, "gone", is_announced=False)
    stage.outlet.room[Lane.LEDGER] = 0
    stage.runner.events_lost([(TRADES, 3)], "returned")
    stage.outlet.room[Lane.LEDGER] = 100
    stage.runner.break_streams([TRADES], GapReason.DISCONNECT, "it broke")
    assert [marker["from_sequence"] for marker in stage.markers(TRADES)[1:]] == [3, None]
