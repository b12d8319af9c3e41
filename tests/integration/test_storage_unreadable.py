"""Rows that a person wrote wrongly: left out, told once, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import aiormq
import asyncpg
import pytest
from structlog.testing import capture_logs

from support.callers import ADMIN
from ws_gateway.config import QueueType
from ws_gateway.delivery.backlog import BacklogMonitor
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.audit import AuditFilter
from ws_gateway.domain.subscription import Delivery, UnreadableRow
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.store import SubscriptionFilter, Wanted
from ws_gateway.runtime.counters import Counters
from ws_gateway.storage.audit import PostgresAudit
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.queues import PostgresQueues
from ws_gateway.storage.subscriptions import PostgresSubscriptions

ANY = SubscriptionFilter()
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="ETHUSDT")

BY_HAND = """
    INSERT INTO subscriptions
        (category, topic, channel, symbol, parameter, requesting_service, delivery)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
"""

UNREADABLE = [
    ("linear", "tickers.BTCUSDT", "tickers", "BTCUSDT", None),
    (None, "tickers.BTCUSDT", "ticker", "BTCUSDT", None),
    ("linear", "order", "order", None, None),
    ("linear", "orderbook.50.BTCUSDT", "orderbook", "BTCUSDT", "fifty"),
    ("linear", "orderbook.fifty.BTCUSDT", "orderbook", "BTCUSDT", "fifty"),
    ("linear", "publicTrade.ETHUSDT", "trades", None, None),
    ("linear", "publicTrade.ETHUSDT", "trades", "BTCUSDT", None),
    ("linear", "tickers." + "Y" * 300, "ticker", "Y" * 300, None),
    ("spread", "kline.1.BTCUSDT", "kline", "BTCUSDT", "1"),
    ("linear", "nonsense", "ticker", "y", None),
]


def ticker(symbol: str) -> Topic:
    """Build a linear ticker."""
    return build_topic(Channel.TICKER, category=Category.LINEAR, symbol=symbol)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Open the service's own pool."""
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresSubscriptions:
    """Build the store."""
    return PostgresSubscriptions(pool)


async def by_hand(
    pool: asyncpg.Pool, words: tuple[str | None, ...], service: str = "hand", how: str = "shared"
) -> UUID:
    """Write a row as a person would; answers its id."""
    return UUID(int=(await pool.fetchval(BY_HAND, *words, service, how)).int)


