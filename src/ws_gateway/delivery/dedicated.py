"""The queues that only one service reads: declared, bound and removed as the ledger says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Link
from ws_gateway.delivery.topology import (
    REFUSALS,
    Names,
    Standing,
    broker_errors_but,
    ensure_queue,
    in_time,
    stands,
)
from ws_gateway.domain.routing import binding_keys
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import EventClass, Topic
from ws_gateway.ports.store import DeclaredQueue, QueueLedger

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WantedQueue:
    """What one service wants of one event class.

    Attributes:
        topics: what it asked for.
    """

    name: str
    requesting_service: str
    event_class: EventClass
    topics: set[Topic] = field(default_factory=set)

    @property
    def bindings(self) -> frozenset[str]:
        """Return the routing keys that bring it all of that."""
        return frozenset(key for topic in self.topics for key in binding_keys(topic))


def wanted_queues(
    wishes: Iterable[tuple[str, Topic, Delivery]], names: Names
) -> dict[str, WantedQueue]:
    """Return by name the queues that these wishes need."""
    queues: dict[str, WantedQueue] = {}
    for service, topic, delivery in wishes:
        if delivery is Delivery.DEDICATED:
            name = names.dedicated(service, topic.event_class)
            queue = queues.setdefault(name, WantedQueue(name, service, topic.event_class))
            queue.topics.add(topic)
    return queues


class DedicatedKeeper:
    """Makes the broker's dedicated queues those that the ledger wants.

    A queue is recorded before it is declared and forgotten after it is deleted, so whatever was
    interrupted is completed later. One that stood before it was first wanted is somebody else's:
    it is filled, told once, and never deleted.

    Args:
        ledger: what is wanted and what was declared.
        names: of the AMQP objects.
        queue_type: of queues that are declared from now on.
        begun: told the topics whose events a queue gets from now on.
        emptied: told the topics of a queue that stood, was gone, and was made again; `begun` is
            told them where nobody is named.
    """

    def __init__(
        self,
        ledger: QueueLedger,
        names: Names,
        queue_type: QueueType,
        begun: Callable[[Sequence[Topic]], None],
        *,
        emptied: Callable[[Sequence[Topic]], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._names = names
        self._queue_type = queue_type
        self._begun = begun
        self._emptied = emptied or begun
        # Kept over a loss of the broker, for by then the ledger and the queue may look complete.
        self._unbound: defaultdict[str, set[str]] = defaultdict(set)
        self._stood: set[str] = set()
        self._gone: set[str] = set()
        self._standing: dict[str, Standing] = {}
        self.wanted: Mapping[str, WantedQueue] = {}
        self.sharers: Mapping[EventClass, frozenset[str]] = {}

    @property
    def standing(self) -> Mapping[str, Standing]:
        """Return by name the queues that were found as they should be, or as they are."""
        return self._standing

    def doubt(self, names: Iterable[str] | None = None) -> None:
        """Look anew at these queues, or at all, the next time."""
        for name in list(self._standing) if names is None else names:
            self._standing.pop(name, None)

    async def settle(self, link: Link) -> None:
        """Declare, bind, unbind and delete until there is no difference.

        Raises:
            BrokerLost: the connection went away.
            DatabaseLost: the ledger cannot be read or written; nothing was taken away.
        """
        wishes = await self._ledger.wishes()
        declared = {one.name: one for one in await self._ledger.declared() if self._is_named(one)}
        self.wanted = wanted_queues(wishes, self._names)
        self.sharers = _sharers(wishes)
        for name, queue in self.wanted.items():
            row = declared.get(name)
            if row is None or row.bindings != queue.bindings or name not in self._standing:
                await self._bring(link, queue, row)
        for name, row in declared.items():
            if name not in self.wanted:
                await self._remove(link, row)

    def _is_named(self, row: DeclaredQueue) -> bool:
        """Leave alone what was declared under another prefix."""
        return row.name == self._names.dedicated(row.requesting_service, row.event_class)

    async def _bring(self, link: Link, queue: WantedQueue, row: DeclaredQueue | None) -> None:
        is_there = await in_time(stands(link, queue.name))
        if row is None:
            is_ours = not is_there
            if not is_ours:
                log.warning(
                    "delivery.dedicated_queue_found",
                    queue=queue.name,
                    service=queue.requesting_service,
                    why="it stood before this gateway wanted it: it is filled, and never deleted",
                )
            row = DeclaredQueue(
                queue.name,
                queue.requesting_service,
                queue.event_class,
                frozenset(),
                is_ours=is_ours,
            )
        wanted, had = queue.bindings, row.bindings
        self._unbound[queue.name] |= wanted - had if is_there else wanted
        if not is_there and queue.name in self._stood:
            self._gone.add(queue.name)
        if wanted - had:
            await self._ledger.record(replace(row, bindings=wanted | had))
        standing = await ensure_queue(
            link, self._names.exchange, queue.name, sorted(wanted), self._queue_type
        )
        if had - wanted:
            await self._unbind_if_allowed(link, queue.name, had - wanted)
            await self._ledger.record(replace(row, bindings=wanted))
        if standing.problem is not None:
            log.error("delivery.topology_drifted", problem=standing.problem)
        self._standing[queue.name] = standing
        if wanted != had:
            log.info(
                "delivery.dedicated_queue_bound",
                queue=queue.name,
                service=queue.requesting_service,
                bound=sorted(wanted - had),
                unbound=sorted(had - wanted),
            )
        self._tell(queue)

    def _tell(self, queue: WantedQueue) -> None:
        """Tell what a queue gets from now on that it did not get before."""
        unbound = self._unbound.pop(queue.name, set())
        new = [topic for topic in queue.topics if not unbound.isdisjoint(binding_keys(topic))]
        announce = self._emptied if queue.name in self._gone else self._begun
        self._stood.add(queue.name)
        self._gone.discard(queue.name)
        if new:
            announce(new)

    async def _remove(self, link: Link, row: DeclaredQueue) -> None:
        about = {"queue": row.name, "service": row.requesting_service}
        try:
            if row.is_ours:
                async with link.channel() as channel:
                    with broker_errors_but(*REFUSALS):
                        deleted = await in_time(channel.queue_delete(row.name))
                unread = deleted.message_count or 0
                tell = log.warning if unread else log.info
                tell("delivery.dedicated_queue_removed", **about, unread=unread)
            else:
                await self._unbind(link, row.name, row.bindings)
                log.info("delivery.dedicated_queue_left", **about, why="it was not made by us")
        except REFUSALS as exc:
            log.error("delivery.dedicated_queue_kept", **about, why=str(exc))  # noqa: TRY400 - an answer
        self._standing.pop(row.name, None)
        self._unbound.pop(row.name, None)
        self._stood.discard(row.name)
        self._gone.discard(row.name)
        await self._ledger.forget(row.name)

    async def _unbind_if_allowed(self, link: Link, queue: str, keys: frozenset[str]) -> None:
        try:
            await self._unbind(link, queue, keys)
        except REFUSALS as exc:
            # Asking again would get the same answer; the other queues must not wait for it.
            log.error(  # noqa: TRY400 - an answer
                "delivery.dedicated_queue_left_bound", queue=queue, keys=sorted(keys), why=str(exc)
            )

    async def _unbind(self, link: Link, queue: str, keys: Iterable[str]) -> None:
        if not (ordered := sorted(keys)):
            return
        async with link.channel() as channel:
            with broker_errors_but(*REFUSALS):
                for key in ordered:
                    await in_time(
                        channel.queue_unbind(queue, self._names.exchange, routing_key=key)
                    )


def _sharers(
    wishes: Iterable[tuple[str, Topic, Delivery]],
) -> dict[EventClass, frozenset[str]]:
    """Return by class the services that read, or should read, its shared queue."""
    found: defaultdict[EventClass, set[str]] = defaultdict(set)
    for service, topic, delivery in wishes:
        if delivery is Delivery.SHARED:
            found[topic.event_class].add(service)
    return {event_class: frozenset(services) for event_class, services in found.items()}
