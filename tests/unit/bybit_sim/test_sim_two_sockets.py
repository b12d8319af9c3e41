"""Two sockets with the same topics: the same frames, and faults of one of them alone."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from bybit_sim import FaultError, Simulator
from support.programs import crowd
from support.sim_client import LINEAR, PRIVATE, SPOT, Client, client_of, running

BOOK = "orderbook.50.BTCUSDT"
OTHER = "orderbook.50.ETHUSDT"
OF_LINEAR = (
    BOOK, "orderbook.1.BTCUSDT", "orderbook.rpi.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT",
    "kline.1.BTCUSDT", "allLiquidation.BTCUSDT", "priceLimit.BTCUSDT", "insurance.USDT",
    "adlAlert.USDT",
)  # fmt: skip
OF_SPOT = ("orderbook.200.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT")
OF_PRIVATE = ("order", "execution", "execution.fast", "position", "wallet")


async def heard(client: Client, seconds: float) -> list[str | bytes]:
    """Read what comes for a while."""
    frames: list[str | bytes] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                frames.append(await client.socket.recv())
    return frames


def books(frames: list[str | bytes], topic: str = BOOK) -> list[dict[str, Any]]:
    """Pick the frames of a topic."""
    return [frame for each in frames if (frame := json.loads(each)).get("topic") == topic]


def updates(frames: list[str | bytes], topic: str = BOOK) -> list[int]:
    """Pick the `u` of a book."""
    return [frame["data"]["u"] for frame in books(frames, topic)]


@pytest.mark.parametrize(
    ("path", "topics"), [(LINEAR, OF_LINEAR), (SPOT, OF_SPOT), (PRIVATE, OF_PRIVATE)]
)
async def test_two_sockets_hear_the_same(path: str, topics: tuple[str, ...]) -> None:
    """From the moment both are subscribed every frame is the same, byte by byte, in one order."""
    async with (
        running(trade_every_seconds=0.05, liquidation_every_seconds=0.3) as sim,
        client_of(sim, path) as early,
        client_of(sim, path) as late,
    ):
        for client in (early, late):
            if path == PRIVATE:
                await client.log_in(sim)
            await client.subscribe(*topics)
            await asyncio.sleep(0.2)
        seconds = 1.5 * crowd()
        first, second = await asyncio.gather(heard(early, seconds), heard(late, seconds))
        told = {json.loads(each)["topic"] for each in second}
        assert told >= set(topics) - {"execution.fast"}
        assert sum(_same(first, second, topic) for topic in topics) > 20


def _same(first: list[str | bytes], second: list[str | bytes], topic: str) -> int:
    """Hold the frames of a topic against each other; answers how many both heard.

    Topics of one socket may interleave, each is in its own order. The later socket begins with a
    greeting; the first frame that both heard aligns the two.
    """
    one = [each for each in first if f'"{topic}"' in str(each)]
    two = [each for each in second if f'"{topic}"' in str(each)]
    begin = next((number for number, each in enumerate(two) if each in one), len(two))
    ours, theirs = one[one.index(two[begin]) :] if begin < len(two) else [], two[begin:]
    both = min(len(ours), len(theirs))
    assert ours[:both] == theirs[:both]
    return both


async def test_a_topic_asked_for_anew_is_told_to_that_socket_alone() -> None:
    """Its snapshot has the present `u`; the other socket hears neither hole nor snapshot."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as steady,
        client_of(sim, LINEAR) as client,
    ):
        for each in (steady, client):
            await each.subscribe(BOOK)
        await client.topic(BOOK, "delta")
        await client.send(op="unsubscribe", args=[BOOK])
        await client.send(op="subscribe", args=[BOOK])
        first, second = await asyncio.gather(heard(steady, 0.6), heard(client, 0.6))
        numbers = updates(first)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert [frame["type"] for frame in books(first)[1:]] == ["delta"] * (len(numbers) - 1)
        at = [frame["type"] for frame in books(second)].index("snapshot")
        again = updates(second)[at:]
        assert again == list(range(again[0], again[0] + len(again)))
        assert again[0] in numbers


async def pair(sim: Simulator, *clients: Client) -> None:
    """Let both hear two books."""
    for client in clients:
        await client.subscribe(BOOK, OTHER)
        await client.topic(BOOK, "delta")
    assert len(sim.connections) == 2


async def test_one_of_two_is_dropped() -> None:
    """`drop most=1` ends the oldest alone."""
    async with running() as sim, client_of(sim, LINEAR) as old, client_of(sim, LINEAR) as young:
        await pair(sim, old, young)
        kept = sim.connections[1]
        await sim.fault("drop", path=LINEAR, most=1)
        assert sim.connections == [kept]
        await young.topic(BOOK, "delta")


async def test_one_of_two_goes_deaf() -> None:
    """`half_open most=1` leaves the other alone."""
    async with running() as sim, client_of(sim, LINEAR) as old, client_of(sim, LINEAR) as young:
        await pair(sim, old, young)
        await sim.fault("half_open", most=1)
        assert [each.socket.is_deaf for each in sim.connections] == [True, False]
        await young.topic(BOOK, "delta")


async def test_one_of_two_loses_a_frame() -> None:
    """`update_gap most=1` is a hole for the oldest and none for the other."""
    async with running() as sim, client_of(sim, LINEAR) as old, client_of(sim, LINEAR) as young:
        await pair(sim, old, young)
        fault = await sim.fault("update_gap", topic=BOOK, count=3, most=1)
        first, second = await asyncio.gather(heard(old, 0.5), heard(young, 0.5))
        assert fault.hits == 3
        assert len(set(updates(second)) - set(updates(first))) >= 3
        numbers = updates(second)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("until", ["resubscribed", "reconnected"])
async def test_a_stall_of_those_who_have_it(until: str) -> None:
    """It ends for whoever subscribes anew, or only for new connections; others hear all."""
    async with running() as sim, client_of(sim, LINEAR) as old, client_of(sim, LINEAR) as young:
        await pair(sim, old, young)
        await sim.fault("stall", topic=BOOK, until=until, most=1)
        first, second = await asyncio.gather(heard(old, 0.4), heard(young, 0.4))
        assert len(updates(first)[2:]) == 0  # what was under way
        assert len(updates(first, OTHER)) > 5
        assert len(updates(second)) > 5
        await old.send(op="unsubscribe", args=[BOOK])
        await old.send(op="subscribe", args=[BOOK])
        again = updates(await heard(old, 0.4))
        assert bool(again) == (until == "resubscribed")
        async with client_of(sim, LINEAR) as fresh:
            await fresh.subscribe(BOOK)
            await fresh.topic(BOOK, "delta")
        sim.clear_faults()
        assert len(updates(await heard(old, 0.3))) > 3


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"topic": "order", "until": "resubscribed"}, "until"),
        ({"topic": BOOK, "most": 1}, "most"),
    ],
)
async def test_a_stall_that_makes_no_sense(given: dict[str, Any], parameter: str) -> None:
    """Private topics and everybody's silence know no halves."""
    async with running() as sim:
        with pytest.raises(FaultError) as caught:
            await sim.fault("stall", **given)
        assert caught.value.parameter == parameter
