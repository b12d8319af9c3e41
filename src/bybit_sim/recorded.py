"""A recording instead of a market: what was told once, told again to whoever asks for it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
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
from bybit_sim.party import Party
from bybit_sim.topics import PRIVATE_PATH, SOCKET_KINDS, STATUS_TOPIC, Channel, PublicTopic
from frame_recording import Record, RecordingFault, What, find_files, read_records
from frame_recording.records import further_account, read_request, topic_of

logger = logging.getLogger(__name__)

_ON_PURPOSE = frozenset({"stopped", "left"})
_REFUSED = re.compile(r"topic:\s?\[?([^\]\s,]+)")
_MOST_UNREAD = 1024 * 1024
_SHORTEST_SLEEP = 0.002
_STEP_US = 1_000_000
_AT_ONCE = 100

_Place = tuple[str, str | None]
"""A path, and of a private connection the further account: None is the first."""


class Stage(Protocol):
    """What a playback needs of the simulator around it."""

    connections: list[LiveConnection]
    broadcaster: Broadcaster
    parties: list[Party]


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

    Attributes:
        topics_of: names by path and account.
        passed_over: sent frames that are no requests.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._topics: dict[tuple[str, str], PublicTopic] = {}
        self.topics_of: dict[_Place, set[str]] = {}
        self.passed_over = 0
        places: dict[str, _Place] = {}
        refused: set[tuple[_Place, str]] = set()
        for record in records:
            if record.path is not None:
                places[record.connection] = _place_of(record)
            place = places.get(record.connection, ("", None))
            for name in record.topics:
                self._add(place, name)
            if record.what is What.SENT:
                request = read_request(record.raw)
                self.passed_over += request is None
                if request is not None and request.op == "subscribe":
                    for name in request.args:
                        self._add(place, name)
            elif record.what is What.RECEIVED and not topic_of(record.raw):
                refused |= {(place, name) for name in _refused_in(record)}
        for place, name in refused:
            self._topics.pop((SOCKET_KINDS.get(place[0], ""), name), None)
            self.topics_of.get(place, set()).discard(name)

    def find(self, category: str, name: str) -> PublicTopic | None:
        """Return a topic, None if the recording does not have it."""
        return self._topics.get((category, name))

    def feed(self, topic: PublicTopic) -> Feed:
        """Make what a topic says by itself, which is nothing."""
        return SilentFeed(topic, ())

    def _add(self, place: _Place, name: str) -> None:
        kind = SOCKET_KINDS.get(place[0])
        if kind is not None:
            self._topics[kind, name] = _public_topic(kind, name)
            self.topics_of.setdefault(place, set()).add(name)


@dataclass(eq=False, slots=True)
class _Track:
    """One connection of the recording, and the present one that hears it."""

    name: str
    place: _Place
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
        self._asked: Counter[tuple[_Place, str]] = Counter()
        self._asked_now: Counter[tuple[_Place, str]] = Counter()
        self._given_up: set[tuple[_Place, str]] = set()
        self._deaf: set[_Place] = set()  # private ones nobody can log in to here
        self._cut: list[LiveConnection] = []  # and not gone yet
        self._changed = asyncio.Event()
        self._base: float | None = None
        self._first = self._last = 0
        self.catalogue = load_catalogue(paths)
        self.played = 0
        self.unheard = 0
        self.is_over = False

    def heard(self, connection: LiveConnection, message: Any) -> None:
        """Take note of what a client said."""
        if isinstance(message, dict) and message.get("op") == "subscribe":
            args = message.get("args")
            for name in args if isinstance(args, list) else ():
                self._asked_now[self._place_of(connection), str(name)] += 1
        self._changed.set()

    def _place_of(self, connection: LiveConnection) -> _Place:
        """Say whose frames a present connection hears: those of the account it logged in to."""
        party = connection.party
        is_first = party is None or party is self._stage.parties[0]
        return connection.path, None if is_first or party is None else party.name

    async def run(self) -> None:
        """Play to the end; then nothing is told any more."""
        loop = asyncio.get_running_loop()
        self._say_what_nobody_hears()
        for number, record in enumerate(read_records(self._paths)):
            now = loop.time()
            if self._base is None or record.at < self._last - _STEP_US:
                # At a clock that was set back, time begins anew.
                self._base, self._first = now, record.at
            self._last = record.at
            if self._speed:
                due = self._base + (record.at - self._first) / 1e6 / self._speed
                if due - now > _SHORTEST_SLEEP:
                    await asyncio.sleep(due - now)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            await self._play(record)
        self.is_over = True
        logger.info("the recording is over: %d frames, %d unheard", self.played, self.unheard)

    def _say_what_nobody_hears(self) -> None:
        first, *others = self._stage.parties
        known: set[str | None] = {party.name for party in others}
        if first.of.api_key is not None:
            known.add(None)
        private = {place for place in self.catalogue.topics_of if place[0] == PRIVATE_PATH}
        self._deaf = {place for place in private if place[1] not in known}
        for _, account in sorted(self._deaf, key=str):
            logger.warning(
                "nobody hears %s of the recording: give it a key by %s",
                "the first account" if account is None else f"account {account!r}",
                "--api-key" if account is None else f"--account {account}:KEY:SECRET",
            )
        if self.catalogue.passed_over:
            logger.warning(
                "%d sent frames of the recording are no requests and are passed over",
                self.catalogue.passed_over,
            )

    async def _play(self, record: Record) -> None:
        track = self._tracks.get(record.connection)
        if record.what in {What.OPENED, What.CARRIED}:
            if track is None or record.what is What.OPENED:
                track = _Track(record.connection, _place_of(record))
                self._tracks[record.connection] = track
            # A later file tells once more what is carried; nobody is asked for it twice.
            await self._subscribe(track, [one for one in record.topics if one not in track.topics])
        elif track is None:
            return
        elif record.what is What.SENT:
            request = read_request(record.raw)
            if request is None:
                return
            if request.op == "subscribe":
                await self._subscribe(track, request.args)
            elif request.op == "unsubscribe":
                track.topics.difference_update(request.args)
        elif record.what is What.RECEIVED:
            await self._tell(track, record)
        elif record.what is What.CLOSED:
            self._close(track, record.detail)

    # ── waiting for the client ────────────────────────────────────────────────────────────────

    async def _subscribe(self, track: _Track, names: Collection[str]) -> None:
        """Wait until the present client has asked for the same."""
        known = self._known(track)
        others = [each for each in self._tracks.values() if each is not track]
        awaited = set()
        for name in known.intersection(names):
            is_elsewhere = any(
                each.place == track.place and name in each.topics and each.heard_by is not None
                for each in others
            )
            track.topics.add(name)
            if not is_elsewhere:
                self._asked[track.place, name] += 1
                awaited.add((track.place, name))
        awaited -= self._given_up
        if awaited and track.place not in self._deaf:
            await self._until_asked(track, awaited)

    async def _until_asked(self, track: _Track, awaited: set[tuple[_Place, str]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                while not self._is_asked(track, awaited):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = [one for one in awaited if not self._is_asked(track, {one})]
            for one in missing:
                # Nobody waits for it again; counting goes on from what there is.
                self._asked[one] = self._asked_now[one]
                if not self._asked_now[one]:
                    self._given_up.add(one)
            names = sorted(name for _, name in missing)[:5]
            logger.warning("= nobody asked %s for %s", track.name, names)
        if self._base is not None:
            self._base += loop.time() - began

    def _is_asked(self, track: _Track, awaited: set[tuple[_Place, str]]) -> bool:
        listener = self._listener(track)
        return listener is not None and all(
            one[1] in listener.topics and self._asked_now[one] >= self._asked[one]
            for one in awaited
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
                if self._place_of(each) == track.place
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
        return self.catalogue.topics_of.get(track.place, set())

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


def _place_of(record: Record) -> _Place:
    return (record.path or "").partition("?")[0], further_account(record.connection)


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
