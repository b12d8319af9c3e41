"""What the stream of pictures says, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from ws_gateway.control.connection_schemas import MaintenanceAnswer, WebsocketState
from ws_gateway.control.console.lookout import MOST_ROWS, TopicRow
from ws_gateway.control.queue_schemas import QueueAnswer
from ws_gateway.control.schemas import ReasonAnswer
from ws_gateway.domain.event import GapReason, Kind
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Endpoint, EventClass
from ws_gateway.ports.streams import MarkerGroup
from ws_gateway.runtime.recent import Trouble

DEFAULT_ROWS = 60
MAX_PICTURES = 60


class LiveQuery(BaseModel):
    """What to show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: str = Field(
        "",
        pattern=r"^[^\x00-\x1f\x7f]{0,100}$",
        description="Only topics that have all these words in name, endpoint or state.",
        examples=["linear btc"],
    )
    topics: int = Field(
        DEFAULT_ROWS, ge=1, le=MOST_ROWS, description="Most topics told, the worst first."
    )
    pictures: int = Field(
        MAX_PICTURES,
        ge=1,
        le=MAX_PICTURES,
        description="End after so many, one a second; then ask again.",
    )


class Begin(BaseModel):
    """What a stream begins with."""

    at: datetime = Field(
        description="The gateway's clock between the request and this answer: by it a viewer knows "
        "how old a picture is, whatever its own clock says."
    )


class ReasonToAct(ReasonAnswer):
    """A reason of `/health`, and what to do."""

    remedy: str


class Flow(BaseModel):
    """What goes through, of the last seconds; rates are null until two looks were made."""

    received_per_second: float | None
    confirmed_per_second: float | None
    received: int = Field(description="Observations since the start.")
    lost: int = Field(description="Of these, shed or rejected, marked in their streams.")
    in_flight: int = Field(description="Held in memory, not confirmed yet.")
    latency_p50_us: int | None
    latency_p99_us: int | None
    loop_lag_ms: float = Field(description="Longest lateness of the event loop in a minute.")


class Link(BaseModel):
    """Database or broker."""

    status: str
    last_error: str | None


class BrokerLink(Link):
    """The broker, and whether it answers."""

    silent_seconds: float = Field(
        description="How long it has owed the oldest answer; 0 while it answers."
    )
    is_silent: bool = Field(
        description="For so long that it is pointed out; whether it is lost is for `status` to say."
    )


class ConnectionPicture(WebsocketState):
    """One connection to Bybit, in full."""

    is_login_refused: bool
    uptime_ratio: float = Field(description="Share of its life in which it streamed.")


class PrivateClass(BaseModel):
    """Private events of one class."""

    event_class: EventClass
    topics: int = Field(description="How many are wanted.")
    active: int = Field(description="Of these, how many are active.")
    events: int = Field(description="Since the start.")
    last_event_at: datetime | None
    per_second: float | None


class SpoolPicture(BaseModel):
    """Private events that are on disk because the broker is away."""

    events: int
    size_bytes: int
    max_bytes: int
    held: int = Field(description="Wait in memory because their stream is refused.")
    error: str | None
    left_behind: list[str]


class PrivatePicture(BaseModel):
    """What concerns the Bybit account."""

    has_key: bool = Field(description="A Bybit key is configured.")
    status: str = Field(description="State of its connection; `none` without one.")
    last_error: str | None
    classes: list[PrivateClass]
    spool: SpoolPicture


