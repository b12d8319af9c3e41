"""Good frames to begin from: what the simulator says on every channel, and what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from bybit_sim import wire
from bybit_sim.account import Account
from bybit_sim.config import SimulatorConfig
from bybit_sim.feeds import make_feed
from bybit_sim.instruments import listing
from bybit_sim.market import Market
from bybit_sim.order_rows import execution_row, fast_execution_row, order_row
from bybit_sim.private_rows import greeks_row, position_row, wallet_row
from bybit_sim.status import StatusBoard
from bybit_sim.topics import find_topic
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic, parse_topic
from ws_gateway.errors import Rejected

_FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
_NOW = 1_791_365_008_335
_TICKS = 60
_LARGEST = 4_000  # bytes; a larger frame has nothing that a smaller one has not, and is slow

_PUBLIC = {
    Category.SPOT: ("orderbook.1.BTCUSDT", "orderbook.rpi.BTCUSDT", "publicTrade.BTCUSDT",
                    "tickers.BTCUSDT", "kline.1.BTCUSDT", "priceLimit.BTCUSDT"),
    Category.LINEAR: ("orderbook.50.BTCUSDT", "publicTrade.ETHUSDT", "tickers.BTCUSDT",
                      "kline.D.ETHUSDT", "allLiquidation.BTCUSDT", "insurance.USDT",
                      "adlAlert.USDT", "priceLimit.ETHUSDT"),
    Category.INVERSE: ("orderbook.50.BTCUSD", "tickers.BTCUSD", "insurance.inverse"),
    Category.OPTION: ("orderbook.25.XRP-30OCT26-0.4-P-USDT", "publicTrade.BTC",
                      "tickers.XRP-30OCT26-0.4-P-USDT"),
    Category.SPREAD: ("orderbook.25.SOLUSDT_SOL/USDT", "publicTrade.SOLUSDT_SOL/USDT",
                      "tickers.SOLUSDT_SOL/USDT"),
}  # fmt: skip


class Seed(NamedTuple):
    """A frame and the topic of the stream it is read for."""

    raw: bytes
    topic: Topic


def seeds() -> list[Seed]:
    """Collect them, in a stable order."""
    return [*_public(), *_private(), *_control(), *_recorded()]


def _public() -> Iterator[Seed]:
    market = Market(listing(), 7)
    config = SimulatorConfig(seed=7, liquidation_every_seconds=1.0)
    for category, names in _PUBLIC.items():
        for name in names:
            topic = find_topic(market, category, name)
            if topic is None:
                raise LookupError(f"the simulator has no {name} on {category}")
            feed = make_feed(topic, market, config)
            feed.resume(_NOW)
            frames = {feed.greet(_NOW)}
            for tick in range(_TICKS):
                now = _NOW + 100 * tick
                for symbol in feed.markets:
                    symbol.tick(now)
                    if feed.absorb(symbol):
                        frames.add(feed.collect(now))
                frames.add(feed.beat(now, now - 10_000.0))
            short = sorted(frame for frame in frames if frame and len(frame) <= _LARGEST)
            yield from (Seed(frame, parse_topic(name, category)) for frame in short[:5])
    board = StatusBoard(7)
    notice = {"title": "t", "state": "scheduled", "begin": "1", "end": "2", "serviceTypes": [3]}
    frame = board.frame(board.post(notice), _NOW)
    yield Seed(frame, build_topic(Channel.SYSTEM_STATUS))


def _private() -> Iterator[Seed]:
    market = Market(listing(), 7)
    account = Account(market, 7)
    market.symbol("linear", "BTCUSDT").tick(_NOW)
    order = account.place("linear", "BTCUSDT", "Buy", Decimal("0.2"), link_id="", now_ms=_NOW)
    fill = account.fill(order, order.qty, _NOW)
    rows: dict[str, dict[str, Any]] = {
        "order": order_row(order),
        "execution": execution_row(order, fill),
        "execution.fast": fast_execution_row(order, fill),
        "position": position_row(account, account.position("linear", "BTCUSDT")),
        "wallet": wallet_row(account, ["USDT"]),
        "greeks": greeks_row(account, "BTC"),
        "strategy": {
            "strategyId": "s-1", "category": "UTA_USDT", "symbol": "BTCUSDT",
            "updatedTimeE3": _NOW, "status": 2,
        },
        "dcp.future": {"state": "1"},
    }  # fmt: skip
    rows["order.linear"] = rows["order"]
    rows["execution.linear"] = rows["execution"]
    rows["execution.fast.linear"] = rows["execution.fast"]
    rows["position.linear"] = rows["position"]
    rows["spread.order"] = rows["order"] | {"category": "combination"}
    rows["spread.execution"] = rows["execution"] | {"category": "future_leg"}
    for name, row in rows.items():
        frame = {"topic": name, "id": "x", "creationTime": _NOW, "data": [row, row]}
        yield Seed(json.dumps(frame).encode(), parse_topic(name, None))


def _control() -> Iterator[Seed]:
    topics = {
        "linear": parse_topic("tickers.BTCUSDT", Category.LINEAR),
        "option": parse_topic("publicTrade.BTC", Category.OPTION),
        "private": build_topic(Channel.ORDER),
    }
    for kind, topic in topics.items():
        frames = [
            wire.pong(kind, "c", "1", _NOW),
            wire.command_ack(kind, "c", "1", "subscribe"),
            wire.command_response("c", [topic.name], []),
            wire.command_response("c", [], [topic.name]),
            wire.refusal(kind, "c", "1", "subscribe", wire.handler_not_found(topic.name)),
            wire.private_reply("c", "1", success=True, ret_msg="", op="auth"),
        ]
        yield from (Seed(json.dumps(frame).encode(), topic) for frame in frames)


def _recorded() -> Iterator[Seed]:
    for path in sorted(_FIXTURES.glob("p*/**/*.json")):
        raw = path.read_bytes()
        place = path.parent.name
        try:
            name = str(json.loads(raw).get("topic"))
            topic = parse_topic(name, Category(place) if place in set(Category) else None)
        except Rejected:
            continue
        if len(raw) <= _LARGEST:
            yield Seed(raw, topic)
