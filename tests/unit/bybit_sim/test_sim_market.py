"""The seeded market and the frames made of it, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bybit_sim.book_feed import BookFeed, RepushingBookFeed
from bybit_sim.instruments import listing
from bybit_sim.market import Market
from bybit_sim.ticker_feeds import FuturesTickerFeed, TickerFeed
from bybit_sim.topics import PublicTopic, find_topic
from bybit_sim.trade_feeds import KlineFeed, LiquidationFeed, TradeFeed

NOW = 1_791_365_008_335


def topic_of(market: Market, category: str, name: str) -> PublicTopic:
    """Return a topic that must exist."""
    topic = find_topic(market, category, name)
    assert topic is not None
    return topic


def book_feed(category: str, symbol: str, depth: int, seed: int = 7) -> tuple[Market, BookFeed]:
    """Build a market and one of its book feeds, caught up."""
    market = Market(listing(), seed)
    kind = RepushingBookFeed if depth == 1 else BookFeed
    topic = topic_of(market, category, f"orderbook.{depth}.{symbol}")
    feed = kind(topic, market.symbol(category, symbol))
    feed.resume(NOW)
    return market, feed


def apply(book: dict[str, dict[str, str]], data: dict[str, Any]) -> None:
    """Apply a delta the way the documentation tells clients to."""
    for side in ("b", "a"):
        for price, size in data[side]:
            if size == "0":
                del book[side][price]  # raises if the level was never told
            else:
                book[side][price] = size


@pytest.mark.parametrize(
    ("category", "symbol", "depth"),
    [
        ("linear", "BTCUSDT", 50),
        ("linear", "BTCUSDT", 1000),
        ("spot", "SOLUSDT", 200),
        ("inverse", "BTCUSD", 200),
        ("option", "XRP-30OCT26-0.4-P-USDT", 25),
        ("spread", "SOLUSDT_SOL/USDT", 25),
    ],
)
def test_deltas_rebuild_the_book(category: str, symbol: str, depth: int) -> None:
    """Snapshot plus deltas equals the simulator's own book, with u one higher each time."""
    market, feed = book_feed(category, symbol, depth)
    source = market.symbol(category, symbol)
    first = json.loads(feed.greet(NOW))
    book = {side: dict(first["data"][side]) for side in ("b", "a")}
    last_u, frames = first["data"]["u"], 0
    for step in range(400):
        source.tick(NOW + step)
        raw = feed.collect(NOW + step) if step % 3 == 0 else None
        if raw is None:
            continue
        frame = json.loads(raw)
        assert frame["type"] == "delta"
        assert frame["data"]["u"] == last_u + 1
        last_u, frames = last_u + 1, frames + 1
        apply(book, frame["data"])
        assert len(book["b"]) <= depth
        assert len(book["a"]) <= depth
        own = {
            "b": source.book.bids.top(depth),
            "a": source.book.asks.top(depth),
        }
        assert book == {
            side: {source.prices.text(at): source.sizes.text(size) for at, size in levels.items()}
            for side, levels in own.items()
        }
    assert frames > 100
    assert source.book.bids.best < source.book.asks.best


def test_snapshot_levels_are_ordered_strings() -> None:
    """Bids descend, asks ascend, and every number is a text with the listing's decimals."""
    _, feed = book_feed("linear", "BTCUSDT", 50)
    data = json.loads(feed.greet(NOW))["data"]
    bids, asks = [float(at) for at, _ in data["b"]], [float(at) for at, _ in data["a"]]
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert all(len(at.partition(".")[2]) == 2 for at, _ in data["b"])
    assert all(len(size.partition(".")[2]) == 3 for _, size in data["b"])


@pytest.mark.parametrize(
    ("category", "symbol", "depth", "keys"),
    [
        ("linear", "BTCUSDT", 50, ["topic", "type", "ts", "data", "cts"]),
        ("linear", "BTCUSDT", 1, ["topic", "ts", "type", "data", "cts"]),
        ("inverse", "BTCUSD", 200, ["topic", "type", "ts", "data", "cts"]),
        ("spot", "BTCUSDT", 50, ["topic", "ts", "type", "data", "cts"]),
        ("option", "BTC-25JUN27-106000-P-USDT", 25, ["topic", "ts", "type", "id", "data", "cts"]),
        ("spread", "SOLUSDT_SOL/USDT", 25, ["topic", "ts", "type", "data", "cts"]),
    ],
)
def test_book_key_order(category: str, symbol: str, depth: int, keys: list[str]) -> None:
    """Keys stand in the order that was recorded for the category and depth."""
    _, feed = book_feed(category, symbol, depth)
    frame = json.loads(feed.greet(NOW))
    assert list(frame) == keys
    assert list(frame["data"]) == ["s", "b", "a", "u", "seq"]


