"""Queues of one service: bound to what it asked for, kept in step, taken away with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from structlog.testing import capture_logs

from rabbitmq_node import PrivateNode
from support.amqp_names import exchange_name
from support.backlog_stage import settle
from support.delivery_rig import eventually
from support.memory_queues import MemoryQueues
from support.memory_store import MemorySubscriptions
from support.node_control import rabbitmqctl
from support.proxy import TcpProxy, address, through
from ws_gateway.config import QueueType
from ws_gateway.delivery.backlog import BacklogMonitor
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names, queue_arguments
from ws_gateway.domain.subscription import Delivery, Subscription
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.store import DeclaredQueue, SubscriptionFilter
from ws_gateway.runtime.counters import Counters

LINEAR = Category.LINEAR
BTC = build_topic(Channel.ORDERBOOK, category=LINEAR, symbol="BTCUSDT", depth=50)
ETH = build_topic(Channel.ORDERBOOK, category=LINEAR, symbol="ETHUSDT", depth=50)
DOTTED = build_topic(Channel.TICKER, category=Category.OPTION, symbol="XRP-30OCT26-0.4-P-USDT")
ORDERS = build_topic(Channel.ORDER)
LINEAR_ORDERS = build_topic(Channel.ORDER, category=LINEAR)


@dataclass
class Stage:
    """A steward in front of a real broker, and a ledger that the test writes."""

    channel: AbstractChannel
    prefix: str
    store: MemorySubscriptions
    ledger: MemoryQueues
    steward: QueueSteward
    begun: list[Topic] = field(default_factory=list)
    emptied: list[Topic] = field(default_factory=list)

    async def want(self, service: str, *topics: Topic) -> list[Subscription]:
        """Store dedicated wishes and wait until the queues stand."""
        rows = [await self.store.add(one, service, "x", Delivery.DEDICATED) for one in topics]
        await settle(self.steward)
        return [row for row, _ in rows]

    async def leave(self, rows: Iterable[Subscription]) -> None:
        """Remove wishes and wait until the broker follows."""
        for row in rows:
            await self.store.remove(row.id)
        await settle(self.steward)

    async def publish(self, *keys: str) -> None:
        """Publish one message per routing key."""
        for key in keys:
            await self.channel.basic_publish(
                key.encode(), exchange=exchange_name(self.prefix), routing_key=key
            )

    async def drain(self, queue: str) -> list[str]:
        """Take everything out of a queue."""
        await asyncio.sleep(0.05)
        taken = []
        while (got := await self.channel.basic_get(f"{self.prefix}.{queue}", no_ack=True)).body:
            taken.append(got.body.decode())
        return taken


class LosingQueues(MemoryQueues):
    """A ledger after whose first record something happens."""

    then: Callable[[], Awaitable[None]] | None = None

    async def record(self, queue: DeclaredQueue) -> None:
        """Remember, and let it happen once."""
        await super().record(queue)
        then, self.then = self.then, None
        if then is not None:
            await then()


@asynccontextmanager
async def staged(
    url: str,
    prefix: str,
    ledger: MemoryQueues | None = None,
    store: MemorySubscriptions | None = None,
    *,
    direct_url: str | None = None,
) -> AsyncIterator[Stage]:
    """Run a steward until the block ends; the test's own connection may take another way."""
    store = store or MemorySubscriptions()
    ledger = ledger or MemoryQueues(store)
    names, begun, emptied = Names(prefix), list[Topic](), list[Topic]()
    keeper = DedicatedKeeper(ledger, names, QueueType.CLASSIC, begun.extend, emptied=emptied.extend)
    steward = QueueSteward(
        url,
        names,
        keeper,
        BacklogMonitor(names, QueueType.CLASSIC, keeper, Counters()),
        rng=Random(3),
        look_seconds=0.2,
    )
    running = asyncio.create_task(steward.run(), name="steward")
    connection = await aiormq.connect(direct_url or url)
    try:
        async with asyncio.timeout(30):
            while not steward.is_connected:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        channel = await connection.channel()
        yield Stage(channel, prefix, store, ledger, steward, begun, emptied)
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await connection.close()


@pytest.fixture
async def stage(amqp_url: str, amqp_prefix: str) -> AsyncIterator[Stage]:
    """Run a steward; its queues are deleted after the test."""
    store = MemorySubscriptions()
    async with staged(amqp_url, amqp_prefix, store=store) as built:
        yield built
        await built.leave(await _all(store))


async def _all(store: MemorySubscriptions) -> list[Subscription]:
    return await store.page(SubscriptionFilter(), after=None, limit=100)


