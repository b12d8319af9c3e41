"""From facts to events in their places: which may go on, under which number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ws_gateway.domain.event import Event, GapReason, Kind, Observation
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.pipeline.breaks import Breaks
from ws_gateway.pipeline.sequence import BookContinuity, Verdict
from ws_gateway.pipeline.snapshots import Snapshots
from ws_gateway.pipeline.stream import Stream
from ws_gateway.ports.event_path import EventOutlet, FactLossObserver, Resync
from ws_gateway.ports.streams import StreamStatus
from ws_gateway.runtime.counters import Counters

# Named once: looking a member up costs, and these are needed per frame.
_SNAPSHOT, _CONTINUES = Kind.SNAPSHOT, Verdict.CONTINUES


class Runner:
    """The pipeline: takes observations in the order they were read, offers events to delivery.

    Everything here is synchronous; it runs inside the socket's read callback.

    Attributes:
        marks: the newest markers.
    """

    def __init__(
        self,
        *,
        outlet: EventOutlet,
        resync: Resync,
        counters: Counters,
        epoch: str,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._outlet = outlet
        self._counters = counters
        self._epoch = epoch
        self._clock_us = clock_us
        self._snapshots = Snapshots(resync, counters, clock_us)
        self._breaks = Breaks(
            outlet=outlet,
            snapshots=self._snapshots,
            counters=counters,
            epoch=epoch,
            clock_us=clock_us,
            new_trace_id=new_trace_id,
        )
        self.marks = self._breaks.marks
        self._streams: dict[str, Stream] = {}
        # Streams whose breaks are ended by `resume`, not by the next fact.
        self._held: set[str] = set()
        # Streams that lacked nothing when they were read, before they told anything.
        self._whole: set[str] = set()
        self._fact_losses: list[FactLossObserver] = []

    def report_losses_to(self, observer: FactLossObserver) -> None:
        """Tell somebody which private streams lost what had been taken."""
        self._fact_losses.append(observer)

    # ── from the venue ────────────────────────────────────────────────────────────────────────

    def accept(self, observation: Observation) -> None:
        """Take one fact, in the order it was read."""
        self._counters.received += 1
        stream = self._streams.get(observation.topic.key)
        if stream is None:
            stream = self._open(observation.topic)
        if stream.book is not None:
            if not self._continues(stream, stream.book, observation):
                return
        elif (repeat := self._repeat(stream, observation)) is not None:
            self._counters.suppressed[repeat] += 1
            return
        has_snapshot = observation.kind is _SNAPSHOT
        if stream.hole is not None and not self._breaks.close_hole(
            stream, has_snapshot=has_snapshot
        ):
            self._breaks.shed(stream)
            return
        if stream.broken is not None and not self._flows(stream, observation):
            return
        stream.sequence += 1
        stream.last_at_us = observation.received_at
        if not self._outlet.offer(Event(observation, self._epoch, stream.sequence)):
            stream.sequence -= 1
            self._breaks.shed(stream)
        elif stream.book is None:
            stream.remember(observation)  # not if it was shed: it may come again

    def suppress(self, observation: Observation) -> None:  # noqa: ARG002 - it is only counted
        """Count a further copy of a fact that was taken already."""
        self._counters.received += 1
        self._counters.suppressed["duplicate"] += 1

    def stream(self, topic: Topic) -> StreamStatus | None:
        """Say what came of a topic, None if nothing did."""
        stream = self._streams.get(topic.key)
        if stream is None or not stream.last_at_us:
            return None
        return StreamStatus(stream.sequence - stream.markers, stream.last_at_us)

    def last_update_id(self, topic: Topic) -> int | None:
        """Return the newest update id of an unbroken book; None while a snapshot is awaited."""
        stream = self._streams.get(topic.key)
        return None if stream is None or stream.book is None else stream.book.last

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts of these topics are being missed from now on."""
        for topic in topics:
            stream = self._streams.get(topic.key)
            if stream is None:
                if not is_announced:
                    continue
                # It told nothing yet, but whoever waits for its first fact may have missed it.
                stream = self._open(topic)
                stream.detail = f"{stream.detail}; {detail}"
                self._whole.discard(topic.key)
            self._breaks.begin(stream, reason, detail)
            if is_announced:
                self._breaks.announce(stream)
            else:
                stream.newest = None  # nobody asks for what comes until somebody does again
            if reason is GapReason.SEQUENCE and stream.book is not None:
                stream.book.forget()
                self._snapshots.ask(stream)

    # ── from delivery ─────────────────────────────────────────────────────────────────────────

    def events_lost(self, lost: Sequence[tuple[Topic, int]], detail: str) -> None:
        """Announce the holes that events leave which delivery had to give up."""
        numbers: dict[str, list[int]] = {}
        for topic, sequence in lost:
            numbers.setdefault(topic.key, []).append(sequence)
        for key, sequences in numbers.items():
            stream = self._streams.get(key)
            if stream is not None:  # a former process's numbers are not of this one's streams
                self._breaks.lose(stream, list(_runs(sorted(sequences))), detail)
        self.facts_lost({topic for topic, _ in lost})

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Forget what was told of these private topics, or of all, so that it may be told again."""
        of = (each.topic for each in self._streams.values()) if topics is None else topics
        private = [topic for topic in of if topic.is_private]
        for topic in private:
            stream = self._streams.get(topic.key)
            if stream is not None:
                stream.forget()
                if stream.broken is None:  # the marker that names it has none that ends it
                    stream.lacking = stream.lacking or GapReason.SPOOL_OVERFLOW
        if private or topics is None:
            for observer in self._fact_losses:
                observer.facts_lost(None if topics is None else private, since)

    def stretch_lost(self, topic: Topic, first: int, last: int, detail: str) -> bool:
        """Announce a stretch of one stream, in which some events may have arrived."""
        stream = self._streams.get(topic.key)
        if stream is None:
            return True
        is_whole = stream.book is not None and stream.broken is None
        now_us = self._clock_us()
        if is_whole and not stream.patience.allows(now_us):
            return False  # its other readers would be without a book until a snapshot may come
        self._breaks.lose(stream, [(first, last)], detail, is_asked=is_whole)
        if is_whole:
            self._snapshots.request(stream, now_us)
        return True

    def queue_emptied(self, event_class: str, keys: Collection[str], detail: str) -> None:
        """Mark the streams of a class that are among these keys: their queue vanished."""
        for key, stream in list(self._streams.items()):
            if key in keys and stream.topic.event_class == event_class:
                self.break_streams([stream.topic], GapReason.RESUBSCRIBE, detail)
                stream.lost = stream.gave_up = True
                self.facts_lost([stream.topic])
                if stream.book is not None or stream.topic.channel is Channel.TICKER:
                    self._snapshots.ask(stream)  # deltas are of no use without one

    def room_again(self) -> None:
        """Announce the holes that opened while there was no room."""
        self._breaks.room_again()

    # ── from whoever reads what was missed ────────────────────────────────────────────────────

    def hold(self, topics: Iterable[Topic]) -> None:
        """Let facts flow behind a gap marker, but leave `resumed` to `resume`.

        Who holds a stream tells again what was lost of it until now.
        """
        for topic in topics:
            self._held.add(topic.key)
            self._whole.discard(topic.key)
            if topic.is_private and topic.key in self._streams:
                self._streams[topic.key].lost = False

    def release(self, topics: Iterable[Topic]) -> None:
        """Let breaks of these streams end by themselves again."""
        keys = {topic.key for topic in topics}
        self._held -= keys
        self._whole -= keys

    def resume(self, topics: Iterable[Topic], detail: str, *, is_complete: bool) -> None:
        """End the present breaks of these streams, and let later ones end by themselves.

        A stream whose break ended before what it missed was told gets a further marker, once it is.
        """
        for topic in topics:
            self._held.discard(topic.key)
            stream = self._streams.get(topic.key)
            if stream is None and is_complete:
                self._whole.add(topic.key)
            if stream is None or stream.hole is not None:
                continue
            is_whole = is_complete and not stream.lost
            if stream.broken is not None:
                self._breaks.end(stream, None, detail, is_complete=is_whole)
            elif is_whole:
                self._breaks.complete(stream, detail)

    # ── from whoever fills gaps of market data ────────────────────────────────────────────────

    def newest(self, topic: Topic) -> Observation | None:
        """Return the trade or candle told last, None if none was."""
        stream = self._streams.get(topic.key)
        return None if stream is None else stream.newest

    def lately(self, topic: Topic) -> Sequence[Observation]:
        """Return the newest frames of trades of several symbols, oldest first; else none."""
        stream = self._streams.get(topic.key)
        return () if stream is None or stream.lately is None else tuple(stream.lately)

    def has_room(self, topic: Topic) -> bool:
        """Say whether a fact of this topic would be taken."""
        return self._outlet.has_room(topic)

    def detour(self, topic: Topic, take: Callable[[Observation], None] | None) -> None:
        """Hand facts behind a gap marker to somebody, or to nobody any more.

        He gives them back by `accept`, after that; meanwhile they count as not received.
        """
        stream = self._streams.get(topic.key)
        if stream is not None:
            stream.detour = take

    # ── repeats ───────────────────────────────────────────────────────────────────────────────

    def _repeat(self, stream: Stream, fact: Observation) -> str | None:
        """Say under which word a fact is suppressed, None if it is news."""
        update_id = fact.update_id
        if update_id is not None:
            if update_id == stream.last_update_id and stream.broken is None:
                return "unchanged"
            stream.last_update_id = update_id
            return None
        recent = stream.recent
        if fact.event_id == stream.last_id or (recent is not None and fact.event_id in recent):
            return "duplicate"
        return None

    # ── continuity ────────────────────────────────────────────────────────────────────────────

    def _continues(self, stream: Stream, book: BookContinuity, fact: Observation) -> bool:
        """Judge a book's frame; answers whether it may go on."""
        before = book.last
        verdict = book.judge(fact.kind, fact.update_id or 0)
        if verdict is _CONTINUES:
            return True
        if verdict is Verdict.REPEATS:
            self._counters.suppressed["duplicate"] += 1
            return False
        if verdict is Verdict.MISSES:
            if stream.broken is None:
                self._breaks.begin(
                    stream,
                    GapReason.SEQUENCE,
                    f"update id {fact.update_id} after {before}; a fresh snapshot was asked for",
                )
                self._breaks.announce(stream, fact.trace_id)
            self._withhold(stream)
            return False
        if verdict is Verdict.RESETS and stream.broken is None:
            restart = "the venue's service restarted" if fact.update_id == 1 else "a new snapshot"
            self._breaks.begin(
                stream, GapReason.SEQUENCE, f"{restart}: update id {fact.update_id} after {before}"
            )
        return True

    def _withhold(self, stream: Stream) -> None:
        """Leave out a delta that has no book to apply to; the gap marker in force covers it."""
        if stream.book is not None:
            stream.book.forget()
        # Told apart, because only what we gave up is held against delivery.
        self._counters.shed["awaiting_snapshot" if stream.gave_up else "venue_hole"] += 1
        if stream.hole is None or self._breaks.close_hole(stream):
            self._snapshots.ask(stream)  # without room a snapshot would be lost too

    def _open(self, topic: Topic) -> Stream:
        stream = Stream(topic, f"numbering of epoch {self._epoch} begins")
        self._streams[topic.key] = stream
        return stream

    def _flows(self, stream: Stream, fact: Observation) -> bool:
        """Let facts flow again if this one may; `resumed` is left to a reading that is awaited."""
        if stream.book is not None and fact.kind is not _SNAPSHOT:
            self._withhold(stream)
            return False
        if stream.detour is not None:
            self._counters.received -= 1  # it counts when it comes back
            stream.detour(fact)
            return False
        if stream.topic.key in self._held:
            self._breaks.announce(stream, fact.trace_id)
        else:
            topic = stream.topic
            is_whole = fact.kind is _SNAPSHOT or topic.channel is Channel.PRICE_LIMIT
            if topic.key in self._whole:
                self._whole.discard(topic.key)
                is_whole = True
            self._breaks.end(stream, fact.trace_id, is_complete=is_whole)
        return True


def _runs(sequences: list[int]) -> Iterator[tuple[int, int]]:
    """Cut rising numbers into runs without a step."""
    first = last = sequences[0]
    for sequence in sequences[1:]:
        if sequence > last + 1:
            yield first, last
            first = sequence
        last = sequence
    yield first, last
