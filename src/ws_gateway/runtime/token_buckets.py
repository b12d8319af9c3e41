"""How often each of many names may do something: so many at once, and so many a second."""

from __future__ import annotations

from collections import OrderedDict


class TokenBuckets:
    """A token bucket per name, for as many names as are remembered; owns no clock.

    A name that is forgotten begins with a full bucket, as every new one does.

    Args:
        burst: tokens of a full bucket.
        per_second: how fast it fills.
        most_names: how many are remembered; the one not seen for longest is forgotten first.
    """

    def __init__(self, *, burst: float, per_second: float, most_names: int = 10_000) -> None:
        self._burst = burst
        self._per_second = per_second
        self._most_names = most_names
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def wait_seconds(self, name: str, now: float) -> float:
        """Say how long until a token is there; 0 if one is."""
        return max(0.0, (1.0 - self._level(name, now)) / self._per_second)

    def take(self, name: str, now: float) -> float:
        """Take a token and answer 0; or take none and say in how many seconds one is there."""
        wait = self.wait_seconds(name, now)
        if wait > 0:
            return wait
        self._levels[name] = (self._level(name, now) - 1.0, now)
        self._levels.move_to_end(name)
        if len(self._levels) > self._most_names:
            self._levels.popitem(last=False)
        return 0.0

    def give_back(self, name: str, now: float) -> None:
        """Undo a `take`; a name that was forgotten since has a full bucket anyway."""
        if name in self._levels:
            self._levels[name] = (min(self._burst, self._level(name, now) + 1.0), now)

    def _level(self, name: str, now: float) -> float:
        level, at = self._levels.get(name, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second)
