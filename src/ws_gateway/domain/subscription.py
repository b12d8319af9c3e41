"""What a service asked for, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ws_gateway.domain.topic import Topic


class SubscriptionState(StrEnum):
    """Life of a subscription: intent, sent, and confirmed are different facts."""

    REQUESTED = "requested"
    """Stored as desired; not with the venue: not sent yet, no socket, or to be asked for again."""
    PENDING = "pending"
    """Sent to the venue; neither acknowledged nor refused."""
    ACTIVE = "active"
    """The venue acknowledged it, or data flows."""
    REJECTED = "rejected"
    """The venue or a setting refused it; `last_error` has the words, and whether it is retried."""
    STALLED = "stalled"
    """Acknowledged, but nothing comes although it should."""
    REMOVING = "removing"
    """No longer desired; the venue has not confirmed the end yet."""
    REMOVED = "removed"
    """Gone; never stored."""


class Delivery(StrEnum):
    """Which queue the events of a subscription go to."""

    SHARED = "shared"
    """The queue of the event class, which all services share."""
    DEDICATED = "dedicated"
    """A queue of the service's own per event class, bound to what it asked for and no more."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A stored wish with its state.

    Attributes:
        id: stable while the wish stands.
        chosen_by: why this category: `explicit`, or the detection's reason.
        last_error: the venue's own words, if it refused.
        state_since: when the state last changed.
        ttl_seconds: it is a lease, which goes unless it is renewed within so long; None if not.
        expires_at: when the lease ends, None if it is none.
        revision: rises with every change of what is wanted, over all subscriptions.
    """

    id: UUID
    topic: Topic
    requesting_service: str
    state: SubscriptionState
    chosen_by: str
    last_error: str | None
    created_at: datetime
    state_since: datetime
    delivery: Delivery = Delivery.SHARED
    ttl_seconds: int | None = None
    expires_at: datetime | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A stored row that means no wish: somebody wrote it by hand. It can only be deleted.

    Attributes:
        topic_name: the text that stood for a topic, perhaps cut.
    """

    id: UUID
    topic_name: str
    requesting_service: str
