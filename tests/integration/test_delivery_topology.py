"""What the gateway declares at the broker, and what it does where something else stands already."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from pamqp.common import FieldTable

from support.amqp_names import exchange_name, queue_names
from support.delivery_rig import TICKER, TRADES, consuming, delivering, eventually
from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Deaf, Link, open_link
from ws_gateway.delivery.topology import (
    Names,
    declare_topology,
    ensure_exchange,
    ensure_queue,
    queue_arguments,
)
from ws_gateway.ports.delivery import QueueProblem

ARGUMENTS: dict[QueueType, FieldTable] = {
    QueueType.QUORUM: {
        "x-queue-type": "quorum",
        "x-message-ttl": 86_400_000,
        "x-max-length": 100_000,
        "x-overflow": "drop-head",
    },
    QueueType.CLASSIC: {
        "x-queue-type": "classic",
        "x-message-ttl": 86_400_000,
        "x-max-length": 100_000,
        "x-overflow": "drop-head",
    },
    QueueType.STREAM: {
        "x-queue-type": "stream",
        "x-max-age": "86400s",
        "x-max-length-bytes": 2_000_000_000,
    },
}


async def declared(url: str, prefix: str, queue_type: QueueType) -> tuple[QueueProblem, ...]:
    """Declare everything over a link of its own."""
    link: Link = await open_link(url, Deaf(), deadline_seconds=30)
    try:
        return await declare_topology(link, Names(prefix), queue_type)
    finally:
        await link.close(1)


async def reaches(channel: AbstractChannel, exchange: str, key: str, queue: str) -> bool:
    """Say whether a message with that routing key lands in that queue."""
    await channel.queue_purge(queue)
    await channel.basic_publish(b"probe", exchange=exchange, routing_key=key, mandatory=True)
    for _ in range(100):
        got = await channel.basic_get(queue, no_ack=True)
        if got.body:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("queue_type", list(QueueType))
async def test_everything_stands_with_the_arguments_of_its_type(
    amqp_url: str, amqp_prefix: str, queue_type: QueueType
) -> None:
    """Every queue is durable and has its type's limits; declaring again changes nothing."""
    assert await declared(amqp_url, amqp_prefix, queue_type) == ()
    assert await declared(amqp_url, amqp_prefix, queue_type) == ()
    assert queue_arguments(queue_type) == ARGUMENTS[queue_type]
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        # The broker itself compares: a declaration with any other argument would be refused.
        await channel.exchange_declare(
            exchange_name(amqp_prefix), exchange_type="topic", durable=True
        )
        for name in queue_names(amqp_prefix):
            await channel.queue_declare(name, durable=True, arguments=ARGUMENTS[queue_type])
    finally:
        await connection.close()


async def test_each_queue_gets_its_class_and_only_that(amqp_url: str, amqp_prefix: str) -> None:
    """A routing key's first word chooses the queue, whatever follows it."""
    await declared(amqp_url, amqp_prefix, QueueType.CLASSIC)
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        exchange = exchange_name(amqp_prefix)
        for name in queue_names(amqp_prefix):
            event_class = name.removeprefix(f"{amqp_prefix}.")
            assert await reaches(channel, exchange, f"{event_class}.linear.A%2EB", name)
        counts = [
            (await channel.queue_declare(name, passive=True)).message_count
            for name in queue_names(amqp_prefix)
        ]
        assert counts == [0] * len(counts)
    finally:
        await connection.close()


