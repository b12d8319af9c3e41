"""Names of what a gateway with a given prefix declares in RabbitMQ, and how to remove it."""

from __future__ import annotations

import aiormq

from ws_gateway.domain.topic import EventClass


def exchange_name(prefix: str) -> str:
    """Name the exchange of a gateway with that prefix."""
    return f"{prefix}.events"


def queue_names(prefix: str) -> list[str]:
    """Name every queue that a gateway with that prefix may declare."""
    return [f"{prefix}.{event_class}" for event_class in EventClass] + [f"{prefix}.quarantine"]


async def delete_topology(url: str, prefix: str) -> None:
    """Remove the exchange and the queues; those that do not exist are no fault."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for name in queue_names(prefix):
            await channel.queue_delete(name)
        await channel.exchange_delete(exchange_name(prefix))
    finally:
        await connection.close()
