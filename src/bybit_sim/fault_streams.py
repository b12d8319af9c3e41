"""Faults of public data: what is lost, doubled, turned round, or was never sensible."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import msgspec

from bybit_sim.broadcaster import Mute, Stream
from bybit_sim.fault import (
    Chance,
    FaultError,
    Hook,
    Positive,
    RepeatedFault,
    Seconds,
    Share,
    SocketFault,
    TimedFault,
    check_path,
    oldest,
    streams_of,
)
from bybit_sim.private_stage import PrivateEvent
from bybit_sim.topics import (
    PRIVATE_PATH,
    PRIVATE_TOPICS,
    SOCKET_KINDS,
    STATUS_KIND,
    STATUS_TOPIC,
    Channel,
    PublicTopic,
)

_BOOKS = frozenset({Channel.ORDERBOOK, Channel.RPI_BOOK})
_Cure = Literal["cleared", "resubscribed", "reconnected"]
_Bytes = Annotated[int, msgspec.Meta(ge=200, le=64 * 1024 * 1024)]


@dataclass(kw_only=True, eq=False)
class Stall(TimedFault):
    """Silences one topic while pongs and all else go on; a public one continues where it was."""

    name: ClassVar[str] = "stall"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})
    topic: Annotated[str, "the topic, as in a subscribe"]
    until: Annotated[
        _Cure, "what helps against it; but for `cleared` the topic goes on for others"
    ] = "cleared"
    most: Annotated[Positive | None, "so many connections, oldest first; null is all"] = None
    path: Annotated[str | None, "sockets of this path only"] = None
    _held: list[Stream] = field(default_factory=list, init=False)
    _mute: Mute = field(init=False)

    def check(self) -> None:
        """Refuse a path that does not exist, and half-measures where there are none."""
        check_path(self.path)
        is_partial = self.until != "cleared" or self.most is not None
        if is_partial and self.topic in PRIVATE_TOPICS:
            raise FaultError("a private topic falls silent for all, until it is cleared", "until")
        if self.until == "cleared" and self.most is not None:
            raise FaultError("some connections only: say until what, beside its end", "most")

    def begin(self) -> None:
        """Hold the public ones, for everybody or for those who have them now."""
        self._held = streams_of(self.venue, self.topic, self.path)
        having = [each for each in self.venue.connections if self.topic in each.topics]
        deaf = [each.socket for each in oldest(having, self.path, self.most)]
        self._mute = Mute(deaf, outlasts_unsubscribe=self.until == "reconnected")
        for stream in self._held:
            self.hit()
            if self.until == "cleared":
                stream.stalls += 1
            else:
                stream.mutes = (*stream.mutes, self._mute)

    def end(self) -> None:
        """Let them go."""
        for stream in self._held:
            if self.until == "cleared":
                stream.stalls -= 1
            else:
                stream.mutes = tuple(each for each in stream.mutes if each is not self._mute)

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Lose a private one: those are not kept."""
        if event.name != self.topic or self.path not in {None, PRIVATE_PATH}:
            return [event]
        self.hit()
        return []


@dataclass(kw_only=True, eq=False)
class _FrameFault(SocketFault):
    """One that meddles with frames of one topic, or of many, at random."""

    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.STREAM})
    topic: Annotated[str | None, "the topic; null is every one it can be done to"] = None
    probability: Annotated[Share, "share of frames"] = 1.0
    seed: Annotated[int, "of the draws, which each topic makes for itself"] = 1
    count: Annotated[Positive | None, "how often; null until cleared"] = 1

    def begin(self) -> None:
        """Make the draws ready."""
        self._chance = Chance(self.seed, self.probability)
        if self.topic is not None and not streams_of(self.venue, self.topic, self.path):
            raise FaultError(f"not a public topic: {self.topic!r}", "topic")

    def concerns(self, topic: PublicTopic) -> bool:
        """Tell whether it is about a topic."""
        kind = None if self.path is None else SOCKET_KINDS[self.path]
        return kind in {None, topic.category} and self.topic in {None, topic.name}

    def strikes(self, stream: Stream) -> bool:
        """Draw for the next frame of a topic."""
        return self.is_active and self._chance.strikes(
            f"{stream.topic.category}:{stream.topic.name}"
        )


@dataclass(kw_only=True, eq=False)
class UpdateGap(_FrameFault):
    """Loses frames; on a book that is a hole in `u`. Without a topic: book deltas."""

    name: ClassVar[str] = "update_gap"
    most: Annotated[Positive | None, "for so many connections, oldest first; null is all"] = None

    def concerns(self, topic: PublicTopic) -> bool:
        """Tell whether it is about a topic: unnamed only books, whose holes can be seen."""
        is_delta_book = topic.channel in _BOOKS and topic.depth != 1
        return super().concerns(topic) and (self.topic is not None or is_delta_book)

    def alter(self, stream: Stream, frames: list[bytes]) -> list[bytes]:
        """Lose them, or send them to the others only."""
        if not self.strikes(stream):
            return frames
        self.hit()
        if self.most is not None:
            having = [each for each in self.venue.connections if each.socket in stream.sockets]
            losing = {each.socket for each in oldest(having, None, self.most)}
            for frame in frames:
                self.venue.broadcaster.deliver(stream.sockets - losing, frame)
        return []


@dataclass(kw_only=True, eq=False)
class DuplicateFrame(_FrameFault):
    """Sends frames twice."""

    name: ClassVar[str] = "duplicate_frame"

    def alter(self, stream: Stream, frames: list[bytes]) -> list[bytes]:
        """Double them."""
        if not self.strikes(stream):
            return frames
        self.hit()
        return [*frames, frames[-1]]


