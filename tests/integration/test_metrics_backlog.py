"""The alerts of the monitor as metrics, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from support.backlog_stage import BacklogStage, slow_consumer, watching
from support.callers import guarded
from support.delivery_rig import TRADES
from support.memory_feed import MemoryFeed
from support.memory_keys import MemoryKeys, MemoryTrail
from support.memory_store import MemorySubscriptions
from support.scraped import Scraped, scrape
from ws_gateway.control.api.app import create_app
from ws_gateway.control.figures import Figures
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.keys import KeyService
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.metrics.scrape import Scrape
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Category


@asynccontextmanager
async def scraping(stage: BacklogStage) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the metrics of a stage, as the composition root joins them."""
    rig, store, feed = stage.rig, MemorySubscriptions(), MemoryFeed()
    policy = Policy(tuple(Category), Category.LINEAR, has_credentials=True)
    reconciler = Reconciler(store, feed, policy)
    health = HealthReporter(
        store=store,
        feed=feed,
        delivery=rig.publisher,
        reconciler=reconciler,
        counters=Figures(rig.counters, lambda: rig.publisher.in_flight).now,
        epoch="E",
        backlog=stage.monitor,
    )
    app = create_app(
        subscriptions=SubscriptionService(store, reconciler, policy),
        health=health,
        scrape=Scrape(health, Meters(counters=rig.counters)),
        operations=Operations(health, MemoryTrail()),
        keys=KeyService(MemoryKeys(MemoryTrail())),
        guard=guarded("k"),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield http


async def test_an_alert_of_the_monitor_is_one_until_it_clears(
    amqp_url: str, amqp_prefix: str
) -> None:
    """While it stands the depth grows; every scrape adds up meanwhile."""
    queue = f"{amqp_prefix}.sloth.trade"
    alert = {"queue": queue, "alert": "slow_consumer"}
    async with watching(amqp_url, amqp_prefix) as stage, scraping(stage) as http:

        async def until_alert(standing: int) -> Scraped:
            async with asyncio.timeout(60):
                while True:
                    told = await scrape(http)
                    if told.value("ws_gateway_queue_alert", **alert) == standing:
                        return told
                    await asyncio.sleep(0.05)

        await stage.want("sloth", TRADES, Delivery.DEDICATED)
        await until_alert(0)
        async with slow_consumer(amqp_url, queue, 0.01) as pause:
            async with stage.flowing(TRADES, 200):
                told = await until_alert(1)
            assert told.values("ws_gateway_queue_alert", **alert) == {("sloth",): 1}
            assert told.value("ws_gateway_queue_depth", queue=queue) > 0
            assert told.value("ws_gateway_queue_consumers", queue=queue) == 1
            assert told.value("ws_gateway_queue_evicted_total", queue=queue) == 0
            pause[0] = 0
            await until_alert(0)
