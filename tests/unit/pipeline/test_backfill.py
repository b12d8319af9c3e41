"""Live facts wait behind a gap until the past was read: in order, bounded, and never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from support.pipeline_stage import BOOK, Stage, payload_of
from support.sim_client import eventually
from ws_gateway.domain.event import GapReason, Kind, Observation, Source
from ws_gateway.domain.topic import Category, Channel, Lane, Topic, build_topic
from ws_gateway.errors import VenueLost
from ws_gateway.pipeline.backfill import Backfill
from ws_gateway.ports.event_path import Missed
from ws_gateway.runtime.counters import BackfillTally

TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")


def trades(symbol: str) -> Topic:
    """Name the trades of another symbol."""
    return build_topic(Channel.TRADES, category=Category.LINEAR, symbol=symbol)


@dataclass
class Past:
    """A `MarketPast` that knows one trade after each, and tells it when it may.

    Attributes:
        may: answers are given.
        asked: last and first fact of each question, by their ids.
        refusals: raised one by one before an answer is given.
    """

    may: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[VenueLost] = field(default_factory=list)
    lacking: str = ""

    def follows(self, last: Observation, first: Observation) -> bool:  # noqa: ARG002 - a port
        """Know nothing without asking."""
        return False

    async def between(
        self,
        last: Observation,
        first: Observation,
        until: float | None = None,
        *,
        others: Callable[[], Sequence[Observation]] = tuple,  # noqa: ARG002 - a port
    ) -> Missed:
        """Answer with one trade."""
        assert until is None or until > 0
        self.asked.append((last.event_id, first.event_id))
        if self.refusals:
            raise self.refusals.pop(0)
        await self.may.wait()
        fact = replace_source(last, f"{last.event_id}+")
        return Missed([fact], 1, self.lacking)


def replace_source(fact: Observation, event_id: str) -> Observation:
    """Make a fact of REST out of one of the stream."""
    return msgspec.structs.replace(fact, event_id=event_id, source=Source.BACKFILL)


@dataclass
class Filled(Stage):
    """A pipeline with gaps that are filled."""

    past: Past = field(default_factory=Past)
    tally: BackfillTally = field(default_factory=BackfillTally)
    hold_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Build both."""
        super().__post_init__()
        self.backfill = Backfill(
            self.runner, self.past, tally=self.tally, hold_seconds=self.hold_seconds
        )

    def cut(self, *topics: Topic) -> None:
        """Lose the socket."""
        self.backfill.break_streams(topics or [TRADES], GapReason.DISCONNECT, "cut")

    def ids(self, topic: Topic = TRADES) -> list[str]:
        """List what a consumer got, the marker of the start left out."""
        return [
            str(event.observation.kind) if event.is_marker
            else event.observation.event_id.rpartition(":")[2]
            for event in self.outlet.of(topic)[2:]
        ]  # fmt: skip

    def said(self, topic: Topic = TRADES) -> str:
        """Return what the newest marker says."""
        marks = [event for event in self.outlet.of(topic) if event.is_marker]
        return str(payload_of(marks[-1].observation)["detail"])

    def is_complete(self, topic: Topic = TRADES) -> bool:
        """Return whether the newest marker says that nothing is missing."""
        marks = [event for event in self.outlet.of(topic) if event.is_marker]
        return bool(payload_of(marks[-1].observation)["complete"])

    def received(self) -> int:
        """Count what is accounted for, and see that it is all that was taken."""
        assert self.counters.received == self.outlet.observed + self.counters.settled()
        return self.counters.received


