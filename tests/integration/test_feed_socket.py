"""One socket: fragments, and errors in callbacks, which must not vanish there."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync.server import ServerConnection as ThreadedConnection
from websockets.sync.server import serve as serve_in_thread

from support.feed_stage import QUICK, FeedStage
from support.scripted_venue import ticker
from support.sim_client import eventually, running
from support.tls import Authority
from ws_gateway.domain.event import Observation
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import VenueLost
from ws_gateway.venue import connection
from ws_gateway.venue.connection import open_socket
from ws_gateway.venue.read_portion import PORTION_BYTES

TICKER = ticker("BTCUSDT")


@asynccontextmanager
async def serving(act: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a WebSocket server that does one thing to every client."""
    async with serve(act, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


async def test_a_message_in_fragments_arrives_whole() -> None:
    """Also an empty last fragment ends it, and the next message is its own."""
    got: list[bytes] = []

    async def act(client: ServerConnection) -> None:
        await client.send(["{", '"a":', "1}"])
        await client.send(["", "x", ""])
        await client.send("next")
        await client.wait_closed()

    async with serving(act) as url:
        socket = await open_socket(
            url, got.append, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        await eventually(lambda: len(got) == 3)
        socket.close("done")
        await socket.closed
    assert got == [b'{"a":1}', b"x", b"next"]


async def test_a_message_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments without end do not fill the memory: the socket is given up."""
    monkeypatch.setattr(connection, "_MAX_WIRE_BYTES", 10_000)

    async def act(client: ServerConnection) -> None:
        async def endless() -> AsyncIterator[str]:
            while True:
                yield "x" * 1000

        await client.send(endless())

    got: list[bytes] = []
    async with serving(act) as url:
        socket = await open_socket(
            url, got.append, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        async with asyncio.timeout(20):
            await socket.closed
    assert got == []
    assert isinstance(socket.failure, VenueLost)


async def test_a_defect_in_handling_a_frame_ends_the_feed_loudly() -> None:
    """It is neither swallowed in a callback nor taken for a loss of the venue."""

    class Broken(FeedStage):
        """A pipeline with a defect."""

        def observe(self, observation: Observation) -> None:
            """Fail."""
            raise ZeroDivisionError(observation.event_id)

    async with running() as venue:
        stage = Broken()
        stage.build(venue.ws_url, QUICK, None)
        stage.runner.accept = stage.observe  # type: ignore[method-assign]
        stage.feed.want([TICKER])
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(stage.feed.run(), 30)
        assert caught.group_contains(ZeroDivisionError)


async def test_a_defect_in_a_timer_ends_the_feed_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the heartbeat would stop in silence."""

    class Broken(FeedStage):
        """An observer with a defect that shows when the socket is full of life."""

        def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
            """Take note."""
            super().topic_changed(topic, state, error)
            if state is SubscriptionState.ACTIVE:
                (session,) = (leg.session for leg in next(iter(self.feed._shards()))._legs.values())
                monkeypatch.setattr(session._conversation, "take_output", self.fail)

        def fail(self) -> list[bytes]:
            """Fail, as a timer's work would."""
            raise ZeroDivisionError

    async with running() as venue:
        stage = Broken()
        stage.build(venue.ws_url, QUICK, None)
        stage.feed.want([TICKER])
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(stage.feed.run(), 30)
        assert caught.group_contains(ZeroDivisionError)


async def test_our_goodbye_is_a_legal_close_frame() -> None:
    """The venue sees code 1000, also as the answer to a close without a code."""
    codes: list[int | None] = []

    async def act(client: ServerConnection) -> None:
        await client.wait_closed()
        codes.append(client.close_code)

    async with serving(act) as url:
        socket = await open_socket(
            url, lambda _: None, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        socket.close("done")
        await socket.wait_closed()
        await eventually(lambda: len(codes) == 1)
    assert codes == [1000]


async def test_a_broken_websocket_frame_is_told_as_what_it_is() -> None:
    """Bytes that are no WebSocket end the socket with a reason, without a traceback."""

    async def act(client: ServerConnection) -> None:
        client.transport.write(b"\x83\x00")  # reserved opcode 3
        await client.wait_closed()

    async with serving(act) as url:
        socket = await open_socket(
            url, lambda _: None, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        async with asyncio.timeout(20):
            why = await socket.wait_closed()
    assert "broke the WebSocket protocol" in why


def test_a_reset_right_behind_data_is_noticed() -> None:
    """The last bytes and the reset may wait in the kernel together; both must be told.

    On uvloop, which the gateway runs on, a transport of other make reads once and is never called
    again: pongs would be missed only half a minute later, and readiness be wrong until then.
    """
    loop_is_busy, is_reset = threading.Event(), threading.Event()

    def act(client: ThreadedConnection) -> None:
        loop_is_busy.wait(20)
        client.send("{}")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.shutdown(socket.SHUT_RD)
        client.socket.close()
        is_reset.set()

    async def read(url: str) -> tuple[list[bytes], str]:
        got: list[bytes] = []
        one = await open_socket(
            url, got.append, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        loop_is_busy.set()
        assert is_reset.wait(20)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop must not look before both have arrived
        async with asyncio.timeout(20):
            return got, await one.wait_closed()

    with serve_in_thread(act, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
                got, why = runner.run(read(url))
        finally:
            server.shutdown()
            thread.join()
    assert got == [b"{}"]
    assert "broke" in why


_FRAME = "x" * 270
_FRAMES = 40_000


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_flooding_socket_leaves_every_turn_of_the_loop_to_others(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eleven megabytes that wait in the kernel are read in small portions, and completely.

    Otherwise an order that arrives beside a flood waits until all of it has been decoded.
    """
    authority = Authority.made(tmp_path / "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    reader_waits = threading.Event()

    def act(client: ThreadedConnection) -> None:
        reader_waits.wait(20)
        for _ in range(_FRAMES):
            client.send(_FRAME)
        client.close()

    async def read(url: str) -> tuple[int, int]:
        """Answer how many messages came, and how many at most in one turn."""
        got = most = seen = 0

        def count(_: bytes) -> None:
            nonlocal got
            got += 1

        def turn() -> None:
            nonlocal most, seen
            most, seen = max(most, got - seen), got
            loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        one = await open_socket(
            url, count, connect_deadline_seconds=20, handshake_deadline_seconds=20
        )
        turn()
        reader_waits.set()
        time.sleep(0.3)  # noqa: ASYNC251 - so that much is waiting when the loop looks
        async with asyncio.timeout(60):
            await one.wait_closed()
        return got, most

    context = authority.server() if scheme == "wss" else None
    with serve_in_thread(act, "127.0.0.1", 0, compression=None, ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                port = server.socket.getsockname()[1]
                got, most = runner.run(read(f"{scheme}://127.0.0.1:{port}"))
        finally:
            server.shutdown()
            thread.join()
    assert got == _FRAMES
    assert most <= 2 * PORTION_BYTES / len(_FRAME)
