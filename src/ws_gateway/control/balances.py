"""What can be done with balances, without a word of HTTP."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ws_gateway.account_ports import AccountDesk, HistoryQuery, Synced
from ws_gateway.control.access import require
from ws_gateway.domain.balance import CoinBalance, MarginBalance
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Rejected

Row = TypeVar("Row", CoinBalance, MarginBalance)


@dataclass(frozen=True, slots=True)
class BalancePage(Generic[Row]):
    """Part of a list.

    Attributes:
        has_more: others follow behind the last one.
        uncommitted: rows of these accounts that are not in the database yet.
    """

    items: list[Row]
    has_more: bool
    uncommitted: int


@dataclass(frozen=True, slots=True)
class HistoryWish:
    """Which part of the history a caller wants; see `HistoryQuery`."""

    limit: int
    account: str | None = None
    coin: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, str] | None = None
    is_descending: bool = True


class BalanceService:
    """Use cases of balances. Every call may raise `Forbidden`.

    An account that does not exist is `Rejected`.

    Args:
        accounts: those that are configured, the first one is meant where none is named.
    """

    def __init__(self, accounts: Sequence[AccountDesk]) -> None:
        self._accounts = {account.name: account for account in accounts}

    def coins(
        self,
        caller: Caller,
        account: str | None,
        coins: Collection[str] | None,
        *,
        after: tuple[str, str] | None,
        limit: int,
    ) -> BalancePage[CoinBalance]:
        """Return the latest of each coin behind (account, coin), in that order."""
        require(caller, Scope.BALANCES_READ)
        desks = self._chosen(account)
        found = sorted(
            (
                row
                for desk in desks
                for row in desk.coins()
                if (coins is None or row.coin in coins)
                and (after is None or (row.account, row.coin) > after)
            ),
            key=lambda row: (row.account, row.coin),
        )
        return BalancePage(found[:limit], len(found) > limit, _uncommitted(desks))

    def margins(self, caller: Caller, account: str | None) -> BalancePage[MarginBalance]:
        """Return the latest totals of each account."""
        require(caller, Scope.BALANCES_READ)
        desks = self._chosen(account)
        found = [row for desk in desks if (row := desk.margin()) is not None]
        return BalancePage(found, has_more=False, uncommitted=_uncommitted(desks))

    async def coin_history(self, caller: Caller, wish: HistoryWish) -> BalancePage[CoinBalance]:
        """Return coins' rows in order of exchange time. May raise `DatabaseLost`."""
        require(caller, Scope.BALANCES_READ)
        desk, query = self._query(wish)
        return _page(await desk.coin_history(query), wish.limit, desk)

    async def margin_history(self, caller: Caller, wish: HistoryWish) -> BalancePage[MarginBalance]:
        """Return the totals' rows in order of exchange time. May raise `DatabaseLost`."""
        require(caller, Scope.BALANCES_READ)
        if wish.coin is not None:
            raise Rejected(
                "margin is of the account, not of a coin", code="coin_unfit", field="coin"
            )
        desk, query = self._query(wish)
        return _page(await desk.margin_history(query), wish.limit, desk)

    async def sync(self, caller: Caller, account: str | None) -> Synced:
        """Read one account over REST now.

        Raises:
            VenueLost: the venue is away or busy.
            Rejected: it refuses, or there is no key.
        """
        require(caller, Scope.BALANCES_SYNC)
        return await self._one(account).sync()

    def _query(self, wish: HistoryWish) -> tuple[AccountDesk, HistoryQuery]:
        if wish.since is not None and wish.until is not None and wish.since >= wish.until:
            raise Rejected(
                "from has to be before to", code="range_empty", field="from", found=str(wish.since)
            )
        desk = self._one(wish.account)
        return desk, HistoryQuery(
            account=desk.name,
            limit=wish.limit + 1,  # tells whether another page follows
            coin=wish.coin,
            since=wish.since,
            until=wish.until,
            after=wish.after,
            is_descending=wish.is_descending,
        )

    def _chosen(self, account: str | None) -> list[AccountDesk]:
        return list(self._accounts.values()) if account is None else [self._one(account)]

    def _one(self, account: str | None) -> AccountDesk:
        name = next(iter(self._accounts), "") if account is None else account
        desk = self._accounts.get(name)
        if desk is None:
            raise Rejected(
                f"no account is called {name!r} here",
                code="account_unknown",
                field="account",
                found=account,
                allowed=list(self._accounts),
            )
        return desk


def _page(rows: list[Row], limit: int, desk: AccountDesk) -> BalancePage[Row]:
    return BalancePage(rows[:limit], len(rows) > limit, desk.uncommitted())


def _uncommitted(desks: Sequence[AccountDesk]) -> int:
    return sum(desk.uncommitted() for desk in desks)
