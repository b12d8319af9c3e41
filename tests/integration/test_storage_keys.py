"""The keys against a real PostgreSQL, and the ones in memory against the same tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from support.callers import ADMIN
from support.memory_keys import MemoryKeys
from ws_gateway.control.key_words import make_key
from ws_gateway.domain.caller import Scope
from ws_gateway.domain.key import KeyState, NewKey, StoredKey
from ws_gateway.errors import Rejected
from ws_gateway.ports.store import KeyStore
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.keys import PostgresKeys
from ws_gateway.storage.statements import Statements


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Open the service's own pool."""
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture(params=["postgres", "memory"])
def store(request: pytest.FixtureRequest) -> KeyStore:
    """Each of the two stores, empty."""
    if request.param == "memory":
        return MemoryKeys()
    return PostgresKeys(Statements(request.getfixturevalue("pool")))


def new_key(*services: str, life: float | None = None) -> NewKey:
    """Make a key up."""
    parts, _ = make_key()
    scopes = frozenset({Scope.SUBSCRIPTIONS_READ, Scope.BALANCES_READ})
    return NewKey(parts.id, parts.digest, "n", scopes, frozenset(services) or None, life)


async def rotated(store: KeyStore, key_id: str, overlap: int) -> tuple[StoredKey, StoredKey]:
    """Make a successor."""
    parts, _ = make_key()
    pair = await store.rotate(
        key_id,
        parts.id,
        parts.digest,
        overlap_seconds=overlap,
        expires_in_seconds=None,
        by=ADMIN,
    )
    assert pair is not None
    return pair


async def test_what_is_stored_comes_back(store: KeyStore) -> None:
    """With its digest, by its id, and among those that are of use."""
    new = new_key("b", "a", life=60)
    stored = await store.create(new, by=ADMIN)
    assert stored.secret_hash == new.secret_hash
    assert (stored.key.name, stored.key.scopes, stored.key.services) == (
        "n",
        new.scopes,
        new.services,
    )
    assert stored.key.expires_at == stored.key.created_at + timedelta(seconds=60)
    assert await store.find(new.id) == stored
    assert list(await store.usable()) == [stored]
    assert await store.find("000000000000") is None


async def test_a_key_without_an_end_or_a_service_says_so(store: KeyStore) -> None:
    """None is for ever, and for any service."""
    stored = await store.create(new_key(), by=ADMIN)
    assert (stored.key.expires_at, stored.key.services) == (None, None)
    assert stored.key.state(datetime.now(UTC) + timedelta(days=10_000)) is KeyState.ACTIVE


async def test_revoking_keeps_the_first_moment(store: KeyStore) -> None:
    """Twice changes nothing; what is not there is answered None."""
    new = new_key()
    await store.create(new, by=ADMIN)
    first = await store.revoke(new.id, by=ADMIN)
    assert first is not None
    assert first.key.state(datetime.now(UTC)) is KeyState.REVOKED
    assert await store.revoke(new.id, by=ADMIN) == first
    assert await store.revoke("000000000000", by=ADMIN) is None
    assert list(await store.usable()) == [first]  # so that its holder is told why


async def test_a_rotation_gives_the_old_key_an_end_and_the_new_one_its_life(
    store: KeyStore,
) -> None:
    """A key with an end hands on how long it was to be of use; the overlap lengthens nothing."""
    endless, ending = new_key("a"), new_key(life=100)
    await store.create(endless, by=ADMIN)
    await store.create(ending, by=ADMIN)
    old, new = await rotated(store, endless.id, 50)
    assert old.key.expires_at is not None
    assert abs(old.key.expires_at - new.key.created_at - timedelta(seconds=50)).seconds == 0
    assert (new.key.expires_at, new.key.rotates) == (None, endless.id)
    assert new.key.services == frozenset({"a"})
    old, new = await rotated(store, ending.id, 1000)
    assert old.key.expires_at == old.key.created_at + timedelta(seconds=100)
    assert new.key.expires_at == new.key.created_at + timedelta(seconds=100)


