"""Every wanted topic with how fast it comes and how long it is silent; looked at in small slices.

The event loop moves events, so it is never held for longer than a slice takes, however many topics
there are; and nothing is looked at while nobody watches.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.ports import StreamReport

SLICE_TOPICS = 250
"""How many topics are looked at before others have their turn, well under a millisecond."""

MOST_ROWS = 500
"""How many topics one viewer may see at once."""

RATE_LOOKS = 5
"""Over how many looks a rate is taken; they are a second apart."""

STALE_SECONDS = 5.0
"""Looks further apart than this say nothing of how fast a topic comes now."""

QUIET_SECONDS = 3.0
"""Shortest silence that is pointed out; whether a topic has stalled is for the feed to judge."""

QUIET_EVENTS = 30.0
"""How many events have to be missing by the topic's own pace before its silence is."""

NAMED = 3
"""How many quiet topics are named."""

_STEADY = frozenset({Channel.ORDERBOOK, Channel.ORDERBOOK_RPI, Channel.TICKER, Channel.PRICE_LIMIT})
"""Channels that are told all the time; trades come when somebody trades."""

_QUIET_RATE = 2.0
_USUAL_FADES = 0.98  # a look; so a minute's silence is judged by what was usual before it

_RANKS = {
    SubscriptionState.STALLED: 0,
    SubscriptionState.REQUESTED: 2,
    SubscriptionState.PENDING: 2,
    SubscriptionState.REJECTED: 3,
}
_QUIET_RANK, _WELL_RANK = 1, 4


class TopicRow(NamedTuple):
    """A topic as one look found it.

    Attributes:
        status: its state, its words, and since when.
        events: so far.
        rate: events per second lately, None where two looks have not been made yet.
        age_seconds: since its newest event, None before the first.
        is_quiet: it is active, comes all the time, and is missing for seconds.
    """

    status: TopicStatus
    events: int
    rate: float | None
    age_seconds: float | None
    is_quiet: bool


class _Pass(NamedTuple):
    at: float
    events: dict[str, int]


@dataclass(slots=True)
class Sight:
    """What one look found.

    Attributes:
        monotonic: when, in seconds.
        counts: wanted topics by state.
        quiet: how many are active and silent although they come all the time.
        quiet_names: the first of them, with their endpoints.
        private: those of the account.
    """

    monotonic: float
    read: Callable[[TopicStatus], TopicRow]
    counts: Counter[str] = field(default_factory=Counter)
    quiet: int = 0
    quiet_names: list[str] = field(default_factory=list)
    private: list[TopicRow] = field(default_factory=list)
    _ranked: list[list[TopicStatus]] = field(default_factory=lambda: [[] for _ in range(5)])

    @property
    def total(self) -> int:
        """Say how many are wanted."""
        return self.counts.total()

    def put(self, row: TopicRow) -> None:
        """Sort a topic in."""
        state = row.status.state
        self.counts[state.value] += 1
        if row.is_quiet:
            self.quiet += 1
            if len(self.quiet_names) < NAMED:
                self.quiet_names.append(row.status.topic.key)
        if row.status.topic.is_private:
            self.private.append(row)
        rank = _QUIET_RANK if row.is_quiet else _RANKS.get(state, _WELL_RANK)
        self._ranked[rank].append(row.status)

    async def rows(self, search: str, most: int) -> tuple[list[TopicRow], int]:
        """Return the worst topics first, and how many there are that fit.

        Args:
            search: words that all have to be in the topic's name, its endpoint or its state.
            most: how many are returned.
        """
        words = search.lower().split()
        if not words:
            everything = (one for ranked in self._ranked for one in ranked)
            return [self.read(one) for one, _ in zip(everything, range(most), strict=False)], (
                self.total
            )
        found: list[TopicStatus] = []
        fitting = 0
        for ranked in self._ranked:
            for part in _slices(ranked):
                for one in part:
                    text = f"{one.topic.key} {one.state}".lower()
                    if all(word in text for word in words):
                        fitting += 1
                        if len(found) < most:
                            found.append(one)
                await asyncio.sleep(0)
        return [self.read(one) for one in found], fitting


class TopicBoard:
    """Looks at every topic.

    Args:
        streams: what came of each; None if nobody counts.
        monotonic: clock in seconds.
        clock_us: the clock by which events were read, µs.
    """

    def __init__(
        self,
        streams: StreamReport | None,
        *,
        monotonic: Callable[[], float],
        clock_us: Callable[[], int],
    ) -> None:
        self._streams = streams
        self._monotonic = monotonic
        self._clock_us = clock_us
        self._passes: deque[_Pass] = deque(maxlen=RATE_LOOKS)
        self._usual: dict[str, float] = {}

    async def look(self, topics: Sequence[TopicStatus]) -> Sight:
        """Look at all of them; others have their turn after every few hundred."""
        now = self._monotonic()
        if self._passes and now - self._passes[-1].at > STALE_SECONDS:
            self._passes.clear()
            self._usual = {}
        before = self._passes[0] if self._passes else None
        usual_before, usual, events = self._usual, {}, {}

        def read(status: TopicStatus) -> TopicRow:
            return self._row(status, now, before, usual_before)

        sight = Sight(now, read)
        for part in _slices(topics):
            for status in part:
                if not status.is_desired:
                    continue
                row = read(status)
                key = status.topic.key
                events[key] = row.events
                if row.rate is not None:
                    usual[key] = max(row.rate, usual_before.get(key, 0.0) * _USUAL_FADES)
                sight.put(row)
            await asyncio.sleep(0)
        self._passes.append(_Pass(now, events))
        self._usual = usual
        return sight

    def _row(
        self, status: TopicStatus, now: float, before: _Pass | None, usual: dict[str, float]
    ) -> TopicRow:
        topic = status.topic
        stream = None if self._streams is None else self._streams.stream(topic)
        events = 0 if stream is None else stream.events
        age = None
        if stream is not None:
            age = max(0.0, (self._clock_us() - stream.last_event_at_us) / 1e6)
        rate = None
        if before is not None and now > before.at and topic.key in before.events:
            rate = max(0, events - before.events[topic.key]) / (now - before.at)
        is_quiet = (
            status.state is SubscriptionState.ACTIVE
            and age is not None
            and age >= QUIET_SECONDS
            and _is_missed(topic, age, usual.get(topic.key, 0.0))
        )
        return TopicRow(status, events, rate, age, is_quiet)


def _is_missed(topic: Topic, age_seconds: float, usual_rate: float) -> bool:
    return (
        topic.channel in _STEADY
        and usual_rate >= _QUIET_RATE
        and age_seconds * usual_rate >= QUIET_EVENTS
    )


def _slices(topics: Sequence[TopicStatus]) -> Iterator[Iterable[TopicStatus]]:
    for first in range(0, len(topics), SLICE_TOPICS):
        yield topics[first : first + SLICE_TOPICS]
