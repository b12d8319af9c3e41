"""Watches how full every queue is and who reads it, and raises and clears alerts.

AMQP alone tells depth and number of consumers; the management API, where it is there, adds who the
consumers are, what they hold unacknowledged, and what the broker's policies limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import aiormq.exceptions
import structlog
from pamqp.common import FieldTable

from ws_gateway.config import QueueType
from ws_gateway.delivery.dedicated import DedicatedKeeper, WantedQueue
from ws_gateway.delivery.gauge import Finding, Gauge, Look, Thresholds
from ws_gateway.delivery.link import Link
from ws_gateway.delivery.topology import (
    QUARANTINE,
    REFUSALS,
    Names,
    Standing,
    broker_errors_but,
    ensure_queue,
    in_time,
)
from ws_gateway.domain.topic import EventClass, Topic, topic_of_key
from ws_gateway.errors import Rejected
from ws_gateway.ports.delivery import AlertCode, QueueAlert, QueueKind, QueueStatus
from ws_gateway.runtime.counters import QUARANTINED, Counters

_REFUSES = "reject-publish"  # or reject-publish-dlx
_DECLARE_PATIENCE_SECONDS = 30.0  # then a queue that was never declared is missing, whyever

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ManagedQueue:
    """What only the management API tells of a queue; None where it does not.

    Attributes:
        unacknowledged: messages given to consumers that have not said they are done.
        oldest_at: when the message at its head says it was made.
        max_length: limit of the policies that apply.
        overflow: what the policies that apply do when it is full.
        policy: name of the policy.
        consumers: tag and origin of each.
    """

    unacknowledged: int | None = None
    oldest_at: datetime | None = None
    max_length: int | None = None
    overflow: str | None = None
    policy: str | None = None
    consumers: tuple[str, ...] = ()


class Management(Protocol):
    """The broker's management API."""

    async def queues(self) -> Mapping[str, ManagedQueue]:
        """Return by name what it tells of each queue; nothing while it is away."""


@dataclass(frozen=True, slots=True)
class _Watched:
    name: str
    kind: QueueKind
    event_class: str
    services: tuple[str, ...]
    wanted: WantedQueue | None

    @property
    def bindings(self) -> tuple[str, ...]:
        if self.wanted is None:
            return (f"{self.event_class}.#",)
        return tuple(sorted(self.wanted.bindings))


