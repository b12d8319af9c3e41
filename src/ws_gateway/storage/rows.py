"""Rows of the ledger of subscriptions, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import asyncpg
import structlog

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import (
    Delivery,
    Subscription,
    SubscriptionState,
    UnreadableRow,
)
from ws_gateway.domain.topic import MAX_SYMBOL_BYTES, Category, Topic, parse_topic
from ws_gateway.errors import Rejected
from ws_gateway.storage.audit import Facts, record
from ws_gateway.storage.statements import Fetch

COLUMNS = (
    "id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, state, "
    "last_error, created_at, state_since, delivery, ttl_seconds, expires_at, revision, account"
)

MAX_ERROR_CHARS = 1000
"""Longest `last_error` that is kept."""

_MOST_TOLD = 1_000
_MAX_TOLD_CHARS = 500

_log = structlog.get_logger(__name__)
_told: set[str] = set()
# Many rows name one topic, and the same rows are read again and again.
_parsed = lru_cache(maxsize=20_000)(parse_topic)


def subscription_of(row: asyncpg.Record) -> Subscription:
    """Read a subscription out of a row; the only way there is, whoever wrote it.

    Raises:
        ValueError: a word of it is none of ours.
        Rejected: its columns name no topic, or another one than its text.
    """
    return Subscription(
        id=UUID(int=row["id"].int),  # the driver's own subclass stays in this room
        topic=_topic_of(row),
        requesting_service=row["requesting_service"],
        state=SubscriptionState(row["state"]),
        chosen_by=row["chosen_by"],
        last_error=row["last_error"],
        created_at=_moment(row["created_at"]),
        state_since=_moment(row["state_since"]),
        delivery=Delivery(row["delivery"]),
        ttl_seconds=row["ttl_seconds"],
        expires_at=None if row["expires_at"] is None else _moment(row["expires_at"]),
        revision=row["revision"],
    )


def readable(rows: Iterable[asyncpg.Record]) -> Iterator[Subscription]:
    """Read rows that anybody may have written; what is none of ours is left out, and told once.

    One row that a person wrote wrongly must not keep all others from being served.
    """
    for row in rows:
        one = gone_of(row)
        if isinstance(one, Subscription):
            yield one


def gone_of(row: asyncpg.Record) -> Subscription | UnreadableRow:
    """Read a row that may be deleted whether or not it means anything."""
    try:
        subscription = subscription_of(row)
    except (ValueError, Rejected) as exc:
        id_ = UUID(int=row["id"].int)
        tell_unreadable(str(id_), str(exc))
        return UnreadableRow(id_, _short(row["topic"]), row["requesting_service"])
    _told.discard(str(subscription.id))
    return subscription


def tell_unreadable(name: str, why: str) -> None:
    """Say once that a row means nothing here."""
    if name not in _told and len(_told) < _MOST_TOLD:
        _told.add(name)
        _log.error("storage.row_unreadable", id=name, why=_short(why))


def _topic_of(row: asyncpg.Record) -> Topic:
    """Read a topic out of its columns, which have to agree with its text.

    Two rows of one text that differ in the others would be one stream at the venue and two here.
    """
    word = row["category"]
    topic = _parsed(row["topic"], None if word is None else Category(word), row["account"])
    if topic.symbol is not None and len(topic.symbol.encode()) > MAX_SYMBOL_BYTES:
        raise ValueError(f"a symbol has at most {MAX_SYMBOL_BYTES} bytes")
    for column, meant in (
        ("category", topic.category),
        ("channel", topic.channel),
        ("symbol", topic.symbol),
        ("parameter", topic.parameter),
    ):
        if row[column] != meant:
            said = "nothing" if meant is None else str(meant)
            raise ValueError(f"topic {topic.name!r} means {column} {said}, not {row[column]!r}")
    return topic


def _moment(at: datetime) -> datetime:
    """Give `infinity`, which comes without a zone, one, so that it can be compared."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _short(words: str) -> str:
    return words[:_MAX_TOLD_CHARS]


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
        "account": subscription.topic.account,
        "requesting_service": subscription.requesting_service,
        "delivery": subscription.delivery,
        "ttl_seconds": subscription.ttl_seconds,
    }


def facts_of(row: asyncpg.Record) -> Facts:
    """Tell what a row asked for; of one that means nothing, every word as it stands."""
    one = gone_of(row)
    if isinstance(one, Subscription):
        return facts(one) or {}
    raw = ("topic", "category", "channel", "symbol", "parameter", "requesting_service", "delivery",
           "account")  # fmt: skip
    words = {name: None if row[name] is None else _short(row[name]) for name in raw}
    return {**words, "ttl_seconds": row["ttl_seconds"]}


async def note(
    fetch: Fetch, by: Caller, action: str, before: Subscription | None, after: Subscription | None
) -> None:
    """Write a change of one wish into the audit trail."""
    about = after or before
    subject = "" if about is None else str(about.id)
    await record(fetch, by, action, subject, before=facts(before), after=facts(after))
