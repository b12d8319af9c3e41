"""TLS to the broker, to the database and of the HTTP API, with an authority of one's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support import programs
from support.programs import Gateway, clean_environ, run_command, until
from support.proxy import address
from support.scraped import scrape
from support.site import Site
from support.tls import Authority, encrypted_key, tls_before, tls_before_postgres
from ws_gateway.delivery.management import ManagementApi
from ws_gateway.runtime.certificate import chain_ends_at


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that everybody of the test believes."""
    return Authority.made(tmp_path / "authority")


@asynccontextmanager
async def encrypted(site: Site, authority: Authority) -> AsyncIterator[dict[str, str]]:
    """Have broker and database behind TLS; answers the settings that name them."""
    assert site.database_url is not None
    shown = authority.server()
    parts = urlsplit(site.amqp_url)
    login = parts.netloc.rpartition("@")[0]
    async with (
        tls_before(*address(site.amqp_url, 5672), shown) as amqp_port,
        tls_before_postgres(site.database_url, shown) as database_port,
    ):
        amqp = f"amqps://{login}@localhost:{amqp_port}{parts.path}"
        database = f"postgresql://postgres@localhost:{database_port}"
        checked = f"sslmode=verify-full&sslrootcert={authority.ca_file}"
        yield {
            "WSG_AMQP_URL": f"{amqp}?cafile={authority.ca_file}",
            "WSG_AMQP_PREFIX": site.prefix,
            "WSG_DATABASE_URL": f"{database}{urlsplit(site.database_url).path}?{checked}",
            "WSG_HTTP_CERTIFICATE_FILE": str(authority.certificate_file),
            "WSG_HTTP_KEY_FILE": str(authority.key_file),
        }


def shown_by(gateway: Gateway, authority: Authority) -> bytes:
    """Take the certificate that a new connection is shown."""
    url = urlsplit(str(gateway.http.base_url))
    assert url.hostname is not None
    with (
        socket.create_connection((url.hostname, url.port or 0), timeout=30) as plain,
        authority.client().wrap_socket(plain, server_hostname=url.hostname) as wrapped,
    ):
        found = wrapped.getpeercert(binary_form=True)
    assert found is not None
    return found


async def test_everything_over_tls_and_a_certificate_that_is_renewed(
    site: Site, authority: Authority, tmp_path: Path
) -> None:
    """Events flow, the API answers over TLS alone, commands reach all, a renewal takes effect."""
    async with (
        encrypted(site, authority) as settings,
        site.venue() as venue,
        programs.gateway(
            site.folder,
            {**settings, "WSG_BYBIT_WS_URL": venue.url},
            trusted=authority.client(),
        ) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        (started,) = gateway.logged("gateway.started")
        assert started["url"].startswith("https://")
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", "orderbook.50.BTCUSDT"))
        answer = await gateway.http.get("/livez")
        assert answer.headers["strict-transport-security"]
        plain = str(gateway.http.base_url).replace("https", "http", 1)
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"{plain}/livez")
        port = str(urlsplit(plain).port)
        where = {**settings, "WSG_HTTP_PORT": port, "WSG_DATA_DIR": str(tmp_path / "other")}
        assert (await run_command(["doctor", "--alive"], where, tmp_path))[0] == 0
        code, out, err = await run_command(["tail", "orderbook", "--count", "1"], where, tmp_path)
        assert (code, "BTCUSDT" in out) == (0, True), err

        ends = await seen_ends(gateway)
        assert set(ends) == {"http", *SEEN}
        assert ends["http"] == ends["broker"] == ends["database"]
        assert ends["broker"] == chain_ends_at(authority.certificate_file).timestamp()
        assert ends["broker_authority"] == chain_ends_at(authority.ca_file).timestamp()
        code, out, err = await run_command(
            ["doctor", "--json"], {**where, "WSG_BYBIT_WS_URL": venue.url}, tmp_path, seconds=60
        )
        lines = [one for one in json.loads(out)["findings"] if one["check"] == "certificate"]
        assert {one["found"].partition(" ")[0] for one in lines} == set(ends), err
        assert {one["verdict"] for one in lines} == {"ok"}, lines

        before = shown_by(gateway, authority)
        until_when = datetime(2027, 5, 6, 7, 8, 9, tzinfo=UTC)
        authority.renew(until=until_when)

        async def renewed() -> bool:
            return bool(gateway.logged("api.certificate_renewed"))

        await until(renewed, seconds=40, what="the certificate is read again")
        assert shown_by(gateway, authority) != before

        async def told() -> bool:
            return (await seen_ends(gateway))["http"] == until_when.timestamp()

        await until(told, seconds=30, what="the new end is told")
        assert (await gateway.http.get("/livez")).status_code == 200


