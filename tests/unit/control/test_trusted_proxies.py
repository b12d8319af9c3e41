"""Whose word counts on where a request came from."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from ws_gateway.control.api.server import HttpServer, listening


async def _where(scope: Any, _receive: Any, send: Any) -> None:
    """Answer the address a request is taken to come from."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        ((), "127.0.0.1"),
        (("192.0.2.1",), "127.0.0.1"),
        (("127.0.0.1",), "198.51.100.9"),
        (("127.0.0.0/8",), "198.51.100.9"),
        (("*",), "198.51.100.9"),
    ],
)
async def test_only_a_trusted_proxy_says_where_a_request_came_from(
    trusted: tuple[str, ...], address: str
) -> None:
    """Anybody else would choose the address that is made to wait, also from this host."""
    server = HttpServer(_where, trusted)
    with listening("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.get(url, headers={"X-Forwarded-For": "198.51.100.9"})
            server.stop()
    assert answer.text == address
