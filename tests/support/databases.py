"""A PostgreSQL for the tests: one server per checkout, one database per test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from shared_use import exclusively
from ws_gateway.storage.database import migrate
from ws_gateway.storage.embedded import EmbeddedPostgres

T = TypeVar("T")

# A test's database may be lost with the power: waiting for the disk would only slow the tests.
_UNSAFE_AND_FAST = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET synchronous_commit = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "SELECT pg_reload_conf()",
)


def in_own_loop(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end beside whatever event loop the test has."""
    with ThreadPoolExecutor(1, thread_name_prefix="fixture") as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """Have the checkout's test server inside the block; the last process to leave stops it."""
    server = EmbeddedPostgres(folder)
    lock = folder / "postgres.lock"
    with exclusively(lock):
        url = in_own_loop(server.start())
        in_own_loop(_execute(url, *_UNSAFE_AND_FAST))
    try:
        yield url
    finally:
        with exclusively(lock):
            in_own_loop(server.stop())


class Databases:
    """Makes and drops databases on one server; names are unique on it, whoever else uses it."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._family = f"t{os.getpid()}_{uuid4().hex[:6]}"
        self._template: str | None = None
        self._made: set[str] = set()

    def create(self, *, migrated: bool) -> str:
        """Make a database, empty or with the schema of today, and return its URL."""
        name = f"{self._family}_{uuid4().hex[:8]}"
        if migrated and self._template is None:
            template = f"{self._family}_template"
            self._make(template)
            in_own_loop(migrate(self._url(template)))
            self._template = template
        self._make(name, f' TEMPLATE "{self._template}"' if migrated else "")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database that `create` made, whoever is still connected to it."""
        self._drop(urlsplit(url).path.lstrip("/"))

    def drop_all(self) -> None:
        """Drop everything, the template last."""
        for name in sorted(self._made, key=lambda made: made == self._template):
            self._drop(name)

    def _make(self, name: str, clause: str = "") -> None:
        in_own_loop(_execute(self._server_url, f'CREATE DATABASE "{name}"{clause}'))
        self._made.add(name)

    def _drop(self, name: str) -> None:
        in_own_loop(_execute(self._server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        self._made.discard(name)

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{name}"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
