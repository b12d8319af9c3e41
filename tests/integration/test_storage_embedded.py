"""The embedded PostgreSQL: its start, its end, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from devstack import CHECKOUT, DATA, database_line
from support.programs import clean_environ
from ws_gateway.errors import ConfigError, DatabaseLost
from ws_gateway.storage.database import migrate, open_pool
from ws_gateway.storage.embedded import EmbeddedPostgres, embedded_folder, load_server_class
from ws_gateway.storage.subscriptions import PostgresSubscriptions

GATEWAY_THAT_HANGS = """
import asyncio, sys
from pathlib import Path
from ws_gateway.storage.embedded import EmbeddedPostgres

async def main():
    print(await EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Make a folder with a short name: a socket's path is limited to about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def is_running(data_dir: Path) -> bool:
    """Say whether a server holds the folder; a clean stop removes its lock file."""
    return (data_dir / "postgres" / "postmaster.pid").exists()


def postmaster(data_dir: Path) -> int:
    """Read the number of the server's first process."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


async def test_data_survive_a_stop_and_a_start(data_dir: Path) -> None:
    """The server ends with `stop`, and what was stored is there after the next `start`."""
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    await migrate(url)
    await server.stop()
    assert not is_running(data_dir)
    await server.stop()  # again is nothing

    url = await server.start()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM subscriptions") == 0
    await connection.close()
    await server.stop()


async def test_the_dev_stack_says_how_to_reach_the_database_that_a_gateway_embeds(
    data_dir: Path,
) -> None:
    """Whoever runs the position manager beside `make run` needs it; else it says there is none."""
    folder = embedded_folder(data_dir)
    assert database_line(folder).startswith("# no database runs")
    server = EmbeddedPostgres(data_dir)
    await server.start()
    try:
        export, assignment = shlex.split(database_line(folder))
        name, _, url = assignment.partition("=")
        assert (export, name) == ("export", "WSG_DATABASE_URL")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        await server.stop()


def test_the_database_of_a_gateway_that_ended_is_not_asked_for_by_the_next(amqp_url: str) -> None:
    """`env` exported it into the shell; `make run` in that shell starts a server of its own."""
    ours = f"postgresql://postgres@/postgres?host={DATA}/postgres&port=5432"
    theirs = "postgresql://me@db.example/facts"
    for url, is_kept in ((ours, False), (theirs, True)):
        words = [sys.executable, "tools/devstack.py", "run", "--", "printenv", "WSG_DATABASE_URL"]
        environ = clean_environ({"WSG_AMQP_URL": amqp_url, "WSG_DATABASE_URL": url})
        shown = subprocess.run(
            words, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False
        )
        assert (shown.stdout.strip() == url) is is_kept, shown


async def test_the_server_of_a_killed_gateway_is_taken_over(data_dir: Path) -> None:
    """After kill -9 the next gateway uses the server that runs, and stops it at its own end."""
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY_THAT_HANGS, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    async with asyncio.timeout(30):
        await gateway.stdout.readline()
    gateway.kill()
    await gateway.wait()
    assert is_running(data_dir)
    left_over = postmaster(data_dir)

    server = EmbeddedPostgres(data_dir)
    await server.start()
    assert postmaster(data_dir) == left_over
    await server.stop()
    assert not is_running(data_dir)


async def test_a_number_taken_by_another_process_is_not_taken_for_a_server(
    data_dir: Path,
) -> None:
    """A stale postmaster.pid that names some other living process does not stop the start."""
    server = EmbeddedPostgres(data_dir)
    await server.start()
    trace = (data_dir / "postgres" / "postmaster.pid").read_text()
    pid = postmaster(data_dir)
    await server.stop()
    (data_dir / "postgres" / "postmaster.pid").write_text(trace.replace(str(pid), str(os.getpid())))
    (data_dir / "postgres" / ".handle_pids.json").write_text("[12")  # cut short

    connection = await asyncpg.connect(await server.start())
    await connection.close()
    await server.stop()


async def test_the_pool_survives_a_restart(data_dir: Path) -> None:
    """After PostgreSQL went and came back the same pool works again."""
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    pool = await open_pool(url)
    store = PostgresSubscriptions(pool)
    await store.ping()
    await server.stop()
    await server.start()
    await store.ping()
    await pool.close()
    await server.stop()


async def test_a_server_that_dies_is_started_again(data_dir: Path) -> None:
    """The same pool works again, nothing stored is lost, and the end leaves nothing behind."""
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    await migrate(url)
    pool = await open_pool(url)
    keeping = asyncio.create_task(server.keep())
    try:
        os.kill(postmaster(data_dir), signal.SIGKILL)
        store = PostgresSubscriptions(pool)
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.1)
                with contextlib.suppress(DatabaseLost):
                    await store.ping()
                    break
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await pool.close()
        await server.stop()
    assert not is_running(data_dir)


async def test_a_server_that_another_process_uses_is_not_told_to_have_stopped(
    data_dir: Path,
) -> None:
    """A command beside a gateway leaves it, and says no more."""
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY_THAT_HANGS, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    async with asyncio.timeout(30):
        await gateway.stdout.readline()
    server = EmbeddedPostgres(data_dir)
    await server.start()
    with capture_logs() as lines:
        await server.stop()
    assert [line["event"] for line in lines] == ["storage.embedded_left"]
    gateway.kill()
    await gateway.wait()
    await server.start()
    await server.stop()
    assert not is_running(data_dir)


async def test_a_machine_on_which_the_server_takes_its_time_does_not_end_the_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package gives up after 10 s and reads a log that is not there yet.

    That `pg_ctl` did not even begin in its time is the one thing put in: no machine here is so
    slow when asked to be. All else, the second attempt too, is the real server.
    """
    package: Any = sys.modules[load_server_class().__module__]
    given_up: list[str] = []
    real = package.pgexec

    def slow_once(program: str, words: Sequence[str], **more: Any) -> object:
        if program == "pg_ctl" and not given_up:
            given_up.append(program)
            raise subprocess.TimeoutExpired(program, 10)
        return real(program, words, **more)

    monkeypatch.setattr(package, "pgexec", slow_once)
    server = EmbeddedPostgres(data_dir)
    await migrate(await server.start())
    await server.stop()
    assert given_up == ["pg_ctl"]
    assert not is_running(data_dir)


async def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(data_dir: Path) -> None:
    """A data folder below a file names WSG_DATA_DIR."""
    (data_dir / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        await EmbeddedPostgres(data_dir / "file").start()
    assert caught.value.setting == "WSG_DATA_DIR"
    assert "\n" not in str(caught.value)


async def test_a_folder_of_another_version_is_said_in_one_sentence(data_dir: Path) -> None:
    """Data of an older PostgreSQL are not touched."""
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="PostgreSQL 16"):
        await EmbeddedPostgres(data_dir).start()


@pytest.mark.parametrize("name", ["my data", "a'b", "a;b", "a&b", "a,b", "50%"])
async def test_a_path_the_server_could_not_be_started_in_is_refused(
    data_dir: Path, name: str
) -> None:
    """A blank, or what a shell or a URL reads as its own, is told at once; nothing is made."""
    with pytest.raises(ConfigError) as caught:
        await EmbeddedPostgres(data_dir / name).start()
    assert caught.value.setting == "WSG_DATA_DIR"
    assert "WSG_DATABASE_URL" in caught.value.remedy
    assert not (data_dir / name).exists()


async def test_a_path_of_foreign_letters_is_fine(data_dir: Path) -> None:
    """Only what is read as something else stands in the way."""
    server = EmbeddedPostgres(data_dir / "Präzision=1.5")
    connection = await asyncpg.connect(await server.start())
    await connection.close()
    await server.stop()
