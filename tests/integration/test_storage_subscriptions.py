"""The ledger of subscriptions against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from support.memory_queues import MemoryQueues
from support.memory_store import MemorySubscriptions
from support.topics import PRIVATE_TOPICS
from ws_gateway.domain.subscription import Delivery, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, EventClass, Topic, build_topic
from ws_gateway.errors import Contradiction, DatabaseLost
from ws_gateway.ports.store import DeclaredQueue, QueueLedger, SubscriptionFilter, SubscriptionStore
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.queues import PostgresQueues
from ws_gateway.storage.rows import MAX_ERROR_CHARS
from ws_gateway.storage.subscriptions import PostgresSubscriptions

ANY = SubscriptionFilter()


def book(symbol: str = "BTCUSDT", category: Category = Category.LINEAR) -> Topic:
    """Build the 50-deep book of a symbol."""
    return build_topic(Channel.ORDERBOOK, category=category, symbol=symbol, depth=50)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Open the service's own pool."""
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def postgres_store(pool: asyncpg.Pool) -> SubscriptionStore:
    """Build the store; typed as the port, so that the checker proves it fits."""
    return PostgresSubscriptions(pool)


@pytest.fixture(params=["postgres", "memory"])
def store(request: pytest.FixtureRequest) -> SubscriptionStore:
    """Build either store: what other tests use in memory keeps the real one's promises."""
    if request.param == "memory":
        return MemorySubscriptions()
    built: SubscriptionStore = request.getfixturevalue("postgres_store")
    return built


async def test_a_wish_comes_back_as_it_was_stored(store: SubscriptionStore) -> None:
    """Every word of a wish survives the way to the table and back."""
    topics = [
        book(),
        build_topic(Channel.KLINE, category=Category.SPOT, symbol="ETHUSDT", interval="D"),
        build_topic(Channel.TICKER, category=Category.OPTION, symbol="XRP-30OCT26-0.4-P-USDT"),
        build_topic(Channel.TRADES, category=Category.SPREAD, symbol="SOLUSDT_SOL/USDT"),
        build_topic(Channel.SYSTEM_STATUS),
        *PRIVATE_TOPICS,
    ]
    for topic in topics:
        added, is_new = await store.add(topic, "strategy-1", "explicit")
        assert is_new
        assert added.topic == topic
        assert added.state is SubscriptionState.REQUESTED
        assert added.created_at.tzinfo is not None
        assert await store.get(added.id) == added
    assert {row.topic for row in (await store.everything())[1]} == set(topics)


async def test_the_same_wish_twice_is_one_row(store: SubscriptionStore) -> None:
    """Adding again answers the first row; private topics, without a category, are no exception."""
    for topic in (book(), build_topic(Channel.ORDER)):
        first, first_is_new = await store.add(topic, "a", "explicit")
        second, second_is_new = await store.add(topic, "a", "other words")
        assert (first_is_new, second_is_new) == (True, False)
        assert second == first


async def test_twenty_at_once_make_one_row(store: SubscriptionStore) -> None:
    """Of many simultaneous adds of one wish exactly one is new, and all answer the same row."""
    answers = await asyncio.gather(*(store.add(book(), "a", "explicit") for _ in range(20)))
    assert sum(is_new for _, is_new in answers) == 1
    assert len({row.id for row, _ in answers}) == 1


async def test_spot_and_linear_are_two_wishes(store: SubscriptionStore) -> None:
    """The same topic text in two categories is two rows."""
    await store.add(book(category=Category.SPOT), "a", "explicit")
    _, is_new = await store.add(book(category=Category.LINEAR), "a", "explicit")
    assert is_new
    assert (await store.fingerprint()).rows == 2


