"""Public sockets, over real TCP: requests, snapshots, faults, limits."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket as sockets
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from support.sim_client import LINEAR, OPTION, PRIVATE, SPOT, Client, client_of, eventually, running

BOOK = "orderbook.50.BTCUSDT"


async def test_subscribe_acks_then_sends_a_snapshot_and_deltas() -> None:
    """The ack comes first, then a snapshot, then deltas whose u rises by one."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.send(req_id="a", op="subscribe", args=[BOOK])
        ack = await client.frame()
        assert list(ack) == ["success", "ret_msg", "conn_id", "req_id", "op"]
        frames = [await client.frame() for _ in range(6)]
        assert [frame["type"] for frame in frames] == ["snapshot"] + ["delta"] * 5
        first = frames[0]["data"]["u"]
        assert [frame["data"]["u"] for frame in frames] == list(range(first, first + 6))
        assert sim.connections[0].path == LINEAR
        assert list(sim.connections[0].topics) == [BOOK]


async def test_snapshot_may_precede_the_ack() -> None:
    """The order of ack and first snapshot can be turned round."""
    async with (
        running(ack_before_snapshot=False) as sim,
        client_of(sim, LINEAR) as client,
    ):
        await client.send(req_id="a", op="subscribe", args=[BOOK])
        assert (await client.frame())["type"] == "snapshot"
        assert (await client.reply())["req_id"] == "a"


async def test_frames_keep_the_push_interval() -> None:
    """However fast the market, depth 50 is pushed at most every 20 ms and depth 200 every 100."""
    async with running(rate=500.0) as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK, "orderbook.200.BTCUSDT")
        stamps: dict[str, list[int]] = {BOOK: [], "orderbook.200.BTCUSDT": []}
        while len(stamps["orderbook.200.BTCUSDT"]) < 5:
            frame = await client.frame()
            if frame["type"] == "delta":
                stamps[frame["topic"]].append(frame["ts"])
        for name, shortest in ((BOOK, 20), ("orderbook.200.BTCUSDT", 100)):
            steps = [b - a for a, b in zip(stamps[name], stamps[name][1:], strict=False)]
            assert min(steps) >= shortest - 1  # stamps are whole milliseconds


async def test_a_second_subscriber_shares_the_update_ids() -> None:
    """A later subscriber's snapshot continues with the delta everybody gets next."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as early,
        client_of(sim, LINEAR) as late,
    ):
        await early.subscribe(BOOK)
        await early.topic(BOOK, "delta")
        await late.subscribe(BOOK)
        snapshot = await late.topic(BOOK, "snapshot")
        following = await late.topic(BOOK, "delta")
        u = snapshot["data"]["u"]
        assert following["data"]["u"] == u + 1
        same = await early.until(
            lambda frame: frame.get("topic") == BOOK and frame["data"]["u"] == u + 1
        )
        assert same == following


async def test_resubscribe_gives_a_fresh_snapshot_with_the_present_u() -> None:
    """Leaving and coming back starts with a snapshot that continues the numbering."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        before = (await client.topic(BOOK, "delta"))["data"]["u"]
        await client.send(req_id="3", op="unsubscribe", args=[BOOK])
        ack = await client.reply()
        assert (ack["op"], ack["success"], ack["ret_msg"], ack["req_id"]) == (
            "unsubscribe", True, "", "3",
        )  # fmt: skip
        await client.subscribe(BOOK)
        assert (await client.frame())["type"] == "snapshot"
        assert (await client.topic(BOOK, "delta"))["data"]["u"] > before


@pytest.mark.parametrize(
    ("path", "topics", "text"),
    [
        (LINEAR, [BOOK, "nope.X", "orderbook.50.NOPEUSDT"],
         "error:handler not found,topic:nope.X"),
        (LINEAR, ["order"], "error:handler not found,topic:order"),
        (LINEAR, [BOOK, BOOK], f"error:already subscribed,topic:{BOOK}"),
        (SPOT, ["orderbook.50.NOTREALUSDT"], "Invalid symbol :[orderbook.50.NOTREALUSDT]"),
        (SPOT, ["nope.X"], "error:handler not found,topic:nope.X"),
        (SPOT, [f"kline.{interval}.BTCUSDT" for interval in
                (1, 3, 5, 15, 30, 60, 120, 240, 360, 720, "D")], "args size >10"),
        (LINEAR, ["x" * 21_001], "error:args length exceeds the limit"),
    ],
)  # fmt: skip
async def test_refusals_refuse_the_whole_request(path: str, topics: list[str], text: str) -> None:
    """One bad topic refuses all, names the first bad one, and nothing is subscribed."""
    async with running() as sim, client_of(sim, path) as client:
        refusal = await client.subscribe(*topics, req_id="e1")
        assert refusal["success"] is False
        assert refusal["ret_msg"] == text
        assert (refusal["req_id"], refusal["op"]) == ("e1", "subscribe")
        assert not sim.connections[0].topics


