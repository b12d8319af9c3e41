"""The ledger of subscriptions in memory, with an outage to switch on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import SubscriptionFilter


class MemorySubscriptions:
    """A `SubscriptionStore` judged by the same tests as the one in PostgreSQL.

    Attributes:
        is_away: every call raises `DatabaseLost` while set.
        written: every batch given to `set_state`.
        changed_by: who added or removed which topic's wish, in order.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.written: list[dict[Topic, tuple[SubscriptionState, str | None]]] = []
        self.changed_by: list[tuple[Caller | None, Topic]] = []
        self._rows: dict[UUID, Subscription] = {}
        self._ids = 0

    async def add(
        self,
        topic: Topic,
        requesting_service: str,
        chosen_by: str,
        delivery: Delivery | None = None,
        *,
        by: Caller | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new."""
        self._reach()
        for row in self._rows.values():
            if (row.topic, row.requesting_service) == (topic, requesting_service):
                kept = self._rows[row.id] = replace(row, delivery=delivery or row.delivery)
                return kept, False
        self._ids += 1
        now = datetime.now(UTC)
        row = Subscription(
            id=UUID(int=self._ids),
            topic=topic,
            requesting_service=requesting_service,
            state=SubscriptionState.REQUESTED,
            chosen_by=chosen_by,
            last_error=None,
            created_at=now,
            state_since=now,
            delivery=delivery or Delivery.SHARED,
        )
        self._rows[row.id] = row
        self.changed_by.append((by, topic))
        return row, True

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        self._reach()
        return self._rows.get(subscription_id)

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`."""
        self._reach()
        behind = [row for row in self._rows.values() if after is None or row.id > after]
        return [row for row in behind if _fits(row, wanted)][:limit]

    async def remove(
        self, subscription_id: UUID, *, by: Caller | None = None
    ) -> Subscription | None:
        """Forget one that the caller speaks for; answers what it was, or None."""
        self._reach()
        row = self._rows.get(subscription_id)
        if row is None or (by is not None and not by.speaks_for(row.requesting_service)):
            return None
        self.changed_by.append((by, row.topic))
        return self._rows.pop(subscription_id)

    async def remove_service(
        self, requesting_service: str, *, by: Caller | None = None
    ) -> list[Subscription]:
        """Forget all of one service; answers what they were."""
        self._reach()
        gone = [row for row in self._rows.values() if row.requesting_service == requesting_service]
        for row in gone:
            del self._rows[row.id]
            self.changed_by.append((by, row.topic))
        return gone

    async def fingerprint(self) -> str:
        """Return a word that differs whenever the wishes differ."""
        self._reach()
        return " ".join(f"{row.id}{row.delivery}" for row in self._rows.values())

    async def desired_topics(self) -> set[Topic]:
        """Return the distinct topics of all wishes."""
        self._reach()
        return {row.topic for row in self._rows.values()}

    async def set_state(
        self, changes: Mapping[Topic, tuple[SubscriptionState, str | None]]
    ) -> None:
        """Write the state and error of every wish for each topic."""
        self._reach()
        self.written.append(dict(changes))
        for row in list(self._rows.values()):
            news = changes.get(row.topic, (row.state, row.last_error))
            if news != (row.state, row.last_error):
                self._rows[row.id] = replace(
                    row, state=news[0], last_error=news[1], state_since=datetime.now(UTC)
                )

    async def reset_states(self) -> None:
        """Set every wish back to `requested`."""
        self._reach()
        for row in list(self._rows.values()):
            self._rows[row.id] = replace(row, state=SubscriptionState.REQUESTED, last_error=None)

    async def ping(self) -> None:
        """Prove that the store answers."""
        self._reach()

    def _reach(self) -> None:
        if self.is_away:
            raise DatabaseLost("switched off by the test")


def _fits(row: Subscription, wanted: SubscriptionFilter) -> bool:
    if wanted.services is not None and row.requesting_service not in wanted.services:
        return False
    pairs = [
        (wanted.requesting_service, row.requesting_service),
        (wanted.channel, row.topic.channel),
        (wanted.category, row.topic.category),
        (wanted.symbol, row.topic.symbol),
        (wanted.state, row.state),
    ]
    return all(asked is None or asked == found for asked, found in pairs)
