"""A loopback port in front of a server that listens on a unix socket alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, urlsplit

_CHUNK_BYTES = 64 * 1024


@asynccontextmanager
async def bridge_to(url: str) -> AsyncIterator[int]:
    """Forward a free port to the PostgreSQL of a URL with `?host=/folder`; answers the port."""
    socket_path = dict(parse_qsl(urlsplit(url).query))["host"] + "/.s.PGSQL.5432"
    carrying: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(socket_path)
        pumps = {
            asyncio.create_task(_pump(reader, back_writer)),
            asyncio.create_task(_pump(back_reader, writer)),
        }
        carrying.update(pumps)
        await asyncio.wait(pumps)
        carrying.difference_update(pumps)

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for pump in carrying:
            pump.cancel()
        if carrying:
            await asyncio.wait(carrying)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError, asyncio.CancelledError):
            while chunk := await reader.read(_CHUNK_BYTES):
                writer.write(chunk)
                await writer.drain()
    finally:
        writer.transport.abort()
