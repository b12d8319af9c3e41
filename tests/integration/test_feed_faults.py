"""The feed on a bad network, and while it is stopped; faults of the venue are in tests/faults."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bybit_sim import Simulator
from support.feed_stage import QUICK, FeedStage, feeding
from support.programs import crowd
from support.proxy import TcpProxy, through
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, eventually, running
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.feed import SessionState

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]
BOOK, TICKER = book(), ticker("BTCUSDT")
SPOT_BOOK = book(category=Category.SPOT)
ORDERS = build_topic(Channel.ORDER)
BOTH = (BOOK, TICKER)


@asynccontextmanager
async def flowing() -> AsyncIterator[tuple[Simulator, FeedStage]]:
    """Run a venue and a feed whose book and ticker flow."""
    async with running() as venue, feeding(venue.ws_url, timing=QUICK) as stage:
        stage.feed.want(BOTH)
        await stage.more(BOTH)
        yield venue, stage


def assert_marked_once(stage: FeedStage) -> None:
    """Assert one disconnect per stream, and no number that is not explained."""
    for topic in BOTH:
        assert stage.gaps(topic) == ["restart", "disconnect"]
    assert stage.problems() == []


# ── losses ────────────────────────────────────────────────────────────────────────────────────


async def test_a_venue_that_was_away_is_found_again() -> None:
    """Stopped and started anew on its port: all topics flow, attempts meanwhile are spaced."""
    async with flowing() as (venue, stage):
        port = venue.port
        await venue.stop()
        status = stage.connection("linear")
        await eventually(lambda: stage.gaps(TICKER)[-1:] == ["disconnect"])
        await asyncio.sleep(0.3)
        assert status is not None
        await venue.start(port=port)
        await stage.more(BOTH)
        assert_marked_once(stage)


async def test_delays_start_anew_after_a_good_message() -> None:
    """A connection that worked is replaced at once, whatever it took to get it."""
    async with running() as venue:
        venue.refuse_handshakes = 503
        async with feeding(
            venue.ws_url, backoff_base=0.05, backoff_cap=5, proven=0.0, settled=0.0
        ) as stage:
            stage.feed.want([TICKER])
            await eventually(lambda: venue.connection_attempts >= 5)
            venue.refuse_handshakes = None
            await stage.more([TICKER])
            took = []
            for _ in range(3):  # the machine may stall at one of them
                started = time.monotonic()
                await venue.drop_connections(LINEAR)
                await stage.more([TICKER], 1)
                took.append(time.monotonic() - started)
            assert min(took) < 0.4 * crowd()


async def test_a_network_that_swallows_everything_is_noticed(open_proxy: OpenProxy) -> None:
    """No close, no data: the pong's deadline ends it, and the topics flow when it heals."""
    async with running() as venue:
        proxy = await open_proxy("127.0.0.1", venue.port)
        url = through(venue.ws_url, proxy)
        async with feeding(url, timing=QUICK, connect_deadline_seconds=0.3) as stage:
            stage.feed.want(BOTH)
            await stage.more(BOTH)
            await proxy.stall()
            await eventually(lambda: stage.gaps(TICKER)[-1:] == ["disconnect"])
            await proxy.restore()
            await stage.more(BOTH)
            assert_marked_once(stage)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 \xff\xfe\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/9 banana\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"x" * 200_000,
    ],
    ids=["nothing", "garbage", "bare 101", "no ascii", "no http", "redirect", "endless"],
)
async def test_an_absurd_handshake_is_a_refused_connection(answer: bytes) -> None:
    """Whatever answers at the address, the feed lives and tries again."""
    attempts = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await asyncio.sleep(0.01)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, feeding(url) as stage:
        stage.feed.want([TICKER])
        await eventually(lambda: attempts >= 3)
        status = stage.connection("linear")
        assert status is not None
        assert status.last_error


# ── stopping ──────────────────────────────────────────────────────────────────────────────────
# `feeding` asserts after every test that stopping took less than a second.


async def test_stopping_while_connecting_to_a_black_hole(open_proxy: OpenProxy) -> None:
    """A handshake that gets no answer does not hold the stop until its deadline."""
    proxy = await open_proxy("127.0.0.1", 1)
    await proxy.stall()
    async with feeding(f"ws://127.0.0.1:{proxy.port}", connect_deadline_seconds=30.0) as stage:
        stage.feed.want([TICKER])
        await eventually(lambda: proxy.open_links == 1)


async def test_a_handshake_that_succeeds_after_it_was_given_up_leaves_no_socket() -> None:
    """The venue's late yes is answered by closing, not by a connection nobody owns."""
    asked, late, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await late.wait()
        key = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", request)
        assert key is not None
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, feeding(url, connect_deadline_seconds=30.0) as stage:
        stage.feed.want([TICKER])
        await asked.wait()
        stage.feed.drop([TICKER])
        assert stage.feed.connections() == []
        await asyncio.sleep(0.02)
        late.set()
        async with asyncio.timeout(20):
            await ended.wait()


async def test_stopping_while_backing_off() -> None:
    """A long delay is not waited for."""
    async with feeding("ws://127.0.0.1:1", backoff_base=60, backoff_cap=60) as feed:
        feed.feed.want([TICKER])
        await eventually(
            lambda: (
                (status := feed.connection("linear")) is not None
                and status.connection_status is SessionState.BACKING_OFF
            )
        )


async def test_stopping_while_the_login_is_unanswered() -> None:
    """Neither the login nor an ack is waited for."""
    async with running() as venue:
        venue.silence_acks = True
        async with feeding(venue.ws_url) as stage:
            stage.feed.want([ORDERS, TICKER])
            await eventually(lambda: len(venue.requests) == 2)
            status = stage.connection("private")
            assert status is not None
            assert status.connection_status is SessionState.AUTHENTICATING


async def test_stopping_when_the_network_swallows_everything(open_proxy: OpenProxy) -> None:
    """A close frame that gets no answer is not waited for."""
    async with running() as venue:
        proxy = await open_proxy("127.0.0.1", venue.port)
        async with feeding(through(venue.ws_url, proxy)) as stage:
            stage.feed.want([TICKER])
            await stage.more([TICKER])
            await proxy.stall()


async def test_a_wish_that_comes_while_stopping_opens_nothing() -> None:
    """No session is left behind that nobody would end."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([TICKER])
        await stage.more([TICKER])
        stage.feed.stop()
        await asyncio.sleep(0)
        stage.feed.want([SPOT_BOOK])


async def test_topics_wanted_before_the_feed_runs_are_opened_with_it() -> None:
    """Control may be ahead of the feed."""
    async with running() as venue:
        stage = FeedStage()
        stage.build(venue.ws_url, QUICK, None)
        stage.feed.want([TICKER])
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.feed.run())
            await stage.more([TICKER])
            stage.feed.stop()