async def test_a_service_gets_exactly_what_it_asked_for(stage: Stage) -> None:
    """Its symbols with their category, and nothing of the same class beside them."""
    await stage.want("alpha", BTC, DOTTED)
    await stage.publish(
        "orderbook.linear.BTCUSDT",
        "orderbook.linear.ETHUSDT",
        "orderbook.spot.BTCUSDT",
        "ticker.option.XRP-30OCT26-0%2E4-P-USDT",
        "ticker.option.XRP-30OCT26-0",
    )
    assert await stage.drain("alpha.orderbook") == ["orderbook.linear.BTCUSDT"]
    assert await stage.drain("alpha.ticker") == ["ticker.option.XRP-30OCT26-0%2E4-P-USDT"]


async def test_private_topics_bring_their_markers(stage: Stage) -> None:
    """Those of one category bring markers about all; those of all categories bring everything."""
    await stage.want("alpha", LINEAR_ORDERS)
    await stage.want("beta", ORDERS)
    keys = ["order.linear.BTCUSDT", "order.linear.-", "order.-.-", "order.spot.BTCUSDT"]
    await stage.publish(*keys)
    assert await stage.drain("alpha.order") == keys[:3]
    assert await stage.drain("beta.order") == keys


async def test_bindings_follow_subscriptions(stage: Stage) -> None:
    """One more symbol, one less; two services do not disturb each other."""
    (btc,) = await stage.want("alpha", BTC)
    await stage.want("beta", BTC)
    await stage.want("alpha", ETH)
    assert stage.begun == [BTC, BTC, ETH]
    await stage.leave([btc])
    await stage.publish("orderbook.linear.BTCUSDT", "orderbook.linear.ETHUSDT")
    assert await stage.drain("alpha.orderbook") == ["orderbook.linear.ETHUSDT"]
    assert await stage.drain("beta.orderbook") == ["orderbook.linear.BTCUSDT"]


async def test_the_queue_goes_with_the_last_subscription(stage: Stage) -> None:
    """It is deleted, the log says how much was unread, and the ledger forgets it."""
    rows = await stage.want("alpha", BTC, ETH)
    await stage.publish("orderbook.linear.BTCUSDT", "orderbook.linear.ETHUSDT")
    with capture_logs() as logs:
        await stage.leave(rows)
    (line,) = [one for one in logs if one["event"] == "delivery.dedicated_queue_removed"]
    assert (line["log_level"], line["service"], line["unread"]) == ("warning", "alpha", 2)
    assert await stage.ledger.declared() == []
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await stage.channel.queue_declare(f"{stage.prefix}.alpha.orderbook", passive=True)


async def test_a_queue_of_somebody_else_is_filled_and_never_deleted(stage: Stage) -> None:
    """What stood before the first wish is told, used, unbound at the end, and stays."""
    name = f"{stage.prefix}.alpha.orderbook"
    await stage.channel.queue_declare(name, durable=True)
    try:
        with capture_logs() as logs:
            rows = await stage.want("alpha", BTC)
        events = {one["event"] for one in logs}
        assert {"delivery.dedicated_queue_found", "delivery.topology_drifted"} <= events
        await stage.publish("orderbook.linear.BTCUSDT")
        assert await stage.drain("alpha.orderbook") == ["orderbook.linear.BTCUSDT"]
        await stage.leave(rows)
        await stage.publish("orderbook.linear.BTCUSDT")
        assert await stage.drain("alpha.orderbook") == []
    finally:
        await stage.channel.queue_delete(name)


async def test_a_queue_deleted_by_hand_comes_back(stage: Stage) -> None:
    """The next look misses it, says so; it is declared again, empty, and its streams begin anew."""
    await stage.want("alpha", BTC)
    with capture_logs() as logs:
        await stage.channel.queue_delete(f"{stage.prefix}.alpha.orderbook")
        await eventually(lambda: stage.emptied == [BTC])
    assert "delivery.queue_missing" in {one["event"] for one in logs}
    await stage.publish("orderbook.linear.BTCUSDT")
    assert await stage.drain("alpha.orderbook") == ["orderbook.linear.BTCUSDT"]
    assert stage.begun == [BTC]
    assert stage.emptied == [BTC]


@pytest.mark.parametrize("is_declared", [False, True])
async def test_a_broker_lost_while_a_queue_is_made_leaves_no_queue_without_a_beginning(
    amqp_url: str, amqp_prefix: str, *, is_declared: bool
) -> None:
    """The ledger has its bindings by then, and perhaps the queue stands: it is told still."""
    store = MemorySubscriptions()
    ledger = LosingQueues(store)
    async with TcpProxy(*address(amqp_url, 5672)) as proxy:
        url = through(amqp_url, proxy)
        async with staged(url, amqp_prefix, ledger, store, direct_url=amqp_url) as stage:

            async def lose() -> None:
                if is_declared:
                    queue = f"{amqp_prefix}.alpha.orderbook"
                    await stage.channel.queue_declare(
                        queue, durable=True, arguments=queue_arguments(QueueType.CLASSIC)
                    )
                await proxy.reset()

            ledger.then = lose
            await stage.want("alpha", BTC)
            await eventually(lambda: stage.begun == [BTC])
            await stage.publish("orderbook.linear.BTCUSDT")
            assert await stage.drain("alpha.orderbook") == ["orderbook.linear.BTCUSDT"]
            await settle(stage.steward)
            assert (stage.begun, stage.emptied) == ([BTC], [])
            await stage.leave(await _all(store))


