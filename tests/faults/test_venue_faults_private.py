"""Faults of private data: nothing is lost in silence, and repeats can be recognised."""

from __future__ import annotations

import asyncio
from collections import Counter

from support.fault_stage import FaultStage, faulting
from support.scripted_venue import ticker
from ws_gateway.domain.topic import Channel, build_topic

ORDERS = build_topic(Channel.ORDER)
EXECUTIONS = build_topic(Channel.EXECUTION)
POSITIONS = build_topic(Channel.POSITION)
WALLET = build_topic(Channel.BALANCE)
ALL = (ORDERS, EXECUTIONS, POSITIONS, WALLET)
TICKER = ticker("BTCUSDT")


async def trade(stage: FaultStage, count: int = 1) -> list[str]:
    """Place orders, wait until the wallet has told the last, and return their ids."""
    placed = []
    for _ in range(count):
        before = len(stage.facts(WALLET))
        placed.append(stage.venue.place_market_order("BTCUSDT", "Buy", "0.010").order_id)
        await stage.until(lambda before=before: len(stage.facts(WALLET)) >= before + 2)  # type: ignore[misc]
    return placed


def steps(stage: FaultStage, order: str) -> list[str]:
    """List the states an order was told to have, in order."""
    rows = (row for row in stage.payloads(ORDERS) if row["orderId"] == order)
    return [row["orderStatus"] for row in rows]


async def test_duplicate_orders() -> None:
    """A record that comes twice has the same identity twice, so that a consumer knows it."""
    async with faulting() as stage:
        await stage.flow(*ALL, TICKER)
        fault = await stage.begin("duplicate_orders")
        placed = await trade(stage, 3)
        await stage.until(lambda: fault.hits == 6)
        await stage.settle(*ALL, TICKER)
        told = Counter(stage.ids(ORDERS))
        assert len(told) == 2 * len(placed)
        assert set(told.values()) <= {1, 2}
        assert {tuple(dict.fromkeys(steps(stage, each))) for each in placed} == {("New", "Filled")}
        stage.assert_undisturbed([*ALL, TICKER])


async def test_cancel_race() -> None:
    """A second `Filled` that says more is a fact of its own, and is told behind the first."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        fault = await stage.begin("cancel_race", count=1)
        (order,) = await trade(stage)
        await stage.until(lambda: fault.hits == 1 and len(stage.facts(ORDERS)) == 3)
        assert steps(stage, order) == ["New", "Filled", "Filled"]
        assert stage.payloads(ORDERS)[-1]["rejectReason"] == "EC_OrigClOrdIDDoesNotExist"
        assert len(set(stage.ids(ORDERS))) == 3
        stage.assert_undisturbed(ALL)


async def test_private_out_of_order() -> None:
    """Orders that come after their effects are told as they come; nothing is lost or marked."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        fault = await stage.begin("private_out_of_order", delay_seconds=0.1)
        placed = await trade(stage, 2)
        await stage.until(lambda: len(stage.facts(ORDERS)) == 4)
        await stage.until(lambda: len(stage.facts(EXECUTIONS)) == 2)
        assert fault.hits == 6
        assert [steps(stage, each) for each in placed] == [["New", "Filled"]] * 2
        last_wallet = stage.facts(WALLET)[-1].observation.received_at
        assert stage.facts(ORDERS)[-1].observation.received_at > last_wallet
        stage.assert_undisturbed(ALL)


async def test_private_loss() -> None:
    """A marker in each private stream says that events may be missing; then all is told again."""
    async with faulting() as stage:
        await stage.flow(*ALL, TICKER)
        (before,) = await trade(stage)
        await stage.begin("private_loss", symbol="BTCUSDT", qty="0.001", orders=2)
        await stage.until(lambda: all(stage.breaks(each) == ["disconnect"] for each in ALL))
        await stage.settle(*ALL, TICKER)
        await asyncio.sleep(0.05)
        (after,) = await trade(stage)
        assert list(dict.fromkeys(row["orderId"] for row in stage.payloads(ORDERS))) == [
            before,
            after,
        ]
        for topic in ALL:
            kinds = [each.observation.kind.value for each in stage.outlet.of(topic)]
            assert kinds.count("gap") == kinds.count("resumed") == 2
            assert stage.breaks(topic) == ["disconnect"]
        stage.assert_undisturbed([TICKER])
        assert stage.attempts() <= 12