@asynccontextmanager
async def filling(hold_seconds: float = 30.0) -> AsyncIterator[Filled]:
    """Run it."""
    stage = Filled(hold_seconds=hold_seconds)
    task = asyncio.create_task(stage.backfill.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_live_trades_wait_until_the_past_was_told() -> None:
    """Then all stand in order, with `resumed` between past and present."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.tell(TRADES)
        assert stage.ids() == ["1", "gap"]
        assert stage.received() == 1
        stage.past.may.set()
        await eventually(lambda: len(stage.ids()) == 6)
        assert stage.ids() == ["1", "gap", "1+", "resumed", "2", "3"]
        assert stage.said() == "data flows; back-filled over REST: 1 trade"
        assert stage.is_complete()
        assert stage.received() == 4
        stage.tell(TRADES)
        assert stage.ids()[-1] == "4"


async def test_a_second_break_is_filled_from_where_the_first_one_ended() -> None:
    """Facts between two breaks are told between what REST told of both."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.past.may.set()
        await eventually(lambda: len(stage.ids()) == 7)
        assert stage.ids() == ["1", "gap", "1+", "2", "2+", "resumed", "3"]
        assert stage.said() == (
            "data flows; back-filled over REST: 1 trade; then back-filled over REST: 1 trade"
        )


async def test_a_break_behind_which_nothing_flows_yet_is_one_gap_with_the_next() -> None:
    """There is nothing to read before a live fact comes."""
    async with filling() as stage:
        stage.past.may.set()
        stage.tell(TRADES)
        stage.cut()
        stage.cut()
        await asyncio.sleep(0)
        assert stage.past.asked == []
        stage.tell(TRADES)
        await eventually(lambda: stage.ids() == ["1", "gap", "1+", "resumed", "2"])


async def test_streams_whose_turn_does_not_come_go_on_without() -> None:
    """Four are read at a time; who waited too long is told so, and everybody flows."""
    async with filling(hold_seconds=0.2) as stage:
        topics = [trades(f"SYM{n}USDT") for n in range(6)]
        for topic in topics:
            stage.tell(topic)
        stage.cut(*topics)
        for topic in topics:
            stage.tell(topic)
        await eventually(lambda: all(len(stage.ids(each)) == 4 for each in topics))
        assert stage.tally.lacking.total() == 6
        assert set(stage.tally.lacking) <= {"turn", "slow"}  # the moment is the same for all
        assert all("not back-filled" in stage.said(each) for each in topics)
        assert stage.received() == 12


async def test_a_venue_that_wants_a_moment_gets_it() -> None:
    """A spent budget is waited for, if there is time."""
    async with filling() as stage:
        stage.past.may.set()
        stage.past.refusals = [VenueLost("rest", "spent", retry_after_seconds=0.01)]
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        await eventually(lambda: stage.ids() == ["1", "gap", "1+", "resumed", "2"])
        assert len(stage.past.asked) == 2


async def test_a_venue_that_wants_longer_is_not_waited_for() -> None:
    """The marker says why nothing was read."""
    async with filling() as stage:
        stage.past.refusals = [VenueLost("rest", "banned", retry_after_seconds=600.0)]
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        await eventually(lambda: stage.ids() == ["1", "gap", "resumed", "2"])
        assert not stage.is_complete()
        assert stage.said() == "data flows; not back-filled: banned"
        assert stage.tally.lacking == {"rest": 1}


async def test_what_rest_lacks_is_in_the_marker() -> None:
    """The gap was filled in part."""
    async with filling() as stage:
        stage.past.may.set()
        stage.past.lacking = "trades since noon are missing"
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        await eventually(lambda: len(stage.ids()) == 5)
        assert stage.said().endswith("1 trade; trades since noon are missing")
        assert stage.tally.lacking == {"reach": 1}


async def test_a_full_buffer_takes_nothing_of_the_past() -> None:
    """It is said that there was no room, and what is live becomes a hole with a marker."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.outlet.room[Lane.LEDGER] = 0
        stage.past.may.set()
        await eventually(lambda: stage.tally.lacking["room"] == 1)
        assert stage.received() == 2
        del stage.outlet.room[Lane.LEDGER]
        stage.tell(TRADES)
        assert stage.ids() == ["1", "gap", "gap", "resumed", "3"]


async def test_a_topic_that_nobody_wants_any_more_is_not_waited_for() -> None:
    """What was held is told; what comes when it is wanted again is not filled up to that."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.backfill.break_streams(
            [TRADES], GapReason.RESUBSCRIBE, "it was unsubscribed", is_announced=False
        )
        assert stage.ids() == ["1", "gap", "resumed", "2"]
        stage.cut()
        stage.tell(TRADES)
        assert stage.ids()[-2:] == ["resumed", "3"]
        stage.past.may.set()
        await asyncio.sleep(0.05)
        assert stage.tally.events.total() == 0


async def test_a_gap_that_is_given_up_between_two_stretches_still_ends() -> None:
    """The first stretch was told and the second is awaited when the gateway stops filling."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.cut()
        stage.past.may.set()
        await eventually(lambda: stage.ids() == ["1", "gap", "1+", "2"])
        stage.backfill.stop()
        stage.tell(TRADES)
        assert stage.ids() == ["1", "gap", "1+", "2", "resumed", "3"]


async def test_a_stop_lets_everything_go() -> None:
    """Nothing is held when the gateway drains, nor later."""
    async with filling() as stage:
        stage.tell(TRADES)
        stage.cut()
        stage.tell(TRADES)
        stage.backfill.stop()
        assert stage.ids() == ["1", "gap", "resumed", "2"]
        stage.cut()
        stage.tell(TRADES)
        assert stage.ids()[-3:] == ["gap", "resumed", "3"]
        assert stage.received() == 3


async def test_a_first_fact_of_a_process_and_a_book_wait_for_nothing() -> None:
    """It is not known from where on the one lacks something; the other has snapshots."""
    async with filling() as stage:
        stage.cut(TRADES, BOOK)
        stage.tell(TRADES)
        stage.snapshot(5)
        assert stage.outlet.of(TRADES)[-1].observation.kind is Kind.UPDATE
        assert stage.outlet.of(BOOK)[-1].observation.kind is Kind.SNAPSHOT
        assert stage.past.asked == []
