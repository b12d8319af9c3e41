"""How often something may be tried in all, whoever tries."""

from __future__ import annotations

from collections import deque


class AttemptBudget:
    """At most so many attempts in any window of time; owns no clock.

    Args:
        most: attempts in any window.
        window_seconds: length of the window.
    """

    def __init__(self, *, most: int, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._taken: deque[float] = deque(maxlen=most)

    def wait_seconds(self, now: float) -> float:
        """Say how long to wait before asking again; 0 means that one may be taken now."""
        if len(self._taken) < (self._taken.maxlen or 0):
            return 0.0
        return max(0.0, self._taken[0] + self._window_seconds - now)

    def take(self, now: float) -> None:
        """Take one; call it only when there is nothing to wait for."""
        self._taken.append(now)
