"""What Prometheus sees of a whole gateway: every scrape adds up, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rabbitmq_node import PrivateNode, find_server
from support.programs import Gateway, until
from support.scraped import Scraped, scrape
from support.site import KEYS, Site

HOPS = {"receive", "publish", "confirm"}
CLASSES = ("orderbook", "trade", "ticker", "order")
ACCOUNT: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}


async def until_scraped(
    gateway: Gateway, holds: Callable[[Scraped], object], seconds: float = 40
) -> Scraped:
    """Scrape until something shows; each scrape has to add up."""
    last: list[Scraped] = []

    async def shown() -> Scraped | None:
        last[:] = [await scrape(gateway.http)]
        return last[0] if holds(last[0]) else None

    return await until(shown, seconds=seconds, what=lambda: f"seen in {last[0].text}")


def confirmed(told: Scraped) -> float:
    """Read how many events were confirmed."""
    return told.value("ws_gateway_events_confirmed_total")


async def test_every_scrape_adds_up_under_load_and_names_no_symbol(site: Site) -> None:
    """Public and private events flow; hops, connections, clock and loop are told."""
    async with (
        site.venue(rate=300, trade_every=0.2, **ACCOUNT) as venue,
        site.gateway(venue.url, **KEYS) as gateway,
    ):
        for channel in ("orderbook", "trades", "ticker"):
            await gateway.add(channel, "BTCUSDT", category="linear")
        await gateway.add("order")
        await gateway.until_ready()
        first = await scrape(gateway.http)
        for _ in range(10):
            await asyncio.sleep(0.1)
            await scrape(gateway.http)
        latency = "ws_gateway_delivery_latency_seconds_count"
        told = await until_scraped(
            gateway,
            lambda now: (
                confirmed(now) > confirmed(first) + 200
                and all(len(now.values(latency, event_class=each)) == len(HOPS) for each in CLASSES)
                and now.values("ws_gateway_clock_offset_seconds")
                and now.value("ws_gateway_loop_lag_seconds_count") > 2
            ),
        )
        assert "BTCUSDT" not in told.text
        for event_class in CLASSES:
            counts = told.values(latency, event_class=event_class)
            assert {hop for (hop,) in counts} == HOPS
            assert all(count > 0 for count in counts.values())
        for name in ("linear", "private"):
            place = {"connection": name, "endpoint": name}
            assert told.value("ws_gateway_connection_up", **place) == 1
            assert 0 < told.value("ws_gateway_connection_uptime_ratio", **place) <= 1
            assert told.value("ws_gateway_connection_attempts_total", endpoint=name) == 1
            assert told.value("ws_gateway_topics", endpoint=name, state="active") >= 1
        assert told.value("ws_gateway_subscribe_seconds_count", endpoint="linear") == 3
        assert told.value("ws_gateway_ready") == 1
        assert told.value("ws_gateway_event_success_ratio") == 1
        assert abs(told.value("ws_gateway_clock_offset_seconds")) < 5
        assert told.value("ws_gateway_gaps_total", reason="restart") >= 4
        stale = told.value(
            "ws_gateway_channel_staleness_seconds", endpoint="linear", channel="orderbook"
        )
        assert stale < 30


async def test_a_lost_exchange_shows_in_attempts_losses_and_the_time_to_come_back(
    site: Site,
) -> None:
    """The connection is down, then up; what it lost is a gap of the reason `disconnect`."""
    async with site.venue() as venue:
        port = venue.port
        async with site.gateway(venue.url) as gateway:
            await gateway.add("orderbook", "BTCUSDT", category="linear")
            await gateway.until_ready()
            await until_scraped(gateway, lambda now: confirmed(now) > 5)  # else nothing is cut off
            await venue.kill()
            down = await until_scraped(
                gateway,
                lambda now: (
                    now.value("ws_gateway_connection_up", connection="linear") == 0
                    and sum(now.values("ws_gateway_connection_losses_total").values()) >= 2
                ),
            )
            assert down.value("ws_gateway_ready") == 0
            assert down.value("ws_gateway_gaps_total", reason="disconnect") == 1
            async with site.venue(port=port):
                told = await until_scraped(
                    gateway,
                    lambda now: sum(now.values("ws_gateway_resubscribe_seconds_count").values()),
                    seconds=40,
                )
                assert told.value("ws_gateway_resubscribe_seconds_count", endpoint="linear") == 1
                ratio = told.value("ws_gateway_connection_uptime_ratio", connection="linear")
                assert 0 < ratio < 1
                attempts = told.value("ws_gateway_connection_attempts_total", endpoint="linear")
                assert attempts >= 2
                assert (
                    told.value("ws_gateway_connection_reconnects_total", connection="linear") >= 1
                )


@pytest.mark.xdist_group("dev_stack")
async def test_every_scrape_adds_up_while_the_broker_is_away(
    site: Site, own_broker: PrivateNode
) -> None:
    """Private events go to disk and come back; the lanes fill and empty."""
    server = find_server()
    assert server is not None
    async with (
        site.venue(rate=200, trade_every=0.1, **ACCOUNT) as venue,
        site.gateway(
            venue.url,
            **KEYS,
            WSG_AMQP_URL=own_broker.url,
            WSG_BUFFER_MAX_EVENTS="400",
            WSG_QUEUE_TYPE="classic",
        ) as gateway,
    ):
        for channel in ("orderbook", "trades", "ticker"):
            await gateway.add(channel, "BTCUSDT", category="linear")
        await gateway.add("order")
        await gateway.until_ready()
        await asyncio.to_thread(own_broker.stop)
        away = await until_scraped(
            gateway,
            lambda now: (
                now.value("ws_gateway_events_spooled") > 0
                and now.value("ws_gateway_events_shed_total", reason="no_room") > 0
            ),
            seconds=40,
        )
        assert away.value("ws_gateway_broker_ready") == 0
        assert away.value("ws_gateway_spool_bytes") > 0
        assert sum(away.values("ws_gateway_lane_refusing").values()) >= 1
        await asyncio.to_thread(own_broker.start, server)
        back = await until_scraped(
            gateway,
            lambda now: (
                now.value("ws_gateway_events_spooled") == 0
                and now.value("ws_gateway_broker_ready") == 1
                and confirmed(now) > confirmed(away)
                and now.value("ws_gateway_gaps_total", reason="shed") > 0
            ),
            seconds=60,
        )
        assert back.value("ws_gateway_event_success_ratio") < 1
