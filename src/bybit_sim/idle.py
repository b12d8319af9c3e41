"""Connections that are silent for too long, which the venue cuts."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs

from bybit_sim.connection import LiveConnection
from bybit_sim.topics import PRIVATE_PATH

_ACTIVE_TIME_RANGE = (30.0, 600.0)


def longest_silence(path: str, query: str, default_seconds: float) -> float:
    """Read `max_active_time` (`45s`, `2m`) of the private socket, in seconds; nonsense is ignored.

    Args:
        path: of the socket's URL.
        query: of that.
        default_seconds: where nothing is asked for.
    """
    text = parse_qs(query).get("max_active_time", [""])[0]
    unit = {"s": 1.0, "m": 60.0}.get(text[-1:], 0.0)
    if path == PRIVATE_PATH and unit and text[:-1].isdecimal():
        shortest, longest = _ACTIVE_TIME_RANGE
        return min(max(float(text[:-1]) * unit, shortest), longest)
    return default_seconds


def cut_silent(connections: Iterable[LiveConnection], now_ms: float) -> None:
    """Abort connections with neither client ping nor server data for too long."""
    for each in list(connections):
        data = (
            stream.last_push_ms if stream else _last_told_ms(each, topic)
            for topic, stream in each.topics.items()
        )
        if each.socket.is_deaf:
            continue
        quiet_ms = now_ms - max([each.last_ping_ms, *data])
        if quiet_ms > each.max_idle_seconds * 1000.0:
            each.socket.transport.abort()


def _last_told_ms(connection: LiveConnection, topic: str) -> float:
    party = connection.party
    return 0.0 if party is None else party.stage.last_told_ms.get(topic, 0.0)
