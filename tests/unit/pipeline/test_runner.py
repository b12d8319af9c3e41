"""The pipeline: numbering, markers, and what happens to a book that broke."""

from __future__ import annotations

from support.pipeline_stage import BOOK, ORDERS, TICKER, TOP, TRADES, Stage, flowing
from ws_gateway.domain.event import GapReason, Kind, Observation
from ws_gateway.domain.topic import Lane, Topic

# ── the beginning ─────────────────────────────────────────────────────────────────────────────


def test_an_epoch_begins_with_a_marker_that_says_why() -> None:
    """Each stream starts at 1 with its own gap and resumed markers, then its first fact."""
    stage = Stage()
    stage.tell(TICKER)
    stage.snapshot(5)
    assert stage.told(TICKER) == ["gap restart", "resumed restart", "update"]
    assert stage.told(BOOK) == ["gap restart", "resumed restart", "snapshot 5"]
    assert stage.numbers(TICKER) == stage.numbers(BOOK) == [1, 2, 3]
    (marker,) = stage.markers(TICKER)
    assert (marker["from_sequence"], marker["to_sequence"]) == (None, None)


def test_a_book_that_begins_with_a_delta_is_asked_for_its_snapshot() -> None:
    """The delta has nothing to apply to: it is withheld, and the snapshot begins the stream."""
    stage = Stage()
    stage.deltas(6, 7)
    assert stage.told() == []
    assert stage.resync.asked == [BOOK]
    stage.snapshot(8)
    assert stage.told() == ["gap restart", "resumed restart", "snapshot 8"]


# ── breaks at the venue ───────────────────────────────────────────────────────────────────────


def test_a_break_of_a_stream_that_never_spoke_is_told_too() -> None:
    """Its first fact may have been missed, and it may be days until the next one says so."""
    stage = Stage()
    for _ in range(2):
        stage.runner.break_streams([ORDERS], GapReason.DISCONNECT, "it broke")
    assert stage.told(ORDERS) == ["gap restart"]
    assert "it broke" in stage.markers(ORDERS)[0]["detail"]
    stage.tell(ORDERS)
    assert stage.told(ORDERS) == ["gap restart", "resumed restart", "update"]
    stage.runner.break_streams([TICKER], GapReason.RESUBSCRIBE, "gone", is_announced=False)
    assert stage.told(TICKER) == []


def test_a_resubscribe_is_announced_with_the_next_data() -> None:
    """Until then nobody asks for the stream; its numbers go on."""
    stage = flowing()
    stage.runner.break_streams([BOOK], GapReason.RESUBSCRIBE, "gone", is_announced=False)
    assert stage.told() == []
    stage.snapshot(50)
    assert stage.told() == ["gap resubscribe", "resumed resubscribe", "snapshot 50"]
    assert stage.numbers(BOOK) == [5, 6, 7]


def test_a_hole_in_update_ids_is_marked_and_mended_by_one_snapshot() -> None:
    """Deltas are withheld until the snapshot, which is asked for once."""
    stage = flowing()
    stage.deltas(8, 9, 10)
    assert stage.told() == ["gap sequence"]
    assert stage.resync.asked == [BOOK]
    stage.snapshot(11)
    stage.deltas(12)
    assert stage.told() == ["gap sequence", "resumed sequence", "snapshot 11", "delta 12"]
    assert stage.counters.shed == {"venue_hole": 3}


def test_deltas_withheld_for_what_we_gave_up_are_told_apart_from_those_of_a_venues_hole() -> None:
    """Only the former are a failure of delivery; after the mending snapshot it begins anew."""
    stage = flowing()
    stage.outlet.room[Lane.BOOK] = 0
    stage.deltas(7)
    stage.outlet.room[Lane.BOOK] = 100
    stage.deltas(8, 9)
    assert stage.counters.shed == {"no_room": 1, "awaiting_snapshot": 2}
    stage.snapshot(10)
    stage.deltas(12)
    assert stage.counters.shed == {"no_room": 1, "awaiting_snapshot": 2, "venue_hole": 1}


def test_a_snapshot_that_found_no_room_makes_what_is_withheld_behind_it_ours() -> None:
    """The venue broke the book, but it also mended it: we lost the mending."""
    stage = flowing()
    stage.runner.break_streams([BOOK], GapReason.DISCONNECT, "it broke")
    stage.outlet.room[Lane.BOOK] = 0
    stage.snapshot(20)
    stage.outlet.room[Lane.BOOK] = 100
    stage.runner.room_again()
    stage.deltas(21)
    assert stage.counters.shed == {"no_room": 1, "awaiting_snapshot": 1}


def test_what_a_vanished_queue_withholds_is_not_the_venues() -> None:
    """Somebody on our side of the socket deleted it."""
    stage = flowing()
    stage.runner.queue_emptied("orderbook", {BOOK.key}, "its queue was deleted")
    stage.deltas(7)
    assert stage.counters.shed == {"awaiting_snapshot": 1}


