"""Keeps a fault that repeats from flooding the log: each kind is told once a minute."""

from __future__ import annotations

from collections.abc import Callable, Hashable

TELL_EVERY_US = 60_000_000


class News:
    """Remembers what was told when; kinds must be few, for none is ever forgotten."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._told_at: dict[Hashable, int] = {}

    def is_due(self, kind: Hashable) -> bool:
        """Say whether this kind of fault deserves a log line now, and count it as told if so."""
        now_us = self._clock_us()
        told_at = self._told_at.get(kind)
        if told_at is not None and now_us - told_at < TELL_EVERY_US:
            return False
        self._told_at[kind] = now_us
        return True
