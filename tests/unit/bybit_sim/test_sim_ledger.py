"""The ledger is the truth: its rows add up, the stream repeats them, and REST shows the last."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bybit_sim import Simulator, SimulatorError
from bybit_sim.account import Account
from bybit_sim.busy import OrderPlan
from bybit_sim.instruments import listing
from bybit_sim.ledger import Ledger, position_key
from bybit_sim.market import Market
from bybit_sim.orders import Order
from bybit_sim.private_stage import PrivateStage
from bybit_sim.pulse import Pulse
from bybit_sim.trading import Trading
from support.sim_client import PRIVATE, client_of, eventually, running
from support.sim_rest import pages_of, result_of

LOTS = (
    ("linear", "BTCUSDT", "0.001"),
    ("linear", "XRPUSDT", "0.1"),  # hedge mode
    ("linear", "BTCPERP", "0.001"),
    ("inverse", "ETHUSD", "1"),
    ("spot", "BTCUSDT", "0.000001"),
    ("option", "BTC-25JUN27-106000-C-USDT", "0.01"),
)
ORDERS = st.tuples(
    st.sampled_from(["market", "limit", "reduce"]),
    st.integers(0, len(LOTS) - 1),
    st.sampled_from(["Buy", "Sell"]),
    st.integers(1, 4_999),
    st.integers(1, 4),
)
CHANGES = st.tuples(
    st.sampled_from(["fill", "cancel", "amend", "fund", "tick", "wait"]),
    st.integers(0, 50),
    st.sampled_from(["Buy", "Sell"]),
    st.integers(1, 4_999),
    st.integers(1, 4),
)


class Floor:
    """An account that is traded on, with time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.market = Market(listing(), 7)
        self.account = Account(self.market, 7, ("XRPUSDT",))
        self.pulse = Pulse(lambda: self.now)
        stage = PrivateStage(self.pulse, lambda _sockets, _frame: None, uid=1)
        self.trading = Trading(self.account, self.market, stage, self.pulse, seed=7)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, a millisecond after the other."""
        for _ in range(milliseconds):
            self.now += 0.001
            self.pulse.run_due()

    def do(self, what: str, which: int, side: str, steps: int, parts: int) -> None:
        """Do one thing; what makes no sense now is refused and changes nothing."""
        if what == "wait":
            self.wait(which)
        elif what == "fund":
            self.trading.fund()
        elif what == "tick":
            category, symbol, _ = LOTS[which % len(LOTS)]
            for _ in range(parts * 10):
                self.market.symbol(category, symbol).tick(int(self.now * 1000))
        elif what in {"market", "limit", "reduce"}:
            self.place(what, which, side, steps, parts)
        elif self.account.open_orders:
            orders = list(self.account.open_orders.values())
            self.change(what, orders[which % len(orders)], steps, parts)

    def place(self, what: str, which: int, side: str, steps: int, parts: int) -> None:
        """Place an order."""
        category, symbol, step = LOTS[which]
        price = None
        if what == "limit":
            instrument = self.market.instruments[category, symbol]
            away = Decimal(instrument.tick) * (steps % 50 - 10)
            best = self.account.best(instrument, side)
            price = best - away if side == "Buy" else best + away
        self.trading.place(
            symbol, side, Decimal(step) * steps, category,
            price=price, fills=parts, is_reduce_only=what == "reduce" and category != "spot",
        )  # fmt: skip

    def change(self, what: str, order: Order, steps: int, parts: int) -> None:
        """Fill, cancel or amend an order."""
        step = Decimal(order.instrument.step)
        if what == "cancel":
            self.trading.cancel(order)
            return
        try:
            if what == "fill":
                self.trading.fill(order, min(order.leaves, step * steps), fills=parts)
            else:
                self.trading.amend(order, qty=order.qty + step * (steps % 5 - 2))
        except SimulatorError:
            return


def flows(row: dict[str, Any], symbols: dict[tuple[str, str], Any]) -> dict[str, Decimal]:
    """Return by how much an execution moves each coin."""
    qty, value, fee = (Decimal(row[name]) for name in ("execQty", "execValue", "execFee"))
    moved: dict[str, Decimal] = defaultdict(Decimal)
    moved[row["feeCurrency"]] -= fee
    buys = 1 if row["side"] == "Buy" else -1
    instrument = symbols[row["category"], row["symbol"]]
    if row["execType"] == "Funding":
        return moved
    if row["category"] == "spot":
        moved[instrument.base] += buys * qty
        moved[instrument.quote] -= buys * value
    elif row["category"] == "option":
        moved[instrument.settle] -= buys * value
    else:
        moved[instrument.settle] += Decimal(row["execPnl"])
    return moved


def assert_it_adds_up(ledger: Ledger, market: Market) -> None:
    """Assert what must hold of every ledger, from its rows alone."""
    wallet: dict[str, Decimal] = defaultdict(Decimal, ledger.opening)
    size: dict[str, Decimal] = defaultdict(Decimal)
    executed: dict[str, Decimal] = defaultdict(Decimal)
    index: dict[str, int] = {}
    seqs: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(ledger.entries, start=1):
        row = entry.row
        assert entry.number == number
        if entry.kind == "order":
            index[row["orderId"]] = row["positionIdx"]
            assert Decimal(row["cumExecQty"]) == executed[row["orderId"]]
        elif entry.kind == "execution":
            for coin, amount in flows(row, market.instruments).items():  # type: ignore[arg-type]
                wallet[coin] += amount
            where = (row["category"], row["symbol"])
            assert row["seq"] > seqs.get(where, 0)
            seqs[where] = row["seq"]
            if row["execType"] == "Trade":
                executed[row["orderId"]] += Decimal(row["execQty"])
                signed = Decimal(row["execQty"]) * (1 if row["side"] == "Buy" else -1)
                size[f"{where[0]}:{where[1]}:{index[row['orderId']]}"] += signed
        elif entry.kind == "position":
            signed = Decimal(row["size"]) * (-1 if row["side"] == "Sell" else 1)
            assert signed == size[entry.keys[0]]
            assert (
                row["side"]
                in {0: {"", "Buy", "Sell"}, 1: {"", "Buy"}, 2: {"", "Sell"}}[row["positionIdx"]]
            )
        else:
            assert entry.keys == tuple(coin["coin"] for coin in row["coin"])
            for coin in row["coin"]:
                assert Decimal(coin["walletBalance"]) == wallet[coin["coin"]]
    ids = [entry.keys[0] for entry in ledger.of("execution")]
    assert len(ids) == len(set(ids))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ORDERS, CHANGES), min_size=10, max_size=40))
def test_whatever_is_done_the_ledger_adds_up(
    steps: list[tuple[str, int, str, int, int]],
) -> None:
    """Wallets, sizes and quantities are sums of executions, to the last decimal shown."""
    floor = Floor()
    for step in steps:
        floor.do(*step)
        floor.wait(3)
    floor.wait(30)
    ledger, account = floor.trading.ledger, floor.account
    assert_it_adds_up(ledger, floor.market)
    for coin, balance in account.balances.items():
        entry = ledger.latest("wallet", coin)
        if entry is not None:
            (row,) = (each for each in entry.row["coin"] if each["coin"] == coin)
            assert Decimal(row["walletBalance"]) == balance.wallet
    for coin, balance in account.balances.items():
        reserved = sum(
            (each.reserved for each in account.open_orders.values() if each.reserve_coin == coin),
            Decimal(0),
        )
        assert balance.order_margin + balance.locked == reserved
    for key, entry in ledger.all_latest("order").items():
        assert entry.row["orderStatus"] == account.orders[key].status


async def busy(sim: Simulator, count: int) -> None:
    """Let a busy trader trade until all its orders are closed and told."""
    run = sim.runs.begin(OrderPlan(count, rate=400, seed=3))
    await eventually(lambda: run.is_done)
    sim.trading.fund()
    await eventually(lambda: all(entry.told for entry in sim.ledger.entries[-5:]))


async def test_the_stream_tells_each_change_once_and_as_the_ledger_has_it() -> None:
    """What a listener hears on each topic is the ledger, row by row, and nothing is left out."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order", "execution", "position", "wallet")
        await busy(sim, 250)
        heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
        wanted = {kind: [each.row for each in sim.ledger.of(kind)]
                  for kind in ("order", "execution", "wallet")}  # fmt: skip
        while any(len(heard[kind]) < len(rows) for kind, rows in wanted.items()):
            frame = await client.frame()
            heard[frame["topic"]] += frame["data"]
        for kind, rows in wanted.items():
            assert heard[kind] == rows, kind
        told = heard["position"]
        assert all(entry.row in told for entry in sim.ledger.of("position"))
        # Those told without a change are repeats of what was told before, or of a flat one.
        last = {position_key(row["category"], row["symbol"], row["positionIdx"]): row
                for row in told}  # fmt: skip
        for key, entry in sim.ledger.all_latest("position").items():
            assert last[key] == entry.row
        assert {entry.told for entry in sim.ledger.entries} == {1}


