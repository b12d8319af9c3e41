"""A subscription with what became of it, as of now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ws_gateway.domain.routing import queue_name
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.streams import StreamReport

QUEUE_PREFIX = "ws-gateway"
"""What the names of queues begin with unless a setting says otherwise."""

_CLOCK_STEP = timedelta(seconds=1)
"""How far the time of day has to be set before moments are told anew."""


@dataclass(frozen=True, slots=True)
class LiveSubscription:
    """A stored subscription, and what the rooms say of its topic.

    Attributes:
        subscription: as stored, with the state its topic has now.
        connections: those that carry the topic.
        events: of the topic, for whomever, since the gateway started.
        last_event_at: when the newest of them was read, None before the first.
        services: how many services want the topic.
        queue: which one its service reads.
        account: whose it is, by name; None of a public topic.
    """

    subscription: Subscription
    connections: tuple[str, ...] = ()
    events: int = 0
    last_event_at: datetime | None = None
    services: int = 1
    queue: str = ""
    account: str | None = None


class TopicReport(Protocol):
    """What is known of a topic; the reconciler."""

    def state(self, topic: Topic) -> tuple[SubscriptionState, str | None, float] | None:
        """Return a topic's state, its words, and since when, in monotonic seconds."""

    def carriers(self, topic: Topic) -> Sequence[str]:
        """Name the connections that carry a topic."""

    def services(self, topic: Topic) -> int:
        """Say how many services want a topic."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LiveView:
    """Adds to stored subscriptions what is true of them now.

    Args:
        topics: what is known of each topic.
        streams: what came of each; None if nobody counts.
        queue_prefix: what the names of queues begin with.
        account_of: names the account of a topic.
        utc_now: the time of day.
        monotonic: the clock of `TopicReport.state`, in seconds.
    """

    def __init__(
        self,
        topics: TopicReport,
        streams: StreamReport | None = None,
        *,
        queue_prefix: str = QUEUE_PREFIX,
        account_of: Callable[[Topic], str | None] = lambda topic: topic.account,
        utc_now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._streams = streams
        self._queue_prefix = queue_prefix
        self._account_of = account_of
        self._utc_now = utc_now
        self._monotonic = monotonic
        self._zero = utc_now() - timedelta(seconds=monotonic())

    def _moment(self, since: float) -> datetime:
        """Say what time of day it was then; the same moment is told the same way every time."""
        zero = self._utc_now() - timedelta(seconds=self._monotonic())
        if abs(zero - self._zero) > _CLOCK_STEP:
            self._zero = zero
        return self._zero + timedelta(seconds=since)

    def state(self, row: Subscription) -> SubscriptionState:
        """Return the state its topic has now."""
        told = self._topics.state(row.topic)
        return row.state if told is None else told[0]

    def of(self, row: Subscription) -> LiveSubscription:
        """Say what became of one; it is read from memory, so it may be asked for in thousands."""
        topic = row.topic
        told = self._topics.state(topic)
        if told is not None:
            state, error, at = told
            since = max(row.created_at, self._moment(at))
            row = replace(row, state=state, last_error=error, state_since=since)
        is_own = row.delivery is Delivery.DEDICATED
        service = row.requesting_service if is_own else None
        stream = None if self._streams is None else self._streams.stream(topic)
        return LiveSubscription(
            row,
            tuple(self._topics.carriers(topic)),
            0 if stream is None else stream.events,
            None if stream is None else _moment(stream.last_event_at_us),
            max(1, self._topics.services(topic)),
            queue_name(self._queue_prefix, topic.event_class, service),
            self._account_of(topic),
        )


def _moment(at_us: int) -> datetime:
    seconds, rest = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest)
