"""Faults of answers, logins and the clock, by name, over real sockets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from bybit_sim import Simulator, Texts
from bybit_sim.signing import sign, websocket_text
from support.sim_client import (
    KEY,
    LINEAR,
    OPTION,
    PRIVATE,
    SECRET,
    SPOT,
    Client,
    client_of,
    running,
)

BOOK = "orderbook.50.BTCUSDT"
OPTION_BOOK = "orderbook.25.XRP-30OCT26-0.4-P-USDT"


async def wallet(sim: Simulator, now_ms: int) -> dict[str, Any]:
    """Read the wallet by a signed REST call."""
    query = "accountType=UNIFIED"
    headers = {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": str(now_ms),
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": sign(SECRET, f"{now_ms}{KEY}5000{query}"),
    }
    async with httpx.AsyncClient() as http:
        url = f"{sim.rest_url}/v5/account/wallet-balance?{query}"
        answer: dict[str, Any] = (await http.get(url, headers=headers)).json()
    return answer


async def test_missing_pongs() -> None:
    """`missing_pongs` leaves pings of a path unanswered, so often as told."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, SPOT) as other,
    ):
        fault = await sim.fault("missing_pongs", path=LINEAR, count=2)
        for number in range(3):
            await client.send(op="ping", req_id=str(number))
        await other.send(op="ping", req_id="x")
        assert (await client.frame())["req_id"] == "2"
        assert (await other.frame())["req_id"] == "x"
        assert (fault.hits, fault.is_active) == (2, False)


async def test_missing_acks() -> None:
    """`missing_acks` carries out without a word."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await sim.fault("missing_acks", count=1)
        await client.send(op="subscribe", args=[BOOK], req_id="a")
        assert (await client.frame())["topic"] == BOOK
        assert (await client.subscribe("tickers.BTCUSDT", req_id="b"))["req_id"] == "b"


async def test_late_acks() -> None:
    """`late_acks` lets data come before the ack, which comes after the delay."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        fault = await sim.fault("late_acks", delay_seconds=0.3)
        begun = time.monotonic()
        await client.send(op="subscribe", args=[BOOK], req_id="a")
        assert (await client.frame())["topic"] == BOOK
        assert (await client.reply())["req_id"] == "a"
        assert time.monotonic() - begun >= 0.3
        assert (fault.hits, fault.is_active) == (1, True)


async def test_refused_acks() -> None:
    """`refused_acks` refuses in given words and carries nothing out."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await sim.fault("refused_acks", text="error:busy", count=1)
        refusal = await client.subscribe(BOOK, req_id="a")
        assert (refusal["success"], refusal["ret_msg"]) == (False, "error:busy")
        assert not sim.connections[0].topics
        assert (await client.subscribe(BOOK))["success"] is True


async def test_refused_acks_on_options() -> None:
    """On option sockets a refusal lists every topic as failed."""
    async with running() as sim, client_of(sim, OPTION) as client:
        await sim.fault("refused_acks", count=1)
        refusal = await client.subscribe(OPTION_BOOK)
        assert refusal["data"] == {"failTopics": [OPTION_BOOK], "successTopics": []}
        assert not sim.connections[0].topics


async def test_args_size() -> None:
    """`args_size` refuses long requests on spot unless told another path."""
    topics = [f"kline.{interval}.BTCUSDT" for interval in (1, 3, 5)]
    async with (
        running() as sim,
        client_of(sim, SPOT) as client,
        client_of(sim, LINEAR) as other,
    ):
        await sim.fault("args_size", most=2)
        assert (await client.subscribe(*topics))["ret_msg"] == "args size >2"
        assert (await client.subscribe(*topics[:2]))["success"] is True
        assert (await other.subscribe(*topics))["success"] is True
        sim.clear_faults()
        assert (await client.subscribe(topics[2]))["success"] is True


async def test_handler_not_found() -> None:
    """`handler_not_found` refuses requests with the topic; what runs goes on."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, LINEAR) as late,
    ):
        await client.subscribe(BOOK)
        await sim.fault("handler_not_found", topic=BOOK, path=LINEAR)
        refusal = await late.subscribe("tickers.BTCUSDT", BOOK)
        assert refusal["ret_msg"] == f"error:handler not found,topic:{BOOK}"
        assert (await late.subscribe("tickers.BTCUSDT"))["success"] is True
        await client.topic(BOOK, "delta")
        sim.clear_faults("handler_not_found")
        assert (await late.subscribe(BOOK))["success"] is True


