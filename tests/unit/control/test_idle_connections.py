"""What becomes of a client's connection between its requests."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from ws_gateway.control.api.server import HttpServer, listening


async def _port_of_the_client(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(scope["client"][1]).encode()})


async def test_a_client_that_paused_five_seconds_is_not_disconnected_instead_of_answered() -> None:
    """A connection that was idle for a while still answers the next request."""
    server = HttpServer(_port_of_the_client)
    keeping = httpx.Limits(keepalive_expiry=60)
    with listening("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            async with httpx.AsyncClient(trust_env=False, limits=keeping) as http:
                first = await http.get(url)
                await asyncio.sleep(5.5)  # httpx, uvicorn and others part after 5 s by default
                second = await http.get(url)
            server.stop()
    assert first.text == second.text  # the port it came from: one connection was used for both
