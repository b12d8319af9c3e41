"""One socket of a shard: what its topics are on it, and since when it carries them unbroken."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ws_gateway.domain.event import Observation
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.session import Session

_BEST_FIRST = (
    SubscriptionState.ACTIVE,
    SubscriptionState.STALLED,
    SubscriptionState.PENDING,
    SubscriptionState.REQUESTED,
    SubscriptionState.REJECTED,
    SubscriptionState.REMOVING,
)
"""What a topic is, of what it is on each socket: the first of these that holds on any."""


_CARRIED = frozenset(
    {SubscriptionState.ACTIVE, SubscriptionState.STALLED, SubscriptionState.PENDING}
)


class Leg:
    """One socket of a shard.

    A subscription that stands is no proof that data were heard: a socket that answers nothing may
    count as subscribed for half a minute. So a leg vouches for a topic only from the moment it was
    subscribed, or last missed something, to the newest frame it heard of any kind.

    Attributes:
        session: keeps the socket.
        states: its topics with state and, where one is needed, the reason.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.states: dict[Topic, tuple[SubscriptionState, str | None]] = {}
        self._carried_since: dict[Topic, float] = {}

    @property
    def name(self) -> str:
        """Name of the socket."""
        return self.session.name

    def state(self, topic: Topic) -> SubscriptionState | None:
        """Return a topic's state on this socket, None if it is not asked for here."""
        told = self.states.get(topic)
        return None if told is None else told[0]

    def carries(self, topic: Topic) -> bool:
        """Say whether a topic was asked for on this socket and not refused."""
        return self.state(topic) in _CARRIED

    def note(self, topic: Topic, state: SubscriptionState, error: str | None, now: float) -> None:
        """Take note of a topic's state on this socket; `now` is monotonic seconds."""
        if state is SubscriptionState.REMOVED:
            self.states.pop(topic, None)
        else:
            self.states[topic] = (state, error)
        if state is not SubscriptionState.ACTIVE:
            self._carried_since.pop(topic, None)
        else:
            self._carried_since.setdefault(topic, now)

    def missed(self, topic: Topic, now: float) -> None:
        """Take note that facts of a topic were missed up to now."""
        if topic in self._carried_since:
            self._carried_since[topic] = now

    def has_carried_since(self, topic: Topic, moment: float) -> bool:
        """Say whether it carries a topic, and has done so since a moment or longer."""
        since = self._carried_since.get(topic)
        return since is not None and since <= moment


class LegSink:
    """Where a session's facts go while its shard has further sockets: to the merge, with a name."""

    __slots__ = ("_name", "_take")

    def __init__(self, take: Callable[[str, Observation], None], name: str) -> None:
        self._take = take
        self._name = name

    def accept(self, observation: Observation) -> None:
        """Take one fact, in the order it was read."""
        self._take(self._name, observation)


def best_of(
    states: Iterable[tuple[SubscriptionState, str | None]],
) -> tuple[SubscriptionState, str | None]:
    """Say what a topic is, of what it is on each of its sockets."""
    return min(states, key=lambda told: _BEST_FIRST.index(told[0]))


def least_silences(legs: Iterable[Leg], now: float) -> dict[Topic, float]:
    """Say how long each topic has been silent on all of these at once, in seconds."""
    least: dict[Topic, float] = {}
    for leg in legs:
        for topic, silent in leg.session.silences(now):
            least[topic] = min(silent, least.get(topic, silent))
    return least


def letters(number: int) -> str:
    """Name the second of something `b`, the 27th `aa`."""
    name = ""
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("a") + digit) + name
    return name