@dataclass(kw_only=True, eq=False)
class ReorderFrames(_FrameFault):
    """Sends a frame after the one that follows it."""

    name: ClassVar[str] = "reorder_frames"
    _held: dict[Stream, list[bytes]] = field(default_factory=dict, init=False)

    def alter(self, stream: Stream, frames: list[bytes]) -> list[bytes]:
        """Hold one back, or send the one held back after this one."""
        held = self._held.pop(stream, None)
        if held is not None:
            self.hit()
            return [*frames, *held]
        if not self.strikes(stream):
            return frames
        self._held[stream] = frames
        return []

    def end(self) -> None:
        """Send what is still held: turning round is not losing."""
        for stream, frames in self._held.items():
            for frame in frames:
                self.venue.broadcaster.deliver(stream.sockets, frame)
        self._held.clear()


@dataclass(kw_only=True, eq=False)
class _BookEvent(RepeatedFault):
    topic: Annotated[str, "the topic, as in a subscribe"]

    def begin(self) -> None:
        """Find it, then act."""
        streams_of(self.venue, self.topic, self.path)
        super().begin()


@dataclass(kw_only=True, eq=False)
class BookRestart(_BookEvent):
    """Begins a book again with a snapshot whose `u` is 1, as after a restart of the service."""

    name: ClassVar[str] = "book_restart"

    def act(self) -> None:
        """Restart it."""
        for stream in streams_of(self.venue, self.topic, self.path):
            self.venue.broadcaster.restart_book(stream)


@dataclass(kw_only=True, eq=False)
class Snapshot(_BookEvent):
    """Sends a snapshot in mid-stream, with the present `u`."""

    name: ClassVar[str] = "snapshot"

    def act(self) -> None:
        """Send it."""
        for stream in streams_of(self.venue, self.topic, self.path):
            self.venue.broadcaster.repeat_snapshot(stream)


@dataclass(kw_only=True, eq=False)
class MalformedFrame(RepeatedFault):
    """Sends a frame that is no JSON."""

    name: ClassVar[str] = "malformed_frame"
    text: Annotated[str, "the frame"] = '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":17'
    binary: Annotated[bool, "as a binary frame"] = False

    def act(self) -> None:
        """Send it."""
        self.venue.send_raw(self.path, self.text.encode() if self.binary else self.text)


@dataclass(kw_only=True, eq=False)
class OversizedFrame(RepeatedFault):
    """Sends a frame of proper JSON that is far too long."""

    name: ClassVar[str] = "oversized_frame"
    size_bytes: Annotated[_Bytes, "length of the frame"] = 4 * 1024 * 1024
    topic: Annotated[str, "what it claims to be of"] = "orderbook.50.BTCUSDT"

    def act(self) -> None:
        """Send it."""
        frame = {"topic": self.topic, "type": "snapshot", "ts": self.venue.now_ms(), "data": ""}
        bare = len(json.dumps(frame))
        frame["data"] = "x" * max(0, self.size_bytes - bare)
        self.venue.send_raw(self.path, json.dumps(frame))


@dataclass(kw_only=True, eq=False)
class UnknownTopic(RepeatedFault):
    """Sends a frame of a topic nobody has heard of."""

    name: ClassVar[str] = "unknown_topic"
    topic: Annotated[str, "what it says it is of"] = "unheard.of.BTCUSDT"

    def act(self) -> None:
        """Send it."""
        frame = {"topic": self.topic, "type": "snapshot", "ts": self.venue.now_ms(), "data": {}}
        self.venue.send_raw(self.path, json.dumps(frame))


@dataclass(kw_only=True, eq=False)
class Maintenance(TimedFault):
    """Announces maintenance on system.status (and REST), begins it, and completes it at its end."""

    name: ClassVar[str] = "maintenance"
    announce_seconds: Annotated[Seconds, "between `scheduled` and `ongoing`; 0 begins at once"] = (
        0.0
    )
    title: Annotated[str, "of the notice"] = "System maintenance"
    service_types: Annotated[list[int], "1 trading, 2 HTTP, 3 WS, 4 private, 5 market data"] = (
        field(default_factory=lambda: [3, 4, 5])
    )
    products: Annotated[list[int], "1 futures, 2 spot, 3 option, 4 spread"] = field(
        default_factory=lambda: [1, 2, 3, 4]
    )

    def begin(self) -> None:
        """Announce it."""
        now = self.venue.now_ms()
        begin = now + int(self.announce_seconds * 1000.0)
        lasts = 3600.0 if self.duration_seconds is None else self.duration_seconds
        self._row = self.venue.status.post(
            {
                "title": self.title,
                "state": "scheduled" if self.announce_seconds else "ongoing",
                "begin": str(begin),
                "end": str(max(begin, now + int(lasts * 1000.0))),
                "href": "",
                "serviceTypes": self.service_types,
                "product": self.products,
                "uidSuffix": [],
                "maintainType": 1,
                "env": 1,
            }
        )
        self._tell()
        if self.announce_seconds:
            due = self.venue.pulse.now_ms() + self.announce_seconds * 1000.0
            self.venue.pulse.at(due, self._start)

    def end(self) -> None:
        """Say that it is over, or called off if it had not begun."""
        self._row["state"] = "canceled" if self._row["state"] == "scheduled" else "completed"
        self._tell()

    def _start(self, _now_ms: float) -> None:
        if self.is_active:
            self._row["state"] = "ongoing"
            self._tell()

    def _tell(self) -> None:
        self.hits += 1
        stream = self.venue.broadcaster.find(STATUS_KIND, STATUS_TOPIC)
        if stream is not None and not stream.stalls:
            frame = self.venue.status.frame(self._row, self.venue.now_ms())
            self.venue.broadcaster.announce(stream, frame)
