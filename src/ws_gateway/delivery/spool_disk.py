"""The spool's log on disk: touched in one thread alone, and nothing that it refuses is raised.

What the disk refuses is remembered until the same work succeeds; events wait in memory meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ws_gateway.delivery.spool_faults import Faults, Work
from ws_gateway.delivery.spool_left import find_left
from ws_gateway.runtime.left_spools import Left
from ws_gateway.runtime.spool_format import Batch, Opened, Position, Record
from ws_gateway.runtime.spool_log import SpoolLog

T = TypeVar("T")

_RETRY_SECONDS = 1.0  # after the disk refused


class SpoolDisk:
    """Does one thing after the other with the log, each in the thread.

    Attributes:
        faults: what is refused at present.
    """

    def __init__(self, log_: SpoolLog) -> None:
        self._log = log_
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.faults = Faults()
        self._refused_at: float | None = None

    @property
    def size_bytes(self) -> int:
        """Sum the bytes on disk, those of events already done included until they are freed."""
        return self._log.size_bytes

    async def left(self) -> list[Left]:
        """Find the spools of other prefixes beside this one."""
        return await self._in_thread(lambda: find_left(self._log.folder))

    async def open(self) -> Opened | None:
        """Take the folder up; None if it is not to be had."""
        try:
            found = await self._in_thread(self._log.open)
        except OSError as exc:
            self.faults.unavailable(exc)
            return None
        self.faults.succeeded(Work.OPEN)
        return found

    async def close(self) -> None:
        """Let the folder go."""
        try:
            await self._in_thread(self._log.close)
        except OSError as exc:
            self.faults.refused(Work.WRITE, exc)

    def end(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)

    # ── to it ─────────────────────────────────────────────────────────────────────────────────

    @property
    def refuses_to_write(self) -> bool:
        """Say whether it refused what was to be written last."""
        return self._refused_at is not None

    @property
    def may_be_written(self) -> bool:
        """Say whether to try: it refused nothing, or long enough ago."""
        refused_at = self._refused_at
        return refused_at is None or time.monotonic() - refused_at >= _RETRY_SECONDS

    def give_a_last_chance(self) -> None:
        """Try again, however lately it refused."""
        self._refused_at = None

    async def append(self, records: list[Record], *, is_read: bool) -> list[Position] | None:
        """Write records; answers where they are, None if that was refused."""
        try:
            positions = await self._in_thread(lambda: self._log.append(records, is_read=is_read))
        except OSError as exc:
            self._refuse_write(exc)
            return None
        self._accept_write()
        return positions

    async def probe(self) -> None:
        """Find out whether a disk that refused takes something again, with nothing to write."""
        if Work.WRITE not in self.faults:
            return
        try:
            await self._in_thread(self._log.probe)
        except OSError as exc:
            self._refuse_write(exc)
        else:
            self._accept_write()

    def _refuse_write(self, exc: OSError) -> None:
        self._refused_at = time.monotonic()
        self.faults.refused(Work.WRITE, exc)

    def _accept_write(self) -> None:
        self._refused_at = None
        self.faults.succeeded(Work.WRITE)

    # ── from it ───────────────────────────────────────────────────────────────────────────────

    async def read(self, most: int) -> Batch | None:
        """Read the next records; None if that was refused."""
        try:
            batch = await self._in_thread(lambda: self._log.read(most))
        except OSError as exc:
            self.faults.refused(Work.READ, exc)
            return None
        self.faults.succeeded(Work.READ)
        return batch

    async def acknowledge(self, position: Position) -> bool:
        """Note how far all is done; answers whether that is noted."""
        try:
            await self._in_thread(lambda: self._log.acknowledge(position))
        except OSError as exc:
            self.faults.refused(Work.NOTE, exc)
            return False
        self.faults.succeeded(Work.NOTE)
        return True

    async def keep_bounds(self) -> int:
        """Drop the oldest beyond the bounds; answers how many observations that cost."""
        if not self._log.may_be_beyond:  # a turn in the thread is one that a write waits for
            self.needs_no_bounds()
            return 0
        try:
            dropped = await self._in_thread(self._log.drop_oldest)
        except OSError as exc:
            self.faults.refused(Work.DROP, exc)
            return 0
        self.faults.succeeded(Work.DROP)
        return dropped

    def needs_no_bounds(self) -> None:
        """Take note that nothing is to be dropped."""
        self.faults.succeeded(Work.DROP)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
