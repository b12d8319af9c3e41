"""One question on a socket of its own."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

from ws_gateway.errors import VenueLost
from ws_gateway.venue.connection import open_socket

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 5.0


async def talk(url: str, words: bytes) -> tuple[bytes, float] | str:
    """Say one thing on a new socket; answers the first answer and its ms, or what went wrong."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(message: bytes) -> None:
        if not answer.done():
            answer.set_result(message)

    began = time.monotonic()
    try:
        socket = await open_socket(
            url,
            take,
            connect_deadline_seconds=_CONNECT_SECONDS,
            handshake_deadline_seconds=_CONNECT_SECONDS,
        )
    except VenueLost as exc:
        return exc.detail
    try:
        socket.send(words)
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer, (time.monotonic() - began) * 1000
    except TimeoutError:
        return f"{url} gave no answer within {_ANSWER_SECONDS:.0f} s"
    finally:
        socket.close("examined")


def way_to(url: str) -> str:
    """Say what a machine must be let do that reaches nobody at this address."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    return f"let this machine reach {parts.hostname} (outgoing, port {port})"
