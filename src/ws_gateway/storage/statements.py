"""Statements on the pool: one at a time, or several that hold together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from ws_gateway.errors import DatabaseLost
from ws_gateway.storage.database import COMMAND_SECONDS, CONNECT_SECONDS, lost_database

Fetch = Callable[..., Awaitable[list[Any]]]
"""Runs one statement with its values; answers the rows."""


class Statements:
    """Runs statements for every ledger, and can give them all up at once.

    Args:
        pool: from `database.open_pool`; closed by whoever opened it.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._is_abandoned = False
        self._running: set[asyncio.Timeout] = set()

    def abandon(self) -> None:
        """End every statement now; each caller, from now on too, is told `DatabaseLost`.

        The pool is of no use any more: there is no goodbye to a PostgreSQL that does not answer.
        """
        self._is_abandoned = True
        self._pool.terminate()
        now = asyncio.get_running_loop().time()
        for scope in self._running:
            scope.reschedule(now)

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement.

        Raises:
            DatabaseLost: PostgreSQL is away, too slow, or was given up.
        """
        async with self._connection() as connection:
            return await _fetched(connection, statement, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Fetch]:
        """Run the statements of a block together: all of them count, or none.

        Raises:
            DatabaseLost: as `fetch`; if it comes from the end of the block, nobody knows whether
                they count.
        """
        async with self._connection() as connection:

            async def fetch(statement: str, *values: object) -> list[asyncpg.Record]:
                with lost_database():
                    return await _fetched(connection, statement, values)

            await fetch("BEGIN")
            try:
                yield fetch
            except (asyncio.CancelledError, DatabaseLost):
                # It may be half-way through a statement, or cut off by one already.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()
                raise
            except BaseException:
                await fetch("ROLLBACK")
                raise
            await fetch("COMMIT")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        if self._is_abandoned:
            raise DatabaseLost("the connections to PostgreSQL were given up")
        with lost_database():
            async with asyncio.timeout(None) as scope:
                with self._noted(scope):
                    async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                        yield connection

    @contextmanager
    def _noted(self, scope: asyncio.Timeout) -> Iterator[None]:
        self._running.add(scope)
        try:
            yield
        finally:
            self._running.discard(scope)


async def _fetched(
    connection: asyncpg.pool.PoolConnectionProxy, statement: str, values: tuple[object, ...]
) -> list[asyncpg.Record]:
    try:
        return await connection.fetch(statement, *values, timeout=COMMAND_SECONDS)
    except asyncio.CancelledError:
        # Whoever cancels waits no longer; giving the connection back would first wait until
        # PostgreSQL has heard of it.
        connection.terminate()
        raise
