"""Faults of private data: nothing is lost in silence, and repeats can be recognised."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

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


async def test_lose_private_of_a_living_socket() -> None:
    """What a living socket never said stands in no stream, and all else is told as ever."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        (before,) = await trade(stage)
        fault = await stage.begin("lose_private", topic="execution", count=1)
        lost, after = await trade(stage, 2)
        await stage.until(lambda: len(steps(stage, after)) == 2)
        assert fault.hits == 1
        (entry,) = (each for each in stage.venue.ledger.of("execution")
                    if each.row["orderId"] == lost)  # fmt: skip
        assert entry.told == 0
        for order in (before, lost, after):
            assert steps(stage, order) == ["New", "Filled"]
        stage.assert_undisturbed([ORDERS, POSITIONS, WALLET])


async def test_cut_before_push() -> None:
    """A cut between a match and its frames is a marker in each private stream, then all flows."""
    async with faulting() as stage:
        await stage.flow(*ALL, TICKER)
        await trade(stage)
        await stage.begin("cut_before_push")
        cut = stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
        await stage.until(lambda: all(stage.breaks(each) == ["disconnect"] for each in ALL))
        await stage.settle(*ALL, TICKER)
        assert cut.status == "Filled"
        (after,) = await trade(stage)
        assert steps(stage, after) == ["New", "Filled"]
        stage.assert_undisturbed([TICKER])
        assert stage.attempts() <= 12


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("rest_failure", {"status": 500}),
        ("rest_failure", {"status": 429}),
        ("slow_rest", {"delay_seconds": 2}),
    ],
)
async def test_private_streams_go_on_whatever_rest_does(
    name: str, parameters: dict[str, Any]
) -> None:
    """REST that fails or is slow costs a healthy private socket nothing."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        await stage.begin(name, **parameters)
        placed = await trade(stage, 2)
        await stage.until(lambda: len(steps(stage, placed[-1])) == 2)
        assert [steps(stage, each) for each in placed] == [["New", "Filled"]] * 2
        stage.assert_undisturbed(ALL)


async def test_rest_failure() -> None:
    """A login refused while REST fails as well is made good when both are well again."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        await stage.begin("rest_failure", status=503)
        await stage.begin("login_refused", reason="expired", count=1)
        await stage.begin("drop", path="/v5/private")
        await stage.until(lambda: not stage.venue.faults.named("login_refused"))
        stage.venue.clear_faults()
        await stage.settle(*ALL)
        (after,) = await trade(stage)
        assert steps(stage, after) == ["New", "Filled"]


async def test_slow_rest() -> None:
    """The inquiry after a refused login waits for a slow REST, and the login comes after all."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        await stage.begin("slow_rest", delay_seconds=0.5)
        await stage.begin("login_refused", reason="expired", count=1)
        await stage.begin("drop", path="/v5/private")
        await stage.until(lambda: not stage.venue.faults.named("login_refused"))
        await stage.settle(*ALL)
        (after,) = await trade(stage)
        assert steps(stage, after) == ["New", "Filled"]


async def test_rest_lag() -> None:
    """Lists that are behind the stream change nothing of what the stream tells."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        await stage.begin("rest_lag", by_seconds=1.0)
        placed = await trade(stage, 2)
        assert [steps(stage, each) for each in placed] == [["New", "Filled"]] * 2
        assert len({*stage.ids(EXECUTIONS)}) == 2
        stage.assert_undisturbed(ALL)


async def test_unstable_pages() -> None:
    """Lists in no stable order change nothing of what the stream tells."""
    async with faulting() as stage:
        await stage.flow(*ALL)
        await stage.begin("unstable_pages")
        placed = await trade(stage, 2)
        assert [steps(stage, each) for each in placed] == [["New", "Filled"]] * 2
        stage.assert_undisturbed(ALL)
