"""Pipeline and delivery joined as the composition root joins them, and a consumer to judge them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage

from support.contract import assert_envelope
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.config import QueueType
from ws_gateway.delivery.line import PublisherSettings
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.publisher import Publisher
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Category, Topic, parse_topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.delivery import BrokerState
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds, new_epoch

TRADES = parse_topic("publicTrade.BTCUSDT", Category.LINEAR)
TICKER = parse_topic("tickers.BTCUSDT", Category.LINEAR)
ORDERS = parse_topic("order", None)

_trace_ids = TraceIds()
_serial = count(1)


def now_us() -> int:
    """Return the time of day in µs."""
    return time.time_ns() // 1000


def observe(
    topic: Topic = TRADES,
    *,
    payload: bytes = b"[]",
    kind: Kind = Kind.SNAPSHOT,
    symbol: str | None = None,
    update_id: int | None = None,
) -> Observation:
    """Make a fact of a topic as the venue room would, with an id of its own."""
    return Observation(
        topic,
        kind,
        f"{topic.key}:{next(_serial)}",
        topic.category or "linear",
        symbol or topic.symbol,
        now_us() // 1000,
        None,
        now_us(),
        _trace_ids(),
        update_id,
        payload,
    )


class NoVenue:
    """Takes requests for fresh snapshots and remembers them."""

    def __init__(self) -> None:
        self.asked: list[Topic] = []

    def resync(self, topic: Topic) -> None:
        """Remember it."""
        self.asked.append(topic)


@dataclass
class Rig:
    """A runner in front of a publisher, without a venue.

    Attributes:
        running: the publisher's task; that it never ends by itself is part of every test.
    """

    publisher: Publisher
    runner: Runner
    counters: Counters
    outbox: Outbox
    names: Names
    venue: NoVenue
    running: asyncio.Task[None]

    def feed(self, many: int = 1, topic: Topic = TRADES, **facts: Any) -> None:
        """Let the runner accept facts, as one socket read would bring them."""
        for _ in range(many):
            self.runner.accept(observe(topic, **facts))

    def assert_balance(self) -> None:
        """Insist that every fact received is somewhere."""
        assert self.counters.received == self.counters.settled() + self.publisher.in_flight

    async def until_ready(self, seconds: float = 30.0) -> None:
        """Wait until the broker takes events."""
        await eventually(lambda: self.publisher.status().state is BrokerState.READY, seconds)

    async def until_delivered(self, seconds: float = 30.0) -> None:
        """Wait until nothing is held any more."""
        assert await self.publisher.drain(seconds), self.publisher.status()
        self.assert_balance()


@asynccontextmanager
async def delivering(
    url: str,
    prefix: str,
    *,
    window: int = 1000,
    deadline_seconds: float = 10.0,
    max_events: int = 10_000,
    max_bytes: int = 64_000_000,
    queue_type: QueueType = QueueType.CLASSIC,
) -> AsyncIterator[Rig]:
    """Run runner and publisher; the publisher must still run at the end, whatever happened."""
    names = Names(prefix)
    counters = Counters()
    outbox = Outbox(max_events=max_events, max_bytes=max_bytes)
    publisher = Publisher(
        PublisherSettings(
            url=url,
            names=names,
            queue_type=queue_type,
            account="main",
            window=window,
            deadline_seconds=deadline_seconds,
        ),
        outbox=outbox,
        counters=counters,
        rng=Random(7),
        clock_us=now_us,
    )
    venue = NoVenue()
    runner = Runner(
        outlet=publisher,
        resync=venue,
        counters=counters,
        epoch=new_epoch(now_us() // 1000),
        clock_us=now_us,
        new_trace_id=_trace_ids,
    )
    publisher.report_losses_to(runner)
    running = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield Rig(publisher, runner, counters, outbox, names, venue, running)
        assert publisher.is_closed or not running.done(), (
            f"the publisher ended by itself: {running}"
        )
    finally:
        await publisher.close(1.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@dataclass
class Consumer:
    """What a consumer of one queue received, in its order."""

    messages: list[DeliveredMessage] = field(default_factory=list)

    @property
    def envelopes(self) -> list[dict[str, Any]]:
        """Decode every body, and hold it against the contract; payloads are the tests' own."""
        found = [json.loads(message.body) for message in self.messages]
        for envelope in found:
            assert_envelope(envelope)
        return found

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Leave out the markers."""
        return [one for one in self.envelopes if one["kind"] not in ("gap", "resumed")]

    @property
    def markers(self) -> list[dict[str, Any]]:
        """Keep only the gap markers that name a hole."""
        return [
            one
            for one in self.envelopes
            if one["kind"] == "gap" and one["payload"]["from_sequence"] is not None
        ]

    def checked(self) -> ContinuityChecker:
        """Apply the consumer's rule to everything received."""
        checker = ContinuityChecker()
        for envelope in self.envelopes:
            checker.check(envelope)
        return checker


@asynccontextmanager
async def consuming(url: str, queue: str) -> AsyncIterator[Consumer]:
    """Consume a queue, once it stands, over a connection of its own while the block lasts."""
    consumer = Consumer()
    connection = await aiormq.connect(url)
    try:
        await until_stands(connection, queue)
        channel = await connection.channel()

        async def take(message: DeliveredMessage) -> None:
            consumer.messages.append(message)

        await channel.basic_consume(queue, take, no_ack=True)
        yield consumer
    finally:
        await connection.close()


async def until_stands(connection: AbstractConnection, queue: str) -> None:
    """Wait until a queue is there: on a busy broker it may come after the wish was answered."""
    async with asyncio.timeout(30):
        while True:
            channel = await connection.channel()
            try:
                await channel.queue_declare(queue, passive=True)
            except aiormq.exceptions.ChannelNotFoundEntity:
                await asyncio.sleep(0.05)
            else:
                await channel.close()
                return


async def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a fact that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nothing tells when it comes true
            await asyncio.sleep(0.01)
