"""What comes before a socket is open: handshakes, REST and the control endpoint on one port."""

from __future__ import annotations

import asyncio
import http
from collections import deque
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from math import ceil

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from bybit_sim.config import Clock, SimulatorConfig
from bybit_sim.control import CONTROL_PREFIX, ControlDesk
from bybit_sim.fault import Hook
from bybit_sim.faults import Faults
from bybit_sim.limiter import ConnectionLimiter
from bybit_sim.rest import RestDesk
from bybit_sim.topics import SOCKET_KINDS
from bybit_sim.venue_socket import VenueSocket

_ATTEMPTS_KEPT = 100_000


class Door:
    """Decides on every HTTP request; WebSocket handshakes it lets pass become sockets.

    Attributes:
        attempts: WebSocket handshakes seen, refused ones included.
        attempt_times: when the last of them were, on the configured clock.
    """

    def __init__(
        self, config: SimulatorConfig, faults: Faults, rest: RestDesk, control: ControlDesk
    ) -> None:
        self._clock: Clock = config.clock
        self._faults = faults
        self._rest = rest
        self._control = control
        self._limiter = ConnectionLimiter(
            config.connections_per_window, config.connection_window_seconds
        )
        self._waiting: set[ServerConnection] = set()
        self.attempts = 0
        self.attempt_times: deque[float] = deque(maxlen=_ATTEMPTS_KEPT)

    def process_request(
        self, socket: ServerConnection, request: Request
    ) -> Awaitable[Response | None] | Response | None:
        """Answer HTTP and refuse handshakes before the WebSocket library looks at them."""
        path = request.path.partition("?")[0]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self._open(socket, path)
        if path.startswith(CONTROL_PREFIX):
            return self._obey(socket, request)
        if request.method != "GET":
            return socket.respond(http.HTTPStatus.BAD_REQUEST, "wrong method\n")
        answer = self._rest.answer(request.path, request.headers)
        if answer is not None:
            response = _http_response(answer.status, answer.body, answer.headers)
            delay_seconds = answer.delay_seconds
            return self._wait(socket, delay_seconds, response) if delay_seconds else response
        return socket.respond(http.HTTPStatus.NOT_FOUND, "404 page not found\n")

    def close(self) -> None:
        """Give up the requests that are kept waiting."""
        for socket in self._waiting:
            socket.transport.abort()

    def _open(
        self, socket: ServerConnection, path: str
    ) -> Awaitable[Response | None] | Response | None:
        """Refuse a handshake, let it wait, or let it pass (None)."""
        self.attempts += 1
        self.attempt_times.append(self._clock())
        address = str(socket.remote_address[0]) if socket.remote_address else ""
        response = None
        delay_seconds = 0.0
        for fault in self._faults.at(Hook.HANDSHAKE):
            delay_seconds = max(delay_seconds, fault.handshake_delay(path))
            refusal = None if response else fault.handshake_refusal(path, address)
            if refusal is not None:
                response = socket.respond(refusal.status, "refused\n")
                if refusal.retry_after_seconds is not None:
                    response.headers["Retry-After"] = str(ceil(refusal.retry_after_seconds))
        if response is None and path not in SOCKET_KINDS:
            response = socket.respond(http.HTTPStatus.NOT_FOUND, "404 page not found\n")
        if response is None and not self._limiter.admit(address, self._clock()):
            response = socket.respond(http.HTTPStatus.FORBIDDEN, "too many connections\n")
        return self._wait(socket, delay_seconds, response) if delay_seconds else response

    async def _wait(
        self, socket: ServerConnection, delay_seconds: float, response: Response | None
    ) -> Response | None:
        """Keep a request waiting, no longer than its TCP connection lives."""
        self._waiting.add(socket)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_seconds):
                    await socket.wait_closed()
        finally:
            self._waiting.discard(socket)
        return response

    async def _obey(self, socket: ServerConnection, request: Request) -> Response:
        body = socket.body if isinstance(socket, VenueSocket) else b""
        answer = await self._control.answer(request.method, request.path, body)
        return _http_response(answer.status, answer.body, {})


def _http_response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    phrase = http.HTTPStatus(status).phrase
    standard = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    return Response(status, phrase, Headers({**standard, **headers}), body)
