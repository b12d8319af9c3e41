"""Balances on their way to the database: in batches, in order, over the disk when it is away.

Whoever puts records here never waits. While the database answers, what gathered is written in one
statement, so a record is committed a few milliseconds after it came. When it does not answer, what
waits and what comes goes to the log on disk, survives a `kill -9`, and is written in order when the
database is back; only then are newer records written past the log. A record that is written twice
changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import msgspec
import structlog

from ws_gateway.account.balance_log import Loss, from_disk, to_disk
from ws_gateway.domain.balance import BalanceRecord, MarginBalance
from ws_gateway.errors import DatabaseLost, Rejected
from ws_gateway.ports.account import AccountProblem, BalanceStore
from ws_gateway.ports.event_path import UnreadableSink
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import AccountTally
from ws_gateway.runtime.spool_format import Position
from ws_gateway.runtime.spool_log import SpoolLog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")

WRITE_SECONDS = 3.0
"""How long the database may take over a batch; then what waits goes to disk."""

_BATCH = 500
_MOST_WAITING = 50_000  # records in memory, which is where they are while the disk refuses too
_SLOW_SECONDS = 0.25  # after so long a write is not waited for with what comes behind it
_GATHER_SECONDS = 0.01
_RETRY_SECONDS = 1.0  # after the database or the disk refused
_TELL_LOSS_SECONDS = 600.0


class BalanceWriter:
    """Stores balances; `run` does the work, `put` only takes note.

    Args:
        account: for what is told of it.
        spool: the log on disk; nobody else may have it.
        unreadable: where goes what the database refuses for good.
        tally: where rows are counted and timed.
        now_us: time of day, µs, by the clock that `received_at` is of.
    """

    def __init__(
        self,
        account: str,
        store: BalanceStore,
        spool: SpoolLog,
        unreadable: UnreadableSink,
        *,
        tally: AccountTally | None = None,
        now_us: Callable[[], int] = clock_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally = tally or AccountTally()
        self._now_us = now_us
        self._account = account
        self._store = store
        self._spool = spool
        self._unreadable = unreadable
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="balances")
        self._waiting: deque[BalanceRecord] = deque()
        self._in_flight = 0  # how many of those that wait longest are being written
        self._held: list[BalanceRecord] = []  # read from disk, to be written next
        self._held_to: Position | None = None
        self._on_disk = 0
        self._is_open = self._is_spooling = False
        self._stopping = asyncio.Event()
        self._missed_at = float("-inf")
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._database_error: str | None = None
        self._disk_error: str | None = None
        self._disk_refused_at = float("-inf")
        self._lost_at = float("-inf")

    @property
    def in_memory(self) -> int:
        """Count the records that are nowhere but in memory."""
        return len(self._waiting)

    @property
    def on_disk(self) -> int:
        """Count the records that wait on disk."""
        return self._on_disk

    @property
    def spool_bytes(self) -> int:
        """Sum what the log takes on disk."""
        return self._spool.size_bytes

    @property
    def uncommitted(self) -> int:
        """Count the records that are not in the database yet."""
        return len(self._waiting) + self._on_disk

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Take records to be stored behind all others; never waits."""
        self._waiting.extend(records)
        excess = len(self._waiting) - _MOST_WAITING
        if excess > 0:
            for _ in range(excess):
                del self._waiting[_BATCH]  # the oldest but for those that are being written
            self._note_loss(excess)
        self._settled.clear()
        self._wake.set()

    async def committed_all(self, seconds: float) -> bool:
        """Wait until nothing is left to be written; answers False if it is not so in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    def problems(self) -> list[AccountProblem]:
        """Tell what keeps balances from the database, and what was lost lately."""
        found = []
        if self._database_error is not None:
            where = "on disk" if self._disk_error is None else "in memory"
            detail = f"{self.uncommitted} balance rows wait {where}: {self._database_error}"
            found.append(AccountProblem("balances_not_stored", self._account, detail))
        if self._disk_error is not None:
            detail = f"balance rows would be held in memory only: {self._disk_error}"
            found.append(AccountProblem("balance_spool_unavailable", self._account, detail))
        if self._monotonic() - self._lost_at < _TELL_LOSS_SECONDS:
            detail = (
                f"{self._tally.lost} balance rows were dropped since the start, none of them stored"
            )
            found.append(AccountProblem("balances_lost", self._account, detail))
        return found

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Store what is put until `stop`."""
        while not self._stopping.is_set():
            self._wake.clear()
            await self.step()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                continue
            if self._is_spooling:  # what comes meanwhile goes to disk in one write
                await asyncio.sleep(_GATHER_SECONDS)

    async def catch_up(self, seconds: float) -> bool:
        """Write what an earlier process left on disk, before `run`.

        Answers whether the database has it all now; if not, what it tells may not be the latest.
        """
        if not self._is_open:
            await self._open()
        await self._write_spooled(self._monotonic() + seconds)
        return self._is_open and not self._is_spooling

    def _pause(self) -> float | None:
        """Say how long to wait for records at most, before something is due anyway."""
        if not self._is_open or self._is_spooling:
            return _RETRY_SECONDS
        return 0.0 if self._waiting else None

    def stop(self) -> None:
        """Let `run` end; `close` comes after it."""
        self._stopping.set()
        self._wake.set()

    async def close(self, seconds: float) -> None:
        """Store what is left if that takes not too long, else bring it to disk; free the folder."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.step()
        try:
            if self._waiting:
                self._is_spooling, self._disk_refused_at = True, float("-inf")
                await self._to_disk()
            if self._is_open:
                await self._in_thread(self._spool.close)
        except OSError as exc:
            self._refuse(exc)
        finally:
            self._is_open = False
            self._thread.shutdown(wait=False)
        if self.uncommitted:
            tell = log.error if self._waiting else log.warning
            tell("account.balances_left", lost=len(self._waiting), on_disk=self._on_disk)

    async def step(self) -> None:
        """Do what there is to do, once."""
        if not self._is_open:
            await self._open()
        await self._write_waiting()
        await self._write_spooled()
        await self._write_waiting()
        if not self.uncommitted:
            self._settled.set()

    # ── to the database ───────────────────────────────────────────────────────────────────────

    async def _write_waiting(self) -> None:
        """Write what waits past the disk, while nothing older is there."""
        while self._waiting and not self._is_spooling:
            batch = list(islice(self._waiting, _BATCH))
            self._in_flight = len(batch)
            if await self._keeping_up(self._write(batch)):
                for _ in range(self._in_flight):
                    self._waiting.popleft()
            else:
                self._is_spooling = True
            self._in_flight = 0

    async def _keeping_up(self, writing: Coroutine[Any, Any, bool]) -> bool:
        """Await a write; if it takes long, what waits goes to disk meanwhile."""
        task = asyncio.ensure_future(writing)
        try:
            while not (await asyncio.wait({task}, timeout=_SLOW_SECONDS))[0]:
                self._is_spooling = True
                await self._to_disk()
            return task.result()
        finally:
            task.cancel()

    async def _write(self, batch: list[BalanceRecord]) -> bool:
        """Write a batch; answers False if the database is away."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._store.write(batch)
        except (DatabaseLost, TimeoutError) as exc:
            self._miss_database(exc)
            return False
        except Rejected as exc:
            if len(batch) > 1:  # let the others not suffer for one
                for record in batch:
                    if not await self._write([record]):
                        return False
                return True
            self._give_up(batch[0], exc)
            return True
        now_us = self._now_us()
        for record in batch:
            self._tally.stored["margin" if isinstance(record, MarginBalance) else "coin"] += 1
            took = self._tally.storing.of(record.source.value)
            took.observe((now_us - record.received_at) / 1e6)
        if self._database_error is not None:
            log.info("account.balances_stored_again", after=self._database_error)
            self._database_error = None
        return True

    def _miss_database(self, exc: Exception) -> None:
        self._missed_at = self._monotonic()
        words = str(exc) or f"PostgreSQL did not answer in {WRITE_SECONDS:g} s"
        if self._database_error is None:
            log.warning(
                "account.balances_not_stored", why=words, effect="kept on disk until it is back"
            )
        self._database_error = words

    def _give_up(self, record: BalanceRecord, exc: Rejected) -> None:
        self._tally.refused["balance_refused"] += 1
        self._unreadable.quarantine(
            reason="balance_refused",
            origin=f"{record.account}:wallet",
            detail=str(exc),
            raw=to_disk(record).data,
            trace_id=record.trace_id,
        )

    # ── over the disk ─────────────────────────────────────────────────────────────────────────

    async def _open(self) -> None:
        try:
            found = await self._in_thread(self._spool.open)
        except OSError as exc:
            is_taken = isinstance(exc, BlockingIOError)
            self._refuse("another process has the folder" if is_taken else exc)
            return
        self._is_open = True
        self._disk_error = None
        self._on_disk = found.observed
        if found.records:
            self._is_spooling = True
            self._settled.clear()
            log.info("account.balances_found", records=found.records)
        if found.damaged:
            log.error("account.balance_spool_damaged", stretches=found.damaged)

    async def _to_disk(self) -> None:
        """Bring what waits to disk; if that refuses, it waits on in memory."""
        if not self._is_open or self._monotonic() - self._disk_refused_at < _RETRY_SECONDS:
            return
        try:
            while self._waiting:
                records = [to_disk(record) for record in islice(self._waiting, _BATCH)]
                await self._in_thread(partial(self._spool.append, records))
                for _ in records:
                    self._waiting.popleft()
                self._in_flight = max(0, self._in_flight - len(records))
                self._on_disk += len(records)
            dropped = await self._in_thread(self._spool.drop_oldest)
        except OSError as exc:
            self._refuse(exc)
            return
        self._disk_error = None
        if dropped:
            self._on_disk -= dropped
            self._note_loss(dropped)

    async def _write_spooled(self, until: float = float("inf")) -> None:
        """Write what is on disk, oldest first, until nothing is; what waits goes there meanwhile.

        The database is asked once in a while only.
        """
        while self._is_spooling and self._monotonic() < until:
            await self._to_disk()
            if self._monotonic() - self._missed_at < _RETRY_SECONDS:
                return
            if not self._held and not await self._read():
                return
            if self._held and not await self._keeping_up(self._write(self._held)):
                return
            self._on_disk -= len(self._held)
            self._held = []
            if self._held_to is not None:
                position, self._held_to = self._held_to, None
                try:
                    await self._in_thread(partial(self._spool.acknowledge, position))
                except OSError as exc:  # what is written again after a crash changes nothing
                    self._refuse(exc)

    async def _read(self) -> bool:
        """Take the next records from disk in hand; answers False if there are none."""
        if not self._is_open:
            self._is_spooling = False
            return False
        try:
            batch = await self._in_thread(partial(self._spool.read, _BATCH))
        except OSError as exc:
            self._refuse(exc)
            return False
        if batch.damaged:
            log.error("account.balance_spool_damaged", stretches=batch.damaged)
        if not batch.records:
            if self._on_disk:
                self._note_loss(self._on_disk)
            self._on_disk, self._is_spooling = 0, False
            return False
        for position, record in batch.records:
            self._held_to = position
            try:
                read = from_disk(record)
            except msgspec.DecodeError:
                self._on_disk -= record.is_observed
                self._note_loss(1)
                continue
            if isinstance(read, Loss):
                log.error("account.balances_missing", **msgspec.structs.asdict(read))
            else:
                self._held.append(read)
        return True

    def _refuse(self, exc: OSError | str) -> None:
        self._disk_refused_at = self._monotonic()
        if self._disk_error is None:
            log.error("account.balance_spool_refused", why=str(exc), effect="held in memory")
        self._disk_error = str(exc)

    def _note_loss(self, count: int, first: int | None = None, last: int | None = None) -> None:
        self._tally.lost += count
        self._lost_at = self._monotonic()
        log.error(
            "account.balances_lost", rows=count, first=first, last=last, so_far=self._tally.lost
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
