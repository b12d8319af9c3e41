"""The ledger of subscriptions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import (
    Delivery,
    Subscription,
    SubscriptionState,
    UnreadableRow,
)
from ws_gateway.domain.topic import PRIVATE_CHANNELS, Topic
from ws_gateway.errors import Contradiction, Throttled
from ws_gateway.ports.store import Fingerprint, SetChange, SubscriptionFilter, Wanted
from ws_gateway.storage import copies, service_sets
from ws_gateway.storage.audit import Entry, record_all
from ws_gateway.storage.identity import rising_ids
from ws_gateway.storage.rows import (
    COLUMNS,
    facts,
    facts_of,
    gone_of,
    note,
    readable,
    storable,
    subscription_of,
)
from ws_gateway.storage.service_sets import ONE_AT_A_TIME
from ws_gateway.storage.statements import Fetch, Statements

_ADD = f"""
    INSERT INTO subscriptions
        (id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, delivery,
         ttl_seconds, trace_id, account)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, 'shared'), $10, $11, $12)
    RETURNING {COLUMNS}
"""  # noqa: S608 - built from constants alone

_RENEW = f"""
    UPDATE subscriptions
    SET ttl_seconds = coalesce($2, ttl_seconds),
        expires_at = now() + make_interval(secs => coalesce($2, ttl_seconds))
    WHERE id = $1
    RETURNING {COLUMNS}
"""  # noqa: S608 - same

_STOOD = f"""
    SELECT {COLUMNS} FROM subscriptions
    WHERE topic = $1 AND coalesce(category, '') = $2 AND coalesce(account, '') = $3
      AND requesting_service = $4
"""  # noqa: S608 - same

# What stands beside a topic's text, where somebody wrote something else by hand.
_MEND = f"""
    UPDATE subscriptions SET channel = $2, symbol = $3, parameter = $4
    WHERE id = $1
    RETURNING {COLUMNS}
"""  # noqa: S608 - same

_HELD = """
    SELECT count(*) AS held, extract(epoch FROM min(expires_at) - now())::float8 AS seconds
    FROM subscriptions WHERE requesting_service = $1
"""

_GET = f"SELECT {COLUMNS} FROM subscriptions WHERE id = $1"  # noqa: S608 - same

_REMOVE = f"""
    DELETE FROM subscriptions
    WHERE id = $1 AND ($2::text[] IS NULL OR requesting_service = ANY($2))
    RETURNING {COLUMNS}
"""  # noqa: S608 - same

_REMOVE_SERVICE = f"""
    DELETE FROM subscriptions WHERE requesting_service = $1 RETURNING {COLUMNS}
"""  # noqa: S608 - same

# Only rows that differ, so that `state_since` keeps its meaning and repeats cost no writes.
_SET_STATE = """
    UPDATE subscriptions AS row
    SET state = news.state, last_error = news.last_error, state_since = now()
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
        AS news (category, account, topic, state, last_error)
    WHERE row.topic = news.topic
      AND coalesce(row.category, '') = news.category
      AND coalesce(row.account, '') = news.account
      AND (row.state, row.last_error) IS DISTINCT FROM (news.state, news.last_error)
"""

_PRIVATE = ", ".join(f"'{channel.value}'" for channel in sorted(PRIVATE_CHANNELS))

# The empty word is the first account; a public topic is nobody's.
_OF_ACCOUNT = f"(channel IN ({_PRIVATE}) AND coalesce(account, '') = ${{}})"

_RESET_STATES = """
    UPDATE subscriptions SET state = 'requested', last_error = NULL, state_since = now()
    WHERE state <> 'requested'