async def test_rest_shows_what_was_told_last() -> None:
    """Orders, executions, positions and every coin of the wallet over REST are the last rows."""
    async with running(rest_requests_per_second=1_000) as sim:
        await busy_alone(sim, 250)
        ledger = sim.ledger
        assert_it_adds_up(ledger, sim.market)
        orders: dict[str, dict[str, Any]] = {}
        executions: dict[str, dict[str, Any]] = {}
        for category in ("spot", "linear", "inverse", "option"):
            query = f"category={category}"
            for page in await pages_of(sim, "/v5/order/history", query):
                orders |= {row["orderId"]: row | {"category": category} for row in page}
            for page in await pages_of(sim, "/v5/execution/list", query):
                executions |= {row["execId"]: row | {"category": category} for row in page}
        expected = {key: entry.row for key, entry in ledger.all_latest("order").items()}
        for row in expected.values():
            if row["category"] == "spot":
                row["basePrice"] = row.pop("lastPriceOnCreated")
        assert orders == expected
        assert executions == {key: each.row for key, each in ledger.all_latest("execution").items()}
        await assert_positions_and_wallet(sim)


async def busy_alone(sim: Simulator, count: int) -> None:
    """Let a busy trader trade while nobody listens."""
    run = sim.runs.begin(OrderPlan(count, rate=400, seed=3))
    await eventually(lambda: run.is_done)
    sim.trading.fund()


