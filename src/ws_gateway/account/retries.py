"""Why topics are not complete, and when each is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from random import Random

from ws_gateway.domain.topic import Topic
from ws_gateway.runtime.backoff import full_jitter


class Retries:
    """Topics whose last reading was not complete; each has pauses of its own.

    Those that failed together for the first time are tried again together: what one of them asks
    for is often what another needs.

    Attributes:
        since: when the first of them failed, our clock, s; while there are any.
    """

    def __init__(self, rng: Random, monotonic: Callable[[], float]) -> None:
        self._rng = rng
        self._monotonic = monotonic
        self._faults: dict[Topic, str] = {}
        self._again: dict[Topic, float] = {}  # when it is tried again
        self._delays: dict[Topic, Iterator[float]] = {}
        self.since = 0.0

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._faults)

    @property
    def topics(self) -> Iterable[Topic]:
        """Name them."""
        return self._faults.keys()

    @property
    def faults(self) -> list[str]:
        """Say why, each reason once."""
        return sorted(set(self._faults.values()))

    def failed(self, topics: Iterable[Topic], begun: float, why: str, pause: float) -> None:
        """Take note that a reading of these was not complete.

        Args:
            topics: which.
            begun: when it began, our clock, s.
            why: for people.
            pause: how long the venue wants to be left alone, s.
        """
        named = list(topics)
        if named and not self._faults:
            self.since = begun
        self._faults |= dict.fromkeys(named, why)
        self._put_off(named, pause)

    def gave_way(self, topics: Iterable[Topic]) -> None:
        """Take note that a reading was ended before its time; those that failed before wait."""
        self._put_off([topic for topic in topics if topic in self._faults], 0.0)

    def succeeded(self, topic: Topic) -> None:
        """Take note that of this topic nothing failed, or that nobody wants it any more."""
        self._faults.pop(topic, None)
        self._again.pop(topic, None)
        self._delays.pop(topic, None)

    def due(self) -> set[Topic]:
        """Name those whose pause is over."""
        now = self._monotonic()
        return {topic for topic, at in self._again.items() if at <= now}

    def next_at(self, topics: Iterable[Topic]) -> float:
        """Say when the first of these is to be tried again, our clock, s; never if none is."""
        return min((self._again.get(topic, inf) for topic in topics), default=inf)

    def _put_off(self, topics: list[Topic], pause: float) -> None:
        first = full_jitter(base_seconds=1.0, cap_seconds=30.0, rng=self._rng, first_at_once=False)
        delays = {topic: self._delays.setdefault(topic, first) for topic in topics}
        now = self._monotonic()
        at = {each: now + max(next(each), pause) for each in set(delays.values())}
        self._again |= {topic: at[each] for topic, each in delays.items()}
