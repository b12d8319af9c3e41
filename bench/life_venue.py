"""A venue with any number of topics that can cut its sockets, and says when what happened.

Answers like Bybit's linear socket. Frames go out in bursts of one size, each burst to one socket in
turn, so that what is compared between few and many topics or sockets is their cost and not that of
smaller reads. Commands come in on standard input, a line each: `rate N` frames a second in all, and
`drop`, which cuts every socket without a close frame. What happened goes out on standard output, as
JSON with the time of the machine's monotonic clock.
"""

from __future__ import annotations

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

BURST = 50
TICK_SECONDS = 0.002
FRAME = (
    b'{"topic":"%b","type":"%b","ts":%d,"data":{"s":"%b",'
    b'"b":[["71419.80","0"],["71418.20","0.159"],["71417.20","0.159"]],'
    b'"a":[["71427.90","0.006"],["71428.30","0"]],"u":%d,"seq":%d},"cts":%d}'
)


def report(what: str) -> None:
    """Tell what happened, and when."""
    print(json.dumps({"what": what, "at": time.monotonic()}), flush=True)


class Socket(WSListener):
    """One client."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._next = 0
        self.topics: list[bytes] = []
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take part."""
        self.transport = transport
        self._venue.sockets.append(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows calls it so
        """Take part no more."""
        self._venue.sockets.remove(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a request as the linear socket does."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        request: dict[str, Any] = json.loads(frame.get_payload_as_bytes())
        op = request["op"]
        answer = {"success": True, "ret_msg": "", "conn_id": "bench", "req_id": request["req_id"]}
        if op == "ping":
            answer["ret_msg"] = "pong"
        transport.send(WSMsgType.TEXT, json.dumps(answer | {"op": op}).encode())
        names = [name.encode() for name in request.get("args", ())]
        if op == "subscribe":
            self.topics += names
            self._write(b"".join(self._venue.frame(name, b"snapshot") for name in names))
        elif op == "unsubscribe":
            self.topics = [name for name in self.topics if name not in set(names)]

    def burst(self) -> None:
        """Send the next frames of the next topics in turn."""
        frames = []
        for _ in range(BURST):
            self._next = (self._next + 1) % len(self.topics)
            frames.append(self._venue.frame(self.topics[self._next], b"delta"))
        self._write(b"".join(frames))

    def _write(self, raw: bytes) -> None:
        if self.transport is not None:
            self.transport.underlying_transport.write(raw)


class Venue:
    """All sockets, and the numbers of all books, which outlive them."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self._updates: dict[bytes, int] = {}
        self._rate = 0
        self._sent = 0.0

    def frame(self, name: bytes, kind: bytes) -> bytes:
        """Build one message with its WebSocket header (RFC 6455, 5.2: text, 16-bit length)."""
        update = self._updates.get(name, 1_000) + (kind == b"delta")
        self._updates[name] = update
        now = time.time_ns() // 1_000_000
        payload = FRAME % (name, kind, now, name.rpartition(b".")[2], update, update, now)
        return b"\x81\x7e%c%c%b" % (len(payload) >> 8, len(payload) & 255, payload)

    def obey(self, line: str) -> None:
        """Do what a line says."""
        word, _, value = line.strip().partition(" ")
        if word == "rate":
            self._rate = int(value)
        elif word == "drop":
            report("dropped")
            for socket in list(self.sockets):
                if socket.transport is not None:
                    socket.transport.disconnect(graceful=False)

    async def send_for_ever(self) -> None:
        """Send as many bursts as the rate asks for; what could not be sent is not made up for."""
        turn, before, owed = 0, time.monotonic(), 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            owed = min(owed + (now - before) * self._rate, self._rate * 0.1)
            before = now
            ready = [socket for socket in self.sockets if socket.topics]
            while owed >= BURST and ready:
                turn += 1
                ready[turn % len(ready)].burst()
                owed -= BURST


async def main() -> None:
    """Serve until standard input ends."""
    venue = Venue()

    def accept(_request: WSUpgradeRequest) -> WSListener:
        report("asked")
        return Socket(venue)

    server = await ws_create_server(accept, "127.0.0.1", int(sys.argv[1]))
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sending = loop.create_task(venue.send_for_ever())
    async with server:
        report("serves")
        while line := await reader.readline():
            venue.obey(line.decode())
    sending.cancel()


if __name__ == "__main__":
    uvloop.run(main())
