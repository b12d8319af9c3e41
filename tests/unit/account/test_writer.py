"""Balances on their way to the database: in order, over the disk when it is away, never unsaid."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.account_desk import NOW_MS, WALLET, Desk, MemoryPipeline, SwitchableStore, coin
from ws_gateway.account import writer as module
from ws_gateway.account.balance_log import condense
from ws_gateway.account.writer import BalanceWriter
from ws_gateway.domain.balance import BalanceRecord, CoinBalance
from ws_gateway.domain.event import Source
from ws_gateway.errors import Rejected
from ws_gateway.runtime.counters import AccountTally, Counters
from ws_gateway.runtime.spool_log import SpoolLog


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.02)


def records(count: int, start: int = 0) -> list[BalanceRecord]:
    """Make rows of one coin, one after the other."""
    desk = Desk()
    for step in range(start, start + count):
        desk.wallet(coin("USDT", str(step + 1)), at=NOW_MS + step)
    return desk.records


def new_writer(
    folder: Path, store: SwitchableStore, pipeline: MemoryPipeline, max_bytes: int = 10**7
) -> BalanceWriter:
    """Make a writer with a log in a folder."""
    log = SpoolLog(folder, max_bytes=max_bytes, max_age_seconds=3600, condense=condense)
    return BalanceWriter("main", store, log, pipeline)


@asynccontextmanager
async def running(writer: BalanceWriter) -> AsyncIterator[asyncio.Task[None]]:
    """Run a writer meanwhile, and let it end as the gateway does."""
    task = asyncio.create_task(writer.run())
    try:
        yield task
    finally:
        writer.stop()
        await task
        await writer.close(1.0)


def as_a_kill_leaves_it(folder: Path) -> Path:
    """Copy a folder that is in use: nothing of it is said goodbye to."""
    return Path(shutil.copytree(folder, folder / "left"))


async def until_on_disk(writer: BalanceWriter) -> None:
    """Wait until nothing is in memory alone."""
    async with asyncio.timeout(30):
        while writer._waiting or not writer._on_disk:  # noqa: ASYNC110 - it offers no event
            await asyncio.sleep(0.005)


async def test_what_is_put_is_committed_in_order(tmp_path: Path) -> None:
    """In as few statements as fit."""
    store = SwitchableStore()
    rows = records(1200)
    writer = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    async with running(writer):
        writer.put(rows)
        assert await writer.committed_all(10)
    assert store.order == [row.event_id for row in rows]
    assert store.writes <= 4
    assert writer.problems() == []


async def test_each_committed_row_is_timed_from_its_receipt(tmp_path: Path) -> None:
    """By where it came from; what waited through an outage took as long as that."""
    tally, store, now_ms = AccountTally(), SwitchableStore(), NOW_MS
    rows = records(3)
    log = SpoolLog(tmp_path, max_bytes=10**7, max_age_seconds=3600, condense=condense)
    writer = BalanceWriter(
        "main", store, log, MemoryPipeline(Counters()), tally=tally, now_us=lambda: now_ms * 1000
    )
    async with running(writer):
        now_ms = NOW_MS + 4
        writer.put(rows[:2])
        assert await writer.committed_all(10)
        store.is_away = True
        writer.put(rows[2:])
        await until_on_disk(writer)
        assert (writer.in_memory, writer.on_disk) == (0, 1)
        assert writer.spool_bytes > 0
        now_ms = NOW_MS + 30_000
        store.is_away = False
        assert await writer.committed_all(10)
    assert tally.stored == {"coin": 3}
    (took,) = [histogram for _, histogram in tally.storing.items()]
    assert took.counts[took.bounds.index(0.005)] == 2
    assert took.counts[took.bounds.index(60.0)] == 1
    assert [labels for labels, _ in tally.storing.items()] == [("stream",)]


async def test_rows_of_an_outage_are_written_in_order_when_the_database_is_back(
    tmp_path: Path,
) -> None:
    """Those from before, those of meanwhile, and those that came while it caught up."""
    store = SwitchableStore()
    rows = records(900)
    writer = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    async with running(writer):
        writer.put(rows[:100])
        assert await writer.committed_all(10)
        store.is_away = True
        for at in range(100, 800, 7):
            writer.put(rows[at : min(at + 7, 800)])
            await asyncio.sleep(0)
        await until_on_disk(writer)
        assert [one.code for one in writer.problems()] == ["balances_not_stored"]
        assert "700 balance rows wait on disk" in writer.problems()[0].detail
        store.is_away = False
        writer.put(rows[800:])
        assert await writer.committed_all(10)
        assert writer.problems() == []
    assert store.order == [row.event_id for row in rows]


async def test_rows_of_an_outage_survive_a_killed_process(tmp_path: Path) -> None:
    """The next process writes them first."""
    store = SwitchableStore()
    store.is_away = True
    rows = records(30)
    killed = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    task = asyncio.create_task(killed.run())
    killed.put(rows[:20])
    await until_on_disk(killed)
    task.cancel()
    await asyncio.wait({task})
    left = as_a_kill_leaves_it(tmp_path)
    await killed.close(1.0)
    store.is_away = False
    follower = new_writer(left, store, MemoryPipeline(Counters()))
    follower.put(rows[20:])
    async with running(follower):
        assert await follower.committed_all(10)
    assert store.order == [row.event_id for row in rows]


async def test_a_stop_during_an_outage_leaves_everything_on_disk(tmp_path: Path) -> None:
    """Also what was put at the last moment."""
    store = SwitchableStore()
    store.is_away = True
    rows = records(10)
    first = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    async with running(first):
        first.put(rows[:5])
        await asyncio.sleep(0)
        first.put(rows[5:])
    store.is_away = False
    second = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    async with running(second):
        assert await second.committed_all(10)
    assert store.order == [row.event_id for row in rows]


class SlowStore(SwitchableStore):
    """A store whose next write hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Hang, then append."""
        await self.let_go.wait()
        await super().write(records)


async def test_while_a_write_hangs_what_waits_goes_to_disk(tmp_path: Path) -> None:
    """The rows that hang included: a kill in that moment would lose them."""
    store = SlowStore()
    rows = records(20)
    writer = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    async with running(writer):
        writer.put(rows[:10])
        await until_on_disk(writer)
        writer.put(rows[10:])
        await until_on_disk(writer)
        store.let_go.set()
        assert await writer.committed_all(10)
    assert store.order == [row.event_id for row in rows]


async def test_what_overflows_the_disk_is_dropped_oldest_first_and_said(tmp_path: Path) -> None:
    """Counted and alerted; the rest is written in order."""
    store = SwitchableStore()
    store.is_away = True
    rows = records(600)
    writer = new_writer(tmp_path, store, MemoryPipeline(Counters()), max_bytes=100_000)
    async with running(writer):
        for at in range(0, 600, 20):
            writer.put(rows[at : at + 20])
            await until_on_disk(writer)
        assert writer._tally.lost > 0
        assert "balances_lost" in {one.code for one in writer.problems()}
        store.is_away = False
        assert await writer.committed_all(10)
    # The oldest were in hand already, to be written next.
    assert store.order == [row.event_id for row in rows if row.event_id in store.rows]
    assert rows[-1].event_id in store.rows
    assert len(store.order) + writer._tally.lost == 600


async def test_a_folder_that_another_process_has_leaves_rows_in_memory(tmp_path: Path) -> None:
    """They are written all the same, and it is said."""
    other = SpoolLog(tmp_path, max_bytes=10**6, max_age_seconds=60, condense=condense)
    other.open()
    store = SwitchableStore()
    rows = records(10)
    writer = new_writer(tmp_path, store, MemoryPipeline(Counters()))
    try:
        async with running(writer):
            store.is_away = True
            writer.put(rows)
            async with asyncio.timeout(30):
                while not writer.problems():  # noqa: ASYNC110 - it offers no event
                    await asyncio.sleep(0.005)
            assert "balance_spool_unavailable" in {one.code for one in writer.problems()}
            store.is_away = False
            assert await writer.committed_all(10)
    finally:
        other.close()
    assert store.order == [row.event_id for row in rows]


class PickyStore(SwitchableStore):
    """A store that refuses one coin for good."""

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Refuse the whole statement, as a database does."""
        if any(isinstance(one, CoinBalance) and one.coin == "BAD" for one in records):
            raise Rejected("no", code="balance_refused")
        await super().write(records)