def test_a_restart_of_the_venues_service_is_marked() -> None:
    """A snapshot with `u` 1 replaces the book, and nothing needs to be asked for."""
    stage = flowing()
    stage.snapshot(1)
    stage.deltas(2)
    assert stage.told() == ["gap sequence", "resumed sequence", "snapshot 1", "delta 2"]
    assert "restarted" in stage.markers(BOOK)[0]["detail"]
    assert stage.resync.asked == []


def test_a_delta_labelled_one_is_not_applied() -> None:
    """It says restart and brings no book: a snapshot is asked for."""
    stage = flowing()
    stage.deltas(1)
    assert stage.told() == ["gap sequence"]
    assert stage.resync.asked == [BOOK]


def test_a_snapshot_that_does_not_continue_is_marked() -> None:
    """Something between was not told."""
    stage = flowing()
    stage.snapshot(40)
    assert stage.told() == ["gap sequence", "resumed sequence", "snapshot 40"]


def test_repeated_frames_of_a_book_are_suppressed() -> None:
    """An update id that was told is not told again, and is counted."""
    stage = flowing()
    stage.deltas(6, 5)
    stage.deltas(7)
    assert stage.told() == ["delta 7"]
    assert stage.counters.suppressed == {"duplicate": 2}


def test_a_quiet_top_of_book_is_suppressed_while_it_repeats() -> None:
    """Depth 1 tells the same `u` every three seconds; any other `u` is news, without a gap."""
    stage = Stage()
    for u in (5, 5, 9, 9, 8):
        stage.tell(TOP, Kind.SNAPSHOT, u)
    assert stage.told(TOP)[2:] == ["snapshot 5", "snapshot 9", "snapshot 8"]
    assert stage.counters.suppressed == {"unchanged": 2}


def test_the_first_top_of_book_after_a_break_is_told_although_it_is_unchanged() -> None:
    """A consumer waits for the end of the gap."""
    stage = Stage()
    stage.tell(TOP, Kind.SNAPSHOT, 5)
    stage.runner.break_streams([TOP], GapReason.DISCONNECT, "it broke")
    stage.tell(TOP, Kind.SNAPSHOT, 5)
    assert stage.told(TOP)[3:] == ["gap disconnect", "resumed disconnect", "snapshot 5"]


def test_an_unreadable_frame_does_not_silence_a_book_for_ever() -> None:
    """What it said is missing: marked, a snapshot asked for, and everything flows again."""
    stage = flowing()
    stage.runner.break_streams([BOOK], GapReason.SEQUENCE, "a frame could not be read")
    assert stage.resync.asked == [BOOK]
    stage.deltas(8)
    stage.snapshot(9)
    stage.deltas(10)
    assert stage.told() == ["gap sequence", "resumed sequence", "snapshot 9", "delta 10"]


def test_a_snapshot_unchanged_since_an_unreadable_frame_is_told() -> None:
    """After a break the same update id is no repeat."""
    stage = flowing()
    stage.runner.break_streams([BOOK], GapReason.SEQUENCE, "a frame could not be read")
    stage.snapshot(6)
    assert stage.told() == ["gap sequence", "resumed sequence", "snapshot 6"]


# ── repeats ───────────────────────────────────────────────────────────────────────────────────


def test_a_fact_told_twice_in_a_row_is_told_once() -> None:
    """The venue repeats frames at times; identity shows it where there are no update ids."""
    stage = Stage()
    stage.tell(TRADES)
    stage.tell(TRADES)
    stage.told_facts -= 1
    stage.tell(TRADES)
    assert stage.told(TRADES) == ["gap restart", "resumed restart", "update", "update"]
    assert stage.counters.suppressed == {"duplicate": 1}


def test_a_private_fact_is_known_again_after_others() -> None:
    """A frame with several records that comes twice repeats none of them."""
    stage = Stage()
    for _ in range(2):
        stage.told_facts = 0
        stage.tell(ORDERS)
        stage.tell(ORDERS)
    assert stage.told(ORDERS)[2:] == ["update", "update"]
    assert stage.counters.suppressed == {"duplicate": 2}


def test_a_private_fact_that_found_no_room_is_news_when_it_is_read_again() -> None:
    """Reading it again is how it comes back; once it is taken, it is known."""
    stage = Stage()
    stage.tell(ORDERS)
    stage.outlet.room[Lane.PRIVATE] = 0
    lost = observation(ORDERS, "lost")
    for _ in range(2):
        stage.runner.accept(lost)
    assert stage.counters.shed == {"no_room": 2}
    del stage.outlet.room[Lane.PRIVATE]
    stage.runner.room_again()
    for _ in range(2):
        stage.runner.accept(lost)
        stage.tell(ORDERS)
    ids = [event.observation.event_id for event in stage.outlet.of(ORDERS)]
    assert ids.count("lost") == 1
    assert stage.counters.suppressed == {"duplicate": 1}


def observation(topic: Topic, event_id: str) -> Observation:
    """Make a fact with an id that may come again."""
    return Observation(
        topic, Kind.UPDATE, event_id, topic.category, topic.symbol,
        1, None, 1, "0" * 32, None, b"{}",
    )  # fmt: skip
