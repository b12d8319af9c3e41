"""The stored keys in memory, so that a request asks no database who calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from ws_gateway.domain.key import StoredKey
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.store import KeyStore

POLL_SECONDS = 2.0
"""How often the keys are read: a key revoked elsewhere is of no use after so long."""

USES_SECONDS = 10.0
"""How often the time of last use is written, for all keys in one statement."""

_log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyRing:
    """Holds every key that may be of use, and knows how long ago that was true.

    Args:
        store: where the keys are.
        monotonic: clock in seconds.
        utc_now: the time of day.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._keys: dict[str, StoredKey] = {}
        self._learned: dict[str, StoredKey] = {}
        self._uses: dict[str, datetime] = {}
        self._read_at: float | None = None
        self._stopping = asyncio.Event()

    @property
    def is_known_empty(self) -> bool:
        """Say whether the store was read and held no key."""
        return self._read_at is not None and not self._keys

    @property
    def age_seconds(self) -> float:
        """Say how long ago the store was read; without end if it never was."""
        return float("inf") if self._read_at is None else self._monotonic() - self._read_at

    def known(self, key_id: str) -> StoredKey | None:
        """Return a key as it was last seen, None if it was not."""
        return self._keys.get(key_id)

    async def look_up(self, key_id: str) -> StoredKey | None:
        """Ask the store for a key that is not known: it may be a moment old.

        Raises:
            DatabaseLost: nobody can say whether there is such a key.
        """
        found = await self._store.find(key_id)
        if found is not None:
            self.learn(found)
        return found

    def learn(self, stored: StoredKey) -> None:
        """Take note of what a key is now."""
        self._keys[stored.key.id] = self._learned[stored.key.id] = stored

    def used(self, key_id: str) -> None:
        """Take note that a key was just used."""
        self._uses[key_id] = self._utc_now()

    def stop(self) -> None:
        """Write the last uses and end."""
        self._stopping.set()

    async def read(self) -> None:
        """Read all keys.

        Raises:
            DatabaseLost: what was known stays known.
        """
        began = self._monotonic()
        # What is learned while the store answers is newer than its answer: a key revoked meanwhile
        # must not come back, nor one made meanwhile be forgotten.
        self._learned.clear()
        keys = {one.key.id: one for one in await self._store.usable()}
        self._keys = {**keys, **self._learned}
        self._read_at = began

    async def run(self) -> None:
        """Keep up with the store until stopped."""
        written_at, is_lost = self._monotonic(), False
        while not self._stopping.is_set():
            try:
                await self.read()
                if self._monotonic() - written_at >= USES_SECONDS:
                    written_at = self._monotonic()
                    await self._write_uses()
                is_lost = False
            except DatabaseLost as exc:
                if not is_lost:
                    _log.warning("control.keys_unread", error=str(exc))
                is_lost = True
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        try:
            await self._write_uses()
        except DatabaseLost as exc:
            _log.info("control.key_uses_unwritten", keys=len(self._uses), error=str(exc))

    async def _write_uses(self) -> None:
        if not self._uses:
            return
        uses, self._uses = self._uses, {}
        try:
            await self._store.note_uses(uses)
        except DatabaseLost:
            self._uses = {**uses, **self._uses}
            raise
