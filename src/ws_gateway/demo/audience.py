"""The consumer of the demo: reads the class queues as a trading service would, and checks them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aio_pika.exceptions import AMQPError

from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.topic import EventClass

_LOOK_SECONDS = 1.0


class Audience:
    """What reached the consumer so far.

    Args:
        classes: what has to come; every other class is read too, because whoever watches may
            subscribe to it.

    Attributes:
        received: events per class, markers and repeats left aside.
        checker: holes and markers.
        depths: messages waiting per queue, as of the newest look.
    """

    def __init__(self, names: Names, classes: Iterable[EventClass]) -> None:
        self._names = names
        self._classes = sorted(classes)
        self._connection: AbstractRobustConnection | None = None
        self.received: Counter[str] = Counter()
        self.checker = ContinuityChecker(from_start=True)
        self.depths: dict[str, int] = {}

    @property
    def silent_classes(self) -> list[str]:
        """Name the subscribed classes of which no event came."""
        return [name for name in self._classes if not self.received[name]]

    @property
    def observed(self) -> int:
        """How many events came; comparable with what the gateway says was confirmed."""
        return self.received.total()

    @asynccontextmanager
    async def seated(self, amqp_url: str) -> AsyncIterator[None]:
        """Consume every class's queue meanwhile."""
        connection = await aio_pika.connect_robust(amqp_url)
        self._connection = connection
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1000)
            exchange = await channel.get_exchange(self._names.exchange, ensure=True)
            for event_class in EventClass:
                name = self._names.queue(event_class)
                if event_class is EventClass.POSITION:
                    name = own_queue(self._names)
                    own = await channel.declare_queue(name, durable=True)
                    await own.bind(exchange, f"{event_class}.#")
                queue = await channel.get_queue(name, ensure=True)
                await queue.consume(self._take)
            yield
        self._connection = None

    async def look_at_queues(self) -> None:
        """Ask the broker how many messages wait in each queue; while it is away, leave it."""
        if self._connection is None:
            return
        # RuntimeError is what aiormq says of a connection that is gone.
        with suppress(AMQPError, OSError, RuntimeError, TimeoutError, asyncio.InvalidStateError):
            async with asyncio.timeout(_LOOK_SECONDS), self._connection.channel() as channel:
                for event_class in self._classes:
                    queue = await channel.declare_queue(
                        self._names.queue(event_class), passive=True
                    )
                    self.depths[event_class] = queue.declaration_result.message_count or 0

    def note(self, event: Mapping[str, Any]) -> None:
        """Check and count an event."""
        repeats = self.checker.repeats
        self.checker.check(event)
        if event["kind"] not in ("gap", "resumed") and self.checker.repeats == repeats:
            self.received[event["event_type"]] += 1

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self.note(msgspec.json.decode(message.body))
        await message.ack()


def own_queue(names: Names) -> str:
    """Name the queue of positions that is the audience's alone.

    The class's own queue is read by the position manager, and each message goes to one reader.
    """
    return names.dedicated("audience", EventClass.POSITION)


async def remove_leftovers(amqp_url: str, names: Names) -> None:
    """Delete the demo's queues and exchange, so that it begins and ends with nothing."""
    connection = await aio_pika.connect(amqp_url, timeout=5)
    async with connection:
        channel = await connection.channel()
        for queue in (*names.queues(), own_queue(names)):
            await channel.queue_delete(queue)
        await channel.exchange_delete(names.exchange)