async def test_already_subscribed_keeps_delivering() -> None:
    """A repeated subscribe is refused and the running subscription goes on."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        refusal = await client.subscribe(BOOK, "tickers.BTCUSDT", req_id="e6")
        assert refusal["ret_msg"] == f"error:already subscribed,topic:{BOOK}"
        await client.topic(BOOK, "delta")
        assert list(sim.connections[0].topics) == [BOOK]


async def test_unknown_op_and_no_json_leave_the_socket_open() -> None:
    """Nonsense is answered, remembered in the request log, and the socket lives."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.send(op="nope", req_id="e7")
        assert (await client.reply())["ret_msg"] == "error:invalid op"
        await client.socket.send("hello")
        assert (await client.reply())["ret_msg"].startswith("Failed to decode incoming data")
        await client.socket.send(b"\xff\x00")
        assert (await client.reply())["success"] is False
        await client.send(op="ping")
        assert (await client.reply())["ret_msg"] == "pong"
        assert sim.requests[0] == (LINEAR, {"op": "nope", "req_id": "e7"})
        assert sim.requests[1] == (LINEAR, "hello")


async def test_option_acknowledges_what_does_not_exist() -> None:
    """Unsupported option topics are listed as successes and deliver nothing."""
    ghosts = ["orderbook.1.BTC-25JUN27-106000-P-USDT", "kline.1.NOPE"]
    real = "orderbook.25.XRP-30OCT26-0.4-P-USDT"
    async with running() as sim, client_of(sim, OPTION) as client:
        ack = await client.subscribe(*ghosts, real, req_id="x")
        assert list(ack) == ["success", "conn_id", "data", "type"]
        assert ack["data"] == {"failTopics": [], "successTopics": [*ghosts, real]}
        topics = {(await client.frame())["topic"] for _ in range(10)}
        assert topics == {real}


async def test_stalled_topic_is_silent_while_pongs_go_on() -> None:
    """A stall silences one topic only; afterwards u continues without a hole."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK, "orderbook.50.ETHUSDT")
        last = (await client.topic(BOOK, "delta"))["data"]["u"]
        sim.stall(BOOK)
        await client.send(op="ping", req_id="p")
        await client.reply()
        seen = [await client.frame() for _ in range(10)]
        assert {frame["topic"] for frame in seen} == {"orderbook.50.ETHUSDT"}
        sim.unstall(BOOK)
        following = await client.topic(BOOK)
        assert following["type"] == "delta"
        assert following["data"]["u"] <= last + 2  # one may have been under way at the stall


async def test_skipped_updates_make_a_hole() -> None:
    """Three lost frames show as u four higher than the last one."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        sim.skip_updates(LINEAR, BOOK, 3)
        numbers = [(await client.topic(BOOK))["data"]["u"] for _ in range(10)]
        steps = {b - a for a, b in itertools.pairwise(numbers)}
        assert steps == {1, 4}


async def test_restarted_book_begins_at_one() -> None:
    """A restart is a snapshot with u 1; deltas go on from there."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        await client.topic(BOOK, "snapshot")
        sim.restart_book(LINEAR, BOOK)
        restart = await client.topic(BOOK, "snapshot")
        assert restart["data"]["u"] == 1
        assert len(restart["data"]["b"]) == 50
        assert (await client.topic(BOOK, "delta"))["data"]["u"] == 2


async def test_silence_of_pongs_and_acks() -> None:
    """Switches silence answers; what was asked for still happens."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        sim.silence_pongs = sim.silence_acks = True
        await client.send(op="ping")
        await client.send(op="subscribe", args=[BOOK])
        assert (await client.frame())["topic"] == BOOK
        sim.silence_pongs = sim.silence_acks = False
        await client.send(op="ping")
        assert (await client.reply())["ret_msg"] == "pong"


async def test_injected_frames_arrive_as_given() -> None:
    """Raw text and binary reach all connections of one path only."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, SPOT) as other,
    ):
        await sim.inject(LINEAR, "{not json")
        await sim.inject(LINEAR, b"\x00\xff")
        assert await client.raw() == "{not json"
        assert await client.raw() == b"\x00\xff"
        await other.send(op="ping")
        assert (await other.frame())["ret_msg"] == "pong"


@pytest.mark.parametrize(("code", "seen"), [(None, 1006), (1012, 1012)])
async def test_dropped_connections(code: int | None, seen: int) -> None:
    """Without a code TCP is cut, with one a close frame is sent; other paths live on."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, SPOT) as other,
    ):
        await sim.drop_connections(LINEAR, code)
        with pytest.raises(ConnectionClosedError):
            await client.raw()
        assert client.socket.close_code == seen
        assert [each.path for each in sim.connections] == [SPOT]
        await other.send(op="ping")
        assert (await other.frame())["ret_msg"] == "pong"


