"""How often something may be tried in all, whoever tries, with a share kept for who rarely does."""

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

    def __str__(self) -> str:
        return f"{self._taken.maxlen} calls in {self._window_seconds:g} s"

    def wait_seconds(self, now: float) -> float:
        """Say how long to wait before asking again; 0 means that one may be taken now."""
        if len(self._taken) < (self._taken.maxlen or 0):
            return 0.0
        return max(0.0, self._taken[0] + self._window_seconds - now)

    def take(self, now: float) -> None:
        """Take one; call it only when there is nothing to wait for."""
        self._taken.append(now)


class SharedBudget:
    """A budget of several parties.

    One party may take half of it at most, and a fifth is kept for parties that tried hardly at all,
    so that one in trouble does not keep the others from coming back.

    Args:
        most: attempts in any window.
        window_seconds: length of the window.
    """

    def __init__(self, *, most: int, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._most_but_reserve = max(1, most - most // 5)
        self._rarely = max(1, most // 20)
        self._taken: deque[tuple[float, str]] = deque(maxlen=most)
        self._held_until = 0.0

    def wait_seconds(self, party: str, now: float) -> float:
        """Say how long a party has to wait before asking again; 0: it may take one now."""
        begin = now - self._window_seconds
        all_of_them = [at for at, _ in self._taken if at > begin]
        own = [at for at, who in self._taken if at > begin and who == party]
        limit = self._most if len(own) < self._rarely else self._most_but_reserve
        return max(
            self._held_until - now,
            self._until_below(all_of_them, limit, now),
            self._until_below(own, self._most_of_one, now),
            0.0,
        )

    def take(self, party: str, now: float) -> None:
        """Take one; call it only when there is nothing to wait for."""
        self._taken.append((now, party))

    def hold(self, until: float) -> None:
        """Let nobody take any before a moment."""
        self._held_until = max(self._held_until, until)

    def _until_below(self, taken: list[float], limit: int, now: float) -> float:
        if len(taken) < limit:
            return 0.0
        return taken[len(taken) - limit] + self._window_seconds - now
