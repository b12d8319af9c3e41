"""The private socket: login, topics, the choreography of orders, and REST beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest

from bybit_sim import Simulator, SimulatorError, Texts
from bybit_sim.account import Account
from bybit_sim.instruments import listing
from bybit_sim.market import Market
from bybit_sim.signing import sign, websocket_text
from support.sim_client import KEY, PRIVATE, SECRET, Client, client_of, eventually, running

ALL = ("order", "execution", "execution.fast", "position", "wallet")


async def rest(
    sim: Simulator, target: str, *, signed: bool = False, secret: str = SECRET, **changes: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """GET a target, signed on request; return status, headers and body."""
    lines = [f"GET {target} HTTP/1.1", "Host: localhost"]
    if signed:
        stamp, query = str(sim.now_ms()), target.partition("?")[2]
        headers = {
            "X-BAPI-API-KEY": KEY,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": sign(secret, f"{stamp}{KEY}5000{query}"),
        } | {f"X-BAPI-{name.replace('_', '-')}": text for name, text in changes.items()}
        lines += [f"{name}: {text}" for name, text in headers.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(30):
        raw = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *rows = head.decode().split("\r\n")
    pairs = dict(row.split(": ", 1) for row in rows)
    parsed = json.loads(body) if pairs["Content-Type"].startswith("application/json") else {}
    return int(status.split()[1]), pairs, parsed


async def test_login_and_subscribe() -> None:
    """A right signature is accepted and repeated req_ids come first."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        expires = str(sim.now_ms() + 5_000)
        signature = sign(SECRET, websocket_text(expires))
        await client.send(req_id="10001", op="auth", args=[KEY, expires, signature])
        reply = await client.frame()
        assert list(reply) == ["req_id", "success", "ret_msg", "op", "conn_id"]
        assert (reply["req_id"], reply["success"], reply["ret_msg"]) == ("10001", True, "")
        ack = await client.subscribe(*ALL)
        assert list(ack) == ["success", "ret_msg", "op", "conn_id"]
        assert sim.connections[0].is_authenticated


@pytest.mark.parametrize(
    ("key", "secret", "ahead_ms", "text"),
    [
        (KEY, SECRET, -1, "Params Error"),
        ("other", SECRET, 5_000, "API key is invalid."),
        (KEY, "other", 5_000, "my words"),
    ],
)
async def test_refused_logins(key: str, secret: str, ahead_ms: int, text: str) -> None:
    """Old expires, unknown key and wrong signature are refused; the socket stays open."""
    async with (
        running(texts=Texts(invalid_signature="my words")) as sim,
        client_of(sim, PRIVATE) as client,
    ):
        expires = sim.now_ms() + ahead_ms
        await client.send(op="auth", args=[key, expires, sign(secret, websocket_text(expires))])
        reply = await client.frame()
        assert (reply["success"], reply["ret_msg"], reply["op"]) == (False, text, "auth")
        refusal = await client.subscribe("order")
        assert (refusal["success"], refusal["ret_msg"]) == (False, "Request not authorized")
        await client.log_in(sim)
        assert (await client.subscribe("order"))["success"] is True


