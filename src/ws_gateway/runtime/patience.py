"""How often something may be asked for that is needed again and again."""

from __future__ import annotations

_PROMPT = 3
_FIRST_PAUSE_US, _LONGEST_PAUSE_US = 500_000, 30_000_000
_CALM_US = 60_000_000


class Patience:
    """Lets the first three through at once, and then with pauses that double up to half a minute.

    After a minute without asking it begins anew. Owns no clock.
    """

    __slots__ = ("_last_us", "_often")

    def __init__(self) -> None:
        self._often = 0
        self._last_us = 0

    def allows(self, now_us: int) -> bool:
        """Say whether to ask now, and take note that it is asked if so; `now_us` is µs."""
        since_last = abs(now_us - self._last_us)  # a clock set back must not stop it
        if since_last > _CALM_US:
            self._often = 0
        doublings = self._often - _PROMPT
        if doublings >= 0:
            pause = min(_LONGEST_PAUSE_US, _FIRST_PAUSE_US << min(doublings, 10))
            if since_last < pause:
                return False
        self._often += 1
        self._last_us = now_us
        return True
