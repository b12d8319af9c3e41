"""The broker's own ceiling: ready-made AMQP frames written to a plain socket, confirms counted.

Nothing is encoded, nothing accounted per message: what this reaches, no publisher can pass. Started
with an AMQP URL, an exchange, a routing key, seconds and a rate (0 = as fast as the broker takes);
prints one JSON line.
"""

from __future__ import annotations

import json
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

from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.topic import Category, Channel, build_topic

WINDOW = 20_000
BLOCK = 100
_head = Struct(">BHI").unpack_from
_confirm = Struct(">HHQB").unpack_from


def sample_message(exchange: str, symbol: str) -> bytes:
    """Build one message exactly as the gateway would."""
    topic = build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol=symbol)
    payload = (
        b'{"s":"%b","b":[["71419.80","0"],["71418.20","0.159"],["71417.20","0.159"]],'
        b'"a":[["71427.90","0.006"],["71428.30","0"]],"u":1000,"seq":1000}' % symbol.encode()
    )
    fact = Observation(
        topic,
        Kind.DELTA,
        f"{topic.key}:d1000:1000",
        topic.category,
        symbol,
        1_773_386_409_407,
        1_773_386_409_404,
        1_773_386_409_407_000,
        "0" * 32,
        1000,
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


def run(url: str, exchange: str, symbols: list[str], seconds: float, rate: int) -> dict[str, float]:
    """Publish for so long; answers rate and receive→confirm quantiles in µs."""
    connection = RawConnection(url)
    block = b"".join(sample_message(exchange, symbols[i % len(symbols)]) for i in range(BLOCK))
    one = len(block) // BLOCK
    sent, confirmed, singles = 0, 0, set[int]()
    blocks: deque[tuple[int, float]] = deque()
    latencies: deque[float] = deque(maxlen=8192)
    started = time.monotonic()
    end = started + seconds
    wire = connection.socket
    size = BLOCK if rate == 0 else max(1, min(BLOCK, rate // 1000))
    block = block if rate == 0 else block[: one * size]
    while (now := time.monotonic()) < end:
        due = rate == 0 or sent < (now - started) * rate
        may = due and sent - confirmed < WINDOW
        readable, writable, _ = select.select([wire], [wire] if may else [], [], 0.0005)
        if writable:
            wire.sendall(block)
            sent += size
            blocks.append((sent, now))
        if readable:
            for tag, multiple in connection.confirms():
                if multiple:
                    confirmed = max(confirmed, tag)
                else:
                    singles.add(tag)
            while confirmed + 1 in singles:
                confirmed += 1
                singles.discard(confirmed)
            singles = {tag for tag in singles if tag > confirmed}
            now = time.monotonic()
            while blocks and blocks[0][0] <= confirmed:
                latencies.append(now - blocks.popleft()[1])
    elapsed = time.monotonic() - started
    ordered = sorted(latencies) or [0.0]
    return {
        "rate": confirmed / elapsed,
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6,
    }


if __name__ == "__main__":
    address, exchange_name, names, length, pace = sys.argv[1:6]
    print(json.dumps(run(address, exchange_name, names.split(","), float(length), int(pace))))