SEEN = ("broker", "broker_authority", "database", "database_authority")


async def seen_ends(gateway: Gateway) -> dict[str, float]:
    """Wait until every certificate was looked at; answers when they end, by name."""

    async def seen() -> dict[str, float] | None:
        told = await scrape(gateway.http)
        ends = told.values("ws_gateway_certificate_expiry_timestamp_seconds")
        if len(ends) > len(SEEN):
            return {name: value for (name,), value in ends.items()}
        await asyncio.sleep(0.3)
        return None

    return await until(seen, seconds=40, what="every certificate is seen")


@pytest.mark.parametrize("where", ["the API", "the broker", "the database"])
async def test_an_encrypted_key_ends_the_start_in_words_and_asks_nobody_on_the_terminal(
    site: Site, authority: Authority, tmp_path: Path, where: str
) -> None:
    """A gateway that is started by hand has a terminal, and would wait there for ever."""
    key = encrypted_key(authority.key_file, tmp_path / "encrypted.key")
    both = f"={authority.certificate_file}&{{}}={key}"
    settings = {
        "the API": {
            "WSG_HTTP_CERTIFICATE_FILE": str(authority.certificate_file),
            "WSG_HTTP_KEY_FILE": str(key),
        },
        "the broker": {
            "WSG_AMQP_URL": "amqps://localhost:1/?certfile" + both.format("keyfile"),
        },
        "the database": {
            "WSG_DATABASE_URL": "postgresql://localhost:1/x?sslmode=require&sslcert"
            + both.format("sslkey"),
        },
    }[where]
    environ = {**site.settings, "WSG_HTTP_PORT": "0", "WSG_DATA_DIR": str(tmp_path / "data")}
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import os, pty, sys\n"
        f"status = pty.spawn([{sys.executable!r}, '-m', 'ws_gateway', 'serve'])\n"
        "sys.exit(os.waitstatus_to_exitcode(status))",
        env=clean_environ({**environ, **settings}),
        cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(60):
            out, _ = await program.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
    said = " ".join(out.decode().split())
    assert program.returncode == 2, said
    assert "is encrypted" in said
    assert "openssl pkey" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("WSG_AMQP_URL", "certificate verify failed"),
        ("WSG_DATABASE_URL", "certificate verify failed"),
    ],
)
async def test_a_neighbour_whom_another_authority_vouches_for_is_refused(
    site: Site, authority: Authority, tmp_path: Path, setting: str, words: str
) -> None:
    """In one sentence that names the setting; nothing is sent to it."""
    stranger = Authority.made(tmp_path / "stranger")
    async with encrypted(site, authority) as settings:
        settings[setting] = settings[setting].replace(str(authority.ca_file), str(stranger.ca_file))
        environ = {**settings, "WSG_HTTP_PORT": "0", "WSG_DATA_DIR": str(tmp_path / "data")}
        code, _, err = await run_command(["serve"], environ, tmp_path)
    assert code == 2
    assert words in err.lower(), err
    assert setting in err
    assert "Traceback" not in err


async def test_a_key_that_is_of_another_certificate_is_refused(
    site: Site, authority: Authority, tmp_path: Path
) -> None:
    """At the start, not at the first handshake."""
    stranger = Authority.made(tmp_path / "stranger")
    environ = {
        **site.settings,
        "WSG_HTTP_CERTIFICATE_FILE": str(authority.certificate_file),
        "WSG_HTTP_KEY_FILE": str(stranger.key_file),
    }
    code, _, err = await run_command(["serve"], environ, tmp_path)
    assert code == 2
    assert "WSG_HTTP_CERTIFICATE_FILE" in err


def test_the_authority_is_believed_by_nobody_else(authority: Authority) -> None:
    """Else the tests above would show nothing."""
    assert isinstance(ssl.create_default_context(), ssl.SSLContext)
    assert authority.client().cert_store_stats()["x509_ca"] == 1


async def test_the_management_api_is_believed_by_the_brokers_authority(
    authority: Authority, tmp_path: Path
) -> None:
    """It is asked over TLS with the login; one whom somebody else vouches for learns nothing."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            writer.write(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n[]")
            await writer.drain()
        writer.close()

    stranger = Authority.made(tmp_path / "stranger")
    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    own_port = plain.sockets[0].getsockname()[1]
    async with plain, tls_before("127.0.0.1", own_port, authority.server()) as port:
        for believed, requests in ((stranger, 0), (authority, 2)):
            amqp = f"amqps://user:word@localhost/?cafile={believed.ca_file}"
            api = ManagementApi(f"https://localhost:{port}", amqp, "x")
            assert await api.queues() == {}
            await api.close()
            assert len(asked) == requests
    assert all(b"Authorization: Basic" in one for one in asked)