async def test_what_happened_while_the_gateway_was_away_is_made_up_for(
    amqp_url: str, amqp_prefix: str
) -> None:
    """The next process unbinds and deletes what the last one declared; nothing begins anew."""
    store = MemorySubscriptions()
    ledger = MemoryQueues(store)
    async with staged(amqp_url, amqp_prefix, ledger, store) as first:
        (btc,) = await first.want("alpha", BTC)
        await first.want("alpha", ETH)
        (order,) = await first.want("beta", ORDERS)
    await store.remove(btc.id)
    await store.remove(order.id)
    async with staged(amqp_url, amqp_prefix, ledger, store) as second:
        await settle(second.steward)
        await second.publish("orderbook.linear.BTCUSDT", "orderbook.linear.ETHUSDT")
        assert await second.drain("alpha.orderbook") == ["orderbook.linear.ETHUSDT"]
        assert second.begun == []
        assert [one.name for one in await ledger.declared()] == [f"{amqp_prefix}.alpha.orderbook"]
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
            await second.channel.queue_declare(f"{amqp_prefix}.beta.order", passive=True)
        await second.leave(await _all(store))


async def test_without_the_database_nothing_is_taken_away(stage: Stage) -> None:
    """What cannot be read is not taken for empty."""
    await stage.want("alpha", BTC)
    stage.store.is_away = True
    await asyncio.sleep(0.5)
    await stage.publish("orderbook.linear.BTCUSDT")
    assert await stage.drain("alpha.orderbook") == ["orderbook.linear.BTCUSDT"]
    stage.store.is_away = False


async def test_what_another_prefix_declared_is_left_alone(stage: Stage) -> None:
    """Two gateways on one database do not delete each other's queues."""
    foreign = DeclaredQueue(
        "elsewhere.alpha.orderbook", "alpha", BTC.event_class, frozenset({"x"}), is_ours=True
    )
    await stage.ledger.record(foreign)
    await stage.want("alpha", BTC)
    assert foreign in await stage.ledger.declared()


@pytest.mark.xdist_group("own_broker")
async def test_a_binding_that_may_not_be_taken_away_is_told_and_stops_nobody(
    own_broker: PrivateNode,
) -> None:
    """The broker's 403 is an answer: one line, the connection stands, other queues are settled."""
    await rabbitmqctl(own_broker, "add_user", "gateway", "secret")
    await rabbitmqctl(own_broker, "set_permissions", "gateway", ".*", ".*", ".*")
    url = own_broker.url.replace("guest:guest", "gateway:secret")
    async with staged(url, "t") as stage:
        rows = await stage.want("alpha", BTC, ETH)
        with capture_logs() as lines:
            not_alpha = r"^(?!t\.alpha\.).*"
            await rabbitmqctl(own_broker, "set_permissions", "gateway", ".*", not_alpha, ".*")
            await stage.store.remove(rows[1].id)
            await stage.want("beta", DOTTED)
            left = "delivery.dedicated_queue_left_bound"
            await eventually(lambda: left in [line["event"] for line in lines])
            await asyncio.sleep(0.7)  # several looks
            assert stage.steward.is_connected
        words = [line["event"] for line in lines]
        assert words.count("delivery.dedicated_queue_left_bound") == 1
        assert "delivery.queues_unattended" not in words
        await stage.publish("ticker.option.XRP-30OCT26-0%2E4-P-USDT")
        assert len(await stage.drain("beta.ticker")) == 1


async def test_many_bindings_take_the_time_they_need(
    amqp_url: str, amqp_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer has its deadline, not all of them together."""
    monkeypatch.setattr("ws_gateway.delivery.topology._DEADLINE_SECONDS", 2.0)
    topics = [
        build_topic(Channel.TICKER, category=LINEAR, symbol=f"S{number}USDT")
        for number in range(60)
    ]
    async with TcpProxy(*address(amqp_url, 5672)) as proxy:
        proxy.delay_seconds = 0.025
        store = MemorySubscriptions()
        async with staged(through(amqp_url, proxy), amqp_prefix, store=store) as stage:
            connections = proxy.accepted
            await stage.want("alpha", *topics)
            async with asyncio.timeout(60):
                while len(stage.begun) < len(topics):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.05)
            assert proxy.accepted == connections
            await stage.publish("ticker.linear.S0USDT", "ticker.linear.S59USDT")
            assert len(await stage.drain("alpha.ticker")) == 2
            await stage.leave(await _all(store))
