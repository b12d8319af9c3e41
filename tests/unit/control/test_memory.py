"""The copy of the ledger that answers while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from support.memory_feed import MemoryFeed
from support.memory_store import MemorySubscriptions
from ws_gateway.control.memory import PAGE_ROWS, LedgerMemory
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import SubscriptionFilter

ALL = SubscriptionFilter()


@asynccontextmanager
async def remembering(
    store: MemorySubscriptions, seconds: float = 60
) -> AsyncIterator[LedgerMemory]:
    """Keep a copy meanwhile."""
    policy = Policy(tuple(Category), Category.LINEAR, has_credentials=False)
    reconciler = Reconciler(store, MemoryFeed(), policy)
    memory = LedgerMemory(store, reconciler, reconciler.status, interval_seconds=seconds)
    task = asyncio.create_task(memory.run())
    yield memory
    task.cancel()
    await asyncio.wait({task})


async def until_current(memory: LedgerMemory) -> None:
    """Wait for the copy to be read."""
    async with asyncio.timeout(5):
        while not memory.is_current:  # noqa: ASYNC110 - the copy has no event
            await asyncio.sleep(0)


async def test_before_the_first_reading_nothing_is_claimed() -> None:
    """An empty copy is no empty ledger."""
    store = MemorySubscriptions()
    store.is_away = True
    async with remembering(store, 0.001) as memory:
        await asyncio.sleep(0.01)
        for read in (lambda: memory.page(ALL, after=None, limit=1), lambda: memory.get(uuid4())):
            with pytest.raises(DatabaseLost):
                read()
        store.is_away = False
        await until_current(memory)
        assert memory.page(ALL, after=None, limit=1) == []


async def test_a_change_that_was_not_read_yet_is_not_hidden() -> None:
    """Between a write and the next reading the copy is not true, so it does not answer."""
    store = MemorySubscriptions()
    async with remembering(store) as memory:
        await until_current(memory)
        topic = build_topic(Channel.TICKER, category=Category.LINEAR, symbol="BTCUSDT")
        added, _ = await store.add(topic, "me", "explicit")
        store.is_away = True
        memory.wish_added(topic)
        with pytest.raises(DatabaseLost):
            memory.get(added.id)
        await asyncio.sleep(0.01)
        assert not memory.is_current


async def test_long_ledgers_are_read_whole_and_paged_in_order() -> None:
    """More rows than are read at once come in the order of creation, cut as asked."""
    store = MemorySubscriptions()
    ids = []
    for number in range(PAGE_ROWS + 7):
        topic = build_topic(Channel.TICKER, category=Category.LINEAR, symbol=f"C{number}USDT")
        ids.append((await store.add(topic, f"s{number % 3}", "explicit"))[0].id)
    async with remembering(store) as memory:
        await until_current(memory)
        assert [row.id for row in memory.page(ALL, after=None, limit=1000)] == ids
        assert [row.id for row in memory.page(ALL, after=ids[3], limit=2)] == ids[4:6]
        mine = SubscriptionFilter(services=frozenset({"s1"}), symbol="C4USDT")
        assert [row.id for row in memory.page(mine, after=None, limit=9)] == [ids[4]]
        not_mine = SubscriptionFilter(services=frozenset({"s2"}), symbol="C4USDT")
        assert memory.page(not_mine, after=None, limit=9) == []