def test_depth_one_repeats_itself_after_three_seconds() -> None:
    """An unchanged best level is sent again with the same u, and not earlier."""
    market, feed = book_feed("linear", "BTCUSDT", 1)
    market.symbol("linear", "BTCUSDT").tick(NOW)
    moved = json.loads(feed.collect(NOW) or b"{}")
    assert moved["type"] == "snapshot"
    assert feed.beat(NOW + 2_999, NOW) is None
    again = json.loads(feed.beat(NOW + 3_000, NOW) or b"{}")
    assert again["ts"] == NOW + 3_000
    assert {**again, "ts": 0} == {**moved, "ts": 0}


def test_same_seed_same_frames() -> None:
    """Two markets of one seed say the same bytes; another seed says something else."""

    def say(seed: int) -> list[bytes | None]:
        market = Market(listing(), seed)
        source = market.symbol("linear", "ETHUSDT")
        feeds = [
            BookFeed(topic_of(market, "linear", "orderbook.50.ETHUSDT"), source),
            TradeFeed(topic_of(market, "linear", "publicTrade.ETHUSDT"), (source,)),
            FuturesTickerFeed(topic_of(market, "linear", "tickers.ETHUSDT"), source),
        ]
        said: list[bytes | None] = []
        for feed in feeds:
            feed.resume(NOW)
            said.append(feed.greet(NOW))
        for step in range(1, 200):
            source.tick(NOW + step)
            for feed in feeds:
                feed.absorb(source)
                said.append(feed.collect(NOW + step))
        return said

    assert say(7) == say(7)
    assert say(7) != say(8)


def test_watching_does_not_change_the_market() -> None:
    """A symbol moves the same way whichever depths are asked for."""
    watched, unwatched = Market(listing(), 7), Market(listing(), 7)
    for depth in (1, 50, 200):
        watched.symbol("linear", "BTCUSDT").view(depth)
    for step in range(50):
        watched.symbol("linear", "BTCUSDT").tick(step)
        unwatched.symbol("linear", "BTCUSDT").tick(step)
    assert (
        watched.symbol("linear", "BTCUSDT").book.bids.sizes
        == unwatched.symbol("linear", "BTCUSDT").book.bids.sizes
    )


@pytest.mark.parametrize(
    ("category", "symbol", "frame_keys", "row_keys"),
    [
        ("linear", "BTCUSDT", ["topic", "type", "ts", "data"],
         ["T", "s", "S", "v", "p", "L", "i", "BT", "RPI", "seq"]),
        ("spot", "BTCUSDT", ["topic", "ts", "type", "data"],
         ["i", "T", "p", "v", "S", "seq", "s", "BT", "RPI"]),
        ("option", "BTC", ["topic", "ts", "type", "id", "data"],
         ["i", "T", "p", "v", "S", "seq", "s", "BT", "mP", "iP", "mIv", "iv"]),
        ("spread", "SOLUSDT_SOL/USDT", ["topic", "ts", "type", "data"],
         ["T", "s", "S", "v", "p", "L", "i", "seq"]),
    ],
)  # fmt: skip
def test_trade_shapes(
    category: str, symbol: str, frame_keys: list[str], row_keys: list[str]
) -> None:
    """Trades have the keys of their category; trades of one match share seq and T."""
    market = Market(listing(), 7)
    options = category == "option"
    sources = market.options_of(symbol) if options else [market.symbol(category, symbol)]
    feed = TradeFeed(topic_of(market, category, f"publicTrade.{symbol}"), tuple(sources))
    rows: list[dict[str, Any]] = []
    for step in range(60):
        sources[0].tick(NOW + step)
        feed.absorb(sources[0])
        raw = feed.collect(NOW + step)
        if raw is not None:
            frame = json.loads(raw)
            assert list(frame) == frame_keys
            assert frame["type"] == "snapshot"
            assert len({(row["seq"], row["T"]) for row in frame["data"]}) == 1
            rows.extend(frame["data"])
    assert all(list(row) == row_keys for row in rows)
    assert len({row["i"] for row in rows}) == len(rows) > 10
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    if category == "spot":
        assert all(row["i"].isdigit() for row in rows)


def test_futures_ticker_deltas_merge_to_the_snapshot() -> None:
    """Deltas hold only what changed, prices with their sizes, and rebuild the picture."""
    market = Market(listing(), 7)
    source = market.symbol("linear", "BTCUSDT")
    feed = FuturesTickerFeed(topic_of(market, "linear", "tickers.BTCUSDT"), source)
    feed.resume(NOW)
    first = json.loads(feed.greet(NOW))
    assert list(first) == ["topic", "type", "data", "cs", "ts"]
    assert first["data"]["fundingIntervalHour"] == "8"
    assert first["data"]["curPreListingPhase"] == ""
    merged = dict(first["data"])
    for step in range(1, 50):
        source.tick(NOW + step)
        raw = feed.collect(NOW + step)
        if raw is None:
            continue
        frame = json.loads(raw)
        assert frame["type"] == "delta"
        assert frame["data"]["symbol"] == "BTCUSDT"
        assert len(frame["data"]) < len(merged)
        assert ("bid1Price" in frame["data"]) == ("bid1Size" in frame["data"])
        merged |= frame["data"]
    assert merged == json.loads(feed.greet(NOW))["data"]