@pytest.mark.parametrize("words", UNREADABLE, ids=lambda words: str(words[1])[:20])
async def test_a_row_that_means_nothing_is_left_out_everywhere_and_told_once(
    words: tuple[str | None, ...], pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """Every way to read gives the good rows, and none raises."""
    good, _ = await store.add(TRADES, "good", "explicit")
    with capture_logs() as logs:
        bad = await by_hand(pool, words)
        assert await store.page(ANY, after=None, limit=10) == [good]
        assert (await store.everything())[1] == [good]
        assert await store.get(bad) is None
        assert await store.get_all([bad, good.id]) == [good]
        assert await PostgresQueues(store).wishes() == [("good", TRADES, Delivery.SHARED)]
    told = [entry for entry in logs if entry["event"] == "storage.row_unreadable"]
    assert [entry["id"] for entry in told] == [str(bad)]


async def test_a_shared_wish_hidden_behind_an_unreadable_one_is_found(
    pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """Of one service and channel one is looked at; the other still says who reads the class."""
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        await by_hand(pool, ("linear", f"tickers.{symbol}", "ticker", "WRONG", None))
    await store.add(ticker("DUSDT"), "hand", "explicit")
    wishes = await PostgresQueues(store).wishes()
    assert ("hand", ticker("DUSDT"), Delivery.SHARED) in wishes


async def test_unreadable_rows_do_not_end_the_list(
    pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """A page is full although rows between mean nothing, so that more is seen to follow."""
    made = []
    for number in range(4):
        made.append((await store.add(ticker(f"S{number}USDT"), "good", "explicit"))[0])
        for twin in "AB":
            words = ("linear", f"tickers.{twin}{number}", "ticker", "WRONG", None)
            await by_hand(pool, words, "good")
    assert await store.page(ANY, after=None, limit=3) == made[:3]
    assert await store.page(ANY, after=made[2].id, limit=3) == made[3:]


async def test_asking_for_what_an_unreadable_row_stands_for_mends_it(
    pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """POST answers the row, PUT says that it is new, and the trail says what stood there."""
    words = ("linear", TRADES.name, "trades", None, None)
    first = await by_hand(pool, words, "posts")
    posted, is_new = await store.add(TRADES, "posts", "explicit", by=ADMIN)
    assert (posted.id, posted.topic, is_new) == (first, TRADES, False)
    second = await by_hand(pool, words, "puts")
    change = await store.replace("puts", [Wanted(TRADES, "explicit")], by=ADMIN)
    assert [one.id for one in change.added] == [second]
    assert (change.removed, change.changed, change.unchanged) == ([], [], 0)
    again = await store.replace("puts", [Wanted(TRADES, "explicit")], by=ADMIN)
    assert (again.added, again.unchanged) == ([], 1)
    trail = await PostgresAudit(store.statements).page(AuditFilter(), before=None, limit=10)
    assert [(one.action, one.subject) for one in trail] == [
        ("subscription.change", str(second)),
        ("subscription.change", str(first)),
    ]
    assert all(one.before is not None and one.before["symbol"] is None for one in trail)


async def test_an_unreadable_row_is_deleted_counted_and_audited(
    pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """By id, by service, or by a set that does not name it."""
    words = ("linear", "tickers.BTCUSDT", "tickers", "BTCUSDT", None)
    by_id = await by_hand(pool, words)
    assert await store.remove(by_id, by=ADMIN) == UnreadableRow(by_id, "tickers.BTCUSDT", "hand")
    by_service = await by_hand(pool, words)
    assert [one.id for one in await store.remove_service("hand", by=ADMIN)] == [by_service]
    by_set = await by_hand(pool, words)
    await store.replace("hand", [], by=ADMIN)
    assert await pool.fetchval("SELECT count(*) FROM subscriptions") == 0
    trail = await PostgresAudit(store.statements).page(AuditFilter(), before=None, limit=10)
    assert [(one.action, one.subject) for one in reversed(trail)] == [
        ("subscription.remove", str(one)) for one in (by_id, by_service, by_set)
    ]
    assert all(one.before is not None and one.before["channel"] == "tickers" for one in trail)


async def test_a_mistyped_row_does_not_end_the_keeper_of_queues(
    amqp_url: str, amqp_prefix: str, pool: asyncpg.Pool, store: PostgresSubscriptions
) -> None:
    """It goes on, and the queue of a good wish stands beside all the bad ones."""
    for number, words in enumerate(UNREADABLE):
        await by_hand(pool, words, f"bad{number}", "dedicated")
    await pool.execute(
        "INSERT INTO dedicated_queues (name, requesting_service, event_class, bindings, is_ours)"
        " VALUES ('q', 'bad', 'no class', '{}', true), ('r', 'bad', 'trade', '{NULL}', true)"
    )
    names, ledger = Names(amqp_prefix), PostgresQueues(store)
    keeper = DedicatedKeeper(ledger, names, QueueType.CLASSIC, lambda _: None)
    watch = BacklogMonitor(names, QueueType.CLASSIC, keeper, Counters())
    steward = QueueSteward(amqp_url, names, keeper, watch, rng=Random(3), look_seconds=0.1)
    row, _ = await store.add(TRADES, "good", "explicit", Delivery.DEDICATED)
    running = asyncio.create_task(steward.run())
    connection = await aiormq.connect(amqp_url)
    try:
        queue = names.dedicated("good", TRADES.event_class)
        async with asyncio.timeout(60):
            while queue not in keeper.standing and not running.done():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert not running.done(), running
        assert list(keeper.wanted) == [queue]
        await store.remove(row.id)
        async with asyncio.timeout(60):
            while await ledger.declared() and not running.done():
                steward.wishes_changed()
                await asyncio.sleep(0.05)
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await connection.close()
