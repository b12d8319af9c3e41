"""Seams between control and the venue: what is to be held, and how its connections are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ws_gateway.domain.category import Listing
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Endpoint, Topic
from ws_gateway.runtime.breaker import BreakerState


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
        shard: the set of topics it carries; the name stays when the connection is replaced.
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
    shard: str = ""


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
