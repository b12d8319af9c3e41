"""Balances over HTTP, as far as no database is needed: moments, scopes, reasons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from support.memory_gateway import Gateway
from ws_gateway.account_ports import AccountProblem
from ws_gateway.control.balances import BalanceService, HistoryWish
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Forbidden

BALANCES = "/api/v1/balances"
KEY = {"X-API-Key": "k"}
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with an account in memory."""
    built = Gateway()
    async with built.http:
        yield built


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "1767225600000"],
)
async def test_a_moment_is_iso_8601_or_unix_ms(gateway: Gateway, text: str) -> None:
    """In UTC where it names no zone."""
    answer = await gateway.http.get(f"{BALANCES}/history", params={"from": text}, headers=KEY)
    assert answer.status_code == 200, answer.text
    (asked,) = gateway.account.asked
    assert asked.since == NEW_YEAR


@pytest.mark.parametrize(
    "text", ["0.5", "-1", "1e9", "now", "1767225600000000", "12:00", "2026-13-01", "P1D"]
)
async def test_what_is_no_moment_is_refused(gateway: Gateway, text: str) -> None:
    """Nothing is guessed: half a second after 1970 was meant by nobody."""
    answer = await gateway.http.get(f"{BALANCES}/history", params={"to": text}, headers=KEY)
    assert answer.status_code == 422, answer.text
    assert (answer.json()["field"], answer.json()["found"]) == ("to", text)


@pytest.mark.parametrize("scope", [each for each in Scope if each is not Scope.ADMIN])
async def test_reading_and_syncing_take_a_scope_each(gateway: Gateway, scope: Scope) -> None:
    """The use cases are the law, whoever calls them."""
    service = BalanceService([gateway.account])
    caller = Caller("id", "name", frozenset({scope}))

    async def is_refused(doing: str) -> bool:
        try:
            if doing == "sync":
                await service.sync(caller, None)
            elif doing == "history":
                await service.coin_history(caller, HistoryWish(10))
                await service.margin_history(caller, HistoryWish(10))
            else:
                service.coins(caller, None, None, after=None, limit=10)
                service.margins(caller, None)
        except Forbidden:
            return True
        return False

    assert await is_refused("read") is (scope is not Scope.BALANCES_READ)
    assert await is_refused("history") is (scope is not Scope.BALANCES_READ)
    assert await is_refused("sync") is (scope is not Scope.BALANCES_SYNC)
    assert gateway.account.synced == (scope is Scope.BALANCES_SYNC)


async def test_what_is_wrong_with_an_account_is_a_reason_that_blocks_nothing(
    gateway: Gateway,
) -> None:
    """Events flow meanwhile."""
    gateway.account.told = [AccountProblem("not_reconciled", "main", "REST is away")]
    reasons = (await gateway.health())["reasons"]
    (found,) = [one for one in reasons if one["code"] == "not_reconciled"]
    assert (found["subject"], found["is_blocking"]) == ("account main", False)
