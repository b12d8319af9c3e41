"""The feed when the venue or the network misbehaves: it comes back by itself, and says so."""

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
from support.proxy import TcpProxy, through
from support.scripted_venue import book, data_frame, ticker
from support.sim_client import LINEAR, SPOT, eventually, running
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports import SessionState
from ws_gateway.venue.protocol import Timing

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]
BOOK, TICKER = book(), ticker("BTCUSDT")
SPOT_BOOK = book(category=Category.SPOT)
ORDERS = build_topic(Channel.ORDER)
BOTH = (BOOK, TICKER)


@asynccontextmanager
async def flowing(timing: Timing = QUICK) -> AsyncIterator[tuple[Simulator, FeedStage]]:
    """Run a venue and a feed whose book and ticker flow."""
    async with running() as venue, feeding(venue.ws_url, timing=timing) as stage:
        stage.feed.want(BOTH)
        await stage.more(BOTH)
        yield venue, stage


def assert_marked_once(stage: FeedStage) -> None:
    """Assert one disconnect per stream, and no number that is not explained."""
    for topic in BOTH:
        assert stage.gaps(topic) == ["restart", "disconnect"]
    assert stage.problems() == []


# ── losses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 4000])
async def test_a_dropped_connection_is_replaced_once(code: int | None) -> None:
    """With a close frame or without: one reconnect, everything asked again, a marker each."""
    async with flowing() as (venue, stage):
        await venue.drop_connections(LINEAR, code)
        await stage.more(BOTH)
        assert_marked_once(stage)
        assert venue.connection_attempts == 2
        status = stage.connection("linear")
        assert status is not None
        assert (status.reconnection_count, status.last_error) == (1, None)


async def test_a_lost_connection_does_not_touch_another_category() -> None:
    """The spot book flows on while linear comes back."""
    async with flowing() as (venue, stage):
        stage.feed.want([SPOT_BOOK])
        await stage.more([SPOT_BOOK])
        (spot,) = (each.id for each in venue.connections if each.path == SPOT)
        await venue.drop_connections(LINEAR)
        await stage.more([SPOT_BOOK, *BOTH])
        assert stage.gaps(SPOT_BOOK) == ["restart"]
        assert [each.id for each in venue.connections if each.path == SPOT] == [spot]


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


@pytest.mark.parametrize("silenced", ["silence_pongs", "silence_acks"])
async def test_a_venue_that_does_not_answer_is_left_and_tried_again(silenced: str) -> None:
    """A missing pong or ack ends the socket at its deadline, although data flows."""
    async with flowing() as (venue, stage):
        setattr(venue, silenced, True)
        first = venue.connections[0].id
        stage.feed.want([ticker("ETHUSDT")])
        await eventually(lambda: first not in [each.id for each in venue.connections])
        setattr(venue, silenced, False)
        await eventually(lambda: stage.is_active(*BOTH, ticker("ETHUSDT")))
        await stage.more(BOTH)
        assert set(stage.gaps(TICKER)) == {"restart", "disconnect"}
        assert stage.problems() == []


async def test_refused_handshakes_are_told_and_spaced() -> None:
    """A venue that answers 403 is tried with growing delays until it takes the connection."""
    async with running() as venue, feeding(venue.ws_url, timing=QUICK) as stage:
        venue.refuse_handshakes = 403
        stage.feed.want(BOTH)
        await asyncio.sleep(0.8)
        status = stage.connection("linear")
        assert status is not None
        assert status.last_error is not None
        assert "403" in status.last_error
        assert 3 <= venue.connection_attempts <= 40
        venue.refuse_handshakes = None
        await stage.more(BOTH)


async def test_a_venue_that_accepts_and_drops_at_once_is_not_hammered() -> None:
    """An open socket is no progress: the delays grow as if it had been refused."""
    async with running() as venue:

        async def drop_all() -> None:
            while True:
                for each in list(venue.connections):
                    each.socket.transport.abort()
                await asyncio.sleep(0)

        venue.silence_acks = True
        async with feeding(venue.ws_url, backoff_base_seconds=0.1, backoff_cap_seconds=2) as stage:
            dropping = asyncio.create_task(drop_all())
            stage.feed.want([ticker("BTCUSDT", Category.SPOT)])
            await asyncio.sleep(1.5)
            dropping.cancel()
            await asyncio.gather(dropping, return_exceptions=True)
            assert 2 <= venue.connection_attempts <= 20


