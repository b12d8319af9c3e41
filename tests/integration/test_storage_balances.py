"""Balances in a real PostgreSQL: exact, once, in order, month by month."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import msgspec
import pytest

from support.account_desk import NOW_MS, Desk, coin
from ws_gateway.domain.balance import CoinBalance
from ws_gateway.errors import Rejected
from ws_gateway.ports.account import HistoryQuery
from ws_gateway.storage.balances import PostgresBalances
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.statements import Statements

DAY_MS = 86_400_000


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a migrated database."""
    pool = await open_pool(database_url)
    yield pool
    await pool.close()


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresBalances:
    """The store under test."""
    return PostgresBalances(Statements(pool))


def told(*balances: str, name: str = "USDT", start: int = NOW_MS, step: int = 1) -> Desk:
    """Tell one coin's balances one after the other."""
    desk = Desk()
    for place, balance in enumerate(balances):
        desk.wallet(coin(name, balance), at=start + place * step, totalEquity=balance)
    return desk


async def history(store: PostgresBalances, **query: object) -> list[CoinBalance]:
    """Read a history."""
    wanted = {"account": "main", "limit": 100, **query}
    return await store.coin_history(HistoryQuery(**wanted))  # type: ignore[arg-type]


async def test_rows_come_back_as_they_were_written(store: PostgresBalances) -> None:
    """Every digit, every time, every id; the latest beside the history."""
    digits = "-123456789012345678901234567890.123456789012345678"
    desk = Desk()
    desk.wallet(
        coin("USDC", digits, borrowAmount=digits[1:], usdValue="", unrealisedPnl="", bonus=""),
        coin("BTC", "0.00000001"),
        totalEquity="0.1", accountIMRate="0.05",
    )  # fmt: skip
    await store.write(desk.records)
    latest = await store.latest("main")
    assert sorted(latest, key=repr) == sorted(desk.records, key=repr)
    assert await history(store, is_descending=False) == sorted(
        desk.coins, key=lambda row: row.event_id
    )
    (row,) = await history(store, coin="USDC")
    assert str(row.amounts.wallet_balance) == digits
    assert row.amounts.usd_value is None
    assert await store.latest("another") == []


async def test_a_batch_written_twice_is_stored_once(
    store: PostgresBalances, pool: asyncpg.Pool
) -> None:
    """Its answer may have been lost; one coin several times in a batch is no conflict."""
    desk = told("1", "2", "3", "2")
    await store.write(desk.records)
    await store.write(desk.records[2:])
    await store.write([*desk.records, *desk.records])
    assert await pool.fetchval("SELECT count(*) FROM account_balances") == 4
    assert await pool.fetchval("SELECT count(*) FROM account_margin_balances") == 4
    (row,) = [one for one in await store.latest("main") if isinstance(one, CoinBalance)]
    assert (row.amounts.wallet_balance, row.event_timestamp) == (Decimal(2), NOW_MS + 3)


async def test_an_older_row_joins_the_history_and_leaves_the_latest(
    store: PostgresBalances,
) -> None:
    """What waited on disk may be written after what REST told."""
    newer, older = told("9", start=NOW_MS + 50), told("1")
    await store.write(newer.records)
    await store.write(older.records)
    assert [str(row.amounts.wallet_balance) for row in await history(store)] == ["9", "1"]
    (row,) = [one for one in await store.latest("main") if isinstance(one, CoinBalance)]
    assert row.amounts.wallet_balance == Decimal(9)


async def test_a_history_is_read_in_pages_in_either_direction(store: PostgresBalances) -> None:
    """Also where many rows share a millisecond, across months, and within bounds."""
    desk = told(*map(str, range(1, 21)), step=DAY_MS * 5)
    for name in "ABCDE":
        desk.wallet(coin(name, "1"), at=NOW_MS)
    await store.write(desk.records)
    everything = await history(store, is_descending=False)
    assert len(everything) == 25
    for is_descending in (False, True):
        pages, after = [], None
        while page := await history(store, limit=4, after=after, is_descending=is_descending):
            pages += page
            last = page[-1]
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=last.event_timestamp)
            after = (moment, last.event_id)
        assert pages == (everything[::-1] if is_descending else everything)
    since = datetime.fromtimestamp(NOW_MS / 1000, tz=UTC) + timedelta(days=5)
    within = await history(store, since=since, until=since + timedelta(days=10), coin="USDT")
    assert [row.event_timestamp for row in within] == [NOW_MS + 10 * DAY_MS, NOW_MS + 5 * DAY_MS]


async def test_a_row_of_no_calendar_is_refused_and_not_taken_for_an_outage(
    store: PostgresBalances,
) -> None:
    """The writer quarantines it and goes on."""
    desk = told("1", start=2**60)
    with pytest.raises(Rejected):
        await store.write(desk.records)


async def test_months_are_made_ahead_and_dropped_when_they_are_too_old(
    store: PostgresBalances, pool: asyncpg.Pool
) -> None:
    """Rows of months without a partition are kept meanwhile, and moved into one that is made."""
    now = datetime.now(UTC)
    now_ms = int(now.timestamp() * 1000)
    old = told("1", start=now_ms - 200 * DAY_MS)
    await store.write(old.records)
    await store.write(told("2", start=now_ms).records)
    parts = await partitions(pool)
    this_month = f"account_balances_{now:%Y_%m}"
    assert parts[this_month] == 1
    assert parts["account_balances_default"] == 1
    assert await store.keep_history(0) == []
    assert len(await history(store)) == 2
    await pool.execute(f"ALTER TABLE account_balances DETACH PARTITION {this_month}")
    await pool.execute(f"INSERT INTO account_balances SELECT * FROM {this_month}")  # noqa: S608
    await pool.execute(f"DROP TABLE {this_month}")
    assert await store.keep_history(3) == [f"made {this_month}"]
    assert (await partitions(pool))[this_month] == 1
    assert [str(row.amounts.wallet_balance) for row in await history(store)] == ["2"]
    long_ago = "account_balances_2001_02"
    await pool.execute(
        f"CREATE TABLE {long_ago} PARTITION OF account_balances "
        "FOR VALUES FROM ('2001-02-01Z') TO ('2001-03-01Z')"
    )
    assert await store.keep_history(0) == []
    assert await store.keep_history(3) == [f"dropped {long_ago}"]


async def partitions(pool: asyncpg.Pool) -> dict[str, int]:
    """Count the rows of each partition of the coins' history."""
    names = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = 'account_balances'::regclass"
    )
    return {
        row["name"]: await pool.fetchval(f"SELECT count(*) FROM {row['name']}")  # noqa: S608
        for row in names
    }


async def test_the_gateway_writes_no_position(pool: asyncpg.Pool) -> None:
    """The table is there for its owner, and says whose it is."""
    assert await pool.fetchval("SELECT count(*) FROM positions") == 0
    words = await pool.fetchval("SELECT obj_description('positions'::regclass)")
    assert "position manager" in words


async def test_two_accounts_may_hold_the_same_at_the_same_time(store: PostgresBalances) -> None:
    """The account is part of the key."""
    records = told("1").records
    await store.write(records)
    await store.write([msgspec.structs.replace(row, account="other") for row in records])
    assert [row.account for row in await history(store, account="other")] == ["other"]
    assert len(await history(store)) == 1
