"""What the gateway says of itself: how it is, and whether it may receive work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ws_gateway import __version__
from ws_gateway.control.reconciler import Reconciler, ReconcilerStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import (
    BrokerState,
    ConnectionStatus,
    DeliveryReport,
    DeliveryStatus,
    Feed,
    SessionState,
    SubscriptionStore,
)

PING_SECONDS = 2.0
"""Longest wait for the database's answer."""

PING_AGE_SECONDS = 1.0
"""How long an answer serves further callers: the probes need no key, so anybody may call them."""

PRIVATE = "private"
"""`ConnectionStatus.category` of the private connection."""

# Of a connection where everything was refused or is leaving, no data can be expected.
_BRINGS_NOTHING = frozenset(
    {SubscriptionState.REJECTED, SubscriptionState.REMOVING, SubscriptionState.REMOVED}
)
_NAMED_TOPICS = 5  # how many stalled topics a reason names


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps data from flowing."""

    code: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything `/health` shows; `status` is ok, degraded or down."""

    status: str
    reasons: list[Reason]
    database_error: str | None
    delivery: DeliveryStatus
    connections: list[ConnectionStatus]
    subscriptions: ReconcilerStatus
    counters: Mapping[str, Any]
    version: str
    epoch: str
    uptime_seconds: float


class HealthReporter:
    """Gathers what each room says of itself.

    Args:
        counters: answers the delivery counters as they are now.
        epoch: this process's run of numbering.
        monotonic: clock in seconds.
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._feed = feed
        self._delivery = delivery
        self._reconciler = reconciler
        self._counters = counters
        self._epoch = epoch
        self._monotonic = monotonic
        self._started_at = monotonic()
        self._ping_lock = asyncio.Lock()
        self._pinged_at: float | None = None
        self._database_error: str | None = None

    async def report(self) -> Report:
        """Look at everything now; the database's answer may be a second old."""
        database_error = await self._ping()
        delivery = self._delivery.status()
        connections = self._feed.connections()
        subscriptions = self._reconciler.status()
        reasons = [
            *_database_reasons(database_error, subscriptions),
            *_delivery_reasons(delivery),
            *self._connection_reasons(connections),
            *_stalled_reasons(subscriptions),
        ]
        return Report(
            status=_overall(reasons, delivery, connections),
            reasons=reasons,
            database_error=database_error,
            delivery=delivery,
            connections=connections,
            subscriptions=subscriptions,
            counters=self._counters(),
            version=__version__,
            epoch=self._epoch,
            uptime_seconds=round(self._monotonic() - self._started_at, 3),
        )

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per connection that exists."""
        return self._feed.connections()

    async def _ping(self) -> str | None:
        async with self._ping_lock:
            now = self._monotonic()
            if self._pinged_at is None or now - self._pinged_at >= PING_AGE_SECONDS:
                self._database_error = await self._ask_database()
                self._pinged_at = self._monotonic()
            return self._database_error

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._store.ping()
        except DatabaseLost as exc:
            return str(exc)
        except TimeoutError:
            return f"PostgreSQL did not answer in {PING_SECONDS:.0f} s"
        return None

    def _connection_reasons(self, connections: list[ConnectionStatus]) -> list[Reason]:
        wanted = {
            topic.category or PRIVATE
            for topic, state in self._feed.wanted().items()
            if state not in _BRINGS_NOTHING
        }
        present = {connection.category for connection in connections}
        reasons = [
            Reason("connection_missing", category, "topics are wanted, no connection exists yet")
            for category in sorted(wanted - present)
        ]
        for one in connections:
            # A refused login counts although nothing may be wanted yet: it will not mend itself.
            login_refused = one.category == PRIVATE and one.last_error is not None
            if one.connection_status is not SessionState.STREAMING and (
                one.category in wanted or login_refused
            ):
                because = f": {one.last_error}" if one.last_error else ""
                detail = f"connection is {one.connection_status}{because}"
                reasons.append(Reason("connection_not_streaming", one.name, detail))
        return reasons


def _database_reasons(error: str | None, subscriptions: ReconcilerStatus) -> list[Reason]:
    if error := error or subscriptions.database_error:
        return [Reason("database_lost", "database", error)]
    if not subscriptions.is_restored:
        return [
            Reason("not_restored", "subscriptions", "the stored subscriptions are still being read")
        ]
    return []


def _delivery_reasons(delivery: DeliveryStatus) -> list[Reason]:
    reasons = [Reason("queue_problem", "broker", problem) for problem in delivery.problems]
    if delivery.state is not BrokerState.READY:
        because = f": {delivery.last_error}" if delivery.last_error else ""
        code = "broker_blocked" if delivery.state is BrokerState.BLOCKED else "broker_lost"
        reasons.insert(0, Reason(code, "broker", f"broker is {delivery.state}{because}"))
    return reasons


def _stalled_reasons(subscriptions: ReconcilerStatus) -> list[Reason]:
    if not subscriptions.stalled:
        return []
    named = ", ".join(subscriptions.stalled[:_NAMED_TOPICS])
    more = len(subscriptions.stalled) - _NAMED_TOPICS
    rest = f" and {more} more" if more > 0 else ""
    return [Reason("topics_stalled", "venue", f"no data although acknowledged: {named}{rest}")]


def _overall(
    reasons: list[Reason], delivery: DeliveryStatus, connections: list[ConnectionStatus]
) -> str:
    """Say `down` when no event can reach a consumer, `degraded` when some may not."""
    if not reasons:
        return "ok"
    is_cut_off = any(reason.code.startswith("connection_") for reason in reasons) and not any(
        one.connection_status is SessionState.STREAMING for one in connections
    )
    return "down" if delivery.state is not BrokerState.READY or is_cut_off else "degraded"
