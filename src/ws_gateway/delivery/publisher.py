"""Keeps a broker connection, writes events to it in batches, and answers for each one.

An event is built into bytes when it is offered; one write then carries everything one socket read
brought. Nothing here ever waits inside `offer`: without a broker, messages wait in the outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import structlog

from ws_gateway.config import QueueType
from ws_gateway.delivery.envelope import Addresses, quarantine_frames
from ws_gateway.delivery.link import Link, open_link
from ws_gateway.delivery.news import News
from ws_gateway.delivery.outbox import Message, Outbox
from ws_gateway.delivery.topology import Names, declare_topology, missing_queues
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Lane, Topic
from ws_gateway.errors import BrokerLost
from ws_gateway.ports import BrokerState, DeliveryStatus, LossObserver
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_T = TypeVar("_T")

_MAX_ATTEMPTS = 3
_CONNECT_DEADLINE_SECONDS = 10.0
_RETRY_SECONDS = 0.2  # what was refused or came back is set aside so long: causes need time
_CHECK_QUEUES_SECONDS = 30.0
_BUSY = 500  # so many unanswered messages mean that the broker is behind
_GATHER_SECONDS = 0.001
_BATCH_MOST = 1000  # messages in one write; more would pile up copies in this process


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """What the publisher is told.

    Attributes:
        window: most messages sent and not yet confirmed.
        deadline_seconds: a publish unanswered for so long means the broker is lost.
    """

    url: str
    names: Names
    queue_type: QueueType
    account: str
    window: int
    deadline_seconds: float


class Publisher:
    """Front door of delivery, and everything behind it that talks to the broker."""

    def __init__(
        self,
        settings: PublisherSettings,
        *,
        outbox: Outbox,
        counters: Counters,
        rng: Random,
        clock_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._counters = counters
        self._rng = rng
        self._clock_us = clock_us
        self._losses: LossObserver | None = None
        self._addresses = Addresses(settings.names.exchange, settings.account)
        self._link: Link | None = None
        self._state = BrokerState.CONNECTING
        self._last_error: str | None = None
        self._problems: tuple[str, ...] = ()
        self._flush_due = False
        self._sent: deque[tuple[int, float]] = deque()  # (last tag, monotonic time) per batch
        self._answered_tag = 0  # oldest unanswered one, and since when it is the oldest
        self._answered_at = 0.0
        self._checked_at = 0.0
        self._lost: list[tuple[Topic, int]] = []
        self._now_us = 0
        self._attention = asyncio.Event()
        self._topology_suspect = False  # then nothing is sent: it would overtake what comes back
        self._quiet = asyncio.Event()  # all that was sent is answered for
        self._news = News()
        self._closing = asyncio.Event()
        self._progress = False
        self._drained = asyncio.Event()

    def report_losses_to(self, observer: LossObserver) -> None:
        """Name who announces what delivery has to give up; call it before `run`."""
        self._losses = observer

    # ── front door ────────────────────────────────────────────────────────────────────────────

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""
        fact = event.observation
        topic = fact.topic
        if not self._outbox.has_room(topic.lane):
            if self._news.is_due("full"):
                log.warning("delivery.buffer_full", lane=topic.lane, held=self._outbox.messages)
            return False
        self._put(
            Message(
                self._addresses.of(fact).frames(event),
                topic,
                event.sequence,
                fact.event_id,
                fact.received_at,
                not event.is_marker,
            )
        )
        return True

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken now."""
        return self._outbox.has_room(topic.lane)

    def offer_quarantined(self, *, reason: str, identity: str, trace_id: str, body: bytes) -> bool:
        """Take a frame nobody could read, for the quarantine queue; False when there is no room."""
        if not self._outbox.has_room(Lane.LATEST):
            return False
        now_us = self._clock_us()
        frames = quarantine_frames(
            self._settings.names.exchange,
            reason=reason,
            message_id=identity,
            trace_id=trace_id,
            at_seconds=now_us // 1_000_000,
            body=body,
        )
        self._put(Message(frames, None, 0, identity, now_us, is_observed=False))
        return True

    def _put(self, message: Message) -> None:
        self._outbox.put(message)
        if not self._flush_due:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        """Write soon: after this socket read, so that all its events leave in one write.

        While the broker owes many confirms a message waits its turn there anyway; then writes are
        gathered for a moment, which saves the broker more work than it costs anybody time.
        """
        self._flush_due = True
        loop = asyncio.get_running_loop()
        if self._outbox.unconfirmed < _BUSY:
            loop.call_soon(self._flush)
        else:
            loop.call_later(_GATHER_SECONDS, self._flush)

    # ── the broker connection's life ──────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Keep a connection to the broker until `close`; never gives up."""
        delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
        while not self.is_closed:
            try:
                await self._one_connection()
            except BrokerLost as exc:
                self._note_loss(str(exc))
            if self._progress:
                self._progress = False
                delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
            with suppress(TimeoutError):
                async with asyncio.timeout(next(delays)):
                    await self._closing.wait()

    async def _one_connection(self) -> None:
        self._state = BrokerState.CONNECTING
        url = self._settings.url
        link = await open_link(url, self, deadline_seconds=_CONNECT_DEADLINE_SECONDS)
        try:
            await self._declare(link)
            if not self.is_closed:
                self._begin(link)
                await self._watch(link)
        finally:
            self._end()
            link.abort("left")
        raise BrokerLost(link.lost.result() if link.lost.done() else "left")

    async def _declare(self, link: Link) -> None:
        settings = self._settings
        problems = await _in_time(declare_topology(link, settings.names, settings.queue_type))
        for problem in problems:
            if problem not in self._problems:
                log.error("delivery.topology_drifted", problem=problem)
        self._problems = problems

    def _begin(self, link: Link) -> None:
        again = self._outbox.rewind()
        self._counters.resent += again
        again += self._take_back()  # older than what was unconfirmed
        self._topology_suspect = False
        self._answered_tag, self._answered_at = self._outbox.first_tag, time.monotonic()
        self._checked_at = self._answered_at
        self._link = link
        self._state = BrokerState.READY
        self._last_error = None
        log.info("delivery.broker_connected", resent=again, waiting=self._outbox.waiting)
        self._flush()

    def _end(self) -> None:
        self._link = None
        self._sent.clear()

    async def _watch(self, link: Link) -> None:
        """Wait until the link is lost, minding deadlines and refused messages meanwhile."""
        while not link.lost.done():
            # A blocked broker reads nothing, so it could not mend anything either.
            heeds = self._state is not BrokerState.BLOCKED
            event = self._attention if heeds else asyncio.Event()
            await _lost_or(event, link, self._settings.deadline_seconds / 10)
            self._check_deadline(link)
            if heeds and time.monotonic() - self._checked_at > _CHECK_QUEUES_SECONDS:
                await self._check_queues(link)
            if heeds and self._attention.is_set() and not link.lost.done():
                await self._try_again(link)

    def _check_deadline(self, link: Link) -> None:
        if not self._sent or self._state is BrokerState.BLOCKED:
            return
        # Silence is counted, not age: a slow broker that answers all the time is not lost.
        waited = time.monotonic() - max(self._sent[0][1], self._answered_at)
        if waited > self._settings.deadline_seconds:
            link.abort(f"no confirm for {waited:.1f} s")

    async def _check_queues(self, link: Link) -> None:
        """Look whether every queue still stands: `mandatory` is silent while any other is bound."""
        self._checked_at = time.monotonic()
        for queue in await _in_time(missing_queues(link, self._settings.names)):
            log.error("delivery.queue_missing", queue=queue, remedy="declared again, empty")
            self._topology_suspect = True
            self._attention.set()

    async def _try_again(self, link: Link) -> None:
        """Send what was refused or came back; in the latter case declare everything before."""
        await asyncio.sleep(_RETRY_SECONDS)  # refusals of the same moment gather
        self._attention.clear()
        if self._topology_suspect:
            # What is still on its way would arrive once the queue stands, before what came back.
            self._quiet.clear()
            if self._outbox.unconfirmed:
                await _lost_or(self._quiet, link, self._settings.deadline_seconds)
            await self._declare(link)
            self._topology_suspect = False
        self._take_back()
        self._flush()

    def _take_back(self) -> int:
        again = self._outbox.take_back()
        self._counters.resent += again
        return again

    def _note_loss(self, why: str) -> None:
        if self.is_closed:
            return  # it was us
        self._state = BrokerState.BACKING_OFF
        if why != self._last_error:
            log.warning("delivery.broker_lost", why=why, held=self._outbox.messages)
        self._last_error = why

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        self._flush_due = False
        link = self._link
        if link is None or self._state is not BrokerState.READY or self._topology_suspect:
            return
        most = self._settings.window - self._outbox.aside
        while self._outbox.waiting and link.is_writable:
            room = most - self._outbox.unconfirmed
            if room <= 0:
                return
            batch = self._outbox.next_batch(min(room, _BATCH_MOST))
            link.write(b"".join([message.data for message in batch]))
            self._sent.append((self._outbox.next_tag - 1, time.monotonic()))

    # ── what the broker answers (LinkListener) ────────────────────────────────────────────────

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Account for what the broker took responsibility for."""
        self._progress = True
        self._now_us = self._clock_us()
        self._outbox.settle(tag, multiple=multiple, take=self._confirmed)
        self._announce_losses("no queue took it")
        self._after_answer()

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Send again later what the broker refused, or give it up and say so."""
        self._outbox.settle(tag, multiple=multiple, take=self._refused)
        self._announce_losses("the broker refused it")
        self._after_answer()

    def on_return(self, message_id: str, reply: str) -> None:
        """Remember that the next confirm of this message does not mean it arrived anywhere."""
        message = self._outbox.find_unconfirmed(message_id)
        self._counters.returned += 1
        if message is not None:
            message.returned = True
        self._topology_suspect = True
        self._attention.set()
        if self._news.is_due("returned"):
            log.error("delivery.message_returned", reply=reply, event_id=message_id)

    def on_blocked(self, *, blocked: bool) -> None:
        """Stop or go on writing; a blocked broker is alive, so no deadline runs."""
        if self._link is None:
            return  # not ready yet, or closing: there is nothing to stop
        self._state = BrokerState.BLOCKED if blocked else BrokerState.READY
        log.warning("delivery.broker_blocked" if blocked else "delivery.broker_unblocked")
        now = time.monotonic()
        self._sent = deque((tag, now) for tag, _ in self._sent)
        self._flush()

    def on_writable(self) -> None:
        """Go on writing: the socket has drained."""
        self._flush()

    def _confirmed(self, message: Message) -> None:
        counters = self._counters
        if not message.returned:
            if message.is_observed:
                counters.confirmed += 1
                counters.latencies_us.append(self._now_us - message.received_at)
        elif message.attempts + 1 < _MAX_ATTEMPTS:
            self._retry(message)
        else:
            self._give_up(message, counters.rejected, "unroutable")

    def _refused(self, message: Message) -> None:
        """Decide about a nack: what comes behind it in its stream may have arrived already.

        A public event is given up, so that its stream stays in order with a marker for the hole.
        A private fact and a marker are worth more late than never.
        """
        self._counters.nacked += 1
        is_public = message.topic is not None and message.topic.lane is not Lane.PRIVATE
        is_spent = message.topic is None and message.attempts + 1 >= _MAX_ATTEMPTS
        if is_spent or (message.is_observed and is_public):
            self._give_up(message, self._counters.shed, "refused_by_broker")
        else:
            self._retry(message)

    def _retry(self, message: Message) -> None:
        message.attempts += 1
        self._outbox.set_aside(message)
        self._attention.set()

    def _give_up(self, message: Message, tally: Counter[str], reason: str) -> None:
        if message.is_observed:
            tally[reason] += 1
        if self._news.is_due(reason):
            log.error("delivery.event_given_up", reason=reason, event_id=message.event_id)
        if message.topic is None:
            self._counters.quarantined["not_kept"] += 1
        else:
            self._lost.append((message.topic, message.sequence))

    def _announce_losses(self, reason: str) -> None:
        lost, self._lost = self._lost, []
        if lost and self._losses is not None:
            self._losses.events_lost(lost, reason)

    def _after_answer(self) -> None:
        """Use the room the answer made."""
        if self._outbox.first_tag != self._answered_tag:
            # Only answers for the oldest count: one queue may be stuck while others go on.
            self._answered_tag, self._answered_at = self._outbox.first_tag, time.monotonic()
        while self._sent and self._sent[0][0] < self._outbox.first_tag:
            self._sent.popleft()
        if self._outbox.waiting and not self._flush_due:
            self._schedule_flush()
        if self._outbox.is_refusing and self._losses is not None:
            self._losses.room_again()
        if not self._outbox.unconfirmed:
            self._quiet.set()
        if not self._outbox.messages:
            self._drained.set()

    # ── reports and the end ───────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """Count the observations taken and neither confirmed nor given up."""
        return self._outbox.events

    @property
    def is_closed(self) -> bool:
        """Say whether `close` was called; nothing is sent any more."""
        return self._state is BrokerState.CLOSED

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
        return DeliveryStatus(
            state=self._state,
            last_error=self._last_error,
            buffered_events=self._outbox.messages,
            buffered_bytes=self._outbox.size_bytes,
            problems=self._problems,
        )

    async def drain(self, deadline_seconds: float) -> bool:
        """Wait until everything taken is confirmed; answers False when the deadline came first."""
        try:
            async with asyncio.timeout(deadline_seconds):
                while self._outbox.messages:
                    self._drained.clear()
                    self._flush()
                    await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye to the broker and let `run` end."""
        link, self._link = self._link, None
        self._state = BrokerState.CLOSED
        self._closing.set()
        if link is not None:
            await link.close(timeout_seconds)


async def _in_time(work: Awaitable[_T]) -> _T:
    try:
        async with asyncio.timeout(_CONNECT_DEADLINE_SECONDS):
            return await work
    except TimeoutError as exc:
        raise BrokerLost("the broker took too long over the queues") from exc


async def _lost_or(event: asyncio.Event, link: Link, seconds: float) -> None:
    """Wait for an event, the loss of the link, or so long at most."""
    waiting = asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {link.lost, waiting}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
