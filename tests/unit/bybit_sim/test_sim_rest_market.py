"""REST market data agree with the streams; RPI books."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from bybit_sim.book import Book, RpiBookView
from bybit_sim.instruments import listing
from bybit_sim.market import Market
from bybit_sim.topics import KLINE_MS, find_topic
from bybit_sim.trade_feeds import KlineFeed
from support.sim_client import LINEAR, OPTION, SPOT, Client, client_of, eventually, running

RPI = "orderbook.rpi.BTCUSDT"


async def ask(url: str, path: str, **query: object) -> dict[str, Any]:
    """Ask REST."""
    async with httpx.AsyncClient() as http:
        answer: dict[str, Any] = (await http.get(f"{url}/v5/market/{path}", params=query)).json()  # type: ignore[arg-type]
    return answer


@pytest.mark.parametrize(
    ("path", "topic", "query"),
    [
        (SPOT, "publicTrade.BTCUSDT", {"category": "spot", "symbol": "BTCUSDT"}),
        (LINEAR, "publicTrade.BTCUSDT", {"category": "linear", "symbol": "BTCUSDT"}),
        (OPTION, "publicTrade.BTC", {"category": "option"}),
    ],
)
async def test_recent_trades_are_those_of_the_stream(
    path: str, topic: str, query: dict[str, str]
) -> None:
    """Ids, prices and times are those streamed, newest first."""
    async with running() as sim, client_of(sim, path) as client:
        await client.subscribe(topic)
        told: list[dict[str, Any]] = []
        while len(told) < 8:
            told += (await client.topic(topic))["data"]
        rows = (await ask(sim.rest_url, "recent-trade", **query))["result"]["list"]
        by_id = {row["execId"]: row for row in rows}
        for trade in told:
            row = by_id[trade["i"]]
            assert (row["price"], row["size"], row["side"]) == (trade["p"], trade["v"], trade["S"])
            assert (row["time"], row["seq"]) == (str(trade["T"]), str(trade["seq"]))
        times = [int(row["time"]) for row in rows]
        assert times == sorted(times, reverse=True)
        short = await ask(sim.rest_url, "recent-trade", **query, limit=3)
        assert len(short["result"]["list"]) == 3


async def test_book_is_that_of_the_deepest_stream() -> None:
    """`u` of REST is one the 1000-level stream has or will have."""
    topic = "orderbook.1000.BTCUSDT"
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(topic)
        first = await client.topic(topic, "snapshot")
        result = (await ask(sim.rest_url, "orderbook", category="linear", symbol="BTCUSDT"))[
            "result"
        ]
        assert (len(result["b"]), len(result["a"])) == (25, 25)
        assert result["u"] >= first["data"]["u"]
        frame = first
        while frame["data"]["u"] < result["u"]:
            frame = await client.topic(topic, "delta")
        assert frame["data"]["u"] == result["u"]
        assert (frame["data"]["seq"], frame["cts"]) == (result["seq"], result["cts"])


async def test_candles_of_rest_are_those_of_the_stream() -> None:
    """A confirmed candle appears in REST with the values it was told with."""
    market = Market(listing(), 7)
    topic = find_topic(market, "linear", "kline.1.BTCUSDT")
    assert topic is not None
    symbol = market.symbol("linear", "BTCUSDT")
    feed = KlineFeed(topic, symbol)
    now = 1_800_000_000_000
    feed.resume(now)
    for now_ms in range(now, now + 150_000, 100):
        symbol.tick(now_ms)
        feed.absorb(symbol)
    rows = feed.rows(now + 150_000)
    assert [row[0] for row in rows] == [str(now + 120_000), str(now + 60_000), str(now)]
    assert all(len(row) == 7 for row in rows)
    assert float(rows[1][5]) > 0
    feed.resume(now + 155_000)  # within the running candle: it goes on
    assert feed.rows(now + 155_000)[0] == rows[0]


async def test_rest_tells_the_candles_nearest_to_the_end_and_leaves_out_no_quiet_one() -> None:
    """So whoever wants more of them moves the end back, page by page, and gets all."""
    market = Market(listing(), 7)
    topic = find_topic(market, "linear", "kline.1.BTCUSDT")
    assert topic is not None
    feed = KlineFeed(topic, market.symbol("linear", "BTCUSDT"))
    began = 1_800_000_000_000
    feed.resume(began)
    now = began + 2_500 * 60_000
    starts: list[int] = []
    end = now
    while page := [int(row[0]) for row in feed.rows(now, began, end, 1000)]:
        starts += page
        end = page[-1] - 1
    assert starts == list(range(now, began - 1, -60_000))
    (quiet,) = feed.rows(now, began + 60_000, began + 60_000)
    assert len(set(quiet[1:5])) == 1
    assert quiet[5:] == ["0", "0"]


@pytest.mark.parametrize("interval", KLINE_MS)
async def test_a_candle_nobody_saw_has_no_row(interval: str) -> None:
    """Of any interval, the first row ever is the running candle."""
    market = Market(listing(), 7)
    topic = find_topic(market, "linear", f"kline.{interval}.BTCUSDT")
    assert topic is not None
    feed = KlineFeed(topic, market.symbol("linear", "BTCUSDT"))
    now = 1_800_000_000_000
    feed.resume(now)
    (row,) = feed.rows(now)
    assert 0 <= now - int(row[0]) < KLINE_MS[interval]


async def test_candles_over_http() -> None:
    """The running candle is the first row, and matches what a subscriber is told."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe("kline.D.BTCUSDT")
        candle = (await client.topic("kline.D.BTCUSDT"))["data"][0]
        answer = await ask(sim.rest_url, "kline", symbol="BTCUSDT", interval="D")
        (row,) = answer["result"]["list"]
        assert row[:2] == [str(candle["start"]), candle["open"]]
        later = await ask(
            sim.rest_url, "kline", symbol="BTCUSDT", interval="D", start=candle["end"]
        )
        assert later["result"]["list"] == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("recent-trade", {"category": "nope"}),
        ("recent-trade", {"category": "spot", "symbol": "BTCUSDT", "limit": 61}),
        ("recent-trade", {"category": "linear"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "2"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "1", "start": "x"}),
        ("orderbook", {"category": "linear", "symbol": "NOPE"}),
        ("orderbook", {"category": "option", "symbol": "XRP-30OCT26-0.4-P-USDT", "limit": 26}),
    ],
)
async def test_bad_queries(path: str, query: dict[str, object]) -> None:
    """What makes no sense is a parameter error."""
    async with running() as sim:
        assert (await ask(sim.rest_url, path, **query))["retCode"] == 10001


