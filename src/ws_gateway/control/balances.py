"""What can be done with balances, without a word of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ws_gateway.control.access import require
from ws_gateway.domain.balance import CoinBalance, MarginBalance
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Rejected
from ws_gateway.ports.account import AccountDesk, HistoryQuery, Synced

Row = TypeVar("Row", CoinBalance, MarginBalance)


@dataclass(frozen=True, slots=True)
class BalancePage(Generic[Row]):
    """Part of a list.

    Attributes:
        has_more: others follow behind the last one.
        uncommitted: rows of these accounts that are not in the database yet.
        is_followed: a subscription keeps the latest balances of all these accounts true.
        hints: why something may be missing or old, in words.
    """

    items: list[Row]
    has_more: bool
    uncommitted: int
    is_followed: bool
    hints: list[str]


@dataclass(frozen=True, slots=True)
class HistoryWish:
    """Which part of the history a caller wants; see `HistoryQuery`.

    Attributes:
        since_given: `since` as the caller wrote it.
    """

    limit: int
    account: str | None = None
    coin: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, str] | None = None
    is_descending: bool = True
    since_given: str | None = None


class BalanceService:
    """Use cases of balances. Every call may raise `Forbidden`.

    An account that does not exist is `Rejected`.

    Args:
        accounts: those that are configured, the first one is meant where none is named.
        is_followed: says of an account's name whether its `balance` topic is active.
    """

    def __init__(
        self,
        accounts: Sequence[AccountDesk],
        is_followed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._is_followed = is_followed

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
        known = {row.coin for desk in desks for row in desk.coins()} if coins else set()
        unknown = _unknown_hints(set(coins or ()) - known, known)
        return self._page(found[:limit], desks, has_more=len(found) > limit, hints=unknown)

    def margins(self, caller: Caller, account: str | None) -> BalancePage[MarginBalance]:
        """Return the latest totals of each account."""
        require(caller, Scope.BALANCES_READ)
        desks = self._chosen(account)
        found = [row for desk in desks if (row := desk.margin()) is not None]
        return self._page(found, desks)

    async def coin_history(self, caller: Caller, wish: HistoryWish) -> BalancePage[CoinBalance]:
        """Return coins' rows in order of exchange time. May raise `DatabaseLost`."""
        require(caller, Scope.BALANCES_READ)
        desk, query = self._query(wish)
        rows = await desk.coin_history(query)
        return self._page(rows[: wish.limit], [desk], has_more=len(rows) > wish.limit)

    async def margin_history(self, caller: Caller, wish: HistoryWish) -> BalancePage[MarginBalance]:
        """Return the totals' rows in order of exchange time. May raise `DatabaseLost`."""
        require(caller, Scope.BALANCES_READ)
        if wish.coin is not None:
            raise Rejected(
                "margin is of the account, not of a coin", code="coin_unfit", field="coin"
            )
        desk, query = self._query(wish)
        rows = await desk.margin_history(query)
        return self._page(rows[: wish.limit], [desk], has_more=len(rows) > wish.limit)

    async def sync(self, caller: Caller, account: str | None) -> Synced:
        """Read one account over REST now.

        Raises:
            VenueLost: the venue is away or busy.
            Rejected: it refuses, or there is no key.
        """
        require(caller, Scope.BALANCES_SYNC)
        return await self._one(account).sync()

    def _page(
        self,
        rows: list[Row],
        desks: Sequence[AccountDesk],
        *,
        has_more: bool = False,
        hints: Sequence[str] = (),
    ) -> BalancePage[Row]:
        unheard: list[str] = [one.name for one in desks if not self._is_followed(one.name)]
        return BalancePage(
            rows,
            has_more,
            uncommitted=sum(desk.uncommitted() for desk in desks),
            is_followed=not unheard,
            hints=[*map(_unheard_hint, unheard), *hints],
        )

    def _query(self, wish: HistoryWish) -> tuple[AccountDesk, HistoryQuery]:
        if wish.since is not None and wish.until is not None and wish.since >= wish.until:
            raise Rejected(
                "from has to be before to",
                code="range_empty",
                field="from",
                found=wish.since_given or wish.since.isoformat(),
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


def _unheard_hint(account: str) -> str:
    return (
        f"no `balance` topic of account {account} is active, so changes at Bybit are not heard:"
        " subscribe to the channel `balance`, or POST /api/v1/balances/sync"
    )


def _unknown_hints(unknown: Collection[str], known: Collection[str]) -> list[str]:
    hints = []
    for coin in sorted(unknown):
        meant = sorted(one for one in known if one.upper() == coin.upper())
        also = f"; {' and '.join(meant)} is, and case counts" if meant else ""
        hints.append(f"no balance of {coin} is known{also}")
    return hints
