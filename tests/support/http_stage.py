"""A venue's REST that answers whatever a test scripts, over a real socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG = b""
"""An answer that never comes."""


def answer(body: str, status: int = 200, **headers: str) -> bytes:
    """Write an HTTP answer; underscores in names of headers become dashes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass
class HttpStage:
    """What is answered next, and what was asked.

    Attributes:
        answers: taken one after the other; the last is given again and again.
        targets: path and query of each request, as sent.
    """

    url: str = ""
    answers: deque[bytes] = field(default_factory=deque)
    targets: list[str] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.targets.append(head.split(" ", 2)[1])
            raw = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
            if raw:
                writer.write(raw)
                await writer.drain()
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self._writers.discard(writer)

    def cut(self) -> None:
        """End all connections."""
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[HttpStage]:
    """Serve scripted answers on a free port."""
    stage = HttpStage(answers=deque(answers))
    server = await asyncio.start_server(stage.serve, "127.0.0.1", 0)
    stage.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stage
    finally:
        server.close()
        stage.cut()
        await asyncio.sleep(0.01)
