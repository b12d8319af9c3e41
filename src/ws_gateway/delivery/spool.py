"""Private events that wait longer than a moment are on disk too, and survive a `kill -9`.

While the broker is well, private events never come here. When it is not, those held in memory are
copied to the log, and later ones go there alone until the log was read to its end: they are loaded
again, oldest first, as the private lane empties. So the lane's order stays what it was. A record
is done when the broker confirmed its message, or when that was given up with a marker.

If the disk refuses, events wait in memory within the lane's bound, as they would without a spool.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import structlog

from ws_gateway.delivery.message import Message
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.spool_disk import SpoolDisk
from ws_gateway.delivery.spool_records import Restorer, time_of
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import Rejected
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.left_spools import Left
from ws_gateway.runtime.spool_format import Batch, Position, Record
from ws_gateway.runtime.spool_log import SpoolLog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TICK_SECONDS = 0.025
_REOPEN_SECONDS = 3.0  # after the folder was not to be had
_WRITE_MOST = 1000  # records in one write
_LOAD_MOST = 1000  # records in one read
_LOAD_LEAST = 100
_REFUSED_SECONDS = 0.25  # what a queue refuses is in memory alone for so long
_HOLD_SECONDS = 1.0  # public messages wait so long for a disk that gives nothing back


class Spool:
    """The private lane's way over the disk; `run` moves everything, the rest only takes note.

    Args:
        log: where records are; opened by `open`, closed by `close`.
        exchange: of the messages, for the markers it makes.

    Attributes:
        is_well: answers whether the broker takes messages and answers for them.
        flush: called when there is something to send.
        lost: called with the topics of which something on disk was lost, once its marker goes, or
            with None if nobody can tell whose it was; and with an exchange time before which none
            of it happened, ms, if that is known.
        is_taking: new private events are to be `put` here, behind what is on disk.
        observed: observations on disk and not in memory.
        damaged: stretches of the log that could not be read.
        left: spools of other prefixes beside this one, as they were at the start.
    """

    def __init__(
        self,
        log_: SpoolLog,
        outbox: Outbox,
        counters: Counters,
        *,
        exchange: str,
        account: str,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._disk = SpoolDisk(log_)
        self._faults = self._disk.faults
        self._outbox = outbox
        self._counters = counters
        self._restorer = Restorer(
            counters,
            exchange=exchange,
            account=account,
            clock_us=clock_us,
            new_trace_id=new_trace_id,
        )
        self._wake = asyncio.Event()
        self._copying: deque[Message] = deque()  # in memory, to be on disk too
        self._pending: deque[Message] = deque()  # accepted, to be on disk alone
        self._is_open = self._is_stopping = False
        self._is_read = True  # nothing on disk that is not in memory
        # Small beside what memory may hold, for public events may have taken most of that.
        self._load_most = max(_LOAD_LEAST, min(_LOAD_MOST, outbox.private_reserve))
        self._copied_at = 0.0  # when nothing was refused last, or what is was copied
        self._moved_at = 0.0  # when the disk last did what it was asked for
        # Records in memory, in the log's order, and those of them that are done.
        self._held: deque[Position] = deque()
        self._done: set[Position] = set()
        self._acknowledged: Position | None = None
        self._found_through = 0  # the last segment of an earlier process, which may have sent it
        self._ahead: set[Position] = set()  # records not read yet, of messages in memory
        self.is_well: Callable[[], bool] = lambda: False
        self.flush: Callable[[], None] = lambda: None
        self.lost: Callable[[Iterable[Topic] | None, int | None], None] = lambda _topics, _at: None
        self.is_taking = False
        self.observed = 0
        self.damaged = 0
        self.left: list[Left] | None = None

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Take up what an earlier process left; without a usable folder there is no spool.

        `forget_torn` comes after it, once it is stored what a torn end means.
        """
        if self.left is None:
            self.left = await self._disk.left()
        found = await self._disk.open()
        if found is None:
            return
        self._is_open = True
        self.observed = found.observed
        self.damaged = found.damaged
        self._found_through = found.last_segment
        self._counters.received += found.observed
        self._counters.restored = found.observed
        if found.records:
            self._is_read, self.is_taking = False, True
            self._follow_what_was_found()
            log.info("delivery.spool_found", events=found.observed, records=found.records)
            await self._keep_bounds()
        if found.damaged:
            log.error("delivery.spool_damaged", stretches=found.damaged)
        if found.torn_at is not None:  # `read` meets all other damage, and this one no more
            before = found.before_torn and time_of(found.before_torn)
            self.lost(None, before or round(found.torn_at * 1000))

    async def forget_torn(self) -> None:
        """Take note that the next process need not learn of a torn end any more."""
        if self._is_open:
            await self._disk.cut_torn()

    async def run(self) -> None:
        """Move events to the disk and back until `stop`."""
        while not self._is_stopping:
            if self._is_open:
                await self.step()
            else:
                self._wake.clear()
                await self.open()  # whoever had the folder, or filled the disk, may be gone
                await self.forget_torn()
            try:
                async with asyncio.timeout(_TICK_SECONDS if self._is_open else _REOPEN_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Let `run` end; `close` comes after it."""
        self._is_stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Bring every private message that is held to the disk, and let the folder go.

        What is on disk then is counted as spooled and held in memory no more.
        """
        if self._is_open:
            self._is_stopping = True
            self._disk.give_a_last_chance()
            self._copy_held()
            await self._write()
            await self._acknowledge()
            self.observed += self._outbox.private.forget_recorded()
            self._is_open = self.is_taking = False
            await self._disk.close()
        self._disk.end()

    # ── what is told ──────────────────────────────────────────────────────────────────────────

    @property
    def last_error(self) -> str | None:
        """Say why the disk refuses, None while it does not."""
        return self._faults.last_error

    def put(self, message: Message) -> None:
        """Take a private message while `is_taking`; it waits for what is on disk."""
        self._pending.append(message)
        self._outbox.hold(message)
        self._wake.set()

    def makes_room(self) -> bool:
        """Take private events that memory has no room for, from now on; answers whether it can."""
        if not self._is_open or self.last_error is not None:
            return False
        if not self.is_taking:
            self._begin()
        return len(self._pending) < self._outbox.private_reserve

    def broker_lost(self) -> None:
        """Take note that nothing will be sent for a while."""
        if self._is_open and not self.is_taking:
            self._begin()

    def broker_back(self) -> None:
        """Take note that messages are sent again; what is on disk is loaded at once."""
        self._moved_at = time.monotonic()
        self._wake.set()

    @property
    def is_catching_up(self) -> bool:
        """Say whether private events on disk are about to be sent.

        A disk that refuses or hangs is not: it holds up its own lane only.
        """
        return (
            self.is_taking
            and not self.is_empty
            and self.last_error is None
            and time.monotonic() - self._moved_at < _HOLD_SECONDS
        )

    def done(self, record: Position) -> None:
        """Take note that a message needs its record no longer."""
        self._done.add(record)

    @property
    def pending_count(self) -> int:
        """Count what was put and is not on disk yet."""
        return len(self._pending)

    def pending(self) -> list[Message]:
        """List what was put and is not on disk yet."""
        return list(self._pending)

    @property
    def size_bytes(self) -> int:
        """Sum the bytes on disk, those of events already done included until they are freed."""
        return self._disk.size_bytes

    @property
    def is_empty(self) -> bool:
        """Say whether nothing waits here."""
        return self._is_read and not self._pending

    # ── one turn ──────────────────────────────────────────────────────────────────────────────

    async def step(self) -> None:
        """Do what there is to do, once."""
        self._wake.clear()
        is_well = self.is_well()
        if not self.is_taking and (not is_well or self._outbox.is_private_heavy):
            self._begin()
        self._copy_refused()
        await self._write()
        await self._acknowledge()
        self._moved_at = time.monotonic()
        if is_well:
            await self._load()
            if self.is_taking and self.is_empty and not self._copying:
                self.is_taking = False
        if self._is_read:
            self._disk.needs_no_bounds()
        else:  # also while a slow broker takes less than comes
            await self._keep_bounds()

    def _begin(self) -> None:
        self.is_taking = True
        if self._is_read and not self._pending:
            self._copy_held()
        self._wake.set()

    def _copy_held(self) -> None:
        """Let what is in memory alone be on disk too; it is older than all that comes."""
        self._copy(self._outbox.private.messages())

    def _copy_refused(self) -> None:
        """Let what a queue refuses for more than a moment be on disk too, the broker being well."""
        now = time.monotonic()
        if not self._outbox.private.held:
            self._copied_at = now
        elif self._is_read and not self._pending and now - self._copied_at >= _REFUSED_SECONDS:
            self._copied_at = now
            self._copy(self._outbox.private.held_messages())

    def _copy(self, messages: list[Message]) -> None:
        waiting = {id(message) for message in self._copying}
        self._copying.extend(
            message for message in messages if message.record is None and id(message) not in waiting
        )

    def _follow_what_was_found(self) -> None:
        """Bring what was accepted before the folder was to be had behind what is in it.

        What was sent already, or is refused by the broker, stays in memory and is copied.
        """
        self._pending.extend(self._outbox.private.withdraw_unsent())
        self._copy_held()

    # ── to the disk ───────────────────────────────────────────────────────────────────────────

    async def _write(self) -> None:
        if not self._disk.may_be_written:
            return
        while self._copying and await self._write_batch(self._copying, is_held=True):
            pass
        while not self._copying and self._pending:
            if not await self._write_batch(self._pending, is_held=False):
                return
        if not self._copying:
            await self._disk.probe()

    async def _write_batch(self, waiting: deque[Message], *, is_held: bool) -> bool:
        batch = [waiting[place] for place in range(min(_WRITE_MOST, len(waiting)))]
        is_read = is_held and self._is_read
        # What memory counts is not counted on disk too, where the bound may drop it.
        is_counted = is_read or not is_held or self._is_stopping
        records = [Record(one.data, one.is_observed and is_counted) for one in batch]
        positions = await self._disk.append(records, is_read=is_read)
        if positions is None:
            return False
        for message, position in zip(batch, positions, strict=True):
            waiting.popleft()
            if is_held:
                self._hold(message, position, is_read=is_read)
            else:
                message.record = position  # for who waits until it is safe
                self._outbox.release(message)
                self.observed += message.is_observed
                self._is_read = False
        return True

    def _hold(self, message: Message, position: Position, *, is_read: bool) -> None:
        if is_read:
            self._held.append(position)
        else:
            self._ahead.add(position)  # held when it is read: positions rise
        if message.is_settled:
            self._done.add(position)
        else:
            message.record = position

    # ── from the disk ─────────────────────────────────────────────────────────────────────────

    async def _load(self) -> None:
        outbox = self._outbox
        most = self._load_most
        while (
            outbox.private.waiting < most // 2
            and self._loaded < 2 * most
            and self._has_room_for_held
        ):
            if self._is_read:
                self._load_pending()
                return
            batch = await self._disk.read(most)
            if batch is None:
                return
            self._moved_at = time.monotonic()
            if batch.damaged:
                self.damaged += batch.damaged
                log.error("delivery.spool_damaged", stretches=batch.damaged)
                self.lost(None, self._known_before(batch))
            if not batch.records:
                self._is_read = True
                self._note_damage()
                self.flush()  # of what was held
                continue
            for position, record in batch.records:
                self._take(position, record)
            self.flush()

    @property
    def _loaded(self) -> int:
        """Count the private messages in memory that are on their way to the broker.

        Those of a stream that a queue refuses are not: they must not keep the others on disk.
        """
        outbox = self._outbox
        return outbox.private_held - len(self._pending) - outbox.private.held

    @property
    def _has_room_for_held(self) -> bool:
        """Say whether what a queue refuses leaves memory for what is loaded."""
        outbox = self._outbox
        return outbox.private.held < 2 * self._load_most or not outbox.is_private_heavy

    def _take(self, position: Position, record: Record) -> None:
        if position in self._ahead:
            self._ahead.discard(position)
            self._held.append(position)
            return
        self.observed -= record.is_observed
        try:
            restored = self._restorer.restore(record)
        except (msgspec.DecodeError, Rejected) as exc:
            self.damaged += 1
            self._counters.shed["spool_damaged"] += record.is_observed
            self._held.append(position)
            self._done.add(position)
            log.error("delivery.spool_damaged", why=str(exc))  # noqa: TRY400 - it is told whole
            self.lost(None, self._restorer.newest)
            return
        restored.messages[-1].record = position
        self._held.append(position)
        for message in restored.messages:
            message.is_again = position[0] <= self._found_through
            self._outbox.put(message)
        if restored.lost is not None:
            self.lost([restored.lost], restored.since)

    def _known_before(self, batch: Batch) -> int | None:
        """Say since when something may be missing that was damaged in a batch, or before it.

        It may be of a stream of which nothing else is there, so no number would tell of it.
        """
        if self._restorer.newest is not None:
            return self._restorer.newest
        return next((at for _, each in batch.records if (at := time_of(each))), None)

    def _load_pending(self) -> None:
        """Let what the disk refused go on without it: everything older was loaded."""
        if self._disk.refuses_to_write:
            self._copying.clear()  # they are in memory
            while self._pending:
                message = self._pending.popleft()
                self._outbox.release(message)
                self._outbox.put(message)
            self.flush()

    def _note_damage(self) -> None:
        """Account for what should have been read and was not: the log is at its end."""
        self._restorer.forget()
        if self.observed:
            self._counters.shed["spool_damaged"] += self.observed
            self.observed = 0

    # ── done ──────────────────────────────────────────────────────────────────────────────────

    async def _acknowledge(self) -> None:
        last = None
        while self._held and self._held[0] in self._done:
            last = self._held.popleft()
            self._done.discard(last)
        if last is not None:
            self._acknowledged = last
        if self._acknowledged is not None and await self._disk.acknowledge(self._acknowledged):
            self._acknowledged = None

    async def _keep_bounds(self) -> None:
        dropped = await self._disk.keep_bounds()
        if dropped:
            self.observed -= dropped
            self._counters.shed["spool_overflow"] += dropped
            log.error("delivery.spool_overflow", dropped=dropped, so_far=self._counters.shed)
