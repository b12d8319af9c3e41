"""What the lines of a recording say."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class What(StrEnum):
    """What a record tells."""

    OPENED = "opened"
    """A connection was opened."""
    CARRIED = "carried"
    """A connection was open, with these topics, when the file was begun."""
    SENT = "sent"
    """A frame went to the venue; logins are told without what they hold."""
    RECEIVED = "received"
    """A frame came from the venue."""
    CLOSED = "closed"
    """A connection was lost or closed."""
    HOLE = "hole"
    """Frames are missing here that could not be recorded."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing that happened on a connection.

    Attributes:
        at: when, Unix µs; of a received frame what its events have as `received_at`.
        what: kind of record.
        connection: its name, as logs and `/health` have it; empty for a hole of all.
        text: of a frame, exactly as it was.
        data: of a frame that is no UTF-8 (base64 in the file).
        path: of the connection, such as `/v5/public/linear`.
        topics: that it carried.
        frames: how many are missing.
        until: when the newest missing one came, µs.
        detail: why it was closed, or why frames are missing.
    """

    at: int
    what: What
    connection: str = ""
    text: str | None = None
    data: bytes | None = None
    path: str | None = None
    topics: tuple[str, ...] = ()
    frames: int = 0
    until: int = 0
    detail: str = ""

    @property
    def raw(self) -> bytes:
        """The frame's bytes, as they were on the wire."""
        if self.data is not None:
            return self.data
        return (self.text or "").encode()


class Header(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """First line of a file.

    Attributes:
        software: who wrote it, with version.
        environment: of the venue, or its address where another was given.
        begun_at: Unix µs.
        is_private: whether frames of private connections, which tell of the account, are in it.
    """

    recording: str = "bybit-v5"
    software: str
    environment: str
    begun_at: int
    is_private: bool = False


class ConnectionIndex(msgspec.Struct, omit_defaults=True):
    """What a file holds of one connection: frames received, by topic; "" for those of none."""

    path: str = ""
    frames: int = 0
    topics: dict[str, int] = {}


class Index(msgspec.Struct):
    """Last line of a file that was closed.

    Attributes:
        first, last: Unix µs.
        frames: received and sent.
        missing: frames that holes stand for.
    """

    first: int
    last: int
    frames: int
    holes: int
    missing: int
    connections: dict[str, ConnectionIndex]


_TOPIC = re.compile(rb'"topic"\s*:\s*"([!-!#-\[\]-~]{1,200})"')
_SEARCHED = 400


def topic_of(raw: bytes) -> str:
    """Read the topic of a frame, which stands at its beginning; "" if there is none."""
    found = _TOPIC.search(raw, 0, _SEARCHED)
    return "" if found is None else found[1].decode()


def frame_record(at: int, what: What, connection: str, raw: bytes) -> Record:
    """Make the record of a frame, whatever its bytes are."""
    try:
        return Record(at, what, connection, raw.decode())
    except UnicodeDecodeError:
        return Record(at, what, connection, None, raw)


class Tally:
    """Counts what a file holds, as it is written or read."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._last = 0
        self._frames = self._holes = self._missing = 0
        self._connections: dict[str, ConnectionIndex] = {}

    def note(self, record: Record, topic: str) -> None:
        """Count a record; `topic` is that of a received frame."""
        if self._first is None or record.at < self._first:
            self._first = record.at
        self._last = max(self._last, record.at)
        if record.what is What.HOLE:
            self._holes += 1
            self._missing += record.frames
            return
        known = self._connections.get(record.connection)
        if known is None:
            known = self._connections[record.connection] = ConnectionIndex(topics={})
        if record.path is not None:
            known.path = record.path
        if record.what is What.RECEIVED:
            self._frames += 1
            known.frames += 1
            known.topics[topic] = known.topics.get(topic, 0) + 1
        elif record.what is What.SENT:
            self._frames += 1

    def index(self) -> Index:
        """Return what was counted so far."""
        return Index(
            self._first or 0,
            self._last,
            self._frames,
            self._holes,
            self._missing,
            self._connections,
        )
