"""Reads the live stream as a client that knows server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

LIVE = "/api/v1/live"
PATIENCE_SECONDS = 30.0


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield each event's name and what its data hold."""
    name, data = "", ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line:
            yield name, json.loads(data)


class Viewer:
    """One who watches."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._events = events(answer)

    async def next(self, name: str) -> Any:
        """Return the next event of this name."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for found, data in self._events:
                if found == name:
                    return data
        raise AssertionError(f"the stream ended before {name}")


@asynccontextmanager
async def watching(http: httpx.AsyncClient, **query: Any) -> AsyncIterator[Viewer]:
    """Watch meanwhile."""
    async with http.stream("GET", LIVE, params=query) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Viewer(answer)


async def told(http: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """Return what one picture tells, by event."""
    answer = await http.get(LIVE, params={"pictures": 1, **query})
    assert answer.status_code == 200, answer.text
    return {name: data async for name, data in events(answer)}