async def refused(url: str) -> int:
    """Return the HTTP status of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url):
            pass
    return caught.value.response.status_code


async def test_handshake_refusals() -> None:
    """Unknown paths are 404, scripted refusals and the connection limit 403; all are counted."""
    async with running(connections_per_window=2) as sim:
        assert await refused(f"{sim.ws_url}/v5/trade") == 404
        sim.refuse_handshakes = 502
        assert await refused(sim.ws_url + LINEAR) == 502
        sim.refuse_handshakes = None
        async with client_of(sim, LINEAR), client_of(sim, PRIVATE):
            assert await refused(sim.ws_url + LINEAR) == 403
        assert sim.connection_attempts == 5


async def test_idle_connections_are_cut_without_a_close_frame() -> None:
    """Neither ping nor data for too long ends in 1006; data keeps a connection alive."""
    async with (
        running(idle_timeout_seconds=0.2, idle_scan_seconds=0.05) as sim,
        client_of(sim, LINEAR) as idle,
        client_of(sim, LINEAR) as fed,
    ):
        await fed.subscribe(BOOK)
        with pytest.raises(ConnectionClosedError):
            await idle.raw()
        assert idle.socket.close_code == 1006
        await fed.topic(BOOK, "delta")
        assert len(sim.connections) == 1


async def test_a_subscriber_that_does_not_read_is_cut_and_blocks_nobody() -> None:
    """Unread data beyond the limit cuts that connection; others keep their frames."""
    async with (
        running(rate=200.0, max_backlog_bytes=50_000) as sim,
        client_of(sim, LINEAR) as client,
    ):
        deaf = sockets.socket()
        deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", sim.port))
        greeting = (
            f"GET {LINEAR} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await loop.sock_sendall(deaf, greeting.encode())
        await eventually(lambda: len(sim.connections) == 2)
        await client.subscribe(BOOK)
        slow = sim.connections[-1].socket
        stream = sim.broadcaster.find("linear", BOOK)
        assert stream is not None
        stream.sockets.add(slow)
        big = json.dumps({"filler": "x" * 100_000}).encode()
        while sim.broadcaster.slow_cut == 0:
            sim.broadcaster.deliver((slow,), big)
            await asyncio.sleep(0)
        await eventually(lambda: len(sim.connections) == 1)
        stream.sockets.discard(slow)
        await client.topic(BOOK, "delta")
        deaf.close()


async def test_no_frames_for_symbols_nobody_watches() -> None:
    """A symbol without subscribers stands still, and moves again with the next one."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        market = sim.market.symbol("linear", "BTCUSDT")
        await client.subscribe(BOOK)
        await client.topic(BOOK, "delta")
        await client.send(op="unsubscribe", args=[BOOK])
        await client.reply()
        ticks = market.ticks
        await asyncio.sleep(0.1)
        assert market.ticks <= ticks + 1
        await client.subscribe(BOOK)
        await client.topic(BOOK, "delta")
        assert market.ticks > ticks


async def test_pools_and_limits_speak_at_once() -> None:
    """Topics with a state greet a new subscriber with it."""
    topics = ["insurance.USDT", "adlAlert.USDT", "priceLimit.BTCUSDT", "kline.1.BTCUSDT",
              "tickers.BTCUSDT"]  # fmt: skip
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(*topics)
        frames: dict[str, dict[str, Any]] = {}
        while len(frames) < len(topics):
            frame = await client.frame()
            frames.setdefault(frame["topic"], frame)
        assert list(frames["priceLimit.BTCUSDT"]) == ["topic", "data", "ts"]
        assert list(frames["insurance.USDT"]["data"][0]) == [
            "coin", "symbols", "balance", "updateTime",
        ]  # fmt: skip
        assert list(frames["adlAlert.USDT"]["data"][0]) == [
            "c", "s", "b", "mb", "i_pr", "pr", "adl_tt", "adl_sr",
        ]  # fmt: skip


async def test_deflate_is_negotiated_without_context_takeover() -> None:
    """A client that offers compression gets the recorded extension parameters."""
    async with running() as sim, connect(sim.ws_url + LINEAR) as socket:
        assert socket.response is not None
        assert socket.response.headers["Sec-WebSocket-Extensions"] == (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
        client = Client(socket)
        await client.subscribe(BOOK)
        assert (await client.topic(BOOK))["type"] == "snapshot"


async def test_ten_megabytes_pass() -> None:
    """An injected frame may be as large as a test likes."""
    async with running(max_backlog_bytes=2**26) as sim, client_of(sim, LINEAR) as client:
        await sim.inject(LINEAR, "x" * 10_000_000)
        assert len(await client.raw()) == 10_000_000
