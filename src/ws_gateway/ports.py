"""The seams between rooms: each room sees the others only as these.

Data walks venue → pipeline → delivery; wishes walk control → storage → venue. Only `composition`
and `bootstrap.py` know which object stands behind a seam.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from ws_gateway.domain.audit import AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller
from ws_gateway.domain.category import Listing
from ws_gateway.domain.event import Event, GapReason, Kind, Observation
from ws_gateway.domain.key import ApiKey, NewKey, StoredKey
from ws_gateway.domain.subscription import (
    Delivery,
    Subscription,
    SubscriptionState,
    UnreadableRow,
)
from ws_gateway.domain.topic import Category, Channel, Endpoint, EventClass, Lane, Topic
from ws_gateway.runtime.breaker import BreakerState

# ── venue → pipeline ──────────────────────────────────────────────────────────────────────────


class ObservationSink(Protocol):
    """Front door of the pipeline; called synchronously from a socket read, so it never waits."""

    def accept(self, observation: Observation) -> None:
        """Take one fact, in the order it was read."""

    def suppress(self, observation: Observation) -> None:
        """Count a further copy of a fact that was taken already."""

    def last_update_id(self, topic: Topic) -> int | None:
        """Return the newest update id of an unbroken book; None while a snapshot is awaited."""

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts of these topics are being missed from now on.

        Args:
            topics: the streams, also those that told nothing yet.
            reason: why.
            detail: what happened, for people.
            is_announced: tell consumers at once; otherwise before the next fact, because until
                then nobody asks for the stream.
        """


class UnreadableSink(Protocol):
    """Where bytes go that could not be understood."""

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Keep the bytes (bounded) with the reason; count them; log once per kind and minute."""


class FrameLine(Protocol):
    """One open connection in a recording; never waits."""

    def received(self, raw: bytes, at_us: int) -> None:
        """Record a frame from the venue."""

    def sent(self, raw: bytes, at_us: int) -> None:
        """Record a frame to the venue, without what is secret in it."""

    def closed(self, why: str, at_us: int) -> None:
        """Record that the connection is gone."""


class FrameRecorder(Protocol):
    """Where raw frames are recorded; never waits."""

    def open_line(self, name: str, path: str, at_us: int, *, is_private: bool) -> FrameLine | None:
        """Take note of a connection that was opened; None if it is not to be recorded."""


# ── pipeline → venue ──────────────────────────────────────────────────────────────────────────


class Resync(Protocol):
    """How the pipeline asks for a fresh snapshot of one topic."""

    def resync(self, topic: Topic) -> None:
        """Unsubscribe and subscribe again; the other topics of the socket are not touched."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What came between two facts of a stream, as far as it could be had.

    Attributes:
        facts: as the stream would have told them, in order, with source backfill.
        rows: how many trades or candles they hold.
        lacking: what could not be had, for people; empty if that is nothing.
        is_behind: the source does not know the second of the two facts yet.
    """

    facts: Sequence[Observation]
    rows: int
    lacking: str
    is_behind: bool = False


class MarketPast(Protocol):
    """Who knows what came between two facts of a stream of trades or candles."""

    def follows(self, last: Observation, first: Observation) -> bool:
        """Say whether nothing can be missing between two facts, without asking anybody."""

    async def between(self, last: Observation, first: Observation) -> Missed:
        """Read what came between two facts.

        Raises:
            VenueLost: it could not be read now.
            Rejected: it cannot be read at all.
        """


# ── pipeline → delivery ───────────────────────────────────────────────────────────────────────


class EventOutlet(Protocol):
    """Front door of delivery; never waits."""

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken now."""


class LossObserver(Protocol):
    """Told by delivery what became impossible after it had taken responsibility."""

    def events_lost(self, lost: Sequence[tuple[Topic, int]], detail: str) -> None:
        """Announce the holes that these events, by topic and sequence, leave in their streams."""

    def stretch_lost(self, topic: Topic, first: int, last: int, detail: str) -> bool:
        """Announce a stretch of one stream, in which some events may have arrived.

        Answers whether it was: a book that was mended too often of late waits for its turn.
        """

    def queue_emptied(self, event_class: str, keys: Collection[str], detail: str) -> None:
        """Mark the streams of a class that are among these keys: their queue vanished."""

    def room_again(self) -> None:
        """Announce the holes that opened while there was no room."""

    def facts_lost(self, topics: Iterable[Topic]) -> None:
        """Take note that private events of these were lost on disk; their markers are made."""


