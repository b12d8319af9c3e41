"""Seams of the account room: where balances are kept, who reads them over REST, who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from ws_gateway.domain.balance import BalanceRecord, CoinBalance, MarginBalance
from ws_gateway.domain.event import Observation
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import ListPage, ListQuery
from ws_gateway.domain.topic import Category, EventClass, Topic


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which part of the history is wanted.

    Attributes:
        coin: None is every coin.
        since, until: exchange time, the first included, the second not; None is unbounded.
        after: exchange time and event id of the row the page begins behind.
        is_descending: the newest first.
    """

    account: str
    limit: int
    coin: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, str] | None = None
    is_descending: bool = True


class BalanceStore(Protocol):
    """Balances in the database. Every call may raise `DatabaseLost`."""

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Append these and bring the latest up to date; what is there already changes nothing.

        Raises:
            Rejected: the database refuses one of them.
        """

    async def latest(self, account: str) -> list[BalanceRecord]:
        """Return the newest of each coin, and the newest totals."""

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:
        """Return coins' rows in order of exchange time."""

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:
        """Return the totals' rows in order of exchange time."""

    async def keep_history(self, months: int) -> list[str]:
        """Make the partitions that will be needed, drop those of long ago; answers what it did."""


class WalletSource(Protocol):
    """Who reads wallets over the venue's REST."""

    async def wallet(self, coins: Sequence[str] = ()) -> list[Observation]:
        """Read the wallet now; without coins, all that are not at zero.

        Raises:
            VenueLost: the venue is away or busy.
            Rejected: it refuses, or there is no key; `code` and text say why and what to do.
        """


class PrivateLists(Protocol):
    """Who reads an account's lists over the venue's REST.

    Every call may raise `VenueLost` (the venue is away or busy) and `Rejected` (it refuses).
    """

    async def time_ms(self) -> int:
        """Return the venue's time, ms."""

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Read one page; the cursor goes back as it came."""

    def fact(self, topic: Topic, row: msgspec.Raw, page: ListPage, of: Category) -> Observation:
        """Make of a row the fact that the stream would have told.

        Raises:
            msgspec.DecodeError: it lacks what identity needs.
        """


class MarkStore(Protocol):
    """How far private facts were delivered. Every call may raise `DatabaseLost`."""

    async def read(self, account: str) -> list[Mark]:
        """Return every mark of an account."""

    async def write(self, account: str, marks: Sequence[Mark]) -> None:
        """Set marks; none goes back."""

    async def drop(self, account: str, topics: Iterable[str]) -> None:
        """Forget the marks of topics nobody wants."""


class StreamHolder(Protocol):
    """Who ends the breaks of private streams; the pipeline."""

    def hold(self, topics: Iterable[Topic]) -> None:
        """Let facts flow behind a gap marker, but leave `resumed` to `resume`."""

    def release(self, topics: Iterable[Topic]) -> None:
        """Let breaks of these streams end by themselves again."""

    def resume(self, topics: Iterable[Topic], detail: str, *, is_complete: bool) -> None:
        """End the present breaks of these streams, and let later ones end by themselves.

        Args:
            topics: whose.
            detail: for people.
            is_complete: all that was missed has been told; a stream whose break ended without it
                is told so now.
        """


class DeliveryReceipt(Protocol):
    """What was taken up to one moment."""

    @property
    def is_safe(self) -> bool:
        """Say whether all of it was confirmed by the broker, or is on disk."""


class DeliveryReceipts(Protocol):
    """Who knows what became of private events; delivery."""

    def take(self) -> DeliveryReceipt:
        """Return a receipt for everything taken so far."""


class DeliveryRoom(Protocol):
    """Who knows whether private events find room; delivery."""

    @property
    def has_ease(self) -> bool:
        """Say whether there is room to spare, so that the stream's own events will find some."""


class CoinOutcome(StrEnum):
    """What a reading made of a coin."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class SyncedCoin:
    """One coin; `previous` is None if it was not known before."""

    coin: str
    outcome: CoinOutcome
    previous: CoinBalance | None
    latest: CoinBalance


@dataclass(frozen=True, slots=True)
class Synced:
    """What a reading over REST brought.

    Attributes:
        told_at: exchange time, ms.
        faults: what was wrong with the parts that failed validation and are in quarantine.
        is_stored: the database has all of it; otherwise it is on its way there.
    """

    account: str
    told_at: int
    coins: list[SyncedCoin]
    faults: list[str]
    is_stored: bool


@dataclass(frozen=True, slots=True)
class AccountProblem:
    """Something about an account that a person should know of.

    Attributes:
        code: stable word.
        account: whose.
    """

    code: str
    account: str
    detail: str


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """What an account is at now.

    Attributes:
        rows_in_memory, rows_on_disk: balance rows that are not in the database yet.
        spool_bytes: what those on disk take.
        watermark_ages: how long ago, in seconds, the time is up to which facts of a class are
            known to be delivered, as it is stored; the oldest of its topics.
    """

    rows_in_memory: int
    rows_on_disk: int
    spool_bytes: int
    watermark_ages: Mapping[EventClass, float]


class AccountDesk(Protocol):
    """One account as control sees it."""

    @property
    def name(self) -> str:
        """Name it as events and rows do."""

    def coins(self) -> Sequence[CoinBalance]:
        """Return the latest of each coin, in order of name."""

    def margin(self) -> MarginBalance | None:
        """Return the latest totals, None before the first."""

    def uncommitted(self) -> int:
        """Count the rows that are not in the database yet."""

    async def sync(self) -> Synced:
        """Read the balances over REST now, store and publish them.

        Raises:
            VenueLost: the venue is away or busy.
            Rejected: it refuses, or there is no key.
        """

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:
        """Return coins' rows in order of exchange time. May raise `DatabaseLost`."""

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:
        """Return the totals' rows in order of exchange time. May raise `DatabaseLost`."""

    def problems(self) -> Sequence[AccountProblem]:
        """Return what stands now, and what went wrong lately."""

    def figures(self) -> AccountFigures:
        """Return what operators measure."""
