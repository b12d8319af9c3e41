"""Asking the venue for a fresh snapshot of a book: once per break, and not too often."""

from __future__ import annotations

from collections.abc import Callable

from ws_gateway.pipeline.stream import Stream
from ws_gateway.ports.event_path import Resync
from ws_gateway.runtime.counters import Counters

_PATIENCE_US = 5_000_000
"""How long a snapshot that was asked for may take before it is asked for again."""


class Snapshots:
    """Asks for them, and counts how often."""

    def __init__(self, resync: Resync, counters: Counters, clock_us: Callable[[], int]) -> None:
        self._resync = resync
        self._counters = counters
        self._clock_us = clock_us

    def ask(self, stream: Stream) -> None:
        """Ask for a fresh snapshot, unless one may be on its way or too many were asked for."""
        now_us, asked_at = self._clock_us(), stream.asked_at
        if asked_at is not None and 0 <= now_us - asked_at < _PATIENCE_US:
            return
        if not stream.patience.allows(now_us):
            return  # every further delta asks again whether the pause is over
        self.request(stream, now_us)

    def request(self, stream: Stream, now_us: int) -> None:
        """Ask for one whatever was asked before; whether it may be, the caller found out."""
        stream.asked_at = now_us
        self._counters.resyncs += 1
        self._resync.resync(stream.topic)