async def test_pages_are_stable_while_rows_come_and_go(store: SubscriptionStore) -> None:
    """Walking pages shows each old row once, whatever is added or removed meanwhile."""
    old = [(await store.add(book(f"C{n:02d}USDT"), "a", "explicit"))[0] for n in range(10)]
    seen = await store.page(ANY, after=None, limit=4)
    await store.remove(seen[-1].id)  # the cursor itself goes
    for n in range(10, 15):
        await store.add(book(f"C{n:02d}USDT"), "a", "explicit")
    while rows := await store.page(ANY, after=seen[-1].id, limit=4):
        seen += rows
    assert [row.id for row in seen[:10]] == [row.id for row in old]
    assert len(seen) == len({row.id for row in seen}) == 15


async def test_filters_narrow_together(store: SubscriptionStore) -> None:
    """Each filter narrows, several narrow together."""
    await store.add(book(), "a", "explicit")
    await store.add(book(category=Category.SPOT), "a", "explicit")
    await store.add(build_topic(Channel.ORDER), "b", "explicit")
    await store.set_state({book(): (SubscriptionState.ACTIVE, None)})

    async def count(**wanted: object) -> int:
        found = await store.page(SubscriptionFilter(**wanted), after=None, limit=10)  # type: ignore[arg-type]
        return len(found)

    assert await count() == 3
    assert await count(requesting_service="a") == 2
    assert await count(requesting_service="a", category=Category.SPOT) == 1
    assert await count(channel="order") == 1
    assert await count(symbol="BTCUSDT") == 2
    assert await count(state=SubscriptionState.ACTIVE) == 1
    assert await count(requesting_service="b", symbol="BTCUSDT") == 0


async def test_state_reaches_every_wish_of_the_topic(store: SubscriptionStore) -> None:
    """A state is written to all services' rows of the topic, to no other, and only on change."""
    first, _ = await store.add(book(), "a", "explicit")
    second, _ = await store.add(book(), "b", "explicit")
    private, _ = await store.add(build_topic(Channel.ORDER), "a", "explicit")
    await store.set_state(
        {
            book(): (SubscriptionState.REJECTED, "Invalid symbol"),
            build_topic(Channel.ORDER): (SubscriptionState.ACTIVE, None),
            book("GONEUSDT"): (SubscriptionState.ACTIVE, None),
        }
    )
    rows = {row.id: row for row in await store.page(ANY, after=None, limit=10)}
    for wish in (first, second):
        assert rows[wish.id].state is SubscriptionState.REJECTED
        assert rows[wish.id].last_error == "Invalid symbol"
        assert rows[wish.id].state_since > wish.state_since
    assert rows[private.id].state is SubscriptionState.ACTIVE
    before = rows[first.id].state_since
    await store.set_state({book(): (SubscriptionState.REJECTED, "Invalid symbol")})
    again = await store.get(first.id)
    assert again is not None
    assert again.state_since == before


async def test_foreign_words_always_fit(postgres_store: SubscriptionStore) -> None:
    """Error texts with NUL, half surrogates or no end are stored, cut, not refused."""
    wish, _ = await postgres_store.add(book(), "a", "explicit")
    await postgres_store.set_state(
        {book(): (SubscriptionState.REJECTED, "a\x00b\ud800" + "x" * 5000)}
    )
    row = await postgres_store.get(wish.id)
    assert row is not None
    assert row.last_error is not None
    assert row.last_error.startswith("ab?")
    assert len(row.last_error) == MAX_ERROR_CHARS


async def test_no_changes_need_no_statement(store: SubscriptionStore) -> None:
    """An empty batch is fine."""
    await store.set_state({})


async def test_states_of_an_earlier_process_are_forgotten(store: SubscriptionStore) -> None:
    """After a reset every wish is requested and without error."""
    wish, _ = await store.add(book(), "a", "explicit")
    await store.set_state({book(): (SubscriptionState.REJECTED, "no")})
    await store.reset_states()
    row = await store.get(wish.id)
    assert row is not None
    assert (row.state, row.last_error) == (SubscriptionState.REQUESTED, None)