@pytest.mark.parametrize(
    ("topics", "text"),
    [
        (["order", "nope"], "error:handler not found,topic:nope"),
        (["position.spot"], "error:handler not found,topic:position.spot"),
        (["order", "order.linear"], "error:mixed topics,topic:order.linear"),
    ],
)
async def test_private_refusals(topics: list[str], text: str) -> None:
    """Unknown topics and mixed forms refuse the whole request."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        assert (await client.subscribe(*topics))["ret_msg"] == text
        assert not sim.connections[0].topics


async def frames_of_an_order(client: Client, count: int) -> list[dict[str, Any]]:
    """Read so many private frames."""
    return [await client.frame() for _ in range(count)]


async def test_choreography_of_a_fill() -> None:
    """New, unchanged position and wallet; then the fast execution, order, execution, results.

    The clock moves by being looked at, so that a busy machine cannot push the times together.
    """
    began, looks = time.time(), itertools.count()
    async with (
        running(clock=lambda: began + next(looks) * 2e-5) as sim,
        client_of(sim, PRIVATE) as client,
    ):
        await client.log_in(sim)
        await client.subscribe(*ALL)
        order = sim.place_market_order("BTCUSDT", "Buy", "0.003", link_id="mine")
        frames = await frames_of_an_order(client, 8)
        assert [frame["topic"] for frame in frames] == [
            "order", "position", "wallet",
            "execution.fast", "order", "execution", "position", "wallet",
        ]  # fmt: skip
        new, before, _, fast, filled, execution, after, wallet = frames
        assert new["data"][0]["orderStatus"] == "New"
        assert new["data"][0]["avgPrice"] == ""
        assert (before["data"][0]["size"], before["data"][0]["side"]) == ("0", "")
        assert filled["data"][0]["orderStatus"] == "Filled" == order.status
        row = execution["data"][0]
        assert row["execId"] == fast["data"][0]["execId"]
        assert row["seq"] == fast["data"][0]["seq"] == after["data"][0]["seq"]
        assert filled["id"] == execution["id"] == f"100000001_BTCUSDT_{row['seq']}"
        assert (after["data"][0]["size"], after["data"][0]["side"]) == ("0.003", "Buy")
        assert after["data"][0]["entryPrice"] == row["execPrice"]
        fee = Decimal(row["execFee"])
        assert fee == Decimal(row["execValue"]) * Decimal("0.00055")
        assert Decimal(wallet["data"][0]["coin"][0]["walletBalance"]) == 100_000 - fee
        assert filled["creationTime"] - fast["creationTime"] >= 3  # 4 ms, told in whole ones
        assert after["creationTime"] - filled["creationTime"] >= 1


async def test_private_frame_shapes() -> None:
    """Envelope keys, ids and row keys are those of current recordings."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe(*ALL)
        sim.place_market_order("BTCUSDT", "Sell", "0.003")
        frames = {frame["topic"]: frame for frame in await frames_of_an_order(client, 8)}
        assert list(frames["order"]) == ["topic", "id", "creationTime", "data"]
        assert list(frames["execution"]) == ["topic", "id", "creationTime", "data"]
        assert list(frames["execution.fast"]) == ["topic", "creationTime", "data"]
        assert list(frames["position"]) == ["id", "topic", "creationTime", "data"]
        assert list(frames["wallet"]) == ["id", "topic", "creationTime", "data"]
        assert re.fullmatch(r"100000001_position_\d{13}", frames["position"]["id"])
        assert re.fullmatch(r"100000001_wallet_\d{13}", frames["wallet"]["id"])
        assert list(frames["execution.fast"]["data"][0]) == [
            "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker",
            "orderLinkId", "side", "execTime", "seq",
        ]  # fmt: skip
        assert list(frames["order"]["data"][0])[:9] == [
            "category", "symbol", "orderId", "orderLinkId", "blockTradeId", "side",
            "positionIdx", "orderStatus", "cancelType",
        ]  # fmt: skip
        assert frames["order"]["data"][0]["positionIdx"] == 0
        assert frames["order"]["data"][0]["closeOnTrigger"] is False
        assert frames["position"]["data"][0]["breakEvenPrice"] != ""
        coin = frames["wallet"]["data"][0]["coin"][0]
        assert (coin["coin"], coin["availableToWithdraw"]) == ("USDT", "")
        assert coin["marginCollateral"] is True


async def test_categorised_topics_hear_their_category_only() -> None:
    """A frame's topic is the form that was subscribed, and other categories stay silent."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order.linear", "execution.fast.inverse")
        sim.place_market_order("BTCUSD", "Buy", "10", category="inverse")
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        frames = await frames_of_an_order(client, 3)
        assert sorted(frame["topic"] for frame in frames) == [
            "execution.fast.inverse", "order.linear", "order.linear",
        ]  # fmt: skip


async def test_several_fills_travel_in_one_execution_frame() -> None:
    """An order filled in parts sends one fast frame each and one execution frame for all."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("execution", "execution.fast")
        sim.place_market_order("BTCUSDT", "Buy", "0.005", fills=2)
        first, second, both = await frames_of_an_order(client, 3)
        assert [frame["topic"] for frame in (first, second, both)] == [
            "execution.fast", "execution.fast", "execution",
        ]  # fmt: skip
        assert [row["leavesQty"] for row in both["data"]] == ["0.003", "0"]
        assert sum(Decimal(row["execQty"]) for row in both["data"]) == Decimal("0.005")


