"""From records to facts: what a session and its shard did with the frames, without sockets.

The decoder, the identities, the merge and the pipeline are those of the live path. What a session
decides by the clock (that a topic has stalled) is not decided anew: its request in the recording
tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from frame_recording import Record, What
from frame_recording.records import further_account, read_request
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.topic import Category, Topic, parse_topic
from ws_gateway.errors import Quarantine, Rejected
from ws_gateway.ports.event_path import ObservationSink, UnreadableSink
from ws_gateway.replay.legs import PlayedLeg, PlayedShard
from ws_gateway.venue.messages import WireFrame, decode_frame
from ws_gateway.venue.observations import read_observations

_ON_PURPOSE = frozenset({"stopped", "left"})


_MOST_UNANSWERED = 10_000


class Player:
    """Feeds a pipeline with what was recorded.

    Args:
        sink: the pipeline.
        private_sink: what stands before it for private facts.
        unreadable: where frames go that cannot be read.
        new_trace_id: names a frame.

    Attributes:
        now_us: the time of the recording, Unix µs.
        frames: received ones that were played.
        missing: frames the recording has holes for.
        passed_over: sent frames that are no requests, of which nobody knows what they asked for.
    """

    def __init__(
        self,
        sink: ObservationSink,
        unreadable: UnreadableSink,
        new_trace_id: Callable[[], str],
        *,
        private_sink: ObservationSink,
    ) -> None:
        self._sink = sink
        self._private_sink = private_sink
        self._unreadable = unreadable
        self._new_trace_id = new_trace_id
        self._legs: dict[str, PlayedLeg] = {}
        self._shards: dict[str, PlayedShard] = {}
        self._asked: set[str] = set()
        self.now_us = 0
        self.frames = 0
        self.missing = 0
        self.passed_over = 0

    def resync(self, topic: Topic) -> None:
        """Take note that the pipeline wants a snapshot; the recording has it, or has it not."""
        self._asked.add(topic.key)
        for shard in self._shards.values():
            if any(topic in leg.wanted.values() for leg in shard.legs.values()):
                shard.await_snapshot(topic)

    def take(self, record: Record) -> None:
        """Play one record."""
        self.now_us = max(self.now_us, record.at)
        what = record.what
        if what is What.RECEIVED:
            leg = self._legs.get(record.connection)
            if leg is not None:
                self.frames += 1
                self._receive(leg, record)
        elif what is What.SENT:
            leg = self._legs.get(record.connection)
            if leg is not None:
                self._request(leg, record)
        elif what is What.OPENED:
            self._open(record)
        elif what is What.CARRIED:
            if (leg := self._legs.get(record.connection)) is None:
                self._open(record)
            else:  # after a hole it may be asked for more than was recorded
                self._want(leg, record.topics)
        elif what is What.CLOSED:
            self._close(record.connection, record.detail, record.at)
        else:
            self._miss(record)

    # ── connections ───────────────────────────────────────────────────────────────────────────

    def _open(self, record: Record) -> None:
        name, path = record.connection, record.path or ""
        if name in self._legs:
            self._close(name, "the recording does not say how it was closed", record.at)
        place = path.rpartition("/")[2].partition("?")[0]
        category = Category(place) if place in set(Category) else None
        base = name.partition(".")[0]
        shard = self._shards.get(base)
        if shard is None:
            sink = self._private_sink if place == "private" else self._sink
            shard = self._shards[base] = PlayedShard(sink)
        leg = PlayedLeg(name, category, shard, account=further_account(name), heard_at=record.at)
        self._legs[name] = leg
        shard.join(leg)
        self._want(leg, record.topics)
        leg.carry(record.topics, record.at)

    def _close(self, name: str, why: str, at: int) -> None:
        leg = self._legs.pop(name, None)
        if leg is None:
            return
        if why in _ON_PURPOSE:
            leg.shard.leave(leg, why, at)
        else:
            topics = list(leg.wanted.values())
            leg.shard.broken(leg, topics, GapReason.DISCONNECT, why)
            leg.wanted.clear()
            leg.carried_since.clear()

    def _miss(self, record: Record) -> None:
        self.missing += record.frames
        why = f"the recording misses {record.frames} frames: {record.detail}"
        for leg in self._legs.values():
            topics = list(leg.wanted.values())
            leg.shard.broken(leg, topics, GapReason.DISCONNECT, why, is_told_by_others=False)

    # ── frames ────────────────────────────────────────────────────────────────────────────────

    def _request(self, leg: PlayedLeg, record: Record) -> None:
        request = read_request(record.raw)
        if request is None:
            self.passed_over += 1
            return
        names = request.args
        if request.op == "subscribe":
            if request.req_id is not None:
                leg.requests[request.req_id] = list(names)
                if len(leg.requests) > _MOST_UNANSWERED:
                    del leg.requests[next(iter(leg.requests))]
            self._want(leg, names)
            leg.shard.asked(leg)
        elif request.op == "unsubscribe":
            for name in names:
                topic = leg.wanted.pop(name, None)
                leg.carried_since.pop(name, None)
                leg.left.add(name)
                if topic is None:
                    continue
                if topic.key in self._asked:
                    self._asked.discard(topic.key)  # for a snapshot; the pipeline knows of it
                else:
                    leg.shard.unsubscribed(leg, topic)

    def _want(self, leg: PlayedLeg, names: Iterable[str]) -> None:
        for name in names:
            try:
                leg.wanted[name] = parse_topic(name, leg.category, leg.account)
            except Rejected:
                continue  # of a channel this version does not know; its frames are told as such

    def _receive(self, leg: PlayedLeg, record: Record) -> None:
        leg.heard_at = record.at
        raw = record.raw
        topic: Topic | None = None
        trace_id = self._new_trace_id()
        try:
            frame = decode_frame(raw)
            if frame.topic is None:
                self._answer(leg, frame, record.at)
                return
            topic = leg.wanted.get(frame.topic)
            if topic is None:
                if frame.topic in leg.left:
                    return
                raise Quarantine("unknown_topic", f"nobody asked for {frame.topic!r}")  # noqa: TRY301
            leg.carry([topic.name], record.at)
            for fact in read_observations(topic, frame, record.at, trace_id):
                leg.shard.accept(leg, fact)
        except Quarantine as exc:
            self._unreadable.quarantine(
                reason=exc.reason, origin=leg.name, detail=exc.detail, raw=raw, trace_id=trace_id
            )
            broken = [topic] if topic is not None else []
            if exc.is_lost:
                broken = leg.suspects(exc.topic)
            why = f"a frame could not be read: {exc.detail}"
            leg.shard.broken(leg, broken, GapReason.SEQUENCE, why)

    def _answer(self, leg: PlayedLeg, frame: WireFrame, at: int) -> None:
        names = leg.requests.pop(frame.req_id or "", [])
        if frame.is_success:
            leg.carry(names, at)
        elif frame.op == "subscribe":
            for name in names:
                leg.wanted.pop(name, None)
