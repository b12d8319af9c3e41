"""The whole ledger, read so that nobody has to wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ws_gateway.domain.subscription import Subscription
from ws_gateway.ports.store import Fingerprint
from ws_gateway.storage.rows import COLUMNS, readable
from ws_gateway.storage.statements import Fetch, Statements

PIECE_ROWS = 250
"""How many rows are read at once: events wait while they are taken apart."""

_OF_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_FINGERPRINT = """
    SELECT count(*) AS rows, coalesce(sum(revision), 0)::bigint AS revisions FROM subscriptions
"""

_PIECE = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
"""  # noqa: S608 - built from constants alone

_SOME = f"""
    SELECT {COLUMNS} FROM subscriptions WHERE id = ANY($1::uuid[])
"""  # noqa: S608 - same


async def everything(statements: Statements) -> tuple[Fingerprint, list[Subscription]]:
    """Return the ledger as it was at one moment, piece by piece."""
    async with statements.transaction() as fetch:
        await fetch(_OF_ONE_MOMENT)
        fingerprint = await _fingerprint(fetch)
        found: list[Subscription] = []
        after: UUID | None = None
        while rows := await fetch(_PIECE, after, PIECE_ROWS):
            found += readable(rows)
            after = rows[-1]["id"]
        return fingerprint, found


async def fingerprint(statements: Statements) -> Fingerprint:
    """Return what `everything` would be known by."""
    return await _fingerprint(statements.fetch)


async def some(statements: Statements, ids: Sequence[UUID]) -> list[Subscription]:
    """Return those of these that exist."""
    return list(readable(await statements.fetch(_SOME, list(ids))))


async def _fingerprint(fetch: Fetch) -> Fingerprint:
    (row,) = await fetch(_FINGERPRINT)
    return Fingerprint(row["rows"], row["revisions"])