class FactLossObserver(Protocol):
    """Told which private streams lost facts that had been taken; they may be read anew."""

    def facts_lost(self, topics: Iterable[Topic]) -> None:
        """Take note that what was told of these topics did not all arrive."""


# ── control → venue ───────────────────────────────────────────────────────────────────────────


class SessionState(StrEnum):
    """Life of one socket, seen from outside."""

    IDLE = "idle"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    SUBSCRIBING = "subscribing"
    STREAMING = "streaming"
    BACKING_OFF = "backing_off"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """The full `websocket_state` of one connection, as `/health` shows it.

    Attributes:
        category: the `Endpoint` it is of, as text.
        breaker: whether attempts to connect to that endpoint are made freely.
        wanted_subscriptions: topics it is there for.
        last_event_at: when the newest data frame came, None before the first.
        retry_at: when the next attempt to connect is due, None unless it waits for one.
        is_login_refused: `last_error` is about a login the venue did not take.
        uptime_ratio: share of its life in which it streamed.
        last_loss: of which kind `last_error` is (`VenueLost.reason`), None while there is none.
        account: whose data it brings; None on public ones, and from the feed also for the first.
    """

    name: str
    connection_status: SessionState
    environment: str
    category: str
    connection_duration_seconds: float | None
    last_heartbeat_at: datetime | None
    reconnection_count: int
    last_error: str | None
    active_subscriptions: int
    breaker: BreakerState = BreakerState.CLOSED
    wanted_subscriptions: int = 0
    last_event_at: datetime | None = None
    retry_at: datetime | None = None
    is_login_refused: bool = False
    uptime_ratio: float = 0.0
    last_loss: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class MaintenanceNotice:
    """What the venue announced of itself (Bybit v5 docs, System Status).

    Attributes:
        state: `scheduled` or `ongoing`; what is over is not told any more.
        endpoints: those it takes data from.
    """

    id: str
    title: str
    state: str
    begins_at: datetime | None
    ends_at: datetime | None
    endpoints: frozenset[Endpoint]


class VenueNotices(Protocol):
    """What the venue announced, as far as it is known now."""

    def notices(self) -> Sequence[MaintenanceNotice]:
        """Return what is announced or going on."""

    def is_ongoing(self, endpoint: Endpoint) -> bool:
        """Say whether maintenance takes data from an endpoint right now."""


class InstrumentList(Protocol):
    """The instruments the venue lists, as far as they were read."""

    def listing(self, channel: Channel, symbol: str) -> Listing:
        """Say which categories list a symbol; never waits.

        Trades of options are named by their base coin, everything else by the symbol.
        """

    async def misspelt(
        self, channel: Channel, symbol: str, categories: Collection[Category]
    ) -> list[str]:
        """Name the symbols that one was probably meant to be which none of these lists names.

        Empty if it is listed, if nothing is like it, or if that cannot be told.
        """


class TopicObserver(Protocol):
    """Told by the feed what becomes of a topic; called synchronously, never waits."""

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Take note of a new state; `error` has the venue's own words for `rejected`."""


class Feed(Protocol):
    """The venue as control sees it: topics in and out, states back through a `TopicObserver`."""

    def want(self, topics: Sequence[Topic]) -> None:
        """Subscribe to these as soon as possible, and again after every reconnect.

        A topic that was rejected before is tried again.
        """

    def drop(self, topics: Sequence[Topic]) -> None:
        """Unsubscribe from these."""

    def wanted(self) -> Mapping[Topic, SubscriptionState]:
        """Return every topic asked for with its state."""

    def state(self, topic: Topic) -> SubscriptionState | None:
        """Return the state of one topic, None if it is not asked for."""

    def take_changed(self) -> set[Topic]:
        """Return the topics whose `state` may be another than when this was last asked.

        There is one who asks. Others' topics may be among them.
        """

    def carriers(self, topic: Topic) -> Sequence[str]:
        """Name the connections that were asked for a topic and did not refuse it."""

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per connection that exists."""

    def silences(self) -> Mapping[tuple[Endpoint, Channel], float]:
        """Return the longest present silence of any flowing topic, in seconds."""

    def replace(self, connection: str, why: str) -> bool:
        """Close a connection as soon as a successor carries all it does.

        Answers whether a connection of that name exists. If the successor does not come up, the
        connection stays.
        """


class ClockComparison(Protocol):
    """How the venue's clock compares with ours."""

    @property
    def offset_ms(self) -> int:
        """Milliseconds the venue's clock is ahead of ours, as measured last."""

    @property
    def uncertainty_ms(self) -> int:
        """Largest error of that."""

    @property
    def measured_at(self) -> datetime | None:
        """When it was measured; None before the first time."""


