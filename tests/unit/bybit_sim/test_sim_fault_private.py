"""Faults of private data, by name, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
            fault = await sim.fault("private_loss", qty="0.002", orders=2, away_seconds=3)
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


async def test_lose_private_loses_chosen_frames_of_a_topic() -> None:
    """The third frame of a topic is lost, and the ledger says that nobody was told."""
    async with running() as sim, private(sim, "order") as client:
        fault = await sim.fault("lose_private", topic="order", skip=2)
        for number in range(2):
            sim.place_market_order("BTCUSDT", "Buy", "0.001", link_id=f"order-{number}")
            await eventually(lambda: not sim.account.open_orders)
        told = [(row["orderLinkId"], row["orderStatus"]) for _, row in await events(client, 3)]
        assert told == [("order-0", "New"), ("order-0", "Filled"), ("order-1", "Filled")]
        assert (fault.hits, fault.is_active) == (1, False)
        assert [entry.told for entry in sim.ledger.of("order")] == [1, 1, 0, 1]


async def test_lose_private_loses_what_is_told_of_one_order() -> None:
    """Orders and executions of one order are lost; those of others, and results, are told."""
    async with running() as sim, private(sim) as client:
        await sim.fault("lose_private", order="mine", count=None)
        sim.place_market_order("BTCUSDT", "Buy", "0.001", link_id="mine")
        assert {topic for topic, _ in await events(client, 4)} == {"position", "wallet"}
        sim.place_market_order("BTCUSDT", "Buy", "0.001", link_id="yours")
        told = await events(client, 7)
        assert [topic for topic, _ in told].count("execution") == 1
        assert {row["orderLinkId"] for _, row in told if "orderLinkId" in row} == {"yours"}


async def test_lose_private_by_a_share_is_the_same_for_a_seed() -> None:
    """Which frames of a share are lost is a function of the seed."""
    lost = []
    for _ in range(2):
        async with running() as sim, private(sim, "execution"):
            fault = await sim.fault("lose_private", probability=0.4, seed=9, count=None)
            for _ in range(20):
                sim.place_market_order("BTCUSDT", "Buy", "0.001")
            await eventually(lambda: not sim.account.open_orders)
            executions = sim.ledger.of("execution")
            await eventually(lambda: sum(each.told for each in executions) + fault.hits == 20)  # noqa: B023 - awaited here
            lost.append([entry.told for entry in executions])
    assert lost[0] == lost[1]
    assert 0 < sum(lost[0]) < 20


async def heard_until_cut(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """Read private frames until the connection is cut."""
    seen: list[tuple[str, dict[str, Any]]] = []
    with suppress(ConnectionClosed):
        while True:
            seen += await events(client, 1)
    return seen


async def test_cut_before_push() -> None:
    """The sockets are cut after the match and before anybody hears of it; REST knows it."""
    async with running() as sim:
        async with private(sim) as client:
            fault = await sim.fault("cut_before_push")
            order = sim.place_market_order("BTCUSDT", "Buy", "0.001")
            seen = await heard_until_cut(client)
            assert [row["orderStatus"] for topic, row in seen if topic == "order"] == ["New"]
            assert "execution" not in [topic for topic, _ in seen]
        assert (fault.hits, fault.is_active) == (1, False)
        assert order.status == "Filled"
        (execution,) = sim.ledger.of("execution")
        assert execution.told == 0
        assert sim.cuts.done == 0