async def test_a_row_that_the_database_refuses_is_quarantined_and_keeps_no_other_back(
    tmp_path: Path,
) -> None:
    """One bad row of a batch."""
    store, pipeline = PickyStore(), MemoryPipeline(Counters())
    desk = Desk()
    for name in ("A", "BAD", "C"):
        desk.wallet(coin(name, "1"))
    writer = new_writer(tmp_path, store, pipeline)
    async with running(writer):
        writer.put(desk.records)
        assert await writer.committed_all(10)
    assert pipeline.reasons == ["balance_refused"]
    assert [one.coin for one in store.rows.values() if isinstance(one, CoinBalance)] == ["A", "C"]


async def test_the_newest_row_is_true_after_an_outage_of_the_database_and_a_restart(
    tmp_path: Path,
) -> None:
    """A state on disk is newer than what the database tells, so it is written before that is read.

    Otherwise a balance that returned meanwhile is no news, and the older row becomes the newest.
    """
    store, pipeline, desk = SwitchableStore(), Desk().pipeline, Desk()
    writer = new_writer(tmp_path, store, pipeline)
    desk.wallet(coin("USDT", "100"))
    writer.put(desk.records)
    await writer.step()
    store.is_away = True
    desk.wallet(coin("USDT", "90"), at=NOW_MS + 10)
    writer.put(desk.records[-1:])
    await writer.step()
    await writer.close(0.1)
    following, after = new_writer(tmp_path, store, pipeline), Desk()
    assert not await following.catch_up(0.1)
    store.is_away = False
    await asyncio.sleep(0.03)  # the pause after a refusal
    assert await following.catch_up(20.0)
    newest = max(store.rows.values(), key=lambda row: row.event_timestamp)
    after.stage.balances.restore([newest])
    whole = {"accountType": "UNIFIED", "coin": [coin("USDT", "100")]}
    after.tell(WALLET, whole, at=NOW_MS + 1000, source=Source.REST)
    following.put(after.records)
    await following.step()
    await following.close(1.0)
    newest = max(store.rows.values(), key=lambda row: row.event_timestamp)
    assert newest.event_timestamp == NOW_MS + 1000
    assert len(after.payloads) == 1