# ── control → pipeline ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What came of a topic since the process began.

    Attributes:
        events: that were given a place in the stream; markers, repeats and deltas that had no
            book to apply to are not counted.
        last_event_at_us: when the newest of them was read from the socket, µs.
    """

    events: int
    last_event_at_us: int


class StreamReport(Protocol):
    """What the pipeline says of its streams."""

    def stream(self, topic: Topic) -> StreamStatus | None:
        """Say what came of a topic, None if nothing did."""


@dataclass(frozen=True, slots=True)
class MarkerGroup:
    """Markers that were put into streams of one endpoint for one reason, within moments.

    Attributes:
        kind: gap or resumed.
        topics: the first of them.
        count: how many markers they are.
        began_at_us, ended_at_us: when the first and the last was made, µs.
        detail: of the first.
    """

    kind: Kind
    reason: GapReason
    endpoint: Endpoint
    topics: tuple[str, ...]
    count: int
    began_at_us: int
    ended_at_us: int
    detail: str


class MarkerReport(Protocol):
    """What the pipeline says of the markers it made last."""

    @property
    def revision(self) -> int:
        """Return a number that rises with each marker."""

    def markers(self) -> Sequence[MarkerGroup]:
        """Return the newest, newest first."""


# ── control → storage ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions a caller wants to see; None means any.

    Attributes:
        services: those whose subscriptions the caller may see at all.
        account: whose private topics; empty is the first account.
    """

    requesting_service: str | None = None
    channel: str | None = None
    category: Category | None = None
    symbol: str | None = None
    state: SubscriptionState | None = None
    services: frozenset[str] | None = None
    account: str | None = None

    def fits(self, row: Subscription) -> bool:
        """Say whether a subscription is among those."""
        return (
            self.requesting_service in (None, row.requesting_service)
            and self.channel in (None, row.topic.channel)
            and self.category in (None, row.topic.category)
            and self.symbol in (None, row.topic.symbol)
            and self.state in (None, row.state)
            and (self.services is None or row.requesting_service in self.services)
            and self._is_of_account(row.topic)
        )

    def _is_of_account(self, topic: Topic) -> bool:
        return self.account is None or (topic.is_private and (topic.account or "") == self.account)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic that a service wants, ready to be stored.

    Attributes:
        chosen_by: why this category.
        delivery: which queue; None is shared.
        ttl_seconds: how long the lease is, None for none.
    """

    topic: Topic
    chosen_by: str
    delivery: Delivery | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SetChange:
    """What making a service's whole set true did; `unchanged` counts what stood as wanted."""

    added: list[Subscription]
    removed: list[Subscription]
    changed: list[Subscription]
    unchanged: int


class Fingerprint(NamedTuple):
    """What tells whether two copies of the ledger hold the same wishes."""

    rows: int
    revisions: int


