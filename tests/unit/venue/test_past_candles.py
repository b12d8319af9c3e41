"""Which candles of REST closed between two that the stream told."""

from __future__ import annotations

import json

import msgspec

from ws_gateway.domain.event import Kind, Observation, Source
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.event_path import Missed
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.past import Answer
from ws_gateway.venue.past_candles import Candles, span_between

TOPIC = build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT", interval="1")
AT = 1_790_000_040_000
MINUTE = 60_000


def frame(minute: int, *, confirm: bool = False) -> Observation:
    """Make what the stream told of one minute."""
    start = AT + minute * MINUTE
    row = {"start": start, "end": start + MINUTE - 1, "confirm": confirm, "timestamp": start}
    return Observation(
        TOPIC, Kind.UPDATE, "x", TOPIC.category, TOPIC.symbol,
        AT, None, 1, "0" * 32, None, json.dumps([row]).encode(),
    )  # fmt: skip


def answer(*minutes: int) -> Answer:
    """Make an answer; REST tells the newest first."""
    rows = [[str(AT + n * MINUTE), "1", "4", "0.5", "2", "10", "20"] for n in minutes]
    return Answer(msgspec.Raw(json.dumps({"list": rows[::-1]}).encode()), 77, "a" * 32)


def span(last: Observation, first: Observation) -> tuple[int, int]:
    """Return the span that must not be empty."""
    found = span_between(last, first)
    assert found is not None
    return found


def candles_between(wanted: tuple[int, int], *answers: Answer) -> Missed:
    """Read pages of REST, the newest first."""
    candles = Candles(TOPIC, wanted)
    for each in answers:
        candles.add(each)
    return candles.missed()


def test_within_a_candle_nothing_can_be_missing() -> None:
    """The running candle is told anew every second or so."""
    assert span_between(frame(3), frame(3)) is None
    assert span_between(frame(3), frame(3, confirm=True)) is None


def test_after_a_closed_candle_the_next_one_follows() -> None:
    """Nothing closed in between."""
    assert span_between(frame(3, confirm=True), frame(4)) is None


def test_a_candle_that_was_open_closed_untold() -> None:
    """Its last state was not told; it is the first of the span."""
    assert span_between(frame(3), frame(5)) == (AT + 3 * MINUTE, AT + 5 * MINUTE)
    assert span_between(frame(3, confirm=True), frame(5)) == (AT + 4 * MINUTE, AT + 5 * MINUTE)


def test_closed_candles_come_oldest_first_with_the_ids_of_the_stream() -> None:
    """The running one is left to the stream."""
    missed = candles_between(span(frame(3), frame(5)), answer(3, 4, 5))
    rows = [json.loads(fact.payload)[0] for fact in missed.facts]
    assert [row["start"] for row in rows] == [AT + 3 * MINUTE, AT + 4 * MINUTE]
    assert rows[0] == {
        "start": AT + 3 * MINUTE, "end": AT + 4 * MINUTE - 1, "interval": "1",
        "open": "1", "close": "2", "high": "4", "low": "0.5", "volume": "10", "turnover": "20",
        "confirm": True, "timestamp": AT + 4 * MINUTE - 1,
    }  # fmt: skip
    assert (missed.rows, missed.lacking, missed.is_behind) == (2, "", False)
    body = json.dumps({"topic": TOPIC.name, "ts": AT, "data": [rows[0]]}).encode()
    (of_stream,) = read_observations(TOPIC, decode_frame(body), 1, "0" * 32)
    assert missed.facts[0].event_id == of_stream.event_id
    assert missed.facts[0].source is Source.BACKFILL


def test_candles_before_the_page_are_said_to_be_missing() -> None:
    """A page holds those nearest to its end."""
    missed = candles_between(span(frame(1), frame(5)), answer(3, 4, 5))
    assert len(missed.facts) == 2
    assert missed.lacking.startswith("REST reaches back to")


def test_a_candle_that_rest_may_still_be_writing_is_not_told_as_closed() -> None:
    """Only one that another follows is closed for certain."""
    missed = candles_between(span(frame(3), frame(5)), answer(3, 4))
    assert len(missed.facts) == 1
    assert missed.is_behind
    assert "are missing" in missed.lacking


def test_an_empty_answer_lacks_everything() -> None:
    """It is behind, too."""
    missed = candles_between(span(frame(3), frame(5)), answer())
    assert (missed.facts, missed.is_behind) == ([], True)
    assert "are missing" in missed.lacking


def test_candles_of_several_pages_come_in_one_order() -> None:
    """Each page ends before the one that was read first; a candle in both is told once."""
    candles = Candles(TOPIC, span(frame(1), frame(7)))
    asked = []
    for page in (answer(5, 6, 7), answer(3, 4, 5), answer(1, 2)):
        asked.append(candles.next_end)
        candles.add(page)
    assert asked[1:] == [AT + 5 * MINUTE - 1, AT + 3 * MINUTE - 1]
    assert candles.next_end is None
    missed = candles.missed()
    starts = [json.loads(fact.payload)[0]["start"] for fact in missed.facts]
    assert starts == [AT + n * MINUTE for n in range(1, 7)]
    assert (missed.rows, missed.lacking) == (6, "")


def test_a_page_that_tells_nothing_older_is_the_last_one_asked_for() -> None:
    """REST has no more, though the gap began before."""
    candles = Candles(TOPIC, span(frame(1), frame(5)))
    asked = []
    for page in (answer(3, 4, 5), answer()):
        candles.add(page)
        asked.append(candles.next_end)
    assert asked == [AT + 3 * MINUTE - 1, None]
    assert candles.missed().lacking.startswith("REST reaches back to")


def test_why_no_older_page_was_asked_for_is_said() -> None:
    """It is not REST that does not reach back."""
    candles = Candles(TOPIC, span(frame(1), frame(5)))
    candles.add(answer(3, 4, 5))
    missed = candles.missed("there was no time for more", "slow")
    assert "was read back to 2026" in missed.lacking
    assert "only, as there was no time for more; candles since" in missed.lacking
    assert (missed.rows, missed.reason) == (2, "slow")


def test_a_candle_that_rest_leaves_out_is_said_to_be_missing() -> None:
    """The one before it ends where it ended, and not where the next one begins."""
    missed = candles_between(span(frame(1), frame(5)), answer(1, 2, 4, 5))
    rows = [json.loads(fact.payload)[0] for fact in missed.facts]
    assert [row["end"] - row["start"] for row in rows] == [MINUTE - 1] * 3
    assert missed.lacking.startswith("REST has none from 2026-")
