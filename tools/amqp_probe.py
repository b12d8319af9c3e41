"""Ask whether an AMQP broker answers, with nothing but a socket."""

from __future__ import annotations

import os
import random
import socket
from urllib.parse import urlsplit

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_PARTS = 8
_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


def is_answering(host: str, port: int, *, timeout_seconds: float = 2.0) -> bool:
    """Say whether the other side answers the AMQP 0-9-1 greeting with `Connection.Start`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(_PROTOCOL_HEADER)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


def address_of(url: str) -> tuple[str, str, int]:
    """Take scheme, host and port from an AMQP URL; credentials stay behind.

    Raises:
        ValueError: it is no amqp or amqps URL with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("not an amqp:// URL with a host")
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def is_listening(host: str, port: int, *, timeout_seconds: float = 2.0) -> bool:
    """Say whether anything accepts connections there; for TLS, where the greeting comes later."""
    try:
        socket.create_connection((host, port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Choose free ports of the loopback interface, for a service that comes back to them.

    They lie below the range that systems give to outgoing connections (from 32768 on Linux, from
    49152 elsewhere): while the service is away, no stranger takes them by chance. Tests that run
    side by side choose from a part each, for theirs may be away at the same time.
    """
    candidates = range(20_000, 32_000)
    if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
        candidates = candidates[int(worker) % _PARTS :: _PARTS]
    return random.sample([port for port in random.sample(candidates, 200) if is_free(port)], count)


def is_free(port: int) -> bool:
    """Say whether a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