async def test_handler_not_found_on_options() -> None:
    """Option sockets acknowledge a topic that is gone, and send nothing."""
    other = "orderbook.25.BTC-25JUN27-106000-P-USDT"
    async with running() as sim, client_of(sim, OPTION) as client:
        await sim.fault("handler_not_found", topic=OPTION_BOOK)
        ack = await client.subscribe(OPTION_BOOK, other)
        assert ack["data"]["successTopics"] == [OPTION_BOOK, other]
        assert {(await client.frame())["topic"] for _ in range(10)} == {other}


@pytest.mark.parametrize(
    ("reason", "text", "code"),
    [
        ("expired", "Params Error", 10002),
        ("wrong_key", "k", 10003),
        ("wrong_signature", "s", 10004),
        ("wrong_environment", "e", 10003),
        ("expired_key", "x", 33004),
        ("ip_not_allowed", "i", 10010),
    ],
)
async def test_login_refused(reason: str, text: str, code: int) -> None:
    """`login_refused` refuses a right login in the configured words, and REST with its code."""
    texts = Texts(
        invalid_key="k",
        invalid_signature="s",
        wrong_environment="e",
        expired_key="x",
        ip_not_allowed="i",
    )
    async with running(texts=texts) as sim, client_of(sim, PRIVATE) as client:
        await sim.fault("login_refused", reason=reason, count=1)
        assert (await wallet(sim, sim.now_ms()))["retCode"] == code
        refusal = await client.log_in(sim)
        assert (refusal["op"], refusal["success"], refusal["ret_msg"]) == ("auth", False, text)
        assert (await client.log_in(sim))["success"] is True
        assert (await wallet(sim, sim.now_ms()))["retCode"] == 0


async def log_in_at(client: Client, expires: int) -> bool:
    """Log in with an expiry and return whether it worked."""
    await client.send(op="auth", args=[KEY, expires, sign(SECRET, websocket_text(expires))])
    return bool((await client.reply())["success"])


@pytest.mark.parametrize("by", [60.0, -60.0])
async def test_clock_skew(by: float) -> None:
    """`clock_skew` moves logins, stamps, pongs and REST together, and moves back."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, PRIVATE) as private,
    ):
        await client.subscribe(BOOK)
        await sim.fault("clock_skew", by_seconds=by)
        now = int(time.time() * 1000)
        assert await log_in_at(private, now + 10_000) is (by < 0)
        assert await log_in_at(private, now + int(by * 1000) + 10_000)
        frame = await client.until(lambda each: abs(each["ts"] - now - by * 1000) < 2_000)
        assert abs(frame["cts"] - now - by * 1000) < 2_000
        await private.send(op="ping")
        assert abs(int((await private.reply())["args"][0]) - now - by * 1000) < 2_000
        async with httpx.AsyncClient() as http:
            answer = (await http.get(f"{sim.rest_url}/v5/market/time")).json()
        assert abs(answer["time"] - now - by * 1000) < 2_000
        assert abs(int(answer["result"]["timeNano"]) // 10**6 - now - by * 1000) < 2_000
        assert (await wallet(sim, now))["retCode"] == 10002
        sim.clear_faults("clock_skew")
        await client.until(lambda each: abs(each["ts"] - now) < 20_000)
        assert (await wallet(sim, sim.now_ms()))["retCode"] == 0


async def test_a_clock_gone_back_does_not_stop_the_market() -> None:
    """Frames keep their pace however far the clock jumps."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK, "allLiquidation.BTCUSDT", "orderbook.1.ETHUSDT")
        await sim.fault("clock_skew", by_seconds=-3600)
        async with asyncio.timeout(30):
            for _ in range(20):
                await client.topic(BOOK, "delta")


async def test_the_same_switch_twice_is_one_fault() -> None:
    """The plain handles begin and end the faults of the registry."""
    async with running() as sim:
        sim.silence_pongs = sim.silence_pongs = True
        sim.silence_acks = True
        sim.refuse_handshakes = 418
        names = [fault.name for fault in sim.faults.active]
        assert names == ["missing_pongs", "missing_acks", "refuse_handshake"]
        assert (sim.silence_pongs, sim.silence_acks, sim.refuse_handshakes) == (True, True, 418)
        sim.silence_pongs = sim.silence_acks = False
        sim.refuse_handshakes = None
        assert sim.faults.active == []
        assert sim.refuse_handshakes is None
