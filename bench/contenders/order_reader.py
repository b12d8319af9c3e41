"""Reads orders from their queue and counts how long they took from the venue's send.

python -m contenders.order_reader AMQP_URL QUEUE
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from contenders.tally import Tally, answer


async def main() -> None:
    """Read until standard input ends."""
    tally = Tally()

    async def take(message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        if event["kind"] == "update":
            sent_us = int(event["payload"]["orderId"].removeprefix("bench-"))
            tally.note((time.time_ns() // 1000 - sent_us) / 1e6)

    connection = await aio_pika.connect(sys.argv[1])
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(sys.argv[2])
        await queue.consume(take, no_ack=True)
        await answer(tally)


if __name__ == "__main__":
    asyncio.run(main())
