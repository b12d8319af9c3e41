"""Front door of delivery: takes events, and reports on what carries them.

An event is built into bytes when it is offered; one write then carries everything one socket read
brought (sender.py). Nothing ever waits inside `offer`: without a broker, messages wait in the
outbox. Private and public events have a connection each (line.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random

import structlog

from ws_gateway.delivery.conflation import conflate
from ws_gateway.delivery.envelope import Address, Addresses, quarantine_frames
from ws_gateway.delivery.flight import Flight
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.lanes import POLICIES
from ws_gateway.delivery.line import Line, PublisherSettings
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.news import News
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.sender import Sender
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Lane, Topic
from ws_gateway.ports.delivery import BrokerState, Carries, DeliveryStatus, LaneStatus
from ws_gateway.ports.event_path import LossObserver
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Named once: they are compared with per event.
_PRIVATE, _LATEST = Lane.PRIVATE, Lane.LATEST

_WORST_LAST = (
    BrokerState.READY,
    BrokerState.BLOCKED,
    BrokerState.CONNECTING,
    BrokerState.BACKING_OFF,
    BrokerState.CLOSED,
)
_LOOK_SECONDS = 0.05  # how often a drain looks whether the spool is empty, which has no event


class Publisher:
    """Takes events, keeps broker connections for them, and reports on both."""

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
        self._clock_us = clock_us
        self._spool = spool
        self._drained = asyncio.Event()
        times = times or HopTimes()

        self._private = self._sender(outbox.private, times, spool=spool)
        self._public = self._sender(outbox.public, times, gives_way=self._private_goes_first)
        self._senders = (self._private, self._public)
        self._lines = (
            Line(settings, Carries.PRIVATE, self._private, outbox.private, counters, rng=rng),
            Line(settings, Carries.PUBLIC, self._public, outbox.public, counters, rng=rng),
        )
        if spool is not None:
            spool.is_well = self._private.is_well
            spool.flush = self._private.flush
        self._addresses = Addresses(settings.names.exchange, settings.account)
        self._news = News()

    def _sender(
        self,
        flight: Flight,
        times: HopTimes,
        *,
        spool: Spool | None = None,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> Sender:
        return Sender(
            self._outbox,
            flight,
            self._counters,
            window=self._settings.window,
            clock_us=self._clock_us,
            times=times,
            drained=self._drained,
            spool=spool,
            gives_way=gives_way,
        )

    def _private_goes_first(self) -> bool:
        """Say whether private events have piled up, on disk or before a full window.

        Not while one queue refuses some: that would hold up everything else, too.
        """
        is_behind = self._private.is_backed_up or (
            self._spool is not None and self._spool.is_catching_up
        )
        return is_behind and self._private.is_moving and not self._outbox.private.held

    def report_losses_to(self, observer: LossObserver) -> None:
        """Name who announces what delivery has to give up; call it before `run`."""
        for sender in self._senders:
            sender.losses = observer
        if self._spool is not None:
            self._spool.lost = observer.facts_lost

    # ── front door ────────────────────────────────────────────────────────────────────────────

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""
        fact = event.observation
        address = self._addresses.of(fact)
        lane = address.lane
        if lane is _LATEST and self._outbox.latest.is_conflating:
            return self._offer_newest(event, address)
        if not (self._outbox.has_room(lane) or self._spool_takes(lane)):
            return self._refuse(lane)
        sender = self._private if lane is _PRIVATE else self._public
        sender.put(
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
        latest, topic = self._outbox.latest, event.observation.topic
        held = None if event.is_marker else latest.newest(topic)
        if held is not None:
            older, told = held
            both = conflate(told, event)
            if both is not None:
                latest.replace(older, _message(both, address))
                latest.note_newest(older, both)
                self._counters.shed["conflated"] += 1
                return True
        if not self._outbox.has_room(_LATEST):
            return self._refuse(_LATEST)
        message = _message(event, address)
        self._public.put(message)
        latest.note_newest(message, None if event.is_marker else event)
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

    def offer_quarantined(
        self,
        *,
        reason: str,
        identity: str,
        trace_id: str,
        body: bytes,
        is_private: bool = False,
    ) -> bool:
        """Take a frame nobody could read, for the quarantine queue; False when there is no room.

        A private one travels with the public ones too, but takes of the room for private facts if
        they left none.
        """
        has_room = self._outbox.has_room
        if not has_room(_LATEST) and not (is_private and has_room(_PRIVATE)):
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
        self._public.put(Message(frames, None, _LATEST, 0, identity, now_us, is_observed=False))
        return True

    # ── the broker connections ────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Keep the connections to the broker until `close`; never gives up.

        Raises:
            ExceptionGroup: a defect of ours.
        """
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(line.run(), name=f"publisher of {line.carries} events")

    def doubt_queues(self) -> None:
        """Look within a second whether all queues stand, for one was missed."""
        for line in self._lines:
            line.doubt_queues()

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
        return all(line.is_closed for line in self._lines)

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
        connections = tuple(line.status() for line in self._lines)
        errors = dict.fromkeys(one.last_error for one in connections if one.last_error)
        problems = dict.fromkeys(problem for line in self._lines for problem in line.problems)
        now = time.monotonic()
        return DeliveryStatus(
            state=max((one.state for one in connections), key=_WORST_LAST.index),
            last_error="; ".join(errors) or None,
            connections=connections,
            buffered_events=self._outbox.messages,
            buffered_bytes=self._outbox.size_bytes,
            problems=tuple(problems),
            spool_error=None if self._spool is None else self._spool.last_error,
            spool_bytes=0 if self._spool is None else self._spool.size_bytes,
            spools_left=tuple(map(str, (self._spool and self._spool.left) or ())),
            refused_per_second=sum(one.refusals.per_second(now) for one in self._senders),
            held_private=self._outbox.private.held,
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
                    self._drained.clear()
                    for sender in self._senders:
                        sender.flush()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye to the broker and let `run` end."""
        await asyncio.gather(*(line.close(timeout_seconds) for line in self._lines))


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
