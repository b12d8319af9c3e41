"""A loopback port whose bytes are carried to another server and back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, urlsplit

_CHUNK_BYTES = 64 * 1024

Opener = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Greeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


@asynccontextmanager
async def relay_to(
    opened: Opener, *, shown: ssl.SSLContext | None = None, greeting: Greeting | None = None
) -> AsyncIterator[int]:
    """Listen on a free port; answers the port.

    Args:
        opened: opens a connection to the server.
        shown: TLS that is spoken with clients from the first byte.
        greeting: what is said to a client first; it answers whether the client is let in.
    """
    carrying: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is not None and not await greeting(reader, writer):
            writer.transport.abort()
            return
        back_reader, back_writer = await opened()
        pumps = {
            asyncio.create_task(_pump(reader, back_writer)),
            asyncio.create_task(_pump(back_reader, writer)),
        }
        carrying.update(pumps)
        await asyncio.wait(pumps)
        carrying.difference_update(pumps)

    server = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=shown)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for pump in carrying:
            pump.cancel()
        if carrying:
            await asyncio.wait(carrying)


def to_postgres(url: str) -> Opener:
    """Open connections to the PostgreSQL of a URL with `?host=/folder`."""
    path = dict(parse_qsl(urlsplit(url).query))["host"] + "/.s.PGSQL.5432"
    return lambda: asyncio.open_unix_connection(path)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError, asyncio.CancelledError):
            while chunk := await reader.read(_CHUNK_BYTES):
                writer.write(chunk)
                await writer.drain()
    finally:
        writer.transport.abort()