async def assert_positions_and_wallet(sim: Simulator) -> None:
    """Assert that both are over REST what the ledger has last."""
    ledger = sim.ledger
    for key, entry in ledger.all_latest("position").items():
        category, symbol, idx = key.split(":")
        query = f"category={category}&symbol={symbol}"
        rows = (await result_of(sim, "/v5/position/list", query))["list"]
        (row,) = (each for each in rows if str(each["positionIdx"]) == idx)
        row["entryPrice"] = row.pop("avgPrice")
        row["mmrSysUpdatedTime"] = row.pop("mmrSysUpdateTime")
        assert row | {"category": category} == entry.row
    (wallet,) = (await result_of(sim, "/v5/account/wallet-balance", "accountType=UNIFIED"))["list"]
    coins = {row["coin"]: row for row in wallet.pop("coin")}
    last = ledger.of("wallet")[-1].row
    del last["coin"]
    assert wallet == last
    for coin, entry in ledger.all_latest("wallet").items():
        (told,) = (each for each in entry.row["coin"] if each["coin"] == coin)
        assert coins[coin] == told


async def test_a_busy_trader_shows_every_kind_of_order() -> None:
    """Among some hundred orders are all states, both modes, four categories and both fees."""
    async with running() as sim:
        await busy_alone(sim, 400)
        orders = [entry.row for entry in sim.ledger.of("order")]
        assert {row["orderStatus"] for row in orders} == {
            "New", "PartiallyFilled", "Filled", "Cancelled", "PartiallyFilledCanceled",
        }  # fmt: skip
        assert {row["category"] for row in orders} == {"spot", "linear", "inverse", "option"}
        assert {row["positionIdx"] for row in orders} == {0, 1, 2}
        assert {row["rejectReason"] for row in orders} >= {
            "EC_PostOnlyWillTakeLiquidity", "EC_NoImmediateQtyToFill",
        }  # fmt: skip
        executions = [entry.row for entry in sim.ledger.of("execution")]
        assert {row["isMaker"] for row in executions} == {True, False}
        assert {row["feeCurrency"] for row in executions} >= {"USDT", "USDC", "BTC", "ETH"}
        assert any(row["execType"] == "Funding" for row in executions)
        for before, after in pairwise(sim.ledger.entries):
            assert before.time_ms <= after.time_ms


async def test_resting_orders_stay_open_beside_a_long_past() -> None:
    """Five hundred open orders and five thousand executions can be paged within the limits."""
    async with running(rest_requests_per_second=1_000) as sim:
        sim.runs.begin(OrderPlan(500, rate=0, mix="resting"))
        past = sim.runs.begin(OrderPlan(500, rate=0, mix="market", fills=10, seed=2))
        await eventually(lambda: past.is_done)
        await eventually(lambda: len(sim.account.open_orders) == 500)
        seen: set[str] = set()
        for category in ("spot", "linear", "inverse", "option"):
            coins = ("USDT", "USDC") if category == "linear" else ("",)
            for coin in coins:
                query = f"category={category}&settleCoin={coin}&limit=50"
                for page in await pages_of(sim, "/v5/order/realtime", query):
                    seen |= {row["orderId"] for row in page}
        assert seen == set(sim.account.open_orders)
        assert len(sim.ledger.of("execution")) > 4_500


