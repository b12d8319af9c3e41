"""Balances over HTTP, as far as no database is needed: moments, scopes, reasons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from support.memory_gateway import Gateway
from ws_gateway.control.balances import BalanceService, HistoryWish
from ws_gateway.domain.balance import CoinAmounts, CoinBalance
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.event import Source
from ws_gateway.errors import Forbidden
from ws_gateway.ports.account import AccountProblem

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


async def test_balances_that_nobody_follows_say_so_instead_of_being_silently_empty_or_stale(
    gateway: Gateway,
) -> None:
    """Without a `balance` subscription nothing is heard, now and after it was deleted."""
    for path in ("", "?view=margin", "/history"):
        gateway.followed.clear()
        answer = (await gateway.http.get(f"{BALANCES}{path}", headers=KEY)).json()
        assert answer["items"] == []
        assert answer["freshness"]["is_followed"] is False
        assert "subscribe to the channel `balance`" in answer["freshness"]["hints"][0]
        gateway.followed.add("main")
        freshness = (await gateway.http.get(f"{BALANCES}{path}", headers=KEY)).json()["freshness"]
        assert (freshness["is_followed"], freshness["hints"]) == (True, [])


async def test_a_coin_that_is_not_known_is_named_and_so_is_the_one_in_another_case(
    gateway: Gateway,
) -> None:
    """An empty list alone would look like a balance of nothing."""
    gateway.followed.add("main")
    zero = CoinAmounts(Decimal(0), Decimal(0), Decimal(0), equity=Decimal(0), borrowed=Decimal(0))
    gateway.account.rows = [CoinBalance("main", "BTC", zero, 0, 0, Source.REST, "id", "0" * 32)]
    answer = await gateway.http.get(BALANCES, params={"coin": "btc,BTC,XYZ"}, headers=KEY)
    assert [one["coin"] for one in answer.json()["items"]] == ["BTC"]
    assert answer.json()["freshness"]["hints"] == [
        "no balance of XYZ is known",
        "no balance of btc is known; BTC is, and case counts",
    ]


async def test_an_empty_range_is_shown_as_it_was_sent(gateway: Gateway) -> None:
    """Not as a program would print it."""
    wish = {"from": "2026-02-01", "to": "2026-01-01"}
    answer = await gateway.http.get(f"{BALANCES}/history", params=wish, headers=KEY)
    assert (answer.json()["code"], answer.json()["found"]) == ("range_empty", "2026-02-01")


@pytest.mark.parametrize("path", ["", "/history"])
async def test_a_bad_coin_is_answered_with_words_not_with_a_pattern(
    gateway: Gateway, path: str
) -> None:
    """Whoever typed it wants an example, not a regular expression."""
    answer = await gateway.http.get(f"{BALANCES}{path}", params={"coin": "USDT;BTC"}, headers=KEY)
    body = answer.json()
    assert (answer.status_code, body["field"], body["found"]) == (422, "coin", "USDT;BTC")
    assert "named like" in body["detail"]
    assert "[A-Z" not in answer.text
