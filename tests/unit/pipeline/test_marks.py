"""The newest markers, told together where they have one cause."""

from __future__ import annotations

from support.pipeline_stage import BOOK, TICKER, TRADES, Stage
from ws_gateway.domain.event import GapReason, Kind
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.pipeline.marks import KEPT, NAMED, RecentMarks


def test_each_marker_of_the_pipeline_is_kept_with_its_reason() -> None:
    """What consumers are told, operators can see."""
    stage = Stage()
    stage.tell(TICKER)
    stage.runner.break_streams([TICKER], GapReason.DISCONNECT, "closed: 1006")
    stage.tell(TICKER)
    seen = stage.runner.marks.markers()
    assert [(one.kind, one.reason, one.count) for one in seen] == [
        (Kind.RESUMED, GapReason.DISCONNECT, 1),
        (Kind.GAP, GapReason.DISCONNECT, 1),
        (Kind.RESUMED, GapReason.RESTART, 1),
        (Kind.GAP, GapReason.RESTART, 1),
    ]
    assert seen[1].detail == "closed: 1006"
    assert seen[1].topics == (TICKER.name,)
    assert stage.runner.marks.revision == 4


def test_a_lost_socket_of_thousands_of_topics_is_one_entry() -> None:
    """With how many they are, and the first of them by name."""
    marks = RecentMarks()
    for number in range(5000):
        topic = build_topic(Channel.TICKER, category=Category.LINEAR, symbol=f"S{number}USDT")
        marks.note(topic, Kind.GAP, GapReason.DISCONNECT, "it broke", 1_000_000 + number)
    (one,) = marks.markers()
    assert (one.count, len(one.topics)) == (5000, NAMED)
    assert (one.began_at_us, one.ended_at_us) == (1_000_000, 1_004_999)


def test_markers_of_other_causes_or_later_are_entries_of_their_own() -> None:
    """Another reason, another kind, another endpoint, or seconds later."""
    marks = RecentMarks()
    marks.note(BOOK, Kind.GAP, GapReason.SEQUENCE, "a", 0)
    marks.note(TRADES, Kind.GAP, GapReason.DISCONNECT, "b", 1)
    marks.note(BOOK, Kind.RESUMED, GapReason.SEQUENCE, "c", 2)
    spot = build_topic(Channel.TICKER, category=Category.SPOT, symbol="BTCUSDT")
    marks.note(spot, Kind.GAP, GapReason.SEQUENCE, "d", 3)
    marks.note(BOOK, Kind.GAP, GapReason.SEQUENCE, "e", 10_000_000)
    assert [one.detail for one in marks.markers()] == ["e", "d", "c", "b", "a"]


def test_however_many_there_are_few_are_kept() -> None:
    """The oldest go."""
    marks = RecentMarks()
    for number in range(10 * KEPT):
        marks.note(BOOK, Kind.GAP, GapReason.SEQUENCE, str(number), number * 10_000_000)
    assert [one.detail for one in marks.markers()] == [
        str(number) for number in reversed(range(9 * KEPT, 10 * KEPT))
    ]
