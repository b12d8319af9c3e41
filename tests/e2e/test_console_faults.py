"""The console in a real browser: each fault around the gateway is shown truthfully in seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from rabbitmq_node import PrivateNode, find_server
from support.backlog_stage import slow_consumer
from support.console_stage import fault, in_time, looking, shoot, shoot_everywhere, verdict, well
from support.node_control import rabbitmqctl
from support.programs import until
from support.site import KEYS, Site
from ws_gateway.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.xdist_group("browser")


async def test_a_silent_topic_and_a_socket_that_cannot_come_back_are_shown(site: Site) -> None:
    """The topic stands first with how long it is silent; the socket with why and until when."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("ticker", "ETHUSDT", category="linear")
        await gateway.add("orderbook", "BTCUSDT", category="spot")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.until("document.querySelectorAll('#topics tr').length === 3")
            await asyncio.sleep(4)  # what is usual has to be seen before a silence is unusual

            await fault(venue, "stall", topic="tickers.ETHUSDT")
            assert in_time(await verdict(page, "Watch"))
            assert "tickers.ETHUSDT" in await page.text("#verdict-line")
            await page.until_text("#topics tr:first-child .state", "silent")
            await page.until_text("#topics tr:first-child th", "tickers.ETHUSDT")
            assert await page.value("document.title.startsWith('▲')")
            await shoot(page, "topic-silent")

            await fault(venue, "refuse_handshake", path="/v5/public/linear")
            await fault(venue, "drop", path="/v5/public/linear")
            assert in_time(await verdict(page, "Degraded"))
            words = await page.text("#reasons")
            assert "data missing" in words
            assert "linear" in words
            assert "connection_not_streaming" in words
            assert "it tries again by itself" in words
            await page.until_text("#connections tr:first-child", "backing off")
            await page.until_text("#connections tr:first-child", "HTTP 403")
            await page.until_text("#connections tr:first-child", "next attempt in")
            await page.until_text("#connections tr:nth-child(2)", "streaming")
            await page.until_text("#markers li:first-child", "disconnect")
            await page.until_text("#errors", "venue.connection_lost")
            await shoot(page, "socket-refused")


