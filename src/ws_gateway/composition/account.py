"""An account's balances, positions and reconciliation, joined."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import SystemRandom

import structlog

from ws_gateway.account.balance_log import condense
from ws_gateway.account.front import PrivateFront
from ws_gateway.account.mark_keeper import MarkKeeper
from ws_gateway.account.reconcile import Reconciliation
from ws_gateway.account.retention import Retention
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.sync import BalanceSync
from ws_gateway.account.writer import BalanceWriter
from ws_gateway.composition.desk import Desk
from ws_gateway.config import Settings
from ws_gateway.delivery.receipt import Receipts
from ws_gateway.domain.balance import CoinBalance, MarginBalance
from ws_gateway.domain.topic import EventClass, parse_topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.account import AccountFigures, AccountProblem, HistoryQuery, Synced
from ws_gateway.ports.event_path import UnreadableSink
from ws_gateway.ports.feed import TopicObserver
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import AccountTally, Counters
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.storage.balances import PostgresBalances
from ws_gateway.storage.marks import PostgresMarks
from ws_gateway.storage.statements import Statements
from ws_gateway.venue.account_lists import AccountLists
from ws_gateway.venue.account_rest import AccountRest
from ws_gateway.venue.auth import Credentials

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STORE_SECONDS = 0.5
"""How long the writer may take to end what it is at, and then to keep what is left."""

CATCH_UP_SECONDS = 5.0
"""How long a start waits for balances on disk to be written."""


class Account:
    """One account: its stage, what stores its balances, and what reads it over REST.

    Args:
        statements: of the ledgers in PostgreSQL.
        desk: asks the venue's REST.
        credentials: sign for the account, and say which one it is; None is the first, and reads
            nothing.
        sink, unreadable: the pipeline, and quarantine.
        receipts: of delivery.
        tally: what operators count, of all accounts together.
        observer: who else is told what becomes of topics.

    Attributes:
        key: the account as topics name it, None for the first.
    """

    def __init__(
        self,
        settings: Settings,
        statements: Statements,
        desk: Desk,
        credentials: Credentials | None,
        *,
        sink: Runner,
        receipts: Receipts,
        observer: TopicObserver,
        unreadable: UnreadableSink,
        counters: Counters,
        new_trace_id: Callable[[], str],
        tally: AccountTally,
    ) -> None:
        self.key = None if credentials is None else credentials.account
        self.name = self.key or settings.account_name
        self.store = PostgresBalances(statements)
        self._rest = AccountRest(
            desk.rest, desk.clock, credentials, clock_us=clock_us, new_trace_id=new_trace_id
        )
        self.writer = BalanceWriter(
            self.name, self.store, _log_on_disk(settings, self.key), unreadable, tally=tally
        )
        self.stage = AccountStage(
            self.name,
            sink=sink,
            unreadable=unreadable,
            keeper=self.writer,
            counters=counters,
            tally=tally,
            monotonic=time.monotonic,
        )
        self._reading = BalanceSync(self.stage, self._rest, self.writer)
        self.retention = Retention(self.store, settings.balance_retention_months)
        self.marks = MarkKeeper(self.name, PostgresMarks(statements), receipts)
        self.reconciliation = Reconciliation(
            self.stage,
            AccountLists(self._rest, clock_us=clock_us, new_trace_id=new_trace_id),
            self._rest,
            keeper=self.marks,
            streams=sink,
            unreadable=unreadable,
            delivery=receipts,
            counters=counters,
            option_coins=settings.option_base_coins,
            every_seconds=settings.reconcile_seconds,
            rng=SystemRandom(),
            tally=tally,
        )
        self.front = PrivateFront(self.stage, self.reconciliation, observer)

    def renew_credentials(self, credentials: Credentials) -> None:
        """Sign with these from now on."""
        self._rest.renew_credentials(credentials)

    async def restore(self) -> None:
        """Take up the latest balances that an earlier process stored, here or on disk.

        If those on disk cannot be written yet, nothing is taken up: then whatever is told is news,
        and stands behind them.
        """
        try:
            if not await self.writer.catch_up(CATCH_UP_SECONDS):
                log.warning(
                    "account.balances_not_restored", account=self.name, why="newer ones on disk"
                )
                return
            self.stage.balances.restore(await self.store.latest(self.name))
        except DatabaseLost as exc:
            log.warning("account.balances_not_restored", account=self.name, why=str(exc))

    def coins(self) -> Sequence[CoinBalance]:
        """Return the latest of each coin, in order of name."""
        return self.stage.balances.coins

    def margin(self) -> MarginBalance | None:
        """Return the latest totals."""
        return self.stage.balances.margin

    def uncommitted(self) -> int:
        """Count the rows that are not in the database yet."""
        return self.writer.uncommitted

    async def sync(self) -> Synced:
        """Read the balances over REST now."""
        return await self._reading.sync()

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:
        """Return coins' rows in order of exchange time."""
        return await self.store.coin_history(query)

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:
        """Return the totals' rows in order of exchange time."""
        return await self.store.margin_history(query)

    def problems(self) -> Sequence[AccountProblem]:
        """Tell what a person should know of."""
        return [
            *self.writer.problems(),
            *self.stage.problems(),
            *self.reconciliation.problems(),
        ]

    def figures(self) -> AccountFigures:
        """Tell what operators measure."""
        ages: dict[EventClass, float] = {}
        now_ms = clock_us() / 1000
        for (name, _), at in self.marks.through.items():
            event_class = parse_topic(name, None).event_class
            ages[event_class] = max((now_ms - at) / 1000, ages.get(event_class, 0.0))
        writer = self.writer
        return AccountFigures(writer.in_memory, writer.on_disk, writer.spool_bytes, ages)

    async def end(self, storing: asyncio.Task[None]) -> None:
        """Store what is left, or keep it on disk; `storing` is the task of the writer's `run`."""
        await self._reading.close()
        self.writer.stop()
        await asyncio.wait({storing}, timeout=STORE_SECONDS)
        storing.cancel()
        await asyncio.wait({storing})
        await self.writer.close(STORE_SECONDS)


def _log_on_disk(settings: Settings, account: str | None) -> SpoolLog:
    """Open the first account's where it always was; no prefix has an @ in it."""
    whose = "" if account is None else f"@{account}"
    return SpoolLog(
        settings.data_dir.expanduser().resolve() / f"balances-{settings.amqp_prefix}{whose}",
        max_bytes=settings.balance_spool_max_bytes,
        max_age_seconds=settings.spool_max_age_hours * 3600,
        condense=condense,
    )
