"""Every wanted topic with how fast it comes and how long it is silent; looked at in small slices.

The event loop moves events, so it is never held for longer than a slice takes, however many topics
there are; and nothing is looked at while nobody watches.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.ports.streams import StreamReport
from ws_gateway.runtime.slices import one_by_one, slices

MOST_ROWS = 500
"""How many topics one viewer may see at once."""

RATE_LOOKS = 5
"""Over how many looks a rate is taken; they are a second apart."""

STALE_SECONDS = 5.0
"""Looks further apart than this say nothing of how fast a topic comes now."""

QUIET_SECONDS = 2.5
"""Shortest silence that is pointed out; whether a topic has stalled is for the feed to judge."""

QUIET_EVENTS = 20.0
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
_QUIET_RANK, _WELL_RANK, _RANK_COUNT = 1, 4, 5


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
    """What one look found, by key of the topic: events so far, and how fast they usually come."""

    at: float
    events: dict[str, int]
    usual: dict[str, float]


@dataclass(slots=True)
class Sight:
    """What one look found.

    Attributes:
        monotonic: when, in seconds.
        counts: wanted topics by state.
        quiet: how many are active and silent although they come all the time.
        quiet_names: the first of them, with their endpoints.
        private: those of the account.
        ranked: all, the worst first.
    """

    monotonic: float
    read: Callable[[TopicStatus], TopicRow]
    counts: Counter[str] = field(default_factory=Counter)
    quiet: int = 0
    quiet_names: list[str] = field(default_factory=list)
    private: list[TopicRow] = field(default_factory=list)
    ranked: list[list[TopicStatus]] = field(
        default_factory=lambda: [[] for _ in range(_RANK_COUNT)]
    )

    @property
    def total(self) -> int:
        """Say how many are wanted."""
        return self.counts.total()

    def put_quiet(self, status: TopicStatus) -> None:
        """Sort in a topic that is silent against its habit."""
        self.quiet += 1
        if len(self.quiet_names) < NAMED:
            self.quiet_names.append(status.topic.key)
        self.ranked[_QUIET_RANK].append(status)

    async def rows(self, search: str, most: int) -> tuple[list[TopicRow], int]:
        """Return the worst topics first, and how many there are that fit.

        Args:
            search: words that all have to be in the topic's name, its endpoint or its state.
            most: how many are returned.
        """
        words = search.lower().split()
        if not words:
            everything = (one for ranked in self.ranked for one in ranked)
            return [self.read(one) for one, _ in zip(everything, range(most), strict=False)], (
                self.total
            )
        found: list[TopicStatus] = []
        fitting = 0
        for ranked in self.ranked:
            async for one in one_by_one(ranked):
                text = f"{one.topic.key} {one.state}".lower()
                if all(word in text for word in words):
                    fitting += 1
                    if len(found) < most:
                        found.append(one)
        return [self.read(one) for one in found], fitting


class Lookout:
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

    async def look(self, topics: Sequence[TopicStatus]) -> Sight:
        """Look at all of them; others have their turn after every few hundred."""
        now = self._monotonic()
        if self._passes and now - self._passes[-1].at > STALE_SECONDS:
            self._passes.clear()
        passed = _Pass(now, {}, {})
        before = self._passes[0] if self._passes else passed
        usual = self._passes[-1].usual if self._passes else {}
        sight = Sight(now, lambda status: self._row(status, before, passed))
        async for part in slices(topics):
            self._look_at(part, sight, before, passed, usual)
        self._passes.append(passed)
        return sight

    def _look_at(
        self,
        topics: Sequence[TopicStatus],
        sight: Sight,
        before: _Pass,
        passed: _Pass,
        usual_before: Mapping[str, float],
    ) -> None:
        """Look at one slice; nothing is built here that nobody may see, for it is done for all."""
        stream_of = self._streams.stream if self._streams is not None else _nothing_came
        span, now_us = passed.at - before.at, self._clock_us()
        for status in topics:
            if not status.is_desired:
                continue
            topic, state = status.topic, status.state
            key = topic.key
            sight.counts[state.value] += 1
            if topic.is_private:
                sight.private.append(sight.read(status))
            stream = stream_of(topic)
            rank = _RANKS.get(state, _WELL_RANK)
            if stream is not None:
                passed.events[key] = stream.events
                usual = usual_before.get(key, 0.0) * _USUAL_FADES
                if span > 0:
                    came = stream.events - before.events.get(key, stream.events)
                    usual = max(usual, came / span)
                passed.usual[key] = usual
                age = (now_us - stream.last_event_at_us) / 1e6
                if rank == _WELL_RANK and _is_missed(topic, age, usual):
                    sight.put_quiet(status)
                    continue
            sight.ranked[rank].append(status)

    def _row(self, status: TopicStatus, before: _Pass, passed: _Pass) -> TopicRow:
        """Tell all of one topic, as it was at that look."""
        topic = status.topic
        stream = None if self._streams is None else self._streams.stream(topic)
        if stream is None:
            return TopicRow(status, 0, None, None, is_quiet=False)
        age = max(0.0, (self._clock_us() - stream.last_event_at_us) / 1e6)
        events, rate = passed.events.get(topic.key, stream.events), None
        span = passed.at - before.at
        if span > 0 and topic.key in before.events:
            rate = max(0, events - before.events[topic.key]) / span
        is_active = status.state is SubscriptionState.ACTIVE
        is_quiet = is_active and _is_missed(topic, age, passed.usual.get(topic.key, 0.0))
        return TopicRow(status, events, rate, age, is_quiet)


def _nothing_came(_topic: Topic) -> None:
    return None


def _is_missed(topic: Topic, age_seconds: float, usual_rate: float) -> bool:
    return (
        age_seconds >= QUIET_SECONDS
        and topic.channel in _STEADY
        and usual_rate >= _QUIET_RATE
        and age_seconds * usual_rate >= QUIET_EVENTS
    )
