"""The ledger of subscriptions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import asyncpg

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.ports import SubscriptionFilter
from ws_gateway.storage.audit import record
from ws_gateway.storage.identity import rising_ids
from ws_gateway.storage.statements import Fetch, Statements

MAX_ERROR_CHARS = 1000
"""Longest `last_error` that is kept."""

_COLUMNS = (
    "id, category, topic, channel, symbol, parameter, requesting_service, "
    "chosen_by, state, last_error, created_at, state_since, delivery"
)

# DO UPDATE, because DO NOTHING answers no row; without a wish for the delivery the assignment
# changes nothing. The row was there before if it does not carry the id just made.
_ADD = f"""
    INSERT INTO subscriptions
        (id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, delivery,
         trace_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, 'shared'), $10)
    ON CONFLICT (topic, coalesce(category, ''), requesting_service)
        DO UPDATE SET delivery = coalesce($9, subscriptions.delivery)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - built from constants alone

# One at a time per service, so that what a wish was before is what it was just before.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('wish of ' || $1, 0))"

_STOOD = f"""
    SELECT {_COLUMNS} FROM subscriptions
    WHERE topic = $1 AND coalesce(category, '') = $2 AND requesting_service = $3
"""  # noqa: S608 - same

_GET = f"SELECT {_COLUMNS} FROM subscriptions WHERE id = $1"  # noqa: S608 - same

_PAGE = f"""
    SELECT {_COLUMNS} FROM subscriptions
    WHERE ($1::uuid IS NULL OR id > $1)
      AND ($2::text IS NULL OR requesting_service = $2)
      AND ($3::text IS NULL OR channel = $3)
      AND ($4::text IS NULL OR category = $4)
      AND ($5::text IS NULL OR symbol = $5)
      AND ($6::text IS NULL OR state = $6)
      AND ($7::text[] IS NULL OR requesting_service = ANY($7))
    ORDER BY id
    LIMIT $8
"""  # noqa: S608 - same

_REMOVE = f"""
    DELETE FROM subscriptions
    WHERE id = $1 AND ($2::text[] IS NULL OR requesting_service = ANY($2))
    RETURNING {_COLUMNS}
"""  # noqa: S608 - same

_REMOVE_SERVICE = f"""
    DELETE FROM subscriptions WHERE requesting_service = $1 RETURNING {_COLUMNS}
"""  # noqa: S608 - same

# Made where the rows are, so that looking costs the gateway nothing. A wish never changes but in
# its delivery.
_FINGERPRINT = """
    SELECT count(*) || ':' || coalesce(md5(string_agg(id::text || delivery, '' ORDER BY id)), '')
        AS mark
    FROM subscriptions
"""

_DESIRED = "SELECT DISTINCT category, topic, channel, symbol, parameter FROM subscriptions"

# Only rows that differ, so that `state_since` keeps its meaning and repeats cost no writes.
_SET_STATE = """
    UPDATE subscriptions AS row
    SET state = news.state, last_error = news.last_error, state_since = now()
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        AS news (category, topic, state, last_error)
    WHERE row.topic = news.topic
      AND coalesce(row.category, '') = news.category
      AND (row.state, row.last_error) IS DISTINCT FROM (news.state, news.last_error)
"""

