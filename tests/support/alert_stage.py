"""Faults that make alerts fire, made in the simulator, on the network and at the broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiormq
import httpx

from support import programs
from support.alert_proof import Proof
from support.alert_thresholds import THRESHOLDS
from support.programs import Gateway, Venue, until
from support.proxy import TcpProxy, address, through
from support.relay import relay_to, to_postgres
from support.scraped import Scraped, scrape
from support.site import KEYS, Site
from support.tls import Authority

LINEAR, SPOT, INVERSE = (f"/v5/public/{name}" for name in ("linear", "spot", "inverse"))
PRIVATE = "/v5/private"
PATIENCE_SECONDS = 90.0


async def crossed(
    gateway: Gateway, before: Scraped, proof: Proof, *alerts: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Scrape until the threshold of each alert was crossed, at its own time."""
    waiting = set(alerts)

    async def over() -> bool:
        now = await scrape(gateway.http)
        for alert in sorted(waiting):
            if THRESHOLDS[alert](before, now):
                proof.take(alert, before, now)
                waiting.discard(alert)
        if waiting:
            await asyncio.sleep(0.3)  # a text is half a second old
        return not waiting

    await until(over, seconds=seconds, what=lambda: f"crossed, but {sorted(waiting)}")


async def fault(venue: Venue, name: str, **parameters: object) -> None:
    """Begin a fault of the simulator."""
    await _ask(venue, f"faults/{name}", parameters)


async def _ask(venue: Venue, path: str, body: Mapping[str, object]) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(f"http://127.0.0.1:{venue.port}/sim/{path}", json=body)
    assert answer.status_code == 200, answer.text


def _account() -> dict[str, Any]:
    return {"api_key": KEYS["WSG_BYBIT_API_KEY"], "api_secret": KEYS["WSG_BYBIT_API_SECRET"]}


async def exchange_fails(site: Site, proof: Proof) -> None:
    """Everything that Bybit can do wrong, at one endpoint each."""
    async with site.venue(rate=50, trade_every=1, **_account()) as venue:
        await fault(venue, "clock_skew", by_seconds=5)
        async with site.gateway(venue.url, **KEYS) as gateway:
            for symbol in ("BTCUSDT", "ETHUSDT", "XRPUSDT"):
                await gateway.add("orderbook", symbol, category="linear")
            await gateway.add("ticker", "BTCUSDT", category="spot")
            await gateway.add("ticker", "BTCUSD", category="inverse")
            await gateway.add("order")
            await gateway.until_ready()
            before = await scrape(gateway.http)
            await fault(venue, "stall", topic="orderbook.50.ETHUSDT")
            for path, seconds in ((SPOT, None), (INVERSE, 5.5)):
                await fault(
                    venue, "refuse_handshake", status=500, path=path, duration_seconds=seconds
                )
                await fault(venue, "drop", path=path)
            await fault(venue, "login_refused", reason="ip_not_allowed")
            await fault(venue, "drop", path=PRIVATE)
            await fault(venue, "handler_not_found", topic="tickers.SOLUSDT")
            await gateway.add("ticker", "SOLUSDT", category="linear")
            await fault(venue, "malformed_frame", path=LINEAR)
            await fault(
                venue, "update_gap", topic="orderbook.50.BTCUSDT", probability=0.2, count=None
            )
            await crossed(gateway, before, proof, *EXCHANGE)


async def broker_fails(site: Site, proof: Proof) -> None:
    """Queues that are full, gone or refuse; a broker that is slow, then away."""
    async with (
        TcpProxy(*address(site.amqp_url, 5672)) as proxy,
        site.venue(rate=100, trade_every=0.02, **_account()) as venue,
        _small_queue(site, "sloth.ticker", "drop-head"),
        site.gateway(
            venue.url,
            **KEYS,
            WSG_AMQP_URL=through(site.amqp_url, proxy),
            WSG_BUFFER_MAX_EVENTS="400",
            WSG_SPOOL_MAX_BYTES="1000000",
        ) as gateway,
    ):
        wish = {"category": "linear", "requesting_service": "sloth"}
        await gateway.add("ticker", "BTCUSDT", delivery="dedicated", **wish)
        for channel in ("orderbook", "trades"):
            await gateway.add(channel, "BTCUSDT", **wish)
        for channel in ("order", "execution", "position", "balance"):
            await gateway.add(channel)
        await gateway.until_ready()
        await until(
            lambda: _is_looked_at(gateway), seconds=PATIENCE_SECONDS, what="the queue is looked at"
        )
        before = await scrape(gateway.http)
        async with (
            _small_queue(site, "refusing", "reject-publish", "ticker.#"),
            _vanishing_queue(site, "orderbook"),
        ):
            await crossed(gateway, before, proof, *QUEUES)
        proxy.delay_seconds = 0.1
        await proxy.reset()
        await crossed(gateway, before, proof, "WsGatewayConfirmSlow")
        proxy.delay_seconds = 0.0
        await proxy.cut()
        await crossed(gateway, before, proof, *AWAY)
        await proxy.restore()
        await crossed(gateway, before, proof, *BACK)


