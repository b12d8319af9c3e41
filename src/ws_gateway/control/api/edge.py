"""The outermost layer of the HTTP API: the key, the bounds, and what nobody foresaw."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from uuid import uuid4

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ws_gateway.control.api import bounds
from ws_gateway.control.api.headers import protect
from ws_gateway.control.api.problems import RETRY_AFTER_SECONDS, problem, problem_of
from ws_gateway.control.guard import KEY_HEADER, Guard
from ws_gateway.control.request_times import RequestTimes
from ws_gateway.errors import GatewayError
from ws_gateway.runtime.tracing import current_trace_id

GUARDED_PATH = "/api"

_KEY_HEADER = KEY_HEADER.lower().encode()
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_WAIT = re.compile(rb"(?:^|&)wait=")
"""Such a call takes as long as Bybit does, which says nothing of ours."""

_log = structlog.get_logger(__name__)


class _Ended(Exception):
    """The gateway stops and does not wait for this request any longer."""


class OpenRequests:
    """The requests being served, so that a stop can end those that would hold it up."""

    def __init__(self) -> None:
        self._scopes: set[asyncio.Timeout] = set()

    def end(self) -> None:
        """Answer whatever is still open with 503, at once."""
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)

    @asynccontextmanager
    async def one_more(self) -> AsyncIterator[None]:
        """Count a request in meanwhile.

        Raises:
            _Ended: `end` came first.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError as exc:
            if scope.expired():
                raise _Ended from exc
            raise


class _Answer:
    """Sends what the app answers, and remembers when that began.

    Attributes:
        took: until it began, in seconds, of an answer that goes on; None of any other.
    """

    def __init__(self, send: Send, *, is_tls: bool) -> None:
        self._send = send
        self._asked_at = time.monotonic()
        self._is_tls = is_tls
        self.has_started = False
        self.status = 0
        self.took: float | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started, self.status = True, message["status"]
            protect(message, is_tls=self._is_tls)
            if _EVENT_STREAM in message.get("headers", ()):
                self.took = time.monotonic() - self._asked_at
        await self._send(message)


class Edge:
    """ASGI layer around the whole app.

    The key is checked here, before routing and parsing, so that no path below `/api` can be
    reached, or even be told to exist, without it.

    Args:
        app: what is guarded.
        guard: recognises who asks.
        requests: counts what is being served.
        times: told of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: Guard,
        requests: OpenRequests,
        times: RequestTimes | None = None,
    ) -> None:
        self._app = app
        self._guard = guard
        self._requests = requests
        self._times = times or RequestTimes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer, began = _Answer(send, is_tls=scope.get("scheme") == "https"), time.monotonic()
        try:
            async with self._requests.one_more():
                await self._respond(scope, receive, answer)
        except _Ended:
            if not answer.has_started:
                await _stopping(scope)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", None)
            took: float | None = answer.took or time.monotonic() - began
            if _WAIT.search(scope.get("query_string", b"")):
                took = None
            self._times.answered(scope["method"], route, answer.status, took)

    async def _respond(self, scope: Scope, receive: Receive, send: _Answer) -> None:
        refusal = bounds.refusal(scope) or await self._refusal(scope)
        if refusal is None:
            body = await bounds.read_body(scope, receive)
            if not isinstance(body, Response):
                await self._serve(scope, bounds.replay(body, receive), send)
                return
            refusal = body
        await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Answer why this is not served, or remember who asks for it."""
        path = scope["path"]
        if path != GUARDED_PATH and not path.startswith(GUARDED_PATH + "/"):
            return None
        given = [value for name, value in scope["headers"] if name == _KEY_HEADER]
        address = scope["client"][0] if scope.get("client") else "unknown"
        is_reading = scope["method"] in _READING
        try:
            caller = await self._guard.admit(given, address, is_reading=is_reading)
        except GatewayError as exc:
            return problem_of(exc, path)
        scope.setdefault("state", {})["caller"] = caller.on(
            address, current_trace_id() or uuid4().hex
        )
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: _Answer) -> None:
        # What is asked by HEAD is answered as by GET; the server leaves out the body.
        served = scope
        if scope["method"] == "HEAD":
            state = {**scope.get("state", {}), "is_bare": True}
            served = {**scope, "method": "GET", "state": state}
        try:
            await self._app(served, receive, send)
        except Exception as exc:
            # The one place for what nobody foresaw: one request fails, the service does not, and
            # the caller learns nothing of the inside but a number to ask about.
            trace_id = current_trace_id() or uuid4().hex
            _log.exception(
                "control.request_failed",
                trace_id=trace_id,
                method=scope["method"],
                path=scope["path"],
                error=type(exc).__name__,
            )
            if send.has_started:
                raise
            answer = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "the gateway failed to serve this; its log tells more under the trace_id",
                code="internal_error",
                instance=scope["path"],
                trace_id=trace_id,
            )
            await answer(scope, receive, send)
        finally:
            if served is not scope and "route" in served:
                scope["route"] = served["route"]


def _stopping(scope: Scope) -> Response:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the gateway is stopping; send the same again when it is back",
        code="gateway_stopping",
        instance=scope["path"],
        headers={"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"},
    )
