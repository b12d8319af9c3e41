"""After a gap, trades and candles come over REST, in order, before `resumed`; else it is said.

A witness hears every trade on a socket of its own; what it heard the consumer must have, once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.fault_stage import FaultStage, faulting
from support.memory_outlet import envelope_of
from support.scripted_venue import book
from support.sim_client import LINEAR
from support.witness import witnessing
from ws_gateway.domain.event import Source
from ws_gateway.domain.topic import Category, Channel, build_topic

TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
OTHER_TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="ETHUSDT")
CANDLES = build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT", interval="1")
BOOK = book()
RECENT = "/v5/market/recent-trade"


def told(stage: FaultStage) -> list[dict[str, Any]]:
    """List what the consumer has of the trades, markers included, without the first two."""
    return [envelope_of(each) for each in stage.outlet.of(TRADES)[2:]]


def resumed(stage: FaultStage) -> list[str]:
    """List what the markers say that end the gaps of the trades."""
    return [each["payload"]["detail"] for each in told(stage) if each["kind"] == "resumed"]


def backfilled(stage: FaultStage) -> list[dict[str, Any]]:
    """List the trades that came from REST."""
    return [
        row for each in told(stage) if each["source"] == Source.BACKFILL for row in each["payload"]
    ]


async def cut(stage: FaultStage, *, sockets: int = 1, away: float = 0.6) -> None:
    """Cut the gateway's sockets, which are the oldest; it gets new ones after a while only."""
    await stage.begin("slow_handshake", delay_seconds=away, count=sockets)
    await stage.begin("drop", path=LINEAR, most=sockets)


def cut_newest(stage: FaultStage) -> None:
    """Cut the socket that the gateway got after a cut: the witness is older."""
    stage.venue.connections[-1].socket.transport.abort()


async def ended(stage: FaultStage, gaps: int = 1) -> None:
    """Wait until so many gaps have ended, and the trades flow."""
    await stage.until(lambda: len(resumed(stage)) >= gaps, what="the end of the gap")
    await stage.settle(TRADES)


def assert_in_order(stage: FaultStage) -> None:
    """Assert that no trade comes before one that matched earlier."""
    moments = [
        (row["T"], row["seq"])
        for each in told(stage)
        if each["kind"] == "update"
        for row in each["payload"]
    ]
    assert moments == sorted(moments)


