"""One connection to RabbitMQ: aiormq for everything slow, a tap for everything frequent.

aiormq logs in, negotiates, keeps heartbeats and declares. Publishing writes whole batches of ready
frames straight to the transport, and the tap takes confirms and returns out of the incoming bytes
before aiormq's reader, which needs tens of µs a frame, would see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import Struct
from typing import Any, Protocol, cast

import aiormq
import pamqp.header
from aiormq.abc import AbstractChannel
from aiormq.connection import TransportFactory
from yarl import URL

from ws_gateway.amqp_errors import DRIVER_ERRORS, broker_errors
from ws_gateway.delivery.envelope import FRAME_MAX, PUBLISH_CHANNEL
from ws_gateway.errors import BrokerLost
from ws_gateway.runtime.certificate import UNENCRYPTED, key_is_encrypted

_frame_head = Struct(">BHI").unpack_from
_method_head = Struct(">HH").unpack_from
_confirm_arguments = Struct(">QB").unpack_from
HEARTBEAT_SECONDS = 10
"""Asked of the broker unless the URL names another; aiormq gives up after three silent ones."""

_CHANNEL_SECONDS = 10.0  # to open or close one for declarations

_HEAD = 7
_OVERHEAD = 8
_METHOD, _HEADER, _BODY = 1, 2, 3
_RETURN, _ACK, _NACK = (60, 50), (60, 80), (60, 120)
_BLOCKED, _UNBLOCKED = (10, 60), (10, 61)
_CONNECTION_CLOSE = (10, 50)
_CHANNEL_CLOSE = (20, 40)
_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"


class LinkListener(Protocol):
    """Told what the broker says about publishing; called from the socket read, never waits."""

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Take note that the broker answers for everything up to, or just, `tag`."""

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Take note that the broker refused."""

    def on_return(self, message_id: str, reply: str) -> None:
        """Take note that a message had no queue to go to; its confirm follows all the same."""

    def on_blocked(self, *, blocked: bool) -> None:
        """Take note that the broker takes no more, or again, for want of memory or disk."""

    def on_writable(self) -> None:
        """Take note that the socket drained and can be written to again."""


class Link:
    """An open connection with a confirming AMQP channel for publishing.

    Attributes:
        lost: done when the connection is gone; its result says why, its exception is a defect.
    """

    def __init__(self, connection: aiormq.Connection, tap: _Tap) -> None:
        self._connection = connection
        self._tap = tap
        self.lost: asyncio.Future[str] = tap.lost

    @property
    def is_writable(self) -> bool:
        """Say whether the socket takes more without piling it up in this process."""
        return self._tap.is_writable

    def write(self, frames: bytes) -> None:
        """Write whole AMQP frames of the publishing channel."""
        self._tap.write(frames)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Open an AMQP channel for declarations; one that the broker closed is simply left.

        Raises:
            BrokerLost: the connection went away.
        """
        with broker_errors():
            async with asyncio.timeout(_CHANNEL_SECONDS):
                channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            if not channel.is_closed and not self.lost.done():
                with broker_errors():
                    async with asyncio.timeout(_CHANNEL_SECONDS):
                        await channel.close()

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye to the broker, or cut the socket when it does not answer in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._connection.close()
        except (TimeoutError, *DRIVER_ERRORS):
            pass  # it is gone either way; the abort below frees the socket
        finally:
            self.abort("closed by us")

    def abort(self, why: str) -> None:
        """Cut the socket at once."""
        self._tap.abort(why)


