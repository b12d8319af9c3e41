"""A TCP proxy that can lose the network: faults come through the socket, not through mocks."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from amqp_probe import free_ports

_CHUNK_BYTES = 64 * 1024
_OPENING_BYTES = 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST, not FIN


class Weather(StrEnum):
    """What the network does at the moment."""

    FAIR = "fair"
    """Bytes flow both ways."""
    CUT = "cut"
    """Connections were reset, and new ones are refused."""
    STALLED = "stalled"
    """Connections stand and are taken, yet every byte vanishes: a black hole."""


class TcpProxy:
    """Forward one loopback port to a target until told otherwise.

    Use it as `async with TcpProxy(host, port) as proxy`, and let the client connect to
    `127.0.0.1:proxy.port`. The port stays the same through `cut` and `restore`.

    Attributes:
        port: where it listens.
        accepted: connections taken so far; "exactly one reconnect" is a difference of 1.
        bytes_per_second: how fast bytes move each way, None for as fast as they can.
        delay_seconds: how late bytes arrive each way; a connection keeps what it was taken with.
        delay_growth: by how much later those to the client arrive with every second that its
            connection stands, as behind a buffer that is filled faster than it is emptied.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.target = (target_host, target_port)
        self.port = 0
        self.accepted = 0
        self.bytes_per_second: float | None = None
        self.delay_seconds = 0.0
        self.delay_growth = 0.0
        self._weather = Weather.FAIR
        self._held: bytes | None = None
        self._refused: bytes | None = None
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cut()

    @property
    def weather(self) -> Weather:
        """What the network does at the moment."""
        return self._weather

    @property
    def open_links(self) -> int:
        """How many client connections stand now."""
        return len(self._links)

    async def cut(self) -> None:
        """Reset every connection and refuse new ones, until `restore`."""
        self._weather = Weather.CUT
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop_links()

    async def stall(self) -> None:
        """Swallow every byte of old and new connections alike, until `restore`."""
        self._weather = Weather.STALLED
        if self._server is None:
            await self._listen()

    async def restore(self) -> None:
        """Let bytes flow again.

        Connections that lost bytes to a stall are reset: a stream with a hole cannot go on.
        """
        was_stalled = self._weather is Weather.STALLED
        self._weather = Weather.FAIR
        if was_stalled:
            await self._drop_links()
        if self._server is None:
            await self._listen()

    async def reset(self) -> None:
        """Reset every connection once; new ones are served as before."""
        await self._drop_links()

    def hold(self, words: bytes) -> None:
        """Keep back what clients send that said these words first, until `release`."""
        self._held = words
        self._released.clear()

    def release(self) -> None:
        """Pass on what was kept back, and all that follows."""
        self._held = None
        self._released.set()

    async def refuse(self, words: bytes | None) -> None:
        """Reset the connections of clients that say these words first, old and new ones.

        None takes all again.
        """
        self._refused = words
        links = [link for link in self._links if words is not None and words in link.opening]
        for link in links:
            link.drop()
        if links:
            await asyncio.wait([link.ended for link in links], timeout=5)

    async def pass_on(self, opening: bytes) -> bool:
        """Wait until a client's bytes may go on; answers False if they may not."""
        while self._held is not None and self._held in opening:
            await self._released.wait()
        return self._refused is None or self._refused not in opening

    async def _listen(self) -> None:
        self.port = self.port or free_ports(1)[0]  # one that stays its own through `cut`
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=_CHUNK_BYTES
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.carry()
        finally:
            self._links.discard(link)

    async def _drop_links(self) -> None:
        links = list(self._links)
        for link in links:
            link.drop()
        if links:
            await asyncio.wait([link.ended for link in links], timeout=5)


class _Link:
    """One client connection and its counterpart at the target."""

    def __init__(
        self, proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._delay_seconds = proxy.delay_seconds
        self._delay_growth = proxy.delay_growth
        self._taken_at = asyncio.get_running_loop().time()
        self._reader = reader
        self._writers = [writer]
        self._pumps: set[asyncio.Task[None]] = set()
        self.opening = b""  # what the client said first
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def carry(self) -> None:
        """Move bytes both ways until one side ends or the link is dropped."""
        client = self._writers[0]
        try:
            if self._proxy.weather is Weather.STALLED:
                await self._swallow()
                return
            try:
                back_reader, back_writer = await asyncio.open_connection(*self._proxy.target)
            except OSError:
                return
            self._writers.append(back_writer)
            self._pumps = {
                asyncio.create_task(self._pump(self._reader, back_writer, is_client=True)),
                asyncio.create_task(self._pump(back_reader, client)),
            }
            await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.drop()
            if self._pumps:
                await asyncio.wait(self._pumps)
            if not self.ended.done():
                self.ended.set_result(None)

    def drop(self) -> None:
        """Reset both sides at once."""
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            if raw is not None and not writer.transport.is_closing():
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        for pump in self._pumps:
            pump.cancel()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool = False
    ) -> None:
        with suppress(OSError, asyncio.CancelledError):
            growth = 0.0 if is_client else self._delay_growth
            if self._delay_seconds or growth:
                await self._pump_late(reader, writer, growth)
            while chunk := await reader.read(_CHUNK_BYTES):
                if is_client:
                    if len(self.opening) < _OPENING_BYTES:
                        self.opening += chunk[:_OPENING_BYTES]
                    if not await self._proxy.pass_on(self.opening):
                        return
                if self._proxy.weather is Weather.FAIR:
                    writer.write(chunk)
                    await writer.drain()
                    if self._proxy.bytes_per_second is not None:
                        await asyncio.sleep(len(chunk) / self._proxy.bytes_per_second)

    async def _pump_late(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, growth: float
    ) -> None:
        """Move bytes one way, each at its own time, until there are no more."""
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def set_out() -> None:
            chunk = b"-"
            while chunk:
                try:
                    chunk = await reader.read(_CHUNK_BYTES)
                except OSError:
                    chunk = b""
                now = loop.time()
                late = self._delay_seconds + growth * (now - self._taken_at)
                on_the_way.put_nowait((now + late, chunk))

        async with asyncio.TaskGroup() as group:
            group.create_task(set_out())
            while True:
                due, chunk = await on_the_way.get()
                await asyncio.sleep(due - loop.time())
                if not chunk:
                    return
                if self._proxy.weather is Weather.FAIR:
                    writer.write(chunk)

    async def _swallow(self) -> None:
        with suppress(OSError):
            while await self._reader.read(_CHUNK_BYTES):
                pass


def through(url: str, proxy: TcpProxy) -> str:
    """Point a URL (amqp, ws, http, postgresql with a host) at the proxy instead."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}"))


def address(url: str, default_port: int) -> tuple[str, int]:
    """Take host and port from a URL, for the proxy's target."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or default_port