class BacklogMonitor:
    """Looks at every queue of this gateway; also the `BacklogReport`.

    Args:
        names: of the AMQP objects.
        queue_type: of the queues that are declared.
        keeper: knows the dedicated queues, and who shares the others.
        counters: what was published.
        management: asked as well, if there is one.
        missed: told that a shared queue does not stand.
        is_declared: whether the shared queues were declared; until then none of them is missing.
        thresholds: when to raise an alert.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        names: Names,
        queue_type: QueueType,
        keeper: DedicatedKeeper,
        counters: Counters,
        *,
        management: Management | None = None,
        missed: Callable[[], None] = lambda: None,
        is_declared: Callable[[], bool] = lambda: True,
        thresholds: Thresholds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = names
        self._queue_type = queue_type
        self._keeper = keeper
        self._counters = counters
        self._management = management
        self._missed = missed
        self._is_declared = is_declared
        self._was_declared = False
        self._asked_at: float | None = None
        self._thresholds = thresholds
        self._monotonic = monotonic
        self._gauges: dict[str, Gauge] = {}
        self._watched: dict[str, _Watched] = {}
        self._managed: Mapping[str, ManagedQueue] = {}
        self._link: Link | None = None
        self._arguments: dict[str, FieldTable] = {}
        self._problems: dict[str, str | None] = {}
        self._topics: dict[str, Topic | None] = {}
        self._keys: dict[str, list[str]] = {}
        self._sorted = 0
        self._statuses: list[QueueStatus] = []

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    async def look(self, link: Link) -> bool:
        """Look at every queue once; answers whether each one had its time to be declared.

        Raises:
            BrokerLost: the connection went away.
        """
        # Asked before the look: what is declared during it may have been looked for too early.
        is_time = self._is_time_for_shared()
        if link is not self._link:  # the broker may be another one by now
            self._link = link
            self._arguments.clear()
            self._problems.clear()
        if self._management is not None:
            self._managed = await self._management.queues()
        self._watched = {one.name: one for one in self._every_queue()}
        for gone in self._gauges.keys() - self._watched.keys():
            self._tell_cleared(gone, self._gauges.pop(gone).alerts)
        for queue in self._watched.values():
            await in_time(self._look_at(link, queue, is_missing_told=is_time))
        self._statuses = self._report()
        return is_time

    def _is_time_for_shared(self) -> bool:
        """Say whether a shared queue that does not stand is missing, and not merely to come."""
        if self._asked_at is None:
            self._asked_at = self._monotonic()
        waited = self._monotonic() - self._asked_at
        self._was_declared |= self._is_declared() or waited > _DECLARE_PATIENCE_SECONDS
        return self._was_declared

    def _every_queue(self) -> Iterable[_Watched]:
        for event_class in EventClass:
            services = tuple(sorted(self._keeper.sharers.get(event_class, ())))
            name = self._names.queue(event_class)
            yield _Watched(name, QueueKind.SHARED, event_class, services, None)
        yield _Watched(self._names.queue(QUARANTINE), QueueKind.QUARANTINE, QUARANTINE, (), None)
        for wanted in self._keeper.wanted.values():
            services = (wanted.requesting_service,)
            yield _Watched(wanted.name, QueueKind.DEDICATED, wanted.event_class, services, wanted)

    async def _look_at(self, link: Link, queue: _Watched, *, is_missing_told: bool) -> None:
        before = self._published(queue)
        try:
            async with link.channel() as channel:
                with broker_errors_but(aiormq.exceptions.ChannelNotFoundEntity, *REFUSALS):
                    answer = await channel.queue_declare(queue.name, passive=True)
        except (aiormq.exceptions.ChannelNotFoundEntity, *REFUSALS) as exc:
            is_absent = isinstance(exc, aiormq.exceptions.ChannelNotFoundEntity)
            if is_missing_told or queue.wanted is not None or not is_absent:
                self._note_absent(queue, exc)
            return
        if queue.name not in self._arguments:
            standing = await self._standing(link, queue)
            self._arguments[queue.name] = standing.arguments
            self._problems[queue.name] = standing.problem
        gauge = self._gauges.setdefault(queue.name, Gauge(self._thresholds))
        stood = dict(gauge.alerts)
        gauge.take(
            Look(
                at=self._monotonic(),
                depth=answer.message_count or 0,
                consumers=answer.consumer_count or 0,
                published_before=before,
                published_after=self._published(queue),
                max_length=self._limit(queue.name),
                kind=queue.kind,
                is_awaited=queue.kind is QueueKind.QUARANTINE or bool(queue.services),
                keeps_read=self._type_of(queue.name) == QueueType.STREAM,
                refuses=self._refuses(queue.name),
            )
        )
        self._tell_raised(queue, {c: f for c, f in gauge.alerts.items() if c not in stood})
        self._tell_cleared(queue.name, {c: f for c, f in stood.items() if c not in gauge.alerts})

    async def _standing(self, link: Link, queue: _Watched) -> Standing:
        """Find out what it was declared with; should it vanish just now, it is made as it was."""
        known = self._keeper.standing.get(queue.name)
        if known is not None:
            return known
        return await ensure_queue(
            link, self._names.exchange, queue.name, queue.bindings, self._queue_type
        )

    def _note_absent(self, queue: _Watched, exc: Exception) -> None:
        self._arguments.pop(queue.name, None)
        if (gauge := self._gauges.pop(queue.name, None)) is not None:
            self._tell_cleared(queue.name, gauge.alerts)
        self._problems[queue.name] = f"queue {queue.name} cannot be looked at ({exc})"
        if queue.wanted is None and isinstance(exc, aiormq.exceptions.ChannelNotFoundEntity):
            self._missed()
        if queue.wanted is not None and queue.name in self._keeper.standing:
            log.error("delivery.queue_missing", queue=queue.name, remedy="declared again, empty")
            self._keeper.doubt([queue.name])

    def _type_of(self, name: str) -> object:
        return self._arguments.get(name, {}).get("x-queue-type", QueueType.CLASSIC)

    def _limit(self, name: str) -> int | None:
        """Return how many messages a queue holds at most: its own limit or a policy's, if lower."""
        managed = self._managed.get(name)
        limits = [
            self._arguments.get(name, {}).get("x-max-length"),
            None if managed is None else managed.max_length,
        ]
        return min((one for one in limits if isinstance(one, int)), default=None)

    def _refuses(self, name: str) -> bool:
        """Say whether it refuses when it is full.

        At a quorum queue a policy goes before the queue's own argument, at a classic one behind it.
        """
        managed = self._managed.get(name)
        own = self._arguments.get(name, {}).get("x-overflow")
        by_policy = managed and managed.overflow
        is_quorum = self._type_of(name) == QueueType.QUORUM
        said = (by_policy or own) if is_quorum else (own or by_policy)
        return str(said).startswith(_REFUSES)

    # ── what was published ────────────────────────────────────────────────────────────────────

    def _published(self, queue: _Watched) -> int | None:
        """Count what the broker put into a queue; None where that is not known.

        What one queue refuses is in the others all the same, so it counts there.
        """
        routed: Mapping[str, int] = self._counters.routed
        refused = self._counters.refused
        if refused and not self._refuses(queue.name) and any(map(self._refuses, self._arguments)):
            routed = {
                key: routed.get(key, 0) + refused.get(key, 0)
                for key in routed.keys() | refused.keys()
            }
        if queue.kind is QueueKind.QUARANTINE:
            return routed.get(QUARANTINED, 0)
        if queue.wanted is None or f"{queue.event_class}.#" in queue.wanted.bindings:
            return sum(routed.get(key, 0) for key in self._keys_of(queue.event_class, routed))
        pairs = {(topic.category, topic.symbol) for topic in queue.wanted.topics}
        if any(topic.is_private for topic in queue.wanted.topics):
            return None  # of one category, while what was counted may be of all
        return sum(
            routed.get(key, 0)
            for key in self._keys_of(queue.event_class, routed)
            if (topic := self._topics[key]) is not None and (topic.category, topic.symbol) in pairs
        )

    def _keys_of(self, event_class: str, routed: Mapping[str, int]) -> Sequence[str]:
        """Name the keys of a class; each is sorted once, for there may be ten thousand."""
        if len(routed) != self._sorted:
            for key in routed:
                if key not in self._topics:
                    topic = self._topics[key] = _read_topic(key)
                    if topic is not None:
                        self._keys.setdefault(topic.event_class, []).append(key)
            self._sorted = len(routed)
        return self._keys.get(event_class, ())

    # ── alerts ────────────────────────────────────────────────────────────────────────────────

    def _tell_raised(self, queue: _Watched, findings: Mapping[AlertCode, Finding]) -> None:
        for code, finding in findings.items():
            log.warning(
                "delivery.backlog_alert",
                code=code.value,
                queue=queue.name,
                service=", ".join(queue.services) or None,
                consumers=self._consumers(queue.name),
                detail=finding.detail,
            )

    def _tell_cleared(self, name: str, findings: Mapping[AlertCode, Finding]) -> None:
        for code, finding in findings.items():
            log.info(
                "delivery.backlog_cleared",
                code=code.value,
                queue=name,
                service=self._services(name),
                stood_seconds=round(self._monotonic() - finding.since, 1),
            )

    def _services(self, name: str) -> str | None:
        queue = self._watched.get(name)
        return None if queue is None else ", ".join(queue.services) or None

    def _consumers(self, name: str) -> list[str]:
        managed = self._managed.get(name)
        return [] if managed is None else list(managed.consumers)

    # ── the report ────────────────────────────────────────────────────────────────────────────

    def queues(self) -> list[QueueStatus]:
        """Return how each queue was at the last look, in order of name."""
        if self._link is not None and self._link.lost.done():
            return [replace(one, is_current=False, alerts=()) for one in self._statuses]
        return self._statuses

    def _report(self) -> list[QueueStatus]:
        now = self._monotonic()
        zero = datetime.now(UTC) - timedelta(seconds=now)
        return [self._status(queue, now, zero) for _, queue in sorted(self._watched.items())]

    def _status(self, queue: _Watched, now: float, zero: datetime) -> QueueStatus:
        gauge = self._gauges.get(queue.name)
        look = None if gauge is None else gauge.newest
        status = QueueStatus(
            name=queue.name,
            kind=queue.kind,
            event_class=queue.event_class,
            services=queue.services,
            bindings=queue.bindings,
            queue_type=(
                str(self._type_of(queue.name)) if queue.name in self._arguments else "unknown"
            ),
            problem=self._problems.get(queue.name),
        )
        if gauge is None or look is None:
            return status
        managed = self._managed.get(queue.name, ManagedQueue())
        age = gauge.oldest_age(now)
        if managed.oldest_at is not None and look.depth:
            age = max(0.0, (datetime.now(UTC) - managed.oldest_at).total_seconds()), False
        is_counted = look.published_before is not None and not look.keeps_read
        return replace(
            status,
            looked_at=zero + timedelta(seconds=look.at),
            depth=look.depth,
            consumers=look.consumers,
            consumer_names=managed.consumers,
            unacknowledged=managed.unacknowledged,
            growth_per_second=gauge.growth_per_second,
            published_per_second=gauge.published_per_second,
            oldest_age_seconds=None if age is None else age[0],
            is_oldest_age_minimum=age is not None and age[1],
            max_length=look.max_length,
            policy=managed.policy,
            was_read=gauge.was_read,
            dropped_at_least=gauge.dropped_at_least if is_counted else None,
            dropped_at_most=(
                gauge.dropped_at_least + gauge.dropped_uncertain if is_counted else None
            ),
            alerts=tuple(
                QueueAlert(one.code, zero + timedelta(seconds=one.since), one.detail)
                for one in gauge.alerts.values()
            ),
        )


def _read_topic(key: str) -> Topic | None:
    """Read a topic back from its key; None for what is none, as quarantined frames are."""
    try:
        return topic_of_key(key)
    except Rejected:
        return None
