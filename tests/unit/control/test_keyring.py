"""The keys in memory, and what is written of their use."""

from __future__ import annotations

import asyncio

import pytest

from support.callers import ADMIN
from support.memory_keys import MemoryKeys
from ws_gateway.control.keyring import KeyRing
from ws_gateway.control.keys import KeyService
from ws_gateway.domain.key import StoredKey


@pytest.fixture
def store() -> MemoryKeys:
    """An empty store."""
    return MemoryKeys()


async def test_the_last_use_is_written_at_the_end_and_not_per_request(store: MemoryKeys) -> None:
    """A thousand uses are one write; the store shows the newest."""
    key = (await KeyService(store).create(ADMIN, name="made")).key
    ring = KeyRing(store)
    for _ in range(1000):
        ring.used(key.id)
    stored = await store.find(key.id)
    assert stored is not None
    assert stored.key.last_used_at is None
    ring.stop()
    await ring.run()
    stored = await store.find(key.id)
    assert stored is not None
    assert stored.key.last_used_at is not None


async def test_uses_that_could_not_be_written_are_written_later(
    store: MemoryKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage forgets no use, and ends nothing."""
    monkeypatch.setattr("ws_gateway.control.keyring.POLL_SECONDS", 0.001)
    monkeypatch.setattr("ws_gateway.control.keyring.USES_SECONDS", 0.0)
    key = (await KeyService(store).create(ADMIN, name="made")).key
    ring = KeyRing(store)
    ring.used(key.id)
    store.is_away = True
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(ring.run())
        await asyncio.sleep(0.02)
        assert not ring.is_known_empty
        store.is_away = False
        while not await _was_used(store, key.id):  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.001)
        ring.stop()


async def _was_used(store: MemoryKeys, key_id: str) -> bool:
    stored = await store.find(key_id)
    return stored is not None and stored.key.last_used_at is not None


class SlowKeys(MemoryKeys):
    """A store whose answer is on its way for as long as the test likes."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read, self.may_answer = asyncio.Event(), asyncio.Event()

    async def usable(self) -> list[StoredKey]:
        """Read, and answer later."""
        answer = await super().usable()
        self.is_read.set()
        await self.may_answer.wait()
        return answer


async def test_a_key_revoked_while_the_keys_are_read_stays_revoked() -> None:
    """An answer that was under way undoes nothing: neither a revocation nor a new key."""
    store = SlowKeys()
    ring = KeyRing(store)
    keys = KeyService(store, ring)
    old = (await keys.create(ADMIN, name="old")).key
    reading = asyncio.create_task(ring.read())
    await store.is_read.wait()
    await keys.revoke(ADMIN, old.id)
    new = (await keys.create(ADMIN, name="new")).key
    store.may_answer.set()
    await reading
    known = ring.known(old.id)
    assert known is not None
    assert known.key.revoked_at is not None
    assert ring.known(new.id) is not None


async def test_a_ring_that_was_never_read_is_infinitely_old(store: MemoryKeys) -> None:
    """It does not take an unread store for an empty one."""
    ring = KeyRing(store)
    assert ring.age_seconds == float("inf")
    assert not ring.is_known_empty
    await ring.read()
    assert ring.age_seconds < 60
    assert ring.is_known_empty
