"""What an account takes up at its start of what an earlier process stored, or left on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from support.account_desk import TRACE, Desk, MemoryPipeline, coin
from support.reconcile_room import Receipts
from ws_gateway.account.balance_log import to_disk
from ws_gateway.composition import account as composed
from ws_gateway.composition.account import Account
from ws_gateway.composition.desk import build_desk
from ws_gateway.domain.balance import BalanceRecord
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.settings_source import load_settings
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.statements import Statements


@asynccontextmanager
async def accounts(database_url: str, folder: Path) -> AsyncIterator[Any]:
    """Give what builds the account of one process after the other."""
    settings = load_settings({"WSG_DATA_DIR": str(folder), "WSG_DATABASE_URL": database_url})
    pool, desk = await open_pool(database_url), build_desk(settings)

    def build() -> Account:
        counters = Counters()
        pipeline = MemoryPipeline(counters)
        return Account(
            settings, Statements(pool), desk, None,
            sink=cast("Any", pipeline), receipts=cast("Any", Receipts()),
            observer=cast("Any", None), unreadable=pipeline, counters=counters,
            new_trace_id=lambda: TRACE,
        )  # fmt: skip

    yield build
    await desk.close()
    await pool.close()


def told(name: str, balance: str, at: int) -> list[BalanceRecord]:
    """Make the row of a coin."""
    desk = Desk()
    desk.wallet(coin(name, balance), at=at)
    return desk.records


async def test_coins_are_known_by_name_though_their_rows_wait_on_disk_behind_others(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amounts are not taken up: newer ones are on disk; but who is asked for is known."""
    monkeypatch.setattr(composed, "CATCH_UP_SECONDS", 0.0)
    async with accounts(database_url, tmp_path) as build:
        first = build()
        await first.store.write(told("BTC", "1", 1_790_000_000_000))
        log: SpoolLog = first.writer._spool
        log.open()
        log.append(map(to_disk, told("ETH", "2", 1_790_000_000_001)))
        log.close()

        second = build()
        await second.restore()
        assert (second.stage.balances.coins, second.stage.balances.held()) == ([], set())
        await second.recall()
        assert second.stage.balances.held() == {"BTC"}
        await second.writer.step()  # what was on disk is written
        await second.recall()
        assert second.stage.balances.held() == {"BTC", "ETH"}
        assert second.stage.balances.coins == []
        await second.writer.close(1)


async def test_the_latest_rows_are_taken_up_at_a_start(database_url: str, tmp_path: Path) -> None:
    """So the same amounts told again are no news, and `recall` has nothing to add."""
    async with accounts(database_url, tmp_path) as build:
        first = build()
        await first.store.write(told("BTC", "1", 1_790_000_000_000))
        await first.restore()
        assert [row.coin for row in first.stage.balances.coins] == ["BTC"]
        await first.store.write(told("ETH", "2", 1_790_000_000_000))
        await first.recall()
        assert first.stage.balances.held() == {"BTC"}
        await first.writer.close(1)
