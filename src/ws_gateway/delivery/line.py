"""The life of one broker connection that publishes.

There are two, one for private and one for public events, because a broker works off what came over
one connection in its order (decision 22). Each looks after the queues of what it carries.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import structlog

from ws_gateway.config import QueueType
from ws_gateway.delivery.flight import Flight
from ws_gateway.delivery.link import Link, lost_or, open_link
from ws_gateway.delivery.sender import Sender
from ws_gateway.delivery.topology import Names, declare_topology, in_time, missing_queues
from ws_gateway.errors import BrokerLost
from ws_gateway.ports.delivery import BrokerState, Carries, PublishingStatus, QueueProblem
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_CONNECT_DEADLINE_SECONDS = 10.0
_RETRY_SECONDS = 0.2  # what was refused or came back is set aside so long: causes need time
_CHECK_QUEUES_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """What the publisher is told.

    Attributes:
        window: most messages sent and not yet confirmed, on each of its connections.
        deadline_seconds: a publish unanswered for so long means the broker is lost.
    """

    url: str
    names: Names
    queue_type: QueueType
    account: str
    window: int
    deadline_seconds: float


class Line:
    """Keeps one connection to the broker, for private or for public events.

    Attributes:
        carries: which of them.
        problems: the shared queues of these events that are not as they should be.
        has_declared: these queues were declared, or found as they stood, at least once.
    """

    def __init__(
        self,
        settings: PublisherSettings,
        carries: Carries,
        sender: Sender,
        flight: Flight,
        counters: Counters,
        *,
        rng: Random,
    ) -> None:
        self._settings = settings
        self.carries = carries
        self._sender = sender
        self._flight = flight
        self._counters = counters
        self._rng = rng
        self._link: Link | None = None
        self._state = BrokerState.CONNECTING
        self._last_error: str | None = None
        self.problems: tuple[QueueProblem, ...] = ()
        self._checked_at = 0.0
        self.has_declared = False
        self._vanished: set[str] = set()  # kept over a loss of the link: nobody was told yet
        self._closing = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Say whether `close` was called; nothing is sent any more."""
        return self._state is BrokerState.CLOSED

    def status(self) -> PublishingStatus:
        """Return the state right now."""
        is_blocked = self._state is BrokerState.READY and self._sender.is_blocked
        state = BrokerState.BLOCKED if is_blocked else self._state
        silent = self._sender.silent_seconds() if state is BrokerState.READY else 0.0
        return PublishingStatus(self.carries, state, self._last_error, silent)

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
        settings = self._settings
        link = await open_link(
            settings.url,
            self._sender,
            deadline_seconds=_CONNECT_DEADLINE_SECONDS,
            name=f"{settings.names.prefix} {self.carries} events",
        )
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

    def _queues(self) -> dict[str, str]:
        """Return the queues of what it carries, with their bindings."""
        return self._settings.names.queues_of(is_private=self.carries is Carries.PRIVATE)

    async def _declare(self, link: Link) -> None:
        """Declare what is needed, and mark the streams of each queue that had to be made anew."""
        queues, settings = self._queues(), self._settings
        self._note_vanished(await in_time(missing_queues(link, queues)))
        problems = await in_time(
            declare_topology(link, settings.names, settings.queue_type, queues)
        )
        for problem in problems:
            if problem not in self.problems:
                log.error("delivery.topology_drifted", problem=problem.detail)
        self.problems = problems
        self._sender.unbound = self._unbound()
        self._tell_vanished()

    def _unbound(self) -> frozenset[str]:
        """Name the event classes whose queue cannot be bound, as far as is known."""
        prefix = f"{self._settings.names.prefix}."
        queues = [one.subject for one in self.problems if one.is_blocking]
        return frozenset(queue.removeprefix(prefix) for queue in queues if queue in self._queues())

    def _begin(self, link: Link) -> None:
        self._link = link
        self._state = BrokerState.READY
        self._last_error = None
        self._checked_at = time.monotonic()
        again = self._sender.begin(link)
        waiting = self._flight.waiting
        log.info("delivery.broker_connected", events=self.carries, resent=again, waiting=waiting)

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
        missing = await in_time(missing_queues(link, self._queues()))
        if not missing:
            await self._declare(link)
            return
        self._note_vanished(missing)
        self.problems += tuple(QueueProblem(one, f"queue {one} was deleted") for one in missing)
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
            if self._flight.unconfirmed:
                await lost_or(sender.quiet, link, self._settings.deadline_seconds)
            await self._declare(link)
            sender.topology_suspect = False
        sender.take_back()
        sender.flush()

    def _note_vanished(self, missing: list[str]) -> None:
        """Remember queues that stood before; at a fresh start there are none."""
        if not self.has_declared:
            return
        for queue in missing:
            if queue not in self._vanished:
                log.error("delivery.queue_missing", queue=queue, remedy="declared again, empty")
        self._vanished.update(missing)

    def _tell_vanished(self) -> None:
        """Mark the streams of which something was in a queue that vanished, read or not."""
        self.has_declared = True
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
            log.warning("delivery.broker_lost", events=self.carries, why=why)
        self._last_error = why

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye to the broker and let `run` end."""
        link, self._link = self._link, None
        self._state = BrokerState.CLOSED
        self._closing.set()
        self._sender.end()
        if link is not None:
            await link.close(timeout_seconds)
