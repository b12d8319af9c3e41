"""The ledger of queues in memory, beside that of subscriptions."""

from __future__ import annotations

from dataclasses import replace

from support.memory_store import MemorySubscriptions
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.store import DeclaredQueue, SubscriptionFilter


class MemoryQueues:
    """A `QueueLedger` judged by the same tests as the one in PostgreSQL."""

    def __init__(self, store: MemorySubscriptions) -> None:
        self._store = store
        self._rows: dict[str, DeclaredQueue] = {}

    async def wishes(self) -> list[tuple[str, Topic, Delivery]]:
        """Return who wants which topic how."""
        rows = await self._store.page(SubscriptionFilter(), after=None, limit=10_000)
        return [(row.requesting_service, row.topic, row.delivery) for row in rows]

    async def declared(self) -> list[DeclaredQueue]:
        """Return what was recorded and not forgotten."""
        self._reach()
        return list(self._rows.values())

    async def record(self, queue: DeclaredQueue) -> None:
        """Remember a queue and its bindings; whose it is, only the first time."""
        self._reach()
        known = self._rows.get(queue.name, queue)
        self._rows[queue.name] = replace(known, bindings=queue.bindings)

    async def forget(self, name: str) -> None:
        """Forget a queue."""
        self._reach()
        self._rows.pop(name, None)

    def _reach(self) -> None:
        if self._store.is_away:
            raise DatabaseLost("switched off by the test")
