"""Exchange, gateway, broker and database go away and come back: nothing is lost without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from rabbitmq_node import PrivateNode, find_server
from support.consumer import MARKERS, Consumer
from support.programs import Gateway, crowd, until
from support.scraped import scrape
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

BOOK = "orderbook.50.BTCUSDT"
TRADES = "publicTrade.BTCUSDT"
AWAY_SECONDS = 2.0
RETURN_SECONDS = 30.0
"""Far above what the backoff may have grown to in so short an outage."""


async def test_a_killed_exchange_that_comes_back_flows_again_by_itself(site: Site) -> None:
    """Consumers see the break and its end; meanwhile the gateway is not ready and says why."""
    async with site.venue() as venue:
        port = venue.port
        async with (
            site.gateway(venue.url) as gateway,
            site.consumer("orderbook", "trade") as consumer,
        ):
            await gateway.add("orderbook", "BTCUSDT", category="linear")
            await gateway.add("orderbook", "BTCUSDT", category="spot")
            await gateway.add("trades", "BTCUSDT", category="linear")
            streams = (("linear", BOOK), ("spot", BOOK), ("linear", TRADES))
            await consumer.until_flows(*streams)
            await gateway.until_ready()

            await venue.kill()
            reason = await gateway.until_not_ready("connection_not_streaming")
            assert reason["subject"] in {"linear", "spot"}
            for _ in streams:
                await consumer.until(lambda _: len(consumer.gaps("disconnect")) == len(streams))
            await asyncio.sleep(AWAY_SECONDS)  # the outage has a length
            for state in (await gateway.connections()).values():
                assert state["connection_status"] in {"backing_off", "connecting"}
                assert state["last_error"]
                assert state["active_subscriptions"] == 0

            came = len(consumer.events)
            async with site.venue(port=port):
                await consumer.until_flows(*streams, after=came, seconds=RETURN_SECONDS)
                await gateway.until_ready()
                states = await gateway.connections()
                assert {state["connection_status"] for state in states.values()} == {"streaming"}
                assert min(state["reconnection_count"] for state in states.values()) >= 1
                assert {state["last_error"] for state in states.values()} == {None}
                for category, topic in streams:
                    assert _kinds_around_break(consumer, category, topic) == ["gap", "resumed"]


async def test_wishes_change_while_the_exchange_is_away(site: Site) -> None:
    """What is wanted when it comes back is what flows; nothing of what was given up."""
    async with site.venue() as venue:
        port = venue.port
        async with (
            site.gateway(venue.url) as gateway,
            site.consumer("orderbook", "trade") as consumer,
        ):
            book = await gateway.add("orderbook", "BTCUSDT", category="linear")
            await gateway.add("trades", "BTCUSDT", category="linear")
            await consumer.until_flows(("linear", BOOK), ("linear", TRADES))
            await venue.kill()
            await gateway.until_not_ready("connection_not_streaming")
            await gateway.remove(book)
            await gateway.add("orderbook", "ETHUSDT", category="linear")
            await gateway.add("orderbook", "ETHUSDT", category="spot")
            came = len(consumer.events)
            async with site.venue(port=port):
                other = "orderbook.50.ETHUSDT"
                streams = (("linear", other), ("spot", other), ("linear", TRADES))
                await consumer.until_flows(*streams, after=came, seconds=RETURN_SECONDS)
                await gateway.until_ready()
                await gateway.until_health(lambda h: h["subscriptions"] == {"active": 3})
                late = [event for event in consumer.events[came:] if event["topic"] == BOOK]
                assert [event for event in late if event["kind"] not in MARKERS] == []


def _kinds_around_break(consumer: Consumer, category: str, topic: str) -> list[str]:
    """Return the kinds of the markers of the break, which stand side by side in the stream."""
    stream = consumer.of(topic, category)
    at = next(i for i, e in enumerate(stream) if e in consumer.gaps("disconnect"))
    first, second = stream[at : at + 2]
    assert first["payload"]["from_sequence"] is None  # the exchange's side was missed, not ours
    assert second["payload"]["reason"] == "disconnect"
    assert second["sequence"] == first["sequence"] + 1
    return [first["kind"], second["kind"]]


async def test_a_category_disabled_at_a_restart_is_not_served_from_the_ledger(site: Site) -> None:
    """Its stored wish opens no connection and says why; enabled again it flows by itself."""
    async with site.venue() as venue:
        async with site.gateway(venue.url) as gateway:
            await gateway.add("trades", "BTCUSDT", category="spot")
            await gateway.add("orderbook", "BTCUSDT", category="linear")
            await gateway.until_health(lambda h: h["subscriptions"] == {"active": 2})
        async with site.gateway(venue.url, WSG_ENABLED_CATEGORIES="linear") as gateway:
            await gateway.until_health(lambda h: h["subscriptions"] == {"active": 1, "rejected": 1})

            async def refused() -> str | None:
                one = (await gateway.subscriptions())[TRADES]
                return one["last_error"] if one["state"] == "rejected" else None

            words = await until(refused, seconds=30, what="the spot topic is rejected")
            assert "WSG_ENABLED_CATEGORIES" in words
            assert list(await gateway.connections()) == ["linear"]
            await gateway.until_ready()
            assert (await gateway.post("trades", "BTCUSDT", category="spot")).status_code == 422
        async with site.gateway(venue.url) as gateway:
            await gateway.until_health(lambda h: h["subscriptions"] == {"active": 2})


async def test_a_killed_gateway_takes_up_its_subscriptions_again(site: Site) -> None:
    """After `kill -9` the next process restores them, numbers anew, and a marker says why.

    Its embedded database outlives the killed process, is taken over, and ends with the last one.
    """
    site = replace(site, database_url=None)
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as killed,
        site.consumer("orderbook", "trade") as consumer,
    ):
        await killed.add("orderbook", "BTCUSDT", category="linear")
        trades = await killed.add("trades", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK), ("linear", TRADES))
        await killed.kill()

        async with site.gateway(venue.url) as gateway:
            began = len(consumer.events)
            marker = await consumer.until(
                lambda event: event["epoch"] != consumer.events[0]["epoch"]
            )
            assert (marker["kind"], marker["sequence"]) == ("gap", 1)
            assert marker["payload"]["reason"] == "restart"
            await consumer.until_flows(("linear", BOOK), ("linear", TRADES), after=began)
            await gateway.until_ready()
            stored = await gateway.subscriptions()
            assert set(stored) == {BOOK, TRADES}
            assert stored[TRADES]["id"] == trades["id"]
            assert {one["state"] for one in stored.values()} == {"active"}
            assert (await gateway.health())["epoch"] == marker["epoch"]
    assert _servers_in(site.folder) == []


def _servers_in(folder: Path) -> list[str]:
    """List PostgreSQL servers whose data lie in a folder."""
    lines = (" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
    return [line for line in lines if "postgres" in line and str(folder) in line]


# ── the broker ────────────────────────────────────────────────────────────────────────────────

SYMBOLS = 10
BUFFER_EVENTS = 500
OUTAGE_SECONDS = 5.0
LEAST_RECEIVED = 1000
MOST_GROWTH_BYTES = 40 * 1024 * 1024


@dataclass(slots=True)
class _Watch:
    """What was seen of a gateway all the time."""

    slowest_seconds: float = 0.0
    most_rss_bytes: int = 0
    scrapes: int = 0
    not_ready: set[str] = field(default_factory=set)


@asynccontextmanager
async def _watched(gateway: Gateway) -> AsyncIterator[_Watch]:
    """Look at a gateway without pause: alive at once, counters in balance, memory."""
    seen = _Watch()

    async def look() -> None:
        while True:
            asked_at = time.monotonic()
            assert (await gateway.http.get("/livez")).status_code == 200
            seen.slowest_seconds = max(seen.slowest_seconds, time.monotonic() - asked_at)
            await gateway.health()  # checks that the counters are in balance
            readiness = (await gateway.http.get("/readyz")).json()
            seen.not_ready |= {reason["code"] for reason in readiness["reasons"]}
            seen.most_rss_bytes = max(seen.most_rss_bytes, gateway.rss_bytes)
            seen.scrapes += 1
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        results = await asyncio.gather(looking, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError), results[0]


def _announced(holes: list[dict[str, Any]]) -> int:
    """Count the events that these markers name."""
    announced = 0
    for gap in holes:
        first, last = gap["payload"]["from_sequence"], gap["payload"]["to_sequence"]
        assert 1 <= first <= last < gap["sequence"]
        announced += last - first + 1
    return announced


@pytest.mark.xdist_group("dev_stack")
async def test_a_stopped_broker_under_load_costs_only_what_is_announced(
    site: Site,
    own_broker: PrivateNode,
    record_property: Callable[[str, object], None],
) -> None:
    """The gateway stays responsive and small; what found no room is counted and marked."""
    site = replace(site, amqp_url=own_broker.url)
    server = find_server()
    assert server is not None
    consumer = Consumer(("orderbook", "trade"), site.prefix)
    async with (
        site.venue(rate=20, symbols=SYMBOLS) as venue,
        site.gateway(venue.url, WSG_BUFFER_MAX_EVENTS=str(BUFFER_EVENTS)) as gateway,
    ):
        streams = []
        for number in range(1, SYMBOLS + 1):
            for channel in ("orderbook", "trades"):
                one = await gateway.add(channel, f"SIM{number:04}USDT", category="linear")
                streams.append(("linear", str(one["topic"])))
        async with consumer.listening(site.amqp_url):
            await consumer.until_flows(*streams)
        await gateway.until_ready()
        rss_before = gateway.rss_bytes
        received_before = (await gateway.health())["delivery"]["received"]

        async with _watched(gateway) as seen:
            await asyncio.to_thread(own_broker.stop)
            stopped_at = time.monotonic()
            await gateway.until_not_ready("broker_lost")
            received_at_stop = (await gateway.health())["delivery"]["received"]
            await asyncio.sleep(OUTAGE_SECONDS)  # the outage has a length
            at_end = await gateway.until_health(
                lambda h: (
                    h["delivery"]["received"] - received_at_stop > LEAST_RECEIVED
                    and h["delivery"]["shed"].get("no_room", 0) > BUFFER_EVENTS
                ),
                60,
            )
            rate = (at_end["delivery"]["received"] - received_at_stop) / (
                time.monotonic() - stopped_at
            )
            assert at_end["broker"]["buffered_events"] <= BUFFER_EVENTS
            await asyncio.to_thread(own_broker.start, server)
            await gateway.until_ready()

        shed = at_end["delivery"]["shed"]
        assert "broker_lost" in seen.not_ready
        assert seen.slowest_seconds < 4 * crowd()
        assert seen.scrapes > 20
        grown = seen.most_rss_bytes - rss_before
        assert grown < MOST_GROWTH_BYTES
        print(  # noqa: T201 - figures to look at
            f"broker away under {rate:.0f} events/s: slowest /livez {seen.slowest_seconds:.3f} s, "
            f"memory +{grown / 1024 / 1024:.1f} MB, shed {shed}, {seen.scrapes} scrapes, "
            f"received before {received_before}"
        )
        record_property("slowest_livez_ms", round(seen.slowest_seconds * 1000))
        record_property("rss_growth_mb", round(grown / 1024 / 1024, 1))

        async def is_marked() -> bool:
            marked = (await scrape(gateway.http)).values("ws_gateway_gaps_total", reason="shed")
            return sum(marked.values()) >= len(streams)

        await until(is_marked, seconds=60, what="a marker in each stream")
        await venue.kill()  # a busy machine's consumer would not come to an end
        final = await gateway.until_health(
            lambda h: not h["broker"]["buffered_events"] and not h["delivery"]["in_flight"], 60
        )
        shed_in_all = final["delivery"]["shed"]["no_room"]
        async with consumer.listening(site.amqp_url):

            async def is_announced() -> bool:
                holes = consumer.gaps("shed")
                marked = {(gap["category"], gap["topic"]) for gap in holes}
                return marked == set(streams) and _announced(holes) >= shed_in_all

            await until(
                is_announced,
                seconds=300,
                what=lambda: f"{shed_in_all} announced, {_announced(consumer.gaps('shed'))} are",
            )
        assert consumer.checker.problems == []


# ── the database ──────────────────────────────────────────────────────────────────────────────


async def test_data_flow_on_while_the_database_is_away(
    site: Site, own_postgres: EmbeddedPostgres
) -> None:
    """Writes are told to come again; afterwards they work without a restart."""
    site = replace(site, database_url=await own_postgres.start())
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK))
        await gateway.until_ready()
        await own_postgres.stop()

        refused = await gateway.post("orderbook", "ETHUSDT", category="linear")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["code"] == "database_lost"
        read = await gateway.http.get("/api/v1/subscriptions")
        assert (read.status_code, read.headers["X-Served-From"]) == (200, "memory")
        assert [item["state"] for item in read.json()["items"]] == ["active"]
        await consumer.until_flows(("linear", BOOK), ("linear", BOOK), ("linear", BOOK))
        health = await gateway.until_health(lambda h: h["database"]["status"] == "lost")
        assert health["status"] == "degraded"
        assert health["database"]["last_error"]
        await gateway.until_ready()  # what is wanted flows

        await own_postgres.start()

        async def accepted() -> httpx.Response | None:
            answer = await gateway.post("orderbook", "ETHUSDT", category="linear")
            return answer if answer.status_code in {200, 201} else None

        await until(accepted, seconds=60, what="a wish is stored again")
        await consumer.until_flows(("linear", "orderbook.50.ETHUSDT"), ("linear", BOOK))
        await gateway.until_ready()
        assert consumer.gaps("disconnect") == []
