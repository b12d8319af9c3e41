"""What a power cut takes from the end of the spool had been called safe; REST has it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rabbitmq_node import PrivateNode, find_server
from support.programs import until
from support.site import KEYS, Site

ORDERS = 30
VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}


def tear(folder: Path) -> int:
    """Leave of the newest file two fifths and a few bytes of nothing; answers what is lost."""
    newest = max(folder.glob("*.seg"))
    size = newest.stat().st_size
    os.truncate(newest, size * 2 // 5)
    with newest.open("ab") as file:
        file.write(bytes(9))
    return size - size * 2 // 5


@pytest.mark.timeout(150)
@pytest.mark.xdist_group("dev_stack")
async def test_executions_lost_at_the_end_of_the_spool_were_never_delivered(
    site: Site, own_broker: PrivateNode
) -> None:
    """The broker was away, marks had passed them, the machine went down, and the disk kept half."""
    server = find_server()
    assert server is not None
    site = replace(site, amqp_url=own_broker.url)
    settings = {"WSG_RECONCILE_SECONDS": "1", **KEYS}
    async with (
        site.venue(**VENUE_KEYS) as venue,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{venue.port}", timeout=10, trust_env=False
        ) as sim,
    ):

        async def executed() -> set[str]:
            ledger = (await sim.get("/sim/ledger", params={"kind": "execution"})).json()
            return {entry["keys"][0] for entry in ledger["entries"]}

        async with site.gateway(venue.url, **settings) as killed:
            await killed.add("execution")
            await killed.until_health(lambda h: h["delivery"]["reconciliations"].get("done"))
            await asyncio.to_thread(own_broker.stop)
            wanted = {"count": ORDERS, "rate": 60, "mix": "market", "fills": 2}
            await sim.post("/sim/orders", json=wanted)

            async def is_done() -> bool:
                return bool((await sim.get("/sim/orders")).json()["runs"][0]["done"])

            await until(is_done, seconds=30, what="the orders")
            many = len(await executed())
            assert many >= ORDERS
            on_disk = await killed.until_health(lambda h: h["delivery"]["spooled"] >= many, 30)
            readings = on_disk["delivery"]["reconciliations"]["done"]
            # The second reading after that has stored a mark behind all of them.
            await killed.until_health(
                lambda h: h["delivery"]["reconciliations"]["done"] >= readings + 3, 40
            )
            await killed.kill()
        assert await asyncio.to_thread(tear, site.folder / "data" / f"spool-{site.prefix}") > 0
        await asyncio.to_thread(own_broker.start, server)
        async with (
            site.gateway(venue.url, **settings) as gateway,
            site.consumer("execution") as consumer,
        ):
            (found,) = gateway.logged("delivery.spool_found")
            assert found["events"] < many  # the others are lost on disk
            assert gateway.logged("delivery.spool_damaged")
            missing: set[str] = set()

            async def is_whole() -> bool:
                nonlocal missing
                told = {e["payload"].get("execId") for e in tuple(consumer.events)}
                missing = await executed() - told
                return not missing

            await until(is_whole, seconds=30, what=lambda: f"{len(missing)} executions")
            from_rest = [e for e in consumer.events if e["source"] == "rest"]
            assert len({e["event_id"] for e in from_rest}) >= many - found["events"]
            await consumer.until(
                lambda e: e["kind"] == "resumed" and e["payload"]["complete"], seconds=30
            )
            assert await gateway.terminate() == 0
