"""Queues of one service, and who lags behind: the whole gateway, its API and a real broker."""

from __future__ import annotations

import time
from typing import Any

import aiormq
from pamqp.common import FieldTable

from support.backlog_stage import slow_consumer
from support.delivery_rig import consuming, eventually
from support.programs import Gateway, crowd, until
from support.proxy import TcpProxy, address, through
from support.site import Site

BOOK = "orderbook.50.BTCUSDT"
ALERT_SECONDS = 30.0
"""What the gateway promises."""


async def queue_of(gateway: Gateway, name: str) -> dict[str, Any] | None:
    """Read one queue, None if it is not there."""
    items = (await gateway.http.get("/api/v1/queues")).json()["items"]
    return next((one for one in items if one["name"] == name), None)


async def test_the_first_start_on_a_new_broker_calls_no_queue_missing(site: Site) -> None:
    """From the first answer on, until each was looked at."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:

        async def all_looked_at() -> bool:
            items = (await gateway.http.get("/api/v1/queues")).json()["items"]
            assert {one["problem"] for one in items} <= {None}, items
            return bool(items) and all(one["depth"] is not None for one in items)

        await until(all_looked_at, seconds=30, what="every queue was looked at")
    assert not gateway.logged("delivery.queue_missing")


async def test_two_services_get_the_same_book_each_in_a_queue_of_its_own(site: Site) -> None:
    """The queue stands when the answer comes; it begins with a snapshot, also the later one."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        wish = {"category": "linear", "delivery": "dedicated"}
        first = await gateway.add("orderbook", "BTCUSDT", requesting_service="one", **wish)
        assert first["delivery"] == "dedicated"
        async with consuming(site.amqp_url, f"{site.prefix}.one.orderbook") as one:
            await eventually(lambda: len(one.facts) > 5)
            assert one.facts[0]["kind"] == "snapshot"
            second = await gateway.add("orderbook", "BTCUSDT", requesting_service="two", **wish)
            async with consuming(site.amqp_url, f"{site.prefix}.two.orderbook") as two:
                await eventually(lambda: any(fact["kind"] == "snapshot" for fact in two.facts))
            assert one.checked().problems == []
        await gateway.remove(first)
        await gateway.remove(second)

        async def gone() -> bool:
            return len(gateway.logged("delivery.dedicated_queue_removed")) == 2

        await until(gone, seconds=30, what="the queues are gone")
        connection = await aiormq.connect(site.amqp_url)
        try:
            for service in ("one", "two"):
                channel = await connection.channel()
                try:
                    await channel.queue_declare(f"{site.prefix}.{service}.orderbook", passive=True)
                except aiormq.exceptions.ChannelNotFoundEntity:
                    continue
                raise AssertionError(f"the queue of {service} is still there")
        finally:
            await connection.close()


async def test_dedicated_queues_survive_a_killed_gateway(site: Site) -> None:
    """What was left behind by `kill -9` is taken up, and taken away when it is not wanted."""
    queue = f"{site.prefix}.one.trade"
    async with site.venue(rate=50) as venue:
        async with site.gateway(venue.url) as gateway:
            wish = {"category": "linear", "delivery": "dedicated", "requesting_service": "one"}
            trades = await gateway.add("trades", "BTCUSDT", **wish)
            await gateway.kill()
        async with site.gateway(venue.url) as gateway:
            async with consuming(site.amqp_url, queue) as consumer:
                await eventually(lambda: len(consumer.facts) > 2)
            await gateway.remove(trades)

            async def removed() -> bool:
                return bool(gateway.logged("delivery.dedicated_queue_removed"))

            await until(removed, seconds=30, what="the queue is removed")


async def test_a_consumer_ten_times_too_slow_is_named_in_half_a_minute(site: Site) -> None:
    """In real time: log, API and health name the queue and the service, and forgive it after."""
    queue = f"{site.prefix}.sloth.orderbook"
    async with site.venue(rate=50) as venue, site.gateway(venue.url) as gateway:
        wish = {"category": "linear", "delivery": "dedicated", "requesting_service": "sloth"}
        book = await gateway.add("orderbook", "BTCUSDT", **wish)
        async with slow_consumer(site.amqp_url, queue, 0.2) as pause:
            began = time.monotonic()  # 50 events a second come, 5 are taken

            async def alerted() -> dict[str, Any] | None:
                return next(iter(gateway.logged("delivery.backlog_alert")), None)

            line = await until(alerted, seconds=ALERT_SECONDS * crowd(), what="the alert")
            assert time.monotonic() - began < ALERT_SECONDS * crowd()
            assert (line["code"], line["queue"]) == ("slow_consumer", queue)
            assert line["service"] == "sloth"
            status = await queue_of(gateway, queue)
            assert status is not None
            assert [one["code"] for one in status["alerts"]] == ["slow_consumer"]
            assert (await gateway.http.get("/readyz")).status_code == 200
            await gateway.until_health(
                lambda health: (
                    [(one["code"], one["subject"]) for one in health["reasons"]]
                    == [("slow_consumer", queue)]
                )
            )
            pause[0] = 0

            async def cleared() -> bool:
                return bool(gateway.logged("delivery.backlog_cleared"))

            await until(cleared, seconds=ALERT_SECONDS * crowd(), what="the end of the alert")
            await gateway.until_health(lambda health: health["status"] == "ok")
        await gateway.remove(book)

        async def removed() -> bool:
            return bool(gateway.logged("delivery.dedicated_queue_removed"))

        await until(removed, seconds=30, what="the queue is removed")


async def test_a_queue_redeclared_by_hand_is_explained_and_stops_nobody(site: Site) -> None:
    """One clear error, no new connection, the other queues flow, and so does this one."""
    queue = f"{site.prefix}.ticker"
    async with TcpProxy(*address(site.amqp_url, 5672)) as proxy, site.venue() as venue:
        url = through(site.amqp_url, proxy)
        async with (
            site.gateway(venue.url, WSG_AMQP_URL=url) as gateway,
            site.consumer("orderbook") as consumer,
        ):
            await gateway.add("orderbook", "BTCUSDT", category="linear")
            await gateway.add("ticker", "BTCUSDT", category="linear")
            await consumer.until_flows(("linear", BOOK))

            async def is_looked_at() -> bool:  # over a connection of its own
                status = await queue_of(gateway, queue)
                return status is not None and status["depth"] is not None

            await until(is_looked_at, seconds=30, what="the queue is looked at")
            connections = proxy.accepted
            connection = await aiormq.connect(site.amqp_url)
            try:
                channel = await connection.channel()
                await channel.queue_delete(queue)
                arguments: FieldTable = {"x-queue-type": "classic", "x-max-length": 5000}
                await channel.queue_declare(queue, durable=True, arguments=arguments)
            finally:
                await connection.close()

            async def told() -> list[dict[str, Any]]:
                return gateway.logged("delivery.topology_drifted")

            lines = await until(told, seconds=40, what="the drift is told")
            assert queue in lines[0]["problem"]
            assert "x-max-length is 5000 instead of 100000" in lines[0]["problem"]
            assert "rabbitmqctl delete_queue" in lines[0]["problem"]
            async with consuming(site.amqp_url, queue) as tickers:
                await eventually(lambda: len(tickers.facts) > 3)
            await consumer.until_flows(("linear", BOOK))
            await gateway.until_health(
                lambda health: [one["code"] for one in health["reasons"]] == ["queue_problem"]
            )
            assert len([x for x in await told() if x["level"] == "error"]) == 1
            assert proxy.accepted == connections
