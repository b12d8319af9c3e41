"""Whole sets, leases and copies of the ledger, against PostgreSQL and its stand-in in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from support.callers import ADMIN
from support.memory_store import MemorySubscriptions
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.errors import Throttled
from ws_gateway.ports.store import SubscriptionFilter, SubscriptionStore, Wanted
from ws_gateway.storage.copies import PIECE_ROWS
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.subscriptions import PostgresSubscriptions


def ticker(symbol: str) -> Topic:
    """Build a linear ticker."""
    return build_topic(Channel.TICKER, category=Category.LINEAR, symbol=symbol)


A, B, C = ticker("AUSDT"), ticker("BUSDT"), ticker("CUSDT")
ORDER = build_topic(Channel.ORDER)


def want(topic: Topic, delivery: Delivery | None = None, ttl: int | None = None) -> Wanted:
    """Want a topic."""
    return Wanted(topic, "explicit", delivery, ttl)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Open the service's own pool."""
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture(params=["postgres", "memory"])
def store(request: pytest.FixtureRequest) -> SubscriptionStore:
    """Build either store."""
    if request.param == "memory":
        return MemorySubscriptions()
    return PostgresSubscriptions(request.getfixturevalue("pool"))


async def turn(store: SubscriptionStore, pool: asyncpg.Pool | None, seconds: int) -> None:
    """Let time go by for every lease."""
    if isinstance(store, MemorySubscriptions):
        store.turned += timedelta(seconds=seconds)
    elif pool is not None:
        statement = "UPDATE subscriptions SET expires_at = expires_at - make_interval(secs => $1)"
        await pool.execute(statement, seconds)


@pytest.fixture
def own_pool(request: pytest.FixtureRequest, store: SubscriptionStore) -> asyncpg.Pool | None:
    """Return the pool behind the store, None in memory."""
    if isinstance(store, MemorySubscriptions):
        return None
    found: asyncpg.Pool = request.getfixturevalue("pool")
    return found


async def test_a_set_is_made_true_in_one_step_and_what_stays_is_not_touched(
    store: SubscriptionStore,
) -> None:
    """Added, removed, changed and unchanged are told; ids and other services stay."""
    stays, _ = await store.add(A, "s", "explicit")
    goes, _ = await store.add(B, "s", "explicit")
    private, _ = await store.add(ORDER, "s", "explicit")
    other, _ = await store.add(B, "other", "explicit")
    change = await store.replace("s", [want(A), want(C), want(ORDER, Delivery.DEDICATED)], by=ADMIN)
    assert [row.topic for row in change.added] == [C]
    assert change.removed == [goes]
    assert [(row.id, row.delivery) for row in change.changed] == [(private.id, Delivery.DEDICATED)]
    assert change.unchanged == 1
    assert await store.get(stays.id) == stays
    assert await store.get(other.id) == other

    again = await store.replace("s", [want(ORDER, Delivery.DEDICATED), want(C), want(A)])
    assert (again.added, again.removed, again.changed, again.unchanged) == ([], [], [], 3)
    nothing = await store.replace("s", [])
    assert len(nothing.removed) == 3
    assert await store.fingerprint() == (1, other.revision)


async def test_a_lease_that_nobody_renews_ends(
    store: SubscriptionStore, own_pool: asyncpg.Pool | None
) -> None:
    """Asking again and renewing begin it anew; what is no lease stays for ever."""
    stays, _ = await store.add(A, "s", "explicit")
    lease, _ = await store.add(B, "s", "explicit", ttl_seconds=60)
    assert lease.expires_at is not None
    assert (await store.remove_expired())[0] == []
    await turn(store, own_pool, 50)
    again, is_new = await store.add(B, "s", "explicit")  # without a word of the length
    assert (again.id, again.ttl_seconds, is_new) == (lease.id, 60, False)
    await turn(store, own_pool, 50)
    assert (await store.renew("s"))[0] == 1
    await turn(store, own_pool, 50)
    await store.replace("s", [want(A), want(B, ttl=60)])
    await turn(store, own_pool, 50)
    gone, seconds = await store.remove_expired()
    assert gone == []
    assert seconds is not None
    assert 5 < seconds < 11
    await turn(store, own_pool, 50)
    gone, seconds = await store.remove_expired()
    assert ([row.id for row in gone], seconds) == ([lease.id], None)
    rows = await store.page(SubscriptionFilter(), after=None, limit=10)
    assert [row.id for row in rows] == [stays.id]
    assert await store.renew("s") == (0, None)


