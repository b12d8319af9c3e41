"""Answers of the real REST, and those of its documentation, read as the gateway reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.http_stage import answer, answering
from support.needs import needing
from ws_gateway.domain.category import detect_category
from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.maintenance import read_notice
from ws_gateway.venue.market_past import MarketPast
from ws_gateway.venue.rest import BybitRest, RestRefused
from ws_gateway.venue_hosts import BybitEnvironment

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FIXTURES = SHARED / "fixtures"

pytestmark = [
    pytest.mark.conformance,
    needing("frames", is_here=FIXTURES.is_dir(), why=f"the recorded answers are not in {SHARED}"),
]


def text_of(path: Path) -> str:
    """Read a fixture."""
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("rest/instruments-info.*.json")), ids=lambda path: path.stem
)
async def test_every_list_is_read(path: Path) -> None:
    """Each row of each category has a symbol, and the shapes know the category of nearly all."""
    body = json.loads(text_of(path))
    body["result"]["nextPageCursor"] = ""  # one page was kept
    category = Category(path.name.split(".")[1])
    async with answering(answer(json.dumps(body))) as stage, BybitRest(stage.url) as rest:
        rows = await rest.instruments(category)
    assert [row.symbol for row in rows] == [row["symbol"] for row in body["result"]["list"]]
    assert all(row.base_coin for row in rows)
    for row in rows:
        assert detect_category(row.symbol, category).category is category


async def test_the_time_is_read() -> None:
    """Nanoseconds in a text become ms."""
    path = FIXTURES / "rest" / "market-time.doc.json"
    async with answering(answer(text_of(path))) as stage, BybitRest(stage.url) as rest:
        nano = json.loads(text_of(path))["result"]["timeNano"]
        assert await rest.server_time_ms() == int(nano) // 1_000_000


async def test_documented_trades_fill_a_gap() -> None:
    """The one of the documentation comes as the stream tells trades."""
    path = FIXTURES / "rest" / "recent-trade.spot.doc.json"
    row = json.loads(text_of(path))["result"]["list"][0]
    topic = build_topic(Channel.TRADES, category=Category.SPOT, symbol="BTCUSDT")
    last, first = (
        _told(topic, [{"i": name, "T": int(row["time"]) + step, "seq": int(row["seq"]) + step}])
        for name, step in (("before", -1), ("after", 1))
    )
    async with (
        answering(answer(text_of(path)), answer(text_of(path)), answer(text_of(path))) as (stage),
        BybitRest(stage.url) as rest,
    ):
        past = MarketPast(rest, clock_us=lambda: 1, new_trace_id=lambda: "a" * 32)
        missed = await past.between(last, first)
    (fact,) = missed.facts
    assert json.loads(fact.payload) == [
        {
            "T": 1672052955758, "s": "BTCUSDT", "S": "Buy", "v": "0.00012", "p": "16618.49",
            "i": "2100000000007764263", "BT": False, "RPI": True, "seq": 123456,
        }
    ]  # fmt: skip
    assert missed.is_behind  # it does not know the trade after the gap


async def test_documented_candles_fill_a_gap() -> None:
    """Those before the newest come closed, oldest first, with the ends that the next begin at."""
    path = FIXTURES / "rest" / "kline.inverse.doc.json"
    rows = json.loads(text_of(path))["result"]["list"][::-1]
    topic = build_topic(Channel.KLINE, category=Category.INVERSE, symbol="BTCUSD", interval="60")
    last, first = (_told(topic, [{"start": int(rows[n][0]), "confirm": False}]) for n in (0, -1))
    async with answering(answer(text_of(path))) as stage, BybitRest(stage.url) as rest:
        past = MarketPast(rest, clock_us=lambda: 1, new_trace_id=lambda: "a" * 32)
        missed = await past.between(last, first)
    candles = [json.loads(fact.payload)[0] for fact in missed.facts]
    assert [(one["start"], one["end"], one["close"], one["confirm"]) for one in candles] == [
        (1670601600000, 1670605199999, "17071.5", True),
        (1670605200000, 1670608799999, "17071", True),
    ]
    assert missed.lacking == ""


def _told(topic: Topic, rows: list[dict[str, object]]) -> Observation:
    return Observation(
        topic, Kind.UPDATE, "x", topic.category, topic.symbol,
        1, None, 1, "0" * 32, None, json.dumps(rows).encode(),
    )  # fmt: skip


async def test_the_echo_of_a_wrong_signature_is_cut_out() -> None:
    """10004 repeats what was signed, with the key in it."""
    body = text_of(FIXTURES / "rest" / "error.10004.sign.2023-testnet.json")
    key = "dBW7d0xxu8cbXUl5vq"
    assert key in body
    async with answering(answer(body)) as stage, BybitRest(stage.url) as rest:
        with pytest.raises(RestRefused) as caught:
            await rest.key_information(Credentials("another", "secret"), 0)
    assert caught.value.ret_code == 10004
    assert key not in str(caught.value)
    assert "error sign" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        *sorted(FIXTURES.glob("rest/system-status.*.json")),
        *sorted(FIXTURES.glob("public/misc-status/system.status.*.json")),
    ],
    ids=lambda path: path.parent.name,
)
def test_every_notice_is_read(path: Path) -> None:
    """Rows of REST and of the stream are of one shape; each concerns one environment."""
    body = json.loads(path.read_text())
    rows = body["data"] if "data" in body else body["result"]["list"]
    assert rows
    for row in rows:
        of = [read_notice(row, each) for each in (BybitEnvironment.MAINNET, BybitEnvironment.DEMO)]
        (notice, *_) = [each for each in of if each is not None]
        assert notice.id == row["id"]
        assert notice.begins_at is not None
        assert notice.ends_at is not None
        assert notice.begins_at <= notice.ends_at
