"""Services that share topics, whole sets and leases, and a database that is killed meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.delivery_rig import consuming, eventually
from support.programs import Gateway, Venue, until, until_gone
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

BOOK = "orderbook.50.BTCUSDT"


async def topics_at_bybit(venue: Venue) -> set[str]:
    """Ask the simulator what is subscribed."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        state = (await http.get(f"http://127.0.0.1:{venue.port}/sim/state")).json()
    return {topic for each in state["connections"] for topic in each["topics"]}


async def put(gateway: Gateway, service: str, *wishes: dict[str, Any]) -> dict[str, Any]:
    """Say all that a service wants, and wait until Bybit has it."""
    answer = await gateway.http.put(
        f"/api/v1/services/{service}/subscriptions",
        json={"subscriptions": list(wishes)},
        params={"wait": "30"},
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_topic_of_two_services_flows_until_the_second_leaves(site: Site) -> None:
    """One leaves: it flows on without a mark; the other leaves: gone at Bybit, and its queue."""
    book = {"channel": "orderbook", "symbol": "BTCUSDT", "category": "linear"}
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        one = (await put(gateway, "one", book))["added"][0]
        assert (one["state"], one["connections"]) == ("active", ["linear"])
        dedicated = {**book, "delivery": "dedicated"}
        two = (await put(gateway, "two", dedicated))["added"][0]
        assert (two["services"], two["state"]) == (2, "active")
        queue = f"{site.prefix}.two.orderbook"
        async with consuming(site.amqp_url, queue) as own:
            await eventually(lambda: len(own.facts) > 3)
            marks = len(consumer.gaps("resubscribe"))
            assert (await put(gateway, "one"))["removed"][0]["id"] == one["id"]
            own_count = len(own.facts)
            await eventually(lambda: len(own.facts) > own_count + 10)
            await consumer.until_flows(*[("linear", BOOK)] * 10)
            assert len(consumer.gaps("resubscribe")) == marks
            assert await topics_at_bybit(venue) == {BOOK}
            told = (await gateway.http.get(f"/api/v1/subscriptions/{two['id']}")).json()
            assert told["services"] == 1
            assert told["events"] > 10
            assert told["last_event_at"] is not None

        await gateway.http.delete("/api/v1/subscriptions/by-service/two")

        async def left() -> bool:
            return not await topics_at_bybit(venue) and bool(
                gateway.logged("delivery.dedicated_queue_removed")
            )

        await until(left, seconds=30, what="it is gone at Bybit, and its queue")


async def test_a_dead_service_leaves_nothing_behind(site: Site) -> None:
    """Its lease ends, its topic is dropped at Bybit, its queue goes, and the log says so."""
    lease = {"delivery": "dedicated", "ttl_seconds": 1}
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("trades", "BTCUSDT", category="linear", requesting_service="lives")
        await gateway.add(
            "trades", "ETHUSDT", category="linear", requesting_service="dead", **lease
        )

        async def left() -> bool:
            return await topics_at_bybit(venue) == {"publicTrade.BTCUSDT"} and bool(
                gateway.logged("delivery.dedicated_queue_removed")
            )

        await until(left, seconds=30, what="the lease has ended")
        (told,) = gateway.logged("control.subscription_expired")
        assert told["requesting_service"] == "dead"
        assert list(await gateway.subscriptions()) == ["publicTrade.BTCUSDT"]


async def test_wait_answers_with_bybits_own_words(site: Site) -> None:
    """The POST itself tells that a topic is active, or why it never will be."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        for symbol, state in (("BTCUSDT", "active"), ("NOSUCHUSDT", "rejected")):
            answer = await gateway.http.post(
                "/api/v1/subscriptions",
                json={
                    "channel": "trades",
                    "symbol": symbol,
                    "category": "linear",
                    "requesting_service": "e2e",
                },
                params={"wait": "30"},
            )
            assert (answer.status_code, answer.json()["state"]) == (201, state)
        assert "NOSUCHUSDT" in answer.json()["last_error"]


# ── the database is killed ────────────────────────────────────────────────────────────────────


async def test_a_killed_database_costs_no_event_and_no_subscription(
    site: Site, own_postgres: EmbeddedPostgres, postgres_folder: Path
) -> None:
    """Kill -9 of PostgreSQL under load: reads go on from memory, writes come again, data flow."""
    site = replace(site, database_url=await own_postgres.start())
    pid_file = postgres_folder / "postgres" / "postmaster.pid"
    async with (
        site.venue(rate=200) as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
        books = [{"channel": "orderbook", "symbol": each, "category": "linear"} for each in symbols]
        added = (await put(gateway, "one", *books))["added"]
        assert [one["state"] for one in added] == ["active"] * 3
        await consumer.until_flows(*[("linear", BOOK)] * 20)

        server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        family = [server, *server.children(recursive=True)]
        server.kill()
        await until_gone(family)  # the others answer until they notice
        refused = await gateway.post("orderbook", "XRPUSDT", category="linear")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        listed = await gateway.http.get("/api/v1/subscriptions")
        assert listed.headers["x-served-from"] == "memory"
        assert {one["id"] for one in listed.json()["items"]} == {one["id"] for one in added}
        assert {one["state"] for one in listed.json()["items"]} == {"active"}
        await consumer.until_flows(*[("linear", BOOK)] * 50)

        await asyncio.sleep(0.5)
        await own_postgres.stop()
        await own_postgres.start()

        async def accepted() -> bool:
            answer = await gateway.post("orderbook", "XRPUSDT", category="linear")
            return answer.status_code in {200, 201}

        await until(accepted, seconds=60, what="a wish is stored again")
        await gateway.until_ready()
        assert len(await gateway.subscriptions()) == 4
        assert await topics_at_bybit(venue) == {
            f"orderbook.50.{each}" for each in (*symbols, "XRPUSDT")
        }
        # Three streams began; nothing but that was ever marked.
        gaps = [event for event in consumer.events if event["kind"] == "gap"]
        reasons = {gap["payload"]["reason"] for gap in gaps}
        assert reasons == {"restart"}
