"""Cuts of connections, at once or at random instants to come."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from bybit_sim.connection import LiveConnection
from bybit_sim.pulse import Pulse


class Cuts:
    """Cuts TCP of all connections of a path, as Bybit usually ends one.

    Attributes:
        planned: how many cuts are still to come.
        done: how many were made.
        sockets: how many sockets they ended.
    """

    def __init__(self, connections: Callable[[], Sequence[LiveConnection]], pulse: Pulse) -> None:
        self._connections = connections
        self._pulse = pulse
        self.planned = 0
        self.done = 0
        self.sockets = 0

    def cut(self, path: str, account: str | None = None) -> int:
        """Cut now, all or those of an account; return how many sockets."""
        chosen = [
            each
            for each in self._connections()
            if each.path == path
            and (account is None or (each.party is not None and each.party.name == account))
        ]
        for each in chosen:
            each.socket.transport.abort()
        self.done += 1
        self.sockets += len(chosen)
        return len(chosen)

    def plan(self, path: str, times: int, within_seconds: float, seed: int) -> None:
        """Cut so many times at seeded instants of the next seconds."""
        rng = random.Random(f"{seed}:cuts")
        now = self._pulse.now_ms()
        self.planned += times
        for _ in range(times):
            due = now + rng.uniform(0.0, within_seconds * 1000.0)
            self._pulse.at(due, partial(self._cut_planned, path))

    def _cut_planned(self, path: str, _now_ms: float) -> None:
        self.planned -= 1
        self.cut(path)