async def _is_looked_at(gateway: Gateway) -> bool:
    told = await scrape(gateway.http)
    evicted = told.values("ws_gateway_queue_evicted_total")
    is_there = any(name.endswith(".sloth.ticker") for (name,) in evicted)
    if not is_there:
        await asyncio.sleep(0.3)
    return is_there


async def machine_fails(site: Site, proof: Proof) -> None:
    """The way of private facts, the disk, the database and the process itself."""
    assert site.database_url is not None
    (site.folder / "data").mkdir()
    (site.folder / "data" / f"spool-{site.prefix}").write_text("where a folder should be")
    database = urlsplit(site.database_url).path
    async with (
        relay_to(to_postgres(site.database_url)) as port,
        TcpProxy("127.0.0.1", port) as proxy,
        site.venue(trade_every=0.3, **_account()) as venue,
        site.gateway(
            venue.url,
            **KEYS,
            WSG_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{proxy.port}{database}",
            WSG_RECONCILE_SECONDS="1",
            WSG_BALANCE_SPOOL_MAX_BYTES="1000000",
            WSG_RECORD_DIR=str(site.folder / "frames"),
        ) as gateway,
    ):
        await gateway.add("ticker", "BTCUSDT", category="linear")
        for channel in ("execution", "balance"):
            await gateway.add(channel)
        await gateway.until_ready()
        await until(
            lambda: _keeps_balances(gateway), seconds=PATIENCE_SECONDS, what="balances are stored"
        )
        before = await scrape(gateway.http)
        assert THRESHOLDS["WsGatewayRecordingStopped"](before, before) is False
        shutil.rmtree(site.folder / "frames")
        (site.folder / "frames").write_text("where a folder should be")
        await crossed(gateway, before, proof, "WsGatewayRecordingStopped")
        await fault(venue, "lose_private", topic="execution")
        await crossed(gateway, before, proof, "WsGatewayStreamDiffers")
        await fault(venue, "rest_failure", status=500)
        gateway.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.2)
        os.kill(gateway.process.pid, signal.SIGCONT)
        proxy.delay_seconds = 0.06
        await proxy.reset()
        for _ in range(3):
            await gateway.post("ticker", "ETHUSDT", category="linear")
        await crossed(gateway, before, proof, *SLOW, "WsGatewayNotReconciled")
        await proxy.cut()
        await _ask(venue, "orders", {"count": 5_000, "rate": 300})
        await crossed(gateway, before, proof, *UNSTORED)
        proxy.delay_seconds = 0.0
        await proxy.restore()
        await crossed(gateway, before, proof, "WsGatewayBalancesSlow")
        await gateway.kill()
        proof.take("WsGatewayAbsent", before, None)


async def _keeps_balances(gateway: Gateway) -> bool:
    """Rows of the stream are in the database, and REST was read."""
    told = await scrape(gateway.http)
    stored = told.values("ws_gateway_balance_persistence_seconds_count", source="stream")
    done = told.values("ws_gateway_reconciliations_total", result="done")
    is_so = sum(stored.values()) > 0 and sum(done.values()) > 0
    if not is_so:
        await asyncio.sleep(0.3)
    return is_so


FORGETS = """
from ws_gateway.delivery.sender import Sender

put = Sender.put


def forget(self, message):
    if message.sequence % 10:
        put(self, message)


Sender.put = forget
"""
"""A defect for a gateway to have: one message in ten is taken, and then nowhere."""


async def counters_disagree(site: Site, proof: Proof) -> None:
    """A gateway with a defect loses events of the exchange without a word.

    Nothing that exchange, broker, network or machine do can make the counters disagree: that is
    what the identity promises. So the defect is put into the process at its start; it is the real
    one but for that, and what it loses was really sent and never reaches the real broker.
    """
    folder = site.folder / "defect"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FORGETS, encoding="utf-8")
    alert = "WsGatewayEventsUnaccounted"
    async with (
        site.venue(rate=50) as venue,
        site.gateway(venue.url, PYTHONPATH=str(folder)) as gateway,
    ):
        before = await scrape(gateway.http)
        await gateway.add("orderbook", "BTCUSDT", category="linear")

        async def disagree() -> Scraped | None:
            text = (await gateway.http.get("/metrics")).text
            now = Scraped(text, adds_up=False)
            found = is_unaccounted(now)
            if not found:
                await asyncio.sleep(0.3)
            return now if found and THRESHOLDS[alert](before, now) else None

        proof.take(alert, before, await until(disagree, seconds=PATIENCE_SECONDS, what="a hole"))