class Picture(BaseModel):
    """Everything but topics, markers and errors, as it is now."""

    at: datetime = Field(description="When it was begun to be taken: nothing in it is older.")
    status: str = Field(description="As `/health` says it: `ok`, `degraded`, `down`.")
    is_ready: bool = Field(description="`/readyz` answers 200.")
    reasons: list[ReasonToAct]
    reason_total: int
    version: str
    epoch: str
    uptime_seconds: float
    viewers: int = Field(description="Open streams like this one.")
    flow: Flow
    database: Link
    broker: BrokerLink
    maintenance: list[MaintenanceAnswer]
    connections: list[ConnectionPicture] = Field(description="Those that do not stream first.")
    connection_total: int
    streaming_total: int = Field(description="How many of all connections stream.")
    queues: list[QueueAnswer] = Field(description="Those with an alert or a problem first.")
    queue_total: int
    alerting_total: int = Field(description="How many of all queues have an alert or a problem.")
    topics: dict[str, int] = Field(description="Wanted topics by state.")
    quiet_topics: int = Field(description="Active, but silent for seconds against their habit.")
    quiet_names: list[str] = Field(description="The first of them.")
    private: PrivatePicture


class TopicPicture(BaseModel):
    """One wanted topic."""

    topic: str = Field(description="Bybit's own text.")
    endpoint: Endpoint
    account: str | None = Field(description="Whose data; null where the topic is public.")
    category: Category | None
    channel: Channel
    symbol: str | None
    state: SubscriptionState
    is_quiet: bool = Field(description="Active, but silent for seconds against its habit.")
    error: str | None
    state_seconds: float = Field(description="How long it has been in this state.")
    events: int
    per_second: float | None
    age_seconds: float | None = Field(description="Since its newest event.")
    services: int = Field(description="How many want it.")
    connections: list[str]

    @classmethod
    def of(
        cls,
        row: TopicRow,
        now: float,
        services: int,
        connections: tuple[str, ...],
        account: str | None,
    ) -> Self:
        """Show a topic; `now` is monotonic seconds."""
        status, topic = row.status, row.status.topic
        return cls(
            topic=topic.name,
            endpoint=topic.endpoint,
            account=account,
            category=topic.category,
            channel=topic.channel,
            symbol=topic.symbol,
            state=status.state,
            is_quiet=row.is_quiet,
            error=status.error,
            state_seconds=round(max(0.0, now - status.since), 1),
            events=row.events,
            per_second=None if row.rate is None else round(row.rate, 2),
            age_seconds=None if row.age_seconds is None else round(row.age_seconds, 2),
            services=services,
            connections=list(connections),
        )


class TopicsPicture(BaseModel):
    """Topics, the worst first: stalled, quiet, not active yet, rejected, then those that flow."""

    fitting: int = Field(description="How many fit the search; `items` may be fewer.")
    total: int
    items: list[TopicPicture]


class MarkerPicture(BaseModel):
    """Markers of one kind, reason and endpoint that were made within moments of each other."""

    kind: Kind
    reason: GapReason
    endpoint: Endpoint
    count: int
    topics: list[str] = Field(description="The first of them.")
    began_at: datetime
    ended_at: datetime
    detail: str

    @classmethod
    def of(cls, group: MarkerGroup) -> Self:
        """Show a group."""
        return cls(
            kind=group.kind,
            reason=group.reason,
            endpoint=group.endpoint,
            count=group.count,
            topics=list(group.topics),
            began_at=_moment(group.began_at_us),
            ended_at=_moment(group.ended_at_us),
            detail=group.detail,
        )


class MarkersPicture(BaseModel):
    """The newest markers, newest first."""

    items: list[MarkerPicture]


class TroublePicture(BaseModel):
    """A warning or an error of the log; alike ones are told once."""

    at: str
    first_at: str
    level: str
    event: str
    count: int
    fields: dict[str, str]

    @classmethod
    def of(cls, trouble: Trouble) -> Self:
        """Show one."""
        return cls.model_validate(trouble, from_attributes=True)


class TroublesPicture(BaseModel):
    """The newest warnings and errors, newest first."""

    is_allowed: bool = Field(description="False for a key that is bound to services.")
    items: list[TroublePicture]


class LiveEvents(BaseModel):
    """By the name of the event, what its `data` hold."""

    begin: Begin
    picture: Picture
    topics: TopicsPicture
    markers: MarkersPicture = Field(description="First, and when there are new ones.")
    errors: TroublesPicture = Field(description="First, and when there are new ones.")


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC) + timedelta(
        microseconds=at_us % 1_000_000
    )
