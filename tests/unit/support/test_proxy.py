"""The proxy loses the network in exactly the way a test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.proxy import TcpProxy, through


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """Port of a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy in front of the echo server."""
    async with TcpProxy("127.0.0.1", echo_port) as opened:
        yield opened


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, word: bytes, *, seconds: float = 30.0) -> bytes:
        """Send a word and return what comes back in time."""
        self.writer.write(word)
        async with asyncio.timeout(seconds):
            return await self.reader.read(1024)


async def connect(port: int) -> Client:
    """Open one connection."""
    return Client(*await asyncio.open_connection("127.0.0.1", port))


async def test_fair_weather_carries_bytes_both_ways(proxy: TcpProxy) -> None:
    """Without a fault the proxy is not noticed."""
    client = await connect(proxy.port)
    assert await client.says(b"hello") == b"hello"
    assert (proxy.accepted, proxy.open_links) == (1, 1)
    client.writer.close()


async def test_a_cut_resets_what_stands_and_refuses_what_comes(proxy: TcpProxy) -> None:
    """The peer sees a reset at once, and a refusal until the network is back on the same port."""
    client = await connect(proxy.port)
    await client.says(b"hello")
    port = proxy.port
    await proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.says(b"again")
    with pytest.raises(ConnectionRefusedError):
        await connect(port)
    await proxy.restore()
    assert proxy.port == port
    client = await connect(port)
    assert await client.says(b"back") == b"back"
    assert proxy.accepted == 2
    client.writer.close()


async def test_a_stall_swallows_bytes_of_old_and_new_connections(proxy: TcpProxy) -> None:
    """Nothing fails and nothing arrives: only a deadline of one's own can notice."""
    old = await connect(proxy.port)
    await old.says(b"hello")
    await proxy.stall()
    new = await connect(proxy.port)
    for client in (old, new):
        with pytest.raises(TimeoutError):
            await client.says(b"anyone?", seconds=0.2)
    await proxy.restore()
    for client in (old, new):
        with pytest.raises(ConnectionResetError):
            await client.says(b"again")
    fresh = await connect(proxy.port)
    assert await fresh.says(b"back") == b"back"
    fresh.writer.close()


async def test_a_reset_happens_once(proxy: TcpProxy) -> None:
    """New connections are served while old ones are gone."""
    client = await connect(proxy.port)
    await client.says(b"hello")
    await proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client.says(b"again")
    client = await connect(proxy.port)
    assert await client.says(b"back") == b"back"
    client.writer.close()


def test_a_url_can_be_sent_through_the_proxy() -> None:
    """Login and path stay, host and port change."""
    proxy = TcpProxy("127.0.0.1", 1)
    proxy.port = 99
    assert through("amqp://u:p@mq:5672/vhost?heartbeat=5", proxy) == (
        "amqp://u:p@127.0.0.1:99/vhost?heartbeat=5"
    )
    assert through("ws://host", proxy) == "ws://127.0.0.1:99"
