"""An account's balances, positions and reconciliation, joined."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import SystemRandom

import structlog

from ws_gateway.account.balance_log import condense
from ws_gateway.account.front import PrivateFront
from ws_gateway.account.mark_keeper import MarkKeeper
from ws_gateway.account.reconcile import Reconciliation
from ws_gateway.account.retention import Retention
from ws_gateway.account.spool_left import find_left, spool_folder
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
        observer: who else is told what becomes of topics.

    Attributes:
        key: the account as topics name it, None for the first.
        tally: what operators count.
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
    ) -> None:
        self.tally = tally = AccountTally()
        self._settings = settings
        self.key = None if credentials is None else credentials.account
        self.name = self.key or settings.account_name
        self.store = PostgresBalances(statements)
        self._rest = AccountRest(
            desk.rest, desk.clock, credentials, clock_us=clock_us, new_trace_id=new_trace_id
        )
        self.writer = BalanceWriter(
            self.name, self.store, _log_on_disk(settings, self.key), unreadable, tally=tally
        )
        self._left: list[AccountProblem] = []
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
            recall=self.recall,
        )
        self._is_restored = False
        self.front = PrivateFront(self.stage, self.reconciliation, observer)

    def renew_credentials(self, credentials: Credentials) -> None:
        """Sign with these from now on."""
        self._rest.renew_credentials(credentials)

    async def restore(self) -> None:
        """Take up the latest balances that an earlier process stored, here or on disk.

        The first account looks what others left on disk that none of ours will store.

        If those on disk cannot be written yet, no amounts are taken up: then whatever is told is
        news, and stands behind them. Which coins there are is learned by `recall`.
        """
        if self.key is None:
            self._left = await asyncio.to_thread(self._find_left)
        try:
            if not await self.writer.catch_up(CATCH_UP_SECONDS):
                log.warning(
                    "account.balances_not_restored", account=self.name, why="newer ones on disk"
                )
                return
            self.stage.balances.restore(await self.store.latest(self.name))
            self._is_restored = True
        except DatabaseLost as exc:
            log.warning("account.balances_not_restored", account=self.name, why=str(exc))

    async def recall(self) -> None:
        """Learn which coins an earlier process stored, where `restore` did not take them up.

        REST leaves out coins at zero, so one that went there meanwhile has to be asked for.

        Raises:
            DatabaseLost: nobody knows.
        """
        if not self._is_restored:
            is_last = not self.writer.on_disk  # what is there may name further ones
            self.stage.balances.recall(await self.store.latest(self.name))
            self._is_restored = is_last

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
            *self._left,
        ]

    def _find_left(self) -> list[AccountProblem]:
        settings = self._settings
        further = [one.name for one in settings.further_accounts]
        return find_left(
            _data_dir(settings), {_folder(settings, whose) for whose in (None, *further)}, self.name
        )

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
    return SpoolLog(
        _folder(settings, account),
        max_bytes=settings.balance_spool_max_bytes,
        max_age_seconds=settings.spool_max_age_hours * 3600,
        condense=condense,
    )


def _folder(settings: Settings, account: str | None) -> Path:
    return spool_folder(_data_dir(settings), settings.amqp_prefix, account)


def _data_dir(settings: Settings) -> Path:
    return settings.data_dir.expanduser().resolve()
