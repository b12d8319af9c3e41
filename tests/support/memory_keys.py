"""Keys and the audit trail in memory, with an outage to switch on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ws_gateway.domain.audit import AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller
from ws_gateway.domain.key import ApiKey, KeyState, NewKey, StoredKey
from ws_gateway.errors import DatabaseLost, Rejected


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryKeys:
    """A `KeyStore` judged by the same tests as the one in PostgreSQL.

    Attributes:
        is_away: every call raises `DatabaseLost` while set.
        asked: how often a single key was looked up.
    """

    def __init__(
        self, trail: MemoryTrail | None = None, utc_now: Callable[[], datetime] = _utc_now
    ) -> None:
        self.is_away = False
        self.asked = 0
        self._trail = trail or MemoryTrail()
        self._utc_now = utc_now
        self._rows: dict[str, StoredKey] = {}

    async def usable(self) -> list[StoredKey]:
        """Return the keys that are of use, and those that ended within a day."""
        self._reach()
        now, day = self._utc_now(), timedelta(days=1)
        return [
            row
            for row in self._rows.values()
            if min(row.key.expires_at or now, row.key.revoked_at or now) > now - day
        ]

    async def find(self, key_id: str) -> StoredKey | None:
        """Return one, whatever became of it, or None."""
        self._reach()
        self.asked += 1
        return self._rows.get(key_id)

    async def page(self, *, after: str | None, limit: int) -> list[ApiKey]:
        """Return up to `limit` in order of creation, beginning behind `after`."""
        self._reach()
        ids = list(self._rows)
        begin = 0 if after is None else ids.index(after) + 1
        return [self._rows[one].key for one in ids[begin : begin + limit]]

    async def create(self, new: NewKey, *, by: Caller) -> StoredKey:
        """Store a key."""
        self._reach()
        stored = self._store(new, None)
        await self._trail.note(by, "key.create", new.id)
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
        self._reach()
        if key_id not in self._rows:
            return None
        old, now = self._rows[key_id], self._utc_now()
        if old.key.state(now) is not KeyState.ACTIVE:
            raise Rejected("it is of no use any more", code="key_not_active")
        successors = [row.key for row in self._rows.values() if row.key.rotates == key_id]
        if any(key.revoked_at is None for key in successors):
            raise Rejected("it was rotated before", code="key_rotated")
        model = successors[-1] if successors else old.key
        life = model.life_seconds if expires_in_seconds is None else expires_in_seconds
        new = NewKey(
            successor_id, secret_hash, old.key.name, old.key.scopes, old.key.services, life
        )
        successor = self._store(new, key_id)
        ends_at = now + timedelta(seconds=overlap_seconds)
        ends_at = min(ends_at, old.key.expires_at or ends_at)
        old = self._rows[key_id] = replace(old, key=replace(old.key, expires_at=ends_at))
        await self._trail.note(by, "key.rotate", key_id)
        await self._trail.note(by, "key.create", successor_id)
        return old, successor

    async def revoke(self, key_id: str, *, by: Caller) -> StoredKey | None:
        """Make one worthless; answers it, or None."""
        self._reach()
        row = self._rows.get(key_id)
        if row is None or row.key.revoked_at is not None:
            return row
        row = self._rows[key_id] = replace(row, key=replace(row.key, revoked_at=self._utc_now()))
        await self._trail.note(by, "key.revoke", key_id)
        return row

    async def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write when keys were last used."""
        self._reach()
        for key_id, at in uses.items():
            row = self._rows[key_id]
            newest = max(at, row.key.last_used_at or at)
            self._rows[key_id] = replace(row, key=replace(row.key, last_used_at=newest))

    def _store(self, new: NewKey, rotates: str | None) -> StoredKey:
        now = self._utc_now()
        life = new.expires_in_seconds
        key = ApiKey(
            new.id,
            new.name,
            new.scopes,
            new.services,
            now,
            expires_at=None if life is None else now + timedelta(seconds=life),
            rotates=rotates,
        )
        self._rows[new.id] = StoredKey(key, new.secret_hash)
        return self._rows[new.id]

    def _reach(self) -> None:
        if self.is_away:
            raise DatabaseLost("switched off by the test")


class MemoryTrail:
    """An `AuditTrail` that remembers.

    Attributes:
        is_away: every call raises `DatabaseLost` while set.
        entries: oldest first.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.entries: list[AuditEntry] = []

    async def note(
        self,
        by: Caller,
        action: str,
        subject: str,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Note what changed."""
        if self.is_away:
            raise DatabaseLost("switched off by the test")
        self.entries.append(
            AuditEntry(
                id=UUID(int=len(self.entries) + 1),
                at=_utc_now(),
                actor_id=by.key_id,
                actor_name=by.name,
                action=action,
                subject=subject,
                before=before,
                after=after,
                trace_id=by.trace_id,
                address=by.address,
            )
        )

    async def page(
        self, wanted: AuditFilter, *, before: UUID | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Return up to `limit`, newest first, beginning behind `before`."""
        if self.is_away:
            raise DatabaseLost("switched off by the test")
        found = [
            one
            for one in reversed(self.entries)
            if (before is None or one.id < before)
            and wanted.actor_id in (None, one.actor_id)
            and wanted.action in (None, one.action)
            and wanted.subject in (None, one.subject)
            and wanted.trace_id in (None, one.trace_id)
        ]
        return found[:limit]
