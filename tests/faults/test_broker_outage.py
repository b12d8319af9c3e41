"""The broker itself goes away, dies, or refuses for want of memory, while events keep coming."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rabbitmq_node import PrivateNode, find_server
from support.delivery_rig import ORDERS, TRADES, Rig, consuming, delivering, eventually
from support.proxy import TcpProxy, address, through
from ws_gateway.config import QueueType
from ws_gateway.ports.delivery import BrokerState

pytestmark = pytest.mark.xdist_group("own_broker")  # one starting broker at a time is load enough

MAX_EVENTS = 2000
MAX_BYTES = 4_000_000
OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]


@dataclass
class Load:
    """Facts arriving as from a socket, and what that felt like.

    Attributes:
        slowest_call: longest time the pipeline kept one socket read, seconds.
        slowest_turn: longest the loop was late, seconds.
        fullest: most messages held at once.
    """

    slowest_call: float = 0.0
    slowest_turn: float = 0.0  # both of CPU: the machine may stall
    fullest: int = 0
    heaviest: int = 0

    async def run(self, rig: Rig) -> None:
        """Feed a trade stream hard and an order now and then, until cancelled."""
        turn = 0
        while True:
            began = time.thread_time()
            rig.feed(10, TRADES, payload=b'[{"p":"1.0"}]')
            if turn % 10 == 0:
                rig.feed(1, ORDERS)
            self.slowest_call = max(self.slowest_call, time.thread_time() - began)
            rig.assert_balance()
            status = rig.publisher.status()
            self.fullest = max(self.fullest, status.buffered_events)
            self.heaviest = max(self.heaviest, status.buffered_bytes)
            turn += 1
            slept = time.thread_time()
            await asyncio.sleep(0.01)
            self.slowest_turn = max(self.slowest_turn, time.thread_time() - slept)


@asynccontextmanager
async def loaded(rig: Rig) -> AsyncIterator[Load]:
    """Keep facts coming inside the block."""
    load = Load()
    task = asyncio.create_task(load.run(rig), name="load")
    try:
        yield load
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def start(node: PrivateNode) -> None:
    """Start a node without keeping the loop."""
    server = find_server()
    assert server is not None
    await asyncio.to_thread(node.start, server)


async def end(node: PrivateNode, how: str) -> None:
    """End a node: by a request, or by `kill -9`."""
    if how == "stopped":
        await asyncio.to_thread(node.stop)
        return
    for pid in node._node_pids():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "queue_type"), [("stopped", QueueType.QUORUM), ("killed", QueueType.CLASSIC)]
)
async def test_outage_under_load_is_survived_and_told(
    own_broker: PrivateNode, how: str, queue_type: QueueType
) -> None:
    """Nothing blocks, the buffer keeps its limits, and every hole is named by a marker."""
    async with delivering(
        own_broker.url,
        "t",
        window=500,
        max_events=MAX_EVENTS,
        max_bytes=MAX_BYTES,
        queue_type=queue_type,
    ) as rig:
        await rig.until_ready(60)
        async with loaded(rig) as load:
            await eventually(lambda: rig.counters.confirmed > 500)
            await end(own_broker, how)
            await eventually(lambda: rig.counters.shed["no_room"] > 500, 60)
            assert rig.publisher.status().state is not BrokerState.READY
            assert rig.publisher.status().last_error
            confirmed = rig.counters.confirmed
            await start(own_broker)
            await eventually(lambda: rig.counters.confirmed > confirmed + MAX_EVENTS, 60)
        await rig.until_delivered(60)
        assert load.fullest <= MAX_EVENTS
        assert load.heaviest <= MAX_BYTES
        assert load.slowest_call < 0.25
        assert load.slowest_turn < 0.75
        counters = rig.counters
        assert counters.received == counters.confirmed + counters.shed["no_room"]
        assert counters.shed.total() == counters.shed["no_room"]
        async with (
            consuming(own_broker.url, rig.names.queue("trade")) as trades,
            consuming(own_broker.url, rig.names.queue("order")) as orders,
        ):
            await eventually(
                lambda: (
                    len({one.header.properties.message_id for one in trades.messages})
                    + len({one.header.properties.message_id for one in orders.messages})
                    == counters.confirmed + counters.markers
                ),
                60,
            )
        assert trades.checked().problems == []
        assert orders.checked().problems == []
        assert trades.checked().markers["shed"] >= 1
        assert orders.markers == []  # the share kept for private facts sufficed
        named = sum(
            one["payload"]["to_sequence"] - one["payload"]["from_sequence"] + 1
            for one in {one["event_id"]: one for one in trades.markers}.values()
        )
        assert named >= counters.shed["no_room"]


async def test_broker_short_of_memory_is_waited_for(
    own_broker: PrivateNode, open_proxy: OpenProxy
) -> None:
    """A blocked connection stands, longer than the publish deadline, and nothing is lost."""
    proxy = await open_proxy(*address(own_broker.url, 5672))
    async with delivering(through(own_broker.url, proxy), "t", deadline_seconds=2.5) as rig:
        await rig.until_ready(60)
        rig.feed(10)
        await rig.until_delivered()
        await control(own_broker, "set_vm_memory_high_watermark", "0.000001")
        rig.feed(10)
        await eventually(lambda: rig.publisher.status().state is BrokerState.BLOCKED)
        rig.feed(100)
        await asyncio.sleep(3.0)  # longer than the deadline
        assert rig.publisher.status().state is BrokerState.BLOCKED
        rig.assert_balance()
        await control(own_broker, "set_vm_memory_high_watermark", "0.6")
        await eventually(lambda: rig.publisher.status().state is BrokerState.READY)
        await rig.until_delivered()
        assert rig.counters.confirmed == 120
        assert rig.counters.resent == 0
        assert proxy.accepted == 2


async def control(node: PrivateNode, *arguments: str) -> None:
    """Run `rabbitmqctl` against a private node."""
    server, ports = find_server(), node._stored_ports()
    assert server is not None
    assert ports is not None
    program = Path(server).with_name("rabbitmqctl")
    await asyncio.to_thread(
        subprocess.run,
        [str(program), "--quiet", *arguments],
        env=node._environment(ports),
        check=True,
        capture_output=True,
        timeout=120,
    )
