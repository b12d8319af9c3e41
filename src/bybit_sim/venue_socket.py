"""The server's end of a TCP connection: takes control requests too, and can go deaf."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

_WITH_BODY = re.compile(rb"(?:POST|PUT|PATCH|DELETE) ")
_LONGEST_METHOD = 7  # "DELETE ", after which it is certain whether a body may follow
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,7})[ \t]*(?=\r\n)", re.IGNORECASE)
_MOST_BYTES = 1_000_000


class VenueSocket(ServerConnection):
    """A connection of the WebSocket library with two additions.

    The library reads GET only. The body of another method is taken off before the library sees
    the request, so that the control endpoint can share the port.

    Attributes:
        body: of the request, if it had one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.body = b""
        self._opening: bytes | None = b""
        self._line: asyncio.Transport | None = None

    @property
    def is_deaf(self) -> bool:
        """Whether it neither reads nor sends any more."""
        return self._line is not None

    def go_deaf(self) -> None:
        """Stop reading and sending for good while TCP stays, like a peer that is gone."""
        if self._line is None:
            self._line = self.transport
            self._line.pause_reading()
            # Frames to a deaf socket end here, so that the others need not ask whether it is.
            self.transport = _DeadEnd(self._line)

    def say_goodbye(self, code: int) -> None:
        """Send a close frame; whoever calls this cuts the line if no answer comes."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code)
            self.send_data()

    def data_received(self, data: bytes) -> None:
        """Feed the library, with the body of a first request taken off."""
        if self._opening is None:
            super().data_received(data)
            return
        self._opening += data
        ready = self._take_body(self._opening)
        if ready is not None:
            self._opening = None
            super().data_received(ready)

    def _take_body(self, seen: bytes) -> bytes | None:
        """Return what the library is to read; None if more has to come first."""
        if len(seen) < _LONGEST_METHOD:
            return None if b"\n" not in seen else seen
        if not _WITH_BODY.match(seen):
            return seen
        head, end, rest = seen.partition(b"\r\n\r\n")
        if not end:
            return seen if len(seen) > _MOST_BYTES else None
        found = _LENGTH.search(head + b"\r\n")
        length = int(found[1]) if found else 0
        if length > _MOST_BYTES:
            return seen  # which the library refuses
        if len(rest) < length:
            return None
        self.body = rest[:length]
        return _LENGTH.sub(b"", head + b"\r\n") + b"\r\n"


class _DeadEnd(asyncio.Transport):
    """Swallows what is written; everything else reaches the real transport."""

    def __init__(self, line: asyncio.Transport) -> None:
        super().__init__()
        self._line = line

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Lose it."""

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits here."""
        return 0

    def can_write_eof(self) -> bool:
        """Without a close there is no half-close either."""
        return False

    def is_closing(self) -> bool:
        """Ask the real one."""
        return self._line.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the real one."""
        return self._line.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """It is paused for good."""

    def resume_reading(self) -> None:
        """It is paused for good."""

    def close(self) -> None:
        """Cut: a goodbye would not be heard."""
        self._line.abort()

    def abort(self) -> None:
        """Cut."""
        self._line.abort()
