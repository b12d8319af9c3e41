"""The HTTP server: takes its port before anything else starts, and ends with the intake."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from ws_gateway.errors import ConfigError


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


class HttpServer(uvicorn.Server):
    """uvicorn inside our task group: it neither owns the signals nor configures logging."""

    def __init__(self, app: Callable[..., Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=2,
                timeout_keep_alive=5,
            )
        )

    def stop(self) -> None:
        """Take no connection any more, and end when the open requests are answered."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process's owner."""
        yield
