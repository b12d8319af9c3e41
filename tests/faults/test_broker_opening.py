"""Connections to the broker that fail before the first event: cut, stalled, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from support.delivery_rig import delivering
from support.proxy import TcpProxy, address
from ws_gateway.delivery.link import HEARTBEAT_SECONDS, Deaf, open_link, prove_broker
from ws_gateway.errors import BrokerLost


class ShortWire:
    """Stands before the broker and ends or freezes each connection after so many bytes from it.

    Attributes:
        limits: bytes from the broker each connection may carry, one per connection in turn; when
            they are used up, connections are whole.
    """

    def __init__(self, url: str, *, freeze: bool = False) -> None:
        self.target = address(url, 5672)
        self.freeze = freeze
        self.limits: list[int] = []
        self.carried = 0
        self.taken = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection as far as its limit."""
        self.taken += 1
        limit = self.limits.pop(0) if self.limits else None
        back_reader, back_writer = await asyncio.open_connection(*self.target)
        self._tasks = {
            asyncio.create_task(self._carry(reader, back_writer, None, is_counted=False)),
            asyncio.create_task(self._carry(back_reader, writer, limit, is_counted=True)),
        }
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            for one in (writer, back_writer):
                one.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit: int | None,
        *,
        is_counted: bool,
    ) -> None:
        carried = 0
        try:
            while chunk := await reader.read(65536):
                if limit is not None:
                    chunk = chunk[: limit - carried]
                carried += len(chunk)
                if is_counted:
                    self.carried = max(self.carried, carried)
                writer.write(chunk)
                await writer.drain()
                if limit is not None and carried >= limit:
                    if not self.freeze:
                        return
                    await asyncio.Event().wait()
        except (OSError, asyncio.CancelledError):
            return


@asynccontextmanager
async def short_wire(url: str, *, freeze: bool = False) -> AsyncIterator[ShortWire]:
    """Have a wire that can be cut to a length."""
    wire = ShortWire(url, freeze=freeze)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in wire._tasks:
            task.cancel()
        await asyncio.sleep(0.05)


def via(url: str, wire: ShortWire) -> str:
    """Point a URL at the wire."""
    return urlsplit(url)._replace(netloc=f"guest:guest@127.0.0.1:{wire.port}").geturl()


async def _opening(wire: ShortWire, amqp_url: str, amqp_prefix: str) -> int:
    """Count the bytes of an opening where the queues stand already: making them takes more."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
    async with delivering(via(amqp_url, wire), amqp_prefix) as rig:
        await rig.until_ready()
    return wire.carried


async def test_connection_that_ends_anywhere_in_its_opening_is_tried_again(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Cut after any number of bytes, log-in and declarations included, the publisher goes on."""
    async with short_wire(amqp_url) as wire:
        whole = await _opening(wire, amqp_url, amqp_prefix)
        assert whole > 1000
        steps = 25
        for turn in range(steps):
            wire.limits = [1 + (whole - 100) * turn // steps]
            taken = wire.taken
            async with delivering(via(amqp_url, wire), amqp_prefix) as rig:
                await rig.until_ready()
                rig.feed()
                await rig.until_delivered()
            assert wire.taken - taken == 2, turn


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.9])
async def test_broker_that_falls_silent_in_the_opening_is_left_at_the_deadline(
    amqp_url: str, amqp_prefix: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A black hole in log-in or declarations costs one deadline, not a hang."""
    async with short_wire(amqp_url, freeze=True) as wire:
        whole = await _opening(wire, amqp_url, amqp_prefix)
        monkeypatch.setattr("ws_gateway.delivery.publisher._CONNECT_DEADLINE_SECONDS", 3.0)
        monkeypatch.setattr("ws_gateway.delivery.topology._DEADLINE_SECONDS", 3.0)
        wire.limits = [1 + int(whole * share)]
        taken = wire.taken
        async with delivering(via(amqp_url, wire), amqp_prefix) as rig:
            rig.feed()
            await rig.until_ready()
            assert wire.taken - taken == 2
            await rig.until_delivered()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://guest:s3cret-w0rd@{host}:{port}/", "ACCESS_REFUSED"),
        ("amqp://guest:guest@{host}:{port}/no-such-vhost", "no-such-vhost"),
        ("amqp://guest:s3cret-w0rd@{host}:1/", "Connect call failed"),
        ("amqps://guest:s3cret-w0rd@{host}:{port}/", "SSL"),
    ],
)
async def test_refusal_at_the_start_is_one_sentence_without_the_password(
    amqp_url: str, url: str, words: str
) -> None:
    """Wrong password, missing virtual host or closed port: what the broker said, and no secret."""
    host, port = address(amqp_url, 5672)
    with pytest.raises(BrokerLost) as caught:
        await prove_broker(url.format(host=host, port=port))
    sentence = str(caught.value)
    assert words in sentence
    assert "s3cret" not in sentence
    assert "\n" not in sentence
    assert " object at 0x" not in sentence


async def test_silent_port_is_given_up_in_time() -> None:
    """Something that takes the connection and never speaks AMQP is named as not answering."""
    async with TcpProxy("127.0.0.1", 1) as proxy:
        await proxy.stall()
        with pytest.raises(BrokerLost, match="did not answer in time"):
            await prove_broker(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", deadline_seconds=0.3)


async def test_port_of_another_protocol_is_refused_in_a_sentence() -> None:
    """An HTTP server behind the AMQP URL ends in a sentence, not in a hang or a traceback."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(BrokerLost) as caught:
            await prove_broker(f"amqp://guest:guest@127.0.0.1:{port}/", deadline_seconds=20)
        assert str(caught.value)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("tail", "heartbeat"),
    [("", HEARTBEAT_SECONDS), ("%2F", HEARTBEAT_SECONDS), ("?heartbeat=7", 7)],
)
async def test_heartbeat_is_short_unless_the_url_says_otherwise(
    amqp_url: str, tail: str, heartbeat: int
) -> None:
    """A broker that vanished while nothing is sent is noticed within about half a minute."""
    link = await open_link(amqp_url + tail, Deaf(), deadline_seconds=30)
    try:
        assert link._connection.connection_tune.heartbeat == heartbeat
    finally:
        await link.close(1)
