"""The venue and the broker as control sees them, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Endpoint, Topic
from ws_gateway.ports.delivery import (
    BrokerState,
    Carries,
    DeliveryStatus,
    LaneStatus,
    PublishingStatus,
    QueueProblem,
    QueueStatus,
)
from ws_gateway.ports.feed import ConnectionStatus, MaintenanceNotice, SessionState, TopicObserver
from ws_gateway.runtime.breaker import BreakerState


class MemoryFeed:
    """A `Feed` that stands where the venue would.

    Control's own behaviour is what the tests look at; a simulator behind real sockets would add
    its timing and nothing to see. It obeys the port: a topic asked for is pending until `answer`
    says what the venue made of it, and stays in `wanted` when it is refused.
    """

    def __init__(self) -> None:
        self.observer: TopicObserver | None = None
        self.calls: list[tuple[str, list[str]]] = []
        self.statuses: list[ConnectionStatus] = []
        self.silent: dict[tuple[Endpoint, Channel], float] = {}
        self._topics: dict[Topic, SubscriptionState] = {}
        self._changed: set[Topic] = set()

    def want(self, topics: Sequence[Topic]) -> None:
        """Take topics in as pending."""
        self.calls.append(("want", [topic.key for topic in topics]))
        for topic in topics:
            self.answer(topic, SubscriptionState.PENDING)

    def drop(self, topics: Sequence[Topic]) -> None:
        """Forget topics at once."""
        self.calls.append(("drop", [topic.key for topic in topics]))
        for topic in topics:
            del self._topics[topic]
            self._changed.add(topic)
            self._tell(topic, SubscriptionState.REMOVED, None)

    def wanted(self) -> Mapping[Topic, SubscriptionState]:
        """Return every topic asked for with its state."""
        return dict(self._topics)

    def state(self, topic: Topic) -> SubscriptionState | None:
        """Return the state of one topic, None if it is not asked for."""
        return self._topics.get(topic)

    def take_changed(self) -> set[Topic]:
        """Return the topics that got another state since this was last asked."""
        changed, self._changed = self._changed, set()
        return changed

    def carriers(self, topic: Topic) -> Sequence[str]:
        """Name one connection per endpoint, as if there were no more."""
        state = self._topics.get(topic)
        is_carried = state not in (None, SubscriptionState.REQUESTED, SubscriptionState.REJECTED)
        return [topic.endpoint.value] if is_carried else []

    def connections(self) -> list[ConnectionStatus]:
        """Return what the test set."""
        return list(self.statuses)

    def silences(self) -> Mapping[tuple[Endpoint, Channel], float]:
        """Return what the test set."""
        return dict(self.silent)

    def replace(self, connection: str, why: str) -> bool:
        """Take note of whom a person wants replaced."""
        self.calls.append(("replace", [connection, why]))
        return any(one.name == connection for one in self.statuses)

    def answer(self, topic: Topic, state: SubscriptionState, error: str | None = None) -> None:
        """Let the venue say what it made of a topic."""
        self._topics[topic] = state
        self._changed.add(topic)
        self._tell(topic, state, error)

    def _tell(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        if self.observer is not None:
            self.observer.topic_changed(topic, state, error)


@dataclass
class MemoryNotices:
    """`VenueNotices` that the test puts up; what is `ongoing` takes data from its endpoints."""

    told: list[MaintenanceNotice] = field(default_factory=list)

    def notices(self) -> Sequence[MaintenanceNotice]:
        """Return what the test put up."""
        return list(self.told)

    def is_ongoing(self, endpoint: Endpoint) -> bool:
        """Say whether maintenance takes data from an endpoint right now."""
        return any(one.state == "ongoing" and endpoint in one.endpoints for one in self.told)


@dataclass
class MemoryDelivery:
    """A `DeliveryReport` that says what the test set."""

    state: BrokerState = BrokerState.READY
    last_error: str | None = None
    problems: tuple[QueueProblem, ...] = field(default=())
    lanes: tuple[LaneStatus, ...] = field(default=())
    spool_error: str | None = None
    lost: Carries | None = None
    silent_seconds: float = 0.0

    def status(self) -> DeliveryStatus:
        """Return the state right now."""
        connections = [
            PublishingStatus(one, self.state, self.last_error, self.silent_seconds)
            if self.lost in (None, one)
            else PublishingStatus(one, BrokerState.READY, None, self.silent_seconds)
            for one in Carries
        ]
        return DeliveryStatus(
            self.state,
            self.last_error,
            3,
            900,
            self.problems,
            self.lanes,
            self.spool_error,
            connections=tuple(connections),
        )


@dataclass
class MemoryClock:
    """A `ClockComparison` that says what the test set."""

    offset_ms: int = 0
    uncertainty_ms: int = 0
    measured_at: datetime | None = None


@dataclass
class MemoryBacklog:
    """A `BacklogReport` that says what the test set."""

    told: list[QueueStatus] = field(default_factory=list)

    def queues(self) -> Sequence[QueueStatus]:
        """Return what the test set."""
        return list(self.told)


def connection(
    category: str,
    state: SessionState = SessionState.STREAMING,
    error: str | None = None,
    *,
    name: str | None = None,
    breaker: BreakerState = BreakerState.CLOSED,
    retry_at: datetime | None = None,
) -> ConnectionStatus:
    """Build the status of one connection; it has the name of its category unless told."""
    return ConnectionStatus(
        name=name or category,
        connection_status=state,
        environment="testnet",
        category=category,
        connection_duration_seconds=1.5,
        last_heartbeat_at=None,
        reconnection_count=2,
        last_error=error,
        active_subscriptions=1,
        breaker=breaker,
        wanted_subscriptions=1,
        retry_at=retry_at,
        shard=(name or category).partition(".")[0],
    )
