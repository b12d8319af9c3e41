"""The ledger of subscriptions in memory, with an outage to switch on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import Contradiction, DatabaseLost, Throttled
from ws_gateway.ports.store import Fingerprint, SetChange, SubscriptionFilter, Wanted


class MemorySubscriptions:
    """A `SubscriptionStore` judged by the same tests as the one in PostgreSQL.

    Attributes:
        is_away: every call raises `DatabaseLost` while set.
        written: every batch given to `set_state`.
        turned: how far its clock goes before that of the machine.
        changed_by: who added or removed which topic's wish, in order.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.written: list[dict[Topic, tuple[SubscriptionState, str | None]]] = []
        self.changed_by: list[tuple[Caller | None, Topic]] = []
        self._rows: dict[UUID, Subscription] = {}
        self.turned = timedelta()
        self._ids = 0
        self._revision = 0

    async def add(
        self,
        topic: Topic,
        requesting_service: str,
        chosen_by: str,
        delivery: Delivery | None = None,
        *,
        ttl_seconds: int | None = None,
        quota: int | None = None,
        by: Caller | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new."""
        self._reach()
        own = [row for row in self._rows.values() if row.requesting_service == requesting_service]
        for row in own:
            if row.topic == topic:
                if delivery not in (None, row.delivery):
                    raise Contradiction(
                        f"{topic.name} stands with {row.delivery}, not {delivery}",
                        code="delivery_contradicts",
                        field="delivery",
                    )
                kept = self._rows[row.id] = self._leased(row, ttl_seconds or row.ttl_seconds)
                return kept, False
        if quota is not None and len(own) >= quota:
            raise Throttled("too many", code="quota_exceeded", retry_after_seconds=60.0)
        self.changed_by.append((by, topic))
        wanted = Wanted(topic, chosen_by, delivery, ttl_seconds)
        return self._new(wanted, requesting_service), True

    def _new(self, wanted: Wanted, requesting_service: str) -> Subscription:
        self._ids += 1
        now = datetime.now(UTC)
        row = Subscription(
            id=UUID(int=self._ids),
            topic=wanted.topic,
            requesting_service=requesting_service,
            state=SubscriptionState.REQUESTED,
            chosen_by=wanted.chosen_by,
            last_error=None,
            created_at=now,
            state_since=now,
            delivery=wanted.delivery or Delivery.SHARED,
        )
        leased = self._rows[row.id] = self._leased(row, wanted.ttl_seconds)
        return leased

    def _leased(self, row: Subscription, ttl_seconds: int | None) -> Subscription:
        """Begin a row's lease anew; another length is another revision."""
        revision = row.revision
        if ttl_seconds != row.ttl_seconds or not revision:
            self._revision += 1
            revision = self._revision
        ends = None if ttl_seconds is None else self._now() + timedelta(seconds=ttl_seconds)
        return replace(row, ttl_seconds=ttl_seconds, expires_at=ends, revision=revision)

    async def replace(
        self, requesting_service: str, wanted: Sequence[Wanted], *, by: Caller | None = None
    ) -> SetChange:
        """Make these all that a service wants."""
        self._reach()
        rows = self._rows.values()
        own = {row.topic: row for row in rows if row.requesting_service == requesting_service}
        named = {one.topic for one in wanted}
        removed = [self._rows.pop(row.id) for topic, row in own.items() if topic not in named]
        added, changed = [], []
        for one in wanted:
            row = own.get(one.topic)
            if row is None:
                added.append(self._new(one, requesting_service))
                continue
            kept = self._leased(row, one.ttl_seconds)
            if (one.delivery or Delivery.SHARED) is not row.delivery:
                self._revision += 1
                delivery = one.delivery or Delivery.SHARED
                kept = replace(kept, delivery=delivery, revision=self._revision)
            self._rows[row.id] = kept
            if kept.revision != row.revision:
                changed.append(kept)
        self.changed_by += [(by, row.topic) for row in (*removed, *added, *changed)]
        return SetChange(added, removed, changed, len(wanted) - len(added) - len(changed))

    async def renew(self, requesting_service: str) -> tuple[int, datetime | None]:
        """Begin every lease of a service anew."""
        self._reach()
        ends = []
        for row in list(self._rows.values()):
            if row.requesting_service == requesting_service and row.ttl_seconds is not None:
                kept = self._rows[row.id] = self._leased(row, row.ttl_seconds)
                ends.append(kept.expires_at)
        return len(ends), min((end for end in ends if end is not None), default=None)

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        self._reach()
        return self._rows.get(subscription_id)

    async def get_all(self, ids: Sequence[UUID]) -> list[Subscription]:
        """Return those of these that exist."""
        self._reach()
        return [self._rows[one] for one in ids if one in self._rows]

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`."""
        self._reach()
        behind = [row for row in self._rows.values() if after is None or row.id > after]
        return [row for row in behind if wanted.fits(row)][:limit]

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

    async def everything(self) -> tuple[Fingerprint, list[Subscription]]:
        """Return the ledger as it is."""
        return await self.fingerprint(), list(self._rows.values())

    async def fingerprint(self) -> Fingerprint:
        """Return what `everything` would be known by."""
        self._reach()
        return Fingerprint(len(self._rows), sum(row.revision for row in self._rows.values()))

    async def remove_expired(self) -> tuple[list[Subscription], float | None]:
        """Forget every lease that ended."""
        self._reach()
        now = self._now()
        leases = [row for row in self._rows.values() if row.expires_at is not None]
        gone = [row for row in leases if row.expires_at is not None and row.expires_at <= now]
        for row in gone:
            del self._rows[row.id]
        ends = [row.expires_at for row in leases if row.expires_at is not None]
        left = [(end - now).total_seconds() for end in ends if end > now]
        return gone, min(left, default=None)

    async def begin_leases(self) -> None:
        """Begin every lease anew."""
        self._reach()
        for row in list(self._rows.values()):
            self._rows[row.id] = self._leased(row, row.ttl_seconds)

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

    def _now(self) -> datetime:
        """Tell the time; a test may turn it."""
        return datetime.now(UTC) + self.turned

    def _reach(self) -> None:
        if self.is_away:
            raise DatabaseLost("switched off by the test")
