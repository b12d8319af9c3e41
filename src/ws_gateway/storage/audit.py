"""The audit trail in PostgreSQL: written in the transaction of the change it tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from ws_gateway.domain.audit import AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller
from ws_gateway.storage.identity import rising_ids
from ws_gateway.storage.statements import Fetch, Statements

_RECORD = """
    INSERT INTO audit_log
        (id, actor_id, actor_name, action, subject, before, after, trace_id, address)
    VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8, $9)
"""

_RECORD_ALL = """
    INSERT INTO audit_log
        (id, actor_id, actor_name, action, subject, before, after, trace_id, address)
    SELECT told.id, $1, $2, told.action, told.subject, told.before::jsonb, told.after::jsonb, $3, $4
    FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[])
        AS told (id, action, subject, before, after)
"""

_PAGE = """
    SELECT id, at, actor_id, actor_name, action, subject, before, after, trace_id, address
    FROM audit_log
    WHERE ($1::uuid IS NULL OR id < $1)
      AND ($2::text IS NULL OR actor_id = $2)
      AND ($3::text IS NULL OR action = $3)
      AND ($4::text IS NULL OR subject = $4)
      AND ($5::text IS NULL OR trace_id = $5)
    ORDER BY id DESC
    LIMIT $6
"""

Facts = Mapping[str, object]
"""What a thing was or became, ready for JSON; never a secret."""

Entry = tuple[str, str, Facts | None, Facts | None]
"""Action, subject, before and after of one change among many."""

_next_id = rising_ids()


async def record(
    fetch: Fetch,
    by: Caller,
    action: str,
    subject: str,
    *,
    before: Facts | None = None,
    after: Facts | None = None,
) -> None:
    """Note one change.

    Args:
        fetch: of the transaction that makes the change.
        by: who makes it.
        action: what was done, `thing.verb`.
        subject: the id or name of what was changed.
        before: what it was, None if it is new.
        after: what it became, None if it is gone.

    Raises:
        DatabaseLost: nothing is noted, and the change must not count.
    """
    await fetch(
        _RECORD,
        _next_id(),
        by.key_id,
        by.name,
        action,
        subject,
        None if before is None else json.dumps(before),
        None if after is None else json.dumps(after),
        by.trace_id,
        by.address,
    )


async def record_all(fetch: Fetch, by: Caller, entries: Sequence[Entry]) -> None:
    """Note many changes of one transaction in one statement; the rest is as for `record`."""
    if not entries:
        return
    rows = [
        (
            _next_id(),
            action,
            subject,
            None if before is None else json.dumps(before),
            None if after is None else json.dumps(after),
        )
        for action, subject, before, after in entries
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await fetch(_RECORD_ALL, by.key_id, by.name, by.trace_id, by.address, *columns)


class PostgresAudit:
    """The `AuditTrail` of the running service."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def note(
        self,
        by: Caller,
        action: str,
        subject: str,
        *,
        before: Facts | None = None,
        after: Facts | None = None,
    ) -> None:
        """Note what changed outside the database."""
        await record(self._statements.fetch, by, action, subject, before=before, after=after)

    async def page(
        self, wanted: AuditFilter, *, before: UUID | None, limit: int
    ) -> list[AuditEntry]:
        """Return up to `limit`, newest first, beginning behind `before`."""
        rows = await self._statements.fetch(
            _PAGE,
            before,
            wanted.actor_id,
            wanted.action,
            wanted.subject,
            wanted.trace_id,
            limit,
        )
        return [_entry(row) for row in rows]


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        id=UUID(int=row["id"].int),  # the driver's own subclass stays in this room
        at=row["at"],
        actor_id=row["actor_id"],
        actor_name=row["actor_name"],
        action=row["action"],
        subject=row["subject"],
        before=None if row["before"] is None else json.loads(row["before"]),
        after=None if row["after"] is None else json.loads(row["after"]),
        trace_id=row["trace_id"],
        address=row["address"],
    )
