"""What others change in the ledger, heard at once: PostgreSQL's LISTEN."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from uuid import UUID

import asyncpg
import structlog

from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.store import ChangeListener, RowChange
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.storage.database import CONNECT_SECONDS, lost_database

CHANNEL = "ws_gateway_subscriptions"
"""As in the migration that makes the triggers."""

PROOF_SECONDS = 30.0
"""How often the connection is proved: one that died without a word would tell nothing for ever."""

_log = structlog.get_logger(__name__)


class LedgerChanges:
    """Keeps a connection of its own that hears of every change, and tells a listener.

    It is no more than a wake-up: whenever it may have missed something it says so, and what it
    never hears is found by the listener's own look at the ledger.

    Args:
        url: of the database.
        rng: spreads the retries.
    """

    def __init__(self, url: str, *, rng: Random) -> None:
        self._url = url
        self._rng = rng

    async def run(self, listener: ChangeListener) -> None:
        """Listen until cancelled; never gives up."""
        delays = self._delays()
        while True:
            try:
                await self._one_connection(listener)
            except DatabaseLost as exc:
                _log.debug("storage.changes_unheard", why=str(exc))
            else:
                delays = self._delays()  # it listened for a while
            await asyncio.sleep(next(delays))

    def _delays(self) -> Iterator[float]:
        return full_jitter(base_seconds=0.2, cap_seconds=5.0, rng=self._rng)

    async def _one_connection(self, listener: ChangeListener) -> None:
        """Listen on one connection; returns when it ends after it listened.

        Raises:
            DatabaseLost: it never listened.
        """
        with lost_database():
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_SECONDS,
                command_timeout=CONNECT_SECONDS,
                server_settings={"application_name": "ws-gateway listening"},
            )
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            with lost_database():
                await connection.add_listener(CHANNEL, _teller(listener))
            listener.ledger_doubtful()  # what came before is not told any more
            while not ended.is_set():
                try:
                    async with asyncio.timeout(PROOF_SECONDS):
                        await ended.wait()
                except TimeoutError:
                    if not await _answers(connection):
                        return
        finally:
            # A goodbye to a PostgreSQL that is away would never end.
            connection.terminate()


async def _answers(connection: asyncpg.Connection) -> bool:
    try:
        with lost_database():
            await connection.execute("SELECT 1")
    except DatabaseLost:
        return False
    return True


def _teller(
    listener: ChangeListener,
) -> Callable[[object, int, str, object], None]:
    def tell(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        changes = read_changes(str(payload))
        if changes is None:
            listener.ledger_doubtful()
        else:
            listener.rows_changed(changes)

    return tell


def read_changes(payload: str) -> list[RowChange] | None:
    """Read a notification: `+id:revision` and `-id`; None if it names no rows."""
    changes = []
    for word in payload.split():
        name, _, revision = word[1:].partition(":")
        try:
            if word[0] == "+":
                changes.append(RowChange(UUID(name), int(revision)))
            elif word[0] == "-":
                changes.append(RowChange(UUID(name), None))
            else:
                return None
        except ValueError:  # anybody may NOTIFY anything
            return None
    return changes
