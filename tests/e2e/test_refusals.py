"""What is wrong outside is said in one sentence: the setting, what was found, what to do."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.programs import run_command
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

PASSWORD = "hunter2-Geheim"
NOBODY = "127.0.0.1:9"
"""The discard port; nobody listens there."""


async def _refused(site: Site, command: str = "serve", **settings: str) -> str:
    """Run a command that must refuse; answers its sentence."""
    environ = {**site.settings, "WSG_HTTP_PORT": "0", **settings}
    code, out, err = await run_command([command], environ, site.folder)
    assert code == 2, (code, out, err)
    assert out == ""
    assert PASSWORD not in err
    lines = [line for line in err.splitlines() if not _is_log_line(line)]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    sentence = lines[0]
    assert sentence.startswith("ws-gateway: WSG_"), sentence
    setting, *rest = sentence.removeprefix("ws-gateway: ").split(": ", 1)
    assert setting.isupper()
    found, *remedy = rest[0].split("; ")
    assert found
    assert remedy, sentence
    return sentence


def _is_log_line(line: str) -> bool:
    """Recognise lifecycle told before the refusal; errors and warnings are not that."""
    return line.startswith("{") and '"level": "info"' in line


MALFORMED = [
    ({"WSG_AMQP_ULR": f"amqp://u:{PASSWORD}@h/"}, ["WSG_AMQP_ULR", "did you mean WSG_AMQP_URL?"]),
    ({"WSG_NONSENSE": "1"}, ["WSG_NONSENSE", "no such setting", "default-env"]),
    ({"WSG_AMQP_URL": f"http://u:{PASSWORD}@h/"}, ["WSG_AMQP_URL", "amqp"]),
    ({"WSG_AMQP_URL": f"amqp://u:{PASSWORD}@h:port/"}, ["WSG_AMQP_URL", "amqp"]),
    ({"WSG_AMQP_URL": f"amqp://u:{PASSWORD}"}, ["WSG_AMQP_URL", "amqp"]),
    ({"WSG_DATABASE_URL": f"mysql://u:{PASSWORD}@h/d"}, ["WSG_DATABASE_URL", "postgresql"]),
    ({"WSG_DATABASE_URL": PASSWORD}, ["WSG_DATABASE_URL", "postgresql"]),
    ({"WSG_BYBIT_WS_URL": "https://stream.bybit.com"}, ["WSG_BYBIT_WS_URL", "https://", "wss"]),
    ({"WSG_BYBIT_REST_URL": "api.bybit.com"}, ["WSG_BYBIT_REST_URL", "api.bybit.com", "https"]),
    ({"WSG_BYBIT_WS_URL": "ws://.example."}, ["WSG_BYBIT_WS_URL", ".example.", "host"]),
    ({"WSG_AMQP_URL": f"amqp://guest:{PASSWORD}@.example./"}, ["WSG_AMQP_URL", "host"]),
    ({"WSG_HTTP_HOST": ".x."}, ["WSG_HTTP_HOST", ".x.", "host"]),
    ({"WSG_HTTP_PORT": "eighty"}, ["WSG_HTTP_PORT", "eighty"]),
    ({"WSG_HTTP_PORT": "65536"}, ["WSG_HTTP_PORT", "65536"]),
    ({"WSG_PUBLISH_DEADLINE_SECONDS": "0"}, ["WSG_PUBLISH_DEADLINE_SECONDS", "0"]),
    ({"WSG_QUEUE_TYPE": "lazy"}, ["WSG_QUEUE_TYPE", "lazy", "quorum", "classic", "stream"]),
    ({"WSG_ENABLED_CATEGORIES": "linear,futures"}, ["WSG_ENABLED_CATEGORIES", "futures"]),
    ({"WSG_BYBIT_API_SECRET_FILE": "/no/such/file"}, ["WSG_BYBIT_API_SECRET_FILE", "/no/such"]),
    ({"WSG_AMQP_PREFIX": "my gateway"}, ["WSG_AMQP_PREFIX", "my gateway", "letters"]),
    ({"WSG_AMQP_PREFIX": "x" * 101}, ["WSG_AMQP_PREFIX", "1 to 100"]),
    ({"WSG_BYBIT_API_KEY": "key"}, ["WSG_BYBIT_API_SECRET", "missing"]),
    ({"WSG_HTTP_HOST": "not.a.host.invalid"}, ["WSG_HTTP_HOST", "not.a.host.invalid"]),
]


@pytest.mark.parametrize(
    ("settings", "words"), MALFORMED, ids=[f"{next(iter(s))}-{w[-1]}" for s, w in MALFORMED]
)
async def test_a_malformed_setting_is_refused_in_a_sentence(
    tmp_path: Path, settings: dict[str, str], words: list[str]
) -> None:
    """It names the setting and what was found, and says what to do; no secret is repeated."""
    site = Site(tmp_path, f"amqp://{NOBODY}/", f"postgresql://{NOBODY}/d", "t-none")
    sentence = await _refused(site, **settings)
    for word in words:
        assert word in sentence


async def test_a_port_in_use_is_named(site: Site) -> None:
    """The port is taken before anything else is started, so this is found first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = await _refused(site, WSG_HTTP_PORT=port, WSG_AMQP_URL=f"amqp://{NOBODY}/")
    assert sentence.startswith("ws-gateway: WSG_HTTP_PORT: ")
    assert port in sentence


