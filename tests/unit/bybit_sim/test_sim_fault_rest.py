"""Faults of REST answers, by name, over HTTP."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from bybit_sim import FaultError
from support.sim_client import eventually, running
from support.sim_rest import result_of, signed

EXECUTIONS = "/v5/execution/list"
HISTORY = "/v5/order/history"
POSITIONS = "/v5/position/list"
LINEAR = "category=linear&settleCoin=USDT"


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_rest_failure_with_a_status(status: int) -> None:
    """An HTTP error has a body for people; calls without a signature are served."""
    async with running() as sim:
        fault = await sim.fault("rest_failure", status=status, count=2)
        for _ in range(2):
            answer = await signed(sim, POSITIONS, LINEAR)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")
            with pytest.raises(ValueError, match="Expecting"):
                answer.json()
        assert not fault.is_active
        assert (await signed(sim, POSITIONS, LINEAR)).json()["retCode"] == 0
        await sim.fault("rest_failure")
        async with httpx.AsyncClient(base_url=sim.rest_url) as http:
            assert (await http.get("/v5/market/time")).status_code == 200


async def test_rest_failure_with_a_code_on_one_path() -> None:
    """Status 200 with a code; too many visits says when to come again."""
    async with running() as sim:
        await sim.fault("rest_failure", status=200, code=10006, path=EXECUTIONS)
        answer = await signed(sim, EXECUTIONS, "category=linear")
        assert (answer.status_code, answer.json()["retCode"]) == (200, 10006)
        assert int(answer.headers["X-Bapi-Limit-Reset-Timestamp"]) > sim.now_ms() - 1_000
        assert (await signed(sim, POSITIONS, LINEAR)).json()["retCode"] == 0


async def test_rest_failure_can_be_of_market_data() -> None:
    """A path that needs no signature fails when it is named."""
    async with running() as sim, httpx.AsyncClient(base_url=sim.rest_url) as http:
        await sim.fault("rest_failure", status=502, path="/v5/market/time")
        assert (await http.get("/v5/market/time")).status_code == 502
        with pytest.raises(FaultError, match="status"):
            await sim.fault("rest_failure", status=418)


async def test_slow_rest_tells_what_was_true_when_asked() -> None:
    """The answer comes late, and does not know what happened meanwhile."""
    async with running() as sim:
        fault = await sim.fault("slow_rest", delay_seconds=0.3, path=POSITIONS)
        begun = time.monotonic()
        asked = asyncio.create_task(result_of(sim, POSITIONS, LINEAR))
        await eventually(lambda: fault.hits == 1)
        order = sim.place_market_order("BTCUSDT", "Buy", "0.001")
        assert (await asked)["list"] == []
        assert time.monotonic() - begun >= 0.3
        assert order.status == "Filled"


async def test_slow_rest_does_not_keep_the_simulator_from_stopping() -> None:
    """Requests that wait are given up at the end."""
    async with running() as sim:
        fault = await sim.fault("slow_rest", delay_seconds=60)
        asked = asyncio.create_task(result_of(sim, POSITIONS, LINEAR))
        await eventually(lambda: fault.hits == 1)
    with pytest.raises(httpx.HTTPError):
        await asked


async def test_rest_lag() -> None:
    """History and executions know a trade later than the stream; open orders at once."""
    async with running() as sim:
        fault = await sim.fault("rest_lag", by_seconds=3)
        order = sim.place_market_order("BTCUSDT", "Buy", "0.001")
        await eventually(lambda: not order.is_open)
        for path in (EXECUTIONS, HISTORY):
            assert (await result_of(sim, path, LINEAR))["list"] == []
        assert fault.hits == 2
        closed = await result_of(sim, "/v5/order/realtime", f"{LINEAR}&openOnly=1")
        assert len(closed["list"]) == 1
        await asyncio.sleep(3.05)
        for path in (EXECUTIONS, HISTORY):
            assert len((await result_of(sim, path, LINEAR))["list"]) == 1


async def test_unstable_pages() -> None:
    """A page has the same rows in another order each time; the cursor leads on as before."""
    async with running() as sim:
        for _ in range(12):
            sim.place_market_order("BTCUSDT", "Buy", "0.001")
        await eventually(lambda: not sim.account.open_orders)
        query = "category=linear&limit=10"
        stable = await result_of(sim, EXECUTIONS, query)
        fault = await sim.fault("unstable_pages")
        first, second = [await result_of(sim, EXECUTIONS, query) for _ in range(2)]
        ids = [[row["execId"] for row in page["list"]] for page in (stable, first, second)]
        assert len({tuple(each) for each in ids}) == 3
        assert len({frozenset(each) for each in ids}) == 1
        assert stable["nextPageCursor"] == first["nextPageCursor"]
        assert fault.hits == 2
