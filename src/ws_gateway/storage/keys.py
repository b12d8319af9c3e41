"""The keys of the HTTP API in PostgreSQL; changes are noted in the audit trail with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import asyncpg

from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.key import ApiKey, NewKey, StoredKey
from ws_gateway.errors import Rejected
from ws_gateway.storage.audit import record
from ws_gateway.storage.statements import Fetch, Statements

_COLUMNS = (
    "id, name, secret_hash, scopes, services, created_at, expires_at, revoked_at, last_used_at, "
    "rotates"
)

# Those that ended lately too, so that their holders are told why without a look at the database.
_USABLE = f"""
    SELECT {_COLUMNS} FROM api_keys
    WHERE least(coalesce(expires_at, 'infinity'), coalesce(revoked_at, 'infinity'))
        > now() - interval '1 day'
"""  # noqa: S608 - built from constants alone

_FIND = f"SELECT {_COLUMNS} FROM api_keys WHERE id = $1"  # noqa: S608 - same

_FIND_TO_CHANGE = f"{_FIND} FOR UPDATE"

_CREATE = f"""
    INSERT INTO api_keys (id, secret_hash, name, scopes, services, expires_at, rotates)
    VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6::float8), $7)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - same

# `least` leaves out NULL: a key without an end gets one.
_EXPIRE = f"""
    UPDATE api_keys SET expires_at = least(expires_at, now() + make_interval(secs => $2::float8))
    WHERE id = $1
    RETURNING {_COLUMNS}
"""  # noqa: S608 - same

# One that was revoked was perhaps never read by anybody; the newest tells how long it was to live.
_SUCCESSOR = f"""
    SELECT {_COLUMNS} FROM api_keys WHERE rotates = $1
    ORDER BY revoked_at IS NULL DESC, created_at DESC, id DESC LIMIT 1
"""  # noqa: S608 - same

_REVOKE = f"""
    UPDATE api_keys SET revoked_at = now() WHERE id = $1 RETURNING {_COLUMNS}
"""  # noqa: S608 - same

_PAGE = f"""
    SELECT {_COLUMNS} FROM api_keys
    WHERE $1::text IS NULL
       OR (created_at, id) > (SELECT created_at, id FROM api_keys WHERE id = $1)
    ORDER BY created_at, id
    LIMIT $2
"""  # noqa: S608 - same

# Never back: another gateway may have seen a later use.
_NOTE_USES = """
    UPDATE api_keys AS row SET last_used_at = greatest(row.last_used_at, uses.at)
    FROM unnest($1::text[], $2::timestamptz[]) AS uses (id, at)
    WHERE row.id = uses.id
"""


class PostgresKeys:
    """The `KeyStore` of the running service."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def usable(self) -> list[StoredKey]:
        """Return the keys that are of use, and those that ended within a day."""
        return [_stored(row) for row in await self._statements.fetch(_USABLE)]

    async def find(self, key_id: str) -> StoredKey | None:
        """Return one, whatever became of it, or None."""
        rows = await self._statements.fetch(_FIND, key_id)
        return _stored(rows[0]) if rows else None

    async def page(self, *, after: str | None, limit: int) -> list[ApiKey]:
        """Return up to `limit` in order of creation, beginning behind `after`."""
        return [_stored(row).key for row in await self._statements.fetch(_PAGE, after, limit)]

    async def create(self, new: NewKey, *, by: Caller) -> StoredKey:
        """Store a key."""
        async with self._statements.transaction() as fetch:
            stored = await _create(fetch, new, None)
            await record(fetch, by, "key.create", new.id, after=_facts(stored.key))
        return stored

    async def rotate(
        self,
        key_id: str,
        successor_id: str,
        secret_hash: bytes,
        *,
        overlap_seconds: int,
        expires_in_seconds: int | None,
        by: Caller,
    ) -> tuple[StoredKey, StoredKey] | None:
        """Store a successor and let the old key expire; answers both, None without an old one."""
        async with self._statements.transaction() as fetch:
            rows = await fetch(_FIND_TO_CHANGE, key_id)
            if not rows:
                return None
            old = _stored(rows[0]).key
            await _require_active(fetch, old)
            model = await _unsucceeded(fetch, old)
            life = model.life_seconds if expires_in_seconds is None else expires_in_seconds
            new = NewKey(successor_id, secret_hash, old.name, old.scopes, old.services, life)
            successor = await _create(fetch, new, old.id)
            expiring = _stored((await fetch(_EXPIRE, key_id, float(overlap_seconds)))[0])
            await record(
                fetch,
                by,
                "key.rotate",
                key_id,
                before=_facts(old),
                after={**_facts(expiring.key), "successor": successor_id},
            )
            await record(fetch, by, "key.create", successor_id, after=_facts(successor.key))
        return expiring, successor

    async def revoke(self, key_id: str, *, by: Caller) -> StoredKey | None:
        """Make one worthless; answers it, or None. What was revoked before stays as it was."""
        async with self._statements.transaction() as fetch:
            rows = await fetch(_FIND_TO_CHANGE, key_id)
            if not rows:
                return None
            before = _stored(rows[0])
            if before.key.revoked_at is not None:
                return before
            after = _stored((await fetch(_REVOKE, key_id))[0])
            await record(
                fetch,
                by,
                "key.revoke",
                key_id,
                before=_facts(before.key),
                after=_facts(after.key),
            )
        return after

    async def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write when keys were last used."""
        await self._statements.fetch(_NOTE_USES, list(uses), list(uses.values()))


async def _create(fetch: Fetch, new: NewKey, rotates: str | None) -> StoredKey:
    rows = await fetch(
        _CREATE,
        new.id,
        new.secret_hash,
        new.name,
        sorted(new.scopes),
        None if new.services is None else sorted(new.services),
        new.expires_in_seconds,
        rotates,
    )
    return _stored(rows[0])


async def _unsucceeded(fetch: Fetch, key: ApiKey) -> ApiKey:
    """Answer the key whose life a further successor has; there must be none of use.

    Once a key was rotated its own end is that of the overlap.
    """
    rows = await fetch(_SUCCESSOR, key.id)
    if not rows:
        return key
    successor = _stored(rows[0]).key
    if successor.revoked_at is None:
        raise Rejected(
            f"the key {key.id} was rotated before: {successor.id} is its successor; rotate that "
            "one, or revoke it first if nobody has it",
            code="key_rotated",
            found=successor.id,
        )
    return successor


async def _require_active(fetch: Fetch, key: ApiKey) -> None:
    (row,) = await fetch("SELECT now() AS now")  # the clock that wrote the times
    state = key.state(row["now"])
    if state != "active":
        raise Rejected(
            f"the key {key.id} is {state}, so there is nothing to hand over; create a key instead",
            code="key_not_active",
            found=state.value,
        )


def _stored(row: asyncpg.Record) -> StoredKey:
    services = row["services"]
    key = ApiKey(
        id=row["id"],
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        services=None if services is None else frozenset(services),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        rotates=row["rotates"],
    )
    return StoredKey(key, bytes(row["secret_hash"]))


def _facts(key: ApiKey) -> dict[str, object]:
    """Tell what a key is, for the audit trail; nothing of its secret."""

    def written(moment: datetime | None) -> str | None:
        return None if moment is None else moment.isoformat()

    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "services": None if key.services is None else sorted(key.services),
        "expires_at": written(key.expires_at),
        "revoked_at": written(key.revoked_at),
        "rotates": key.rotates,
    }
