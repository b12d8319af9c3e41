"""What part of its life a connection has been of use; times come as arguments."""

from __future__ import annotations


class Uptime:
    """Sums the time a connection was up, since something was first noted of it."""

    def __init__(self) -> None:
        self._born_at: float | None = None
        self._up_since: float | None = None
        self._up_seconds = 0.0

    def note(self, now: float, *, is_up: bool) -> None:
        """Take note of what it is from now on; `now` is monotonic seconds."""
        if self._born_at is None:
            self._born_at = now
        if self._up_since is not None:
            self._up_seconds += now - self._up_since
        self._up_since = now if is_up else None

    def ratio(self, now: float) -> float:
        """Say what share of its life it was up, 0 to 1; 0 while it has none."""
        if self._born_at is None or now <= self._born_at:
            return 0.0
        present = 0.0 if self._up_since is None else now - self._up_since
        return (self._up_seconds + present) / (now - self._born_at)