async def open_link(
    url: str, listener: LinkListener, *, deadline_seconds: float, name: str | None = None
) -> Link:
    """Connect, log in, and select confirms on the publishing channel.

    Args:
        url: of the broker.
        listener: is told what it says.
        deadline_seconds: most this may take.
        name: what the broker shows of the connection, unless the URL names another.

    Raises:
        BrokerLost: refused, unreachable, or not ready in time.
    """
    factory = _TappedTransports(listener)
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT_SECONDS)
    if name is not None and "name" not in address.query:
        address = address.update_query(name=name)
    connection = aiormq.Connection(address, transport_factory=factory)
    try:
        with broker_errors():
            async with asyncio.timeout(deadline_seconds):
                await connection.connect()
                _check_frame_max(connection.connection_tune.frame_max)
                await connection.channel(PUBLISH_CHANNEL, publisher_confirms=True)
    except BaseException as exc:
        refusal = None
        if factory.tap is not None:
            refusal = factory.tap.refusal
            factory.tap.abort("opening failed")
        await _swallow_close(connection)
        if refusal is not None and isinstance(exc, BrokerLost):
            raise BrokerLost(refusal) from exc  # the driver keeps the broker's words to itself
        raise
    tap = factory.tap
    if tap is None:
        raise BrokerLost("the connection was opened without a transport")
    tap.begin()
    return Link(connection, tap)


def _check_frame_max(frame_max: int) -> None:
    if 0 < frame_max < FRAME_MAX:
        raise BrokerLost(
            f"the broker allows frames of {frame_max} bytes; "
            f"set frame_max = {FRAME_MAX} in its configuration"
        )


async def _swallow_close(connection: aiormq.Connection) -> None:
    """Let aiormq end its tasks after a failed opening; the failure itself is on its way up."""
    try:
        async with asyncio.timeout(1):
            await connection.close()
    except (TimeoutError, asyncio.InvalidStateError, AttributeError, *DRIVER_ERRORS):
        return  # it had not got far enough to have anything to close


