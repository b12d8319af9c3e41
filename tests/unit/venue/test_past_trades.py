"""Which trades of REST came between two that the stream told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ws_gateway.domain.event import Kind, Observation, Source
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.past import Answer
from ws_gateway.venue.past_trades import trades_between

LINEAR = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
OPTION = build_topic(Channel.TRADES, category=Category.OPTION, symbol="BTC")
AT = 1_790_000_000_000


def frame(*numbers: int, topic: Topic = LINEAR) -> Observation:
    """Make what the stream told: trades by number, which is id, time and sequence."""
    rows = [{"i": f"t{n}", "T": AT + n, "s": "BTCUSDT", "seq": 100 + n} for n in numbers]
    return Observation(
        topic, Kind.UPDATE, "x", topic.category, topic.symbol,
        AT, None, 1, "0" * 32, None, json.dumps(rows).encode(),
    )  # fmt: skip


def row(number: int, **more: Any) -> dict[str, Any]:
    """Make a row of REST."""
    return {
        "execId": f"t{number}",
        "symbol": "BTCUSDT",
        "price": "1.50",
        "size": "0.100",
        "side": "Buy",
        "time": str(AT + number),
        "isBlockTrade": False,
        "isRPITrade": True,
        "seq": str(100 + number),
        **more,
    }


def answer(*rows: dict[str, Any]) -> Answer:
    """Make an answer; REST tells the newest first."""
    return Answer(msgspec.Raw(json.dumps({"list": list(rows[::-1])}).encode()), 77, "a" * 32)


def ids(facts: Any) -> list[list[str]]:
    """List the trades of each fact."""
    return [[each["i"] for each in json.loads(fact.payload)] for fact in facts]


def test_what_is_between_the_last_told_and_the_first_live_is_missed() -> None:
    """Neither of the two is told again, nor what is older or newer."""
    missed = trades_between(frame(2, 3), frame(6, 7), answer(*map(row, range(1, 9))))
    assert ids(missed.facts) == [["t4"], ["t5"]]
    assert (missed.rows, missed.lacking, missed.is_behind) == (2, "", False)
    fact = missed.facts[0]
    assert (fact.source, fact.timestamp, fact.received_at) == (Source.BACKFILL, AT + 4, 77)


def test_a_trade_that_rest_has_before_the_first_live_one_is_not_told_twice() -> None:
    """Options of one coin traded at one moment: the stream told this one a frame later."""
    rows = (row(1), row(4, seq="3"), row(5, time=str(AT + 4), seq="7"))
    live = [frame(5, topic=OPTION), frame(4, topic=OPTION)]
    first = trades_between(frame(1, topic=OPTION), live[0], answer(*rows))
    assert ids(first.facts) == [["t4"]], "else it would not be the case that is meant"
    missed = trades_between(frame(1, topic=OPTION), live[0], answer(*rows), others=live[1:])
    assert (missed.facts, missed.lacking) == ([], "")


def test_a_trade_that_rest_has_behind_the_last_told_is_not_told_twice() -> None:
    """Options of one coin traded at one moment: the stream told this one a frame earlier."""
    rows = (row(2, seq="3"), row(3, time=str(AT + 2), seq="7"), row(9))
    told = [frame(3, topic=OPTION), frame(2, topic=OPTION)]
    alone = trades_between(told[1], frame(9, topic=OPTION), answer(*rows))
    assert ids(alone.facts) == [["t3"]], "else it would not be the case that is meant"
    missed = trades_between(told[1], frame(9, topic=OPTION), answer(*rows), others=told)
    assert (missed.facts, missed.lacking) == ([], "")


def test_nothing_between_is_nothing_missed() -> None:
    """A gap in which nobody traded."""
    missed = trades_between(frame(3), frame(4), answer(*map(row, range(1, 5))))
    assert (missed.facts, missed.lacking) == ([], "")


def test_trades_of_one_match_are_one_event_with_the_id_that_a_frame_of_them_has() -> None:
    """So the stream tells them, most often: `first:last:count`."""
    same = {"time": str(AT + 4), "seq": "104"}
    rows = [row(3), row(4), row(41, **same), row(42, **same), row(6)]
    missed = trades_between(frame(3), frame(6), answer(*rows))
    assert ids(missed.facts) == [["t4", "t41", "t42"]]
    body = json.dumps(
        {"topic": LINEAR.name, "ts": AT, "data": json.loads(missed.facts[0].payload)}
    ).encode()
    (of_stream,) = read_observations(LINEAR, decode_frame(body), 1, "0" * 32)
    assert missed.facts[0].event_id == of_stream.event_id


def test_a_page_that_begins_after_the_last_told_does_not_reach_back() -> None:
    """It is said from when on there is something, and since when something is missing."""
    missed = trades_between(frame(1), frame(9), answer(*map(row, range(5, 10))))
    assert ids(missed.facts) == [["t5"], ["t6"], ["t7"], ["t8"]]
    assert missed.lacking == (
        "REST reaches back to 2026-09-21T14:13:20.005+00:00 only; "
        "trades since 2026-09-21T14:13:20.001+00:00 are missing"
    )


def test_a_page_of_trades_that_all_came_after_the_first_live_one_holds_nothing() -> None:
    """So much was traded meanwhile that the page has passed by."""
    missed = trades_between(frame(1), frame(4), answer(*map(row, range(6, 9))))
    assert missed.facts == []
    assert "are missing" in missed.lacking
    assert not missed.is_behind


def test_rest_that_does_not_know_the_first_live_trade_yet_is_behind() -> None:
    """What lies between its newest and that trade cannot be known."""
    missed = trades_between(frame(1), frame(9), answer(*map(row, range(1, 5))))
    assert ids(missed.facts) == [["t2"], ["t3"], ["t4"]]
    assert missed.is_behind
    assert "may be missing" in missed.lacking


def test_an_empty_answer_lacks_everything() -> None:
    """It is behind, too."""
    missed = trades_between(frame(1), frame(9), answer())
    assert (missed.facts, missed.is_behind) == ([], True)
    assert "trades since" in missed.lacking


def test_the_rest_of_a_match_whose_first_part_was_told_is_missed() -> None:
    """Trades of one sequence can be split over several frames."""
    same = {"time": str(AT + 3), "seq": "103"}
    rows = [row(2), row(3), row(31, **same), row(32, **same), row(5)]
    missed = trades_between(frame(3), frame(5), answer(*rows))
    assert ids(missed.facts) == [["t31", "t32"]]


def test_a_payload_has_the_names_and_types_of_the_stream() -> None:
    """Numbers are numbers there; the tick direction is not known to REST."""
    missed = trades_between(frame(1), frame(3), answer(row(1), row(2), row(3)))
    assert json.loads(missed.facts[0].payload) == [
        {
            "T": AT + 2, "s": "BTCUSDT", "S": "Buy", "v": "0.100", "p": "1.50", "i": "t2",
            "BT": False, "RPI": True, "seq": 102,
        }
    ]  # fmt: skip


def test_a_trade_of_an_option_keeps_its_contract_and_its_volatilities() -> None:
    """The topic names the base coin only."""
    more = {"symbol": "BTC-25JUN27-1-C-USDT", "mP": "2", "iP": "3", "mIv": "0.1", "iv": "0.2"}
    rows = [row(1), row(2, **more), row(3)]
    missed = trades_between(frame(1, topic=OPTION), frame(3, topic=OPTION), answer(*rows))
    (told,) = json.loads(missed.facts[0].payload)
    assert told["s"] == "BTC-25JUN27-1-C-USDT"
    assert {key: told[key] for key in ("mP", "iP", "mIv", "iv")} == {
        "mP": "2", "iP": "3", "mIv": "0.1", "iv": "0.2",
    }  # fmt: skip
    assert "RPI" not in told


@pytest.mark.parametrize("body", [b"{}", b'{"list":[{"execId":"a"}]}', b'{"list":[[]]}'])
def test_an_answer_of_another_form_is_refused(body: bytes) -> None:
    """Nothing is made up."""
    with pytest.raises(msgspec.DecodeError):
        trades_between(frame(1), frame(3), Answer(msgspec.Raw(body), 1, "a"))