async def test_leases_begin_anew_after_an_outage(
    store: SubscriptionStore, own_pool: asyncpg.Pool | None
) -> None:
    """While nobody could renew them, no lease ends."""
    await store.add(A, "s", "explicit", ttl_seconds=60)
    await turn(store, own_pool, 1000)
    await store.begin_leases()
    gone, seconds = await store.remove_expired()
    assert gone == []
    assert seconds is not None
    assert 50 < seconds <= 60


async def test_a_lease_may_become_longer_and_end_with_a_set(store: SubscriptionStore) -> None:
    """Another length is a change; a set that names none makes it stay."""
    lease, _ = await store.add(A, "s", "explicit", ttl_seconds=60)
    longer, is_new = await store.add(A, "s", "explicit", ttl_seconds=600)
    assert (longer.id, longer.ttl_seconds, is_new) == (lease.id, 600, False)
    assert longer.revision > lease.revision
    change = await store.replace("s", [want(A)])
    (row,) = change.changed
    assert (row.id, row.ttl_seconds, row.expires_at) == (lease.id, None, None)


async def test_a_quota_bounds_what_is_new_and_not_what_stands(store: SubscriptionStore) -> None:
    """One too many is refused with the time to wait; the same again is not one more."""
    await store.add(A, "s", "explicit", quota=2, ttl_seconds=30)
    await store.add(B, "s", "explicit", quota=2)
    _, is_new = await store.add(A, "s", "explicit", quota=2)
    assert not is_new
    with pytest.raises(Throttled) as refused:
        await store.add(C, "s", "explicit", quota=2)
    assert refused.value.code == "quota_exceeded"
    assert 0 < refused.value.retry_after_seconds <= 60
    await store.add(C, "other", "explicit", quota=2)


async def test_the_whole_ledger_is_read_in_pieces(store: SubscriptionStore) -> None:
    """Every row of one moment is there, and the fingerprint goes with them."""
    topics = [ticker(f"T{number:04}USDT") for number in range(PIECE_ROWS + 10)]
    await store.replace("s", [want(topic) for topic in topics])
    fingerprint, rows = await store.everything()
    assert {row.topic for row in rows} == set(topics)
    assert fingerprint == (len(topics), sum(row.revision for row in rows))
    assert fingerprint == await store.fingerprint()
    some = await store.get_all([rows[0].id, rows[5].id])
    assert sorted(some, key=lambda row: row.id) == sorted(
        [rows[0], rows[5]], key=lambda row: row.id
    )
    await store.remove(rows[0].id)
    assert await store.fingerprint() != fingerprint


async def test_every_change_of_a_set_is_in_the_audit_trail(pool: asyncpg.Pool) -> None:
    """What a PUT and an expiry did can be read later, with who did it."""
    store = PostgresSubscriptions(pool)
    await store.replace("s", [want(A), want(B, ttl=60)], by=ADMIN)
    await store.replace("s", [want(B, ttl=60)], by=ADMIN)
    await turn(store, pool, 100)
    await store.remove_expired()
    told = await pool.fetch("SELECT actor_id, action, before, after FROM audit_log ORDER BY id")
    assert [(row["actor_id"], row["action"]) for row in told] == [
        ("bootstrap", "subscription.add"),
        ("bootstrap", "subscription.add"),
        ("bootstrap", "subscription.remove"),
        ("gateway", "subscription.expire"),
    ]
    assert "tickers.BUSDT" in told[3]["before"]
    assert told[3]["after"] is None
