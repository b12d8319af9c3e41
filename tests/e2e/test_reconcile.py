"""What Bybit told nobody is found by the clock, and what is not read is said."""

from __future__ import annotations

from typing import Any

import httpx

from support.programs import until
from support.site import KEYS, Site

VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}


async def test_frames_that_vanish_without_a_cut_are_found_and_counted(site: Site) -> None:
    """Every execution of the ledger arrives, and `/health` counts those that the stream lost."""
    async with (
        site.venue(**VENUE_KEYS) as venue,
        site.gateway(venue.url, WSG_RECONCILE_SECONDS="1", **KEYS) as gateway,
        site.consumer("execution") as consumer,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{venue.port}", timeout=10, trust_env=False
        ) as sim,
    ):
        await gateway.add("execution")
        await gateway.until_health(lambda health: health["delivery"]["reconciliations"])
        fault = {"topic": "execution", "probability": 0.3, "count": None, "seed": 7}
        assert (await sim.post("/sim/faults/lose_private", json=fault)).status_code == 200
        await sim.post("/sim/orders", json={"count": 40, "rate": 40, "mix": "market", "fills": 2})

        missing: set[str] = set()

        async def is_whole() -> bool:
            nonlocal missing
            runs = (await sim.get("/sim/orders")).json()["runs"]
            ledger = (await sim.get("/sim/ledger", params={"kind": "execution"})).json()
            told = {e["payload"].get("execId") for e in tuple(consumer.events)}
            missing = {entry["keys"][0] for entry in ledger["entries"]} - told
            return runs[0]["done"] and not missing

        await until(is_whole, seconds=60, what=lambda: f"{len(missing)} executions")
        from_rest = sum(event["source"] == "rest" for event in consumer.events)
        assert from_rest > 0
        await gateway.until_health(
            lambda health: health["delivery"]["differing"] == {"execution": from_rest}
        )
        assert gateway.logged("account.stream_differs")


async def test_while_rest_fails_the_stream_flows_and_health_says_what_is_not_read(
    site: Site,
) -> None:
    """Nothing is held back; once REST answers, what was missed comes and the reason goes."""
    async with (
        site.venue(trade_every=0.1, **VENUE_KEYS) as venue,
        site.gateway(venue.url, **KEYS) as gateway,
        site.consumer("execution") as consumer,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{venue.port}", timeout=10, trust_env=False
        ) as sim,
    ):
        await gateway.add("execution")
        await consumer.until_flows((None, "execution"))
        await gateway.until_health(lambda health: health["delivery"]["reconciliations"].get("done"))
        await sim.post("/sim/faults/rest_failure", json={"status": 500})
        await sim.post("/sim/faults/private_loss", json={"qty": "0.017"})

        def is_told(health: dict[str, Any]) -> bool:
            return "not_reconciled" in {one["code"] for one in health["reasons"]}

        await gateway.until_health(is_told)
        await gateway.until_ready()
        resumed = await consumer.until(
            lambda event: event["kind"] == "resumed" and "not be read" in event["payload"]["detail"]
        )
        await consumer.until_flows((None, "execution"), after=consumer.events.index(resumed))
        await sim.delete("/sim/faults")
        lost = await consumer.until(
            lambda event: event["source"] == "rest" and event["payload"]["orderQty"] == "0.017",
            seconds=40,
        )
        assert lost["event_id"].endswith(lost["payload"]["execId"])
        await gateway.until_health(lambda health: not is_told(health))