async def test_a_deaf_socket_a_refused_topic_maintenance_and_a_dead_exchange_are_shown(
    site: Site,
) -> None:
    """Each in seconds, each with its own words, and all is well again when they are over."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        for category in ("linear", "spot"):
            await gateway.add("orderbook", "BTCUSDT", category=category)
        await gateway.add("system_status")  # else notices are read from REST once a minute
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await asyncio.sleep(4)  # what is usual has to be seen before a silence is unusual

            await fault(venue, "half_open", path="/v5/public/linear")
            assert in_time(await verdict(page, "Watch"))
            assert "linear:orderbook.50.BTCUSDT" in await page.text("#verdict-line")
            await page.until_text("#topics tr:first-child .state", "silent")
            await shoot(page, "socket-deaf")
            await well(venue, "half_open")
            await verdict(page, "OK")

            began = time.monotonic()
            await fault(venue, "maintenance", products=[2], title="Upgrade of spot")
            await page.until_text("#maintenance", "Upgrade of spot")
            assert in_time(time.monotonic() - began)
            assert "ongoing" in await page.text("#maintenance")
            assert "spot" in await page.text("#maintenance")
            await fault(venue, "refuse_handshake", path="/v5/public/spot", status=503)
            await fault(venue, "drop", path="/v5/public/spot")
            assert in_time(await verdict(page, "Degraded"))
            assert "announced" in await page.text("#reasons")
            await shoot_everywhere(page, "maintenance")
            await well(venue, "refuse_handshake")
            await well(venue, "maintenance")
            await verdict(page, "OK", seconds=90)

            await fault(venue, "handler_not_found", topic="tickers.SOLUSDT")
            refused = await gateway.add("ticker", "SOLUSDT", category="linear")
            assert in_time(await page.until_text("#topics tr:first-child", "rejected"))
            await page.until_text("#topics tr:first-child", "tickers.SOLUSDT")
            assert await page.text("#topics-count") == "3 active, 1 rejected"
            assert "refused 1 topic" in await page.text("#verdict-line")
            await shoot(page, "topic-refused")
            await gateway.remove(refused)
            await verdict(page, "OK")

            await venue.kill()
            assert in_time(await verdict(page, "Down"))
            for name in ("linear", "spot"):
                assert name in await page.text("#reasons")
            assert await page.text("#connections-count") == "0 of 3 stream"
            await shoot(page, "exchange-gone")


@pytest.mark.xdist_group("dev_stack")
async def test_a_frozen_a_blocked_and_a_killed_broker_are_shown_and_so_is_its_return(
    site: Site, own_broker: PrivateNode
) -> None:
    """Down, with what to do; and OK again without a hand on the page."""
    site = replace(site, amqp_url=own_broker.url)
    server = find_server()
    assert server is not None

    def send(number: signal.Signals) -> None:
        for pid in own_broker._node_pids():
            os.kill(pid, number)

    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.until_text(".queues tr", "nobody reads")

            send(signal.SIGSTOP)
            try:
                assert in_time(await verdict(page, "Degraded"))
                assert "has answered nothing for" in await page.text("#reasons")
                assert "silent" in await page.text("#vitals")
                await shoot(page, "broker-frozen")
                await page.until_text("#reasons", "broker_lost")  # it is given up after ten seconds
            finally:
                send(signal.SIGCONT)
            await verdict(page, "OK", seconds=90)

            began = time.monotonic()
            await rabbitmqctl(own_broker, "set_vm_memory_high_watermark", "0.000001")
            took = time.monotonic() - began  # the tool itself takes seconds to start
            await verdict(page, "Down")
            assert in_time(time.monotonic() - began - took)
            assert "broker_blocked" in await page.text("#reasons")
            assert "blocked" in await page.text("#vitals")
            await shoot(page, "broker-blocked")
            await rabbitmqctl(own_broker, "set_vm_memory_high_watermark", "0.6")
            await verdict(page, "OK", seconds=90)

            send(signal.SIGKILL)
            assert in_time(await verdict(page, "Down"))
            words = await page.text("#reasons")
            assert "broker_lost" in words
            assert "Bring RabbitMQ back" in words
            assert "ready" not in await page.text("#vitals")
            await page.until_text(".queues", "not known")
            await shoot_everywhere(page, "broker-down")
            await asyncio.to_thread(own_broker.start, server)
            await verdict(page, "OK", seconds=90)


async def test_a_slow_consumer_is_shown_with_its_backlog_and_its_service(site: Site) -> None:
    """As soon as the gateway knows it, with whom to look after."""
    queue = f"{site.prefix}.sloth.orderbook"
    async with site.venue(rate=50) as venue, site.gateway(venue.url) as gateway:
        wish = {"category": "linear", "delivery": "dedicated", "requesting_service": "sloth"}
        await gateway.add("orderbook", "BTCUSDT", **wish)
        async with slow_consumer(site.amqp_url, queue, 0.2), looking(site, gateway) as page:
            await page.until_text("#queues tr", queue)

            async def alerted() -> bool:
                return bool(gateway.logged("delivery.backlog_alert"))

            await until(alerted, seconds=40, what="the alert")
            assert in_time(await page.until_text("#queues tr:first-child", "slow consumer"))
            assert queue in await page.text("#queues tr:first-child")
            words = await page.text("#reasons")
            assert "service sloth" in words
            assert "no data are missing" in await page.text("#verdict-line")
            await shoot(page, "slow-consumer")
            depth = "document.querySelector('#queues tr').children[2].innerText.replace(',', '')"
            await page.until(f"Number({depth}) > 100")


async def test_a_lost_database_and_a_refused_login_are_shown_side_by_side(
    site: Site, own_postgres: EmbeddedPostgres
) -> None:
    """Each with its remedy; public data flow on, and the page says that too."""
    site = replace(site, database_url=await own_postgres.start())
    venue_keys: dict[str, Any] = {"api_key": "sim-key", "api_secret": "sim-secret"}
    async with (
        site.venue(**venue_keys) as venue,
        site.gateway(venue.url, **{**KEYS, "WSG_BYBIT_API_SECRET": "wrong"}) as gateway,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await gateway.add("execution")
            began = time.monotonic()
            await gateway.until_not_ready("login_refused")
            await page.until_text("#reasons", "login_refused")
            assert in_time(time.monotonic() - began)
            await page.until_text("#reasons", "check WSG_BYBIT_API_SECRET")  # REST is asked why
            await page.until_text("#private-state", "login refused")
            await page.until_text("#topics tr", "active")

            began = time.monotonic()
            await own_postgres.stop()
            await page.until_text("#reasons", "database_lost")
            assert in_time(time.monotonic() - began)
            assert "Bring PostgreSQL back" in await page.text("#reasons")
            assert "changes are answered 503 meanwhile" in await page.text("#reasons")
            assert "lost" in await page.text("#vitals")
            await shoot(page, "database-lost-login-refused")
            await page.until_text("#topics tr", "active")
            await page.value("document.getElementById('subscribe-open').click()")
            await page.value("document.getElementById('f-symbol').value = 'ETHUSDT'")
            await page.value("document.querySelector('#subscribe-form [type=submit]').click()")
            await page.until_text("#subscribe-problem", "database")
            await gateway.kill()  # without a database a stop by SIGTERM takes its time


async def test_a_gateway_that_vanishes_is_never_shown_as_well(site: Site, free_port: int) -> None:
    """What is old is grey and says how old; the page finds the next gateway by itself."""
    port = {"WSG_HTTP_PORT": str(free_port)}
    async with site.venue() as venue, site.gateway(venue.url, **port) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.value("document.body.dataset.before = getComputedStyle(topics).filter")
            os.kill(gateway.process.pid, 19)  # SIGSTOP: the socket lives, and says nothing
            assert in_time(await verdict(page, "Not known"))
            assert await page.value("document.body.dataset.link") == "lost"
            grey = "getComputedStyle(topics.closest('.panel')).filter.includes('grayscale')"
            assert await page.value(grey)
            await page.until_text("#link", "Not connected since")
            await gateway.kill()
            await page.until_text("#verdict-line", "cannot be reached")
            await shoot(page, "gateway-gone")
            assert await page.value("document.getElementById('verdict').dataset.status") == (
                "unknown"
            )
            assert await page.value("document.title.startsWith('?')")
            async with site.gateway(venue.url, **port) as again:
                await verdict(page, "OK", seconds=90)
                assert await page.value("document.body.dataset.link") == "live"
                assert "Live" in await page.text("#link")
                assert again.process.pid != gateway.process.pid
