"""What stands in a stream where something is missing: breaks, holes, and the markers that say so.

A break is first noted, then announced by a `gap` marker, then ended by `resumed`. A hole is of our
own numbers; its marker names them, as soon as there is room for it.
"""

from __future__ import annotations

from collections.abc import Callable

from ws_gateway.domain.event import Event, GapReason, Kind, Observation, marker_payload
from ws_gateway.domain.topic import Lane
from ws_gateway.pipeline.marks import RecentMarks
from ws_gateway.pipeline.snapshots import Snapshots
from ws_gateway.pipeline.stream import Stream
from ws_gateway.ports.event_path import EventOutlet
from ws_gateway.runtime.counters import Counters


class Breaks:
    """Begins, announces and ends the breaks of all streams; remembers which have a hole.

    Args:
        outlet: where markers go.
        snapshots: asked where a hole tore a book.

    Attributes:
        marks: the newest markers.
    """

    def __init__(
        self,
        *,
        outlet: EventOutlet,
        snapshots: Snapshots,
        counters: Counters,
        epoch: str,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self.marks = RecentMarks()
        self._outlet = outlet
        self._snapshots = snapshots
        self._counters = counters
        self._epoch = epoch
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id
        self._holed: dict[str, Stream] = {}

    # ── breaks ────────────────────────────────────────────────────────────────────────────────

    def begin(self, stream: Stream, reason: GapReason, detail: str) -> None:
        """Take note of a break; one that stands already goes on."""
        if stream.book is not None and reason is not GapReason.SEQUENCE:
            stream.book.forget()
        stream.last_update_id = None
        if stream.broken is None:
            stream.broken, stream.detail, stream.announced = reason, detail, False

    def announce(self, stream: Stream, trace_id: str | None = None) -> None:
        """Put the gap marker of the present break into the stream, once.

        It bears the trace of the frame that showed the break, if one did.
        """
        if stream.announced or stream.broken is None:
            return
        stream.announced = True
        if stream.hole is not None:
            self.close_hole(stream)  # no marker may stand before the one that names the hole
        self._mark(stream, Kind.GAP, stream.broken, None, stream.detail, trace_id=trace_id)

    def end(
        self,
        stream: Stream,
        trace_id: str | None,
        detail: str = "data flows",
        *,
        is_complete: bool,
    ) -> None:
        """Put the `resumed` marker that ends the present break into the stream."""
        self.announce(stream, trace_id)
        reason = stream.broken
        if reason is not None:
            stream.broken = stream.asked_at = None
            stream.gave_up = False
            stream.lacking = None if is_complete else reason
            if not stream.topic.is_private:
                stream.lost = False
            self._mark(
                stream, Kind.RESUMED, reason, None, detail,
                trace_id=trace_id, is_complete=is_complete,
            )  # fmt: skip

    def complete(self, stream: Stream, detail: str) -> None:
        """Say of a break that ended while something lacked that it was told by now."""
        if stream.lacking is not None:
            reason, stream.lacking = stream.lacking, None
            self._mark(stream, Kind.RESUMED, reason, None, detail, is_complete=True)

    # ── holes ─────────────────────────────────────────────────────────────────────────────────

    def shed(self, stream: Stream) -> None:
        """Give an event that found no room its number, and remember the hole."""
        self._counters.shed["no_room"] += 1
        stream.sequence += 1
        self._widen(stream, stream.sequence, "the broker was away or slow and the buffer was full")

    def lose(
        self, stream: Stream, runs: list[tuple[int, int]], detail: str, *, is_asked: bool = False
    ) -> None:
        """Name each run of lost numbers by a marker of its own; without room they join the hole.

        Args:
            stream: whose they are.
            runs: first and last number of each.
            detail: what happened, for people.
            is_asked: a book's snapshot is asked for by the caller.
        """
        stream.lost = stream.gave_up = True
        if stream.hole is not None or not self._outlet.has_room(stream.topic):
            for first, last in runs:
                self._widen(stream, first, detail)
                self._widen(stream, last, detail)
            self.close_hole(stream)
            return
        self.begin(stream, GapReason.SHED, detail)
        stream.announced = True  # by the markers that follow
        for run in runs:
            self._mark(stream, Kind.GAP, GapReason.SHED, run, detail)
        if stream.book is not None:
            stream.book.forget()
            if not is_asked:
                self._snapshots.ask(stream)

    def close_hole(self, stream: Stream, *, has_snapshot: bool = False) -> bool:
        """Announce a stream's hole if there is room; a book then needs a snapshot.

        Answers whether there is none any more.
        """
        if stream.hole is None:
            return True
        if not self._outlet.has_room(stream.topic):
            return False
        hole, stream.hole = stream.hole, None
        del self._holed[stream.topic.key]
        self._mark(stream, Kind.GAP, GapReason.SHED, hole, stream.detail)
        if stream.book is not None and not has_snapshot:
            stream.book.forget()
            stream.asked_at = None  # what came while there was no room is gone
            self._snapshots.ask(stream)
        return True

    def room_again(self) -> None:
        """Announce the holes that opened while there was no room."""
        full: set[Lane] = set()
        for stream in list(self._holed.values()):
            if stream.topic.lane not in full and not self.close_hole(stream):
                full.add(stream.topic.lane)

    def _widen(self, stream: Stream, sequence: int, detail: str) -> None:
        first, last = stream.hole or (sequence, sequence)
        stream.hole = (min(first, sequence), max(last, sequence))
        # Also where the venue broke it first: its snapshot may be in the hole.
        stream.gave_up = True
        self._holed[stream.topic.key] = stream
        if stream.broken is None:
            self.begin(stream, GapReason.SHED, detail)
            stream.announced = True  # by the marker that names the hole

    # ── markers ───────────────────────────────────────────────────────────────────────────────

    def _mark(
        self,
        stream: Stream,
        kind: Kind,
        reason: GapReason,
        hole: tuple[int, int] | None,
        detail: str,
        *,
        trace_id: str | None = None,
        is_complete: bool = False,
    ) -> None:
        """Put a marker at the stream's next place; without room it becomes part of the hole."""
        now_us = self._clock_us()
        stream.sequence += 1
        stream.markers += 1
        self._counters.markers += 1
        topic = stream.topic
        self.marks.note(topic, kind, reason, detail, now_us)
        marker = Observation(
            topic, kind, f"{topic.key}:{self._epoch}:{stream.sequence}:{kind}",
            topic.category, topic.symbol, now_us // 1000, None, now_us,
            trace_id or self._new_trace_id(), None,
            marker_payload(kind, reason.value, hole, detail, is_complete=is_complete),
        )  # fmt: skip
        if not self._outlet.offer(Event(marker, self._epoch, stream.sequence)):
            self._counters.markers -= 1
            self._widen(stream, stream.sequence, detail)
        elif kind is Kind.GAP:
            self._counters.gaps[reason.value] += 1
