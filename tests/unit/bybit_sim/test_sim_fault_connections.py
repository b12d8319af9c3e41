"""Faults of handshakes and connections, by name, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

from bybit_sim import FaultError, Simulator
from support.sim_client import LINEAR, SPOT, Client, client_of, eventually, running

BOOK = "orderbook.50.BTCUSDT"


async def refused(sim: Simulator, path: str = LINEAR) -> Response:
    """Return the answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(sim.ws_url + path):
            pass
    return caught.value.response


async def closing_code(client: Client) -> int | None:
    """Read up to the end and return the code."""
    with suppress(ConnectionClosed):
        while True:
            await client.raw()
    return client.socket.close_code


@pytest.mark.parametrize(
    ("given", "code"),
    [({}, 1006), ({"close_frame": True}, 1001), ({"close_frame": True, "code": 1012}, 1012)],
)
async def test_drop(given: dict[str, object], code: int) -> None:
    """`drop` ends the connections of one path, with or without a close frame, and is over."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, SPOT) as other,
    ):
        fault = await sim.fault("drop", path=LINEAR, **given)
        assert await closing_code(client) == code
        assert [each.path for each in sim.connections] == [SPOT]
        assert not fault.is_active
        await other.send(op="ping")
        assert (await other.reply())["ret_msg"] == "pong"


async def test_drop_again_and_again() -> None:
    """With a count it acts so often, so far apart."""
    async with running() as sim:
        fault = await sim.fault("drop", count=2, every_seconds=0.1)
        async with client_of(sim, LINEAR) as client:
            assert await closing_code(client) == 1006
        assert (fault.hits, fault.is_active) == (2, False)


async def test_half_open() -> None:
    """`half_open` keeps TCP, reads and sends nothing; later connections are sound; then it cuts."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        fault = await sim.fault("half_open", path=LINEAR)
        assert sim.connections[0].socket.is_deaf
        while True:  # what was under way
            try:
                async with asyncio.timeout(0.1):
                    await client.socket.recv()
            except TimeoutError:
                break
        await client.send(op="ping")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.socket.recv()
        async with client_of(sim, LINEAR) as sound:
            await sound.subscribe(BOOK)
            await sound.topic(BOOK, "delta")
            sim.clear_faults("half_open")
            assert await closing_code(client) == 1006
            assert not fault.is_active
            await sound.topic(BOOK, "delta")


async def test_half_open_does_not_hinder_the_end() -> None:
    """A simulator that stops leaves deaf connections behind at once."""
    async with running() as sim, client_of(sim, LINEAR):
        await sim.fault("half_open")
        async with asyncio.timeout(30):
            await sim.stop()


@pytest.mark.parametrize(
    ("given", "status", "wait"),
    [
        ({}, 403, None),
        ({"status": 429}, 429, "1"),
        ({"status": 429, "retry_after_seconds": 7}, 429, "7"),
        ({"status": 502}, 502, None),
    ],
)
async def test_refuse_handshake(given: dict[str, object], status: int, wait: str | None) -> None:
    """`refuse_handshake` answers one path's handshakes with a status, so often as told."""
    async with running() as sim:
        fault = await sim.fault("refuse_handshake", path=LINEAR, count=2, **given)
        for _ in range(2):
            response = await refused(sim)
            assert response.status_code == status
            assert response.headers.get("Retry-After") == wait
            async with client_of(sim, SPOT):
                pass
        assert not fault.is_active
        async with client_of(sim, LINEAR):
            pass


async def test_refuse_handshake_by_chance_is_the_same_for_a_seed() -> None:
    """Which handshakes are refused is a function of the seed."""

    async def pattern(seed: int) -> list[bool]:
        passed = []
        async with running() as sim:
            await sim.fault("refuse_handshake", probability=0.5, seed=seed)
            for _ in range(12):
                try:
                    async with client_of(sim, LINEAR):
                        passed.append(True)
                except InvalidStatus:
                    passed.append(False)
        return passed

    first = await pattern(3)
    assert first == await pattern(3)
    assert first != await pattern(4)
    assert len(set(first)) == 2


async def test_slow_handshake() -> None:
    """`slow_handshake` keeps the handshakes of its time waiting, and no later ones."""
    async with running() as sim:
        loop = asyncio.get_running_loop()
        fault = await sim.fault("slow_handshake", delay_seconds=0.3, count=1)
        begun = loop.time()
        async with client_of(sim, LINEAR):
            assert loop.time() - begun >= 0.3
        assert (fault.hits, fault.is_active) == (1, False)
        async with client_of(sim, LINEAR):
            assert fault.hits == 1


async def test_slow_handshake_does_not_hinder_the_end() -> None:
    """A handshake that waits is given up when the simulator stops, or when the client goes."""
    async with running() as sim:
        await sim.fault("slow_handshake", delay_seconds=60)
        attempt = asyncio.create_task(connect(sim.ws_url + LINEAR, open_timeout=30).__aenter__())
        await eventually(lambda: sim.connection_attempts == 1)
        async with asyncio.timeout(30):
            await sim.stop()
        with pytest.raises(Exception):  # noqa: B017, PT011 - however the library puts it
            await attempt


@pytest.mark.parametrize("after", [0.0, 0.1])
async def test_accept_then_drop(after: float) -> None:
    """`accept_then_drop` completes the handshake and cuts."""
    async with running() as sim:
        fault = await sim.fault("accept_then_drop", count=1, after_seconds=after)
        async with client_of(sim, LINEAR) as client:
            assert await closing_code(client) == 1006
        assert not fault.is_active
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(BOOK)


async def test_connection_limit() -> None:
    """`connection_limit` lets so many through per window."""
    async with running() as sim:
        fault = await sim.fault("connection_limit", most=2, window_seconds=300)
        async with client_of(sim, LINEAR), client_of(sim, LINEAR):
            assert (await refused(sim)).status_code == 403
            assert (fault.hits, sim.connection_attempts) == (1, 3)
            assert sim.clear_faults("connection_limit") == 1
            async with client_of(sim, LINEAR):
                pass


async def test_unknown_names_and_parameters() -> None:
    """What does not exist is refused with the list of what does; nothing is left active."""
    async with running() as sim:
        with pytest.raises(FaultError, match=r"no fault 'dorp'; there are: drop, half_open"):
            await sim.fault("dorp")
        with pytest.raises(FaultError, match="no parameter 'pth'") as unknown:
            await sim.fault("drop", pth=LINEAR)
        assert unknown.value.parameter == "pth"
        with pytest.raises(FaultError, match="no sockets at path '/v5/nope'") as nowhere:
            await sim.fault("half_open", path="/v5/nope")
        assert nowhere.value.parameter == "path"
        with pytest.raises(FaultError, match="needs the parameter 'topic'"):
            await sim.fault("stall")
        with pytest.raises(FaultError, match=r"no such topic: 'orderbook\.50\.NOPE'"):
            await sim.fault("stall", topic="orderbook.50.NOPE")
        with pytest.raises(FaultError, match="not a public topic"):
            await sim.fault("update_gap", topic="order")
        assert sim.faults.active == []
