"""What the lines of a recording say."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Container
from enum import StrEnum

import msgspec

_REQUEST_BYTES = 1024 * 1024
_MOST_NAMES = 100_000
_OTHERS = "(others)"
_LONG_BYTES = 1024 * 1024


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
        account: whose a private connection is, by name; told when it is opened or carried.
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
    account: str = ""
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
        accounts: those of who wrote it, the first one first; empty without private connections.
    """

    recording: str = "bybit-v5"
    software: str
    environment: str
    begun_at: int
    is_private: bool = False
    accounts: tuple[str, ...] = ()


class ConnectionIndex(msgspec.Struct, omit_defaults=True):
    """What a file holds of one connection: frames received, by topic; "" for those of none."""

    path: str = ""
    account: str = ""
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
        text = raw.decode()
    except UnicodeDecodeError:
        return Record(at, what, connection, None, raw)
    # Control characters take six bytes each in JSON; a line has to stay below its bound.
    if len(raw) > _LONG_BYTES and len(msgspec.json.encode(text)) > len(b64encode(raw)):
        return Record(at, what, connection, None, raw)
    return Record(at, what, connection, text)


def further_account(connection: str) -> str | None:
    """Name the account that a connection's name says it is of; None for the first, and public.

    A connection is called `private@hedge.2`: endpoint, account, and its number after the first.
    """
    return connection.partition(".")[0].partition("@")[2] or None


class Request(msgspec.Struct, frozen=True):
    """What a frame to the venue asked for.

    Attributes:
        op: such as `subscribe`.
        req_id: the answer has the same.
        args: topics, if they are to be subscribed or left.
    """

    op: str = ""
    req_id: str | None = None
    args: tuple[str, ...] = ()


class _Asked(msgspec.Struct):
    op: str = ""
    req_id: str | None = None
    args: list[object] = []


_read_asked = msgspec.json.Decoder(_Asked).decode


def read_request(raw: bytes) -> Request | None:
    """Read a frame to the venue; None if it is no request."""
    if len(raw) > _REQUEST_BYTES:
        return None
    try:
        asked = _read_asked(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Request(asked.op, asked.req_id, tuple(one for one in asked.args if isinstance(one, str)))


class Tally:
    """Counts what a file holds, as it is written or read.

    It keeps no more than a hundred thousand names; what has others is counted together.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._last = 0
        self._frames = self._holes = self._missing = self._names = 0
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
        known = self._connections.get(record.connection) or self._of(record.connection)
        if record.path is not None:
            known.path = record.path
            known.account = record.account or known.account
        if record.what is What.RECEIVED:
            self._frames += 1
            known.frames += 1
            count = known.topics.get(topic)
            if count is None:
                topic = self._name(topic, known.topics)
                count = known.topics.get(topic, 0)
            known.topics[topic] = count + 1
        elif record.what is What.SENT:
            self._frames += 1

    def _of(self, connection: str) -> ConnectionIndex:
        name = self._name(connection, self._connections)
        known = self._connections.get(name)
        if known is None:
            known = self._connections[name] = ConnectionIndex(topics={})
        return known

    def _name(self, name: str, known: Container[str]) -> str:
        if name in known:
            return name
        if self._names >= _MOST_NAMES:
            return _OTHERS
        self._names += 1
        return name

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
