"""Signed lists of orders, executions and positions: what they hold, and how they are paged."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import pytest

from bybit_sim import Simulator
from bybit_sim.orders import Order
from support.sim_client import PRIVATE, client_of, eventually, running
from support.sim_rest import pages_of, result_of, signed

EXECUTIONS = "/v5/execution/list"
REALTIME = "/v5/order/realtime"
HISTORY = "/v5/order/history"
POSITIONS = "/v5/position/list"
DAY_MS = 86_400_000


def resting(sim: Simulator, symbol: str = "BTCUSDT", qty: str = "0.004", **more: Any) -> Order:
    """Place a buy order far below the market."""
    return sim.trading.place(symbol, "Buy", qty, price=more.pop("price", "50000"), **more)


async def traded(sim: Simulator, count: int, *, fills: int = 1) -> list[Order]:
    """Place market orders and wait until they are filled."""
    orders = [
        sim.place_market_order("BTCUSDT", ("Buy", "Sell")[number % 2], "0.005", fills=fills)
        for number in range(count)
    ]
    await eventually(lambda: not any(order.is_open for order in orders))
    return orders


async def test_executions_are_paged_newest_first_and_none_is_left_out() -> None:
    """The pages hold every execution once, as the ledger has it, without the category."""
    async with running() as sim:
        await traded(sim, 6, fills=5)
        pages = await pages_of(sim, EXECUTIONS, "category=linear&symbol=BTCUSDT&limit=7")
        assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
        rows = [row for page in pages for row in page]
        times = [int(row["execTime"]) for row in rows]
        assert times == sorted(times, reverse=True)
        told = [entry.row for entry in sim.ledger.of("execution")]
        assert [row | {"category": "linear"} for row in rows] == told[::-1]


async def test_executions_that_come_while_one_pages_move_nothing() -> None:
    """A new execution is not on a later page, and pushes none there twice."""
    async with running() as sim:
        await traded(sim, 4)
        first = await result_of(sim, EXECUTIONS, "category=linear&limit=2")
        await traded(sim, 3)
        cursor = first["nextPageCursor"]
        second = await result_of(sim, EXECUTIONS, f"category=linear&limit=2&cursor={cursor}")
        seen = [row["execId"] for row in first["list"] + second["list"]]
        told = [entry.row["execId"] for entry in sim.ledger.of("execution")]
        assert seen == told[3::-1]


async def test_a_cursor_is_good_only_as_it_was_handed_out() -> None:
    """Decoded, or encoded once more, a cursor leads to the first page again."""
    async with running() as sim:
        await traded(sim, 4)
        await traded(sim, 1)
        for path, query in (
            (EXECUTIONS, "category=linear&limit=2"),
            (HISTORY, "category=linear&limit=2"),
        ):
            first = await result_of(sim, path, query)
            cursor = first["nextPageCursor"]
            assert "%" in cursor
            second = await result_of(sim, path, f"{query}&cursor={cursor}")
            assert second["list"] != first["list"]
            for spoilt in (unquote(cursor), quote(cursor, safe="")):
                again = await result_of(sim, path, f"{query}&cursor={spoilt}")
                assert again["list"] == first["list"]


async def test_executions_by_order_kind_and_time() -> None:
    """Filters choose by order, link, kind and time."""
    async with running() as sim:
        order, other = await traded(sim, 2, fills=2)
        assert sim.trading.fund() == 0  # the two cancel each other out
        await traded(sim, 1)
        assert sim.trading.fund() == 1
        base = "category=linear"
        one = await result_of(sim, EXECUTIONS, f"{base}&orderId={order.order_id}")
        assert [row["orderId"] for row in one["list"]] == [order.order_id] * 2
        (funding,) = (await result_of(sim, EXECUTIONS, f"{base}&execType=Funding"))["list"]
        assert (funding["orderType"], funding["orderPrice"]) == ("UNKNOWN", "0")
        assert Decimal(funding["execFee"]) == round(
            Decimal(funding["execValue"]) * Decimal(funding["feeRate"]), 8
        )
        late = int(funding["execTime"])
        empty = await result_of(sim, EXECUTIONS, f"{base}&startTime={late + 1}")
        assert empty["list"] == []
        until = await result_of(sim, EXECUTIONS, f"{base}&endTime={late}")
        assert len(until["list"]) == 6
        assert (await result_of(sim, EXECUTIONS, "category=spot"))["list"] == []
        assert other.status == "Filled"


@pytest.mark.parametrize("path", [EXECUTIONS, HISTORY])
@pytest.mark.parametrize(
    ("window", "code"),
    [
        ("startTime=1700000000000&endTime=1700604800000", 0),
        ("startTime=1700000000000&endTime=1700604800001", 10001),
        ("startTime=1700000000001&endTime=1700000000000", 10001),
        ("startTime=soon", 10001),
        ("limit=0", 10001),
        ("limit=101", 10001),
        ("symbol=NOPE", 10001),
    ],
)
async def test_windows_and_limits(path: str, window: str, code: int) -> None:
    """At most seven days and so many rows; more is a parameter error."""
    async with running() as sim:
        answer = (await signed(sim, path, f"category=linear&{window}")).json()
        assert answer["retCode"] == code, answer
        assert (await signed(sim, path, window)).json()["retMsg"] == "Illegal category"


async def test_open_orders_are_paged_newest_first() -> None:
    """Pages of open orders hold each once; behind the last there is an empty one."""
    async with running() as sim:
        orders = [resting(sim, price=50_000 + number) for number in range(7)]
        query = "category=linear&settleCoin=USDT&limit=3"
        pages = await pages_of(sim, REALTIME, query)
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        ids = [row["orderId"] for page in pages for row in page]
        assert ids == [order.order_id for order in reversed(orders)]
        row = pages[0][0]
        assert (row["orderStatus"], row["orderType"], row["timeInForce"]) == ("New", "Limit", "GTC")
        assert (row["leavesQty"], row["price"]) == ("0.004", "50006")
        assert "category" not in row


async def test_open_orders_need_to_be_narrowed_on_linear_only() -> None:
    """Linear wants a symbol or a coin; the others do not."""
    async with running() as sim:
        bare = (await signed(sim, REALTIME, "category=linear")).json()
        assert bare["retCode"] == 10001
        resting(sim, category="spot")
        (row,) = (await result_of(sim, REALTIME, "category=spot"))["list"]
        assert "basePrice" in row
        assert "lastPriceOnCreated" not in row
        assert (await result_of(sim, REALTIME, "category=inverse"))["list"] == []
        coins = await result_of(sim, REALTIME, "category=linear&settleCoin=USDC")
        assert coins["list"] == []


async def test_closed_orders_are_in_the_cache_and_in_the_history() -> None:
    """A closed order leaves the open ones; id, `openOnly=1` and the history find it."""
    async with running() as sim:
        kept = resting(sim, link_id="kept")
        gone = resting(sim, link_id="gone")
        sim.trading.fill(gone, Decimal("0.001"))
        sim.trading.cancel(gone)
        query = "category=linear&symbol=BTCUSDT"
        (one,) = (await result_of(sim, REALTIME, query))["list"]
        assert one["orderId"] == kept.order_id
        (closed,) = (await result_of(sim, REALTIME, f"{query}&openOnly=1"))["list"]
        assert (closed["orderLinkId"], closed["orderStatus"]) == ("gone", "Cancelled")
        assert (closed["cumExecQty"], closed["leavesQty"]) == ("0.001", "0")
        assert closed["cancelType"] == "CancelByUser"
        by_id = await result_of(sim, REALTIME, f"category=linear&orderLinkId={gone.link_id}")
        assert by_id["list"] == [closed]
        history = (await result_of(sim, HISTORY, query))["list"]
        assert history == [closed]
        filled = await result_of(sim, HISTORY, f"{query}&orderStatus=Filled")
        assert filled["list"] == []
        stops = await result_of(sim, REALTIME, f"{query}&orderFilter=StopOrder")
        assert stops["list"] == []


async def test_history_keeps_cancelled_orders_for_a_day() -> None:
    """What was cancelled without a fill is gone after a day; the rest after seven."""
    now = [1_800_000_000.0]
    async with running(clock=lambda: now[0]) as sim:
        empty, partly = resting(sim), resting(sim)
        sim.trading.fill(partly, Decimal("0.001"))
        sim.trading.cancel(empty)
        sim.trading.cancel(partly)
        query = "category=linear"
        assert len((await result_of(sim, HISTORY, query))["list"]) == 2
        now[0] += 2 * DAY_MS / 1000
        (row,) = (await result_of(sim, HISTORY, query))["list"]
        assert row["orderId"] == partly.order_id
        now[0] += 6 * DAY_MS / 1000
        assert (await result_of(sim, HISTORY, query))["list"] == []


async def test_the_cache_of_closed_orders_ends_at_five_hundred() -> None:
    """An older closed order is found in the history only."""
    async with running() as sim:
        orders = [resting(sim) for _ in range(503)]
        for order in orders:
            sim.trading.cancel(order)
        query = "category=linear&symbol=BTCUSDT"
        pages = await pages_of(sim, REALTIME, f"{query}&openOnly=1&limit=50")
        assert sum(len(page) for page in pages) == 500
        first = f"category=linear&orderId={orders[0].order_id}"
        assert (await result_of(sim, REALTIME, first))["list"] == []
        (row,) = (await result_of(sim, HISTORY, first))["list"]
        assert row["orderId"] == orders[0].order_id
        pages = await pages_of(sim, HISTORY, f"{query}&limit=50")
        assert sum(len(page) for page in pages) == 503


async def test_hedge_mode_lists_both_sides_in_an_order_nobody_may_rely_on() -> None:
    """With a symbol both rows come, the short side first; with a coin only what is open."""
    async with running(hedge_symbols=("ETHUSDT",)) as sim:
        long = sim.place_market_order("ETHUSDT", "Buy", "2")
        await eventually(lambda: not long.is_open)
        rows = (await result_of(sim, POSITIONS, "category=linear&symbol=ETHUSDT"))["list"]
        assert [(row["positionIdx"], row["side"], row["size"]) for row in rows] == [
            (2, "", "0"),
            (1, "Buy", "2"),
        ]
        (row,) = (await result_of(sim, POSITIONS, "category=linear&settleCoin=USDT"))["list"]
        assert row == rows[1]


async def test_positions_are_paged() -> None:
    """More positions than a page holds come on the next."""
    async with running(symbols=25) as sim:
        for number in range(1, 26):
            sim.place_market_order(f"SIM{number:04d}USDT", "Buy", "1")
        await eventually(lambda: len(sim.account.open_positions("USDT")) == 25)
        pages = await pages_of(sim, POSITIONS, "category=linear&settleCoin=USDT")
        assert [len(page) for page in pages] == [20, 5]
        symbols = [row["symbol"] for page in pages for row in page]
        assert len(set(symbols)) == 25


async def test_open_orders_are_what_the_stream_told_last() -> None:
    """A row of the list is the last row of the stream, but for the category."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order")
        order = resting(sim)
        sim.trading.amend(order, qty=Decimal("0.006"), price=Decimal(50_001))
        sim.trading.fill(order, Decimal("0.002"), fills=2)
        frames = [(await client.topic("order"))["data"][0] for _ in range(3)]
        assert [row["orderStatus"] for row in frames] == ["New", "New", "PartiallyFilled"]
        assert [row["qty"] for row in frames] == ["0.004", "0.006", "0.006"]
        (row,) = (await result_of(sim, REALTIME, "category=linear&symbol=BTCUSDT"))["list"]
        assert row | {"category": "linear"} == frames[-1]


async def test_account_info() -> None:
    """The account says that it is a unified one."""
    async with running() as sim:
        info = await result_of(sim, "/v5/account/info")
        assert info["unifiedMarginStatus"] == 6
