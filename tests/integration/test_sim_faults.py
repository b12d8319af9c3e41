"""The simulator's faults together: all at once, over TLS, and with nothing left behind."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bybit_sim.fault_table import example_of
from bybit_sim.faults import REGISTRY
from support.sim_client import LINEAR, Client, client_of, eventually, running

BOOK = "orderbook.50.BTCUSDT"
INVERSE = "/v5/public/inverse"


async def contiguous(client: Client, count: int) -> None:
    """Read so many frames of a book and require that none is missing."""
    numbers = [(await client.topic(BOOK))["data"]["u"] for _ in range(count)]
    assert numbers == list(range(numbers[0], numbers[0] + count))


async def test_after_all_faults_everything_is_whole() -> None:
    """Every fault at once, then none: connections, books and the clock are as ever."""
    async with running(trade_every_seconds=0.05) as sim:
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(BOOK)
            for name, kind in REGISTRY.items():
                given = [each.partition("=")[::2] for each in example_of(kind)]
                await sim.fault(name, **{key: None if text == "null" else text
                                         for key, text in given})  # fmt: skip
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        await client.raw()
        sim.clear_faults()
        assert sim.faults.active == []
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(BOOK)
            await contiguous(client, 20)


async def test_over_tls() -> None:
    """Control requests and deaf connections work behind TLS too."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        running(ssl=server) as sim,
        httpx.AsyncClient(verify=trusting, base_url=sim.rest_url) as http,
        connect(sim.ws_url + LINEAR, ssl=trusting, ping_interval=None, close_timeout=0.2) as socket,
    ):
        client = Client(socket)
        await client.subscribe(BOOK)
        answer = await http.post("/sim/faults/half_open", json={})
        assert answer.json()["hits"] == 1
        with suppress(TimeoutError):
            while True:  # what was under way, then nothing
                async with asyncio.timeout(0.2):
                    await socket.recv()
        sim.clear_faults("half_open")
        await eventually(lambda: not sim.connections)
        with pytest.raises(ConnectionClosed):
            await client.raw()


@pytest.mark.parametrize("topic", ["insurance.inverse", "adlAlert.inverse"])
async def test_pools_of_inverse(topic: str) -> None:
    """The inverse socket has the pools of coin-margined contracts."""
    async with running() as sim, client_of(sim, INVERSE) as client:
        await client.subscribe(topic)
        frame: dict[str, Any] = await client.topic(topic, "snapshot")
        assert frame["data"]
