"""When a socket gets a successor: it came of age, brings nothing, or somebody wished it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replacing:
    """When sockets are replaced, in seconds.

    Attributes:
        max_age: age at which a socket is replaced, give or take a tenth; 0 for never.
        settle_deadline: how long the new socket may take to carry everything.
        hear_out_deadline: how long the old socket may take to answer a last ping.
        linger: how long copies of the old socket's last facts may still come.
        pause, pause_cap: least time between two replacements of what is silent; it doubles as long
            as they do not help. A socket of age whose successor did not come up waits `pause_cap`.
    """

    max_age: float = 12 * 3600.0
    settle_deadline: float = 30.0
    hear_out_deadline: float = 10.0
    linger: float = 10.0
    pause: float = 60.0
    pause_cap: float = 900.0


class Succession:
    """Which sockets of a shard are to be replaced, and why; times are monotonic seconds.

    Args:
        replacing: the times.
        jitter: answers a number between 0 and 1, so that sockets do not come of age together.
    """

    def __init__(self, replacing: Replacing, jitter: Callable[[], float]) -> None:
        self._replacing = replacing
        self._jitter = jitter
        self._wishes: list[tuple[str, str]] = []
        self._due_at: dict[str, float] = {}
        self._silence_pause = replacing.pause
        self._next_silence_at = 0.0
        self._postponed: dict[str, str] = {}

    def wish(self, name: str, why: str) -> None:
        """Take note that a socket is to be replaced; one wish is enough."""
        if all(name != wished for wished, _ in self._wishes):
            self._wishes.append((name, why))

    def suspect(self, name: str, why: str, now: float) -> bool:
        """Take note that a socket is silent; answers False if the last such was too short ago.

        Then it is replaced later, unless its topics flow again until then.
        """
        if now < self._next_silence_at:
            self._postponed[name] = why
            return False
        if now > self._next_silence_at + 2 * self._silence_pause:
            self._silence_pause = self._replacing.pause  # the last replacement helped
        self._next_silence_at = now + self._silence_pause
        self._silence_pause = min(self._replacing.pause_cap, 2 * self._silence_pause)
        self.wish(name, why)
        return True

    def look(self, opened_at: dict[str, float | None], deaf: set[str], now: float) -> None:
        """Give every open socket its day, and wish for a successor of one whose day has come.

        Args:
            opened_at: when each socket was opened, None for one that is not open.
            deaf: sockets with topics that are silent although they should tick.
            now: the time.
        """
        self._postponed = {name: why for name, why in self._postponed.items() if name in deaf}
        if self._postponed and now >= self._next_silence_at:
            name = next(iter(self._postponed))
            self.suspect(name, self._postponed.pop(name), now)
        if not self._replacing.max_age:
            return
        self._due_at = {name: at for name, at in self._due_at.items() if opened_at.get(name)}
        for name, opened in opened_at.items():
            if opened is None:
                continue
            if name not in self._due_at:
                age = self._replacing.max_age * (0.9 + 0.2 * self._jitter())
                self._due_at[name] = opened + age
            elif now >= self._due_at[name]:
                self._due_at[name] = now + self._replacing.pause_cap
                self.wish(name, "it came of age")

    def seconds_to_next(self, now: float) -> float | None:
        """Say how long until something is due; None if nothing will be."""
        dues = [*self._due_at.values(), *([self._next_silence_at] if self._postponed else [])]
        return max(0.0, min(dues) - now) if dues else None

    def take(self) -> tuple[str, str] | None:
        """Return the oldest wish, a socket's name and why, and forget it."""
        return self._wishes.pop(0) if self._wishes else None