def levels(side: list[list[str]], into: dict[str, tuple[str, str]]) -> None:
    """Apply levels to a side; both sizes at 0 remove one."""
    for price, other, rpi in side:
        if other == rpi == "0":
            into.pop(price, None)
        else:
            into[price] = (other, rpi)


async def kept_book(client: Client, frames: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keep a book over some frames, checking `u`."""
    bids: dict[str, tuple[str, str]] = {}
    asks: dict[str, tuple[str, str]] = {}
    last = None
    for number in range(frames):
        frame = await client.topic(RPI)
        assert frame["type"] == ("snapshot" if number == 0 else "delta")
        assert last is None or frame["data"]["u"] == last + 1
        last = frame["data"]["u"]
        levels(frame["data"]["b"], bids)
        levels(frame["data"]["a"], asks)
    return bids, asks


@pytest.mark.parametrize("path", [SPOT, LINEAR])
async def test_rpi_book(path: str) -> None:
    """Levels have three elements, `u` is contiguous, and a kept book never exceeds 50 levels."""
    async with running() as sim, client_of(sim, path) as client:
        await client.subscribe(RPI)
        bids, asks = await kept_book(client, 12)
        assert (len(bids), len(asks)) == (50, 50)
        assert any(rpi != "0" for _, rpi in bids.values())
        assert any(other == "0" for other, _ in (*bids.values(), *asks.values()))
        assert max(map(float, bids)) < min(map(float, asks))


async def test_option_has_no_rpi_book() -> None:
    """Where there is no RPI, there is no such topic."""
    market = Market(listing(), 7)
    assert find_topic(market, "option", "orderbook.rpi.XRP-30OCT26-0.4-P-USDT") is None
    assert find_topic(market, "linear", "orderbook.rpi.NOPE") is None


def test_views_of_one_book_agree() -> None:
    """Which levels have RPI orders follows from the book alone."""
    market = Market(listing(), 7).symbol("linear", "BTCUSDT")
    book: Book = market.book
    one, two = RpiBookView(book, 50, 1), RpiBookView(book, 50, 9)
    for now in range(20):
        market.tick(now)
        one.advance()
    two.advance()
    assert (one.bids, one.asks) == (two.bids, two.asks)


async def test_a_symbol_that_lingers_has_trades_that_nobody_heard() -> None:
    """Trades and candles of a pause are in REST, follow on those heard, and end when it is over."""
    topic = "publicTrade.BTCUSDT"
    async with running(linger_seconds=0.4, rate=100) as sim:
        heard: list[str] = []
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(topic, "kline.1.BTCUSDT")
            while len(heard) < 5:
                heard += [each["i"] for each in (await client.topic(topic))["data"]]
        market = sim.market.symbol("linear", "BTCUSDT")
        await eventually(lambda: len(market.past_trades) > len(heard) + 5)
        query = {"category": "linear", "symbol": "BTCUSDT"}
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(topic)
            later = (await client.topic(topic))["data"][0]["i"]
            rows = (await ask(sim.rest_url, "recent-trade", **query))["result"]["list"]
        ids = [row["execId"] for row in reversed(rows)]
        assert ids[: len(heard)] == heard
        assert ids.index(later) > len(heard) + 4
        stream = sim.broadcaster.find("linear", topic)
        assert stream is not None
        ticks = -1
        while ticks != market.ticks:
            ticks = market.ticks
            await asyncio.sleep(0.5)
        assert not stream.sockets


async def test_a_candle_goes_on_while_its_symbol_lingers() -> None:
    """What traded between two subscriptions is in the candle of both REST and stream."""
    topic = "kline.D.BTCUSDT"
    async with running(linger_seconds=5, rate=100) as sim:
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(topic)
            before = (await client.topic(topic))["data"][0]
        market = sim.market.symbol("linear", "BTCUSDT")
        trades = len(market.past_trades)
        await eventually(lambda: len(market.past_trades) > trades + 5)
        async with client_of(sim, LINEAR) as client:
            await client.subscribe(topic)
            after = (await client.topic(topic))["data"][0]
        assert after["start"] == before["start"]
        assert float(after["volume"]) > float(before["volume"])
