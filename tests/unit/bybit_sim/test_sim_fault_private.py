"""Faults of private data, by name, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bybit_sim import FaultError, Simulator
from support.sim_client import PRIVATE, Client, client_of, eventually, running

TOPICS = ("order", "execution", "position", "wallet")


@asynccontextmanager
async def private(sim: Simulator, *topics: str) -> AsyncIterator[Client]:
    """Log in and subscribe."""
    async with client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe(*(topics or TOPICS))
        yield client


async def events(client: Client, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Read so many private frames."""
    frames = [await client.until(lambda frame: "topic" in frame) for _ in range(count)]
    return [(frame["topic"], frame["data"][0]) for frame in frames]


async def test_duplicate_orders() -> None:
    """`duplicate_orders` sends order frames twice and nothing else."""
    async with running() as sim, private(sim) as client:
        fault = await sim.fault("duplicate_orders", count=2)
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        seen = [topic for topic, _ in await events(client, 9)]
        assert seen.count("order") == 4
        assert seen.count("execution") == 1
        assert (fault.hits, fault.is_active) == (2, False)


async def test_cancel_race() -> None:
    """`cancel_race` adds a second Filled that bears the late cancel."""
    async with running() as sim, private(sim, "order") as client:
        await sim.fault("cancel_race", count=1)
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        new, filled, again = [row for _, row in await events(client, 3)]
        assert [row["orderStatus"] for row in (new, filled, again)] == ["New", "Filled", "Filled"]
        assert filled["cancelType"] == "UNKNOWN"
        assert again == filled | {
            "cancelType": "CancelByUser",
            "rejectReason": "EC_OrigClOrdIDDoesNotExist",
        }


async def test_private_out_of_order() -> None:
    """`private_out_of_order` tells of results before their causes, each topic still in order."""
    async with running() as sim, private(sim) as client:
        await sim.fault("private_out_of_order", delay_seconds=2)
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        seen = await events(client, 7)
        assert [topic for topic, _ in seen][-3:] == ["order", "order", "execution"]
        states = [row["orderStatus"] for topic, row in seen if topic == "order"]
        assert states == ["New", "Filled"]
        sim.clear_faults("private_out_of_order")
        sim.place_market_order("BTCUSDT", "Sell", "0.001")
        assert (await events(client, 1))[0][0] == "order"


async def test_private_loss() -> None:
    """`private_loss` cuts, fills an order meanwhile, lets in again, and never tells of it."""
    async with running() as sim:
        async with private(sim) as client:
            fault = await sim.fault("private_loss", qty="0.002", orders=2)
            with pytest.raises(ConnectionClosed):
                await client.frame()
            with pytest.raises(InvalidStatus):
                async with client_of(sim, PRIVATE):
                    pass
        await eventually(lambda: not fault.is_active)
        assert str(sim.account.position("linear", "BTCUSDT").size) == "0.004"
        async with private(sim) as client:
            sim.place_market_order("BTCUSDT", "Buy", "0.001", link_id="mine")
            assert (await events(client, 1))[0][1]["orderLinkId"] == "mine"


@pytest.mark.parametrize(
    "given", [{"qty": "nan"}, {"qty": "inf"}, {"qty": "-1"}, {"qty": "x"}, {"symbol": "NOPE"}]
)
async def test_private_loss_with_nonsense(given: dict[str, str]) -> None:
    """An order that cannot be placed harms no connection."""
    async with running() as sim, private(sim):
        with pytest.raises(FaultError) as caught:
            await sim.fault("private_loss", **given)
        assert caught.value.parameter == next(iter(given))
        assert len(sim.connections) == 1
        assert sim.faults.active == []


async def test_stall_of_a_private_topic() -> None:
    """`stall` loses what a private topic would have said."""
    async with running() as sim, private(sim) as client:
        await sim.fault("stall", topic="order")
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        assert "order" not in [topic for topic, _ in await events(client, 5)]
