"""Keeps a fault that repeats from flooding the log: each kind is told once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

TELL_EVERY_SECONDS = 60.0


class News:
    """Remembers what was told when; kinds must be few, for none is ever forgotten."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told_at: dict[Hashable, float] = {}

    def is_due(self, kind: Hashable) -> bool:
        """Say whether this kind of fault deserves a log line now, and count it as told if so."""
        now = self._monotonic()
        told_at = self._told_at.get(kind)
        if told_at is not None and now - told_at < TELL_EVERY_SECONDS:
            return False
        self._told_at[kind] = now
        return True