async def test_removing_says_what_it_was(store: SubscriptionStore) -> None:
    """Removal answers the row once, then nothing; a service's removal answers all of its rows."""
    one, _ = await store.add(book(), "a", "explicit")
    two, _ = await store.add(book("ETHUSDT"), "a", "explicit")
    three, _ = await store.add(book("XRPUSDT"), "a", "explicit")
    other, _ = await store.add(book(), "b", "explicit")
    assert await store.remove(one.id) == one
    assert await store.remove(one.id) is None
    assert await store.remove(uuid4()) is None
    assert await store.remove_service("a") == [two, three]
    assert await store.remove_service("a") == []
    assert await store.page(ANY, after=None, limit=10) == [other]


async def test_a_standing_wish_keeps_its_delivery_and_refuses_another(
    store: SubscriptionStore,
) -> None:
    """Posting again without a word keeps the queue; naming the other one is a contradiction."""
    row, _ = await store.add(book(), "a", "explicit", Delivery.DEDICATED)
    assert row.delivery is Delivery.DEDICATED
    again, is_new = await store.add(book(), "a", "explicit")
    assert (again, is_new) == (row, False)
    with pytest.raises(Contradiction, match=r"dedicated.*shared"):
        await store.add(book(), "a", "explicit", Delivery.SHARED)
    assert await store.get(row.id) == row
    assert (await store.add(book(), "b", "explicit"))[0].delivery is Delivery.SHARED


@pytest.fixture
def ledger(store: SubscriptionStore) -> QueueLedger:
    """Build the ledger of queues that goes with the store."""
    if isinstance(store, MemorySubscriptions):
        return MemoryQueues(store)
    assert isinstance(store, PostgresSubscriptions)
    return PostgresQueues(store)


async def test_the_ledger_of_queues_keeps_what_was_declared(
    store: SubscriptionStore, ledger: QueueLedger
) -> None:
    """Wishes with their delivery; queues with bindings that change and an owner that does not."""
    await store.add(book(), "a", "explicit", Delivery.DEDICATED)
    await store.add(book(), "b", "explicit")
    assert sorted(await ledger.wishes(), key=lambda wish: wish[0]) == [
        ("a", book(), Delivery.DEDICATED),
        ("b", book(), Delivery.SHARED),
    ]
    queue = DeclaredQueue("x.a.order", "a", EventClass.ORDER, frozenset({"k", "l"}), is_ours=False)
    await ledger.record(queue)
    await ledger.record(replace(queue, bindings=frozenset({"l"}), is_ours=True))
    assert list(await ledger.declared()) == [replace(queue, bindings=frozenset({"l"}))]
    await ledger.forget("x.a.order")
    assert list(await ledger.declared()) == []


async def test_a_cut_connection_is_replaced(
    postgres_store: SubscriptionStore, pool: asyncpg.Pool, database_url: str
) -> None:
    """When PostgreSQL ends our connections, at most the next call fails; then all is well."""
    await postgres_store.ping()
    admin = await asyncpg.connect(database_url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database() "
        "AND application_name = 'ws-gateway'"
    )
    await admin.close()
    with contextlib.suppress(DatabaseLost):  # whether the driver noticed is a matter of timing
        await postgres_store.ping()
    await postgres_store.ping()


async def test_a_closed_pool_is_a_lost_database(
    postgres_store: SubscriptionStore, pool: asyncpg.Pool
) -> None:
    """The driver's own complaints become ours as well."""
    await pool.close()
    with pytest.raises(DatabaseLost):
        await postgres_store.ping()


async def test_what_hangs_in_the_database_ends_at_once_when_it_is_given_up(
    database_url: str, pool: asyncpg.Pool
) -> None:
    """Statements that wait for a lock and callers that wait for a connection alike."""
    store = PostgresSubscriptions(pool)
    holder = await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
            calls = [asyncio.create_task(store.add(book(), f"s{n}", "explicit")) for n in range(9)]
            await asyncio.sleep(0.2)
            store.abandon()
            async with asyncio.timeout(20):
                ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} == {DatabaseLost}
            with pytest.raises(DatabaseLost):
                await store.ping()
    finally:
        await holder.close()
