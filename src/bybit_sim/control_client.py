"""Talks to the control endpoint of a running simulator, for the command line."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from bybit_sim.config import SimulatorError

_PATIENCE_SECONDS = 30.0
_OK = 200


def begin_fault(url: str, name: str, assignments: Sequence[str]) -> dict[str, Any]:
    """Begin a fault; parameters are written `key=value`, lists as JSON.

    Raises:
        SimulatorError: in the words of the simulator, or because it cannot be reached.
    """
    body = msgspec.json.encode(dict(_assignment(each) for each in assignments))
    return call(url, "POST", f"/sim/faults/{quote(name, safe='')}", body)


def clear_faults(url: str, name: str | None) -> int:
    """End all faults, or those of a name; return how many were active.

    Raises:
        SimulatorError: as above.
    """
    path = "/sim/faults" if name is None else f"/sim/faults/{quote(name, safe='')}"
    return int(call(url, "DELETE", path)["ended"])


def call(url: str, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    """Send one request and return the answer.

    Raises:
        SimulatorError: as above.
    """
    parts = urlsplit(url)
    secure = parts.scheme in {"https", "wss"}
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE_SECONDS)
    except ValueError as exc:
        raise SimulatorError(f"{url!r} is no address: {exc}") from exc
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = msgspec.json.decode(response.read(), type=dict[str, Any])
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as exc:
        raise SimulatorError(f"no simulator answers at {url}: {exc}") from exc
    finally:
        connection.close()
    if response.status != _OK:
        raise SimulatorError(str(answer.get("error", answer)))
    return answer


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SimulatorError(f"parameters are written key=value, not {text!r}")
    # Everything else travels as text and is read leniently at the other end.
    if value == "null":
        return name, None
    if value.startswith("["):
        try:
            return name, msgspec.json.decode(value)
        except msgspec.DecodeError as exc:
            raise SimulatorError(f"parameter {name!r} is no JSON list: {exc}") from exc
    return name, value