_RESET_STATES = """
    UPDATE subscriptions SET state = 'requested', last_error = NULL, state_since = now()
    WHERE state <> 'requested'
"""


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
        by: Caller | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new."""
        new_id = self._next_id()
        async with self.statements.transaction() as fetch:
            await fetch(_ONE_AT_A_TIME, requesting_service)
            stood = await fetch(_STOOD, topic.name, topic.category or "", requesting_service)
            rows = await fetch(
                _ADD,
                new_id,
                topic.category,
                topic.name,
                topic.channel,
                topic.symbol,
                topic.parameter,
                requesting_service,
                chosen_by,
                delivery,
                None if by is None else by.trace_id,
            )
            subscription = _subscription(rows[0])
            is_new = subscription.id == new_id
            before = _subscription(stood[0]) if stood else None
            if by is not None and _facts(before) != _facts(subscription):
                verb = "subscription.change" if before else "subscription.add"
                await _note(fetch, by, verb, before, subscription)
        return subscription, is_new

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        rows = await self.fetch(_GET, subscription_id)
        return _subscription(rows[0]) if rows else None

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`.

        `after` need not exist any more.
        """
        rows = await self.fetch(
            _PAGE,
            after,
            wanted.requesting_service,
            wanted.channel,
            wanted.category,
            wanted.symbol,
            wanted.state,
            None if wanted.services is None else sorted(wanted.services),
            limit,
        )
        return [_subscription(row) for row in rows]

    async def remove(
        self, subscription_id: UUID, *, by: Caller | None = None
    ) -> Subscription | None:
        """Forget one that the caller speaks for; answers what it was, or None."""
        services = None if by is None or by.services is None else sorted(by.services)
        async with self.statements.transaction() as fetch:
            rows = await fetch(_REMOVE, subscription_id, services)
            gone = _subscription(rows[0]) if rows else None
            if by is not None and gone is not None:
                await _note(fetch, by, "subscription.remove", gone, None)
        return gone

    async def remove_service(
        self, requesting_service: str, *, by: Caller | None = None
    ) -> list[Subscription]:
        """Forget all of one service; answers what they were, in order of creation."""
        async with self.statements.transaction() as fetch:
            rows = await fetch(_REMOVE_SERVICE, requesting_service)
            gone = sorted((_subscription(row) for row in rows), key=lambda one: one.id)
            if by is not None:
                for one in gone:
                    await _note(fetch, by, "subscription.remove", one, None)
        return gone

    async def fingerprint(self) -> str:
        """Return a word that differs whenever the wishes differ."""
        return str((await self.statements.fetch(_FINGERPRINT))[0]["mark"])

    async def desired_topics(self) -> set[Topic]:
        """Return the distinct topics of all wishes."""
        return {topic_of(row) for row in await self.fetch(_DESIRED)}

    async def set_state(
        self, changes: Mapping[Topic, tuple[SubscriptionState, str | None]]
    ) -> None:
        """Write the state and error of every wish for each topic, in one statement."""
        if not changes:
            return
        news = [
            (topic.category or "", topic.name, state.value, _storable(error))
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


async def _note(
    fetch: Fetch, by: Caller, action: str, before: Subscription | None, after: Subscription | None
) -> None:
    """Write a change of one wish into the audit trail."""
    about = after or before
    subject = "" if about is None else str(about.id)
    await record(fetch, by, action, subject, before=_facts(before), after=_facts(after))


def _facts(subscription: Subscription | None) -> dict[str, str | None] | None:
    """Tell what a service asked for; what became of it is no change anybody made."""
    if subscription is None:
        return None
    return {
        "topic": subscription.topic.name,
        "category": subscription.topic.category,
        "requesting_service": subscription.requesting_service,
        "delivery": subscription.delivery,
    }


def _storable(words: str | None) -> str | None:
    """Make foreign words fit a text column: no NUL, no half of a surrogate pair, bounded."""
    if words is None:
        return None
    return words.encode("utf-8", "replace").decode().replace("\0", "")[:MAX_ERROR_CHARS]


def _subscription(row: asyncpg.Record) -> Subscription:
    return Subscription(
        id=UUID(int=row["id"].int),  # the driver's own subclass stays in this room
        topic=topic_of(row),
        requesting_service=row["requesting_service"],
        state=SubscriptionState(row["state"]),
        chosen_by=row["chosen_by"],
        last_error=row["last_error"],
        created_at=row["created_at"],
        state_since=row["state_since"],
        delivery=Delivery(row["delivery"]),
    )


def topic_of(row: asyncpg.Record) -> Topic:
    """Read a topic out of its columns."""
    category = row["category"]
    return Topic(
        row["topic"],
        None if category is None else Category(category),
        Channel(row["channel"]),
        row["symbol"],
        row["parameter"],
    )
