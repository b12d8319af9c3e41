"""What the HTTP API says of the queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from ws_gateway.ports.delivery import AlertCode, QueueKind, QueueStatus

_EXAMPLE: dict[str, Any] = {
    "name": "ws-gateway.strategy-2.trade",
    "kind": "dedicated",
    "event_class": "trade",
    "services": ["strategy-2"],
    "bindings": ["trade.linear.BTCUSDT"],
    "queue_type": "quorum",
    "problem": None,
    "is_current": True,
    "looked_at": "2026-10-01T12:00:05Z",
    "depth": 5210,
    "consumers": 1,
    "consumer_names": [],
    "unacknowledged": None,
    "growth_per_second": 180.2,
    "published_per_second": 201.4,
    "oldest_age_seconds": 26.1,
    "is_oldest_age_minimum": False,
    "max_length": 100000,
    "policy": None,
    "was_read": True,
    "dropped_at_least": 0,
    "dropped_at_most": 0,
    "alerts": [
        {
            "code": "slow_consumer",
            "since": "2026-10-01T11:59:55Z",
            "detail": "2703 of 3021 published were left over in 15 s; 5210 messages wait",
        }
    ],
}


class QueueAlertAnswer(BaseModel):
    """An alert that stands; it clears by itself, later than it was raised."""

    code: AlertCode
    since: datetime
    detail: str


class QueueAnswer(BaseModel):
    """One queue at the last look; null is what is not known."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    kind: QueueKind
    event_class: str = Field(description="Or `quarantine`.")
    services: list[str] = Field(description="Who reads it, or asked for what it holds.")
    bindings: list[str] = Field(description="Routing keys that fill it.")
    queue_type: str = Field(
        description="As it stands: `quorum`, `classic`, `stream`, or `unknown`."
    )
    problem: str | None = Field(
        description="It stands with other arguments, or not at all; in words, with what to do."
    )
    is_current: bool = Field(
        description="False while the broker is away: figures are of `looked_at`, alerts are none."
    )
    looked_at: datetime | None
    depth: int | None = Field(
        description="Messages ready; what consumers hold unacknowledged is not in it."
    )
    consumers: int | None
    consumer_names: list[str] = Field(description="Only with the management API.")
    unacknowledged: int | None = Field(description="Only with the management API.")
    growth_per_second: float | None = Field(description="Of the depth, over the last 15 s.")
    published_per_second: float | None = Field(description="By this gateway, over the last 15 s.")
    oldest_age_seconds: float | None = Field(
        description=(
            "How long the oldest ready message has been there, by what was published since: to "
            "within the 5 s between two looks."
        )
    )
    is_oldest_age_minimum: bool = Field(description="It is from before this gateway started.")
    max_length: int | None = Field(
        description=(
            "Most messages it holds; policies count with the management API. Streams have none."
        )
    )
    policy: str | None = Field(description="The broker's. Only with the management API.")
    was_read: bool = Field(description="Somebody consumed it since this gateway started.")
    dropped_at_least: int | None = Field(
        description=(
            "Messages that went unread by overflow or age since this gateway started: certain, "
            "because nobody consumed."
        )
    )
    dropped_at_most: int | None = Field(
        description="Those, and what left a full queue while somebody consumed."
    )
    alerts: list[QueueAlertAnswer]


class QueueList(BaseModel):
    """All queues, in order of name."""

    items: list[QueueAnswer]
    next_cursor: None = Field(description="Always null: all are in one answer.")

    @classmethod
    def of(cls, queues: Sequence[QueueStatus]) -> Self:
        """Show them."""
        return cls(items=[_answer(one) for one in queues], next_cursor=None)


def _answer(queue: QueueStatus) -> QueueAnswer:
    return QueueAnswer.model_validate(queue, from_attributes=True)