async def test_spot_fill_pays_its_fee_in_what_it_receives() -> None:
    """A spot buy has no position, pays in base coin and moves two coins of the wallet."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("execution", "position", "wallet")
        sim.place_market_order("BTCUSDT", "Buy", "0.01", category="spot")
        _, execution, wallet = await frames_of_an_order(client, 3)
        row = execution["data"][0]
        assert (row["feeCurrency"], row["execFee"]) == ("BTC", "0.00001")
        assert row["execId"].isdigit()
        assert "createType" not in row
        coins = {coin["coin"]: coin for coin in wallet["data"][0]["coin"]}
        assert set(coins) == {"BTC", "USDT"}
        assert coins["BTC"]["walletBalance"] == "2.00999"
        assert Decimal(coins["USDT"]["walletBalance"]) == 100_000 - Decimal(row["execValue"])


async def test_option_fill_tells_greeks() -> None:
    """Options have greeks on the position and on a topic of their own."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("position.option", "greeks")
        sim.place_market_order("BTC-25JUN27-106000-C-USDT", "Buy", "1", category="option")
        frames = await frames_of_an_order(client, 4)
        assert frames[-1]["topic"] == "greeks"
        assert frames[-1]["data"][0]["baseCoin"] == "BTC"
        assert frames[-1]["data"][0]["totalDelta"] == "0.5"
        assert frames[-2]["data"][0]["delta"] == "0.5"


async def test_background_trader_makes_private_news() -> None:
    """With a trader configured, orders appear by themselves."""
    async with running(trade_every_seconds=0.05) as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order", "wallet")
        symbols = {(await client.topic("order"))["data"][0]["symbol"] for _ in range(8)}
        assert len(symbols) >= 3


def test_the_account_adds_up() -> None:
    """Size is the sum of fills, and the wallet is what it was plus all that was booked."""
    market = Market(listing(), 7)
    account = Account(market, 7)
    size = booked = Decimal(0)
    for number, (side, qty) in enumerate(
        [("Buy", "3"), ("Buy", "1"), ("Sell", "2"), ("Sell", "5"), ("Buy", "3")]
    ):
        market.symbol("linear", "ETHUSDT").tick(number)
        order = account.place("linear", "ETHUSDT", side, Decimal(qty), link_id="", now_ms=number)
        fill = account.fill(order, order.qty, number)
        size += fill.qty if side == "Buy" else -fill.qty
        booked += fill.pnl - fill.fee
        assert account.position("linear", "ETHUSDT").size == size
    position = account.position("linear", "ETHUSDT")
    assert position.side == ""
    assert position.entry == position.size == 0
    assert position.realised == booked
    assert account.balance("USDT").wallet == 100_000 + booked
    assert account.order_margin("USDT") == 0


def test_inverse_entry_is_the_harmonic_mean() -> None:
    """Two inverse fills average so that their coin values add up."""
    market = Market(listing(), 7)
    account = Account(market, 7)
    source = market.symbol("inverse", "BTCUSD")
    fills = []
    for number in range(2):
        for step in range(200):
            source.tick(step)
        order = account.place("inverse", "BTCUSD", "Buy", Decimal(100), link_id="", now_ms=number)
        fills.append(account.fill(order, order.qty, number))
    entry = account.position("inverse", "BTCUSD").entry
    coin = 100 / fills[0].price + 100 / fills[1].price
    assert abs(200 / entry - coin) < Decimal("1e-20")


@pytest.mark.parametrize(
    ("symbol", "side", "qty", "category"),
    [
        ("NOPEUSDT", "Buy", "1", "linear"),
        ("SOLUSDT_SOL/USDT", "Buy", "1", "spread"),
        ("BTCUSDT", "Hold", "1", "linear"),
        ("BTCUSDT", "Buy", "0", "linear"),
        ("BTCUSDT", "Buy", "NaN", "linear"),
    ],
)
async def test_senseless_orders(symbol: str, side: str, qty: str, category: str) -> None:
    """An order that makes no sense is refused with a sentence."""
    async with running() as sim:
        with pytest.raises(SimulatorError):
            sim.place_market_order(symbol, side, qty, category=category)


async def test_rest_time() -> None:
    """Server time comes in seconds and nanoseconds, as texts."""
    async with running(clock=lambda: 1688639403.5) as sim:
        status, headers, body = await rest(sim, "/v5/market/time")
        assert status == 200
        assert headers["Connection"] == "close"
        assert body == {
            "retCode": 0,
            "retMsg": "OK",
            "result": {"timeSecond": "1688639403", "timeNano": "1688639403500000000"},
            "retExtInfo": {},
            "time": 1688639403500,
        }


