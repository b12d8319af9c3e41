"""A queue with `reject-publish` is full: what that costs the others, its reader, and the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
from aiormq.abc import AbstractChannel

from support.backlog_stage import watching
from support.delivery_rig import (
    ORDERS,
    TICKER,
    TRADES,
    Consumer,
    Rig,
    consuming,
    delivering,
    eventually,
)
from ws_gateway.config import QueueType
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Topic


@asynccontextmanager
async def refusing(
    url: str, prefix: str, topic: Topic, most: int = 10
) -> AsyncIterator[tuple[AbstractChannel, str]]:
    """Bind a queue of somebody's own that refuses what it has no room for."""
    connection = await aiormq.connect(url)
    name = f"{prefix}.eps.{topic.event_class}"
    try:
        channel = await connection.channel()
        await channel.exchange_declare(Names(prefix).exchange, exchange_type="topic", durable=True)
        await channel.queue_declare(
            name,
            durable=True,
            arguments={
                "x-queue-type": QueueType.CLASSIC.value,  # quorum queues take a burst beyond
                "x-max-length": most,
                "x-overflow": "reject-publish",
            },
        )
        await channel.queue_bind(name, Names(prefix).exchange, f"{topic.event_class}.#")
        yield channel, name
    finally:
        await channel.queue_delete(name)
        await connection.close()


@asynccontextmanager
async def reading(rig: Rig, url: str, topic: Topic) -> AsyncIterator[Consumer]:
    """Read the shared queue, which is there once the publisher is ready."""
    await rig.until_ready()
    async with consuming(url, rig.names.queue(topic.event_class)) as consumer:
        yield consumer


async def flow(rig: Rig, topic: Topic, seconds: float) -> None:
    """Feed a hundred facts a second."""
    for _ in range(int(seconds * 100)):
        rig.feed(1, topic)
        await asyncio.sleep(0.01)


async def test_one_full_queue_that_refuses_does_not_flood_the_others(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Each event goes out once, and markers of the hole are few."""
    async with (
        refusing(amqp_url, amqp_prefix, TICKER),
        delivering(amqp_url, amqp_prefix) as rig,
        reading(rig, amqp_url, TICKER) as other,
    ):
        await flow(rig, TICKER, 4.0)
        await rig.until_delivered()
        await eventually(lambda: len({one["event_id"] for one in other.facts}) == 400)
        assert rig.counters.nacked > 300
        assert (rig.counters.resent, other.checked().repeats) == (0, 0)
        assert len(other.envelopes) < 420, "nobody is flooded with markers"
        assert other.checked().problems == []


async def test_a_quiet_stream_that_is_refused_is_marked_ever_more_rarely(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Nothing but the marker itself can tell whether the queue takes again."""
    async with (
        refusing(amqp_url, amqp_prefix, TRADES, 3) as (channel, name),
        delivering(amqp_url, amqp_prefix) as rig,
        reading(rig, amqp_url, TRADES) as other,
    ):
        rig.feed(30)
        await eventually(lambda: len(other.facts) == 30)
        before = len(other.envelopes)
        await asyncio.sleep(4)
        assert 1 <= len(other.envelopes) - before <= 5
        await channel.queue_purge(name)
        async with consuming(amqp_url, name) as reader:
            await eventually(lambda: bool(reader.markers))
            rig.feed(2)
            await eventually(lambda: len(reader.facts) >= 2)
        numbers = [one["sequence"] for one in reader.envelopes]
        assert numbers == sorted(numbers)
        (marker,) = reader.markers
        hole = marker["payload"]
        assert hole["from_sequence"] <= 5
        assert hole["to_sequence"] == marker["sequence"] - 1


async def test_a_slow_reader_of_a_queue_that_refuses_learns_of_every_hole(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Taken and refused by turns: every number arrived or is named, and markers stay few."""
    async with (
        refusing(amqp_url, amqp_prefix, TRADES, 5) as (_, name),
        delivering(amqp_url, amqp_prefix) as rig,
    ):
        await rig.until_ready()
        flowing = asyncio.create_task(flow(rig, TRADES, 4.0))
        connection = await aiormq.connect(amqp_url)
        channel = await connection.channel()
        async with consuming(amqp_url, rig.names.queue("trade")) as other:
            early = []
            while not flowing.done():
                message = await channel.basic_get(name, no_ack=True)
                if message.body:
                    early.append(message)
                await asyncio.sleep(0.03)
            await flowing
            await connection.close()
            async with consuming(amqp_url, name) as reader:
                reader.messages[:0] = early
                await asyncio.sleep(0)
                await eventually(lambda: reader.checked().problems == [])
            gaps = [one for one in other.envelopes if one["kind"] == "gap"]
            assert len(gaps) < 12
        assert rig.counters.nacked > 50


async def test_private_events_that_are_refused_keep_their_order_and_are_tried_rarely(
    amqp_url: str, amqp_prefix: str
) -> None:
    """One at a time, ever more rarely; all arrive in order when there is room, others meanwhile."""
    async with (
        refusing(amqp_url, amqp_prefix, ORDERS, 4) as (_, name),
        delivering(amqp_url, amqp_prefix) as rig,
    ):
        await rig.until_ready()
        rig.feed(10, ORDERS)
        await eventually(lambda: rig.counters.nacked >= 8)
        for _ in range(40):
            rig.feed(1, ORDERS)
            rig.feed(1, TICKER)
            await asyncio.sleep(0.05)
        rig.assert_balance()
        assert rig.counters.nacked <= 8 + 6
        assert rig.outbox.private.held > 40
        assert rig.publisher.status().held_private == rig.outbox.private.held
        async with consuming(amqp_url, rig.names.queue("ticker")) as tickers:
            await eventually(lambda: len(tickers.facts) == 40)
        async with consuming(amqp_url, name) as reader:
            await rig.until_delivered()
            await eventually(lambda: len(reader.facts) == 50)
        assert [one["sequence"] for one in reader.envelopes] == list(range(1, 53))
        assert (rig.counters.confirmed, rig.counters.shed.total()) == (90, 0)
        assert rig.outbox.private.held == 0


async def test_what_others_evict_while_one_queue_refuses_is_counted(
    amqp_url: str, amqp_prefix: str
) -> None:
    """The queue that refuses is named; what came into the others counts although it was refused."""
    tight = f"{amqp_prefix}.tight.trade"
    async with refusing(amqp_url, amqp_prefix, TRADES, 5) as (channel, _):
        await channel.queue_declare(tight, durable=True, arguments={"x-max-length": 50})
        try:
            async with watching(amqp_url, amqp_prefix) as stage:
                await stage.want("eps", TRADES, Delivery.DEDICATED)
                await stage.want("tight", TRADES, Delivery.DEDICATED)
                async with stage.flowing(TRADES, 20):
                    await eventually(lambda: "refusing" in stage.alerts("eps.trade"))
                    status = stage.rig.publisher.status
                    await eventually(lambda: status().refused_per_second > 1)
                    await eventually(lambda: stage.rig.counters.received > 300)
                await stage.rig.until_delivered()
                await eventually(lambda: (stage.queue("tight.trade").dropped_at_least or 0) >= 240)
                assert stage.queue("eps.trade").dropped_at_least == 0
        finally:
            await channel.queue_delete(tight)
