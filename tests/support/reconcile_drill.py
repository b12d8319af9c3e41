"""A busy account whose private socket is cut and whose gateway is killed, held against its ledger.

What is proven: every execution, the last state of every order and position, and every balance is in
RabbitMQ, each fact under one id; the latest stored balances are the ledger's to the last decimal.
States that an order, a position or a wallet passed through while nobody listened are told by no
REST, so they are counted and not required.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import httpx

from support.consumer import MARKERS, Consumer
from support.programs import Gateway, Venue
from support.site import KEYS, Site

CLASSES = ("order", "execution", "position", "balance")
CHANNELS = ("order", "execution", "position", "balance")
VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}
_ORDER_STATE = ("orderId", "updatedTime", "orderStatus", "cumExecQty", "price", "qty", "cancelType")
_AMOUNTS = {
    "wallet_balance": "walletBalance", "locked": "locked", "order_margin": "totalOrderIM",
    "borrowed": "borrowAmount", "realised_pnl": "cumRealisedPnl",
}  # fmt: skip


@dataclass(slots=True)
class Plan:
    """What happens to the account.

    Attributes:
        orders, rate: how many, and how many a second.
        cuts: of the private socket, at random, while orders are placed.
        kills: of the gateway, with SIGKILL.
        settle_seconds: how long everything may take to be complete afterwards.
    """

    orders: int
    rate: float
    cuts: int
    kills: int
    seed: int = 1
    settle_seconds: float = 60.0


@dataclass(slots=True)
class Figures:
    """What was seen.

    Attributes:
        ledger: changes in the simulator's ledger, by kind.
        consumed: events, markers left aside, by class.
        repeats: events whose id came before.
        from_rest: events that REST told.
        passed_unseen: states of orders, positions and wallets that nobody was told of, by kind.
        complete_after: seconds from the last order's end until all was there.
        faults: what is not as it should be.
    """

    ledger: dict[str, int] = field(default_factory=dict)
    consumed: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    from_rest: dict[str, int] = field(default_factory=dict)
    passed_unseen: dict[str, int] = field(default_factory=dict)
    balance_rows: int = 0
    cuts: int = 0
    kills: int = 0
    reconciled: list[float] = field(default_factory=list)
    complete_after: float = 0.0
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Write them for people."""
        shown = asdict(self)
        times = sorted(shown.pop("reconciled"))
        shown["faults"] = len(self.faults)
        if times:
            shown["reconciliations"] = len(times)
            shown["seconds_median_worst"] = (times[len(times) // 2], times[-1])
        return [f"{name:22}{value}" for name, value in shown.items()]


async def drill(site: Site, plan: Plan, **settings: str) -> Figures:
    """Carry the plan out; answers what was seen, faults included."""
    figures = Figures(kills=plan.kills)
    async with AsyncExitStack() as stack:
        venue = await stack.enter_async_context(site.venue(**VENUE_KEYS))
        gateways = [await stack.enter_async_context(site.gateway(venue.url, **KEYS, **settings))]
        consumer = await stack.enter_async_context(site.consumer(*CLASSES))
        sim = await stack.enter_async_context(_simulator(venue))
        for channel in CHANNELS:
            await gateways[0].add(channel)
        await _until_reconciled(gateways[0])
        await _post(sim, "/sim/orders", count=plan.orders, rate=plan.rate, seed=plan.seed)
        seconds = plan.orders / plan.rate
        if plan.cuts:
            await _post(sim, "/sim/cut", times=plan.cuts, within_seconds=seconds, seed=plan.seed)
        rng = random.Random(f"{plan.seed}:kills")
        begun = time.monotonic()
        for moment in sorted(rng.uniform(0.1, 0.9) * seconds for _ in range(plan.kills)):
            await asyncio.sleep(max(0.0, moment - (time.monotonic() - begun)))
            await gateways[-1].kill()
            gateways.append(
                await stack.enter_async_context(site.gateway(venue.url, **KEYS, **settings))
            )
        await _until_done(sim, seconds * 5 + 60)
        ended = time.monotonic()
        ledger = await _ledger(sim)
        while True:
            rows = await _balances(site.database_url or "")
            figures.faults = _faults(ledger, consumer, rows)
            if not figures.faults or time.monotonic() - ended > plan.settle_seconds:
                break
            await asyncio.sleep(0.5)
        figures.complete_after = round(time.monotonic() - ended, 1)
        figures.cuts = (await sim.get("/sim/cut")).json()["done"]
        figures.balance_rows = len(rows)
        for gateway in gateways:
            figures.reconciled += [one["seconds"] for one in gateway.logged("account.reconciled")]
            figures.faults += [
                f"{one['event']}: {one}"
                for one in gateway.records
                if one["event"] in {"account.orders_unresolved", "account.stream_differs"}
            ]
        _count(figures, ledger, consumer)
    return figures


async def speed(site: Site, *, orders: int, fills: int, resting: int) -> dict[str, Any]:
    """Let an account trade while no gateway runs; answers how long the next one takes to catch up.

    The time is from the login, as the gateway logs it, to the line that says that all is told.
    """
    async with AsyncExitStack() as stack:
        venue = await stack.enter_async_context(site.venue(**VENUE_KEYS))
        consumer = await stack.enter_async_context(_listening(site, venue))
        first = await stack.enter_async_context(site.gateway(venue.url, **KEYS))
        for channel in CHANNELS:
            await first.add(channel)
        await _until_reconciled(first)
        await asyncio.sleep(1.0)  # marks are written a moment later
        await first.kill()
        sim = await stack.enter_async_context(_simulator(venue))
        await _post(sim, "/sim/orders", count=orders, rate=0, mix="market", fills=fills)
        await _until_done(sim, 120)
        await _post(sim, "/sim/orders", count=resting, rate=0, mix="resting")
        await _until_done(sim, 120)
        second = await stack.enter_async_context(site.gateway(venue.url, **KEYS))
        await _until_reconciled(second)
        (done, *_) = second.logged("account.reconciled")
        login = next(
            one
            for one in second.logged("venue.session_changed")
            if one["connection"] == "private" and one["state"] == "subscribing"
        )
        ledger = await _ledger(sim)
        executions = sum(entry["kind"] == "execution" for entry in ledger)
        deadline = time.monotonic() + 30
        while (told := len({e["event_id"] for e in _facts(consumer, "execution")})) < executions:
            assert time.monotonic() < deadline, (told, executions)
            await asyncio.sleep(0.1)
        seconds = (_at(done) - _at(login)).total_seconds()
        return {
            "executions": executions,
            "open orders": resting,
            "rows read": done["rows"],
            "news": done["news"],
            "reading seconds": done["seconds"],
            "seconds from login": round(seconds, 3),
        }


def _at(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


@asynccontextmanager
async def _listening(site: Site, venue: Venue) -> AsyncIterator[Consumer]:
    """Declare the queues by a gateway that ends again, and consume."""
    async with site.gateway(venue.url, **KEYS):
        pass
    async with site.consumer(*CLASSES) as consumer:
        yield consumer


def _simulator(venue: Venue) -> httpx.AsyncClient:
    url = f"http://127.0.0.1:{venue.port}"
    return httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)


async def _post(sim: httpx.AsyncClient, path: str, **body: object) -> None:
    answer = await sim.post(path, json=body)
    assert answer.status_code == 200, answer.text


async def _until_reconciled(gateway: Gateway) -> None:
    deadline = time.monotonic() + 30
    while not gateway.logged("account.reconciled"):
        assert time.monotonic() < deadline, gateway.words
        await asyncio.sleep(0.05)
    await gateway.until_ready()


async def _until_done(sim: httpx.AsyncClient, seconds: float) -> None:
    """Wait until every order is closed and every cut was made."""
    deadline = time.monotonic() + seconds
    while True:
        runs = (await sim.get("/sim/orders")).json()["runs"]
        cuts = (await sim.get("/sim/cut")).json()
        if all(run["done"] for run in runs) and not cuts["planned"]:
            return
        assert time.monotonic() < deadline, (runs, cuts)
        await asyncio.sleep(0.3)


async def _ledger(sim: httpx.AsyncClient) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        answer = await sim.get("/sim/ledger", params={"after": after, "limit": 5000})
        page = answer.json()
        entries += page["entries"]
        after = page["next"]
    return entries


async def _balances(url: str) -> list[Mapping[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        latest = await connection.fetch("SELECT *, true AS is_latest FROM account_balances_latest")
        history = await connection.fetch("SELECT *, false AS is_latest FROM account_balances")
        return [dict(row) for row in (*latest, *history)]
    finally:
        await connection.close()


def _facts(consumer: Consumer, event_class: str) -> list[dict[str, Any]]:
    return [
        event
        for event in tuple(consumer.events)
        if event["event_type"] == event_class and event["kind"] not in MARKERS
    ]


def _number(text: str | None) -> Decimal:
    return Decimal(text or "0")


def _order_state(row: Mapping[str, Any]) -> tuple[object, ...]:
    numbers = {"cumExecQty", "price", "qty"}
    return tuple(
        _number(row[name]).normalize() if name in numbers else row[name] for name in _ORDER_STATE
    )


def _position_state(row: Mapping[str, Any]) -> tuple[object, ...]:
    entry = row.get("entryPrice", row.get("avgPrice"))
    size = _number(row["size"])
    return (
        row["symbol"], row["positionIdx"], row["seq"], size.normalize(),
        row["side"] if size else "", _number(entry).normalize() if size else 0,
        _number(row["cumRealisedPnl"]).normalize(), row["updatedTime"],
    )  # fmt: skip


def _faults(
    ledger: Iterable[dict[str, Any]], consumer: Consumer, rows: list[Mapping[str, Any]]
) -> list[str]:
    entries = defaultdict(list)
    for entry in ledger:
        entries[entry["kind"]].append(entry)
    return [
        *_execution_faults(entries["execution"], _facts(consumer, "execution")),
        *_order_faults(entries["order"], _facts(consumer, "order")),
        *_position_faults(entries["position"], _facts(consumer, "position")),
        *_balance_faults(entries["wallet"], _facts(consumer, "balance"), rows),
    ]


def _execution_faults(entries: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    told: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for event in events:
        key = (event["category"], event["symbol"], event["payload"]["execId"])
        ids[key].add(event["event_id"])
        told[key] = event["payload"]
    faults = [f"execution {key} has ids {found}" for key, found in ids.items() if len(found) != 1]
    for entry in entries:
        row = entry["row"]
        key = (entry["row"]["category"], entry["row"]["symbol"], row["execId"])
        if key not in told:
            faults.append(f"execution {key} of {entry['time_ms']} is missing")
            continue
        names = ("orderId", "execPrice", "execQty", "execFee", "execTime", "side", "leavesQty")
        faults += [
            f"execution {key}: {name} is {told[key][name]}, not {row[name]}"
            for name in names
            if told[key][name] != row[name]
        ]
    known = {
        (entry["row"]["category"], entry["row"]["symbol"], entry["row"]["execId"])
        for entry in entries
    }
    return faults + [f"execution {key} was invented" for key in told.keys() - known]


def _order_faults(entries: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    ids: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for event in events:
        ids[_order_state(event["payload"])].add(event["event_id"])
    known = {_order_state(entry["row"]) for entry in entries}
    last = {entry["row"]["orderId"]: _order_state(entry["row"]) for entry in entries}
    return [
        *(f"order {state} has ids {found}" for state, found in ids.items() if len(found) != 1),
        *(f"order {state} was invented" for state in ids.keys() - known),
        *(f"last state of order {state} is missing" for state in last.values() if state not in ids),
    ]


def _position_faults(entries: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    ids: dict[tuple[object, ...], set[str]] = defaultdict(set)
    newest: dict[str, tuple[object, ...]] = {}
    for event in events:
        row = event["payload"]["raw"]
        state = (event["category"], *_position_state(row))
        ids[state].add(event["event_id"])
        newest[f"{event['category']}:{row['symbol']}:{row['positionIdx']}"] = state
    last = {
        entry["keys"][0]: (entry["row"]["category"], *_position_state(entry["row"]))
        for entry in entries
    }
    known = {(entry["row"]["category"], *_position_state(entry["row"])) for entry in entries}
    return [
        *(f"position {state} has ids {found}" for state, found in ids.items() if len(found) != 1),
        *(
            f"position {state} was invented"
            for state in ids.keys() - known
            if state[3] != -1  # told as well, before the first trade
        ),
        *(
            f"position {key} ends as {newest.get(key)}, not {state}"
            for key, state in last.items()
            if newest.get(key) != state
        ),
    ]


def _balance_faults(
    entries: list[dict[str, Any]], events: list[dict[str, Any]], rows: list[Mapping[str, Any]]
) -> list[str]:
    last: dict[str, Mapping[str, str]] = {}
    seen: dict[str, set[Decimal]] = defaultdict(set)
    for entry in entries:
        for coin in entry["row"]["coin"]:
            last[coin["coin"]] = coin
            seen[coin["coin"]].add(_number(coin["walletBalance"]))
    told = _newest_coins(events)
    stored = {row["coin"]: row for row in rows if row["is_latest"]}
    faults = []
    for name, truth in last.items():
        for column, amount in _AMOUNTS.items():
            expected = _number(truth[amount])
            found = stored[name][column] if name in stored else None
            if (found or Decimal(0)) != expected:
                faults.append(f"stored {name} {column} is {found}, not {expected}")
            if name not in told or _number(told[name][amount]) != expected:
                faults.append(f"told {name} {amount} is not {expected}")
    oldest = sorted(rows, key=lambda row: row["event_timestamp"], reverse=True)
    opening = {row["coin"]: row["wallet_balance"] for row in oldest}
    return faults + [
        f"row of {row['coin']}: {row['wallet_balance']} was never its balance"
        for row in rows
        if row["wallet_balance"] not in {*seen[row["coin"]], opening[row["coin"]]}
    ]


def _newest_coins(events: list[dict[str, Any]]) -> dict[str, Mapping[str, str]]:
    """Return what was told of each coin last, by exchange time."""
    told: dict[str, tuple[int, Mapping[str, str]]] = {}
    for event in events:
        for coin in event["payload"]["coin"]:
            known = told.get(coin["coin"])
            if known is None or known[0] <= event["timestamp"]:
                told[coin["coin"]] = (event["timestamp"], coin)
    return {name: coin for name, (_, coin) in told.items()}


def _count(figures: Figures, ledger: list[dict[str, Any]], consumer: Consumer) -> None:
    counts: dict[str, int] = defaultdict(int)
    for entry in ledger:
        counts[entry["kind"]] += 1
    figures.ledger = dict(counts)
    told_orders = {_order_state(event["payload"]) for event in _facts(consumer, "order")}
    told_positions = {
        (event["category"], *_position_state(event["payload"]["raw"]))
        for event in _facts(consumer, "position")
    }
    told_coins = {
        (coin["coin"], _number(coin["walletBalance"]), _number(coin["totalOrderIM"]))
        for event in _facts(consumer, "balance")
        for coin in event["payload"]["coin"]
    }
    figures.passed_unseen = {
        "order": len(
            {_order_state(one["row"]) for one in ledger if one["kind"] == "order"} - told_orders
        ),
        "position": len(
            {
                (one["row"]["category"], *_position_state(one["row"]))
                for one in ledger
                if one["kind"] == "position"
            }
            - told_positions
        ),
        "wallet": len(
            {
                (coin["coin"], _number(coin["walletBalance"]), _number(coin["totalOrderIM"]))
                for one in ledger
                if one["kind"] == "wallet"
                for coin in one["row"]["coin"]
            }
            - told_coins
        ),
    }
    for event_class in CLASSES:
        facts = _facts(consumer, event_class)
        figures.consumed[event_class] = len(facts)
        figures.repeats[event_class] = len(facts) - len({fact["event_id"] for fact in facts})
        figures.from_rest[event_class] = sum(fact["source"] == "rest" for fact in facts)