"""

_QUOTA_RETRY_SECONDS = 60.0
"""When a service at its bound may try again, if none of what it has ends by itself."""


class PostgresSubscriptions:
    """The `SubscriptionStore` of the running service.

    Args:
        pool: from `database.open_pool`; closed by whoever opened it.
        next_id: source of ids that rise with creation.

    Attributes:
        statements: runs this ledger's statements, and those of the ledgers beside it.
    """

    def __init__(self, pool: asyncpg.Pool, *, next_id: Callable[[], UUID] | None = None) -> None:
        self.statements = Statements(pool)
        self._next_id = next_id or rising_ids()

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
        wanted = Wanted(topic, chosen_by, delivery, ttl_seconds)
        identity = (topic.name, topic.category or "", topic.account or "", requesting_service)
        async with self.statements.transaction() as fetch:
            await fetch(ONE_AT_A_TIME, requesting_service)
            stood = await fetch(_STOOD, *identity)
            if stood:
                return await _keep(
                    fetch, await _mend(fetch, stood[0], topic, by), wanted, by
                ), False
            if quota is not None:
                await _require_room(fetch, requesting_service, quota)
            rows = await fetch(
                _ADD,
                self._next_id(),
                topic.category,
                topic.name,
                topic.channel,
                topic.symbol,
                topic.parameter,
                requesting_service,
                wanted.chosen_by,
                wanted.delivery,
                wanted.ttl_seconds,
                None if by is None else by.trace_id,
                topic.account,
            )
            subscription = subscription_of(rows[0])
            if by is not None:
                await note(fetch, by, "subscription.add", None, subscription)
        return subscription, True

    async def replace(
        self, requesting_service: str, wanted: Sequence[Wanted], *, by: Caller | None = None
    ) -> SetChange:
        """Make these all that a service wants, in one step."""
        return await service_sets.replace(
            self.statements, self._next_id, requesting_service, wanted, by
        )

    async def renew(self, requesting_service: str) -> tuple[int, datetime | None]:
        """Begin every lease of a service anew; answers how many, and when the first ends."""
        return await service_sets.renew(self.statements, requesting_service)

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        rows = await self.fetch(_GET, subscription_id)
        return next(readable(rows), None)

    async def get_all(self, ids: Sequence[UUID]) -> list[Subscription]:
        """Return those of these that exist."""
        return await copies.some(self.statements, ids)

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`.

        `after` need not exist any more.
        """
        found: list[Subscription] = []
        while True:
            statement, values = _page_of(wanted, after, limit)
            rows = await self.fetch(statement, *values)
            found += readable(rows)
            # Rows that mean nothing leave a gap, and must not look like the end of the list.
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = rows[-1]["id"]

    async def everything(self) -> tuple[Fingerprint, list[Subscription]]:
        """Return the ledger as it was at one moment; gives way to others in between."""
        return await copies.everything(self.statements)

    async def fingerprint(self) -> Fingerprint:
        """Return what `everything` would be known by."""
        return await copies.fingerprint(self.statements)

    async def remove(
        self, subscription_id: UUID, *, by: Caller | None = None
    ) -> Subscription | UnreadableRow | None:
        """Forget one that the caller speaks for; answers what it was, or None."""
        services = None if by is None or by.services is None else sorted(by.services)
        async with self.statements.transaction() as fetch:
            rows = await fetch(_REMOVE, subscription_id, services)
            if by is not None:
                await record_all(fetch, by, [_removal(row) for row in rows])
        return gone_of(rows[0]) if rows else None

    async def remove_service(
        self, requesting_service: str, *, by: Caller | None = None
    ) -> list[Subscription | UnreadableRow]:
        """Forget all of one service; answers what they were, in order of creation."""
        async with self.statements.transaction() as fetch:
            rows = await fetch(_REMOVE_SERVICE, requesting_service)
            rows = sorted(rows, key=lambda row: row["id"])
            if by is not None:
                await record_all(fetch, by, [_removal(row) for row in rows])
        return [gone_of(row) for row in rows]

    async def remove_expired(self) -> tuple[list[Subscription], float | None]:
        """Forget every lease that ended; answers what they were, and seconds to the next end."""
        return await service_sets.remove_expired(self.statements)

    async def begin_leases(self) -> None:
        """Begin every lease anew: nobody could renew it lately."""
        await service_sets.begin_leases(self.statements)

    async def set_state(
        self, changes: Mapping[Topic, tuple[SubscriptionState, str | None]]
    ) -> None:
        """Write the state and error of every wish for each topic, in one statement."""
        if not changes:
            return
        news = [
            (
                topic.category or "",
                topic.account or "",
                topic.name,
                state.value,
                storable(error),
            )
            for topic, (state, error) in changes.items()
        ]
        await self.fetch(_SET_STATE, *(list(column) for column in zip(*news, strict=True)))

    async def reset_states(self) -> None:
        """Set every wish back to `requested`: what an earlier process saw says nothing now."""
        await self.fetch(_RESET_STATES)

    async def ping(self) -> None:
        """Prove that the database answers."""
        await self.fetch("SELECT 1")

    def abandon(self) -> None:
        """End every statement now; each caller, from now on too, is told `DatabaseLost`."""
        self.statements.abandon()

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement, for this ledger and those beside it.

        Raises:
            DatabaseLost: PostgreSQL is away, too slow, or was given up.
        """
        return await self.statements.fetch(statement, *values)


def _removal(row: asyncpg.Record) -> Entry:
    return "subscription.remove", str(row["id"]), facts_of(row), None


async def _mend(fetch: Fetch, row: asyncpg.Record, topic: Topic, by: Caller | None) -> Subscription:
    """Read a row that stands for a topic; what was written wrongly beside its text is mended."""
    stood = gone_of(row)
    if isinstance(stood, Subscription):
        return stood
    rows = await fetch(_MEND, row["id"], topic.channel, topic.symbol, topic.parameter)
    mended = subscription_of(rows[0])
    if by is not None:
        change = ("subscription.change", str(mended.id), facts_of(row), facts(mended))
        await record_all(fetch, by, [change])
    return mended


async def _keep(
    fetch: Fetch, stood: Subscription, wanted: Wanted, by: Caller | None
) -> Subscription:
    """Leave a wish as it stands, but for its lease.

    Raises:
        Contradiction: it stands with another delivery than the one named.
    """
    if wanted.delivery is not None and wanted.delivery is not stood.delivery:
        raise Contradiction(
            f"{stood.requesting_service} already has {stood.topic.name} with delivery "
            f"{stood.delivery} (subscription {stood.id}); this asks for it with delivery "
            f"{wanted.delivery}. Delete that one first, or PUT the service's whole set",
            code="delivery_contradicts",
            field="delivery",
            found=wanted.delivery.value,
            allowed=[stood.delivery.value],
        )
    if wanted.ttl_seconds is None and stood.ttl_seconds is None:
        return stood
    rows = await fetch(_RENEW, stood.id, wanted.ttl_seconds)
    renewed = subscription_of(rows[0])
    if by is not None and renewed.ttl_seconds != stood.ttl_seconds:
        await note(fetch, by, "subscription.change", stood, renewed)
    return renewed


async def _require_room(fetch: Fetch, requesting_service: str, quota: int) -> None:
    (row,) = await fetch(_HELD, requesting_service)
    if row["held"] >= quota:
        seconds = row["seconds"]
        raise Throttled(
            f"{requesting_service} has {row['held']} subscriptions, and may have {quota}; "
            "delete some, or let a lease end",
            code="quota_exceeded",
            retry_after_seconds=_QUOTA_RETRY_SECONDS if seconds is None else max(1.0, seconds),
        )


def _page_of(
    wanted: SubscriptionFilter, after: UUID | None, limit: int
) -> tuple[str, list[object]]:
    """Write the statement of a page: with only the filters there are, so that indexes serve."""
    services = None if wanted.services is None else sorted(wanted.services)
    filters = [
        ("id > ${}", after),
        ("requesting_service = ${}", wanted.requesting_service),
        ("channel = ${}", wanted.channel),
        ("category = ${}", wanted.category),
        ("symbol = ${}", wanted.symbol),
        ("requesting_service = ANY(${}::text[])", services),
        (_OF_ACCOUNT, wanted.account),
    ]
    given = [(words, value) for words, value in filters if value is not None]
    conditions = [words.format(number) for number, (words, _) in enumerate(given, 1)]
    if wanted.state is not None:
        # Its word itself, because a plan for any state could not use the index of some.
        conditions.append(f"state = '{SubscriptionState(wanted.state).value}'")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"""
        SELECT {COLUMNS} FROM subscriptions {where} ORDER BY id LIMIT ${len(given) + 1}
    """  # noqa: S608 - values are parameters
    return statement, [*(value for _, value in given), limit]
