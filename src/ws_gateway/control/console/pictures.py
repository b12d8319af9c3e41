"""One picture a second of everything there is, made once for all who watch."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import BaseModel

from ws_gateway.control.connection_schemas import MaintenanceAnswer
from ws_gateway.control.console.lookout import Lookout, Sight, TopicRow
from ws_gateway.control.console.schemas import (
    BrokerLink,
    ConnectionPicture,
    Flow,
    Link,
    MarkerPicture,
    MarkersPicture,
    Picture,
    PrivateClass,
    PrivatePicture,
    ReasonToAct,
    SpoolPicture,
    TopicPicture,
    TopicsPicture,
    TroublePicture,
    TroublesPicture,
)
from ws_gateway.control.health import HealthReporter, Report
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.queue_schemas import QueueAnswer
from ws_gateway.control.reasons import BROKER_SILENT_SECONDS
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.remedies import remedy
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, EventClass, Topic
from ws_gateway.ports.delivery import DeliveryStatus, QueueStatus
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.ports.streams import MarkerReport, StreamReport
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.recent import RecentTroubles

PICTURE_SECONDS = 1.0
"""How long a picture serves all who watch."""

MOST_REASONS, MOST_CONNECTIONS, MOST_QUEUES = 50, 100, 200
"""How many of each a picture shows; all are counted."""

MOST_FILTERS = 64
"""For how many different searches the topics of one picture are kept."""

DATABASE_PATIENCE_SECONDS = 0.25
"""How long a picture waits for the database's answer; the next one has it."""

