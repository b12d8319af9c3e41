"""Which dedicated queues are wanted and which were declared, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import EventClass, Topic
from ws_gateway.ports.store import DeclaredQueue
from ws_gateway.storage.rows import COLUMNS, readable, tell_unreadable
from ws_gateway.storage.subscriptions import PostgresSubscriptions

# Of what is shared only who reads which class matters, and there may be thousands of topics.
_WISHES = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE delivery = 'dedicated'
    UNION ALL (
        SELECT DISTINCT ON (requesting_service, channel) {COLUMNS}
        FROM subscriptions WHERE delivery = 'shared'
    )
"""  # noqa: S608 - built from constants alone

# Where the one that was chosen of them means nothing, another one may.
_OTHERS = f"""
    SELECT {COLUMNS} FROM subscriptions
    WHERE delivery = 'shared' AND (requesting_service, channel) IN (
        SELECT * FROM unnest($1::text[], $2::text[]))
"""  # noqa: S608 - same

MAX_KEY_BYTES = 255
"""Longest routing key that AMQP carries."""

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
        wishes = list(readable(rows))
        if len(wishes) < len(rows):
            read = {one.id for one in wishes}
            missed = [row for row in rows if row["id"] not in read]
            columns = ([row[name] for row in missed] for name in ("requesting_service", "channel"))
            wishes += readable(await self._fetch(_OTHERS, *columns))
        return [(one.requesting_service, one.topic, one.delivery) for one in wishes]

    async def declared(self) -> list[DeclaredQueue]:
        """Return what was recorded and not forgotten."""
        found = []
        for row in await self._fetch(_DECLARED):
            try:
                found.append(_declared(row))
            except ValueError as exc:
                tell_unreadable(row["name"], str(exc))
        return found

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


def _declared(row: Any) -> DeclaredQueue:
    keys = row["bindings"]
    if not all(isinstance(key, str) and len(key.encode()) <= MAX_KEY_BYTES for key in keys):
        raise ValueError("a binding is no routing key")
    return DeclaredQueue(
        row["name"],
        row["requesting_service"],
        EventClass(row["event_class"]),
        frozenset(keys),
        is_ours=row["is_ours"],
    )
