"""When to try again what keeps failing: freely, not now, or once to see."""

from __future__ import annotations

from enum import StrEnum
from random import Random


class BreakerState(StrEnum):
    """Whether attempts are made."""

    CLOSED = "closed"
    """Freely; each is spaced by its own backoff."""
    OPEN = "open"
    """Not now: so many failed in a row that more would only be a burden."""
    HALF_OPEN = "half_open"
    """One is made to see; the others wait for what becomes of it."""


class Breaker:
    """Counts failures in a row over everybody who shares what fails; owns no clock.

    Args:
        failures_to_open: after so many in a row nobody tries for a while.
        pause_seconds: longest such while; each is drawn between half of it and all of it.
        rng: source of chance, so that a test can own it.
    """

    def __init__(self, *, failures_to_open: int, pause_seconds: float, rng: Random) -> None:
        self._failures_to_open = failures_to_open
        self._pause_seconds = pause_seconds
        self._rng = rng
        self._failures = 0
        self._opens_until: float | None = None
        self._is_trying = False

    def state(self, now: float) -> BreakerState:
        """Say what attempts meet; `now` is monotonic seconds."""
        if self._opens_until is None:
            return BreakerState.CLOSED
        if self._is_trying or now >= self._opens_until:
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN

    def wait_seconds(self, now: float) -> float:
        """Say how long to wait before asking again whether an attempt may be made; 0 is now."""
        if self._opens_until is None:
            return 0.0
        if self._is_trying:
            return min(1.0, self._pause_seconds / 10)
        return max(0.0, self._opens_until - now)

    def begin(self, now: float) -> None:
        """Take note that an attempt begins; call it only when there is nothing to wait for."""
        if self._opens_until is not None and now >= self._opens_until:
            self._is_trying = True

    def succeeded(self) -> None:
        """Take note of proven success: good data, not a mere handshake."""
        self._failures, self._opens_until, self._is_trying = 0, None, False

    def given_up(self) -> None:
        """Take note that an attempt ended without telling anything."""
        self._is_trying = False

    def failed(self, now: float) -> None:
        """Take note of a failure."""
        self._failures += 1
        was_trying, self._is_trying = self._is_trying, False
        if was_trying or self._failures >= self._failures_to_open:
            pause = self._rng.uniform(self._pause_seconds / 2, self._pause_seconds)
            self._opens_until = now + pause
