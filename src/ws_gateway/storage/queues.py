"""Which dedicated queues are wanted and which were declared, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import EventClass, Topic
from ws_gateway.ports import DeclaredQueue
from ws_gateway.storage.rows import topic_of
from ws_gateway.storage.subscriptions import PostgresSubscriptions

# Of what is shared only who reads which class matters, and there may be thousands of topics.
_WISHES = """
    SELECT requesting_service, category, topic, channel, symbol, parameter, delivery
    FROM subscriptions WHERE delivery = 'dedicated'
    UNION ALL (
        SELECT DISTINCT ON (requesting_service, channel)
            requesting_service, category, topic, channel, symbol, parameter, delivery
        FROM subscriptions WHERE delivery = 'shared'
    )
"""

_DECLARED = "SELECT name, requesting_service, event_class, bindings, is_ours FROM dedicated_queues"

_RECORD = """
    INSERT INTO dedicated_queues (name, requesting_service, event_class, bindings, is_ours)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET bindings = excluded.bindings
"""

_FORGET = "DELETE FROM dedicated_queues WHERE name = $1"


class PostgresQueues:
    """The `QueueLedger` of the running service; it shares the connections of the subscriptions."""

    def __init__(self, subscriptions: PostgresSubscriptions) -> None:
        self._fetch: Callable[..., Awaitable[list[Any]]] = subscriptions.fetch

    async def wishes(self) -> list[tuple[str, Topic, Delivery]]:
        """Return who wants which topic how; of shared ones one topic per service and channel."""
        rows = await self._fetch(_WISHES)
        return [
            (row["requesting_service"], topic_of(row), Delivery(row["delivery"])) for row in rows
        ]

    async def declared(self) -> list[DeclaredQueue]:
        """Return what was recorded and not forgotten."""
        return [
            DeclaredQueue(
                row["name"],
                row["requesting_service"],
                EventClass(row["event_class"]),
                frozenset(row["bindings"]),
                is_ours=row["is_ours"],
            )
            for row in await self._fetch(_DECLARED)
        ]

    async def record(self, queue: DeclaredQueue) -> None:
        """Remember a queue and its bindings; whose it is, only the first time."""
        await self._fetch(
            _RECORD,
            queue.name,
            queue.requesting_service,
            queue.event_class,
            sorted(queue.bindings),
            queue.is_ours,
        )

    async def forget(self, name: str) -> None:
        """Forget a queue."""
        await self._fetch(_FORGET, name)
