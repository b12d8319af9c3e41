"""Front door of delivery, and the life of its broker connection.

An event is built into bytes when it is offered; one write then carries everything one socket read
brought (sender.py). Nothing ever waits inside `offer`: without a broker, messages wait in the
outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import structlog

from ws_gateway.config import QueueType
from ws_gateway.delivery.conflation import conflate
from ws_gateway.delivery.envelope import Address, Addresses, quarantine_frames
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.link import Link, lost_or, open_link
from ws_gateway.delivery.news import News
from ws_gateway.delivery.outbox import POLICIES, Message, Outbox
from ws_gateway.delivery.sender import Sender
from ws_gateway.delivery.spool import Spool
from ws_gateway.delivery.topology import Names, declare_topology, in_time, missing_queues
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Lane, Topic
from ws_gateway.errors import BrokerLost
from ws_gateway.ports import (
    BrokerState,
    DeliveryStatus,
    LaneStatus,
    LossObserver,
    QueueProblem,
)
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Named once: they are compared with per event.
_PRIVATE, _LATEST = Lane.PRIVATE, Lane.LATEST

_CONNECT_DEADLINE_SECONDS = 10.0
_RETRY_SECONDS = 0.2  # what was refused or came back is set aside so long: causes need time
_CHECK_QUEUES_SECONDS = 30.0
_LOOK_SECONDS = 0.05  # how often a drain looks whether the spool is empty, which has no event


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
    """Takes events, keeps a broker connection for them, and reports on both."""

    def __init__(
        self,
        settings: PublisherSettings,
        *,
        outbox: Outbox,
        counters: Counters,
        rng: Random,
        clock_us: Callable[[], int],
        spool: Spool | None = None,
        times: HopTimes | None = None,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._counters = counters
        self._rng = rng
        self._clock_us = clock_us
        self._sender = Sender(
            outbox, counters, window=settings.window, clock_us=clock_us, spool=spool, times=times
        )
        self._spool = spool
        if spool is not None:
            spool.is_well = lambda: self._sender.is_well
            spool.flush = self._sender.flush
        self._addresses = Addresses(settings.names.exchange, settings.account)
        self._link: Link | None = None
        self._state = BrokerState.CONNECTING
        self._last_error: str | None = None
        self._problems: tuple[QueueProblem, ...] = ()
        self._checked_at = 0.0
        self._has_declared = False
        self._vanished: set[str] = set()  # kept over a loss of the link: nobody was told yet
        self._news = News()
        self._closing = asyncio.Event()

    def report_losses_to(self, observer: LossObserver) -> None:
        """Name who announces what delivery has to give up; call it before `run`."""
        self._sender.losses = observer

    # ── front door ────────────────────────────────────────────────────────────────────────────

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""
        fact = event.observation
        address = self._addresses.of(fact)
        lane = address.lane
        if lane is _LATEST and self._outbox.is_conflating:
            return self._offer_newest(event, address)
        if not (self._outbox.has_room(lane) or self._spool_takes(lane)):
            return self._refuse(lane)
        self._sender.put(
            Message(
                address.frames(event),
                fact.topic,
                lane,
                event.sequence,
                fact.event_id,
                fact.received_at,
                not event.is_marker,
                fact.timestamp,
            )
        )
        return True

    def _offer_newest(self, event: Event, address: Address) -> bool:
        """Let a value take the place of an older one of its stream that waits, if it can."""
        outbox, topic = self._outbox, event.observation.topic
        held = None if event.is_marker else outbox.newest(topic)
        if held is not None:
            older, told = held
            both = conflate(told, event)
            if both is not None:
                outbox.replace(older, _message(both, address))
                outbox.note_newest(older, both)
                self._counters.shed["conflated"] += 1
                return True
        if not outbox.has_room(_LATEST):
            return self._refuse(_LATEST)
        message = _message(event, address)
        self._sender.put(message)
        outbox.note_newest(message, None if event.is_marker else event)
        return True

    def _refuse(self, lane: Lane) -> bool:
        if self._news.is_due(("full", lane)):
            log.warning("delivery.buffer_full", lane=lane, held=self._outbox.messages)
        return False

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken now."""
        return self._outbox.has_room(topic.lane) or self._spool_takes(topic.lane)

    def _spool_takes(self, lane: Lane) -> bool:
        """Say whether an event goes to disk past a memory that is full, with its lane's own too."""
        return lane is _PRIVATE and self._spool is not None and self._spool.makes_room()

    def offer_quarantined(self, *, reason: str, identity: str, trace_id: str, body: bytes) -> bool:
        """Take a frame nobody could read, for the quarantine queue; False when there is no room."""
        if not self._outbox.has_room(_LATEST):
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
        self._sender.put(Message(frames, None, _LATEST, 0, identity, now_us, is_observed=False))
        return True

    # ── the broker connection's life ──────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Keep a connection to the broker until `close`; never gives up."""
        delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
        while not self.is_closed:
            try:
                await self._one_connection()
            except BrokerLost as exc:
                self._note_loss(str(exc))
            if self._sender.made_progress:
                self._sender.made_progress = False
                delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
            with suppress(TimeoutError):
                async with asyncio.timeout(next(delays)):
                    await self._closing.wait()

    async def _one_connection(self) -> None:
        self._state = BrokerState.CONNECTING
        url = self._settings.url
        link = await open_link(url, self._sender, deadline_seconds=_CONNECT_DEADLINE_SECONDS)
        try:
            await self._declare(link)
            if not self.is_closed:
                self._begin(link)
                await self._watch(link)
        finally:
            self._link = None
            self._sender.end()
            link.abort("left")
        raise BrokerLost(link.lost.result() if link.lost.done() else "left")

    async def _declare(self, link: Link) -> None:
        """Declare everything, and mark the streams of each queue that had to be made anew."""
        settings = self._settings
        self._note_vanished(await in_time(missing_queues(link, settings.names)))
        problems = await in_time(declare_topology(link, settings.names, settings.queue_type))
        for problem in problems:
            if problem not in self._problems:
                log.error("delivery.topology_drifted", problem=problem.detail)
        self._problems = problems
        self._tell_vanished()

    def _begin(self, link: Link) -> None:
        self._link = link
        self._state = BrokerState.READY
        self._last_error = None
        self._checked_at = time.monotonic()
        again = self._sender.begin(link)
        log.info("delivery.broker_connected", resent=again, waiting=self._outbox.waiting)

    async def _watch(self, link: Link) -> None:
        """Wait until the link is lost, minding silence, queues, and messages that came back."""
        sender, deadline = self._sender, self._settings.deadline_seconds
        while not link.lost.done():
            # A blocked broker reads nothing, so it could not mend anything either.
            heeds = not sender.is_blocked
            event = sender.attention if heeds else asyncio.Event()
            await lost_or(event, link, deadline / 10)
            silent = sender.silent_seconds()
            if silent > deadline:
                link.abort(f"no confirm for {silent:.1f} s")
            if heeds and time.monotonic() - self._checked_at > _CHECK_QUEUES_SECONDS:
                await self._check_queues(link)
            if heeds and sender.attention.is_set() and not link.lost.done():
                await self._try_again(link)

    async def _check_queues(self, link: Link) -> None:
        """Look whether every queue still stands as it was declared, and is bound.

        `mandatory` is silent while any other queue is bound, and while this one is, whatever its
        arguments are by now.
        """
        self._checked_at = time.monotonic()
        missing = await in_time(missing_queues(link, self._settings.names))
        if not missing:
            await self._declare(link)
            return
        self._note_vanished(missing)
        self._problems += tuple(QueueProblem(one, f"queue {one} was deleted") for one in missing)
        self._sender.topology_suspect = True
        self._sender.attention.set()

    async def _try_again(self, link: Link) -> None:
        """Send what was refused or came back; in the latter case declare everything before."""
        sender = self._sender
        await asyncio.sleep(_RETRY_SECONDS)  # refusals of the same moment gather
        sender.attention.clear()
        if sender.topology_suspect:
            # What is still on its way would arrive once the queue stands, before what came back.
            sender.quiet.clear()
            if self._outbox.unconfirmed:
                await lost_or(sender.quiet, link, self._settings.deadline_seconds)
            await self._declare(link)
            sender.topology_suspect = False
        sender.take_back()
        sender.flush()

    def _note_vanished(self, missing: list[str]) -> None:
        """Remember queues that stood before; at a fresh start there are none."""
        if not self._has_declared:
            return
        for queue in missing:
            if queue not in self._vanished:
                log.error("delivery.queue_missing", queue=queue, remedy="declared again, empty")
        self._vanished.update(missing)

    def _tell_vanished(self) -> None:
        """Mark the streams of which something was in a queue that vanished, read or not."""
        self._has_declared = True
        vanished, self._vanished = self._vanished, set()
        losses = self._sender.losses
        if losses is None or self.is_closed:
            return
        prefix = f"{self._settings.names.prefix}."
        keys = {key for key, many in self._counters.routed.items() if many}
        for queue in sorted(vanished):
            why = f"queue {queue} was deleted and is declared again, empty"
            losses.queue_emptied(queue.removeprefix(prefix), keys, why)

    def doubt_queues(self) -> None:
        """Look within a second whether all queues stand, for one was missed."""
        self._checked_at = float("-inf")

    def _note_loss(self, why: str) -> None:
        if self.is_closed:
            return  # it was us
        self._state = BrokerState.BACKING_OFF
        if why != self._last_error:
            log.warning("delivery.broker_lost", why=why, held=self._outbox.messages)
        self._last_error = why

    # ── reports and the end ───────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """Count the observations taken and neither confirmed nor given up."""
        return self._outbox.events

    @property
    def spooled(self) -> int:
        """Count the observations that are on disk and not in memory."""
        return 0 if self._spool is None else self._spool.observed

    @property
    def is_closed(self) -> bool:
        """Say whether `close` was called; nothing is sent any more."""
        return self._state is BrokerState.CLOSED

    @property
    def _present_state(self) -> BrokerState:
        is_blocked = self._state is BrokerState.READY and self._sender.is_blocked
        return BrokerState.BLOCKED if is_blocked else self._state

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
        return DeliveryStatus(
            state=self._present_state,
            last_error=self._last_error,
            buffered_events=self._outbox.messages,
            buffered_bytes=self._outbox.size_bytes,
            problems=self._problems,
            spool_error=None if self._spool is None else self._spool.last_error,
            spool_bytes=0 if self._spool is None else self._spool.size_bytes,
            spools_left=tuple(map(str, (self._spool and self._spool.left) or ())),
            refused_per_second=self._sender.refusals.per_second(time.monotonic()),
            held_private=self._outbox.held,
            lanes=tuple(
                LaneStatus(
                    lane=queue.lane,
                    policy=POLICIES[queue.lane].value,
                    waiting=len(queue.waiting),
                    events=queue.messages,
                    size_bytes=queue.size_bytes,
                    max_events=int(queue.most_messages),
                    max_bytes=int(queue.most_bytes),
                    peak_events=queue.peak_messages,
                    peak_bytes=queue.peak_bytes,
                    is_refusing=queue.is_refused,
                )
                for queue in self._outbox.lanes()
            ),
        )

    async def drain(self, deadline_seconds: float) -> bool:
        """Wait until everything taken is confirmed; answers False when the deadline came first."""
        try:
            async with asyncio.timeout(deadline_seconds):
                while self._outbox.messages or (self._spool and not self._spool.is_empty):
                    self._sender.drained.clear()
                    self._sender.flush()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._sender.drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye to the broker and let `run` end."""
        link, self._link = self._link, None
        self._state = BrokerState.CLOSED
        self._closing.set()
        self._sender.end()
        if link is not None:
            await link.close(timeout_seconds)


def _message(event: Event, address: Address) -> Message:
    fact = event.observation
    return Message(
        address.frames(event),
        fact.topic,
        address.lane,
        event.sequence,
        fact.event_id,
        fact.received_at,
        not event.is_marker,
        fact.timestamp,
        conflated=event.conflated,
    )
