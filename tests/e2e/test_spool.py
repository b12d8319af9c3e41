"""Private events outlive both the broker and the gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rabbitmq_node import PrivateNode, find_server
from support.consumer import MARKERS
from support.site import KEYS, Site

CHANNELS = ("order", "execution", "position", "balance")
TOPICS = ("order", "execution", "position", "wallet")


@pytest.mark.xdist_group("dev_stack")
async def test_a_gateway_killed_while_the_broker_is_away_loses_no_private_event(
    site: Site, own_broker: PrivateNode
) -> None:
    """Everything it had accepted arrives first, numbered as it was, from the next process."""
    server = find_server()
    assert server is not None
    site = replace(site, amqp_url=own_broker.url)
    venue_keys: dict[str, Any] = {
        "api_key": KEYS["WSG_BYBIT_API_KEY"],
        "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    }
    async with site.venue(trade_every=0.02, **venue_keys) as venue:
        async with site.gateway(venue.url, **KEYS) as killed:
            for channel in CHANNELS:
                await killed.add(channel)
            async with site.consumer(*CHANNELS) as consumer:
                await consumer.until_flows(*[(None, topic) for topic in TOPICS])
            await asyncio.to_thread(own_broker.stop)
            accepted = await killed.until_health(lambda h: h["delivery"]["spooled"] > 200, 60)
            delivery = accepted["delivery"]
            held = delivery["spooled"] + delivery["in_flight"]
            await killed.until_health(lambda h: h["delivery"]["spooled"] >= held)
            await killed.kill()
        wanted = delivery["received"] - sum(delivery["suppressed"].values())
        assert delivery["shed"] == delivery["rejected"] == {}

        await asyncio.to_thread(own_broker.start, server)
        async with site.gateway(venue.url, **KEYS) as gateway:
            (found,) = gateway.logged("delivery.spool_found")
            assert found["events"] >= delivery["spooled"]
            came = len(consumer.events)
            async with consumer.listening(site.amqp_url):
                for topic in TOPICS:  # behind all that is of the killed one
                    await consumer.until(
                        lambda event, topic=topic: (  # type: ignore[misc]
                            event["topic"] == topic
                            and event["kind"] not in MARKERS
                            and event["epoch"] != accepted["epoch"]
                        ),
                        after=came,
                        seconds=60,
                    )
            final = await gateway.until_health(lambda h: h["delivery"]["spooled"] == 0)
    of_killed = {
        event["event_id"]
        for event in consumer.events
        if event["epoch"] == accepted["epoch"] and event["kind"] not in MARKERS
    }
    assert len(of_killed) >= wanted
    assert consumer.checker.problems == []
    assert final["delivery"]["restored"] == found["events"]
    print(  # noqa: T201 - figures to look at
        f"{wanted} accepted, {delivery['spooled']} of them on disk alone; {len(of_killed)} arrived"
    )
