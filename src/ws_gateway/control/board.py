"""Every topic with its state now, sorted by endpoint and state, so that no look goes over all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic

SLICE_TOPICS = 250
"""How many topics are sorted anew at once while nobody asks: events wait meanwhile."""

ByState = Mapping[SubscriptionState, Collection[TopicStatus]]
"""The wanted topics of an endpoint; a state without any may be missing."""

_Group = dict[Topic, TopicStatus]


class TopicBoard:
    """What `status_of` says of each topic, asked again only for topics that were doubted.

    Whoever changes what it is derived from doubts the topic; whoever reads is answered after every
    doubt was settled, so nothing is told late. A read costs what changed since the one before.

    Args:
        status_of: answers a topic's status, None if neither the ledger nor the venue has it.
        doubted: answers topics whose state at the venue may have changed since it was last asked.
    """

    def __init__(
        self,
        status_of: Callable[[Topic], TopicStatus | None],
        doubted: Callable[[], Collection[Topic]],
    ) -> None:
        self._status_of = status_of
        self._doubted_elsewhere = doubted
        self._doubted: set[Topic] = set()
        self._topics: _Group = {}
        self._wanted: dict[Endpoint, dict[SubscriptionState, _Group]] = {}
        self._unwanted: _Group = {}

    def doubt(self, topics: Iterable[Topic]) -> None:
        """Ask again for these before anything is told."""
        self._doubted.update(topics)

    async def catch_up(self) -> None:
        """Settle every doubt in slices, so that the next reader finds few."""
        self._doubted.update(self._doubted_elsewhere())
        while self._doubted:
            self._settle(
                [self._doubted.pop() for _ in range(min(SLICE_TOPICS, len(self._doubted)))]
            )
            await asyncio.sleep(0)

    # ── what it tells ────────────────────────────────────────────────────────────────────────

    def get(self, topic: Topic) -> TopicStatus | None:
        """Return a topic's status, None if there is no such topic."""
        self._settle_all()
        return self._topics.get(topic)

    def topics(self) -> Iterator[TopicStatus]:
        """Tell each topic once, also those that the venue has and nobody wants."""
        self._settle_all()
        return iter(list(self._topics.values()))

    def wanted(self, endpoint: Endpoint) -> ByState:
        """Return the wanted topics of an endpoint by state; true until something is awaited."""
        self._settle_all()
        groups = self._wanted.get(endpoint, {})
        return {state: group.values() for state, group in groups.items() if group}

    def wanted_in(self, state: SubscriptionState) -> list[Collection[Topic]]:
        """Return the wanted topics in a state, by endpoint; true until something is awaited."""
        self._settle_all()
        return [groups[state].keys() for groups in self._wanted.values() if groups.get(state)]

    def counts(self) -> dict[str, int]:
        """Say how many topics are in each state, those that nobody wants included."""
        self._settle_all()
        found = Counter(one.state.value for one in self._unwanted.values())
        for groups in self._wanted.values():
            for state, group in groups.items():
                if group:
                    found[state.value] += len(group)
        return dict(found)

    def wanted_counts(self) -> dict[tuple[Endpoint, SubscriptionState], int]:
        """Say how many wanted topics each endpoint has in each state."""
        self._settle_all()
        return {
            (endpoint, state): len(group)
            for endpoint, groups in self._wanted.items()
            for state, group in groups.items()
            if group
        }

    # ── sorting ──────────────────────────────────────────────────────────────────────────────

    def _settle_all(self) -> None:
        if doubted := self._doubted_elsewhere():
            self._doubted.update(doubted)
        if self._doubted:
            doubted, self._doubted = self._doubted, set()
            self._settle(doubted)

    def _settle(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            before, now = self._topics.get(topic), self._status_of(topic)
            if before == now:
                continue
            if before is not None:
                del self._group(before)[topic]
                del self._topics[topic]
            if now is not None:
                self._group(now)[topic] = self._topics[topic] = now

    def _group(self, status: TopicStatus) -> _Group:
        if not status.is_desired:
            return self._unwanted
        groups = self._wanted.setdefault(status.topic.endpoint, {})
        return groups.setdefault(status.state, {})
