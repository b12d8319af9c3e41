"""Reconciliation over the simulator's REST, with nothing of the stream to help it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from bybit_sim import Simulator
from support.account_desk import TRACE
from support.memory_lists import MemoryMarks
from support.reconcile_room import EXECUTION, ORDER, POSITION, Room, until
from support.sim_client import KEY, SECRET, running
from ws_gateway.domain.topic import Channel, build_topic
from ws_gateway.venue.account_lists import AccountLists
from ws_gateway.venue.account_rest import AccountRest
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.rest import BybitRest

WALLET = build_topic(Channel.BALANCE)
ALL = (ORDER, EXECUTION, POSITION, WALLET)


class Lists(AccountLists):
    """The account's lists and its wallet, over REST."""

    def __init__(self, rest: BybitRest) -> None:
        clock = VenueClock(rest, clock_us=_clock_us)
        account = AccountRest(
            rest, clock, Credentials(KEY, SECRET), clock_us=_clock_us, new_trace_id=lambda: TRACE
        )
        super().__init__(account, clock_us=_clock_us, new_trace_id=lambda: TRACE)
        self.wallet = account.wallet


def _clock_us() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def missing(
    orders: int, *, fills: int = 2, resting: int = 0, every_seconds: float = 3600.0
) -> AsyncIterator[tuple[Simulator, Room]]:
    """Let an account trade while the stream is away; the room has its marks of before."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        room = Room(Lists(rest), MemoryMarks(), every_seconds=every_seconds)  # type: ignore[arg-type]
        async with room.running():
            room.connect(*ALL)
            await room.done()
            room.cut(*ALL)
            await place(sim, count=orders, rate=0, mix="market", fills=fills)
            if resting:
                await place(sim, count=resting, rate=0, mix="resting")
            yield sim, room


async def place(sim: Simulator, **plan: object) -> None:
    """Let a busy trader trade until all is placed and done."""
    from bybit_sim.busy import OrderPlan  # noqa: PLC0415

    run = sim.runs.begin(OrderPlan(**plan))  # type: ignore[arg-type]
    await until(lambda: run.is_done and run.placed == plan["count"], seconds=60)


def told(room: Room) -> set[str]:
    """Return the ids of the executions that consumers got."""
    return {
        str(msgspec.json.decode(event.observation.payload)["execId"])
        for event in room.events(EXECUTION)
    }


def assert_whole(sim: Simulator, room: Room) -> None:
    """Hold what consumers got against the ledger."""
    assert told(room) == {entry.row["execId"] for entry in sim.ledger.of("execution")}
    events = room.events(EXECUTION)
    assert len({event.observation.event_id for event in events}) == len(events)
    states = {}
    for event in room.events(ORDER):
        row = msgspec.json.decode(event.observation.payload)
        states[row["orderId"]] = (row["orderStatus"], row["updatedTime"])
    assert states == {
        name: (entry.row["orderStatus"], entry.row["updatedTime"])
        for name, entry in sim.ledger.all_latest("order").items()
    }
    sizes = {}
    for event in room.events(POSITION):
        row = msgspec.json.decode(event.observation.payload)
        sizes[f"{row['category']}:{row['symbol']}:{row['position_idx']}"] = row["size"]
    for name, entry in sim.ledger.all_latest("position").items():
        assert sizes[name] == entry.row["size"]
    amounts = {one.coin: str(one.amounts.wallet_balance) for one in room.stage.balances.coins}
    assert {
        name: next(c["walletBalance"] for c in entry.row["coin"] if c["coin"] == name)
        for name, entry in sim.ledger.all_latest("wallet").items()
    }.items() <= amounts.items()


FAULTS = {
    "unstable_pages": {},
    "rest_lag": {"by_seconds": 2.0, "duration_seconds": 4.0},
    "slow_rest": {"delay_seconds": 0.5, "count": 20},
    "rest_failure": {"status": 500, "probability": 0.15, "count": 30},
    "nothing": {},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_all_that_was_missed_is_read_whatever_ails_rest(fault: str) -> None:
    """Executions all, orders and positions in their last state; each once."""
    async with missing(150, fills=4, resting=60, every_seconds=1.0) as (sim, room):
        if fault != "nothing":
            await sim.fault(fault, **FAULTS[fault])
        before = {topic: len(room.completes(topic)) for topic in ALL}
        room.connect(*ALL)
        # Not `done`: with faults a reading of some topics may be, while another is tried again.
        await until(
            lambda: all(any(room.completes(topic)[begun:]) for topic, begun in before.items()),
            seconds=60,
        )
        deadline = asyncio.get_running_loop().time() + 30
        while len(told(room)) < len(sim.ledger.of("execution")):
            assert asyncio.get_running_loop().time() < deadline, len(told(room))
            await asyncio.sleep(0.1)
        assert_whole(sim, room)
        assert room.unreadable.reasons == []


async def test_too_many_visits_are_waited_out() -> None:
    """10006 and 429 pause everything for as long as the venue says; then it goes on."""
    async with missing(20) as (sim, room):
        await sim.fault("rest_failure", status=200, code=10006, count=2)
        room.connect(*ALL)
        await room.done(2)
        assert_whole(sim, room)


async def test_many_pages_are_read_at_the_same_time() -> None:
    """500 open orders and thousands of executions; how long it took is measured by the bench."""
    async with missing(500, fills=5, resting=500) as (sim, room):
        room.connect(*ALL)
        await room.done(2)
        assert_whole(sim, room)
        assert len(room.events(EXECUTION)) == 2500