_RATE_LOOKS = 5


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a picture is read.

    Attributes:
        health: what `/health` and `/api/v1/queues` are told from, so that nothing is told twice.
        topics: every topic, who wants it and who carries it; None shows none.
        streams: what came of each topic; None if nobody counts.
        markers: those made last; None if nobody keeps them.
        troubles: the newest warnings and errors.
        meters: what is measured for operators alone.
        has_key: a Bybit key is configured.
    """

    health: HealthReporter
    topics: Reconciler | None = None
    streams: StreamReport | None = None
    markers: MarkerReport | None = None
    troubles: RecentTroubles = field(default_factory=RecentTroubles)
    meters: Meters = field(default_factory=Meters)
    has_key: bool = False


@dataclass(slots=True)
class Shot:
    """One picture, written once; its topics are written per search.

    Attributes:
        at: monotonic seconds.
        picture: as JSON.
    """

    at: float
    picture: str
    sight: Sight
    known: Reconciler | None
    account_of: Callable[[Topic], str | None]
    _topics: dict[tuple[str, int], str] = field(default_factory=dict)

    async def topics(self, search: str, most: int) -> str:
        """Write the topics that a viewer wants to see, as JSON."""
        wanted = (search, most)
        if wanted not in self._topics:
            rows, fitting = await self.sight.rows(search, most)
            text = _json(
                TopicsPicture(
                    fitting=fitting,
                    total=self.sight.total,
                    items=[self._topic(row) for row in rows],
                )
            )
            if len(self._topics) >= MOST_FILTERS:
                return text
            self._topics[wanted] = text
        return self._topics[wanted]

    def _topic(self, row: TopicRow) -> TopicPicture:
        topic, known = row.status.topic, self.known
        services = 0 if known is None else known.services(topic)
        carriers = () if known is None else tuple(known.carriers(topic))
        return TopicPicture.of(
            row, self.sight.monotonic, services, carriers, self.account_of(topic)
        )


class Pictures:
    """Makes pictures while somebody asks for them, at most one a second.

    Args:
        sources: where they are read.
        monotonic: clock in seconds.
    """

    def __init__(
        self, sources: Sources, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._monotonic = monotonic
        self._lookout = Lookout(sources.streams, monotonic=monotonic, clock_us=clock_us)
        self._lock = asyncio.Lock()
        self._shot: Shot | None = None
        self._asking: asyncio.Task[None] | None = None
        self._flows: deque[tuple[float, int, int]] = deque(maxlen=_RATE_LOOKS)
        self._written: dict[str, tuple[int, str]] = {}

    async def newest(self, viewers: int) -> Shot:
        """Return the picture of now; it may be a second old."""
        async with self._lock:
            if self._shot is None or self._monotonic() - self._shot.at >= 0.9 * PICTURE_SECONDS:
                self._shot = await self._take(viewers)
            return self._shot

    def markers(self) -> tuple[int, str]:
        """Return the newest markers as JSON, and a number that rises with each."""
        report = self._sources.markers
        revision = 0 if report is None else report.revision

        def write() -> BaseModel:
            groups = () if report is None else report.markers()
            return MarkersPicture(items=[MarkerPicture.of(one) for one in groups])

        return self._once("markers", revision, write)

    def troubles(self, *, is_allowed: bool) -> tuple[int, str]:
        """Return the newest errors as JSON, and a number that rises with each."""
        troubles = self._sources.troubles
        if not is_allowed:
            return 0, _json(TroublesPicture(is_allowed=False, items=[]))

        def write() -> BaseModel:
            items = [TroublePicture.of(one) for one in troubles.newest()]
            return TroublesPicture(is_allowed=True, items=items)

        return self._once("errors", troubles.revision, write)

    def close(self) -> None:
        """Wait for no answer of the database any more."""
        if self._asking is not None:
            self._asking.cancel()

    def _once(self, name: str, revision: int, write: Callable[[], BaseModel]) -> tuple[int, str]:
        known = self._written.get(name)
        if known is None or known[0] != revision:
            known = self._written[name] = (revision, _json(write()))
        return known

    async def _take(self, viewers: int) -> Shot:
        at = datetime.now(UTC)
        await self._ask_database()
        report = self._sources.health.now()
        known = self._sources.topics
        sight = await self._lookout.look([] if known is None else list(known.board.topics()))
        picture = self._picture(at, report, sight, viewers)
        account_of = self._sources.health.account_of
        return Shot(sight.monotonic, _json(picture), sight, self._sources.topics, account_of)

    async def _ask_database(self) -> None:
        """Ask without waiting for a database that hangs: a late picture would tell less."""
        if self._asking is None or self._asking.done():
            if self._asking is not None and not self._asking.cancelled():
                self._asking.result()  # raises what nobody foresaw
            asking = self._sources.health.ask_database()
            self._asking = asyncio.get_running_loop().create_task(asking, name="console database")
        await asyncio.wait({self._asking}, timeout=DATABASE_PATIENCE_SECONDS)

    def _picture(self, at: datetime, report: Report, sight: Sight, viewers: int) -> Picture:
        queues = sorted(self._sources.health.queues(), key=_queue_urgency)
        connections = sorted(report.connections, key=_connection_urgency)
        lost = report.database_error
        return Picture(
            at=at,
            status=report.status,
            is_ready=not any(one.is_blocking for one in report.reasons),
            reasons=[
                ReasonToAct(
                    code=one.code,
                    subject=one.subject,
                    detail=one.detail,
                    is_blocking=one.is_blocking,
                    is_announced=one.is_announced,
                    remedy=remedy(one.code),
                )
                for one in sorted(report.reasons, key=lambda one: not one.is_blocking)[
                    :MOST_REASONS
                ]
            ],
            reason_total=len(report.reasons),
            version=report.version,
            epoch=report.epoch,
            uptime_seconds=report.uptime_seconds,
            viewers=viewers,
            flow=self._flow(report),
            database=Link(status="lost" if lost else "ok", last_error=lost),
            broker=_broker(report.delivery),
            maintenance=[MaintenanceAnswer.of(one) for one in report.maintenance],
            connections=[
                ConnectionPicture.model_validate(one, from_attributes=True)
                for one in connections[:MOST_CONNECTIONS]
            ],
            connection_total=len(connections),
            streaming_total=sum(
                one.connection_status is SessionState.STREAMING for one in connections
            ),
            queues=[
                QueueAnswer.model_validate(one, from_attributes=True)
                for one in queues[:MOST_QUEUES]
            ],
            queue_total=len(queues),
            alerting_total=sum(_is_alerting(one) for one in queues),
            topics=dict(sight.counts),
            quiet_topics=sight.quiet,
            quiet_names=sight.quiet_names,
            private=self._private(report, sight),
        )

    def _flow(self, report: Report) -> Flow:
        counters, now = report.counters, self._monotonic()
        received, confirmed = counters.get("received", 0), counters.get("confirmed", 0)
        if self._flows and now - self._flows[-1][0] > _RATE_LOOKS * PICTURE_SECONDS:
            self._flows.clear()  # nobody watched meanwhile
        rates: tuple[float | None, float | None] = (None, None)
        if self._flows and now > self._flows[0][0]:
            at, received_then, confirmed_then = self._flows[0]
            rates = (
                round((received - received_then) / (now - at), 1),
                round((confirmed - confirmed_then) / (now - at), 1),
            )
        self._flows.append((now, received, confirmed))
        return Flow(
            received_per_second=rates[0],
            confirmed_per_second=rates[1],
            received=received,
            lost=sum(
                count
                for ends in ("shed", "rejected")
                for reason, count in counters.get(ends, {}).items()
                if reason != "conflated"  # a newer value took its place
            ),
            in_flight=counters.get("in_flight", 0),
            latency_p50_us=counters.get("latency_p50_us"),
            latency_p99_us=counters.get("latency_p99_us"),
            loop_lag_ms=round(self._sources.meters.loop.most_seconds * 1000, 1),
        )

    def _private(self, report: Report, sight: Sight) -> PrivatePicture:
        delivery = report.delivery
        mine = [one for one in report.connections if one.category == Endpoint.PRIVATE.value]
        worst = min(mine, key=_connection_urgency, default=None)
        of_class: defaultdict[EventClass, list[TopicRow]] = defaultdict(list)
        for row in sight.private:
            of_class[row.status.topic.event_class].append(row)
        return PrivatePicture(
            has_key=self._sources.has_key,
            status="none" if worst is None else worst.connection_status.value,
            last_error=None if worst is None else worst.last_error,
            classes=[_private_class(name, rows) for name, rows in sorted(of_class.items())],
            spool=SpoolPicture(
                events=report.counters.get("spooled", 0),
                size_bytes=delivery.spool_bytes,
                max_bytes=self._sources.meters.spool_max_bytes,
                held=delivery.held_private,
                error=delivery.spool_error,
                left_behind=list(delivery.spools_left),
            ),
        )


def _broker(delivery: DeliveryStatus) -> BrokerLink:
    silent = max((one.silent_seconds for one in delivery.connections), default=0.0)
    return BrokerLink(
        status=delivery.state.value,
        last_error=delivery.last_error,
        silent_seconds=round(silent, 1),
        is_silent=silent >= BROKER_SILENT_SECONDS,
    )


def _private_class(name: EventClass, rows: Sequence[TopicRow]) -> PrivateClass:
    ages = [row.age_seconds for row in rows if row.age_seconds is not None]
    rates = [row.rate for row in rows if row.rate is not None]
    newest = None
    if ages:
        newest = datetime.fromtimestamp(round(time.time() - min(ages), 3), UTC)
    return PrivateClass(
        event_class=name,
        topics=len(rows),
        active=sum(row.status.state is SubscriptionState.ACTIVE for row in rows),
        events=sum(row.events for row in rows),
        last_event_at=newest,
        per_second=round(sum(rates), 2) if rates else None,
    )


def _connection_urgency(one: ConnectionStatus) -> tuple[bool, str]:
    return one.connection_status is SessionState.STREAMING, one.name


def _is_alerting(one: QueueStatus) -> bool:
    is_seen = one.looked_at is not None and one.depth is not None
    return one.is_current and (bool(one.alerts) or (is_seen and one.problem is not None))


def _queue_urgency(one: QueueStatus) -> tuple[bool, bool, int, str]:
    return not one.alerts, one.problem is None, -(one.depth or 0), one.name


def _json(model: BaseModel) -> str:
    return model.model_dump_json()