async def test_the_ledger_over_http() -> None:
    """A test in another process places orders, cuts sockets and reads the ledger in pages."""
    async with (
        running() as sim,
        httpx.AsyncClient(base_url=sim.rest_url) as http,
        client_of(sim, PRIVATE),
    ):
        begun = (await http.post("/sim/orders", json={"count": 20, "rate": 0})).json()
        assert (begun["run"], begun["count"]) == (1, 20)
        await eventually(lambda: sim.runs.all[0].is_done)
        (run,) = (await http.get("/sim/orders")).json()["runs"]
        assert (run["placed"], run["open"], run["done"]) == (20, 0, True)
        rows: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = (await http.get(f"/sim/ledger?kind=execution&after={after}&limit=7")).json()
            rows += page["entries"]
            after = page["next"]
        assert [each["row"] for each in rows] == [each.row for each in sim.ledger.of("execution")]
        assert page["opening"]["USDT"] == "100000"
        assert page["counts"]["execution"] == len(rows)
        latest = (await http.get("/sim/ledger?kind=order&latest=true")).json()["entries"]
        assert {each["key"] for each in latest} == set(sim.account.orders)
        assert (await http.post("/sim/funding")).json() == {"positions": sim.trading.fund()}
        cut = (await http.post("/sim/cut")).json()
        assert cut == {"planned": 0, "done": 1, "sockets": 1}
        await eventually(lambda: not sim.connections)


async def test_cuts_at_random_instants() -> None:
    """So many cuts come within the time, each of all sockets there are."""
    async with running() as sim, httpx.AsyncClient(base_url=sim.rest_url) as http:
        asked = {"times": 10, "within_seconds": 0.3, "seed": 5}
        assert (await http.post("/sim/cut", json=asked)).json()["planned"] == 10
        await eventually(lambda: sim.cuts.done == 10)
        assert sim.cuts.planned == 0


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("POST", "/sim/orders", {"count": 0}, 400),
        ("POST", "/sim/orders", {"count": 1, "mix": "odd"}, 400),
        ("POST", "/sim/orders", {"cuont": 1}, 400),
        ("POST", "/sim/cut", {"path": "/nowhere"}, 400),
        ("POST", "/sim/cut", {"times": 0}, 400),
        ("GET", "/sim/ledger?kind=odd", None, 400),
        ("GET", "/sim/ledger?after=-1", None, 400),
        ("POST", "/sim/ledger", {}, 405),
        ("GET", "/sim/funding", None, 405),
    ],
)
async def test_senseless_control(
    method: str, target: str, body: dict[str, Any] | None, status: int
) -> None:
    """What makes no sense is refused with a sentence."""
    async with running() as sim, httpx.AsyncClient(base_url=sim.rest_url) as http:
        answer = await http.request(method, target, json=body)
        assert answer.status_code == status
        assert answer.json()["error"]


async def test_funding_at_an_interval() -> None:
    """Open perpetual positions exchange funding by themselves: the long pays, the short gets."""
    async with running(funding_every_seconds=0.1) as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("execution")
        sim.place_market_order("BTCUSDT", "Buy", "0.01")
        sim.place_market_order("BTCUSD", "Sell", "100", category="inverse")
        funded: dict[str, dict[str, Any]] = {}
        while len(funded) < 2:
            for row in (await client.topic("execution"))["data"]:
                if row["execType"] == "Funding":
                    funded[row["symbol"]] = row
        assert Decimal(funded["BTCUSDT"]["execFee"]) > 0
        assert Decimal(funded["BTCUSD"]["execFee"]) < 0
        assert funded["BTCUSD"]["feeCurrency"] == "BTC"
        assert_it_adds_up(sim.ledger, sim.market)


async def test_a_reducing_order_ends_at_flat() -> None:
    """More than there is to close is cancelled, not turned round."""
    async with running() as sim:
        opened = sim.place_market_order("BTCUSDT", "Buy", "0.003")
        await eventually(lambda: not opened.is_open)
        order = sim.trading.place("BTCUSDT", "Sell", "0.005", is_reduce_only=True)
        await eventually(lambda: not order.is_open)
        assert (order.status, order.cancel_type) == ("Cancelled", "CancelByReduceOnly")
        assert order.filled == Decimal("0.003")
        assert not sim.account.position("linear", "BTCUSDT").size


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"symbol": "BTCUSDT", "position_idx": 1}, "one-way"),
        ({"symbol": "XRPUSDT", "position_idx": 0}, "hedge"),
        ({"symbol": "BTCUSDT", "time_in_force": "GTC"}, "GTC"),
        ({"symbol": "BTCUSDT", "price": "-1"}, "price"),
    ],
)
async def test_orders_that_make_no_sense(given_: dict[str, Any], text: str) -> None:
    """They are refused with a sentence, and nothing is written down."""
    async with running() as sim:
        with pytest.raises(SimulatorError, match=text):
            sim.trading.place(given_.pop("symbol"), "Buy", "1", **given_)
        assert sim.ledger.entries == []
