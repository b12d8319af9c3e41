"""The time of day, as everything in the process tells it."""

from __future__ import annotations

import time


def clock_us() -> int:
    """Return Unix time in µs."""
    return time.time_ns() // 1000
