"""A venue that floods: answers like Bybit's sockets and sends as much as it is told to.

    python bench/venue.py PORT [--payload-bytes 160]

Public sockets (`/v5/public/…`) send book deltas of every subscribed topic in turn, in bursts of one
frame per topic; the private one (`/v5/private`, any login is good) sends orders. Commands come in
on standard input, a line each:

    credit N     send only while less than N frames are unconfirmed (the beginning: 0)
    confirmed N  so many are confirmed in all
    rate N       instead, send N frames a second, whatever becomes of them
    private N    send N orders a second

Making a frame costs well under a microsecond, so that the venue takes little of what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

BURST = 100
IDLE_SECONDS = 0.001  # less would be none at all: the loop counts in milliseconds
FIRST_UPDATE = 1_000_000_000  # so that all numbers have ten digits, and all frames one length
_UPDATE, _NOW = b"@" * 10, b"#" * 13
_SMALL = (
    b'"b":[["71419.80","0"],["71418.20","0.159"],["71417.20","0.159"]],'
    b'"a":[["71427.90","0.006"],["71428.30","0"]]'
)
_LEVEL = b'["71419.80","0.159"]'
_PRIVATE_ROW = (
    b'{"id":"%d","topic":"order","creationTime":%d,"data":[{"category":"linear",'
    b'"symbol":"SIM0000USDT","orderId":"bench-%d","side":"Buy","orderStatus":"New",'
    b'"price":"71419.80","qty":"0.159","cumExecQty":"0","leavesQty":"0.159",'
    b'"createdTime":"%d","updatedTime":"%d"}]}'
)


def framed(payload: bytes) -> bytes:
    """Put the WebSocket header before a message (RFC 6455, 5.2: text, unmasked)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def template(topic: bytes, kind: bytes, payload_bytes: int) -> bytes:
    """Build a frame of a topic whose numbers are still to be put in."""
    symbol = topic.rsplit(b".", 1)[1]
    more = max(0, payload_bytes - len(_SMALL) - 60) // (len(_LEVEL) + 1)
    levels = _SMALL[:-1] + (b"," + _LEVEL) * more + b"]"
    return framed(
        b'{"topic":"%b","type":"%b","ts":%b,"data":{"s":"%b",%b,"u":%b,"seq":%b},"cts":%b}'
        % (topic, kind, _NOW, symbol, levels, _UPDATE, _UPDATE, _NOW)
    )


class Flood:
    """How much may be sent, and how much was."""

    def __init__(self, payload_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        self.sent = 0
        self.confirmed = 0
        self.credit = 0
        self.rate: int | None = None
        self.private_rate = 0
        self._counted_to = 0.0
        self._due = 0.0

    def allowed(self) -> int:
        """Count the frames that may be sent now."""
        if self.rate is None:
            return self.credit - (self.sent - self.confirmed)
        now = time.monotonic()
        # What could not be sent in time is not made up for beyond a moment.
        self._due = min(self._due + (now - self._counted_to) * self.rate, self.rate * 0.05 + BURST)
        self._counted_to = now
        return int(self._due)

    def note_sent(self, frames: int) -> None:
        """Count what was sent."""
        self.sent += frames
        self._due -= frames

    def obey(self, line: str) -> None:
        """Take a command."""
        word, _, value = line.strip().partition(" ")
        match word:
            case "credit":
                self.rate, self.credit = None, int(value)
            case "confirmed":
                self.confirmed = int(value)
            case "rate":
                self.rate, self._due, self._counted_to = int(value), 0.0, time.monotonic()
            case "private":
                self.private_rate = int(value)
            case _:
                raise ValueError(f"no command {word!r}")


class Socket(WSListener):
    """One client."""

    def __init__(self, flood: Flood, *, is_private: bool) -> None:
        self._flood = flood
        self._is_private = is_private
        self._topics: list[bytes] = []
        self._round = b""
        self._update = FIRST_UPDATE
        self._paused = False
        self._pump: asyncio.Task[None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin to send."""
        pump = self._send_orders if self._is_private else self._send_books
        self._pump = asyncio.get_running_loop().create_task(pump(transport))

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows calls it so
        """Stop sending."""
        if self._pump is not None:
            self._pump.cancel()

    def pause_writing(self) -> None:
        """Hold back while the client reads slowly."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a request as the venue does."""
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        if frame.msg_type != WSMsgType.TEXT:
            return
        request: dict[str, Any] = json.loads(frame.get_payload_as_bytes())
        op = request["op"]
        answer = {"success": True, "ret_msg": "", "conn_id": "bench", "op": op}
        answer |= {"req_id": request["req_id"]} if "req_id" in request else {}
        if op == "ping":
            answer |= {"op": "pong", "args": ["0"]} if self._is_private else {"ret_msg": "pong"}
        transport.send(WSMsgType.TEXT, json.dumps(answer).encode())
        names = [name.encode() for name in request.get("args", ())] if op != "auth" else []
        if op == "subscribe":
            self._topics += names
            if not self._is_private:
                raw = b"".join(self._build(name, b"snapshot") for name in names)
                transport.underlying_transport.write(self._filled(raw))
                self._flood.note_sent(len(names))
        elif op == "unsubscribe":
            gone = set(names)
            self._topics = [name for name in self._topics if name not in gone]
        if not self._is_private and op in ("subscribe", "unsubscribe"):
            self._round = b"".join(self._build(name, b"delta") for name in self._topics)

    def _build(self, topic: bytes, kind: bytes) -> bytes:
        return template(topic, kind, self._flood.payload_bytes)

    def _filled(self, raw: bytes) -> bytes:
        now = time.time_ns() // 1_000_000
        return raw.replace(_UPDATE, b"%d" % self._update).replace(_NOW, b"%d" % now)

    async def _send_books(self, transport: WSTransport) -> None:
        flood, wire = self._flood, transport.underlying_transport
        while True:
            count = len(self._topics)
            if not count or self._paused or (allowed := flood.allowed()) < count:
                await asyncio.sleep(IDLE_SECONDS)
                continue
            rounds = []
            for _ in range(max(1, min(BURST, allowed) // count)):
                self._update += 1
                rounds.append(self._filled(self._round))
            flood.note_sent(len(rounds) * count)
            wire.write(b"".join(rounds))
            # Credit comes a few times a second; sent at once it would make one read of it all.
            await asyncio.sleep(IDLE_SECONDS if flood.rate is None else 0)

    async def _send_orders(self, transport: WSTransport) -> None:
        """Send one order at a time, evenly; what is late is not made up for."""
        number, due = 0, time.monotonic()
        while True:
            rate = self._flood.private_rate
            if not self._topics or not rate:
                await asyncio.sleep(0.01)
                due = time.monotonic()
                continue
            due = max(due + 1 / rate, time.monotonic() - 0.05)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number += 1
            now_us = time.time_ns() // 1000
            now = now_us // 1000
            order = _PRIVATE_ROW % (number, now, now_us, now, now)
            transport.underlying_transport.write(framed(order))


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--payload-bytes", type=int, default=160)
    chosen = parser.parse_args()
    flood = Flood(chosen.payload_bytes)

    def accept(request: WSUpgradeRequest) -> WSListener:
        return Socket(flood, is_private=request.path.endswith(b"/private"))

    server = await ws_create_server(accept, "127.0.0.1", chosen.port)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with server:
        print("serves", flush=True)
        while line := await reader.readline():
            flood.obey(line.decode())


if __name__ == "__main__":
    uvloop.run(main())
