"""A consumer of the gateway's queues, as a trading service would be one, with a memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from support.contract import assert_message
from ws_gateway.client.continuity import ContinuityChecker

MARKERS = frozenset({"gap", "resumed"})
PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class Consumer:
    """What it received, in order, over all its connections.

    Attributes:
        queues: event classes it reads; `quarantine` is one too.
        events: the envelopes.
        arrivals: monotonic time of each.
        violations: messages that are not what the committed schemas promise.
        checker: holes that nothing explains; nobody reads the queues before, so every stream has
            to begin at its beginning.
    """

    queues: tuple[str, ...]
    prefix: str
    events: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    checker: ContinuityChecker = field(default_factory=lambda: ContinuityChecker(from_start=True))
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listening(self, url: str) -> AsyncIterator[None]:
        """Consume the queues meanwhile."""
        connection = await aio_pika.connect(url, timeout=10)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=500)
            readers = []
            for name in self.queues:
                queue = await channel.get_queue(f"{self.prefix}.{name}", ensure=True)
                readers.append((queue, await queue.consume(self._take)))
            yield
            assert self.violations == [], self.violations[:3]
            for queue, tag in readers:  # what comes after this belongs to the next consumer
                await queue.cancel(tag)

    async def until(
        self,
        holds: Callable[[dict[str, Any]], object],
        *,
        seconds: float = PATIENCE_SECONDS,
        after: int = 0,
    ) -> dict[str, Any]:
        """Wait for an event that was received behind the first `after` ones; answers it."""
        seen = after
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._came.clear()
                    for event in self.events[seen:]:
                        seen += 1
                        if holds(event):
                            return event
                    await self._came.wait()
        except TimeoutError:
            tail = [f"{e.get('topic')} {e.get('kind')}" for e in self.events[-5:]]
            raise AssertionError(
                f"no such event in {seconds:g} s; {seen - after} came, the last {tail}"
            ) from None

    async def until_flows(
        self,
        *streams: tuple[str | None, str],
        after: int | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Wait for a fact (not a marker) of each (category, topic) that comes from now on."""
        begin = len(self.events) if after is None else after
        for category, topic in streams:
            await self.until(
                lambda event, category=category, topic=topic: (  # type: ignore[misc]
                    event["kind"] not in MARKERS
                    and event["topic"] == topic
                    and (category is None or event["category"] == category)
                ),
                seconds=seconds,
                after=begin,
            )

    async def until_now(self, *streams: tuple[str | None, str]) -> None:
        """Wait until each (category, topic) was told up to the present.

        A queue may hold what is older: what the gateway itself received after this call stands
        behind everything that it told before.
        """
        now_us, begin = time.time_ns() // 1000, len(self.events)
        for category, topic in streams:
            await self.until(
                lambda event, category=category, topic=topic: (  # type: ignore[misc]
                    event["kind"] not in MARKERS
                    and event["topic"] == topic
                    and category in {None, event["category"]}
                    and event["received_at"] > now_us
                ),
                after=begin,
            )

    def of(self, topic: str, category: str | None = None) -> list[dict[str, Any]]:
        """Return the events of one stream."""
        return [
            event
            for event in self.events
            if event["topic"] == topic and category in {None, event["category"]}
        ]

    def gaps(self, reason: str) -> list[dict[str, Any]]:
        """Return the gap markers of one reason."""
        return [
            event
            for event in self.events
            if event["kind"] == "gap" and event["payload"]["reason"] == reason
        ]

    async def _take(self, message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        try:
            assert_message(event)
        except AssertionError as exc:
            self.violations.append(str(exc))
        event["amqp"] = message
        self.events.append(event)
        self.arrivals.append(time.monotonic())
        if "event_type" in event:
            self.checker.check(event)
        await message.ack()
        self._came.set()
