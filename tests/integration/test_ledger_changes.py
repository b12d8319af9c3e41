"""Rows that others change: heard at once over LISTEN, or found by looking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from uuid import uuid4

import asyncpg
import pytest

from support.callers import ADMIN
from support.memory_feed import MemoryFeed
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.store import RowChange, SubscriptionFilter
from ws_gateway.storage.changes import CHANNEL, LedgerChanges, read_changes
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.subscriptions import PostgresSubscriptions

POLICY = Policy(tuple(Category), Category.LINEAR, has_credentials=True)
NEVER = 3600.0

BY_HAND = """
    INSERT INTO subscriptions (category, topic, channel, symbol, requesting_service)
    VALUES ('linear', 'tickers.' || $1, 'ticker', $1, 'hand')
"""


@asynccontextmanager
async def reconciling(
    url: str, *, interval_seconds: float = NEVER, listens: bool = True
) -> AsyncIterator[tuple[Reconciler, MemoryFeed, asyncpg.Pool]]:
    """Run a reconciler on a database, which hears of changes unless told not to."""
    pool = await open_pool(url)
    feed = MemoryFeed()
    reconciler = Reconciler(
        PostgresSubscriptions(pool), feed, POLICY, interval_seconds=interval_seconds
    )
    feed.observer = reconciler
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(reconciler.run())
        hearing = LedgerChanges(url, rng=Random(1))
        task = group.create_task(hearing.run(reconciler)) if listens else None
        try:
            if listens:
                await until_listening(pool)
            await until(lambda: reconciler.status().is_restored)
            yield reconciler, feed, pool
        finally:
            if task is not None:
                task.cancel()
            reconciler.stop()
    await pool.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds, at most thirty seconds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is watched has no event to wait for
            await asyncio.sleep(0.005)


async def until_listening(pool: asyncpg.Pool, besides: int = 0) -> int:
    """Wait until another backend than `besides` listens; answers its process id."""
    statement = """
        SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE 'LISTEN%' AND state = 'idle' AND pid <> $1
    """
    async with asyncio.timeout(30):
        while True:
            pid = await pool.fetchval(statement, besides)
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.01)


def topics(feed: MemoryFeed) -> set[str]:
    """Name what the feed was asked for."""
    return {topic.name for topic in feed.wanted()}


async def test_a_row_changed_by_hand_takes_effect_at_once(database_url: str) -> None:
    """Inserted, changed, deleted, truncated: the feed follows without waiting for the interval."""
    async with reconciling(database_url) as (reconciler, feed, pool):
        await pool.execute(BY_HAND, "AUSDT")
        await until(lambda: topics(feed) == {"tickers.AUSDT"})
        await pool.execute("UPDATE subscriptions SET topic = 'tickers.BUSDT', symbol = 'BUSDT'")
        await until(lambda: topics(feed) == {"tickers.BUSDT"})
        await pool.execute("DELETE FROM subscriptions")
        await until(lambda: topics(feed) == set())
        for symbol in ("DUSDT", "EUSDT"):
            await pool.execute(BY_HAND, symbol)
        await until(lambda: topics(feed) == {"tickers.DUSDT", "tickers.EUSDT"})
        await pool.execute("TRUNCATE subscriptions")
        await until(lambda: topics(feed) == set())
        assert reconciler.register.fingerprint == (0, 0)


async def test_more_rows_than_a_message_holds_are_read_anew(database_url: str) -> None:
    """A thousand rows of one statement are all asked for."""
    async with reconciling(database_url) as (_, feed, pool):
        await pool.execute(
            """
            INSERT INTO subscriptions (category, topic, channel, symbol, requesting_service)
            SELECT 'linear', 'tickers.S' || n, 'ticker', 'S' || n, 'hand'
            FROM generate_series(1, 1000) AS n
            """
        )
        await until(lambda: len(topics(feed)) == 1000)


async def test_a_killed_listener_listens_again_and_misses_nothing(database_url: str) -> None:
    """What happens while nobody listens is found as soon as somebody does."""
    async with reconciling(database_url) as (_, feed, pool):
        pid = await until_listening(pool)
        await pool.execute("SELECT pg_terminate_backend($1)", pid)
        await pool.execute(BY_HAND, "AUSDT")
        await until_listening(pool, besides=pid)
        await until(lambda: topics(feed) == {"tickers.AUSDT"})


async def test_where_nothing_is_heard_the_interval_finds_it(database_url: str) -> None:
    """A pooler in front of PostgreSQL may swallow LISTEN: looking is enough."""
    async with reconciling(database_url, interval_seconds=0.05, listens=False) as (_, feed, pool):
        await pool.execute(BY_HAND, "AUSDT")
        await until(lambda: topics(feed) == {"tickers.AUSDT"})
        await pool.execute("DELETE FROM subscriptions")
        await until(lambda: topics(feed) == set())


async def test_two_gateways_on_one_ledger_hear_each_other(database_url: str) -> None:
    """What one stores, the other asks for too; what one removes, the other drops."""
    async with (
        reconciling(database_url) as (first, one, pool),
        reconciling(database_url) as (_, two, _),
    ):
        store = PostgresSubscriptions(pool)
        topic = build_topic(Channel.TICKER, category=Category.LINEAR, symbol="AUSDT")
        row, _ = await store.add(topic, "s", "explicit")
        first.wish_added(row)
        await until(lambda: topics(one) == topics(two) == {topic.name})
        await store.remove(row.id)
        first.wishes_removed([row])
        await until(lambda: topics(one) == topics(two) == set())


async def test_a_row_that_nobody_can_read_keeps_no_other_from_being_served(
    database_url: str,
) -> None:
    """A channel that does not exist is told in the log and left alone."""
    async with reconciling(database_url) as (reconciler, feed, pool):
        await pool.execute(BY_HAND.replace("'ticker'", "'nonsense'"), "AUSDT")
        await pool.execute(BY_HAND, "BUSDT")
        await until(lambda: topics(feed) == {"tickers.BUSDT"})
        assert reconciler.status().database_error is None


async def test_a_lease_ends_by_itself_and_is_dropped(database_url: str) -> None:
    """Written by hand with nothing but its length, it goes when that is over."""
    async with reconciling(database_url) as (_, feed, pool):
        await pool.execute(BY_HAND, "AUSDT")
        await pool.execute("UPDATE subscriptions SET ttl_seconds = 1")
        await until(lambda: topics(feed) == {"tickers.AUSDT"})
        await until(lambda: topics(feed) == set())
        assert await pool.fetchval("SELECT count(*) FROM subscriptions") == 0


@pytest.mark.parametrize(
    "payload", ["*", "nonsense", "+x:1", "+01999e4d-5a30-7c12-9a44-2f1be3d0c7a1:x", "?"]
)
def test_a_notification_that_names_no_rows_means_that_anything_may_have_changed(
    payload: str,
) -> None:
    """Anybody may NOTIFY anything."""
    assert read_changes(payload) is None


def test_a_notification_names_rows() -> None:
    """With the revision of those that are there."""
    one, two = uuid4(), uuid4()
    assert read_changes(f"+{one}:7 -{two}") == [RowChange(one, 7), RowChange(two, None)]
    assert CHANNEL == "ws_gateway_subscriptions"


async def test_a_state_that_others_wrote_is_put_right_and_the_filter_never_believes_it(
    database_url: str,
) -> None:
    """Another gateway's start resets the column: who is active here is found all the same."""
    async with reconciling(database_url, interval_seconds=0.2) as (reconciler, feed, pool):
        store = PostgresSubscriptions(pool)
        use = SubscriptionService(store, reconciler, POLICY)
        await pool.execute(BY_HAND, "AUSDT")
        await until(lambda: topics(feed) == {"tickers.AUSDT"})
        topic = build_topic(Channel.TICKER, category=Category.LINEAR, symbol="AUSDT")
        feed.answer(topic, SubscriptionState.ACTIVE)
        active = SubscriptionFilter(state=SubscriptionState.ACTIVE)

        async def stored() -> str:
            return str(await pool.fetchval("SELECT state FROM subscriptions"))

        async def put_right() -> None:
            async with asyncio.timeout(30):
                while await stored() != "active":  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)

        await put_right()
        await store.reset_states()
        page = await use.page(ADMIN, active, after=None, limit=10)
        assert [one.subscription.topic for one in page.items] == [topic]
        requested = SubscriptionFilter(state=SubscriptionState.REQUESTED)
        assert not (await use.page(ADMIN, requested, after=None, limit=10)).items
        await put_right()
