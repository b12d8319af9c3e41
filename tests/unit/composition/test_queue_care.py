"""When the queues are first looked at."""

from __future__ import annotations

import asyncio

from ws_gateway.composition.queue_care import wait_until_declared


async def test_a_first_start_tells_no_queue_missing_that_is_about_to_be_declared() -> None:
    """The first look waits for the publisher, which declares the shared queues."""
    declared = False
    waiting = asyncio.create_task(wait_until_declared(lambda: declared, 60))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    declared = True
    await asyncio.wait_for(waiting, 30)


async def test_queues_are_looked_after_although_the_publisher_cannot_declare_them() -> None:
    """Patience ends: the queues of services must not wait for ever for the others."""
    await asyncio.wait_for(wait_until_declared(lambda: False, 0.05), 30)