async def test_a_broker_that_is_not_there_is_named(site: Site) -> None:
    """Nobody listens at the address."""
    sentence = await _refused(site, WSG_AMQP_URL=f"amqp://guest:{PASSWORD}@{NOBODY}/")
    assert sentence.startswith("ws-gateway: WSG_AMQP_URL: ")
    assert NOBODY in sentence


async def test_a_broker_that_refuses_the_login_is_named(site: Site) -> None:
    """The password is wrong."""
    host = urlsplit(site.amqp_url).netloc.rpartition("@")[2]
    sentence = await _refused(site, WSG_AMQP_URL=f"amqp://guest:{PASSWORD}@{host}/")
    assert sentence.startswith("ws-gateway: WSG_AMQP_URL: ")
    assert "refuse" in sentence.lower()
    assert host in sentence


async def test_a_virtual_host_that_does_not_exist_is_named(site: Site) -> None:
    """The login is right, the virtual host is not."""
    sentence = await _refused(site, WSG_AMQP_URL=site.amqp_url.rstrip("/") + "/nowhere")
    assert sentence.startswith("ws-gateway: WSG_AMQP_URL: ")
    assert "nowhere" in sentence


async def test_something_else_than_a_broker_is_named(site: Site) -> None:
    """A server that speaks another protocol is refused as fast as one that is not there."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1000)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        sentence = await _refused(site, WSG_AMQP_URL=f"amqp://guest:{PASSWORD}@127.0.0.1:{port}/")
    assert sentence.startswith("ws-gateway: WSG_AMQP_URL: ")


@pytest.mark.parametrize("command", ["serve", "migrate"])
async def test_a_database_that_is_not_there_is_named(site: Site, command: str) -> None:
    """Nobody listens at the address."""
    url = f"postgresql://u:{PASSWORD}@{NOBODY}/d"
    sentence = await _refused(site, command, WSG_DATABASE_URL=url)
    assert sentence.startswith("ws-gateway: WSG_DATABASE_URL: ")
    assert NOBODY in sentence


@pytest.fixture
async def strict_postgres(own_postgres: EmbeddedPostgres, postgres_folder: Path) -> str:
    """Query part of the URL of a PostgreSQL that asks the role `locked` for a password."""
    url = await own_postgres.start()
    rules = postgres_folder / "postgres" / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    return urlsplit(url).query


async def test_a_database_that_refuses_the_login_is_named(site: Site, strict_postgres: str) -> None:
    """A wrong password, and a database that does not exist."""
    wrong = f"postgresql://locked:{PASSWORD}@/postgres?{strict_postgres}"
    sentence = await _refused(site, WSG_DATABASE_URL=wrong)
    assert sentence.startswith("ws-gateway: WSG_DATABASE_URL: ")
    assert "correct user and password" in sentence
    unknown = f"postgresql://postgres:{PASSWORD}@/no_such_database?{strict_postgres}"
    sentence = await _refused(site, WSG_DATABASE_URL=unknown)
    assert sentence.startswith("ws-gateway: WSG_DATABASE_URL: ")
    assert "no_such_database" in sentence


@pytest.mark.parametrize("command", [["tail", "orderbook"], ["demo", "--seconds", "5"]])
async def test_other_commands_refuse_in_the_same_way(site: Site, command: list[str]) -> None:
    """Without a broker neither `tail` nor `demo` can do anything."""
    environ = {**site.settings, "WSG_AMQP_URL": f"amqp://guest:{PASSWORD}@{NOBODY}/"}
    code, _, err = await run_command(command, environ, site.folder)
    assert code == 2
    assert err.startswith("ws-gateway: WSG_AMQP_URL: ")
    assert len(err.splitlines()) == 1
    assert PASSWORD not in err


async def test_a_simulator_on_a_taken_port_says_so(tmp_path: Path) -> None:
    """`simulate` passes the simulator's own sentence and code on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = await run_command(["simulate", "--port", port], {}, tmp_path)
    assert code == 2
    assert port in err
    assert len(err.splitlines()) == 1


async def test_migrate_twice_changes_nothing_the_second_time(
    tmp_path: Path, empty_database_url: str
) -> None:
    """Both end with 0; afterwards the schema is there."""
    for _ in range(2):
        code, out, err = await run_command(
            ["migrate"], {"WSG_DATABASE_URL": empty_database_url}, tmp_path
        )
        assert (code, out) == (0, "the schema is what this version needs\n"), err
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM subscriptions") == 0
    finally:
        await connection.close()