async def test_a_venue_that_answers_and_then_drops_is_not_hammered() -> None:
    """A good message is not enough: the connection must have lasted for the delays to shrink."""
    async with running() as venue:

        async def drop_answered() -> None:
            while True:
                for each in [each for each in venue.connections if each.topics]:
                    await asyncio.sleep(0.01)  # the ack and the first data get out
                    each.socket.transport.abort()
                await asyncio.sleep(0.001)

        async with feeding(venue.ws_url, backoff_base_seconds=0.1, backoff_cap_seconds=2) as stage:
            dropping = asyncio.create_task(drop_answered())
            stage.feed.want([TICKER])
            await asyncio.sleep(1.5)
            dropping.cancel()
            await asyncio.gather(dropping, return_exceptions=True)
            assert stage.facts(TICKER)
            assert 2 <= venue.connection_attempts <= 20


async def test_delays_start_anew_after_a_good_message() -> None:
    """A connection that worked is replaced at once, whatever it took to get it."""
    async with running() as venue:
        venue.refuse_handshakes = 503
        async with feeding(
            venue.ws_url, backoff_base_seconds=0.05, backoff_cap_seconds=5, proven_seconds=0.0
        ) as stage:
            stage.feed.want([TICKER])
            await eventually(lambda: venue.connection_attempts >= 5)
            venue.refuse_handshakes = None
            await stage.more([TICKER])
            started = time.monotonic()
            await venue.drop_connections(LINEAR)
            await stage.more([TICKER], 1)
            assert time.monotonic() - started < 0.4


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


# ── what cannot be read ───────────────────────────────────────────────────────────────────────


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "malformed": ('{"topic":"tickers.BTCUSDT","da', "malformed"),
    "unknown topic": (data_frame(ticker("NOBODYUSDT")).decode(), "unknown_topic"),
    "ten megabytes": ('{"topic":"tickers.BTCUSDT","data":"' + "x" * 10_000_000 + '"}', "too_large"),
    "binary garbage": (bytes(range(256)) * 4, "malformed"),
    "nested": ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "malformed"),
    "a late time": ('{"topic":"tickers.BTCUSDT","ts":' + "9" * 40 + "}", "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_frame_that_cannot_be_read_costs_only_itself(name: str) -> None:
    """Quarantined once with its bytes; the same connection carries on, and nothing stays hidden."""
    raw, reason = HOSTILE[name]
    async with flowing() as (venue, stage):
        connection = venue.connections[0].id
        await venue.inject(LINEAR, raw)
        await eventually(lambda: bool(stage.quarantined))
        await stage.more(BOTH)
        wanted = raw if isinstance(raw, bytes) else raw.encode()
        assert stage.quarantined == [(reason, "linear", wanted)]
        assert [each.id for each in venue.connections] == [connection]
        assert stage.gaps(BOOK) == ["restart"]  # its own numbers would have told
        lost = [] if reason == "unknown_topic" else ["sequence"]
        assert stage.gaps(TICKER) == ["restart", *lost]


async def test_an_unreadable_book_frame_costs_one_snapshot() -> None:
    """What it said is missing, so the book is marked and mended; the ticker is not touched."""
    async with flowing() as (venue, stage):
        await venue.inject(
            LINEAR, f'{{"topic":"{BOOK.name}","type":"delta","ts":1,"data":{{"u":"x"}}}}'
        )
        await eventually(lambda: stage.gaps(BOOK) == ["restart", "sequence"])
        await stage.more(BOTH, 5)
        assert [reason for reason, _, _ in stage.quarantined] == ["missing_field"]
        assert stage.gaps(TICKER) == ["restart"]
        assert stage.problems() == []
        assert venue.connection_attempts == 1


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
        async with asyncio.timeout(2):
            await ended.wait()


async def test_stopping_while_backing_off() -> None:
    """A long delay is not waited for."""
    async with feeding("ws://127.0.0.1:1", backoff_base_seconds=60, backoff_cap_seconds=60) as feed:
        feed.feed.want([TICKER])
        await asyncio.sleep(0.1)
        status = feed.connection("linear")
        assert status is not None
        assert status.connection_status is SessionState.BACKING_OFF


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
