"""Seams between control and delivery: dedicated queues, and how the broker and its queues are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ws_gateway.domain.topic import Lane


class DedicatedQueues(Protocol):
    """Whoever keeps the dedicated queues at what the ledger wants; it reads the ledger itself."""

    async def settle(self) -> None:
        """Bring queues and bindings in step now; answers when they are, or after a second.

        Without a broker it answers at once: they will be brought in step when it is back.
        """

    def wishes_changed(self) -> None:
        """Bring queues and bindings in step soon."""


class BrokerState(StrEnum):
    """Life of a broker connection."""

    CONNECTING = "connecting"
    READY = "ready"
    BLOCKED = "blocked"
    BACKING_OFF = "backing_off"
    CLOSED = "closed"


class Carries(StrEnum):
    """Which events a broker connection is for."""

    PRIVATE = "private"
    PUBLIC = "public"
    """And what was quarantined."""


@dataclass(frozen=True, slots=True)
class PublishingStatus:
    """One of the connections that publish.

    Attributes:
        silent_seconds: for how long the broker has owed the oldest answer; 0 while it answers.
    """

    carries: Carries
    state: BrokerState
    last_error: str | None
    silent_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """What one lane holds for the broker.

    Attributes:
        policy: what happens under pressure.
        waiting: events not sent yet.
        events, size_bytes: accepted and not yet confirmed, those that wait included.
        max_events, max_bytes: the bounds of these two; private events may use all that is free.
        peak_events, peak_bytes: the highest these two were seen at.
        is_refusing: it was full and has not been emptied enough since.
    """

    lane: Lane
    policy: str
    waiting: int
    events: int
    size_bytes: int
    max_events: int
    max_bytes: int
    peak_events: int
    peak_bytes: int
    is_refusing: bool


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """A shared queue, or the exchange, that is not as it should be.

    Attributes:
        subject: its name.
        detail: one sentence, with what to do.
        is_blocking: events do not get there; False for what is used as it is.
    """

    subject: str
    detail: str
    is_blocking: bool = True


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """Delivery as `/health` shows it.

    Attributes:
        state: the worst that any of its connections is in.
        connections: each of them.
        problems: drifted or missing queues; empty when all is well.
        buffered_events, buffered_bytes: accepted and not yet confirmed.
        lanes: the same by lane, private first.
        spool_error: why the disk takes no private events, None while it does.
        spool_bytes: what the spool takes up on disk.
        spools_left: spools of other prefixes that nobody delivers, in words.
        refused_per_second: messages that some queue refused, over the last ten seconds.
        held_private: private events that wait in memory because their stream is refused.
    """

    state: BrokerState
    last_error: str | None
    buffered_events: int
    buffered_bytes: int
    problems: tuple[QueueProblem, ...] = field(default=())
    lanes: tuple[LaneStatus, ...] = field(default=())
    spool_error: str | None = None
    spool_bytes: int = 0
    spools_left: tuple[str, ...] = ()
    refused_per_second: float = 0.0
    held_private: int = 0
    connections: tuple[PublishingStatus, ...] = ()


class QueueKind(StrEnum):
    """Whose a queue is."""

    SHARED = "shared"
    """Of an event class, for whoever reads it."""
    DEDICATED = "dedicated"
    """Of one service."""
    QUARANTINE = "quarantine"
    """Of frames nobody could read, for people."""


class AlertCode(StrEnum):
    """Why a queue needs somebody's attention."""

    CAPACITY_NEAR = "capacity_near"
    """Nearly full; then the oldest messages are dropped."""
    NO_CONSUMER = "no_consumer"
    """Messages gather, and nobody consumes them."""
    SLOW_CONSUMER = "slow_consumer"
    """Consumers take less than is published."""
    REFUSING = "refusing"
    """Full, and declared to refuse (`reject-publish`) instead of dropping its oldest."""


@dataclass(frozen=True, slots=True)
class QueueAlert:
    """An alert that stands."""

    code: AlertCode
    since: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue as it was at the last look; None where that is not known.

    Attributes:
        services: who reads it, or asked for what it holds.
        bindings: routing keys that fill it.
        queue_type: as it stands.
        problem: one sentence if it stands with other arguments or cannot be looked at.
        is_current: the broker can be asked; else everything is of `looked_at`, without alerts.
        depth: messages ready; those given to consumers are not counted.
        consumer_names, unacknowledged, policy: told by the management API alone.
        oldest_age_seconds: how long its oldest ready message has been in it.
        is_oldest_age_minimum: it was there before this process began.
        max_length: how many it holds at most, policies included where they are known.
        was_read: somebody consumed it since this process began.
        dropped_at_least, dropped_at_most: bounds of what went unread by overflow or age since
            this process began.
    """

    name: str
    kind: QueueKind
    event_class: str
    services: tuple[str, ...]
    bindings: tuple[str, ...]
    queue_type: str
    problem: str | None = None
    is_current: bool = True
    looked_at: datetime | None = None
    depth: int | None = None
    consumers: int | None = None
    consumer_names: tuple[str, ...] = ()
    unacknowledged: int | None = None
    growth_per_second: float | None = None
    published_per_second: float | None = None
    oldest_age_seconds: float | None = None
    is_oldest_age_minimum: bool = False
    max_length: int | None = None
    policy: str | None = None
    was_read: bool = False
    dropped_at_least: int | None = None
    dropped_at_most: int | None = None
    alerts: tuple[QueueAlert, ...] = ()


class BacklogReport(Protocol):
    """What the queues hold, and who lags."""

    def queues(self) -> Sequence[QueueStatus]:
        """Return how each queue was at the last look, in order of name."""


class DeliveryReport(Protocol):
    """What delivery says of itself."""

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
