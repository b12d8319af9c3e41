"""The broker's own ceiling: ready-made AMQP frames written to a plain socket, confirms counted.

    python -m contenders.raw_publisher AMQP_URL EXCHANGE SYMBOL,SYMBOL…

Nothing is encoded, nothing accounted per message: what this reaches, no publisher can pass. It
begins at full speed; `rate N` on standard input makes it publish N a second, in bursts of one
message per symbol as the venue does, and 0 stops it. Every line is answered with the figures.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import deque
from struct import Struct
from urllib.parse import unquote, urlsplit

import pamqp.frame
import pamqp.header
from pamqp import commands

from contenders.tally import Tally
from ws_gateway.config import Settings
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.topic import Category, Channel, build_topic

WINDOW = int(Settings.model_fields["publish_window"].default)  # as the gateway's own
BLOCK = 100
_head = Struct(">BHI").unpack_from
_confirm = Struct(">HHQB").unpack_from


def sample_message(exchange: str, symbol: str) -> bytes:
    """Build one message exactly as the gateway would of one of the venue's frames."""
    topic = build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol=symbol)
    payload = (
        b'{"s":"%b","b":[["71419.80","0"],["71418.20","0.159"],["71417.20","0.159"]],'
        b'"a":[["71427.90","0.006"],["71428.30","0"]],"u":1000000000,"seq":1000000000}'
        % symbol.encode()
    )
    fact = Observation(
        topic,
        Kind.DELTA,
        f"{topic.key}:d1000000000:1000000000",
        topic.category,
        symbol,
        1_773_386_409_407,
        1_773_386_409_404,
        1_773_386_409_407_000,
        "0" * 32,
        1_000_000_000,
        payload,
    )
    return Address(exchange, fact, "main").frames(Event(fact, "0" * 26, 1_000_000))


class RawConnection:
    """A blocking AMQP connection with one confirming AMQP channel."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 5672))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.socket.sendall(pamqp.header.ProtocolHeader().marshal())
        self._await("Connection.Start")
        login = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
        self._send(commands.Connection.StartOk(response=login, mechanism="PLAIN"), 0)
        self._await("Connection.Tune")
        self._send(commands.Connection.TuneOk(channel_max=8, frame_max=131_072, heartbeat=0), 0)
        vhost = unquote(parts.path[1:]) or "/"
        self._send(commands.Connection.Open(virtual_host=vhost), 0)
        self._await("Connection.OpenOk")
        self._send(commands.Channel.Open(), 1)
        self._await("Channel.OpenOk")
        self._send(commands.Confirm.Select(), 1)
        self._await("Confirm.SelectOk")

    def _send(self, frame: pamqp.base.Frame, channel: int) -> None:
        self.socket.sendall(pamqp.frame.marshal(frame, channel))

    def _await(self, name: str) -> None:
        while True:
            size, _, frame = pamqp.frame.unmarshal(self._buffer) if self._buffer else (0, 0, None)
            if frame is not None:
                self._buffer = self._buffer[size:]
                if frame.name == name:
                    return
                raise SystemExit(f"expected {name}, the broker sent {frame.name}")
            self._buffer += self.socket.recv(65_536)

    def confirms(self) -> list[tuple[int, bool]]:
        """Read what has arrived; answers (tag, multiple) per confirm."""
        self._buffer += self.socket.recv(262_144)
        found, at = [], 0
        while len(self._buffer) - at >= 8:
            _, channel, size = _head(self._buffer, at)
            if len(self._buffer) - at < size + 8:
                break
            if channel == 1:
                class_id, method_id, tag, bits = _confirm(self._buffer, at + 7)
                if (class_id, method_id) != (60, 80):
                    raise SystemExit(f"the broker answered {class_id}.{method_id}, not a confirm")
                found.append((tag, bool(bits & 1)))
            at += size + 8
        self._buffer = self._buffer[at:]
        return found


class Publisher:
    """Writes blocks of ready messages and takes confirms, in one thread and one loop."""

    def __init__(self, url: str, exchange: str, symbols: list[str]) -> None:
        self._connection = RawConnection(url)
        self._messages = [sample_message(exchange, symbol) for symbol in symbols]
        self._tally = Tally()
        self._rate: int | None = None
        self._paced_from, self._paced_sent = 0.0, 0
        self._sent = self._confirmed = self._noted = 0
        self._singles: set[int] = set()
        self._blocks: deque[tuple[int, float]] = deque()
        self._repeat(BLOCK)

    def _repeat(self, size: int) -> None:
        """Make the block that is written from now on."""
        count = len(self._messages)
        self._size = size
        self._block = b"".join(self._messages[place % count] for place in range(size))

    def run(self) -> None:
        """Publish until standard input ends."""
        wire, lines = self._connection.socket, sys.stdin.fileno()
        while True:
            may = self._is_due() and self._sent - self._confirmed < WINDOW
            ready, writable, _ = select.select([wire, lines], [wire] if may else [], [], 0.0005)
            if writable:
                self._sent += self._size
                self._blocks.append((self._sent, time.monotonic()))
                wire.sendall(self._block)
            if wire in ready:
                self._take_confirms()
            if lines in ready and not self._obey(os.read(lines, 1024).decode()):
                return

    def _is_due(self) -> bool:
        if self._rate is None:
            return True
        due = (time.monotonic() - self._paced_from) * self._rate
        return self._sent - self._paced_sent + self._size <= due

    def _obey(self, line: str) -> bool:
        if not line:
            return False
        word, _, value = line.strip().partition(" ")
        if word == "rate":
            self._rate = int(value)
            self._paced_from, self._paced_sent = time.monotonic(), self._sent
            self._repeat(len(self._messages))
        print(self._tally.line(), flush=True)
        return True

    def _take_confirms(self) -> None:
        singles = self._singles
        for tag, multiple in self._connection.confirms():
            if multiple:
                self._confirmed = max(self._confirmed, tag)
            else:
                singles.add(tag)
        while self._confirmed + 1 in singles:
            self._confirmed += 1
            singles.discard(self._confirmed)
        if singles:
            self._singles = {tag for tag in singles if tag > self._confirmed}
        now, blocks = time.monotonic(), self._blocks
        while self._noted < self._confirmed:
            last, sent_at = blocks[0]
            messages = min(last, self._confirmed) - self._noted
            self._tally.note(now - sent_at, messages)
            self._noted += messages
            if self._noted == last:
                blocks.popleft()


if __name__ == "__main__":
    address, exchange_name, names = sys.argv[1:4]
    Publisher(address, exchange_name, names.split(",")).run()
