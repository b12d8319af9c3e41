"""Migrations, the pool, and how refusals of PostgreSQL are told."""

from __future__ import annotations

import asyncio
import re
import socket
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ws_gateway.errors import ConfigError, DatabaseLost
from ws_gateway.storage.database import lost_database, migrate, open_pool


def other_database(url: str, name: str) -> str:
    """Name another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def closed_port() -> int:
    """Find a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def tables(url: str) -> set[str]:
    """List the tables that stand in the database."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    """A second run finds nothing to do."""
    await migrate(empty_database_url)
    await migrate(empty_database_url)
    made = await tables(empty_database_url)
    assert {name for name in made if not re.search(r"_\d{4}_\d{2}$|_default$", name)} == {
        "account_balances",
        "account_balances_latest",
        "account_margin_balances",
        "account_margin_balances_latest",
        "api_keys",
        "audit_log",
        "dedicated_queues",
        "position_streams",
        "positions",
        "reconciliation_marks",
        "schema_migrations",
        "subscriptions",
    }


async def test_gateways_starting_at_once_migrate_once(empty_database_url: str) -> None:
    """Three simultaneous starts on an empty database all succeed."""
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))
    assert "subscriptions" in await tables(empty_database_url)


async def test_a_schema_that_cannot_be_migrated_is_said_in_one_sentence(
    empty_database_url: str,
) -> None:
    """A table in the way stops the start, names the setting, and leaves no half migration."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE TABLE subscriptions (foreign_to_us int)")
    await connection.close()
    with pytest.raises(ConfigError) as caught:
        await migrate(empty_database_url)
    assert caught.value.setting == "WSG_DATABASE_URL"
    assert "already exists" in caught.value.found
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [migrate, open_pool])
async def test_nobody_listening_is_said_in_one_sentence(start: object) -> None:
    """A refused connection names the setting and the place, never the password."""
    url = f"postgresql://me:s3cr%21t@127.0.0.1:{closed_port()}/events"
    with pytest.raises(ConfigError) as caught:
        await start(url)  # type: ignore[operator]
    assert caught.value.setting == "WSG_DATABASE_URL"
    assert "cannot be reached" in caught.value.found
    assert "127.0.0.1" in caught.value.found
    assert "s3cr" not in str(caught.value)


async def test_a_missing_socket_is_said_in_one_sentence() -> None:
    """A socket folder without a server is a refusal like any other."""
    with pytest.raises(ConfigError, match="cannot be reached"):
        await open_pool("postgresql://postgres:@/postgres?host=/nowhere")


async def test_an_unknown_database_is_said_in_one_sentence(database_url: str) -> None:
    """The database's absence is told apart from the server's."""
    with pytest.raises(ConfigError, match="no such database"):
        await open_pool(other_database(database_url, "not_there"))


async def test_a_refused_login_is_said_in_one_sentence(database_url: str) -> None:
    """A role that PostgreSQL does not know is told as a matter of user and password."""
    with pytest.raises(ConfigError, match="refuses the login"):
        await open_pool(database_url.replace("postgres:@", "nobody_here:pw@"))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("unexpected"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.TooManyConnectionsError("too many"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
        asyncpg.ReadOnlySQLTransactionError("read-only"),
        asyncpg.DeadlockDetectedError("deadlock"),
    ],
)
def test_signs_of_a_lost_database_become_ours(error: Exception) -> None:
    """Whatever a later attempt may find mended is `DatabaseLost`, with its cause kept."""
    with pytest.raises(DatabaseLost) as caught, lost_database():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("twice"),
        asyncpg.UndefinedTableError("no table"),
        asyncpg.DataError("not a uuid"),
    ],
)
def test_bugs_are_not_excused_as_a_lost_database(error: Exception) -> None:
    """A wrong statement or value passes through as it is."""
    with pytest.raises(type(error)), lost_database():
        raise error