class SubscriptionStore(Protocol):
    """The ledger of desired subscriptions. Every call may raise `DatabaseLost`.

    What changes a wish takes the caller `by` whom it is changed, and notes that in the audit trail
    in the same transaction; without a caller (the gateway itself) nothing is noted.
    """

    async def add(
        self,
        topic: Topic,
        requesting_service: str,
        chosen_by: str,
        delivery: Delivery | None = None,
        *,
        ttl_seconds: int | None = None,
        quota: int | None = None,
        by: Caller | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new.

        A wish that stands already keeps its delivery and its lease where none was named; a lease
        is renewed.

        Args:
            topic: what is wanted.
            requesting_service: who wants it.
            chosen_by: why this category.
            delivery: which queue; None leaves a wish that stands as it is, and is shared for a
                new one.
            ttl_seconds: how long the lease is; None leaves a wish that stands as it is, and is
                none for a new one.
            quota: most subscriptions of that service, None for no bound.
            by: who changes it.

        Raises:
            Contradiction: it stands with another delivery than the one named.
            Throttled: it would be one too many.
        """

    async def replace(
        self, requesting_service: str, wanted: Sequence[Wanted], *, by: Caller | None = None
    ) -> SetChange:
        """Make these, each of another topic, all that a service wants, in one step.

        What is not named is the default: shared, and no lease. What stands as wanted is renewed.
        """

    async def renew(self, requesting_service: str) -> tuple[int, datetime | None]:
        """Begin every lease of a service anew; answers how many, and when the first ends."""

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""

    async def get_all(self, ids: Sequence[UUID]) -> list[Subscription]:
        """Return those of these that exist."""

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in a stable order, beginning behind `after`."""

    async def everything(self) -> tuple[Fingerprint, list[Subscription]]:
        """Return the ledger as it was at one moment; gives way to others in between."""

    async def fingerprint(self) -> Fingerprint:
        """Return what `everything` would be known by."""

    async def remove(
        self, subscription_id: UUID, *, by: Caller | None = None
    ) -> Subscription | UnreadableRow | None:
        """Forget one that the caller speaks for; answers what it was, or None."""

    async def remove_service(
        self, requesting_service: str, *, by: Caller | None = None
    ) -> Sequence[Subscription | UnreadableRow]:
        """Forget all of one service; answers what they were."""

    async def remove_expired(self) -> tuple[list[Subscription], float | None]:
        """Forget every lease that ended; answers what they were, and seconds to the next end."""

    async def begin_leases(self) -> None:
        """Begin every lease anew: nobody could renew it lately."""

    async def set_state(
        self, changes: Mapping[Topic, tuple[SubscriptionState, str | None]]
    ) -> None:
        """Write the state and error of every wish for each topic."""

    async def reset_states(self) -> None:
        """Set every wish back to `requested`: what an earlier process saw says nothing now."""

    async def ping(self) -> None:
        """Prove that the database answers."""


class KeyStore(Protocol):
    """The keys of the HTTP API. Every call may raise `DatabaseLost`.

    Changes are noted in the audit trail in the same transaction.
    """

    async def usable(self) -> Sequence[StoredKey]:
        """Return the keys that are of use, and those that ended within a day."""

    async def find(self, key_id: str) -> StoredKey | None:
        """Return one, whatever became of it, or None."""

    async def page(self, *, after: str | None, limit: int) -> list[ApiKey]:
        """Return up to `limit` in order of creation, beginning behind `after`."""

    async def create(self, new: NewKey, *, by: Caller) -> StoredKey:
        """Store a key."""

    async def rotate(
        self,
        key_id: str,
        successor_id: str,
        secret_hash: bytes,
        *,
        overlap_seconds: int,
        expires_in_seconds: int | None,
        by: Caller,
    ) -> tuple[StoredKey, StoredKey] | None:
        """Store a successor and let the old key expire; answers both, None without an old one.

        Raises:
            Rejected: the old key is of no use any more.
        """

    async def revoke(self, key_id: str, *, by: Caller) -> StoredKey | None:
        """Make one worthless; answers it, or None."""

    async def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write when keys were last used."""


class AuditTrail(Protocol):
    """Who changed what. Every call may raise `DatabaseLost`."""

    async def note(
        self,
        by: Caller,
        action: str,
        subject: str,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Note what changed outside the database."""

    async def page(
        self, wanted: AuditFilter, *, before: UUID | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Return up to `limit`, newest first, beginning behind `before`."""


class RowChange(NamedTuple):
    """A row of the ledger that somebody changed; `revision` is None if it is gone."""

    id: UUID
    revision: int | None


class ChangeListener(Protocol):
    """Told what anybody changed in the ledger; called synchronously, never waits."""

    def rows_changed(self, changes: Sequence[RowChange]) -> None:
        """Take note of these."""

    def ledger_doubtful(self) -> None:
        """Take note that changes may have been missed."""


# ── delivery → storage ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DeclaredQueue:
    """A dedicated queue as the ledger remembers it.

    Attributes:
        bindings: routing keys that are bound, or are about to be.
        is_ours: the gateway made it; otherwise it is filled and never deleted.
    """

    name: str
    requesting_service: str
    event_class: EventClass
    bindings: frozenset[str]
    is_ours: bool


class QueueLedger(Protocol):
    """Which queues are wanted, and which were declared. Every call may raise `DatabaseLost`."""

    async def wishes(self) -> Sequence[tuple[str, Topic, Delivery]]:
        """Return who wants which topic how; of shared ones one topic per service and channel."""

    async def declared(self) -> Sequence[DeclaredQueue]:
        """Return what was recorded and not forgotten."""

    async def record(self, queue: DeclaredQueue) -> None:
        """Remember a queue and its bindings; call it before anything is declared or bound."""

    async def forget(self, name: str) -> None:
        """Forget a queue; call it after it is gone."""


# ── control → delivery ────────────────────────────────────────────────────────────────────────


class DedicatedQueues(Protocol):
    """Whoever keeps the dedicated queues at what the ledger wants; it reads the ledger itself."""

    async def settle(self) -> None:
        """Bring queues and bindings in step now; answers when they are, or after a second.

        Without a broker it answers at once: they will be brought in step when it is back.
        """

    def wishes_changed(self) -> None:
        """Bring queues and bindings in step soon."""


# ── delivery → control ────────────────────────────────────────────────────────────────────────


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
