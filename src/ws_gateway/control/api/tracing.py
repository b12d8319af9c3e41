"""Around everything else: a trace per request, and the one line that says what became of it."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ws_gateway.domain.caller import Caller
from ws_gateway.runtime.tracing import Trace, tracing

TRACEPARENT = "traceparent"
SOURCE_HEADER = "x-served-from"

_TRACEPARENT = TRACEPARENT.encode()
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_MAX_PATH = 200

_log = structlog.get_logger(__name__)


class _Watched:
    """Sends the answer with its trace, and remembers what was sent."""

    def __init__(self, send: Send, trace: Trace, notes: dict[str, str], *, is_bare: bool) -> None:
        self._send = send
        self.notes = notes
        self._is_bare = is_bare
        self._header = (_TRACEPARENT, trace.traceparent.encode())
        self.status: int | None = None
        self.sent_bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])  # some hand over an enumeration
            headers = [*message.get("headers", ()), self._header]
            if (source := self.notes.get("source")) is not None:
                headers.append((SOURCE_HEADER.encode(), source.encode()))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.sent_bytes += 0 if self._is_bare else len(message.get("body", b""))
        await self._send(message)


class Tracing:
    """The outermost ASGI layer.

    Args:
        app: everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = Trace.begin([value for name, value in scope["headers"] if name == _TRACEPARENT])
        began_at = time.monotonic()
        with tracing(trace.trace_id) as notes:
            answer = _Watched(send, trace, notes, is_bare=scope["method"] == "HEAD")
            try:
                await self._app(scope, receive, answer)
            finally:
                _tell(scope, answer, time.monotonic() - began_at)


def _tell(scope: Scope, answer: _Watched, seconds: float) -> None:
    """Write the line; `status` is null if the caller went away before there was an answer."""
    is_failure = answer.status is not None and answer.status >= _SERVER_ERROR
    tell = _log.warning if is_failure else _log.info
    tell(
        "api.request_served",
        method=scope["method"],
        route=_route(scope),
        status=answer.status,
        ms=round(seconds * 1000, 2),
        key=_key_name(scope),
        bytes=answer.sent_bytes,
        address=scope["client"][0] if scope.get("client") else None,
        **_place(scope, answer.status),
        **answer.notes,
    )


def _place(scope: Scope, status: int | None) -> dict[str, str]:
    """Name the path where no template can, and where one must be looked for: nothing was served."""
    if status is not None and status < _CLIENT_ERROR and scope.get("route") is not None:
        return {}
    return {"path": scope["path"][:_MAX_PATH]}


def _route(scope: Scope) -> str | None:
    """Name the template that matched: a path may hold anything, and each would be a line's own."""
    route: Any = scope.get("route")
    return None if route is None else str(route.path)


def _key_name(scope: Scope) -> str | None:
    """Name the key that was used, None where none was needed or none fitted."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return None if caller is None else caller.name
