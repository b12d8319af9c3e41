"""A publisher, a steward and a monitor on a real broker, and consumers as slow as one likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import aiormq
from aiormq.abc import DeliveredMessage

from support.delivery_rig import Rig, delivering, eventually, until_stands
from support.memory_queues import MemoryQueues
from support.memory_store import MemorySubscriptions
from ws_gateway.config import QueueType
from ws_gateway.delivery.backlog import BacklogMonitor, Management
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.gauge import Thresholds
from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.delivery import QueueStatus
from ws_gateway.ports.store import SubscriptionFilter

QUICK = Thresholds(unread_seconds=0.6, window_seconds=0.6)
LOOK_SECONDS = 0.2


@dataclass
class BacklogStage:
    """Everything of delivery that knows about queues."""

    rig: Rig
    store: MemorySubscriptions
    steward: QueueSteward
    monitor: BacklogMonitor

    async def want(self, service: str, topic: Topic, delivery: Delivery) -> None:
        """Let a service ask for a topic, and wait until its queue was looked at."""
        await self.store.add(topic, service, "x", delivery)
        await settle(self.steward)
        await eventually(
            lambda: any(service in one.services and one.depth is not None for one in self.seen)
        )

    @property
    def seen(self) -> Sequence[QueueStatus]:
        """Return the last look at all queues."""
        return self.monitor.queues()

    def queue(self, name: str) -> QueueStatus:
        """Read the last look at a queue, without its prefix."""
        full = f"{self.rig.names.prefix}.{name}"
        return next(one for one in self.seen if one.name == full)

    def alerts(self, name: str) -> list[str]:
        """Name the alerts of a queue."""
        return [one.code.value for one in self.queue(name).alerts]

    async def flow(self, topic: Topic, per_look: int, seconds: float) -> None:
        """Feed facts at a steady rate."""
        for _ in range(int(seconds / 0.02)):
            self.rig.feed(max(1, int(per_look * 0.02 / LOOK_SECONDS)), topic)
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def flowing(self, topic: Topic, per_look: int) -> AsyncIterator[None]:
        """Feed facts at a steady rate for as long as the block lasts."""
        task = asyncio.create_task(self.flow(topic, per_look, 60.0))
        try:
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait({task})


@asynccontextmanager
async def watching(
    url: str,
    prefix: str,
    *,
    management: Management | None = None,
    queue_type: QueueType = QueueType.CLASSIC,
) -> AsyncIterator[BacklogStage]:
    """Run it all; dedicated queues go at the end."""
    store = MemorySubscriptions()
    names = Names(prefix)
    async with delivering(url, prefix, queue_type=queue_type) as rig:
        await rig.until_ready()
        keeper = DedicatedKeeper(MemoryQueues(store), names, queue_type, lambda _: None)
        monitor = BacklogMonitor(
            names,
            queue_type,
            keeper,
            rig.counters,
            management=management,
            missed=rig.publisher.doubt_queues,
            thresholds=QUICK,
        )
        steward = QueueSteward(
            url, names, keeper, monitor, rng=Random(5), look_seconds=LOOK_SECONDS
        )
        running = asyncio.create_task(steward.run(), name="steward")
        try:
            await eventually(lambda: monitor.queues() != [])
            yield BacklogStage(rig, store, steward, monitor)
            assert not running.done(), running
            for row in await store.page(SubscriptionFilter(), after=None, limit=100):
                await store.remove(row.id)
            await settle(steward)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def settle(steward: QueueSteward) -> None:
    """Wait until queues and bindings are in step; the steward's own wait ends after a second."""
    async with asyncio.timeout(30):
        while True:
            settled = steward._settled
            steward.wishes_changed()
            with suppress(TimeoutError):
                await asyncio.wait_for(settled.wait(), 1)
                return


@asynccontextmanager
async def slow_consumer(url: str, queue: str, seconds_each: float) -> AsyncIterator[list[float]]:
    """Consume one message after the other; the pause between them may be changed meanwhile."""
    pause = [seconds_each]
    connection = await aiormq.connect(url)
    waiting: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    await until_stands(connection, queue)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=50)
    await channel.basic_consume(queue, waiting.put)

    async def work() -> None:
        while True:
            message = await waiting.get()
            if pause[0]:
                await asyncio.sleep(pause[0])
            assert message.delivery_tag is not None
            await channel.basic_ack(message.delivery_tag)

    working = asyncio.create_task(work(), name="slow consumer")
    try:
        yield pause
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await connection.close()
