"""Private events that wait longer than a moment are on disk too, and survive a `kill -9`.

While the broker is well, private events never come here. When it is not, those held in memory are
copied to the log, and later ones go there alone until the log was read to its end: they are loaded
again, oldest first, as the private lane empties. So the lane's order stays what it was. A record
is done when the broker confirmed its message, or when that was given up with a marker.

Files are touched in one thread only. If the disk refuses, events wait in memory within the lane's
bound, as they would without a spool.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import structlog

from ws_gateway.delivery.envelope import Address, body_of
from ws_gateway.delivery.news import News
from ws_gateway.delivery.outbox import Message, Outbox
from ws_gateway.domain.event import Event, GapReason, Kind, Observation, marker_payload
from ws_gateway.domain.topic import Lane, parse_topic
from ws_gateway.errors import Rejected
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.spool_log import Position, Record, SpoolLog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")

_TICK_SECONDS = 0.1
_RETRY_SECONDS = 1.0  # after the disk refused
_REOPEN_SECONDS = 3.0  # after the folder was not to be had
_WRITE_MOST = 1000  # records in one write
_LOAD_MOST = 1000  # records in one read
_TOO_MUCH = "the broker was away for so long that the spool dropped its oldest events"
_DAMAGED = "the disk did not give back what was written"
_LOAD_BELOW = 500  # private messages waiting, below which more are loaded


class _Stored(msgspec.Struct):
    """What is read of an envelope that comes back from disk."""

    event_id: str
    kind: str
    topic: str
    account: str | None
    epoch: str
    sequence: int
    received_at: int


class Loss(msgspec.Struct):
    """Numbers of one stream and epoch that the spool had to drop."""

    topic: str
    epoch: str
    account: str
    first: int
    last: int


_read_stored = msgspec.json.Decoder(_Stored).decode
_read_loss = msgspec.json.Decoder(Loss).decode


def condense(records: list[Record]) -> list[Record]:
    """Make of dropped records one loss per stream and epoch, in the order they began."""
    losses: dict[tuple[str, str], Loss] = {}
    for record in records:
        try:
            loss = _loss_of(record)
        except msgspec.DecodeError:
            continue  # whoever wrote it, it names no stream
        known = losses.setdefault((loss.topic, loss.epoch), loss)
        known.first, known.last = min(known.first, loss.first), max(known.last, loss.last)
    encode = msgspec.json.encode
    return [Record(encode(loss), is_observed=False, is_loss=True) for loss in losses.values()]


def _loss_of(record: Record) -> Loss:
    if record.is_loss:
        return _read_loss(record.data)
    stored = _read_stored(body_of(record.data))
    number = stored.sequence
    return Loss(stored.topic, stored.epoch, stored.account or "", number, number)


class Spool:
    """The private lane's way over the disk; `run` moves everything, the rest only takes note.

    Args:
        log: where records are; opened by `open`, closed by `close`.
        exchange: of the messages, for the markers it makes.

    Attributes:
        is_well: answers whether the broker takes messages and answers for them.
        flush: called when there is something to send.
        is_taking: new private events are to be `put` here, behind what is on disk.
        observed: observations on disk and not in memory.
        last_error: why the disk refuses, None while it does not.
        damaged: stretches of the log that could not be read.
    """

    def __init__(
        self,
        log_: SpoolLog,
        outbox: Outbox,
        counters: Counters,
        *,
        exchange: str,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._log = log_
        self._outbox = outbox
        self._counters = counters
        self._exchange = exchange
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._news = News()
        self._wake = asyncio.Event()
        self._copying: deque[Message] = deque()  # in memory, to be on disk too
        self._pending: deque[Message] = deque()  # accepted, to be on disk alone
        self._is_open = self._is_stopping = False
        self._is_read = True  # nothing on disk that is not in memory
        self._refused_at: float | None = None
        # Records in memory, in the log's order, and those of them that are done.
        self._held: deque[Position] = deque()
        self._done: set[Position] = set()
        self._acknowledged: Position | None = None
        self._last: dict[tuple[str, str], int] = {}  # number read last, by topic and epoch
        self.is_well: Callable[[], bool] = lambda: False
        self.flush: Callable[[], None] = lambda: None
        self.is_taking = False
        self.observed = 0
        self.last_error: str | None = None
        self.damaged = 0

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Take up what an earlier process left; without a usable folder there is no spool."""
        try:
            found = await self._in_thread(self._log.open)
        except OSError as exc:
            is_taken = isinstance(exc, BlockingIOError)
            self.last_error = "another process has the spool's folder" if is_taken else str(exc)
            if self._news.is_due("unavailable"):
                log.error(  # noqa: TRY400 - it is told whole
                    "delivery.spool_unavailable", why=self.last_error, effect="held in memory only"
                )
            return
        self._accept()
        self._is_open = True
        self.observed = found.observed
        self.damaged = found.damaged
        self._counters.received += found.observed
        self._counters.restored = found.observed
        if found.records:
            self._is_read, self.is_taking = False, True
            log.info("delivery.spool_found", events=found.observed, records=found.records)
            await self._keep_bounds()
        if found.damaged:
            log.error("delivery.spool_damaged", stretches=found.damaged)

    async def run(self) -> None:
        """Move events to the disk and back until `stop`."""
        while not self._is_stopping:
            if self._is_open:
                await self.step()
            else:
                self._wake.clear()
                await self.open()  # whoever had the folder, or filled the disk, may be gone
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
            self._copy_held()
            await self._write()
            await self._acknowledge()
            self.observed += self._outbox.forget_recorded()
            self._is_open = self.is_taking = False
            try:
                await self._in_thread(self._log.close)
            except OSError as exc:
                self._refuse(exc)
        self._thread.shutdown(wait=False)

    # ── what is told ──────────────────────────────────────────────────────────────────────────

    def put(self, message: Message) -> None:
        """Take a private message while `is_taking`; it waits for what is on disk."""
        self._pending.append(message)
        self._outbox.hold(message)
        self._wake.set()

    def broker_lost(self) -> None:
        """Take note that nothing will be sent for a while."""
        if self._is_open and not self.is_taking:
            self._begin()

    def done(self, record: Position) -> None:
        """Take note that a message needs its record no longer."""
        self._done.add(record)

    def pending(self) -> list[Message]:
        """List what was put and is not on disk yet."""
        return list(self._pending)

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
        await self._write()
        await self._acknowledge()
        if is_well:
            await self._load()
            if self.is_taking and self.is_empty and not self._copying:
                self.is_taking = False
        elif not self._is_read:
            await self._keep_bounds()

    def _begin(self) -> None:
        self.is_taking = True
        self._copy_held()
        self._wake.set()

    def _copy_held(self) -> None:
        """Let what is in memory alone be on disk too; it is older than all that comes."""
        if self._is_read and not self._pending:
            waiting = {id(message) for message in self._copying}
            self._copying.extend(
                message
                for message in self._outbox.private_messages()
                if message.record is None and id(message) not in waiting
            )

    # ── to the disk ───────────────────────────────────────────────────────────────────────────

    async def _write(self) -> None:
        refused_at = self._refused_at
        if refused_at is not None and time.monotonic() - refused_at < _RETRY_SECONDS:
            return
        while self._copying and await self._write_batch(self._copying, is_read=True):
            pass
        while not self._copying and self._pending:
            if not await self._write_batch(self._pending, is_read=False):
                return

    async def _write_batch(self, waiting: deque[Message], *, is_read: bool) -> bool:
        batch = [waiting[place] for place in range(min(_WRITE_MOST, len(waiting)))]
        records = [Record(message.data, message.is_observed) for message in batch]
        try:
            positions = await self._in_thread(lambda: self._log.append(records, is_read=is_read))
        except OSError as exc:
            self._refuse(exc)
            return False
        self._accept()
        for message, position in zip(batch, positions, strict=True):
            waiting.popleft()
            if is_read:
                self._hold(message, position)
            else:
                message.record = position  # for who waits until it is safe
                self._outbox.release(message)
                self.observed += message.is_observed
                self._is_read = False
        return True

    def _hold(self, message: Message, position: Position) -> None:
        self._held.append(position)
        if message.is_settled:
            self._done.add(position)
        else:
            message.record = position

    def _refuse(self, exc: OSError) -> None:
        self._refused_at = time.monotonic()
        self.last_error = str(exc)
        if self._news.is_due("refused"):
            log.error("delivery.spool_refused", why=str(exc), effect="held in memory")

    def _accept(self) -> None:
        if self.last_error is not None:
            log.info("delivery.spool_usable", after=self.last_error)
        self._refused_at = self.last_error = None

    # ── from the disk ─────────────────────────────────────────────────────────────────────────

    async def _load(self) -> None:
        while self._outbox.private_waiting < _LOAD_BELOW:
            if self._is_read:
                self._load_pending()
                return
            try:
                batch = await self._in_thread(lambda: self._log.read(_LOAD_MOST))
            except OSError as exc:
                self._refuse(exc)
                return
            self._accept()
            if batch.damaged:
                self.damaged += batch.damaged
                log.error("delivery.spool_damaged", stretches=batch.damaged)
            if not batch.records:
                self._is_read = True
                self._note_damage()
                continue
            for position, record in batch.records:
                self._take(position, record)
            self.flush()

    def _take(self, position: Position, record: Record) -> None:
        self.observed -= record.is_observed
        try:
            message = self._restored(record)
        except (msgspec.DecodeError, Rejected) as exc:
            self.damaged += 1
            self._counters.shed["spool_damaged"] += record.is_observed
            self._held.append(position)
            self._done.add(position)
            log.error("delivery.spool_damaged", why=str(exc))  # noqa: TRY400 - it is told whole
            return
        message.record = position
        self._held.append(position)
        self._outbox.put(message)

    def _load_pending(self) -> None:
        """Let what the disk refused go on without it: everything older was loaded."""
        if self._refused_at is not None:
            self._copying.clear()  # they are in memory
            while self._pending:
                message = self._pending.popleft()
                self._outbox.release(message)
                self._outbox.put(message)
            self.flush()

    def _restored(self, record: Record) -> Message:
        if record.is_loss:
            loss = _read_loss(record.data)
            self._last[loss.topic, loss.epoch] = loss.last
            return self._marker(loss, _TOO_MUCH)
        stored = _read_stored(body_of(record.data))
        topic = parse_topic(stored.topic, None)
        place = (stored.topic, stored.epoch)
        last = self._last.get(place)
        if last is not None and stored.sequence > last + 1:  # what stood between was damaged
            hole = Loss(*place, stored.account or "", last + 1, stored.sequence - 1)
            self._outbox.put(self._marker(hole, _DAMAGED))
        self._last[place] = stored.sequence
        return Message(
            record.data,
            topic,
            Lane.PRIVATE,
            stored.sequence,
            stored.event_id,
            stored.received_at,
            record.is_observed,
        )

    def _note_damage(self) -> None:
        """Account for what should have been read and was not: the log is at its end."""
        self._last.clear()
        if self.observed:
            self._counters.shed["spool_damaged"] += self.observed
            self.observed = 0

    def _marker(self, loss: Loss, detail: str) -> Message:
        """Make the marker of a hole; it has the last number that is missing."""
        topic, now_us = parse_topic(loss.topic, None), self._clock_us()
        fact = Observation(
            topic,
            Kind.GAP,
            f"{topic.key}:{loss.epoch}:{loss.last}:{Kind.GAP}",
            topic.category,
            topic.symbol,
            now_us // 1000,
            None,
            now_us,
            self._new_trace_id(),
            None,
            marker_payload(Kind.GAP, GapReason.SPOOL_OVERFLOW, (loss.first, loss.last), detail),
        )
        address = Address(self._exchange, fact, loss.account)
        frames = address.frames(Event(fact, loss.epoch, loss.last))
        self._counters.markers += 1
        return Message(
            frames, topic, Lane.PRIVATE, loss.last, fact.event_id, now_us, is_observed=False
        )

    # ── done ──────────────────────────────────────────────────────────────────────────────────

    async def _acknowledge(self) -> None:
        last = None
        while self._held and self._held[0] in self._done:
            last = self._held.popleft()
            self._done.discard(last)
        if last is not None:
            self._acknowledged = last
        if self._acknowledged is not None:
            position = self._acknowledged
            try:
                await self._in_thread(lambda: self._log.acknowledge(position))
            except OSError as exc:
                self._refuse(exc)
                return
            self._acknowledged = None
            self._accept()

    async def _keep_bounds(self) -> None:
        try:
            dropped = await self._in_thread(self._log.drop_oldest)
        except OSError as exc:
            self._refuse(exc)
            return
        if dropped:
            self.observed -= dropped
            self._counters.shed["spool_overflow"] += dropped
            log.error("delivery.spool_overflow", dropped=dropped, so_far=self._counters.shed)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