async def test_queue_with_other_arguments_is_named_used_and_left_alone(
    amqp_url: str, amqp_prefix: str
) -> None:
    """A drifted queue gives one sentence; it and all others get their events all the same."""
    names = Names(amqp_prefix)
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(
            names.queue("trade"), durable=True, arguments={"x-max-length": 5}
        )
        async with delivering(amqp_url, amqp_prefix) as rig:
            await rig.until_ready()
            (problem,) = rig.publisher.status().problems
            assert (problem.subject, problem.is_blocking) == (names.queue("trade"), False)
            assert problem.detail == (
                f"queue {names.queue('trade')} stands with other arguments and is used as it is: "
                "x-message-ttl is not set instead of 86400000, "
                "x-max-length is 5 instead of 100000, "
                "x-overflow is not set instead of drop-head. "
                "To migrate, let its consumers empty it (rabbitmqctl list_queues -p / name "
                "messages), then delete it (rabbitmqctl delete_queue -p / "
                f"{names.queue('trade')}); the gateway declares it again within a minute"
            )
            async with (
                consuming(amqp_url, names.queue("trade")) as trades,
                consuming(amqp_url, names.queue("ticker")) as tickers,
            ):
                rig.feed(3, TRADES)
                rig.feed(3, TICKER)
                await rig.until_delivered()
                await eventually(lambda: len(trades.facts) + len(tickers.facts) == 6)
            assert rig.counters.returned == 0
            assert rig.publisher.status().problems == (problem,)
        await channel.queue_declare(
            names.queue("trade"), durable=True, arguments={"x-max-length": 5}
        )
    finally:
        await connection.close()


async def test_every_argument_that_differs_is_found(amqp_url: str, amqp_prefix: str) -> None:
    """A quorum queue where a classic one is wanted, with limits of its own, is told whole."""
    names = Names(amqp_prefix)
    connection = await aiormq.connect(amqp_url)
    link = await open_link(amqp_url, Deaf(), deadline_seconds=30)
    stands: FieldTable = {
        "x-queue-type": "quorum",
        "x-max-length": 7,
        "x-dead-letter-exchange": "d",
    }
    try:
        channel = await connection.channel()
        await channel.queue_declare(names.queue("kline"), durable=True, arguments=stands)
        await ensure_exchange(link, names)
        queue = names.queue("kline")
        standing = await ensure_queue(link, names.exchange, queue, ["kline.#"], QueueType.CLASSIC)
        assert standing.arguments == stands
        assert standing.problem is not None
        assert "x-queue-type is quorum instead of classic" in standing.problem
        assert "x-max-length is 7 instead of 100000" in standing.problem
        assert "x-dead-letter-exchange is d instead of not set" in standing.problem
        assert await reaches(channel, names.exchange, "kline.linear.BTCUSDT", queue)
    finally:
        await link.close(1)
        await connection.close()


async def test_a_queue_somebody_has_for_himself_is_told_and_stops_nobody(
    amqp_url: str, amqp_prefix: str
) -> None:
    """An exclusive queue of another connection can be neither declared nor bound."""
    names = Names(amqp_prefix)
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(names.queue("greeks"), exclusive=True)
        (problem,) = await declared(amqp_url, amqp_prefix, QueueType.CLASSIC)
        assert (problem.subject, problem.is_blocking) == (names.queue("greeks"), True)
        assert "RESOURCE_LOCKED" in problem.detail
    finally:
        await connection.close()


async def test_a_stream_takes_no_limit_of_messages(amqp_url: str, amqp_prefix: str) -> None:
    """The broker refuses x-max-length on a stream, which is why streams bound age and bytes."""
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        arguments: FieldTable = {"x-queue-type": "stream", "x-max-length": 100_000}
        with pytest.raises(aiormq.exceptions.AMQPError, match=r"x-max-length"):
            await channel.queue_declare(f"{amqp_prefix}.trade", durable=True, arguments=arguments)
    finally:
        await connection.close()


async def test_exchange_of_another_type_is_named(amqp_url: str, amqp_prefix: str) -> None:
    """An exchange that stands as fanout is told in words and used as it is."""
    connection = await aiormq.connect(amqp_url)
    try:
        channel = await connection.channel()
        await channel.exchange_declare(
            exchange_name(amqp_prefix), exchange_type="fanout", durable=True
        )
        (problem,) = await declared(amqp_url, amqp_prefix, QueueType.CLASSIC)
        assert (
            f"exchange {exchange_name(amqp_prefix)} stands with other arguments" in problem.detail
        )
        assert "type is fanout instead of topic" in problem.detail
    finally:
        await connection.close()
