"""Reconciliation between lists in memory and a real pipeline, for its tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Any

import msgspec

from support.account_desk import NOW_MS, TRACE, MemoryPipeline
from support.memory_lists import MemoryLists, MemoryMarks
from support.memory_outlet import MemoryOutlet, MemoryResync
from ws_gateway.account.front import PrivateFront
from ws_gateway.account.mark_keeper import MarkKeeper
from ws_gateway.account.reconcile import Reconciliation
from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.event import Event, GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.runtime.counters import Counters
from ws_gateway.venue.observations import private_fact

ORDER = build_topic(Channel.ORDER)
BALANCE = build_topic(Channel.BALANCE)
EXECUTION = build_topic(Channel.EXECUTION)
POSITION = build_topic(Channel.POSITION)


class Receipts:
    """Delivery, which a test lets be done."""

    is_safe = has_ease = True

    def take(self) -> Receipts:
        """Return one for all."""
        return self


class Room:
    """One process's account room; what it stores survives it in `marks`."""

    def __init__(
        self,
        lists: MemoryLists,
        marks: MemoryMarks,
        *,
        every_seconds: float = 3600.0,
        rng: Random | None = None,
    ) -> None:
        self.lists, self.marks = lists, marks
        self.outlet, self.counters, self.receipts = MemoryOutlet(), Counters(), Receipts()
        self.unreadable = MemoryPipeline(self.counters)
        self.runner = Runner(
            outlet=self.outlet,
            resync=MemoryResync(),
            counters=self.counters,
            epoch="E",
            clock_us=lambda: NOW_MS * 1000,
            new_trace_id=lambda: TRACE,
        )
        self.stage = AccountStage(
            "main",
            sink=self.runner,
            unreadable=self.unreadable,
            keeper=self,
            counters=self.counters,
            monotonic=lambda: 0.0,
        )
        self.keeper = MarkKeeper("main", marks, self.receipts)
        self.reconciliation = Reconciliation(
            self.stage,
            lists,
            lists,
            keeper=self.keeper,
            streams=self.runner,
            unreadable=self.unreadable,
            delivery=self.receipts,
            counters=self.counters,
            option_coins=["BTC"],
            every_seconds=every_seconds,
            rng=rng or Random(1),
        )
        self.front = PrivateFront(self.stage, self.reconciliation, self)
        self.runner.report_losses_to(self.front)

    def put(self, records: Any) -> None:
        """Store nothing."""

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Stand for control."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run meanwhile, and end without a goodbye."""
        tasks = [
            asyncio.create_task(each) for each in (self.reconciliation.run(), self.keeper.run())
        ]
        try:
            yield
            assert not any(task.done() for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def flowing(self, *topics: Topic) -> AsyncIterator[None]:
        """Run meanwhile, with topics that flow and lack nothing."""
        async with self.running():
            self.connect(*topics)
            await self.done()
            yield

    @contextmanager
    def away(self, *topics: Topic, ms: int) -> Iterator[None]:
        """Lose the socket of topics; what the test does then is missed, until so much later."""
        self.cut(*topics)
        yield
        self.lists.now_ms += ms
        self.connect(*topics)

    def connect(self, *topics: Topic) -> None:
        """Let topics be acknowledged."""
        for topic in topics:
            for state in (SubscriptionState.PENDING, SubscriptionState.ACTIVE):
                self.front.topic_changed(topic, state, None)

    def cut(self, *topics: Topic) -> None:
        """Lose the socket."""
        self.front.break_streams(topics, GapReason.DISCONNECT, "cut")
        for topic in topics:
            self.front.topic_changed(topic, SubscriptionState.REQUESTED, None)

    def tell(self, topic: Topic, record: dict[str, Any], at: int = NOW_MS) -> None:
        """Tell a record over the stream."""
        raw = msgspec.Raw(msgspec.json.encode(record))
        self.front.accept(private_fact(topic, raw, at, at * 1000, TRACE))

    def events(self, topic: Topic) -> list[Event]:
        """Return what consumers got of a topic, markers left aside."""
        return [event for event in self.outlet.of(topic) if not event.is_marker]

    def told(self, topic: Topic) -> list[str]:
        """Say in short what consumers got of a topic."""
        words = []
        for event in self.outlet.of(topic):
            fact = event.observation
            payload = msgspec.json.decode(fact.payload)
            if event.is_marker:
                words.append(f"{fact.kind} {payload['reason']}")
            else:
                name = payload.get("execId") or payload.get("orderStatus") or payload.get("size")
                words.append(f"{fact.source} {name}")
        return words

    def details(self, topic: Topic) -> list[str]:
        """Return what `resumed` markers of a topic say."""
        return [
            msgspec.json.decode(event.observation.payload)["detail"]
            for event in self.outlet.of(topic)
            if event.observation.kind == "resumed"
        ]

    def completes(self, topic: Topic) -> list[bool]:
        """Return whether `resumed` markers of a topic say that nothing is missing."""
        return [
            msgspec.json.decode(event.observation.payload)["complete"]
            for event in self.outlet.of(topic)
            if event.observation.kind == "resumed"
        ]

    async def failed(self, times: int = 1) -> None:
        """Wait until so many readings were not complete."""
        await until(lambda: self.counters.reconciliations["failed"] >= times)

    async def done(self, times: int = 1) -> None:
        """Wait until so many readings are complete and stored."""
        await until(lambda: self.counters.reconciliations["done"] >= times)


async def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - of many kinds
            await asyncio.sleep(0.005)


def execution(number: int, at: int = NOW_MS, **fields: Any) -> dict[str, Any]:
    """Write an execution as the stream does."""
    return {
        "category": "linear", "symbol": "BTCUSDT", "execId": f"e{number}", "orderId": f"o{number}",
        "execTime": str(at), "execType": "Trade", "execQty": "0.1", "seq": number, **fields,
    }  # fmt: skip


def order(name: str = "o1", at: int = NOW_MS, **fields: Any) -> dict[str, Any]:
    """Write an order as the stream does."""
    return {
        "category": "linear", "symbol": "BTCUSDT", "orderId": name, "orderStatus": "New",
        "cumExecQty": "0", "price": "60000", "qty": "1", "createdTime": str(at),
        "updatedTime": str(at), "settleCoin": "USDT", **fields,
    }  # fmt: skip


def over_rest(row: dict[str, Any]) -> dict[str, Any]:
    """Write a row as REST does: without a category."""
    return {name: value for name, value in row.items() if name != "category"}


def executed(*numbers: int, since: int = NOW_MS) -> list[dict[str, Any]]:
    """Write executions as REST has them, each so many milliseconds after a time."""
    return [over_rest(execution(number, since + number)) for number in numbers]
