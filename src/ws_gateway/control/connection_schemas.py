"""What the HTTP API says of the connections to Bybit, and of what is missing on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from ws_gateway.control.endpoints import EndpointView
from ws_gateway.control.health import MAX_DIFFERENCES, Difference, VenueReport
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Endpoint
from ws_gateway.ports.feed import ConnectionStatus, MaintenanceNotice, SessionState
from ws_gateway.runtime.breaker import BreakerState


class Replacement(BaseModel):
    """A connection whose successor was ordered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"connection": "linear"}]})

    connection: str = Field(description="Name of the connection that will be closed.")


_STATE: dict[str, Any] = {
    "name": "linear-1",
    "connection_status": "backing_off",
    "environment": "mainnet",
    "category": "linear",
    "account": None,
    "connection_duration_seconds": None,
    "last_heartbeat_at": "2026-10-01T02:59:41Z",
    "reconnection_count": 4,
    "last_error": "closed: 1006",
    "active_subscriptions": 0,
    "breaker": "open",
    "wanted_subscriptions": 2,
    "last_event_at": "2026-10-01T02:59:58.120Z",
    "retry_at": "2026-10-01T03:00:21Z",
}
_EXAMPLE: dict[str, Any] = {
    "is_restored": True,
    "connections": [_STATE],
    "endpoints": [
        {
            "endpoint": "linear",
            "account": None,
            "connections": 1,
            "streaming": 0,
            "desired": 3,
            "active": 0,
            "pending": 2,
            "rejected": 1,
            "stalled": 0,
            "breaker": "open",
            "maintenance": False,
        }
    ],
    "desired": 3,
    "active": 0,
    "difference_total": 3,
    "difference": [
        {
            "topic": "orderbook.50.BTCUSDT",
            "category": "linear",
            "endpoint": "linear",
            "account": None,
            "state": "requested",
            "error": None,
            "since": "2026-10-01T02:59:58.400Z",
        },
        {
            "topic": "publicTrade.BTCUSDT",
            "category": "linear",
            "endpoint": "linear",
            "account": None,
            "state": "requested",
            "error": None,
            "since": "2026-10-01T02:59:58.400Z",
        },
        {
            "topic": "tickers.NOSUCHUSDT",
            "category": "linear",
            "endpoint": "linear",
            "account": None,
            "state": "rejected",
            "error": "Invalid symbol :[tickers.NOSUCHUSDT]",
            "since": "2026-09-30T18:12:03.007Z",
        },
    ],
}


class WebsocketState(BaseModel):
    """The full state of one connection to Bybit."""

    name: str
    connection_status: SessionState
    environment: str
    category: str = Field(description="The endpoint: a category, `status` or `private`.")
    account: str | None = Field(None, description="Whose data it brings; null on public ones.")
    connection_duration_seconds: float | None
    last_heartbeat_at: datetime | None
    reconnection_count: int
    last_error: str | None = Field(description="Why it was lost; null again when it streams.")
    active_subscriptions: int
    breaker: BreakerState = Field(
        description="`open`: after repeated failures nothing is tried for a while; `half_open`: "
        "one attempt is made to see."
    )
    wanted_subscriptions: int = Field(description="Topics it is there for.")
    last_event_at: datetime | None = Field(description="When it last brought data.")
    retry_at: datetime | None = Field(description="When the next attempt to connect is due.")

    @classmethod
    def of(cls, status: ConnectionStatus) -> Self:
        """Show what the feed says of a connection."""
        return cls.model_validate(status, from_attributes=True)


class MaintenanceAnswer(BaseModel):
    """Maintenance that Bybit announced."""

    id: str
    title: str
    state: str = Field(description="`scheduled` or `ongoing`.")
    begins_at: datetime | None
    ends_at: datetime | None
    endpoints: list[Endpoint] = Field(description="Those it takes data from.")

    @classmethod
    def of(cls, notice: MaintenanceNotice) -> Self:
        """Show an announcement."""
        return cls(
            id=notice.id,
            title=notice.title,
            state=notice.state,
            begins_at=notice.begins_at,
            ends_at=notice.ends_at,
            endpoints=sorted(notice.endpoints),
        )


