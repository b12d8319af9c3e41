"""The venue's REST: against the simulator, and against answers that are not what one hopes for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from support.http_stage import HANG, answer, answering
from support.sim_client import KEY, SECRET, running
from ws_gateway.domain.topic import Category
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.rest import (
    BybitRest,
    KeyInformation,
    RestAway,
    RestDeadlines,
    RestRefused,
)
from ws_gateway.venue.rest_allowance import RestBudget

OWN = Credentials(KEY, SECRET)
TIME = '{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1","timeNano":"1688639403423213947"}}'


def clock_us() -> int:
    """Return Unix time, µs."""
    return time.time_ns() // 1000


async def test_the_servers_clock() -> None:
    """Time is read in ms, and a skewed server is seen as skewed."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        began = clock_us() // 1000
        assert began - 1000 < await rest.server_time_ms() < clock_us() // 1000 + 1000
        clock = VenueClock(rest, clock_us=clock_us)
        assert (clock.offset_ms, clock.measured_at) == (0, None)
        await sim.fault("clock_skew", by_seconds=-30)
        assert await clock.measure() == pytest.approx(-30_000, abs=5_000)
        assert clock.measured_at is not None
        assert abs(clock.now_ms() - await rest.server_time_ms()) < 10_000


async def test_every_category_is_listed() -> None:
    """Each category's list is read by its own rules: paths, pages and base coins."""
    async with running(symbols=1200) as sim, BybitRest(sim.rest_url) as rest:
        listing = {
            category: {row.symbol for row in await rest.instruments(category)}
            for category in Category
        }
        assert {"BTCUSDT", "ETHUSDT"} <= listing[Category.SPOT]
        assert {"BTCUSDT", "BTCPERP", "SIM0001USDT", "SIM1200USDT"} <= listing[Category.LINEAR]
        assert "BTCUSD" in listing[Category.INVERSE]
        assert "SOLUSDT_SOL/USDT" in listing[Category.SPREAD]
        assert all(symbol.startswith("BTC-") for symbol in listing[Category.OPTION])
        (row,) = await rest.instruments(Category.OPTION, "XRP")
        assert (row.symbol, row.base_coin) == ("XRP-30OCT26-0.4-P-USDT", "XRP")


async def test_a_cursor_goes_back_as_it_came() -> None:
    """Decoding or encoding it again would yield the first page for ever."""
    page = '{"retCode":0,"result":{"list":[{"symbol":"%s"}],"nextPageCursor":"%s"}}'
    first, last = page % ("AUSDT", "first%3DA%26last%3DA"), page % ("BUSDT", "")
    async with answering(answer(first), answer(last)) as stage, BybitRest(stage.url) as rest:
        rows = await rest.instruments(Category.LINEAR)
        assert [row.symbol for row in rows] == ["AUSDT", "BUSDT"]
        assert stage.targets[1].endswith("&cursor=first%3DA%26last%3DA")


async def test_pages_without_end_are_given_up() -> None:
    """The same cursor twice would be asked for until the address is banned."""
    body = '{"retCode":0,"result":{"list":[{"symbol":"A"}],"nextPageCursor":"x"}}'
    async with answering(answer(body)) as stage, BybitRest(stage.url) as rest:
        with pytest.raises(RestAway, match="no end"):
            await rest.instruments(Category.INVERSE)
        assert len(stage.targets) == 2


