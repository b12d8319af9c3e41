"""The services a test gets are its own, and clean."""

from __future__ import annotations

import aiormq
import asyncpg
import pytest

from support.amqp_names import delete_topology, exchange_name, queue_names
from support.proxy import TcpProxy, address, through


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_migrated_database_of_its_own(database_url: str, turn: int) -> None:
    """What one test writes, the next does not see."""
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM subscriptions") == 0
    await connection.execute("CREATE TABLE mark AS SELECT $1::int AS turn", turn)
    await connection.close()


async def test_an_empty_database_has_no_tables(empty_database_url: str) -> None:
    """Tests of the migrations begin with nothing."""
    connection = await asyncpg.connect(empty_database_url)
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert await connection.fetchval(query) == 0
    await connection.close()


async def test_the_topology_of_a_prefix_can_be_removed(amqp_url: str, amqp_prefix: str) -> None:
    """Exchange and queues are gone afterwards, and removing nothing is no fault."""
    connection = await aiormq.connect(amqp_url)
    channel = await connection.channel()
    await channel.exchange_declare(exchange_name(amqp_prefix), exchange_type="topic", durable=True)
    for name in queue_names(amqp_prefix):
        await channel.queue_declare(name, durable=True)
    await delete_topology(amqp_url, amqp_prefix)
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await channel.queue_declare(queue_names(amqp_prefix)[0], passive=True)
    await connection.close()


async def test_the_broker_can_be_reached_through_a_proxy(amqp_url: str) -> None:
    """The way of every fault test: the real broker behind a network that can be cut."""
    async with TcpProxy(*address(amqp_url, 5672)) as proxy:
        connection = await aiormq.connect(through(amqp_url, proxy))
        await connection.close()
        assert proxy.accepted == 1
