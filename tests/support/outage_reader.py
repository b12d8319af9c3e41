"""Reads every queue of a gateway through all outages, and keeps only what it judges."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from support.outage_account import Received
from ws_gateway.amqp_errors import DRIVER_ERRORS
from ws_gateway.client.continuity import ContinuityChecker

_ACK_SECONDS = 0.02
_RETRY_SECONDS = 0.2
_CONNECT_SECONDS = 5.0
_PREFETCH = 2000


@dataclass
class Reader:
    """A consumer that always comes back; it acknowledges what it has taken.

    Attributes:
        messages: how many came, repeats included.
        heard_at: monotonic time of the newest message.
        checker: the consumer's rule, applied to every stream from its beginning.
        private: what came of the private lane.
        holes: numbers that `shed` and `spool_overflow` markers named.
        losses: times the connection was lost.
    """

    classes: tuple[str, ...]
    prefix: str
    messages: int = 0
    heard_at: float = 0.0
    checker: ContinuityChecker = field(default_factory=lambda: ContinuityChecker(from_start=True))
    private: Received = field(default_factory=Received)
    holes: dict[str, int] = field(default_factory=dict)
    streams: dict[str, float] = field(default_factory=dict)
    losses: int = 0
    is_reading: bool = False
    _named: set[str] = field(default_factory=set)

    async def read(self, url: str) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._one_connection(url)
            except (TimeoutError, *DRIVER_ERRORS):
                self.losses += 1
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self.losses += 1  # the driver's way to say that its connection is gone
            finally:
                self.is_reading = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _one_connection(self, url: str) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await aiormq.connect(f"{url}?heartbeat=5")
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                channel = await connection.channel()
                await channel.basic_qos(prefetch_count=_PREFETCH)
            newest: list[int] = [0]

            async def take(message: DeliveredMessage) -> None:
                self._take(message)
                newest[0] = message.delivery_tag or 0

            async with asyncio.timeout(_CONNECT_SECONDS):
                for name in self.classes:
                    await channel.basic_consume(f"{self.prefix}.{name}", take)
            self.is_reading = True
            answered = 0
            while not connection.is_closed and not channel.is_closed:
                await asyncio.sleep(_ACK_SECONDS)
                if newest[0] > answered:
                    answered = newest[0]
                    async with asyncio.timeout(_CONNECT_SECONDS):
                        await channel.basic_ack(answered, multiple=True)
        finally:
            await _leave(connection)

    def _take(self, message: DeliveredMessage) -> None:
        envelope: dict[str, Any] = json.loads(message.body)
        self.messages += 1
        self.heard_at = time.monotonic()
        self.checker.check(envelope)
        self.streams[f"{envelope['category']}:{envelope['topic']}"] = self.heard_at
        if envelope["account"] is not None:
            self.private.take(envelope)
        if envelope["kind"] == "gap" and envelope["event_id"] not in self._named:
            self._named.add(envelope["event_id"])
            payload = envelope["payload"]
            if payload["from_sequence"] is not None:
                count = payload["to_sequence"] - payload["from_sequence"] + 1
                self.holes[payload["reason"]] = self.holes.get(payload["reason"], 0) + count


async def _leave(connection: aiormq.abc.AbstractConnection) -> None:
    """Close, whatever state the broker is in."""
    try:
        async with asyncio.timeout(1):
            await connection.close()
    except (TimeoutError, *DRIVER_ERRORS):
        return


async def waiting(url: str, reader: Reader) -> int:
    """Count the messages that the queues have and did not hand out yet."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        counts = [
            (await channel.queue_declare(f"{reader.prefix}.{name}", passive=True)).message_count
            for name in reader.classes
        ]
        return sum(count or 0 for count in counts)
    finally:
        await connection.close()


@asynccontextmanager
async def reading(url: str, prefix: str, classes: tuple[str, ...]) -> AsyncIterator[Reader]:
    """Read classes meanwhile."""
    reader = Reader(classes, prefix)
    task = asyncio.create_task(reader.read(url), name="reader")
    try:
        yield reader
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