def test_dated_future_ticker_has_empty_funding_and_text_delivery() -> None:
    """A dated contract has ISO delivery time and "" for funding."""
    market = Market(listing(), 7)
    source = market.symbol("inverse", "BTCUSDZ26")
    feed = FuturesTickerFeed(topic_of(market, "inverse", "tickers.BTCUSDZ26"), source)
    feed.resume(NOW)
    data = json.loads(feed.greet(NOW))["data"]
    assert data["deliveryTime"] == "2026-12-25T08:00:00Z"
    assert (data["nextFundingTime"], data["fundingRate"]) == ("", "")
    assert "fundingCap" not in data


def test_spot_ticker_has_no_best_prices() -> None:
    """Spot tickers are snapshots without bid and ask; a missing index is an empty text."""
    market = Market(listing(), 7)
    feed = TickerFeed(topic_of(market, "spot", "tickers.SOLUSDT"), market.symbol("spot", "SOLUSDT"))
    feed.resume(NOW)
    frame = json.loads(feed.greet(NOW))
    assert list(frame) == ["topic", "ts", "type", "cs", "data"]
    assert list(frame["data"]) == [
        "symbol", "lastPrice", "highPrice24h", "lowPrice24h", "prevPrice24h",
        "volume24h", "turnover24h", "price24hPcnt", "usdIndexPrice",
    ]  # fmt: skip
    assert frame["data"]["usdIndexPrice"] == ""


def test_kline_confirms_at_the_end_of_its_interval() -> None:
    """A candle is told while it grows, once confirmed, then the next begins at its close."""
    market = Market(listing(), 7)
    source = market.symbol("linear", "BTCUSDT")
    feed = KlineFeed(topic_of(market, "linear", "kline.1.BTCUSDT"), source)
    start = NOW - NOW % 60_000
    feed.resume(start + 30_000)
    for step in range(40):
        source.tick(start + 50_000 + step)
        feed.absorb(source)
    running = json.loads(feed.beat(start + 51_000, 0) or b"{}")
    closed = json.loads(feed.beat(start + 60_001, 0) or b"{}")
    after = json.loads(feed.beat(start + 61_000, 0) or b"{}")
    assert list(running) == ["topic", "data", "ts", "type"]
    assert [frame["data"][0]["confirm"] for frame in (running, closed, after)] == [
        False, True, False,
    ]  # fmt: skip
    assert closed["data"][0] == {**running["data"][0], "confirm": True}
    assert closed["data"][0]["end"] == start + 59_999
    assert after["data"][0]["start"] == start + 60_000
    assert after["data"][0]["open"] == closed["data"][0]["close"]


def test_liquidations_come_within_their_time() -> None:
    """A liquidation is an array of T, s, S, v, p, and one comes within the configured time."""
    market = Market(listing(), 7)
    source = market.symbol("linear", "BTCUSDT")
    feed = LiquidationFeed(topic_of(market, "linear", "allLiquidation.BTCUSDT"), source, 4.0)
    feed.resume(NOW)
    frames = [feed.beat(NOW + step, 0) for step in range(0, 4_001, 500)]
    first = json.loads(next(frame for frame in frames if frame))
    assert list(first) == ["topic", "type", "ts", "data"]
    assert list(first["data"][0]) == ["T", "s", "S", "v", "p"]


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("linear", "orderbook.50.NOPEUSDT"),
        ("linear", "orderbook.500.BTCUSDT"),
        ("linear", "orderbook.050.BTCUSDT"),
        ("linear", "orderbook.50.btcusdt"),
        ("linear", "getOrderBook.1.BTCUSDT"),
        ("linear", "order"),
        ("linear", "kline.2.BTCUSDT"),
        ("linear", "liquidation.BTCUSDT"),
        ("linear", "publicTrade.BTCUSD"),
        ("inverse", "insurance.USDT"),
        ("spot", "allLiquidation.BTCUSDT"),
        ("option", "orderbook.50.BTC-25JUN27-106000-P-USDT"),
        ("option", "publicTrade.BTC-25JUN27-106000-P-USDT"),
        ("spread", "orderbook.50.SOLUSDT_SOL/USDT"),
    ],
)
def test_topics_that_do_not_exist(category: str, name: str) -> None:
    """Wrong depth, case, category, name or symbol is no topic."""
    assert find_topic(Market(listing(), 7), category, name) is None


def test_dotted_strike_and_slash_are_symbols() -> None:
    """Everything after the prefix is the symbol, dots and slashes included."""
    market = Market(listing(), 7)
    option = topic_of(market, "option", "orderbook.25.XRP-30OCT26-0.4-P-USDT")
    spread = topic_of(market, "spread", "tickers.SOLUSDT_SOL/USDT")
    assert (option.symbol, option.depth) == ("XRP-30OCT26-0.4-P-USDT", 25)
    assert spread.symbol == "SOLUSDT_SOL/USDT"


def test_extra_symbols_are_linear() -> None:
    """Synthetic symbols are listed on request, for load tests."""
    market = Market(listing(3), 7)
    assert [market.has("linear", f"SIM000{number}USDT") for number in (1, 2, 3, 4)] == [
        True, True, True, False,
    ]  # fmt: skip
