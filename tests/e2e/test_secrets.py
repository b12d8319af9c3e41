"""No secret leaves the process, whatever happens: every place is searched."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from rabbitmq_node import PrivateNode, find_server
from support.node_control import rabbitmqctl
from support.programs import run_command, until
from support.site import Site

API_KEY = "admin-7Qw3rTyU-first/key+of=all"
BYBIT_KEY = "bybK9xYz4Lm2Np8"
BYBIT_SECRET = "bybS3cretAbCdEfGh5678"
AMQP_PASSWORD = "amqpP4ss/w?rd@home"
DATABASE_PASSWORD = "dbP4ss#w:rd%41"
WRONG_SECRET = "bybWr0ngSecretZyXw4321"
SECRETS = (API_KEY, BYBIT_KEY, BYBIT_SECRET, AMQP_PASSWORD, DATABASE_PASSWORD, WRONG_SECRET)


def find_secrets(text: str, created: Iterable[str] = ()) -> list[str]:
    """Name the secrets a text holds, as they are or as URLs write them."""
    return [
        secret
        for secret in (*SECRETS, *created)
        if any(form in text for form in (secret, quote(secret, safe=""), quote(secret)))
    ]


def with_password(url: str, password: str) -> str:
    """Put a password into a database URL; a server that trusts its neighbours never asks it."""
    parts = urlsplit(url)
    user = parts.username or "postgres"
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{user}:{quote(password, safe='')}@{host}"
    return urlunsplit((parts.scheme, netloc, *parts[2:]))


async def rows(url: str) -> str:
    """Write out every row of every table."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        found = [
            str(row[0])
            for (table,) in tables
            for row in await connection.fetch(f'SELECT t::text FROM "{table}" t')  # noqa: S608
        ]
    finally:
        await connection.close()
    assert any("strategy" in row for row in found)
    return "\n".join(found)


async def everything_answered(http: httpx.AsyncClient) -> list[httpx.Response]:
    """Ask for all there is, rightly and wrongly."""
    wishes = [
        {"channel": "order", "requesting_service": "strategy"},
        {"channel": "balance", "requesting_service": "strategy"},
        {"channel": "orderbook", "symbol": "BTCUSDT", "depth": 7, "requesting_service": "strategy"},
        {"channel": "ticker", "symbol": "BTCUSDT", "requesting_service": "strategy"},
        {"channel": "ticker", "symbol": "NOPEUSDT", "requesting_service": "strategy"},
    ]
    answers = [await http.post("/api/v1/subscriptions", json=wish) for wish in wishes]
    paths = ["/health", "/readyz", "/livez", "/openapi.json", "/asyncapi.json", "/nothing"]
    paths += [f"/api/v1/{name}" for name in ("subscriptions", "connections", "queues", "log-level")]
    answers += [await http.get(path) for path in paths]
    answers.append(await http.get("/api/v1/subscriptions", headers={"X-API-Key": "not the key"}))
    answers.append(await http.post("/api/v1/subscriptions", content=b"{"))
    return answers


@pytest.mark.xdist_group("dev_stack")
async def test_no_secret_is_in_any_output_answer_message_or_row(
    site: Site, own_broker: PrivateNode, tmp_path: Path
) -> None:
    """At debug, through errors of every neighbour; what is searched for is found where it is."""
    for secret in SECRETS:
        assert find_secrets(f"amqp://u:{quote(secret, safe='')}@h") == [secret]
        assert find_secrets(f"<{secret}>") == [secret]
    await rabbitmqctl(own_broker, "add_user", "gateway", AMQP_PASSWORD)
    await rabbitmqctl(own_broker, "set_permissions", "gateway", ".*", ".*", ".*")
    parts = urlsplit(own_broker.url)
    host = parts.netloc.rpartition("@")[2]
    amqp_url = f"amqp://gateway:{quote(AMQP_PASSWORD, safe='')}@{host}/"
    assert site.database_url is not None
    settings = {
        "WSG_AMQP_URL": amqp_url,
        "WSG_DATABASE_URL": with_password(site.database_url, DATABASE_PASSWORD),
        "WSG_BYBIT_API_KEY": BYBIT_KEY,
        "WSG_BYBIT_API_SECRET": BYBIT_SECRET,
        "WSG_API_KEY": API_KEY,
        "WSG_LOG_FRAMES_ONE_IN": "1",
        "WSG_PUBLISH_DEADLINE_SECONDS": "2",
    }
    texts: dict[str, str] = {}
    async with site.venue(api_key=BYBIT_KEY, api_secret=BYBIT_SECRET, trade_every=0.3) as venue:
        async with site.gateway(venue.url, **settings) as gateway:
            gateway.http.headers["X-API-Key"] = API_KEY
            gateway.process.send_signal(signal.SIGUSR1)
            messages = await _messages_of(site, own_broker.url, gateway.http, texts)
            assert messages > 0
            # Whoever puts a secret where none belongs is answered, but nothing else has it.
            await gateway.http.get(f"/api/v1/subscriptions/{BYBIT_SECRET}")
            created = await _created_keys(gateway.http, site, settings, tmp_path, texts)
            texts["rows"] = await rows(site.database_url)

            own_broker.stop()
            await gateway.until_not_ready("broker_lost")
            for answer in await everything_answered(gateway.http):
                texts[f"without a broker: {answer.request.url}"] = _whole(answer)
                if answer.request.url.path != "/readyz":  # control goes on without the broker
                    assert answer.status_code < 500, _whole(answer)
            server = find_server()
            assert server is not None
            await asyncio.to_thread(own_broker.start, server)
            await gateway.until_health(lambda health: health["broker"]["status"] == "ready", 30)
        assert gateway.logged("gateway.log_level_changed")[0]["why"] == "SIGUSR1"
        assert gateway.logged("venue.frame_received")
        assert gateway.logged("venue.request_sent")
        assert gateway.logged("delivery.broker_lost")
        texts["stderr"], texts["stdout"] = gateway.words, gateway.out.read_text(encoding="utf-8")

        wrong = {**settings, "WSG_BYBIT_API_SECRET": WRONG_SECRET}
        texts["a refused login"] = await _refused_login(site, venue.url, wrong)
    bad_url = amqp_url.replace(quote(AMQP_PASSWORD, safe=""), quote(AMQP_PASSWORD, safe="") + "x")
    environ = {**site.settings, **settings, "WSG_DATA_DIR": str(tmp_path / "d")}
    for command, changed in (
        ("serve", {"WSG_AMQP_URL": bad_url}),
        ("serve", {"WSG_AMQP_URL": f"amqp://gateway:{AMQP_PASSWORD}@{host}/"}),
        ("check-config", {}),
        ("default-env", {}),
    ):
        _, out, err = await run_command([command], {**environ, **changed}, tmp_path)
        texts[f"{command} {'refused' if changed else ''}"] = out + err
    # Of a key that was created nothing but its public id is told again.
    secret_parts = [key.rpartition("_")[2] for key in created]
    told = {name: find_secrets(text, secret_parts) for name, text in texts.items()}
    assert {name: found for name, found in told.items() if found} == {}


