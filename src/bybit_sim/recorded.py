"""A recording instead of a market: what was told once, told again to whoever asks for it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
from websockets.asyncio.server import broadcast

from bybit_sim.broadcaster import Broadcaster
from bybit_sim.config import SimulatorError
from bybit_sim.connection import LiveConnection
from bybit_sim.feed import Feed
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import SOCKET_KINDS, STATUS_TOPIC, Channel, PublicTopic
from frame_recording import Record, RecordingFault, What, find_files, read_records
from frame_recording.records import topic_of

logger = logging.getLogger(__name__)

_ON_PURPOSE = frozenset({"stopped", "left"})
_REFUSED = re.compile(r"topic:\s?\[?([^\]\s,]+)")
_MOST_UNREAD = 1024 * 1024
_SHORTEST_SLEEP = 0.002
_AT_ONCE = 100


class Stage(Protocol):
    """What a playback needs of the simulator around it."""

    connections: list[LiveConnection]
    broadcaster: Broadcaster


class SilentFeed(Feed):
    """Says nothing by itself: its frames come from the recording."""

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - it has none
        """Note nothing."""
        return False

    def collect(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - nothing is ever due
        """Return nothing."""
        return None


class RecordedCatalogue:
    """The topics a recording has: those that were asked for and not refused.

    Args:
        records: all of them.
    """

    def __init__(self, records: Sequence[Record] | Any) -> None:
        self._topics: dict[tuple[str, str], PublicTopic] = {}
        self.topics_of_path: dict[str, set[str]] = {}
        paths: dict[str, str] = {}
        refused: set[tuple[str, str]] = set()
        for record in records:
            if record.path is not None:
                paths[record.connection] = _bare(record.path)
            path = paths.get(record.connection, "")
            for name in record.topics:
                self._add(path, name)
            if record.what is What.SENT:
                op, args = _request(record)
                for name in args if op == "subscribe" else ():
                    self._add(path, name)
            elif record.what is What.RECEIVED and not topic_of(record.raw):
                refused |= {(path, name) for name in _refused_in(record)}
        for path, name in refused:
            self._topics.pop((SOCKET_KINDS.get(path, ""), name), None)
            self.topics_of_path.get(path, set()).discard(name)

    def find(self, category: str, name: str) -> PublicTopic | None:
        """Return a topic, None if the recording does not have it."""
        return self._topics.get((category, name))

    def feed(self, topic: PublicTopic) -> Feed:
        """Make what a topic says by itself, which is nothing."""
        return SilentFeed(topic, ())

    def _add(self, path: str, name: str) -> None:
        kind = SOCKET_KINDS.get(path)
        if kind is not None:
            self._topics[kind, name] = _public_topic(kind, name)
            self.topics_of_path.setdefault(path, set()).add(name)


@dataclass(eq=False, slots=True)
class _Track:
    """One connection of the recording, and the present one that hears it."""

    name: str
    path: str
    topics: set[str] = field(default_factory=set)
    heard_by: LiveConnection | None = None


class Playback:
    """Plays a recording: topics as they are asked for, pauses as they were, cuts included.

    It goes on where the recorded client had subscribed only when the present one has as well, or
    `patience_seconds` later, so that both hear the same from the same moment.

    Args:
        stage: the simulator.
        paths: files, in any order.
        speed: 1 is as it was, 0 as fast as the client reads.
        patience_seconds: as above.

    Attributes:
        played: frames that were sent.
        unheard: frames nobody listened to.
        is_over: the end was reached.
    """

    def __init__(
        self, stage: Stage, paths: Sequence[Path], *, speed: float, patience_seconds: float
    ) -> None:
        self._stage = stage
        self._paths = paths
        self._speed = speed
        self._patience = patience_seconds
        self._tracks: dict[str, _Track] = {}
        self._asked: Counter[tuple[str, str]] = Counter()
        self._asked_now: Counter[tuple[str, str]] = Counter()
        self._given_up: set[tuple[str, str]] = set()
        self._cut: list[LiveConnection] = []  # and not gone yet
        self._changed = asyncio.Event()
        self._base: float | None = None
        self._first = 0
        self.catalogue = load_catalogue(paths)
        self.played = 0
        self.unheard = 0
        self.is_over = False

    def heard(self, connection: LiveConnection, message: Any) -> None:
        """Take note of what a client said."""
        if isinstance(message, dict) and message.get("op") == "subscribe":
            for name in message.get("args") or ():
                self._asked_now[connection.path, name] += 1
        self._changed.set()

    async def run(self) -> None:
        """Play to the end; then nothing is told any more."""
        loop = asyncio.get_running_loop()
        for number, record in enumerate(read_records(self._paths)):
            now = loop.time()
            if self._base is None:
                self._base, self._first = now, record.at
            if self._speed:
                due = self._base + (record.at - self._first) / 1e6 / self._speed
                if due - now > _SHORTEST_SLEEP:
                    await asyncio.sleep(due - now)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            await self._play(record)
        self.is_over = True
        logger.info("the recording is over: %d frames, %d unheard", self.played, self.unheard)

    async def _play(self, record: Record) -> None:
        track = self._tracks.get(record.connection)
        if record.what in {What.OPENED, What.CARRIED}:
            if track is None or record.what is What.OPENED:
                track = _Track(record.connection, _bare(record.path or ""))
                self._tracks[record.connection] = track
            await self._subscribe(track, record.topics)
        elif track is None:
            return
        elif record.what is What.SENT:
            op, args = _request(record)
            if op == "subscribe":
                await self._subscribe(track, args)
            elif op == "unsubscribe":
                track.topics.difference_update(args)
        elif record.what is What.RECEIVED:
            await self._tell(track, record)
        elif record.what is What.CLOSED:
            self._close(track, record.detail)

    # ── waiting for the client ────────────────────────────────────────────────────────────────

    async def _subscribe(self, track: _Track, names: Collection[str]) -> None:
        """Wait until the present client has asked for the same."""
        known = self.catalogue.topics_of_path.get(track.path, set())
        others = [each for each in self._tracks.values() if each is not track]
        awaited = set()
        for name in known.intersection(names):
            is_elsewhere = any(
                each.path == track.path and name in each.topics and each.heard_by is not None
                for each in others
            )
            track.topics.add(name)
            if not is_elsewhere:
                self._asked[track.path, name] += 1
                awaited.add((track.path, name))
        awaited -= self._given_up
        if awaited:
            await self._until_asked(track, awaited)

    async def _until_asked(self, track: _Track, awaited: set[tuple[str, str]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                while not self._is_asked(track, awaited):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = [name for name in awaited if not self._is_asked(track, {name})]
            for place in missing:
                # Nobody waits for it again; counting goes on from what there is.
                self._asked[place] = self._asked_now[place]
                if not self._asked_now[place]:
                    self._given_up.add(place)
            logger.warning("= nobody asked for %s", sorted(missing)[:5])
        if self._base is not None:
            self._base += loop.time() - began

    def _is_asked(self, track: _Track, awaited: set[tuple[str, str]]) -> bool:
        listener = self._listener(track)
        return listener is not None and all(
            place[1] in listener.topics and self._asked_now[place] >= self._asked[place]
            for place in awaited
        )

    def _listener(self, track: _Track) -> LiveConnection | None:
        """Return the present connection that hears a track, chosen if need be."""
        if track.heard_by is not None and track.heard_by in self._stage.connections:
            return track.heard_by
        self._cut = [each for each in self._cut if each in self._stage.connections]
        taken = {id(each.heard_by) for each in self._tracks.values() if each is not track}
        taken |= {id(each) for each in self._cut}
        track.heard_by = next(
            (
                each
                for each in self._stage.connections
                if each.path == track.path
                and id(each) not in taken
                and not track.topics.isdisjoint(each.topics)
            ),
            None,
        )
        return track.heard_by

    # ── telling ───────────────────────────────────────────────────────────────────────────────

    async def _tell(self, track: _Track, record: Record) -> None:
        raw = record.raw
        name = topic_of(raw)
        if not name and _is_answer(raw):
            return  # the simulator answers by itself
        listener = self._listener(track)
        if listener is None or (name in track.topics and name not in listener.topics):
            self.unheard += 1
            return
        if name and name not in track.topics and name in self._known(track):
            return  # it came after the unsubscribe, on its way as it was
        self.played += 1
        if record.data is None:
            self._stage.broadcaster.deliver((listener.socket,), raw)
        else:
            broadcast((listener.socket,), raw)
        if not self._speed:
            transport = listener.socket.transport
            while (  # noqa: ASYNC110 - a transport tells nobody that it was read
                transport.get_write_buffer_size() > _MOST_UNREAD and not transport.is_closing()
            ):
                await asyncio.sleep(_SHORTEST_SLEEP)

    def _known(self, track: _Track) -> set[str]:
        return self.catalogue.topics_of_path.get(track.path, set())

    def _close(self, track: _Track, why: str) -> None:
        del self._tracks[track.name]
        if why not in _ON_PURPOSE and (listener := self._listener(track)) is not None:
            listener.socket.transport.abort()
            self._cut.append(listener)


def load_catalogue(paths: Sequence[Path]) -> RecordedCatalogue:
    """Read which topics a recording has.

    Raises:
        SimulatorError: it cannot be read.
    """
    try:
        return RecordedCatalogue(read_records(paths))
    except RecordingFault as exc:
        raise SimulatorError(str(exc)) from exc


def recording_files(places: Sequence[Path]) -> list[Path]:
    """List the files of a recording.

    Raises:
        SimulatorError: there are none.
    """
    try:
        return find_files(places)
    except RecordingFault as exc:
        raise SimulatorError(str(exc)) from exc


def _bare(path: str) -> str:
    return path.partition("?")[0]


def _request(record: Record) -> tuple[str, list[str]]:
    said = msgspec.json.decode(record.raw)
    return said.get("op", ""), [str(each) for each in said.get("args") or ()]


def _is_answer(raw: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(raw), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _refused_in(record: Record) -> list[str]:
    """Name the topics an answer refuses."""
    try:
        said = msgspec.json.decode(record.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not isinstance(said, dict) or said.get("success") is not False:
        return []
    text = str(said.get("ret_msg"))
    return [] if "already" in text else _REFUSED.findall(text)


def _public_topic(kind: str, name: str) -> PublicTopic:
    """Describe a topic as far as faults look at it."""
    if name == STATUS_TOPIC:
        return PublicTopic(kind, name, Channel.SYSTEM_STATUS, "")
    prefix, _, rest = name.partition(".")
    channels = set(Channel) - {Channel.SYSTEM_STATUS, Channel.RPI_BOOK}
    channel = Channel(prefix) if prefix in channels else Channel.TRADE
    parameter, _, symbol = rest.partition(".")
    if channel is Channel.ORDERBOOK:
        if parameter == "rpi":
            return PublicTopic(kind, name, Channel.RPI_BOOK, symbol)
        depth = int(parameter) if parameter.isdecimal() else 0
        return PublicTopic(kind, name, channel, symbol, depth=depth)
    if channel is Channel.KLINE:
        return PublicTopic(kind, name, channel, symbol, interval=parameter)
    return PublicTopic(kind, name, channel, rest)