class _Tap(asyncio.StreamReaderProtocol):
    """Reads the broker's bytes first: confirms go to the listener, the rest to aiormq."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
        listener: LinkListener,
    ) -> None:
        super().__init__(reader, loop=loop)
        self._tap_loop = loop
        self._listener = listener
        self._rest = b""
        self._tapping = False
        self._writable = True
        self._heartbeat_at = 0.0
        self._returning: str | None = None
        self._wire: asyncio.Transport | None = None
        self._why: str | None = None
        self.refusal: str | None = None
        self.lost: asyncio.Future[str] = loop.create_future()

    @property
    def is_writable(self) -> bool:
        return self._writable and not self.lost.done()

    def begin(self) -> None:
        """Take confirms from now on; until here every frame was aiormq's."""
        self._tapping = True

    def write(self, frames: bytes) -> None:
        if self._wire is not None:
            self._wire.write(frames)

    def abort(self, why: str) -> None:
        self._why = self._why or why
        if self._wire is not None:
            self._wire.abort()

    # ── asyncio callbacks ─────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # uvloop's transports are asyncio's by behaviour, not by inheritance.
        self._wire = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():
            seen = str(exc) if exc is not None else "the broker closed the connection"
            self.lost.set_result(self._why or seen)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writable = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writable = True
        self._listener.on_writable()

    def data_received(self, data: bytes) -> None:
        if not self._tapping:
            # In the opening one side speaks at a time: a refusal comes alone in its segment.
            if len(data) > _HEAD + _OVERHEAD and _frame_head(data)[:2] == (_METHOD, 0):
                self._watch(data, _HEAD)
            super().data_received(data)
            return
        try:
            self._read(data)
        except Exception as exc:  # noqa: BLE001 - a bug: carried to `run`, which raises it
            if not self.lost.done():
                self.lost.set_exception(exc)
            self.abort("a defect of ours")

    def _read(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = len(data)
        at = 0
        passed: list[bytes] = []
        tapped = False
        while end - at >= _HEAD:
            frame_type, channel, size = _frame_head(data, at)
            after = at + size + _OVERHEAD
            if after > end:
                break
            if channel == PUBLISH_CHANNEL and self._take(data, at + _HEAD, frame_type, size):
                tapped = True
            else:
                if channel == 0 and frame_type == _METHOD:
                    self._watch(data, at + _HEAD)
                passed.append(data[at:after])
            at = after
        self._rest = data[at:]
        if passed:
            super().data_received(b"".join(passed))
        elif tapped and self._tap_loop.time() >= self._heartbeat_at:
            # A confirm proves the broker alive, but aiormq's watchdog did not see it.
            self._heartbeat_at = self._tap_loop.time() + 1.0
            super().data_received(_HEARTBEAT_FRAME)

    # ── frames ────────────────────────────────────────────────────────────────────────────────

    def _take(self, data: bytes, at: int, frame_type: int, size: int) -> bool:
        if self._returning is not None and frame_type in (_HEADER, _BODY):
            self._take_returned(data[at : at + size], frame_type)
            return True
        if frame_type != _METHOD:
            return False
        method = _method_head(data, at)
        if method in (_ACK, _NACK):
            self._returning = None
            tag, bits = _confirm_arguments(data, at + 4)
            if method == _ACK:
                self._listener.on_confirm(tag, multiple=bool(bits & 1))
            else:
                self._listener.on_nack(tag, multiple=bool(bits & 1))
        elif method == _RETURN:
            self._returning = _reply(data, at + 4)
        elif method == _CHANNEL_CLOSE:
            # Nothing written from here on would ever be answered: begin anew at once.
            self.abort(f"the broker closed the publishing channel: {_reply(data, at + 4)}")
        else:
            return False
        return True

    def _take_returned(self, payload: bytes, frame_type: int) -> None:
        """Read the id of a returned message from its header; its body is of no use."""
        if frame_type == _HEADER and self._returning is not None:
            header = pamqp.header.ContentHeader()
            header.unmarshal(payload)
            message_id = header.properties.message_id
            if message_id is not None:
                self._listener.on_return(message_id, self._returning)

    def _watch(self, data: bytes, at: int) -> None:
        method = _method_head(data, at)
        if method in (_BLOCKED, _UNBLOCKED):
            self._listener.on_blocked(blocked=method == _BLOCKED)
        elif method == _CONNECTION_CLOSE:
            self._why = self.refusal = _reply(data, at + 4)


def _reply(data: bytes, at: int) -> str:
    """Read reply code and text, with which the broker closes or returns something."""
    code = int.from_bytes(data[at : at + 2], "big")
    text = data[at + 3 : at + 3 + data[at + 2]].decode("utf-8", "replace")
    return f"{code} {text}"


class _TappedTransports(TransportFactory):
    """Gives aiormq streams whose protocol is a tap."""

    def __init__(self, listener: LinkListener) -> None:
        self._listener = listener
        self.tap: _Tap | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=FRAME_MAX * 2, loop=loop)
        tap = _Tap(reader, loop, self._listener)
        tls = None
        if url.scheme == "amqps":
            # Looked at each time, because the driver would ask for a passphrase on the terminal.
            key = url.query.get("keyfile") or url.query.get("certfile")
            if key is not None and await asyncio.to_thread(key_is_encrypted, Path(key)):
                raise BrokerLost(f"{key} is encrypted; {UNENCRYPTED}")
            tls = await kwargs["ssl_context_provider"].get_context()
        transport, _ = await loop.create_connection(
            lambda: tap, url.host or "127.0.0.1", url.port or 5672, ssl=tls
        )
        self.tap = tap
        return reader, asyncio.StreamWriter(transport, tap, reader, loop)


class Deaf:
    """Listens to a connection that publishes nothing."""

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Cannot happen."""

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Cannot happen."""

    def on_return(self, message_id: str, reply: str) -> None:
        """Cannot happen."""

    def on_blocked(self, *, blocked: bool) -> None:
        """Concerns only who publishes."""

    def on_writable(self) -> None:
        """Concerns only who publishes."""


async def prove_broker(url: str, *, deadline_seconds: float = 5.0) -> None:
    """Connect and log in once, to find a wrong address or password at start.

    Raises:
        BrokerLost: the broker cannot be used as named.
    """
    link = await open_link(url, Deaf(), deadline_seconds=deadline_seconds)
    await link.close(1.0)


async def lost_or(event: asyncio.Event, link: Link, seconds: float) -> None:
    """Wait for an event, the loss of the link, or so long at most."""
    waiting = asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {link.lost, waiting}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