async def test_every_trade_of_a_lost_socket_is_told_once_in_order_before_resumed() -> None:
    """The witness heard nothing that the consumer has not, though a socket was cut."""
    async with faulting(fills=True, secret=None) as stage:
        await stage.flow(TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(TRADES)
            await cut(stage)
            await ended(stage)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()
        kinds = [(each["kind"], each["source"]) for each in told(stage)]
        gap, end = kinds.index(("gap", "stream")), kinds.index(("resumed", "stream"))
        assert kinds[gap + 1 : end]
        assert set(kinds[gap + 1 : end]) == {("update", "backfill")}
        assert ("update", "backfill") not in kinds[end:]
        assert_in_order(stage)
        assert resumed(stage) == [
            f"data flows; back-filled over REST: {len(backfilled(stage))} trade"
            + ("s" if len(backfilled(stage)) > 1 else "")
        ]
        assert stage.filling.events["trade"] == end - gap - 1
        assert not stage.filling.lacking
        assert stage.problems() == []


async def test_a_second_cut_while_the_first_gap_is_being_filled() -> None:
    """Each gap is filled from where the stream stood, and one marker ends both."""
    async with faulting(fills=True, secret=None) as stage:
        await stage.flow(TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(TRADES)
            slow = await stage.begin("slow_rest", path=RECENT, delay_seconds=1.0)
            await cut(stage)
            await stage.until(lambda: slow.hits > 0, what="a call")
            cut_newest(stage)
            await ended(stage)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()
        assert_in_order(stage)
        assert stage.problems() == []


async def test_with_two_sockets_trades_are_filled_when_both_are_lost() -> None:
    """The merge marks what neither told, and REST tells it."""
    async with faulting(fills=True, secret=None, redundancy=2) as stage:
        await stage.flow(TRADES)
        await stage.until(
            lambda: sum(each.path == LINEAR and bool(each.topics)
                        for each in stage.venue.connections) == 2,
            what="two sockets",
        )  # fmt: skip
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(TRADES)
            await cut(stage, sockets=2)
            await ended(stage)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()
        assert_in_order(stage)
        assert stage.problems() == []


@pytest.mark.parametrize(
    ("fault", "parameters", "reason", "words", "hold"),
    [
        ("rest_failure", {"status": 503}, "rest", "HTTP 503", 3.0),
        ("rest_failure", {"status": 429}, "rest", "HTTP 429", 3.0),
        ("slow_rest", {"delay_seconds": 60.0}, "slow", "REST did not answer", 0.5),
    ],
)
async def test_without_rest_the_stream_goes_on_and_says_so(
    fault: str, parameters: dict[str, Any], reason: str, words: str, hold: float
) -> None:
    """Trades wait for a bounded time; the marker says that they were not back-filled, and why."""
    async with faulting(fills=True, secret=None, hold_seconds=hold) as stage:
        await stage.begin(fault, path=RECENT, **parameters)
        await stage.flow(TRADES, BOOK)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(TRADES)
            await cut(stage)
            await ended(stage)
            account = witness.account(TRADES.name, stage.outlet.of(TRADES))
        assert account.twice == []
        assert all(hole.marked for hole in account.holes)
        (said,) = resumed(stage)
        assert "not back-filled" in said
        assert words in said
        assert stage.filling.lacking == {reason: 1}
        assert stage.problems() == []


async def test_other_topics_do_not_wait_for_rest() -> None:
    """While trades are held, the book of the same socket flows."""
    async with faulting(fills=True, secret=None) as stage:
        await stage.begin("slow_rest", path=RECENT, delay_seconds=60.0)
        await stage.flow(TRADES, BOOK)
        await stage.hear(TRADES)
        await cut(stage)
        await stage.until(lambda: len(stage.breaks(BOOK)) == 1, what="the break")
        await stage.hear(BOOK, count=20)
        assert resumed(stage) == []
        assert stage.backfill is not None
        stage.backfill.stop()  # nothing is held back when the gateway stops
        await ended(stage)
        assert "the gateway stops" in resumed(stage)[0]


async def test_a_past_that_does_not_reach_back_is_named() -> None:
    """Spot tells 60 trades at most: what came before them is said to be missing."""
    trades = build_topic(Channel.TRADES, category=Category.SPOT, symbol="BTCUSDT")
    path = "/v5/public/spot"
    settings = {"rate": 100.0, "linger_seconds": 30.0}
    async with faulting(fills=True, secret=None, venue=settings) as stage:
        await stage.flow(trades)
        await stage.begin("slow_handshake", delay_seconds=3.0, count=1)
        await stage.begin("drop", path=path, most=1)

        def details() -> list[str]:
            marks = [envelope_of(each) for each in stage.outlet.of(trades)[2:] if each.is_marker]
            return [each["payload"]["detail"] for each in marks if each["kind"] == "resumed"]

        await stage.until(lambda: bool(details()), what="the end of the gap")
        assert "back-filled over REST: " in details()[0]
        assert "REST reaches back to" in details()[0]
        assert "are missing" in details()[0]
        assert stage.filling.lacking == {"reach": 1}


async def test_a_candle_that_closed_meanwhile_is_told_from_rest() -> None:
    """The minute ends while the socket is away; its candle comes closed, before the live one."""
    now = [1_790_000_030.0]
    loop = asyncio.get_running_loop()
    began = loop.time()
    settings = {"clock": lambda: now[0] + loop.time() - began, "linger_seconds": 30.0}
    async with faulting(fills=True, secret=None, venue=settings) as stage:
        await stage.flow(CANDLES)
        before = stage.payloads(CANDLES)[-1][-1]
        await cut(stage)
        now[0] += 60.0
        await stage.until(lambda: stage.filling.events["kline"] >= 1, what="a candle of REST")
        await stage.hear(CANDLES)
        rows = [
            (event.observation.source, row)
            for event in stage.facts(CANDLES)
            for row in json.loads(event.observation.payload)
        ]
        (first, *others) = [row for source, row in rows if source is Source.BACKFILL]
        assert (first["start"], first["confirm"]) == (before["start"], True)
        assert [row["start"] for row in others] == [before["start"] + 60_000] * len(others)
        starts = [row["start"] for _, row in rows]
        assert starts == sorted(starts)
        marks = [envelope_of(each) for each in stage.outlet.of(CANDLES) if each.is_marker]
        assert "back-filled over REST: " in marks[-1]["payload"]["detail"]
        assert stage.problems() == []


@asynccontextmanager
async def after_a_long_gap(minutes: int) -> AsyncIterator[FaultStage]:
    """Let a socket with candles be away for so many minutes of the venue's time."""
    now = [1_790_000_030.0]
    loop = asyncio.get_running_loop()
    began = loop.time()
    venue = {"clock": lambda: now[0] + loop.time() - began, "linger_seconds": 30.0}
    async with faulting(fills=True, secret=None, venue=venue) as stage:
        await stage.flow(CANDLES)
        await cut(stage)
        now[0] += 60.0 * minutes  # while the handshake takes its time
        yield stage
        assert stage.problems() == []


def resumed_candles(stage: FaultStage) -> list[dict[str, Any]]:
    """List the payloads of the markers that end the gaps of the candles."""
    marks = [envelope_of(each) for each in stage.outlet.of(CANDLES)[2:] if each.is_marker]
    return [each["payload"] for each in marks if each["kind"] == "resumed"]


def starts_of(stage: FaultStage) -> list[int]:
    """List when the candles of REST began, as they were told."""
    return [
        row["start"]
        for event in stage.facts(CANDLES)
        if event.observation.source is Source.BACKFILL
        for row in json.loads(event.observation.payload)
    ]


async def test_candles_of_a_gap_longer_than_one_page_of_rest_are_all_told() -> None:
    """It was 1,000 of them at most; now page after page, in one order, before `resumed`."""
    async with after_a_long_gap(2_500) as stage:
        await stage.until(lambda: bool(resumed_candles(stage)), what="the end of the gap")
        (end,) = resumed_candles(stage)
        starts = starts_of(stage)
        assert starts == list(range(starts[0], starts[0] + len(starts) * 60_000, 60_000))
        assert len(starts) >= 2_500
        assert end["complete"] is True
        assert f"back-filled over REST: {len(starts)} candles" in end["detail"]
        assert not stage.filling.lacking


async def test_candles_of_more_pages_than_are_read_are_named_and_the_newest_told() -> None:
    """Nobody waits for what would take days to catch up with; the marker says since when."""
    async with after_a_long_gap(6_000) as stage:
        await stage.until(lambda: bool(resumed_candles(stage)), what="the end of the gap")
        (end,) = resumed_candles(stage)
        starts = starts_of(stage)
        assert starts == list(range(starts[0], starts[0] + len(starts) * 60_000, 60_000))
        assert len(starts) >= 4_990
        assert end["complete"] is False
        assert "only, as that is 5 pages; candles since" in end["detail"]
        assert stage.filling.lacking == {"reach": 1}


@pytest.mark.parametrize(
    ("category", "symbol"),
    [
        (Category.SPOT, "BTCUSDT"),
        (Category.INVERSE, "BTCUSD"),
        (Category.OPTION, "BTC"),
        (Category.SPREAD, "SOLUSDT_SOL/USDT"),
    ],
)
async def test_trades_of_every_category_are_filled(category: Category, symbol: str) -> None:
    """Each has its own words for what is asked and told."""
    topic = build_topic(Channel.TRADES, category=category, symbol=symbol)
    async with faulting(fills=True, secret=None, venue={"linger_seconds": 30.0}) as stage:
        await stage.flow(topic)
        await stage.begin("slow_handshake", delay_seconds=0.3, count=1)
        await stage.begin("drop", path=f"/v5/public/{category}", most=1)
        await stage.until(lambda: stage.filling.events["trade"] > 0, what="trades of REST")
        await stage.settle(topic)
        events = stage.facts(topic)
        ids = [row["i"] for event in events for row in json.loads(event.observation.payload)]
        assert len(set(ids)) == len(ids)
        assert not stage.filling.lacking
        known = {
            key
            for event in events
            if event.observation.source is Source.STREAM
            for row in json.loads(event.observation.payload)
            for key in row
        }
        filled = [
            set(row)
            for event in events
            if event.observation.source is Source.BACKFILL
            for row in json.loads(event.observation.payload)
        ]
        assert all(keys == known - {"L"} for keys in filled)
        assert stage.problems() == []
