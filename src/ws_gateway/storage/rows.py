"""Rows of the ledger of subscriptions, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

import asyncpg
import structlog

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.storage.audit import Facts, record
from ws_gateway.storage.statements import Fetch

COLUMNS = (
    "id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, state, "
    "last_error, created_at, state_since, delivery, ttl_seconds, expires_at, revision"
)

MAX_ERROR_CHARS = 1000
"""Longest `last_error` that is kept."""

_MOST_TOLD = 1_000

_log = structlog.get_logger(__name__)
_told: set[UUID] = set()


def subscription_of(row: asyncpg.Record) -> Subscription:
    """Read a subscription out of a row that the gateway wrote."""
    return Subscription(
        id=UUID(int=row["id"].int),  # the driver's own subclass stays in this room
        topic=topic_of(row),
        requesting_service=row["requesting_service"],
        state=SubscriptionState(row["state"]),
        chosen_by=row["chosen_by"],
        last_error=row["last_error"],
        created_at=row["created_at"],
        state_since=row["state_since"],
        delivery=Delivery(row["delivery"]),
        ttl_seconds=row["ttl_seconds"],
        expires_at=row["expires_at"],
        revision=row["revision"],
    )


def readable(rows: Iterable[asyncpg.Record]) -> Iterator[Subscription]:
    """Read rows that anybody may have written; what is none of ours is left out, and told once.

    One row that a person wrote wrongly must not keep all others from being served.
    """
    for row in rows:
        try:
            yield subscription_of(row)
        except ValueError as exc:
            if row["id"] not in _told and len(_told) < _MOST_TOLD:
                _told.add(row["id"])
                _log.error("storage.row_unreadable", id=str(row["id"]), why=str(exc))


def topic_of(row: asyncpg.Record) -> Topic:
    """Read a topic out of its columns."""
    category = row["category"]
    return Topic(
        row["topic"],
        None if category is None else Category(category),
        Channel(row["channel"]),
        row["symbol"],
        row["parameter"],
    )


def storable(words: str | None) -> str | None:
    """Make foreign words fit a text column: no NUL, no half of a surrogate pair, bounded."""
    if words is None:
        return None
    return words.encode("utf-8", "replace").decode().replace("\0", "")[:MAX_ERROR_CHARS]


def facts(subscription: Subscription | None) -> Facts | None:
    """Tell what a service asked for; what became of it is no change anybody made."""
    if subscription is None:
        return None
    return {
        "topic": subscription.topic.name,
        "category": subscription.topic.category,
        "requesting_service": subscription.requesting_service,
        "delivery": subscription.delivery,
        "ttl_seconds": subscription.ttl_seconds,
    }


async def note(
    fetch: Fetch, by: Caller, action: str, before: Subscription | None, after: Subscription | None
) -> None:
    """Write a change of one wish into the audit trail."""
    about = after or before
    subject = "" if about is None else str(about.id)
    await record(fetch, by, action, subject, before=facts(before), after=facts(after))