class EndpointAnswer(BaseModel):
    """What is wanted of one of Bybit's endpoints, and what there is; counts are topics."""

    endpoint: Endpoint
    account: str | None = Field(
        description="`private` is told of once per account; null on the others."
    )
    connections: int = Field(description="Connections that exist.")
    streaming: int = Field(description="Of these, how many stream.")
    desired: int = Field(description="Wanted; the sum of the four counts below.")
    active: int = Field(description="Acknowledged, or bringing data.")
    pending: int = Field(
        description="In `requested` or `pending`: not asked for yet, or not acknowledged."
    )
    rejected: int = Field(
        description="Refused by Bybit or by a setting; `error` says whether it is asked for again."
    )
    stalled: int = Field(description="Acknowledged, but nothing comes although it should.")
    breaker: BreakerState = Field(description="The worst of its connections.")
    maintenance: bool = Field(description="Announced maintenance takes data from it now.")

    @classmethod
    def of(cls, view: EndpointView) -> Self:
        """Count what an endpoint has."""
        return cls(
            endpoint=view.endpoint,
            account=view.account,
            connections=len(view.connections),
            streaming=view.streaming,
            desired=view.desired,
            active=view.count(SubscriptionState.ACTIVE),
            pending=view.count(SubscriptionState.REQUESTED, SubscriptionState.PENDING),
            rejected=view.count(SubscriptionState.REJECTED),
            stalled=view.count(SubscriptionState.STALLED),
            breaker=view.breaker,
            maintenance=view.maintenance is not None,
        )


class DifferenceAnswer(BaseModel):
    """A topic that is wanted and not active."""

    topic: str = Field(description="Bybit's own text.")
    category: Category | None = Field(description="Null where the topic is of none or of several.")
    endpoint: Endpoint
    account: str | None = Field(description="Whose data; null where the topic is public.")
    state: SubscriptionState
    error: str | None = Field(description="As `last_error` of its subscriptions.")
    since: datetime = Field(
        description="Since when it is rejected, stalled or on its way; asking for it again, as "
        "every new connection does, does not start this anew."
    )

    @classmethod
    def of(cls, difference: Difference) -> Self:
        """Show a topic."""
        topic = difference.topic
        return cls(
            topic=topic.name,
            category=topic.category,
            endpoint=topic.endpoint,
            account=difference.account,
            state=difference.state,
            error=difference.error,
            since=difference.since,
        )


class ConnectionsQuery(BaseModel):
    """What to tell of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Endpoint | None = Field(None, description="Only this one; counts are of it alone.")


class ConnectionsAnswer(BaseModel):
    """What is wanted of Bybit, what there is, and the difference."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    is_restored: bool = Field(
        description="False until the stored subscriptions have been read: till then what is "
        "desired is not known."
    )
    connections: list[WebsocketState]
    endpoints: list[EndpointAnswer] = Field(
        description="Those with a connection, a wanted topic or maintenance."
    )
    desired: int = Field(description="Topics that some service wants.")
    active: int = Field(description="Of these, how many Bybit acknowledged or sends.")
    difference_total: int = Field(description="`desired` less `active`.")
    difference: list[DifferenceAnswer] = Field(
        description=f"What is missing, at most {MAX_DIFFERENCES}: what should still come first, "
        "then what was rejected; the oldest first."
    )

    @classmethod
    def of(cls, report: VenueReport) -> Self:
        """Show the comparison."""
        return cls(
            is_restored=report.is_restored,
            connections=[
                WebsocketState.of(one) for view in report.endpoints for one in view.connections
            ],
            endpoints=[EndpointAnswer.of(view) for view in report.endpoints],
            desired=report.desired,
            active=report.desired - report.difference_total,
            difference_total=report.difference_total,
            difference=[DifferenceAnswer.of(one) for one in report.differences],
        )
