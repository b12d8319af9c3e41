"""What a whole gateway delivers of trades that its socket missed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.programs import Venue, until
from support.scraped import scrape
from support.site import Site

TOPIC = "publicTrade.BTCUSDT"


async def cut(venue: Venue) -> None:
    """Cut the socket; the next handshake takes two seconds."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{venue.port}", timeout=10, trust_env=False
    ) as sim:
        slow = {"delay_seconds": 2.0, "count": 1}
        assert (await sim.post("/sim/faults/slow_handshake", json=slow)).status_code == 200
        assert (await sim.post("/sim/faults/drop", json={})).status_code == 200


def after_the_gap(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List what came from the marker of the lost socket on."""
    reasons = [each["kind"] == "gap" and each["payload"]["reason"] for each in events]
    return events[reasons.index("disconnect") :] if "disconnect" in reasons else []


@pytest.mark.parametrize("is_on", [True, False])
async def test_trades_that_a_lost_socket_missed_come_from_rest_unless_switched_off(
    site: Site, *, is_on: bool
) -> None:
    """The broker has them between `gap` and `resumed`, and metrics count them."""
    async with (
        site.venue(rate=50, linger=30) as venue,
        site.gateway(venue.url, WSG_BACKFILL=str(is_on).lower()) as gateway,
        site.consumer("trade") as consumer,
    ):
        await gateway.add("trades", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", TOPIC))
        await cut(venue)
        told: list[dict[str, Any]] = []

        async def is_over() -> bool:
            told[:] = after_the_gap(consumer.of(TOPIC, "linear"))
            kinds = [each["kind"] for each in told]
            return "resumed" in kinds and kinds[-1] == "update"

        await until(is_over, seconds=30, what=lambda: f"trades behind the gap, not {told}")
        end = [each["kind"] for each in told].index("resumed")
        missed, said = told[1:end], told[end]["payload"]["detail"]
        counted = (await scrape(gateway.http)).value(
            "ws_gateway_backfilled_events_total", event_class="trade"
        )
        assert counted == len(missed)
        if is_on:
            assert missed
            assert {each["source"] for each in missed} == {"backfill"}
            assert "back-filled over REST" in said
            rows = [row for each in told if each["kind"] == "update" for row in each["payload"]]
            assert [row["T"] for row in rows] == sorted(row["T"] for row in rows)
            assert len({row["i"] for row in rows}) == len(rows)
        else:
            assert missed == []
            assert said == "data flows"
        assert await gateway.terminate() == 0