async def test_notices_and_key() -> None:
    """Rows of the system status come as they are; a good key is known."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        assert await rest.system_status() == []
        await sim.fault("maintenance")
        (row,) = await rest.system_status()
        assert row["state"] == "ongoing"
        known = await rest.key_information(OWN, clock_us() // 1000)
        assert known == KeyInformation(
            expired_at="1970-01-01T00:00:00Z",
            ips=("127.0.0.1",),
            read_only=1,
            permissions={
                "ContractTrade": ("Order", "Position"),
                "Spot": ("SpotTrade",),
                "Wallet": (),
                "Options": ("OptionsTrade",),
                "Derivatives": ("DerivativesTrade",),
            },
        )


@pytest.mark.parametrize(
    ("credentials", "code"),
    [(Credentials("another-key", SECRET), 10003), (Credentials(KEY, "another-secret"), 10004)],
)
async def test_a_refused_key_has_a_number_and_no_secret(
    credentials: Credentials, code: int
) -> None:
    """What REST says of a key is told apart by number; 10004's echo of the key is cut out."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        with pytest.raises(RestRefused) as caught:
            await rest.key_information(credentials, clock_us() // 1000)
        assert caught.value.ret_code == code
        for hidden in (credentials.key, credentials.secret):
            assert hidden not in str(caught.value)


async def test_a_clock_off_by_more_than_the_window_is_refused_by_number() -> None:
    """10002 is what a wrong clock gets."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        with pytest.raises(RestRefused) as caught:
            await rest.key_information(OWN, clock_us() // 1000 - 60_000)
        assert caught.value.ret_code == 10002


@pytest.mark.parametrize(
    ("reply", "pause"),
    [
        (answer("access too frequent", 403), 600.0),
        (answer("no", 403, Retry_After="30"), 30.0),
        (answer("{}", 429), 5.0),
        (answer("slow down", 429, Retry_After="7"), 7.0),
        (
            answer(
                '{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1700000000000}',
                X_Bapi_Limit_Reset_Timestamp="1700000002500",
            ),
            2.5,
        ),
        (answer('{"retCode":10006,"retMsg":"Too many visits!","result":null}'), 5.0),
    ],
)
async def test_being_told_to_stop_is_obeyed_without_another_call(
    reply: bytes, pause: float
) -> None:
    """After a limit, calls are refused here for as long as the venue asked, and then go on."""
    now = 1000.0
    async with (
        answering(reply, answer(TIME)) as stage,
        BybitRest(stage.url, monotonic=lambda: now) as rest,
    ):
        with pytest.raises(RestAway) as caught:
            await rest.server_time_ms()
        assert caught.value.retry_after_seconds == pause
        now += pause - 0.01
        with pytest.raises(RestAway) as again:
            await rest.system_status()
        assert again.value.retry_after_seconds == pytest.approx(0.01)
        assert len(stage.targets) == 1
        now += 0.02
        assert await rest.server_time_ms() == 1688639403423


async def test_the_budget_holds_for_everybody() -> None:
    """Beyond it nothing is sent until the oldest call leaves the window."""
    now = 0.0
    async with (
        answering(answer(TIME)) as stage,
        BybitRest(
            stage.url, budget=RestBudget(calls=3, window_seconds=60), monotonic=lambda: now
        ) as rest,
    ):
        for _ in range(3):
            await rest.server_time_ms()
        with pytest.raises(RestAway, match="budget of 3 calls in 60 s") as caught:
            await rest.server_time_ms()
        assert caught.value.retry_after_seconds == 60.0
        assert len(stage.targets) == 3
        now = 60.0
        await rest.server_time_ms()


Call = Callable[[BybitRest], Awaitable[object]]


async def ask_time(rest: BybitRest) -> object:
    """Ask for the time."""
    return await rest.server_time_ms()


async def ask_list(rest: BybitRest) -> object:
    """Ask for a list."""
    return await rest.instruments(Category.SPOT)


@pytest.mark.parametrize(
    ("reply", "call", "error"),
    [
        (answer("<html>Bad gateway</html>", 502), ask_time, RestAway),
        (answer("not json"), ask_time, RestAway),
        (answer('{"retCode":0,"result":null}'), ask_time, RestAway),
        (answer('{"retCode":0,"result":{"timeNano":"soon"}}'), ask_time, RestAway),
        (answer('{"retCode":0,"result":{"list":[{"no":1}]}}'), ask_list, RestAway),
        (answer('{"retCode":10016,"retMsg":"restarting"}'), ask_time, RestAway),
        (answer('{"retCode":10001,"retMsg":"Illegal category"}'), ask_list, RestRefused),
        (answer("no", 401), ask_time, RestRefused),
        (answer("", 404), ask_time, RestAway),
        (b"rubbish\r\n\r\n", ask_time, RestAway),
    ],
)
async def test_answers_that_are_none(reply: bytes, call: Call, error: type[Exception]) -> None:
    """Whatever comes back becomes one of two errors, never one of the client's own."""
    async with answering(reply) as stage, BybitRest(stage.url) as rest:
        with pytest.raises(error):
            await call(rest)


async def test_an_address_where_nobody_listens(free_port: int) -> None:
    """Nobody there is away, not a defect."""
    async with BybitRest(f"http://127.0.0.1:{free_port}") as rest:
        with pytest.raises(RestAway, match="out of reach"):
            await rest.server_time_ms()


async def test_a_hanging_answer_has_a_deadline() -> None:
    """Silence ends at the named deadline."""
    deadlines = RestDeadlines(answer_seconds=0.05)
    async with answering(HANG) as stage, BybitRest(stage.url, deadlines=deadlines) as rest:
        with pytest.raises(RestAway, match="did not answer in time"):
            await rest.server_time_ms()


async def test_a_hanging_call_can_be_cancelled_at_once() -> None:
    """Stopping waits for nobody."""
    async with answering(HANG) as stage, BybitRest(stage.url) as rest:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rest.server_time_ms())
            async with asyncio.timeout(30):
                while not stage.targets:  # noqa: ASYNC110 - the stage has no event for it
                    await asyncio.sleep(0.005)
            began = time.monotonic()
            task.cancel()
            await asyncio.wait([task])
        assert time.monotonic() - began < 4
