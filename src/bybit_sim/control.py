"""The control endpoint: faults and state over HTTP, on the port of the simulator itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from bybit_sim.broadcaster import Broadcaster
from bybit_sim.config import SimulatorConfig
from bybit_sim.connection import LiveConnection
from bybit_sim.control_account import (
    AccountControl,
    ControlAnswer,
    TradingVenue,
)
from bybit_sim.control_account import json_answer as _json
from bybit_sim.fault import Fault, FaultError
from bybit_sim.faults import REGISTRY, Faults, describe, find_kind

CONTROL_PREFIX = "/sim/"
_FAULTS = "/sim/faults"
_WINDOW_SECONDS = 300.0  # Bybit's own limit of connections counts over as long


class ControlledVenue(TradingVenue, Protocol):
    """What the control endpoint shows and moves."""

    config: SimulatorConfig
    faults: Faults
    broadcaster: Broadcaster
    connections: list[LiveConnection]

    @property
    def connection_attempts(self) -> int:
        """WebSocket handshakes seen."""
        ...

    @property
    def attempt_times(self) -> Sequence[float]:
        """When the last of them were."""
        ...

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        ...

    async def fault(self, name: str, /, **parameters: Any) -> Fault:
        """Begin a fault and wait until it has come about."""
        ...


class ControlDesk:
    """Answers requests whose path begins with `CONTROL_PREFIX`."""

    def __init__(self, venue: ControlledVenue) -> None:
        self._venue = venue
        self._account = AccountControl(venue)

    async def answer(self, method: str, target: str, body: bytes) -> ControlAnswer:
        """Answer one request.

        Args:
            method: HTTP verb.
            target: path and query as sent.
            body: of the request, empty if there was none.
        """
        sent, _, query = target.partition("?")
        path = unquote(sent).rstrip("/")
        if path == "/sim/state":
            return self._read(method, self._state)
        if path == _FAULTS:
            if method == "DELETE":
                return _json(200, {"ended": self._venue.faults.clear()})
            return self._read(method, self._listing)
        if path.startswith(f"{_FAULTS}/"):
            return await self._change(method, path.removeprefix(f"{_FAULTS}/"), body)
        answer = self._account.answer(method, path, query, body)
        if answer is not None:
            return answer
        paths = ", ".join([_FAULTS, "/sim/state", *self._account.paths])
        return _json(404, {"error": f"nothing at {path}; there are: {paths}"})

    @staticmethod
    def _read(method: str, build: Callable[[], dict[str, Any]]) -> ControlAnswer:
        if method != "GET":
            return _json(405, {"error": f"{method} is not possible here"})
        return _json(200, build())

    async def _change(self, method: str, name: str, body: bytes) -> ControlAnswer:
        try:
            kind = find_kind(name)
        except FaultError as exc:
            return _json(404, {"error": str(exc), "faults": list(REGISTRY)})
        if method == "GET":
            active = [fault_row(each) for each in self._venue.faults.named(name)]
            hits = self._venue.faults.hits(name)
            return _json(200, describe(kind) | {"active": active, "hits": hits})
        if method == "DELETE":
            return _json(200, {"ended": self._venue.faults.clear(name)})
        if method == "POST":
            return await self._begin(name, body)
        return _json(405, {"error": f"{method} is not possible here"})

    async def _begin(self, name: str, body: bytes) -> ControlAnswer:
        try:
            parameters = msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return _json(400, {"error": f"the body is not a JSON object: {exc}", "parameter": None})
        try:
            fault = await self._venue.fault(name, **parameters)
        except FaultError as exc:
            return _json(400, {"error": str(exc), "parameter": exc.parameter})
        return _json(200, fault_row(fault))

    def _listing(self) -> dict[str, Any]:
        return {
            "faults": [describe(kind) for kind in REGISTRY.values()],
            "active": [fault_row(each) for each in self._venue.faults.active],
        }

    def _state(self) -> dict[str, Any]:
        venue = self._venue
        since = venue.config.clock() - _WINDOW_SECONDS
        return {
            "seed": venue.config.seed,
            "server_time_ms": venue.now_ms(),
            "connection_attempts": {
                "total": venue.connection_attempts,
                "last_300_seconds": sum(1 for at in venue.attempt_times if at >= since),
            },
            "frames_sent": venue.broadcaster.frames_sent,
            "slow_cut": venue.broadcaster.slow_cut,
            "connections": [_connection_row(each) for each in venue.connections],
            "active_faults": [fault_row(each) for each in venue.faults.active],
        }


def fault_row(fault: Fault) -> dict[str, Any]:
    """Show one fault that was begun."""
    return {
        "id": fault.number,
        "name": fault.name,
        "active": fault.is_active,
        "hits": fault.hits,
        "ends_ms": None if fault.ends_ms is None else int(fault.ends_ms),
        "parameters": fault.parameters(),
    }


def _connection_row(connection: LiveConnection) -> dict[str, Any]:
    return {
        "conn_id": connection.id,
        "path": connection.path,
        "authenticated": connection.is_authenticated,
        "account": None if connection.party is None else connection.party.name,
        "deaf": connection.socket.is_deaf,
        "topics": list(connection.topics),
    }
