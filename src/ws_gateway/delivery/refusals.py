"""What becomes of messages that the broker refuses, which it does while any one queue refuses.

The other queues have taken their copy by then. So a public event is never sent again: its number
joins its stream's hole, which one marker names when the stream is taken again. A private event is
sent again until it is taken, one at a time in each stream, after ever longer pauses; its successors
wait behind it (decision 17). No I/O; times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ws_gateway.delivery.message import Message
from ws_gateway.delivery.numbering import first_number
from ws_gateway.delivery.private_flight import PrivateFlight
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.event_path import LossObserver

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
_CALM_SECONDS = 10.0
"""A stream that was taken for so long begins with the first pause again."""

_RATE_SECONDS = 10
REFUSED = "a queue refused it (reject-publish); the other queues have it"
UNROUTABLE = "no queue took it"


class _Hole:
    """The refused numbers of one public stream that no marker was taken for yet.

    Attributes:
        first, last: what is to be told; None while nothing is.
        told: what the marker names that is on its way.
        why: what became of the newest.
    """

    __slots__ = ("due_at", "first", "last", "pause", "told", "told_at", "topic", "why")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.first: int | None = None
        self.last = 0
        self.told: int | None = None
        self.told_at = float("-inf")
        self.pause = FIRST_PAUSE_SECONDS / 2
        self.due_at = 0.0
        self.why = REFUSED


class Refusals:
    """Takes note of refusals, and says what is due; the sender owns the clock and the link.

    Args:
        private: holds the private streams that are refused.
    """

    def __init__(self, private: PrivateFlight) -> None:
        self._private = private
        self._holes: dict[str, _Hole] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # private: pause, and when it is over
        self._seconds: deque[list[int]] = deque()  # (second, how many)

    @property
    def is_any(self) -> bool:
        """Say whether `due` has anything to mind."""
        return bool(self._holes or self._pauses)

    def has_hole(self, topic: Topic) -> bool:
        """Say whether more was lost of this public stream of late: then one marker names it all."""
        return topic.key in self._holes

    # ── what the broker says ──────────────────────────────────────────────────────────────────

    def refused_public(
        self, message: Message, topic: Topic, now: float, why: str = REFUSED
    ) -> None:
        """Let an event's number, or a marker's with all that it names, join the hole."""
        hole = self._holes.get(topic.key)
        if hole is None:
            hole = self._holes[topic.key] = _Hole(topic)
        first = first_number(message)
        hole.why = why
        if not message.is_observed:
            hole.told = None
        if hole.first is None:
            hole.first, hole.last = first, message.sequence
            hole.pause = min(hole.pause * 2, LONGEST_PAUSE_SECONDS)
        else:
            hole.first = min(hole.first, first)
            hole.last = max(hole.last, message.sequence)
        hole.due_at = now + hole.pause

    def refused_private(self, message: Message, topic: Topic, now: float) -> None:
        """Hold a message, and all that follow in its stream, until it is taken."""
        key = topic.key
        is_first = key not in self._pauses
        if self._private.hold_back(message) or is_first:
            pause = self._pauses.get(key, (FIRST_PAUSE_SECONDS / 2, 0.0))[0]
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self._pauses[key] = (pause, now + pause)

    def taken(self, message: Message, topic: Topic, now: float) -> None:
        """Take note that something of this stream was not refused; ask `is_any` first."""
        key = topic.key
        hole = self._holes.get(key)
        if hole is not None:
            if not message.is_observed:
                hole.told = None
            if hole.first is not None and message.sequence > hole.last:
                hole.due_at = min(hole.due_at, max(now, hole.told_at + hole.pause))
        if key in self._pauses and self._private.end_trial(message):
            if self._private.try_held(key):  # the next one, at once
                self._pauses[key] = (FIRST_PAUSE_SECONDS / 2, float("inf"))
            else:
                del self._pauses[key]

    # ── what is due ───────────────────────────────────────────────────────────────────────────

    def try_private(self, now: float) -> int:
        """Let the oldest message of each stream whose pause is over wait to be sent."""
        tried = 0
        for key, (pause, due_at) in self._pauses.items():
            if now >= due_at and self._private.try_held(key):
                self._pauses[key] = (pause, float("inf"))
                tried += 1
        return tried

    def tell_public(self, losses: LossObserver, now: float) -> None:
        """Let the holes that are due be named, each by one marker."""
        for key, hole in list(self._holes.items()):
            first, last = hole.first, hole.last
            if first is None:
                if hole.told is None and now - hole.told_at > _CALM_SECONDS:
                    del self._holes[key]
            elif now >= hole.due_at:
                hole.first, hole.told, hole.told_at = None, first, now
                if not losses.stretch_lost(hole.topic, first, last, hole.why):
                    hole.first, hole.last = first, last
                    hole.told, hole.due_at = None, now + LONGEST_PAUSE_SECONDS

    def begin(self, now: float) -> None:
        """Take note of a new link: what was being tried is to be tried again."""
        for key, (pause, _) in self._pauses.items():
            self._pauses[key] = (pause, now)

    # ── the report ────────────────────────────────────────────────────────────────────────────

    def count(self, now: float) -> None:
        """Count one refusal."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])
            self._forget(now)

    def per_second(self, now: float) -> float:
        """Return how many there were a second, over the last ten."""
        self._forget(now)
        return sum(many for _, many in self._seconds) / _RATE_SECONDS

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - _RATE_SECONDS:
            self._seconds.popleft()

    def streams(self) -> Iterator[str]:
        """Name the streams that wait to be taken again."""
        yield from self._pauses
        yield from (key for key, hole in self._holes.items() if hole.first is not None)
