"""Seams of the event path: venue → pipeline → delivery, and what is asked back on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ws_gateway.domain.event import Event, GapReason, Observation
from ws_gateway.domain.topic import Topic


class ObservationSink(Protocol):
    """Front door of the pipeline; called synchronously from a socket read, so it never waits."""

    def accept(self, observation: Observation) -> None:
        """Take one fact, in the order it was read."""

    def suppress(self, observation: Observation) -> None:
        """Count a further copy of a fact that was taken already."""

    def last_update_id(self, topic: Topic) -> int | None:
        """Return the newest update id of an unbroken book; None while a snapshot is awaited."""

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts of these topics are being missed from now on.

        Args:
            topics: the streams, also those that told nothing yet.
            reason: why.
            detail: what happened, for people.
            is_announced: tell consumers at once; otherwise before the next fact, because until
                then nobody asks for the stream.
        """


class UnreadableSink(Protocol):
    """Where bytes go that could not be understood."""

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Keep the bytes (bounded) with the reason; count them; log once per kind and minute."""


class FrameLine(Protocol):
    """One open connection in a recording; never waits."""

    def received(self, raw: bytes, at_us: int) -> None:
        """Record a frame from the venue."""

    def sent(self, raw: bytes, at_us: int) -> None:
        """Record a frame to the venue, without what is secret in it."""

    def closed(self, why: str, at_us: int) -> None:
        """Record that the connection is gone."""


class FrameRecorder(Protocol):
    """Where raw frames are recorded; never waits."""

    def open_line(
        self, name: str, path: str, at_us: int, *, is_private: bool, account: str | None = None
    ) -> FrameLine | None:
        """Take note of a connection that was opened; None if it is not to be recorded.

        Args:
            name: as logs have it.
            path: of its URL.
            at_us: when, Unix µs.
            is_private: its frames tell of an account.
            account: the further account it is of, None for the first.
        """


class Resync(Protocol):
    """How the pipeline asks for a fresh snapshot of one topic."""

    def resync(self, topic: Topic) -> None:
        """Unsubscribe and subscribe again; the other topics of the socket are not touched."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What came between two facts of a stream, as far as it could be had.

    Attributes:
        facts: as the stream would have told them, in order, with source backfill.
        rows: how many trades or candles they hold.
        lacking: what could not be had, for people; empty if that is nothing.
        is_behind: the source does not know the second of the two facts yet.
        reason: why something lacks, in the word by which it is counted.
    """

    facts: Sequence[Observation]
    rows: int
    lacking: str
    is_behind: bool = False
    reason: str = "reach"


class MarketPast(Protocol):
    """Who knows what came between two facts of a stream of trades or candles."""

    def follows(self, last: Observation, first: Observation) -> bool:
        """Say whether nothing can be missing between two facts, without asking anybody."""

    async def between(
        self,
        last: Observation,
        first: Observation,
        until: float | None = None,
        *,
        others: Callable[[], Sequence[Observation]] = tuple,
    ) -> Missed:
        """Read what came between two facts.

        Args:
            last: fact told before the gap.
            first: fact that came after it.
            until: when to be content with a part of it, the event loop's clock, s.
            others: answers what else was told around the gap or is held behind it, by then.

        Raises:
            VenueLost: it could not be read now.
            Rejected: it cannot be read at all.
        """


class EventOutlet(Protocol):
    """Front door of delivery; never waits."""

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken now."""


class LossObserver(Protocol):
    """Told by delivery what became impossible after it had taken responsibility."""

    def events_lost(self, lost: Sequence[tuple[Topic, int]], detail: str) -> None:
        """Announce the holes that these events, by topic and sequence, leave in their streams."""

    def stretch_lost(self, topic: Topic, first: int, last: int, detail: str) -> bool:
        """Announce a stretch of one stream, in which some events may have arrived.

        Answers whether it was: a book that was mended too often of late waits for its turn.
        """

    def queue_emptied(self, event_class: str, keys: Collection[str], detail: str) -> None:
        """Mark the streams of a class that are among these keys: their queue vanished."""

    def room_again(self) -> None:
        """Announce the holes that opened while there was no room."""

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Take note that private events of these were lost on disk; their markers are made.

        Args:
            topics: whose; None if nobody can tell, so that it may be any.
            since: exchange time of the oldest of them, ms, if it is known.
        """


class FactLossObserver(Protocol):
    """Told which private streams lost facts that had been taken; they may be read anew."""

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Take note that what was told of these topics did not all arrive.

        Args:
            topics: whose; None if nobody can tell, so that it may be any.
            since: exchange time of the oldest of it, ms, if it is known.
        """
