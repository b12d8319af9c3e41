"""What the venue made of each topic: the newest news, since when, and what is still unwritten."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ws_gateway.control.topic_times import TopicTimes
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic

StateNews = tuple[SubscriptionState, str | None]
"""A topic's state, and the words that go with a refusal."""

LEAVING = frozenset({SubscriptionState.REMOVING, SubscriptionState.REMOVED})
COMING = frozenset({SubscriptionState.REQUESTED, SubscriptionState.PENDING})
_NEW: StateNews = (SubscriptionState.REQUESTED, None)

PIECE_TOPICS = 500
"""How many states are written at once: events wait while they are put together."""

AGAIN_TOPICS = 1_000
"""How many states are written once more at each look, in turn; one that stands costs no write."""


class TopicStatus(NamedTuple):
    """One topic: what the ledger wants of it, and what the venue made of it.

    A tuple, because thousands are made at one look.

    Attributes:
        error: the words that go with the state; the venue's own, or those of a setting.
        since: monotonic seconds since when it is on its way, active, stalled or rejected. A topic
            that is asked for again and again without success has been on its way all the time.
        is_desired: the ledger wants it; False while the venue still has what nobody wants.
    """

    topic: Topic
    state: SubscriptionState
    error: str | None
    since: float
    is_desired: bool


@dataclass(frozen=True, slots=True)
class ReconcilerStatus:
    """The loop as `/health` shows it.

    Attributes:
        is_restored: the stored wishes were read at least once since the start.
        database_error: why the database cannot be reached now, or None.
        counts: how many topics, which the ledger wants or the venue has, are in each state.
        wanted: how many of those that the ledger wants each endpoint has in each state.
    """

    is_restored: bool
    database_error: str | None
    counts: Mapping[str, int]
    wanted: Mapping[tuple[Endpoint, SubscriptionState], int]


class TopicStates:
    """Keeps the newest of each topic, and what of it the ledger does not have yet.

    Args:
        monotonic: clock in seconds.
        changed: told of each topic of which something else is known now.

    Attributes:
        changed: as given, for who knows more of topics.
        times: how long topics took to become active.
    """

    def __init__(
        self, monotonic: Callable[[], float], changed: Callable[[Iterable[Topic]], None]
    ) -> None:
        self.times = TopicTimes()
        self._monotonic = monotonic
        self.changed = changed
        self._known: dict[Topic, StateNews] = {}
        self._unwritten: dict[Topic, StateNews] = {}
        self._since: dict[Topic, float] = {}
        self._again: list[Topic] = []

    def __len__(self) -> int:
        """Say of how many topics something is known."""
        return len(self._known)

    def known(self, topic: Topic) -> StateNews | None:
        """Return the newest of a topic, None if nothing was heard of it."""
        return self._known.get(topic)

    def since(self, topic: Topic, now: float) -> float:
        """Return since when it is in its phase; `now` if nothing was heard of it."""
        return self._since.get(topic, now)

    @property
    def has_unwritten(self) -> bool:
        """Say whether the ledger lacks anything."""
        return bool(self._unwritten)

    def note(self, topic: Topic, news: StateNews) -> None:
        """Keep the newest of a topic; its time starts anew only with a new phase."""
        # Since it was asked for it is on its way, whether or not the feed said so.
        before = self._known.get(topic, _NEW)[0]
        is_same = before is news[0] or {before, news[0]} <= COMING
        now = self._monotonic()
        if not is_same or topic not in self._since:
            self._since[topic] = now
        if before is SubscriptionState.REJECTED and news[0] is SubscriptionState.REQUESTED:
            self.times.asked(topic, now)
        self.times.changed(topic, before, news[0], now)
        self._known[topic] = news
        self._unwritten[topic] = news
        self.changed((topic,))

    def write_again(self, topic: Topic) -> None:
        """Let the newest of a topic be written for a row that was not there before."""
        news = self._known.get(topic)
        if news is not None:
            self._unwritten[topic] = news

    def write_all_again(self) -> None:
        """Let everything be written: the ledger may have lost it."""
        self._unwritten = self._known | self._unwritten

    def write_some_again(self) -> None:
        """Let the next part of what is known be written: others may write there too."""
        if not self._again:
            self._again = list(self._known)
        part, self._again = self._again[:AGAIN_TOPICS], self._again[AGAIN_TOPICS:]
        for topic in part:
            self.write_again(topic)

    def asked(self, topic: Topic) -> None:
        """Take note that a topic is asked for from now on, if it was not before."""
        if topic not in self._since:
            now = self._since[topic] = self._monotonic()
            self.times.asked(topic, now)
            self.changed((topic,))

    def left(self, topic: Topic) -> None:
        """Take note that the venue has no more of a topic; its time goes on if it is wanted."""
        self._known.pop(topic, None)
        self._unwritten.pop(topic, None)
        self.times.forget(topic)
        self.changed((topic,))

    def forget(self, topic: Topic) -> None:
        """Forget a topic nobody wants."""
        self._since.pop(topic, None)
        self.left(topic)

    def take_unwritten(self, desired: Container[Topic]) -> Iterator[dict[Topic, StateNews]]:
        """Hand out what is to be written, piece by piece; whoever fails gives it back."""
        while self._unwritten:
            piece: dict[Topic, StateNews] = {}
            for topic in list(self._unwritten):
                news = self._unwritten.pop(topic)
                if topic in desired:
                    piece[topic] = news
                if len(piece) == PIECE_TOPICS:
                    break
            if piece:
                yield piece

    def give_back(self, piece: Mapping[Topic, StateNews]) -> None:
        """Keep for later what could not be written; what came meanwhile is newer and wins."""
        self._unwritten = {**piece, **self._unwritten}
