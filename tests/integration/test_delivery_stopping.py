"""A task that asks the broker something ends when it is told to, whatever it is in the midst of."""

from __future__ import annotations

import asyncio
from random import Random

from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Deaf, Link, open_link
from ws_gateway.delivery.topology import Names, declare_topology, missing_queues

ROUNDS = 60
LONGEST_WAIT = 0.03  # in which a look at all queues comes to every step it has
SEED = 4


async def test_a_stop_in_the_midst_of_looking_at_queues_is_a_stop(
    amqp_url: str, amqp_prefix: str
) -> None:
    """A gateway stopped right after its start lived on: aiormq had swallowed the cancellation."""
    rng = Random(SEED)
    names = Names(amqp_prefix)

    async def look_for_ever(link: Link) -> None:
        while True:
            assert await missing_queues(link, names.queues()) == []

    for number in range(ROUNDS):
        link = await open_link(amqp_url, Deaf(), deadline_seconds=30)
        try:
            if number == 0:
                await declare_topology(link, names, QueueType.CLASSIC)
            looking = asyncio.create_task(look_for_ever(link))
            await asyncio.sleep(rng.uniform(0, LONGEST_WAIT))
            looking.cancel()
            done, _ = await asyncio.wait({looking}, timeout=20)
            assert done == {looking}, "it goes on, though it was told to end"
            assert looking.cancelled()
        finally:
            await link.close(1)
