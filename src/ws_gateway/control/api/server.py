"""The HTTP server: takes its port before anything else starts, and ends with the intake."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
import structlog
import uvicorn
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from ws_gateway.control.api.bounds import MAX_HEADER_BYTES, MAX_TARGET_BYTES, headers_too_large
from ws_gateway.control.api.problems import problem
from ws_gateway.errors import ConfigError

_READ_BYTES = 2 * (MAX_HEADER_BYTES + MAX_TARGET_BYTES)
"""How much is read of a request that does not come to its body; the edge's bounds come before."""

UNREAD_SECONDS = 20.0
"""How long what was sent may lie unread: a browser that vanished holds nothing for longer."""

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Hold the port of the HTTP API.

    Raises:
        ConfigError: somebody else has it, or the address is not ours.
    """
    address = (host, port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
    except OSError as exc:
        raise ConfigError(
            "WSG_HTTP_HOST", f"found {host!r} ({exc})", "name an address of this host"
        ) from exc
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(
                "WSG_HTTP_HOST",
                f"{host} is no address of this machine",
                "name one that is, or 0.0.0.0 for all",
            ) from exc
        raise ConfigError(
            "WSG_HTTP_PORT",
            f"{host}:{port} cannot be listened on ({exc.strerror})",
            "stop what uses the port, or choose another (0 takes a free one)",
        ) from exc
    with listener:
        yield listener


class _Protocol(H11Protocol):
    """HTTP whose every refusal is a problem, also of what is no HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let the system end a connection whose other side takes nothing any more.

        What is served on it is told as `state["unsent"]` how much of it has not arrived yet.
        """
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000)
            )
        self.app_state = {**self.app_state, "unsent": partial(unsent_bytes, transport)}
        super().connection_made(transport)

    def _should_upgrade(self) -> bool:
        return False  # there are no WebSockets here; who asks for one is answered by HTTP

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that cannot be read as a request, and close the connection."""
        fault = sys.exc_info()[1]
        is_too_large = (
            isinstance(fault, h11.RemoteProtocolError)
            and fault.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )
        answer = headers_too_large(None, None) if is_too_large else _not_http(msg)
        _log.info("api.request_unreadable", status=answer.status_code)
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (
                h11.Response(status_code=answer.status_code, headers=answer.raw_headers),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Say how much was written that the other side's system has not taken yet, in bytes.

    Where the system does not tell, it is what has not been handed to it.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or transport.is_closing():
        return 0
    waiting = transport.get_write_buffer_size()
    with contextlib.suppress(OSError):
        # SIOCOUTQ: sent and not acknowledged, and not sent.
        (under_way,) = struct.unpack(
            "i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        )
        waiting += under_way
    return waiting


def _not_http(_msg: str) -> Response:
    return problem(
        HTTPStatus.BAD_REQUEST,
        "these bytes are no HTTP/1.1 request",
        code="request_not_http",
        instance="",
        headers={"Connection": "close"},
    )


class HttpServer(uvicorn.Server):
    """uvicorn inside our task group: it neither owns the signals nor configures logging.

    Args:
        app: what is served.
        trusted_proxies: addresses and networks whose word on where a request came from is believed.
        tls: what callers are shown; None speaks plain HTTP.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        trusted_proxies: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # The address decides who is slowed down, so it is nobody's to choose.
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                http=_Protocol,
                ws="none",
                h11_max_incomplete_event_size=_READ_BYTES,
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
                lifespan="off",
                timeout_graceful_shutdown=2,
                # Longer than clients keep an idle connection (5 to 60 s): closed by the server,
                # it may take a request with it that is under way.
                timeout_keep_alive=75,
            )
        )

    def stop(self) -> None:
        """Take no connection any more, and end when the open requests are answered."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process's owner."""
        yield
