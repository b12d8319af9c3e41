"""A venue that floods: answers like Bybit's linear socket and sends book deltas as fast as allowed.

Frames are sent only while `sent - confirmed < credit`, so that what is measured is the gateway and
the broker together and not the policy for overload. Confirmed totals come in on standard input, one
per line; `rate N` instead sends N frames a second regardless of credit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

CREDIT = 40_000
BURST = 100
FRAME = (
    b'{"topic":"orderbook.50.%b","type":"%b","ts":%d,"data":{"s":"%b",'
    b'"b":[["71419.80","0"],["71418.20","0.159"],["71417.20","0.159"]],'
    b'"a":[["71427.90","0.006"],["71428.30","0"]],"u":%d,"seq":%d},"cts":%d}'
)


class Flood:
    """How much may be sent, and how much was."""

    def __init__(self) -> None:
        self.sent = 0
        self.confirmed = 0
        self.rate: int | None = None
        self.started_at = 0.0
        self.sent_at_start = 0

    def allowed(self) -> int:
        """Count the frames that may be sent now."""
        if self.rate is None:
            return CREDIT - (self.sent - self.confirmed)
        due = int((time.monotonic() - self.started_at) * self.rate)
        return due - (self.sent - self.sent_at_start)

    def obey(self, line: str) -> None:
        """Take a confirmed total, or `rate N` (0 stops, `rate -` goes back to credit)."""
        if line.startswith("rate"):
            word = line.split()[1]
            self.rate = None if word == "-" else int(word)
            self.started_at, self.sent_at_start = time.monotonic(), self.sent
        else:
            self.confirmed = int(line)


class Socket(WSListener):
    """One client."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._topics: list[bytes] = []
        self._transport: WSTransport | None = None
        self._update_id = 1_000
        self._paused = False
        self._pump: asyncio.Task[None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin to send."""
        self._transport = transport
        self._pump = asyncio.get_running_loop().create_task(self._send_for_ever(transport))

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
        """Answer a request as the linear socket does."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        request = json.loads(frame.get_payload_as_bytes())
        answer = {"success": True, "ret_msg": "", "conn_id": "bench", "req_id": request["req_id"]}
        if request["op"] == "ping":
            answer["ret_msg"] = "pong"
        transport.send(WSMsgType.TEXT, json.dumps(answer | {"op": request["op"]}).encode())
        if request["op"] == "subscribe":
            for name in request["args"]:
                symbol = name.rsplit(".", 1)[1].encode()
                self._topics.append(symbol)
                now = time.time_ns() // 1_000_000
                transport.underlying_transport.write(self._frame(symbol, b"snapshot", now))
        elif request["op"] == "unsubscribe":
            gone = {name.rsplit(".", 1)[1].encode() for name in request["args"]}
            self._topics = [symbol for symbol in self._topics if symbol not in gone]

    def _frame(self, symbol: bytes, kind: bytes, now: int) -> bytes:
        """Build one message with its WebSocket header (RFC 6455, 5.2: text, 16-bit length)."""
        update = self._update_id
        payload = FRAME % (symbol, kind, now, symbol, update, update, now)
        self._flood.sent += 1
        return b"\x81\x7e%c%c%b" % (len(payload) >> 8, len(payload) & 255, payload)

    async def _send_for_ever(self, transport: WSTransport) -> None:
        """Write many messages at once, so that the venue takes little of what is measured."""
        flood = self._flood
        wire = transport.underlying_transport
        while True:
            if not self._topics or self._paused or flood.allowed() < len(self._topics):
                await asyncio.sleep(0.001)
                continue
            now = time.time_ns() // 1_000_000
            frames = []
            for _ in range(max(1, min(BURST, flood.allowed()) // len(self._topics))):
                self._update_id += 1
                frames += [self._frame(symbol, b"delta", now) for symbol in self._topics]
            wire.write(b"".join(frames))
            await asyncio.sleep(0)


async def main() -> None:
    """Serve until standard input ends."""
    flood = Flood()

    def accept(_request: WSUpgradeRequest) -> WSListener:
        return Socket(flood)

    server = await ws_create_server(accept, "127.0.0.1", int(sys.argv[1]))
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with server:
        while line := await reader.readline():
            flood.obey(line.decode())


if __name__ == "__main__":
    uvloop.run(main())
