"""A bounded portion of a socket per turn of the event loop, so that a flood delays nobody else.

picows doubles its read buffer whenever a read fills it, and libuv reads a socket up to 32 times in
one turn. A flooding public socket would so bring megabytes at once, and an order that came beside
it would wait until all of them were decoded.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

PORTION_BYTES = 32 * 1024
"""What one socket may bring in one turn: some 120 frames, about a millisecond of work."""


class _Reads(Protocol):
    """The part of a buffered protocol that the standard library types too widely to slice."""

    def get_buffer(self, sizehint: int, /) -> memoryview: ...

    def buffer_updated(self, nbytes: int, /) -> None: ...


class ReadPortion(asyncio.BufferedProtocol):
    """Stands before a buffered protocol: offers it small reads, and one full read a turn.

    What the portion leaves stays in the kernel, so nothing is held up that a distant venue could
    have sent meanwhile: the receive window is not touched.
    """

    def __init__(self, protocol: asyncio.BufferedProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        reads = cast("_Reads", protocol)
        self._get_buffer = reads.get_buffer
        self._buffer_updated = reads.buffer_updated
        self._transport = transport
        self._call_soon = asyncio.get_running_loop().call_soon
        self._offered = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Offer what the protocol offers, up to a portion."""
        buffer = self._get_buffer(sizehint)
        size = len(buffer)
        if size > PORTION_BYTES:
            buffer, size = buffer[:PORTION_BYTES], PORTION_BYTES
        self._offered = size
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read; a full read means that more is waiting, for the next turn."""
        if nbytes == self._offered:
            self._transport.pause_reading()
            self._call_soon(self._transport.resume_reading)
        self._buffer_updated(nbytes)

    def eof_received(self) -> bool | None:
        """Hand on the end of the stream."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on the end of the connection."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on that what is written piles up."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that it does no longer."""
        self._protocol.resume_writing()


def read_in_portions(transport: asyncio.Transport) -> None:
    """Put a `ReadPortion` before the protocol that a transport has; once per connection."""
    protocol = transport.get_protocol()
    if isinstance(protocol, asyncio.BufferedProtocol):
        transport.set_protocol(ReadPortion(protocol, transport))
