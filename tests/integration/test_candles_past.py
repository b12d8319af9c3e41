"""Candles over REST, page by page: what is in hand is told whatever becomes of the next page."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.http_stage import HANG, answer, answering
from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.errors import VenueLost
from ws_gateway.venue.market_past import MarketPast
from ws_gateway.venue.rest import BybitRest
from ws_gateway.venue.rest_allowance import RestBudget

TOPIC = build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT", interval="1")
AT = 1_790_000_040_000
MINUTE = 60_000
LAST = 9


def frame(minute: int) -> Observation:
    """Make what the stream told of a running candle."""
    row = {"start": AT + minute * MINUTE, "confirm": False}
    return Observation(
        TOPIC, Kind.UPDATE, "x", TOPIC.category, TOPIC.symbol,
        AT, None, 1, "0" * 32, None, json.dumps([row]).encode(),
    )  # fmt: skip


def page(*minutes: int) -> bytes:
    """Write an answer of REST, the newest first."""
    rows = [[str(AT + n * MINUTE), "1", "4", "0.5", "2", "10", "20"] for n in minutes]
    body = {"retCode": 0, "retMsg": "OK", "result": {"list": rows[::-1]}}
    return answer(json.dumps(body))


def past(rest: BybitRest) -> MarketPast:
    """Read the past over this REST."""
    return MarketPast(rest, clock_us=lambda: 1, new_trace_id=lambda: "a" * 32)


async def test_each_further_page_ends_before_the_oldest_candle_in_hand() -> None:
    """And the last one reaches the beginning of the gap."""
    pages = (page(7, 8, 9), page(4, 5, 6), page(1, 2, 3))
    async with answering(*pages) as stage, BybitRest(stage.url) as rest:
        missed = await past(rest).between(frame(1), frame(LAST))
    assert (missed.rows, missed.lacking) == (8, "")
    spans = [
        tuple(
            int(part.partition("=")[2])
            for part in target.partition("?")[2].split("&")
            if part.partition("=")[0] in {"start", "end"}
        )
        for target in stage.targets
    ]
    begin = AT + MINUTE
    assert spans == [
        (begin, AT + 9 * MINUTE), (begin, AT + 7 * MINUTE - 1), (begin, AT + 4 * MINUTE - 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("second", "reason", "words"),
    [
        (HANG, "slow", "as there was no time for more"),
        (answer("no", 503), "rest", "as HTTP 503"),
        (answer("no", 429, Retry_After="60"), "rest", "as HTTP 429"),
        (answer(json.dumps({"retCode": 10001, "retMsg": "no"})), "rest", "Bybit's REST refused"),
        (answer(json.dumps({"retCode": 0, "result": {"list": [["x"]]}})), "rest", "only, as "),
    ],
)
async def test_pages_that_were_read_are_told_though_the_next_one_cannot_be_had(
    second: bytes, reason: str, words: str
) -> None:
    """They were lost with it, or never asked for; the marker says since when candles lack."""
    async with answering(page(7, 8, 9), second) as stage, BybitRest(stage.url) as rest:
        until = asyncio.get_running_loop().time() + (0.0 if second is HANG else 30.0)
        missed = await past(rest).between(frame(1), frame(LAST), until)
    assert missed.rows == 2
    assert missed.reason == reason
    assert words in missed.lacking
    assert "candles since 2026-" in missed.lacking


async def test_calls_that_are_spent_end_a_long_gap_and_count_as_a_turn_that_did_not_come() -> None:
    """Other gaps need calls, too."""
    budget = RestBudget(past_calls=1, past_seconds=60.0)
    async with answering(page(7, 8, 9)) as stage, BybitRest(stage.url, budget=budget) as rest:
        until = asyncio.get_running_loop().time() + 30.0
        missed = await past(rest).between(frame(1), frame(LAST), until)
    assert (missed.rows, missed.reason) == (2, "turn")
    assert len(stage.targets) == 1


async def test_without_the_first_page_nothing_is_known() -> None:
    """So it is not called a part of anything."""
    async with answering(answer("no", 503)) as stage, BybitRest(stage.url) as rest:
        with pytest.raises(VenueLost):
            await past(rest).between(frame(1), frame(LAST))
