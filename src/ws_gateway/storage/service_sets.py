"""All that one service wants, made true in one step; and leases, which end by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ws_gateway.domain.caller import Caller
from ws_gateway.domain.subscription import Delivery, Subscription
from ws_gateway.ports.store import SetChange, Wanted
from ws_gateway.runtime.slices import slices
from ws_gateway.storage.audit import Entry, Facts, record_all
from ws_gateway.storage.rows import COLUMNS, facts, facts_of, readable, subscription_of
from ws_gateway.storage.statements import Statements

ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('wish of ' || $1, 0))"
"""One change at a time per service, so that what a wish was before is what it was just before."""

EXPIRY = Caller("gateway", "a lease that nobody renewed", frozenset())
"""Who is named in the audit trail where nobody asked."""

_REMOVE_OTHERS = f"""
    DELETE FROM subscriptions AS row
    WHERE requesting_service = $1 AND NOT EXISTS (
        SELECT FROM unnest($2::text[], $3::text[], $4::text[]) AS wanted (topic, category, account)
        WHERE wanted.topic = row.topic AND wanted.category = coalesce(row.category, '')
          AND wanted.account = coalesce(row.account, ''))
    RETURNING {COLUMNS}
"""  # noqa: S608 - built from constants alone

_STANDING = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE requesting_service = $1
"""  # noqa: S608 - same

# A row that stands as wanted is touched only for its lease, so that saying the same again costs
# no writes; or to mend what somebody wrote by hand beside the topic's text.
_PUT = f"""
    INSERT INTO subscriptions AS row
        (id, category, topic, channel, symbol, parameter, requesting_service, chosen_by, delivery,
         ttl_seconds, trace_id, account)
    SELECT w.id, w.category, w.topic, w.channel, w.symbol, w.parameter, $1, w.chosen_by,
           w.delivery, w.ttl_seconds, $2, w.account
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::integer[], $12::text[])
        AS w (id, category, topic, channel, symbol, parameter, chosen_by, delivery, ttl_seconds,
              account)
    ON CONFLICT (topic, coalesce(category, ''), coalesce(account, ''), requesting_service) DO UPDATE
        SET delivery = excluded.delivery, ttl_seconds = excluded.ttl_seconds,
            expires_at = excluded.expires_at, channel = excluded.channel,
            symbol = excluded.symbol, parameter = excluded.parameter
        WHERE excluded.ttl_seconds IS NOT NULL OR row.ttl_seconds IS NOT NULL
           OR row.delivery <> excluded.delivery
           OR (row.channel, row.symbol, row.parameter)
              IS DISTINCT FROM (excluded.channel, excluded.symbol, excluded.parameter)
    RETURNING {COLUMNS}
"""  # noqa: S608 - same

_RENEW = """
    WITH renewed AS (
        UPDATE subscriptions SET expires_at = now() + make_interval(secs => ttl_seconds)
        WHERE requesting_service = $1 AND ttl_seconds IS NOT NULL
        RETURNING expires_at
    ) SELECT count(*) AS leases, min(expires_at) AS first FROM renewed
"""

_EXPIRE = f"""
    DELETE FROM subscriptions WHERE expires_at <= now() RETURNING {COLUMNS}
"""  # noqa: S608 - same

_NEXT_END = """
    SELECT extract(epoch FROM min(expires_at) - now())::float8 AS seconds FROM subscriptions
    WHERE expires_at IS NOT NULL
"""

_BEGIN_LEASES = """
    UPDATE subscriptions SET expires_at = now() + make_interval(secs => ttl_seconds)
    WHERE ttl_seconds IS NOT NULL
"""


async def replace(
    statements: Statements,
    next_id: Callable[[], UUID],
    requesting_service: str,
    wanted: Sequence[Wanted],
    by: Caller | None,
) -> SetChange:
    """Make these all that a service wants, in one transaction."""
    async with statements.transaction() as fetch:
        await fetch(ONE_AT_A_TIME, requesting_service)
        gone = await fetch(
            _REMOVE_OTHERS,
            requesting_service,
            [one.topic.name for one in wanted],
            [one.topic.category or "" for one in wanted],
            [one.topic.account or "" for one in wanted],
        )
        removed: list[Subscription] = []
        was: dict[UUID, Facts] = {}
        async for rows in slices(gone):
            removed += readable(rows)
            was |= {UUID(int=row["id"].int): facts_of(row) for row in rows}
        ended = sorted(was)
        before: set[UUID] = set()
        async for rows in slices(await fetch(_STANDING, requesting_service)):
            before |= {one.id for one in readable(rows)}
            was |= {UUID(int=row["id"].int): facts_of(row) for row in rows}
        put: list[Subscription] = []
        trace_id = None if by is None else by.trace_id
        async for piece in slices(wanted):
            rows = await fetch(_PUT, requesting_service, trace_id, *_columns(next_id, piece))
            put += [subscription_of(row) for row in rows]
        added = [one for one in put if one.id not in before]
        changed = [one for one in put if one.id in before and facts(one) != was[one.id]]
        if by is not None:
            entries = _entries(ended, [*added, *changed], was)
            async for some in slices(entries):
                await record_all(fetch, by, some)
    removed.sort(key=lambda one: one.id)
    unchanged = len(wanted) - len(added) - len(changed)
    return SetChange(added, removed, changed, unchanged)


async def renew(statements: Statements, requesting_service: str) -> tuple[int, datetime | None]:
    """Begin every lease of a service anew; answers how many, and when the first ends."""
    (row,) = await statements.fetch(_RENEW, requesting_service)
    return row["leases"], row["first"]


async def begin_leases(statements: Statements) -> None:
    """Begin every lease anew."""
    await statements.fetch(_BEGIN_LEASES)


async def remove_expired(statements: Statements) -> tuple[list[Subscription], float | None]:
    """Forget every lease that ended; answers what they were, and seconds to the next end."""
    async with statements.transaction() as fetch:
        gone = await fetch(_EXPIRE)
        ended = [("subscription.expire", str(row["id"]), facts_of(row), None) for row in gone]
        await record_all(fetch, EXPIRY, ended)
        (row,) = await fetch(_NEXT_END)
    return list(readable(gone)), row["seconds"]


def _columns(next_id: Callable[[], UUID], wanted: Sequence[Wanted]) -> list[list[object]]:
    rows = [
        (
            next_id(),
            one.topic.category,
            one.topic.name,
            one.topic.channel,
            one.topic.symbol,
            one.topic.parameter,
            one.chosen_by,
            one.delivery or Delivery.SHARED,
            one.ttl_seconds,
            one.topic.account,
        )
        for one in wanted
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _entries(
    removed: Iterable[UUID], put: Iterable[Subscription], was: Mapping[UUID, Facts]
) -> list[Entry]:
    entries: list[Entry] = [
        ("subscription.remove", str(one), was[one], None) for one in sorted(removed)
    ]
    for one in put:
        before = was.get(one.id)
        action = "subscription.add" if before is None else "subscription.change"
        entries.append((action, str(one.id), before, facts(one)))
    return entries
