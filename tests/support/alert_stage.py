"""Faults that make alerts fire, made in the simulator, on the network and at the broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiormq
import httpx

from support.alert_proof import Proof, Threshold, grew, is_, share
from support.bridge import bridge_to
from support.memory_gateway import Gateway as MemoryGateway
from support.programs import Gateway, Venue, until
from support.proxy import TcpProxy, address, through
from support.scraped import Scraped, scrape
from support.site import KEYS, Site

LINEAR, SPOT, INVERSE = (f"/v5/public/{name}" for name in ("linear", "spot", "inverse"))
PRIVATE = "/v5/private"
PATIENCE_SECONDS = 90.0

THRESHOLDS: Mapping[str, Threshold] = {
    "WsGatewayApiSlow": share(
        "ws_gateway_http_request_seconds_bucket",
        "ws_gateway_http_request_seconds_count",
        0.99,
        le="0.2",
    ),
    "WsGatewayBalancesLost": grew("ws_gateway_balance_rows_lost_total"),
    "WsGatewayBalancesNotStored": is_("ws_gateway_balance_rows_waiting", ">", 0, place="disk"),
    "WsGatewayBalancesSlow": share(
        "ws_gateway_balance_persistence_seconds_bucket",
        "ws_gateway_balance_persistence_seconds_count",
        0.99,
        le="1",
    ),
    "WsGatewayBookHoles": grew("ws_gateway_resyncs_total", 5),
    "WsGatewayBreakerOpen": is_("ws_gateway_breaker_state", "==", 1, state="open"),
    "WsGatewayBrokerLost": is_("ws_gateway_broker_ready", "==", 0),
    "WsGatewayClockOff": is_("ws_gateway_clock_offset_seconds", ">", 1),
    "WsGatewayConfirmSlow": share(
        "ws_gateway_event_delivery_seconds_bucket",
        "ws_gateway_event_delivery_seconds_count",
        0.99,
        le="0.05",
    ),
    "WsGatewayConnectionDown": is_("ws_gateway_connection_up", "==", 0),
    "WsGatewayConnectionFlapping": grew("ws_gateway_connection_losses_total", 6),
    "WsGatewayDatabaseLost": is_("ws_gateway_database_up", "==", 0),
    "WsGatewayDeliveryBudgetBurning": grew("ws_gateway_events_shed_total", 50),
    "WsGatewayEventsLost": grew("ws_gateway_gaps_total", reason="shed"),
    "WsGatewayEventsUnaccounted": grew("ws_gateway_events_received_total"),
    "WsGatewayLaneFull": is_("ws_gateway_lane_refusing", "==", 1),
    "WsGatewayLoginRefused": grew("ws_gateway_login_failures_total"),
    "WsGatewayLoopLate": is_("ws_gateway_loop_lag_max_seconds", ">", 0.25),
    "WsGatewayNotReconciled": is_("ws_gateway_reason", "==", 1, code="not_reconciled"),
    "WsGatewayNotReady": is_("ws_gateway_ready", "==", 0),
    "WsGatewayQuarantine": grew("ws_gateway_frames_quarantined_total"),
    "WsGatewayQueue": is_("ws_gateway_queue_alert", "==", 1),
    "WsGatewayQueueEvicting": grew("ws_gateway_queue_evicted_total"),
    "WsGatewayRecordingStopped": is_("ws_gateway_recording_failing", "==", 1),
    "WsGatewayRefusedByQueue": grew("ws_gateway_messages_nacked_total"),
    "WsGatewayResubscribeSlow": share(
        "ws_gateway_resubscribe_seconds_bucket",
        "ws_gateway_resubscribe_seconds_count",
        0.99,
        le="5",
    ),
    "WsGatewaySpoolFilling": is_("ws_gateway_spool_bytes", ">", 500_000),
    "WsGatewaySpoolUnavailable": is_("ws_gateway_spool_available", "==", 0),
    "WsGatewayStreamDiffers": grew("ws_gateway_stream_differences_total"),
    "WsGatewayTopicsRejected": is_("ws_gateway_topics", ">", 0, state="rejected"),
    "WsGatewayTopicsStalled": is_("ws_gateway_topics", ">", 0, state="stalled"),
    "WsGatewayUnroutable": grew("ws_gateway_messages_returned_total"),
    "WsGatewayUptimeBudgetBurning": is_("ws_gateway_connection_up", "==", 0),
}
"""In simple form; that a gateway is absent is seen by who scrapes, and has none."""


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
    async with httpx.AsyncClient(trust_env=False) as http:
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
        bridge_to(site.database_url) as port,
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


async def counters_disagree(_site: Site, proof: Proof) -> None:
    """A defect that nothing from outside can cause: events vanish uncounted."""
    gateway = MemoryGateway()
    async with gateway.http:
        before = await scrape(gateway.http)
        gateway.counters.received += 2
        gateway.now += 1
        text = (await gateway.http.get("/metrics")).text
    now = Scraped(text, adds_up=False)
    assert THRESHOLDS["WsGatewayEventsUnaccounted"](before, now)
    proof.take("WsGatewayEventsUnaccounted", before, now)


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
)
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
