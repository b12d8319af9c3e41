"""The plain stack, as it is usually written: websockets, json, and an awaited aio-pika publish.

    python -m contenders.plain_stack VENUE_URL AMQP_URL EXCHANGE SYMBOL,SYMBOL…

Every message is persistent and confirmed, as the gateway's are; the next one is read after that.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aio_pika
import websockets

from contenders.tally import Tally, answer


async def relay(tally: Tally, venue: str, amqp: str, exchange_name: str, names: str) -> None:
    """Carry books from the venue to the exchange."""
    connection = await aio_pika.connect_robust(amqp)
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.declare_exchange(
        exchange_name, aio_pika.ExchangeType.TOPIC, durable=True
    )
    topics = [f"orderbook.50.{symbol}" for symbol in names.split(",")]
    async with websockets.connect(f"{venue}/v5/public/linear") as socket:
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))
        async for raw in socket:
            received_at = time.time()
            frame = json.loads(raw)
            if "topic" not in frame:
                continue
            symbol = frame["data"]["s"]
            event = {
                "event_type": "orderbook",
                "kind": frame["type"],
                "category": "linear",
                "symbol": symbol,
                "timestamp": frame["ts"],
                "received_at": received_at,
                "payload": frame["data"],
            }
            await exchange.publish(
                aio_pika.Message(
                    json.dumps(event).encode(),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                routing_key=f"orderbook.linear.{symbol}",
            )
            tally.note(time.time() - received_at)


async def main() -> None:
    """Relay until standard input ends."""
    tally = Tally()
    relaying = asyncio.create_task(relay(tally, *sys.argv[1:5]))
    telling = asyncio.create_task(answer(tally))
    done, _ = await asyncio.wait({relaying, telling}, return_when=asyncio.FIRST_COMPLETED)
    relaying.cancel()
    for task in done:
        task.result()  # a failure of the relay ends the process loudly


if __name__ == "__main__":
    asyncio.run(main())