async def test_what_is_of_no_use_is_not_rotated(store: KeyStore) -> None:
    """A revoked key has nothing to hand over, and neither has one that was never there."""
    new = new_key()
    await store.create(new, by=ADMIN)
    await store.revoke(new.id, by=ADMIN)
    with pytest.raises(Rejected) as caught:
        await rotated(store, new.id, 0)
    assert caught.value.code == "key_not_active"
    parts, _ = make_key()
    nothing = await store.rotate(
        "000000000000",
        parts.id,
        parts.digest,
        overlap_seconds=0,
        expires_in_seconds=None,
        by=ADMIN,
    )
    assert nothing is None
    assert await store.find(parts.id) is None


async def test_pages_are_in_order_of_creation(store: KeyStore) -> None:
    """Behind any key, up to a limit."""
    made = [(await store.create(new_key(), by=ADMIN)).key for _ in range(4)]
    assert await store.page(after=None, limit=3) == made[:3]
    assert await store.page(after=made[2].id, limit=3) == made[3:]


async def test_a_last_use_never_goes_back(store: KeyStore) -> None:
    """Another gateway may have seen a later one."""
    new = new_key()
    await store.create(new, by=ADMIN)
    later = datetime.now(UTC).replace(microsecond=0)
    for at in (later, later - timedelta(hours=1)):
        await store.note_uses({new.id: at})
    stored = await store.find(new.id)
    assert stored is not None
    assert stored.key.last_used_at == later


async def test_what_ended_long_ago_is_read_no_more(pool: asyncpg.Pool) -> None:
    """The keys in memory are those of use, and a day of the others."""
    store = PostgresKeys(Statements(pool))
    kept, expired, revoked = new_key(), new_key(life=60), new_key()
    for new in (kept, expired, revoked):
        await store.create(new, by=ADMIN)
    for column, new in (("expires_at", expired), ("revoked_at", revoked)):
        await pool.execute(
            f"UPDATE api_keys SET {column} = now() - interval '2 days' WHERE id = $1",  # noqa: S608
            new.id,
        )
    assert [one.key.id for one in await store.usable()] == [kept.id]
    assert await store.find(revoked.id) is not None


async def test_a_block_that_fails_or_is_cancelled_changes_nothing(pool: asyncpg.Pool) -> None:
    """All of a transaction counts or none; the pool is of use afterwards."""
    statements, new, inserted = Statements(pool), new_key(), asyncio.Event()
    insert = "INSERT INTO api_keys (id, name, secret_hash, scopes) VALUES ($1, 'n', $2, '{admin}')"

    async def failing() -> None:
        async with statements.transaction() as fetch:
            await fetch(insert, new.id, new.secret_hash)
            raise ZeroDivisionError

    async def hanging() -> None:
        async with statements.transaction() as fetch:
            await fetch(insert, new.id, new.secret_hash)
            inserted.set()
            await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError):
        await failing()
    task = asyncio.create_task(hanging())
    await inserted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await PostgresKeys(statements).find(new.id) is None
    async with statements.transaction() as fetch:
        await fetch(insert, new.id, new.secret_hash)
    assert await PostgresKeys(statements).find(new.id) is not None


async def test_a_key_has_one_successor_and_a_further_one_lives_as_long_as_that(
    store: KeyStore,
) -> None:
    """The end of the overlap is not how long the old key was to be."""
    old = await store.create(new_key(life=5000.0), by=ADMIN)
    _, first = await rotated(store, old.key.id, 60)
    assert first.key.life_seconds == pytest.approx(5000, abs=1)
    with pytest.raises(Rejected) as caught:
        await rotated(store, old.key.id, 60)
    assert caught.value.code == "key_rotated"
    await store.revoke(first.key.id, by=ADMIN)
    _, second = await rotated(store, old.key.id, 60)
    assert second.key.life_seconds == pytest.approx(5000, abs=1)
