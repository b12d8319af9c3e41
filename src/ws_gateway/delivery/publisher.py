"""Keeps a broker connection, writes events to it in batches, and answers for each one.

An event is built into bytes when it is offered; one write then carries everything one socket read
brought. Nothing here ever waits inside `offer`: without a broker, messages wait in the outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from ws_gateway.config import QueueType
from ws_gateway.delivery.envelope import Address, quarantine_frames
from ws_gateway.delivery.link import Link, open_link
from ws_gateway.delivery.outbox import Message, Outbox
from ws_gateway.delivery.topology import Names, declare_topology
from ws_gateway.domain.event import Event, Observation
from ws_gateway.domain.topic import Lane, Topic
from ws_gateway.errors import BrokerLost
from ws_gateway.ports import BrokerState, DeliveryStatus, LossObserver
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_MAX_ATTEMPTS = 3
_MAX_ADDRESSES = 50_000
_CONNECT_DEADLINE_SECONDS = 10.0


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
        self._addresses: dict[str, Address] = {}
        self._link: Link | None = None
        self._state = BrokerState.CONNECTING
        self._last_error: str | None = None
        self._problems: tuple[str, ...] = ()
        self._flush_due = False
        self._sent: deque[tuple[int, float]] = deque()  # (last tag, monotonic time) per batch
        self._now_us = 0
        self._unroutable: list[Message] = []
        self._topology_suspect = asyncio.Event()
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
            return False
        self._put(
            Message(
                self._address(fact).frames(event),
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
            self._flush_due = True
            # After this socket read: all its events leave in one write.
            asyncio.get_running_loop().call_soon(self._flush)

    def _address(self, fact: Observation) -> Address:
        key = fact.topic.key
        if fact.topic.is_private:
            key = f"{key} {fact.category} {fact.symbol}"
        address = self._addresses.get(key)
        if address is None:
            if len(self._addresses) >= _MAX_ADDRESSES:
                self._addresses.clear()
            address = Address(self._settings.names.exchange, fact, self._settings.account)
            self._addresses[key] = address
        return address

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
            await asyncio.sleep(next(delays))

    async def _one_connection(self) -> None:
        self._state = BrokerState.CONNECTING
        settings = self._settings
        link = await open_link(settings.url, self, deadline_seconds=_CONNECT_DEADLINE_SECONDS)
        try:
            async with asyncio.timeout(_CONNECT_DEADLINE_SECONDS):
                self._problems = await declare_topology(link, settings.names, settings.queue_type)
            self._begin(link)
            await self._watch(link)
        except TimeoutError as exc:
            raise BrokerLost("declaring the queues took too long") from exc
        finally:
            self._end()
            link.abort("left")
        raise BrokerLost(link.lost.result() if link.lost.done() else "left")

    def _begin(self, link: Link) -> None:
        again = self._outbox.rewind() + len(self._unroutable)
        self._outbox.put_back(self._unroutable)  # these are older than what was unconfirmed
        self._unroutable = []
        self._counters.resent += again
        self._link = link
        self._state = BrokerState.READY
        self._last_error = None
        log.info("delivery.broker_connected", resent=again, waiting=self._outbox.waiting)
        self._flush()

    def _end(self) -> None:
        self._link = None
        self._sent.clear()

    async def _watch(self, link: Link) -> None:
        """Wait until the link is lost, minding deadlines and returned messages meanwhile."""
        while not link.lost.done():
            suspect = asyncio.ensure_future(self._topology_suspect.wait())
            try:
                either: set[asyncio.Future[Any]] = {link.lost, suspect}
                await asyncio.wait(
                    either,
                    timeout=self._settings.deadline_seconds / 10,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                suspect.cancel()
            self._check_deadline(link)
            if self._topology_suspect.is_set() and not link.lost.done():
                await self._mend_topology(link)

    def _check_deadline(self, link: Link) -> None:
        if not self._sent or self._state is BrokerState.BLOCKED:
            return
        waited = time.monotonic() - self._sent[0][1]
        if waited > self._settings.deadline_seconds:
            link.abort(f"no confirm for {waited:.1f} s")

    async def _mend_topology(self, link: Link) -> None:
        """Declare everything again, because a message came back, and send what came back."""
        await asyncio.sleep(0.2)  # let the returns of the same moment gather
        self._topology_suspect.clear()
        self._problems = await declare_topology(
            link, self._settings.names, self._settings.queue_type
        )
        again, self._unroutable = self._unroutable, []
        self._counters.resent += len(again)
        self._outbox.put_back(again)
        self._flush()

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
        if link is None or self._state is not BrokerState.READY or not link.is_writable:
            return
        room = self._settings.window - self._outbox.unconfirmed
        if room <= 0 or not self._outbox.waiting:
            return
        batch = self._outbox.next_batch(room)
        link.write(b"".join([message.data for message in batch]))
        self._sent.append((self._outbox.next_tag - 1, time.monotonic()))

    # ── what the broker answers (LinkListener) ────────────────────────────────────────────────

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Account for what the broker took responsibility for."""
        self._progress = True
        self._now_us = self._clock_us()
        self._outbox.settle(tag, multiple=multiple, take=self._confirmed)
        self._after_answer()

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Send again what the broker refused, or give it up and say so."""
        refused: list[Message] = []
        self._outbox.settle(tag, multiple=multiple, take=refused.append)
        self._counters.nacked += len(refused)
        again = []
        for message in refused:
            if self._may_retry(message):
                again.append(message)
            else:
                self._give_up(message, self._counters.shed, "refused_by_broker")
        self._outbox.put_back(again)
        self._counters.resent += len(again)
        self._after_answer()

    def on_return(self, message_id: str, reply: str) -> None:
        """Remember that the next confirm of this message does not mean it arrived anywhere."""
        message = self._outbox.find_unconfirmed(message_id)
        self._counters.returned += 1
        if message is not None:
            message.returned = True
        if not self._topology_suspect.is_set():
            log.error("delivery.message_returned", reply=reply, event_id=message_id)
            self._topology_suspect.set()

    def on_blocked(self, *, blocked: bool) -> None:
        """Stop or go on writing; a blocked broker is alive, so no deadline runs."""
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
        if message.returned:
            if self._may_retry(message):
                self._unroutable.append(message)
            else:
                self._give_up(message, counters.rejected, "unroutable")
        elif message.is_observed:
            counters.confirmed += 1
            counters.latencies_us.append(self._now_us - message.received_at)

    def _give_up(self, message: Message, tally: Counter[str], reason: str) -> None:
        if message.is_observed:
            tally[reason] += 1
        log.error("delivery.event_given_up", reason=reason, event_id=message.event_id)
        if message.topic is not None and self._losses is not None:
            self._losses.event_lost(message.topic, message.sequence, reason)

    def _after_answer(self) -> None:
        """Use the room the answer made."""
        while self._sent and self._sent[0][0] < self._outbox.first_tag:
            self._sent.popleft()
        if self._outbox.waiting:
            self._flush()
        if self._outbox.is_refusing and self._losses is not None:
            self._losses.room_again()
        if self._is_empty:
            self._drained.set()

    def _may_retry(self, message: Message) -> bool:
        message.attempts += 1
        return message.attempts < _MAX_ATTEMPTS

    # ── reports and the end ───────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """Count the observations taken and neither confirmed nor given up."""
        return self._outbox.events + sum(m.is_observed for m in self._unroutable)

    @property
    def is_closed(self) -> bool:
        """Say whether `close` was called; nothing is sent any more."""
        return self._state is BrokerState.CLOSED

    @property
    def _is_empty(self) -> bool:
        return not self._outbox.messages and not self._unroutable

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
        return DeliveryStatus(
            state=self._state,
            last_error=self._last_error,
            buffered_events=self._outbox.messages + len(self._unroutable),
            buffered_bytes=self._outbox.size_bytes,
            problems=self._problems,
        )

    async def drain(self, deadline_seconds: float) -> bool:
        """Wait until everything taken is confirmed; answers False when the deadline came first."""
        try:
            async with asyncio.timeout(deadline_seconds):
                while not self._is_empty:
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
        if link is not None:
            await link.close(timeout_seconds)
