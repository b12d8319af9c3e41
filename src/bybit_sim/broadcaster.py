"""Moves the watched symbols on, and sends each topic's frames to all who subscribed to it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from websockets.asyncio.server import ServerConnection, broadcast

from bybit_sim.book_feed import AnyBookFeed
from bybit_sim.config import SimulatorConfig
from bybit_sim.feed import Feed
from bybit_sim.feeds import make_feed
from bybit_sim.market import Market, SymbolMarket
from bybit_sim.pulse import Pulse
from bybit_sim.topics import SOCKET_KINDS, PublicTopic, find_topic

_PUBLIC_KINDS = tuple(kind for kind in SOCKET_KINDS.values() if kind != "private")
_LATE_MS = 1_000.0  # a market further behind than this skips time instead of catching up


class StreamFault(Protocol):
    """A fault that meddles with what some topics broadcast."""

    def concerns(self, topic: PublicTopic) -> bool:
        """Tell whether it meddles with a topic."""
        ...

    def alter(self, stream: Stream, frames: list[bytes]) -> list[bytes]:
        """Return what is sent instead of frames that are due now."""
        ...


class Catalogue(Protocol):
    """Which public topics there are."""

    def find(self, category: str, name: str) -> PublicTopic | None:
        """Return the topic of that exact name on that socket, None if there is none."""
        ...

    def feed(self, topic: PublicTopic) -> Feed:
        """Make what a topic says."""
        ...


class MarketCatalogue:
    """The topics of a market's instruments."""

    def __init__(self, market: Market, config: SimulatorConfig) -> None:
        self._market = market
        self._config = config

    def find(self, category: str, name: str) -> PublicTopic | None:
        """Return the topic of that exact name on that socket, None if there is none."""
        return find_topic(self._market, category, name)

    def feed(self, topic: PublicTopic) -> Feed:
        """Make what a topic says."""
        return make_feed(topic, self._market, self._config)


class Mute:
    """Sockets that hear nothing of a stream they are subscribed to, while it goes on for others.

    Attributes:
        sockets: which.
        outlasts_unsubscribe: whether a socket that subscribes anew still hears nothing.
    """

    __slots__ = ("outlasts_unsubscribe", "sockets")

    def __init__(self, sockets: Iterable[ServerConnection], *, outlasts_unsubscribe: bool) -> None:
        self.sockets = set(sockets)
        self.outlasts_unsubscribe = outlasts_unsubscribe


class Stream:
    """One public topic with its listeners; it and its `u` outlive them.

    Attributes:
        topic: which one.
        feed: what it says.
        sockets: who listens.
        is_pending: a push is on the agenda.
        is_beating: the timer of the feed is on the agenda.
        stalls: how many faults hold it silent.
        mutes: those that hold it silent for some sockets; nearly always none.
        faults: those that meddle with its frames; nearly always none.
        last_push_ms: when it last had something to say.
        left_ms: when the last listener left.
        frames: how many frames it built since the start.
    """

    __slots__ = (
        "faults",
        "feed",
        "frames",
        "is_beating",
        "is_pending",
        "last_push_ms",
        "left_ms",
        "mutes",
        "sockets",
        "stalls",
        "topic",
    )

    def __init__(self, topic: PublicTopic, feed: Feed) -> None:
        self.topic = topic
        self.feed = feed
        self.sockets: set[ServerConnection] = set()
        self.is_pending = False
        self.is_beating = False
        self.stalls = 0
        self.mutes: tuple[Mute, ...] = ()
        self.faults: tuple[StreamFault, ...] = ()
        self.last_push_ms = 0.0
        self.left_ms = 0.0
        self.frames = 0


class _Runner:
    """The ticking of one symbol, alive while a stream wants it."""

    __slots__ = ("due_ms", "is_running", "market", "streams")

    def __init__(self, market: SymbolMarket) -> None:
        self.market = market
        self.streams: list[Stream] = []
        self.is_running = False
        self.due_ms = 0.0