def _whole(answer: httpx.Response) -> str:
    return f"{answer.status_code} {dict(answer.headers)} {answer.text}"


async def _messages_of(site: Site, url: str, http: httpx.AsyncClient, texts: dict[str, str]) -> int:
    """Keep what is answered and delivered while all is well; answers how many messages came."""
    there = Site(site.folder, url, site.database_url, site.prefix)
    async with there.consumer("order", "balance", "ticker", "orderbook") as consumer:
        for answer in await everything_answered(http):
            texts[f"{answer.request.method} {answer.request.url}"] = _whole(answer)
        await consumer.until(lambda event: event["event_type"] == "order")
        await consumer.until(lambda event: event["event_type"] == "ticker")
        kept = [
            f"{event['amqp'].body!r} {event['amqp'].headers} {event['amqp'].message_id}"
            for event in consumer.events
        ]
    texts["messages"] = "\n".join(kept)
    return len(kept)


async def _created_keys(
    http: httpx.AsyncClient,
    site: Site,
    settings: dict[str, str],
    folder: Path,
    texts: dict[str, str],
) -> list[str]:
    """Create keys in every way there is, use them rightly and wrongly; answers them."""
    made = await http.post("/api/v1/keys", json={"name": "made", "scopes": ["subscriptions:read"]})
    assert made.status_code == 201, made.text
    rotation = await http.post(f"/api/v1/keys/{made.json()['id']}/rotation", json={})
    assert rotation.status_code == 201, rotation.text
    environ = {**site.settings, **settings}
    words = ["keys", "create", "--name", "typed", "--json"]
    code, out, err = await run_command(words, environ, folder)
    assert code == 0, err
    texts["keys create"] = err
    keys = [made.json()["key"], rotation.json()["key"], json.loads(out)["key"]]
    for key in keys:
        mine = {"X-API-Key": key}
        bad = [
            await http.get("/api/v1/subscriptions", headers=mine),
            await http.get("/api/v1/keys", headers=mine),
            await http.delete("/api/v1/subscriptions/by-service/x", headers=mine),
            await http.get("/api/v1/subscriptions", headers={"X-API-Key": f"{key}x"}),
        ]
        assert bad[0].status_code == 200, bad[0].text
        assert (bad[1].status_code, bad[3].status_code) == (403, 401)
        # A key where none belongs is told to whoever sent it, and to nobody else.
        await http.get(f"/api/v1/subscriptions/{key}")
        await http.post("/api/v1/subscriptions", json={"requesting_service": key})
        for number, answer in enumerate(bad):
            texts[f"with {key[:16]}: {number}"] = _whole(answer)
    for path in ("/api/v1/keys", "/api/v1/audit"):
        texts[path] = _whole(await http.get(path))
    return keys


async def _refused_login(site: Site, venue_url: str, settings: dict[str, str]) -> str:
    """Let the venue refuse a login, and return all that was written about it."""
    async with site.gateway(venue_url, **settings) as gateway:
        gateway.http.headers["X-API-Key"] = API_KEY

        async def diagnosed() -> bool:
            return bool(gateway.logged("venue.login_diagnosed"))

        await until(diagnosed, seconds=30, what="the refused login is explained")
        answers = [_whole(await gateway.http.get(path)) for path in _told_about_it()]
    return "\n".join([*answers, gateway.words])


def _told_about_it() -> Iterable[str]:
    return ("/health", "/readyz", "/api/v1/connections")
