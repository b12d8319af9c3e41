"""What the gateway says of itself: how it is, and whether it may receive work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any

from ws_gateway import __version__
from ws_gateway.control.endpoints import EndpointView, view_endpoints
from ws_gateway.control.reasons import (
    Reason,
    account_reasons,
    database_reasons,
    delivery_reasons,
    overall_status,
    queue_reasons,
    recording_reasons,
    refusal_reasons,
)
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.topic_states import ReconcilerStatus, TopicStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Endpoint, Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.account import AccountDesk
from ws_gateway.ports.delivery import BacklogReport, DeliveryReport, DeliveryStatus, QueueStatus
from ws_gateway.ports.feed import ConnectionStatus, Feed, MaintenanceNotice, VenueNotices
from ws_gateway.ports.store import SubscriptionStore
from ws_gateway.runtime.counters import RecordingTally

PING_SECONDS = 2.0
"""Longest wait for the database's answer."""

PING_AGE_SECONDS = 1.0
"""How long an answer serves further callers: the probes need no key, so anybody may call them."""

MAX_DIFFERENCES = 1000
"""How many topics one look at the connections names; all are counted."""

_LACKING = tuple(state for state in SubscriptionState if state is not SubscriptionState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Places:
    """Where what the gateway needs is, for people; without any login.

    Attributes:
        database: and who brings it back, if the gateway does.
    """

    database: str = "PostgreSQL"
    broker: str = "RabbitMQ"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `/health` shows; `status` is ok, degraded or down."""

    status: str
    reasons: list[Reason]
    maintenance: Sequence[MaintenanceNotice]
    database_error: str | None
    delivery: DeliveryStatus
    connections: list[ConnectionStatus]
    subscriptions: ReconcilerStatus
    counters: Mapping[str, Any]
    version: str
    epoch: str
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is wanted and not active.

    Attributes:
        since: when it came to its present state.
        account: whose it is, by name; None of a public one.
    """

    topic: Topic
    state: SubscriptionState
    error: str | None
    since: datetime
    account: str | None = None


@dataclass(frozen=True, slots=True)
class VenueReport:
    """What is wanted of the venue, what there is, and the difference.

    Attributes:
        is_restored: what is wanted is known; False before the ledger was read once.
        differences: what may still come first, then what was rejected; the oldest first.
        difference_total: how many there are, those that are not named included.
    """

    is_restored: bool
    endpoints: list[EndpointView]
    differences: list[Difference]
    difference_total: int

    @property
    def desired(self) -> int:
        """Say how many topics are wanted."""
        return sum(view.desired for view in self.endpoints)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HealthReporter:
    """Gathers what each room says of itself.

    Args:
        reconciler: has to tell the time by the same `monotonic`.
        counters: answers the delivery counters as they are now.
        epoch: this process's run of numbering.
        notices: what the venue announces; None if nobody listens to it.
        backlog: what the queues hold; None if nobody watches them.
        accounts: whose balances are stored.
        recording: what becomes of the recording of raw frames, if there is one.
        places: where database and broker are.
        monotonic: clock in seconds.
        utc_now: the time of day, for people.
    """

    def __init__(
        self,
        *,
        store: SubscriptionStore,
        feed: Feed,
        delivery: DeliveryReport,
        reconciler: Reconciler,
        counters: Callable[[], Mapping[str, Any]],
        epoch: str,
        notices: VenueNotices | None = None,
        backlog: BacklogReport | None = None,
        accounts: Sequence[AccountDesk] = (),
        recording: RecordingTally | None = None,
        places: Places | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._store = store
        self._feed = feed
        self._delivery = delivery
        self._reconciler = reconciler
        self._counters = counters
        self._epoch = epoch
        self._notices = notices
        self._backlog = backlog
        self._accounts = accounts
        self._recording = recording
        self._places = places or Places()
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._started_at = monotonic()
        self._ping_lock = asyncio.Lock()
        self._pinged_at: float | None = None
        self._database_error: str | None = None

    async def report(self) -> Report:
        """Look at everything now; the database's answer may be a second old."""
        await self.ask_database()
        return self.now()

    def now(self) -> Report:
        """Look at everything now; of the database, what `ask_database` learned last."""
        database_error = self._database_error
        delivery = self._delivery.status()
        connections = self._connections()
        subscriptions = self._reconciler.status()
        endpoints = self._views(connections)
        now = self._monotonic()
        of_venue = [reason for view in endpoints for reason in view.reasons(now)]
        reasons = [
            *database_reasons(database_error, subscriptions, self._places.database),
            *delivery_reasons(delivery, self._places.broker),
            *refusal_reasons(delivery, self.queues()),
            *of_venue,
            *queue_reasons(self.queues()),
            *account_reasons(self._accounts),
            *recording_reasons(self._recording),
        ]
        is_cut_off = any(reason.is_blocking for reason in of_venue) and not any(
            view.is_flowing for view in endpoints
        )
        return Report(
            status=overall_status(reasons, delivery, is_cut_off=is_cut_off),
            reasons=reasons,
            maintenance=() if self._notices is None else self._notices.notices(),
            database_error=database_error,
            delivery=delivery,
            connections=connections,
            subscriptions=subscriptions,
            counters=self._counters(),
            version=__version__,
            epoch=self._epoch,
            uptime_seconds=round(self._monotonic() - self._started_at, 3),
        )

    def queues(self) -> Sequence[QueueStatus]:
        """Return how each queue was at the last look."""
        return () if self._backlog is None else self._backlog.queues()

    def silences(self) -> Mapping[tuple[Endpoint, Channel], float]:
        """Return the longest present silence of any flowing topic, in seconds."""
        return self._feed.silences()

    def replace_connection(self, name: str) -> bool:
        """Let a successor take a connection's place; answers whether it exists."""
        return self._feed.replace(name, "a person asked for it")

    def venue(self, only: Endpoint | None = None) -> VenueReport:
        """Compare what the ledger wants with what is active, at one endpoint or at all."""
        subscriptions = self._reconciler.status()
        endpoints = self._views(self._connections(), only)
        lacking = [one for view in endpoints for one in view.of(*_LACKING)]
        # Of one moment, so that what began together is told of one time.
        zero = self._utc_now() - timedelta(seconds=self._monotonic())
        return VenueReport(
            is_restored=subscriptions.is_restored,
            endpoints=endpoints,
            differences=[
                Difference(
                    one.topic,
                    one.state,
                    one.error,
                    _to_millis(zero + timedelta(seconds=one.since)),
                    self.account_of(one.topic),
                )
                for one in nsmallest(MAX_DIFFERENCES, lacking, key=_urgency)
            ],
            difference_total=len(lacking),
        )

    @property
    def _first(self) -> str | None:
        """Name the account whose topics and connections name none."""
        return self._accounts[0].name if self._accounts else None

    def account_of(self, topic: Topic) -> str | None:
        """Name the account that a topic is of; None for a public one."""
        return (topic.account or self._first) if topic.is_private else None

    def _connections(self) -> list[ConnectionStatus]:
        """Return every connection; a private one with the name of its account."""
        return [
            replace(one, account=self._first)
            if one.category == Endpoint.PRIVATE.value and one.account is None
            else one
            for one in self._feed.connections()
        ]

    def _views(
        self, connections: Sequence[ConnectionStatus], only: Endpoint | None = None
    ) -> list[EndpointView]:
        wanted = self._reconciler.board.wanted
        return view_endpoints(wanted, connections, self._notices, only, self._first)

    async def ask_database(self) -> None:
        """Learn whether the database answers; asks it at most once a second."""
        async with self._ping_lock:
            now = self._monotonic()
            if self._pinged_at is None or now - self._pinged_at >= PING_AGE_SECONDS:
                self._database_error = await self._ask_database()
                self._pinged_at = self._monotonic()

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._store.ping()
        except DatabaseLost as exc:
            return str(exc)
        except TimeoutError:
            return f"PostgreSQL did not answer in {PING_SECONDS:.0f} s"
        return None


def _urgency(one: TopicStatus) -> tuple[bool, float, str]:
    return one.state is SubscriptionState.REJECTED, one.since, one.topic.key


def _to_millis(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