class Broadcaster:
    """Owns all streams; everything it does happens on the pulse, no task per frame.

    Attributes:
        frames_sent: market-data frames handed to sockets, one count per receiver.
        slow_cut: subscribers cut off because they did not read.
    """

    def __init__(self, catalogue: Catalogue, pulse: Pulse, config: SimulatorConfig) -> None:
        self._catalogue = catalogue
        self._pulse = pulse
        self._config = config
        self._period_ms = 1000.0 / config.rate
        self._streams: dict[tuple[str, str], Stream] = {}
        self._runners: dict[SymbolMarket, _Runner] = {}
        self._faults: tuple[StreamFault, ...] = ()
        self.frames_sent = 0
        self.slow_cut = 0

    def find(self, category: str, name: str) -> Stream | None:
        """Return the stream of a topic, None if the topic does not exist on that socket."""
        stream = self._streams.get((category, name))
        if stream is None:
            topic = self._catalogue.find(category, name)
            if topic is None:
                return None
            stream = Stream(topic, self._catalogue.feed(topic))
            self._expose(stream)
            self._streams[category, name] = stream
        return stream

    def subscribe(self, socket: ServerConnection, stream: Stream) -> None:
        """Add a listener; call `greet` for its first frame in the same breath."""
        if not stream.sockets:
            now = self._pulse.now_ms()
            stream.feed.resume(self._stamp(now))
            stream.last_push_ms = now
            self._start(stream)
        stream.sockets.add(socket)

    def greet(self, socket: ServerConnection, stream: Stream) -> None:
        """Send a new listener what everybody else on the stream already knows."""
        if stream.stalls or any(socket in mute.sockets for mute in stream.mutes):
            return
        frame = stream.feed.greet(self._stamp(self._pulse.now_ms()))
        if frame is not None:
            self.deliver((socket,), frame)

    def unsubscribe(self, socket: ServerConnection, stream: Stream) -> None:
        """Remove a listener; without listeners the symbol stands still, at once or soon."""
        stream.sockets.discard(socket)
        for mute in stream.mutes:
            if not mute.outlasts_unsubscribe:
                mute.sockets.discard(socket)
        if not stream.sockets:
            linger_ms = self._config.linger_seconds * 1000.0
            if linger_ms:
                stream.left_ms = self._pulse.now_ms()
                self._pulse.at(stream.left_ms + linger_ms, partial(self._let_stand, stream))
            else:
                self._let_stand(stream, 0.0)

    def streams_of(self, name: str, category: str | None = None) -> list[Stream]:
        """Return the streams of a topic name, over all categories or in one, made if need be."""
        categories = (category,) if category else _PUBLIC_KINDS
        found = (self.find(each, name) for each in categories)
        return [stream for stream in found if stream is not None]

    def restart_book(self, stream: Stream) -> None:
        """Send everybody a snapshot with `u` 1, from which deltas go on."""
        if isinstance(stream.feed, AnyBookFeed):
            now = self._pulse.now_ms()
            self.announce(stream, stream.feed.restart(self._stamp(now)))

    def repeat_snapshot(self, stream: Stream) -> None:
        """Tell everybody what a new listener would be told; nothing if that is nothing."""
        frame = stream.feed.greet(self._stamp(self._pulse.now_ms()))
        if frame is not None:
            self.announce(stream, frame)

    def announce(self, stream: Stream, frame: bytes) -> None:
        """Send all listeners a frame that is not due by itself, untouched by faults."""
        stream.last_push_ms = self._pulse.now_ms()
        self.deliver(_hearing(stream), frame)

    def use_faults(self, faults: tuple[StreamFault, ...]) -> None:
        """Let these faults, and no others, meddle with frames from now on."""
        self._faults = faults
        for stream in self._streams.values():
            self._expose(stream)

    def deliver(self, sockets: Iterable[ServerConnection], frame: bytes) -> None:
        """Send one text frame to sockets without waiting; cut off those that do not read."""
        broadcast(sockets, frame, text=True)
        limit = self._config.max_backlog_bytes
        for socket in sockets:
            self.frames_sent += 1
            if socket.transport.get_write_buffer_size() > limit:
                self.slow_cut += 1
                socket.transport.abort()

    def _expose(self, stream: Stream) -> None:
        stream.faults = tuple(each for each in self._faults if each.concerns(stream.topic))

    def _stamp(self, now_ms: float) -> int:
        """Return server time, which a fault may have moved away from the agenda's."""
        return int(now_ms + self._pulse.skew_ms)

    def _let_stand(self, stream: Stream, now_ms: float) -> None:
        """Let the symbols of a stream stand still, unless somebody listens again."""
        came_back = now_ms and now_ms < stream.left_ms + self._config.linger_seconds * 1000.0
        if stream.sockets or came_back:
            return
        for market in stream.feed.markets:
            runner = self._runners[market]
            if stream in runner.streams:
                runner.streams.remove(stream)

    def _start(self, stream: Stream) -> None:
        now = self._pulse.now_ms()
        for market in stream.feed.markets:
            runner = self._runners.setdefault(market, _Runner(market))
            if stream not in runner.streams:  # it may have gone on without listeners
                runner.streams.append(stream)
            if not runner.is_running:
                runner.is_running = True
                # Symbols tick out of step, by a phase that is stable for each name.
                phase = zlib.crc32(market.instrument.symbol.encode()) % 1000 / 1000
                runner.due_ms = now + self._period_ms * phase
                self._pulse.at(runner.due_ms, partial(self._tick, runner))
        period = stream.feed.period_ms
        if period is not None and not stream.is_beating:
            stream.is_beating = True
            self._pulse.at(now + period, partial(self._beat, stream))

    def _tick(self, runner: _Runner, now_ms: float) -> None:
        if not runner.streams:
            runner.is_running = False
            return
        market = runner.market
        market.tick(self._stamp(now_ms))
        for stream in runner.streams:
            if stream.feed.absorb(market) and not stream.is_pending:
                due = stream.last_push_ms + stream.topic.push_ms
                if due <= now_ms:
                    self._push(stream, now_ms)
                else:
                    stream.is_pending = True
                    self._pulse.at(due, partial(self._push, stream))
        runner.due_ms += self._period_ms
        if runner.due_ms < now_ms - _LATE_MS:
            runner.due_ms = now_ms + self._period_ms
        self._pulse.at(runner.due_ms, partial(self._tick, runner))

    def _push(self, stream: Stream, now_ms: float) -> None:
        stream.is_pending = False
        # A stalled stream is not collected, so what it says after the stall fits what it said
        # before: the fault is silence, not loss.
        if not stream.sockets or stream.stalls:
            return
        frame = stream.feed.collect(self._stamp(now_ms))
        if frame is not None:
            self._send(stream, frame, now_ms)

    def _beat(self, stream: Stream, now_ms: float) -> None:
        period = stream.feed.period_ms
        if not stream.sockets or period is None:
            stream.is_beating = False
            return
        if not stream.stalls:
            last_push = stream.last_push_ms + self._pulse.skew_ms
            frame = stream.feed.beat(self._stamp(now_ms), last_push)
            if frame is not None:
                self._send(stream, frame, now_ms)
        self._pulse.at(now_ms + period, partial(self._beat, stream))

    def _send(self, stream: Stream, frame: bytes, now_ms: float) -> None:
        stream.last_push_ms = now_ms
        stream.frames += 1
        sockets = _hearing(stream)
        if not stream.faults:
            self.deliver(sockets, frame)
            return
        frames = [frame]
        for fault in stream.faults:
            if frames:
                frames = fault.alter(stream, frames)
        for each in frames:
            self.deliver(sockets, each)


def _hearing(stream: Stream) -> set[ServerConnection]:
    """Return the sockets its frames go to."""
    if not stream.mutes:
        return stream.sockets
    return stream.sockets.difference(*(mute.sockets for mute in stream.mutes))
