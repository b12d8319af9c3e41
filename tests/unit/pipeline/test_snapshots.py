"""Fresh snapshots of books are asked for once per break, and not too often."""

from __future__ import annotations

from support.pipeline_stage import BOOK, SECOND_US, flowing
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.topic import Lane


def test_every_hole_gets_a_snapshot_of_its_own() -> None:
    """A second hole right after the first is mended was not yet asked about."""
    stage = flowing()
    stage.deltas(8)
    stage.snapshot(11)
    stage.deltas(13)
    assert stage.resync.asked == [BOOK, BOOK]


def test_a_snapshot_that_does_not_come_is_asked_for_again() -> None:
    """Patiently: once in five seconds, not with every delta."""
    stage = flowing()
    stage.deltas(8, 9)
    stage.now_us += 4 * SECOND_US
    stage.deltas(10)
    assert len(stage.resync.asked) == 1
    stage.now_us += SECOND_US
    stage.deltas(11, 12)
    assert len(stage.resync.asked) == 2


def test_unreadable_snapshots_are_not_asked_for_without_pause() -> None:
    """A venue whose snapshots cannot be read is not flooded with requests."""
    stage = flowing()
    for _ in range(50):
        stage.runner.break_streams([BOOK], GapReason.SEQUENCE, "a frame could not be read")
    assert stage.resync.asked == [BOOK]
    assert stage.told() == ["gap sequence"]


def test_no_snapshot_is_asked_for_while_there_is_no_room_for_it() -> None:
    """A broker that is away must not make the venue work."""
    stage = flowing()
    stage.outlet.room[Lane.BOOK] = 0
    for u in range(7, 60):
        stage.deltas(u)
        stage.now_us += SECOND_US
    assert stage.resync.asked == []


def test_a_snapshot_lost_for_want_of_room_is_asked_for_again() -> None:
    """What was asked for before the buffer was full does not count."""
    stage = flowing()
    stage.deltas(8)
    stage.outlet.room[Lane.BOOK] = 0
    stage.snapshot(9)
    stage.outlet.room[Lane.BOOK] = 100
    stage.runner.room_again()
    assert stage.resync.asked == [BOOK, BOOK]


def test_a_book_that_breaks_all_the_time_is_asked_for_ever_more_rarely() -> None:
    """Three snapshots at once, then with doubling pauses; after a calm minute promptly again."""
    stage = flowing()
    u = 10
    for _ in range(600):
        stage.now_us += SECOND_US // 10
        u += 2
        stage.deltas(u)
        if stage.resync.asked and stage.runner.last_update_id(BOOK) is None:
            stage.snapshot(u)
    assert 6 <= len(stage.resync.asked) <= 12
    stage.now_us += 61 * SECOND_US
    before = len(stage.resync.asked)
    stage.snapshot(u)
    stage.deltas(u + 2)
    assert len(stage.resync.asked) == before + 1
