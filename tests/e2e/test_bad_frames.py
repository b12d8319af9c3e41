"""Frames nobody can read: counted, kept with their reason, logged once; the connection lives."""

from __future__ import annotations

import base64
import json

from support import sim_client
from support.consumer import Consumer
from support.programs import Gateway
from support.sim_client import LINEAR
from support.site import Site

BOOK = "orderbook.50.BTCUSDT"
KEPT_BYTES = 65_536

GARBAGE = bytes(range(256)) * 8
CUT_SHORT = b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":17'
UNKNOWN_TOPIC = b'{"topic":"weather.BTCUSDT","type":"snapshot","ts":1,"data":{"rain":true}}'
UNWANTED = b'{"topic":"publicTrade.ETHUSDT","type":"snapshot","ts":1,"data":[]}'
NO_UPDATE_ID = b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"p":"1"}]}'
HUGE = b'{"topic":"orderbook.50.BTCUSDT","data":"' + b"x" * 10_000_000 + b'"}'

FRAMES = {
    "binary garbage": (GARBAGE, "malformed"),
    "cut short": (CUT_SHORT, "malformed"),
    "unknown topic": (UNKNOWN_TOPIC, "unknown_topic"),
    "a topic nobody asked for": (UNWANTED, "unknown_topic"),
    "a missing field": (NO_UPDATE_ID, "missing_field"),
    "10 MB": (HUGE, "too_large"),
}
EXPECTED = {"malformed": 4, "unknown_topic": 4, "missing_field": 2, "too_large": 2}


async def test_unreadable_frames_cost_only_themselves(site: Site) -> None:
    """Two of each kind: all quarantined with reason and bounded bytes, one log line per kind."""
    async with (
        sim_client.running(max_backlog_bytes=64 * 1024 * 1024) as simulator,
        site.gateway(simulator.ws_url) as gateway,
        site.consumer("orderbook", "trade") as consumer,
        site.consumer("quarantine") as quarantine,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("trades", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK), ("linear", "publicTrade.BTCUSDT"))
        before = (await gateway.connections())["linear"]

        for raw, _ in FRAMES.values():
            await simulator.inject(LINEAR, raw)
            await simulator.inject(LINEAR, raw if raw is GARBAGE else raw.decode())
        health = await gateway.until_health(
            lambda h: sum(h["delivery"]["quarantined"].values()) == sum(EXPECTED.values())
        )
        assert health["delivery"]["quarantined"] == EXPECTED
        await quarantine.until(lambda _: len(quarantine.events) == sum(EXPECTED.values()))
        await consumer.until_flows(("linear", BOOK), ("linear", "publicTrade.BTCUSDT"))

        after = (await gateway.connections())["linear"]
        assert after["connection_duration_seconds"] > before["connection_duration_seconds"]
        assert after["reconnection_count"] == 0
        assert simulator.connection_attempts == 1
        await gateway.until_ready()
        _check_kept(quarantine)
        _check_logged_once(gateway)


def _check_kept(quarantine: Consumer) -> None:
    """Every frame is there twice, in order, with its reason and its own bytes up to the bound."""
    expected = [one for frame in FRAMES.values() for one in (frame, frame)]
    for event, (raw, reason) in zip(quarantine.events, expected, strict=True):
        assert event["reason"] == reason
        assert event["origin"] == "linear"
        assert event["size"] == len(raw)
        assert event["truncated"] is (len(raw) > KEPT_BYTES)
        assert base64.b64decode(event["raw_base64"]) == raw[:KEPT_BYTES]
        assert event["amqp"].routing_key == f"quarantine.{reason}"
        assert event["amqp"].correlation_id == event["trace_id"]


def _check_logged_once(gateway: Gateway) -> None:
    lines = gateway.logged("delivery.frame_quarantined")
    assert sorted(line["reason"] for line in lines) == sorted(EXPECTED)
    for line in lines:
        assert line["sample"]
        assert len(json.dumps(line)) < 3000


async def test_an_unreadable_frame_of_a_stream_is_a_break_of_it(site: Site) -> None:
    """A trade frame that was lost to quarantine leaves a marker in its stream."""
    async with (
        sim_client.running() as simulator,
        site.gateway(simulator.ws_url) as gateway,
        site.consumer("trade") as consumer,
    ):
        await gateway.add("trades", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", "publicTrade.BTCUSDT"))
        await simulator.inject(LINEAR, NO_UPDATE_ID.decode())
        marker = await consumer.until(lambda event: event in consumer.gaps("sequence"))
        assert "could not be read" in marker["payload"]["detail"]
        await consumer.until_flows(("linear", "publicTrade.BTCUSDT"))


async def test_a_lost_update_is_marked_and_mended(site: Site) -> None:
    """A hole in a book's update ids costs one marker and one fresh snapshot of that topic."""
    async with (
        sim_client.running() as simulator,
        site.gateway(simulator.ws_url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("orderbook", "ETHUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK), ("linear", "orderbook.50.ETHUSDT"))
        simulator.skip_updates(LINEAR, BOOK, 3)
        marker = await consumer.until(lambda event: event in consumer.gaps("sequence"))
        assert marker["topic"] == BOOK
        at = consumer.events.index(marker)
        fresh = await consumer.until(
            lambda event: event["topic"] == BOOK and event["kind"] == "snapshot", after=at
        )
        assert fresh["sequence"] == marker["sequence"] + 2  # `resumed` stands between
        await consumer.until_flows(("linear", BOOK))
        assert len(consumer.gaps("sequence")) == 1
        assert (await gateway.connections())["linear"]["reconnection_count"] == 0
