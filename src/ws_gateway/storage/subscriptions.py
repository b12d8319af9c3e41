"""The ledger of subscriptions in PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from uuid import UUID

import asyncpg

from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import SubscriptionFilter
from ws_gateway.storage.database import COMMAND_SECONDS, CONNECT_SECONDS, lost_database

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
        (id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, delivery)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, 'shared'))
    ON CONFLICT (topic, coalesce(category, ''), requesting_service)
        DO UPDATE SET delivery = coalesce($9, subscriptions.delivery)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - built from constants alone

_GET = f"SELECT {_COLUMNS} FROM subscriptions WHERE id = $1"  # noqa: S608 - same

_PAGE = f"""
    SELECT {_COLUMNS} FROM subscriptions
    WHERE ($1::uuid IS NULL OR id > $1)
      AND ($2::text IS NULL OR requesting_service = $2)
      AND ($3::text IS NULL OR channel = $3)
      AND ($4::text IS NULL OR category = $4)
      AND ($5::text IS NULL OR symbol = $5)
      AND ($6::text IS NULL OR state = $6)
    ORDER BY id
    LIMIT $7
"""  # noqa: S608 - same

_REMOVE = f"DELETE FROM subscriptions WHERE id = $1 RETURNING {_COLUMNS}"  # noqa: S608 - same

_REMOVE_SERVICE = f"""
    DELETE FROM subscriptions WHERE requesting_service = $1 RETURNING {_COLUMNS}
"""  # noqa: S608 - same

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


def rising_ids(
    now_ns: Callable[[], int] = time.time_ns, random_bits: Callable[[int], int] = secrets.randbits
) -> Callable[[], UUID]:
    """Return a source of UUIDs of version 7 that never go back, even if the clock does.

    12 bits below the millisecond take part in the order (RFC 9562, 6.2, method 3).
    """
    last = 0

    def next_id() -> UUID:
        nonlocal last
        millis, rest = divmod(now_ns(), 1_000_000)
        last = max(last + 1, millis << 12 | rest * 4096 // 1_000_000)
        time_part = (last >> 12) << 80 | 0x7 << 76 | (last & 0xFFF) << 64
        return UUID(int=time_part | 0b10 << 62 | random_bits(62))

    return next_id


class PostgresSubscriptions:
    """The `SubscriptionStore` of the running service.

    Args:
        pool: from `database.open_pool`; closed by whoever opened it.
        next_id: source of ids that rise with creation.
    """

    def __init__(self, pool: asyncpg.Pool, *, next_id: Callable[[], UUID] | None = None) -> None:
        self._pool = pool
        self._is_abandoned = False
        self._running: set[asyncio.Timeout] = set()
        self._next_id = next_id or rising_ids()

    async def add(
        self,
        topic: Topic,
        requesting_service: str,
        chosen_by: str,
        delivery: Delivery | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new."""
        new_id = self._next_id()
        rows = await self.fetch(
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
        )
        subscription = _subscription(rows[0])
        return subscription, subscription.id == new_id

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
            limit,
        )
        return [_subscription(row) for row in rows]

    async def remove(self, subscription_id: UUID) -> Subscription | None:
        """Forget one; answers what it was, or None."""
        rows = await self.fetch(_REMOVE, subscription_id)
        return _subscription(rows[0]) if rows else None

    async def remove_service(self, requesting_service: str) -> list[Subscription]:
        """Forget all of one service; answers what they were, in order of creation."""
        rows = await self.fetch(_REMOVE_SERVICE, requesting_service)
        return sorted((_subscription(row) for row in rows), key=lambda gone: gone.id)

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
        """End every statement now; each caller, from now on too, is told `DatabaseLost`.

        The pool is of no use any more: there is no goodbye to a PostgreSQL that does not answer.
        """
        self._is_abandoned = True
        self._pool.terminate()
        now = asyncio.get_running_loop().time()
        for scope in self._running:
            scope.reschedule(now)

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement on the pool, for this ledger and those beside it.

        Raises:
            DatabaseLost: PostgreSQL is away, too slow, or was given up.
        """
        if self._is_abandoned:
            raise DatabaseLost("the connections to PostgreSQL were given up")
        with lost_database():
            async with asyncio.timeout(None) as scope:
                self._running.add(scope)
                try:
                    async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                        return await _fetched(connection, statement, values)
                finally:
                    self._running.discard(scope)


async def _fetched(
    connection: asyncpg.pool.PoolConnectionProxy, statement: str, values: tuple[object, ...]
) -> list[asyncpg.Record]:
    try:
        return await connection.fetch(statement, *values, timeout=COMMAND_SECONDS)
    except asyncio.CancelledError:
        # Whoever cancels waits no longer; giving the connection back would first wait until
        # PostgreSQL has heard of it.
        connection.terminate()
        raise


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