async def test_rest_instruments_are_paged() -> None:
    """The cursor is handed out percent-encoded and leads through all symbols once."""
    async with running(symbols=4) as sim:
        seen: list[str] = []
        cursor = ""
        for _ in range(10):
            target = f"/v5/market/instruments-info?category=linear&limit=3&cursor={cursor}"
            _, _, body = await rest(sim, target)
            seen += [row["symbol"] for row in body["result"]["list"]]
            cursor = body["result"]["nextPageCursor"]
            if not cursor:
                break
            assert unquote(cursor).startswith("first=")
        assert seen == sorted(seen)
        assert len(seen) == len(set(seen)) == 10
        _, _, again = await rest(
            sim, "/v5/market/instruments-info?category=linear&limit=3&cursor=first%253DA%2526last"
        )
        assert again["result"]["list"][0]["symbol"] == seen[0]


@pytest.mark.parametrize(
    ("query", "symbols", "keys"),
    [
        ("category=spot", ["BTCUSDT", "ETHUSDT", "SOLUSDT"], {"category", "list"}),
        ("category=inverse", ["BTCUSD", "BTCUSDZ26", "ETHUSD"],
         {"category", "list", "nextPageCursor"}),
        ("category=option&baseCoin=XRP", ["XRP-30OCT26-0.4-P-USDT"],
         {"category", "list", "nextPageCursor"}),
        ("category=linear&symbol=BTCPERP", ["BTCPERP"], {"category", "list", "nextPageCursor"}),
    ],
)  # fmt: skip
async def test_rest_instruments(query: str, symbols: list[str], keys: set[str]) -> None:
    """Categories and filters choose; spot has no cursor."""
    async with running() as sim:
        _, _, body = await rest(sim, f"/v5/market/instruments-info?{query}")
        assert [row["symbol"] for row in body["result"]["list"]] == symbols
        assert set(body["result"]) == keys


async def test_rest_lists_spreads_on_a_path_of_their_own() -> None:
    """Spreads come in pages of at most 500."""
    async with running() as sim:
        _, _, body = await rest(sim, "/v5/spread/instrument?limit=1")
        result = body["result"]
        (first,) = result["list"]
        _, _, body = await rest(
            sim, f"/v5/spread/instrument?limit=1&cursor={result['nextPageCursor']}"
        )
        (second,) = body["result"]["list"]
        assert {first["symbol"], second["symbol"]} == {"SOLUSDT_SOL/USDT", "BTCUSDT_BTC/USDT"}
        assert body["result"]["nextPageCursor"] == ""
        assert (await rest(sim, "/v5/spread/instrument?limit=501"))[2]["retCode"] == 10001


async def test_rest_tells_of_the_key_that_asks() -> None:
    """A good key is known, without its secret; the call is signed like every private one."""
    async with running() as sim:
        _, _, body = await rest(sim, "/v5/user/query-api")
        assert body["retCode"] == 10003
        _, _, body = await rest(sim, "/v5/user/query-api", signed=True)
        assert (body["retCode"], body["result"]["apiKey"]) == (0, KEY)
        assert body["result"]["secret"] == ""


async def test_a_key_that_lacks_a_permission_is_known_and_refused_where_it_lacks_it() -> None:
    """Lists answer 10005; the key itself may always be asked about."""
    async with running() as sim:
        sim.party().terms.grant({"ContractTrade": ("Order",)})
        _, _, body = await rest(sim, "/v5/user/query-api", signed=True)
        assert body["result"]["permissions"]["ContractTrade"] == ["Order"]
        assert body["result"]["permissions"]["Spot"] == []
        for path, code in (
            ("/v5/order/realtime?category=linear&settleCoin=USDT", 0),
            ("/v5/position/list?category=linear&settleCoin=USDT", 10005),
            ("/v5/order/history?category=spot", 10005),
            ("/v5/account/wallet-balance?accountType=UNIFIED", 0),
        ):
            assert (await rest(sim, path, signed=True))[2]["retCode"] == code, path
        with pytest.raises(SimulatorError, match="no product 'Futures'"):
            sim.party().terms.grant({"Futures": ()})