def is_unaccounted(now: Scraped) -> bool:
    """Say whether the counters of a scrape do not add up."""
    try:
        Scraped(now.text)
    except AssertionError:
        return True
    return False


async def certificates_end(site: Site, proof: Proof) -> None:
    """The certificate of the API is renewed with one that ends tomorrow."""
    authority = Authority.made(site.folder / "authority")
    shown = {
        "WSG_HTTP_CERTIFICATE_FILE": str(authority.certificate_file),
        "WSG_HTTP_KEY_FILE": str(authority.key_file),
    }
    settings = {**site.settings, **shown}
    async with (
        site.venue() as venue,
        programs.gateway(
            site.folder,
            {**settings, "WSG_BYBIT_WS_URL": venue.url},
            trusted=authority.client(),
        ) as gateway,
    ):
        before = await scrape(gateway.http)
        assert not THRESHOLDS["WsGatewayCertificateExpiring"](before, before)
        authority.renew(until=datetime.now(UTC) + timedelta(days=1))
        await crossed(gateway, before, proof, *CERTIFICATES)


EXCHANGE = (
    "WsGatewayBookHoles",
    "WsGatewayBreakerOpen",
    "WsGatewayClockOff",
    "WsGatewayConnectionDown",
    "WsGatewayConnectionFlapping",
    "WsGatewayLoginRefused",
    "WsGatewayNotReady",
    "WsGatewayQuarantine",
    "WsGatewayResubscribeSlow",
    "WsGatewayTopicsRejected",
    "WsGatewayTopicsStalled",
    "WsGatewayUptimeBudgetBurning",
    "WsGatewayUptimeMissed",
)
CERTIFICATES = ("WsGatewayCertificateExpiring", "WsGatewayCertificateLastDays")
QUEUES = (
    "WsGatewayQueue",
    "WsGatewayQueueEvicting",
    "WsGatewayRefusedByQueue",
    "WsGatewayUnroutable",
)
AWAY = ("WsGatewayBrokerLost", "WsGatewayLaneFull", "WsGatewaySpoolFilling")
BACK = ("WsGatewayDeliveryBudgetBurning", "WsGatewayEventsLost")
SLOW = ("WsGatewayApiSlow", "WsGatewayLoopLate", "WsGatewaySpoolUnavailable")
UNSTORED = ("WsGatewayDatabaseLost", "WsGatewayBalancesNotStored", "WsGatewayBalancesLost")

Scene = Callable[[Site, Proof], Coroutine[Any, Any, None]]

SCENES: Mapping[Scene, tuple[str, ...]] = {
    exchange_fails: EXCHANGE,
    broker_fails: (*QUEUES, "WsGatewayConfirmSlow", *AWAY, *BACK),
    machine_fails: (
        "WsGatewayRecordingStopped",
        "WsGatewayStreamDiffers",
        *SLOW,
        "WsGatewayNotReconciled",
        *UNSTORED,
        "WsGatewayBalancesSlow",
        "WsGatewayAbsent",
    ),
    counters_disagree: ("WsGatewayEventsUnaccounted",),
    certificates_end: CERTIFICATES,
}
"""Each scene with the alerts whose faults it makes happen."""


@asynccontextmanager
async def _small_queue(
    site: Site, name: str, overflow: str, binding: str | None = None
) -> AsyncIterator[None]:
    """Have a queue of somebody's own that holds little."""
    connection = await aiormq.connect(site.amqp_url)
    full = f"{site.prefix}.{name}"
    try:
        channel = await connection.channel()
        arguments = {"x-queue-type": "classic", "x-max-length": 10, "x-overflow": overflow}
        await channel.queue_declare(full, durable=True, arguments=arguments)  # type: ignore[arg-type]
        if binding is not None:
            await channel.queue_bind(full, f"{site.prefix}.events", binding)
        yield
        await channel.queue_delete(full)
    finally:
        await connection.close()


@asynccontextmanager
async def _vanishing_queue(site: Site, name: str) -> AsyncIterator[None]:
    """Delete a queue again and again: it may be declared anew before a message misses it."""

    async def delete() -> None:
        while True:
            await _delete_queue(site, name)
            await asyncio.sleep(5)

    deleting = asyncio.create_task(delete())
    try:
        yield
        assert not deleting.done(), deleting
    finally:
        deleting.cancel()
        await asyncio.wait({deleting})


async def _delete_queue(site: Site, name: str) -> None:
    connection = await aiormq.connect(site.amqp_url)
    try:
        channel = await connection.channel()
        await channel.queue_delete(f"{site.prefix}.{name}")
    finally:
        await connection.close()
