"""The venue's socket: the only module that knows picows. Moves bytes, decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from socket import SocketKind
from socket import socket as Socket  # noqa: N812 - `socket` is a WebSocket in this module

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSParsedURL,
    WSTransport,
    ws_connect,
)

from ws_gateway.errors import VenueLost
from ws_gateway.venue.read_portion import read_in_portions

_MAX_WIRE_BYTES = 64 * 1024 * 1024
"""What is read at all; far above what is understood, so an oversized frame costs only itself."""


_TEXT = WSMsgType.TEXT  # named once: looking a member up costs, and this is per frame
_MESSAGES = (WSMsgType.BINARY, WSMsgType.CONTINUATION)


class VenueSocket(WSListener):
    """One open WebSocket; every complete message goes to `on_message`, synchronously.

    Attributes:
        closed: done when the socket is gone; its result says why.
        failure: what closed it from our side, if anything did.
    """

    def __init__(self, on_message: Callable[[bytes], None]) -> None:
        self._on_message = on_message
        self._transport: WSTransport | None = None
        self._parts = bytearray()
        self._in_parts = False
        self._why: str | None = None
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.failure: Exception | None = None

    def send(self, request: bytes) -> None:
        """Send one text message; on a dead socket it is lost, as its answer will be."""
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send(WSMsgType.TEXT, request)

    def close(self, why: str) -> None:
        """Close the socket, politely; `closed` follows."""
        self._why = self._why or why
        if self._transport is not None:
            if not self._transport.is_disconnected:
                self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect(graceful=False)

    async def wait_closed(self) -> str:
        """Wait until the socket is gone; answers why."""
        why = await self.closed
        if self._transport is not None:
            try:
                await self._transport.wait_disconnected()
            except WSError as exc:  # what picows found wrong with the venue's bytes
                return f"the venue broke the WebSocket protocol: {exc}"
        return why

    def fail(self, failure: Exception) -> None:
        """Close the socket because of `failure`, which whoever awaits `closed` must raise."""
        self.failure = failure
        self.close(str(failure))

    # ── picows callbacks ──────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Remember the transport; one that comes after it was given up is closed again."""
        self._transport = transport
        if self._why is not None:
            transport.disconnect(graceful=False)
        else:
            read_in_portions(transport.underlying_transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hand complete messages on; a fault in handling them must not be lost in a callback."""
        kind = frame.msg_type
        if kind is _TEXT or kind in _MESSAGES:
            payload = frame.get_payload_as_bytes()
            if not frame.fin or self._in_parts:
                self._parts += payload
                self._in_parts = not frame.fin
                if len(self._parts) > _MAX_WIRE_BYTES:
                    self.fail(VenueLost("closed", f"a message of over {_MAX_WIRE_BYTES} bytes"))
                    self._parts.clear()
                if self._in_parts:
                    return
                payload = bytes(self._parts)
                self._parts.clear()
            try:
                self._on_message(payload)
            except VenueLost as exc:
                self.fail(exc)
            except Exception as exc:  # noqa: BLE001 - a bug: carried to the session, which raises it
                self.fail(exc)
        elif kind is WSMsgType.CLOSE:
            code, reason = frame.get_close_code(), frame.get_close_reason()
            self._why = self._why or f"the venue closed: {code.value} {reason or ''}".strip()
            # A close without a code must not be answered with one that says so (RFC 6455, 7.4.1).
            transport.send_close(WSCloseCode.OK if code is WSCloseCode.NO_INFO else code)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows calls it so
        """Tell the session that the socket is gone."""
        if not self.closed.done():
            self.closed.set_result(self._why or "the connection broke without a close frame")


async def open_socket(
    url: str,
    on_message: Callable[[bytes], None],
    *,
    connect_deadline_seconds: float,
    handshake_deadline_seconds: float,
) -> VenueSocket:
    """Connect, then shake hands (TLS included), each within its own deadline.

    Raises:
        VenueLost: unreachable (`connect`), no proper answer (`handshake`), or an HTTP status that
            asks to be left alone (`refused`), with its Retry-After.
    """
    socket = VenueSocket(on_message)
    listener: WSListener | None = None
    step = "connect"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_deadline_seconds) as deadline:

            async def connected(parsed: WSParsedURL) -> Socket:
                """Connect ourselves, so that the handshake's time begins only then."""
                nonlocal step
                stream = await _connect(parsed.host, parsed.port)
                step = "handshake"
                deadline.reschedule(loop.time() + handshake_deadline_seconds)
                return stream

            _, listener = await ws_connect(
                lambda: socket,
                url,
                socket_factory=connected,
                websocket_handshake_timeout=handshake_deadline_seconds,
                max_frame_size=_MAX_WIRE_BYTES,
                enable_auto_ping=False,  # the venue wants its own JSON ping, and sends none
                # Its transport reads through `loop.add_reader`, which uvloop calls once and then
                # never again when a reset arrives behind unread data: the loss goes unnoticed.
                use_aiofastnet=False,
                disconnect_on_exception=False,
            )
    except TimeoutError as exc:
        limit = connect_deadline_seconds if step == "connect" else handshake_deadline_seconds
        what = "connection" if step == "connect" else "answer to the handshake"
        raise VenueLost(step, f"{url}: no {what} in {limit:g} s") from exc
    except WSHandshakeError as exc:
        raise _refusal(url, exc) from exc
    except WSError as exc:
        raise VenueLost("handshake", f"{url}: {exc}") from exc
    except (OSError, UnicodeError) as exc:  # a host that no resolver takes is a UnicodeError
        raise VenueLost(step, f"{url}: {exc}") from exc
    finally:
        if listener is None:  # picows carries a handshake on that nobody awaits any more
            socket.close("the attempt was given up")
    if listener is None:
        raise VenueLost("handshake", "the venue ended the connection during the handshake")
    return socket


async def _connect(host: str, port: int) -> Socket:
    """Connect to the first address of a host that answers.

    Raises:
        OSError: none does, or the name is not known.
    """
    loop = asyncio.get_running_loop()
    fault: OSError | None = None
    for family, kind, proto, _, address in await loop.getaddrinfo(
        host, port, type=SocketKind.SOCK_STREAM
    ):
        stream = Socket(family, kind, proto)
        try:
            stream.setblocking(False)
            await loop.sock_connect(stream, address)
        except OSError as exc:
            stream.close()
            fault = exc
        except BaseException:
            stream.close()
            raise
        else:
            return stream
    raise fault or OSError(f"{host} has no address")


_LEAVE_ALONE = (403, 429)


def _refusal(url: str, exc: WSHandshakeError) -> VenueLost:
    """Read from a refused handshake how long to stay away (RFC 9110, Retry-After)."""
    status = exc.response.status.value if exc.response is not None else None
    if status not in _LEAVE_ALONE or exc.response is None:
        return VenueLost("handshake", f"{url}: {exc}")
    wish = exc.response.headers.get("Retry-After", "")
    return VenueLost(
        "refused", f"{url}: HTTP {status}", retry_after_seconds=_retry_after_seconds(wish)
    )


def _retry_after_seconds(wish: str) -> float | None:
    """Read seconds or a date; None where neither can be read."""
    if wish.strip().isdigit():
        return float(wish)
    try:
        at = parsedate_to_datetime(wish)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())