async def test_a_key_past_its_end_gets_no_answer_and_no_login() -> None:
    """Before its end Bybit tells of it; one that is bound to an address has none."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        terms = sim.party().terms
        _, _, body = await rest(sim, "/v5/user/query-api", signed=True)
        assert body["result"]["expiredAt"] == "1970-01-01T00:00:00Z"
        terms.expires_at = sim.now_ms() / 1000 + 3 * 86_400 + 60
        _, _, body = await rest(sim, "/v5/user/query-api", signed=True)
        assert body["result"]["deadlineDay"] == 3
        terms.expires_at = sim.now_ms() / 1000 - 1
        _, _, body = await rest(sim, "/v5/user/query-api", signed=True)
        assert body["retCode"] == 33004
        reply = await client.log_in(sim)
        assert (reply["success"], reply["ret_msg"]) == (False, "Your api key has expired.")


async def test_rest_shows_what_the_stream_told() -> None:
    """Position and wallet over REST equal the last frames, with REST's names."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("position", "wallet")
        sim.place_market_order("ETHUSDT", "Buy", "1.5")
        _, _, position, wallet = await frames_of_an_order(client, 4)
        _, headers, listed = await rest(
            sim, "/v5/position/list?category=linear&settleCoin=USDT", signed=True
        )
        _, _, balances = await rest(
            sim, "/v5/account/wallet-balance?accountType=UNIFIED&coin=USDT,DOGE", signed=True
        )
        told, row = position["data"][0], listed["result"]["list"][0]
        assert row["avgPrice"] == told["entryPrice"]
        assert "category" not in row
        assert {key: row[key] for key in ("symbol", "side", "size", "seq", "cumRealisedPnl")} == {
            key: told[key] for key in ("symbol", "side", "size", "seq", "cumRealisedPnl")
        }
        usdt, doge = balances["result"]["list"][0]["coin"]
        assert usdt["walletBalance"] == wallet["data"][0]["coin"][0]["walletBalance"]
        assert (doge["coin"], doge["walletBalance"], doge["equity"]) == ("DOGE", "", "")
        assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("50", "49")


async def test_rest_flat_position_by_symbol() -> None:
    """Asked by symbol, a flat position is a row; asked by coin, it is not."""
    async with running() as sim:
        _, _, one = await rest(sim, "/v5/position/list?category=linear&symbol=BTCUSDT", signed=True)
        _, _, none = await rest(
            sim, "/v5/position/list?category=linear&settleCoin=USDT", signed=True
        )
        row = one["result"]["list"][0]
        assert (row["side"], row["size"], row["seq"], row["liqPrice"]) == ("", "0", -1, "0")
        assert none["result"] == {"list": [], "nextPageCursor": "", "category": "linear"}


async def test_rest_refusals() -> None:
    """Wrong signature, time, key, parameters and path answer with their codes."""
    wallet = "/v5/account/wallet-balance?accountType=UNIFIED"
    async with running() as sim:
        assert (await rest(sim, wallet))[0] == 401
        assert (await rest(sim, wallet, signed=True, secret="x"))[2]["retCode"] == 10004
        assert (await rest(sim, wallet, signed=True, TIMESTAMP="1"))[2]["retCode"] == 10002
        assert (await rest(sim, wallet, signed=True, API_KEY="x"))[2]["retCode"] == 10003
        bare = await rest(sim, "/v5/account/wallet-balance", signed=True)
        assert bare[2]["retCode"] == 10001
        illegal = await rest(sim, "/v5/market/instruments-info?category=nope")
        assert (illegal[2]["retCode"], illegal[2]["retMsg"]) == (10001, "Illegal category")
        assert (await rest(sim, "/v5/market/nope"))[0] == 404


async def test_rest_rate_limit() -> None:
    """Above the per-second limit the answer is 10006 with a reset time in the future."""
    async with running(rest_requests_per_second=1, clock=lambda: 1700000000.25) as sim:
        target = "/v5/account/wallet-balance?accountType=UNIFIED"
        assert (await rest(sim, target, signed=True))[2]["retCode"] == 0
        _, headers, body = await rest(sim, target, signed=True)
        assert (body["retCode"], body["retMsg"]) == (10006, "Too many visits!")
        assert headers["X-Bapi-Limit-Status"] == "0"
        assert headers["X-Bapi-Limit-Reset-Timestamp"] == "1700000001000"


async def test_stalled_private_topic() -> None:
    """A private topic can be silenced too; what it would have said is lost."""
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order", "wallet")
        sim.stall("order")
        order = sim.place_market_order("BTCUSDT", "Buy", "0.001")
        assert [frame["topic"] for frame in await frames_of_an_order(client, 2)] == ["wallet"] * 2
        await eventually(lambda: order.status == "Filled")
