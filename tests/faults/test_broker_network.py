"""The network between gateway and broker fails while events flow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

import aiormq
import pytest

from support.delivery_rig import ORDERS, Rig, consuming, delivering, eventually
from support.proxy import TcpProxy, address, through
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import Category, parse_topic
from ws_gateway.ports.delivery import BrokerState

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]


async def proxied(amqp_url: str, open_proxy: OpenProxy) -> tuple[TcpProxy, str]:
    """Open a proxy before the broker."""
    proxy = await open_proxy(*address(amqp_url, 5672))
    return proxy, through(amqp_url, proxy)


def ids_of_window(rig: Rig) -> list[str]:
    """Name what was sent and not answered for."""
    return [one.event_id for one in rig.outbox.public._window if one is not None]


async def test_cut_connection_is_opened_again_and_the_unconfirmed_sent_again(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """What the broker had not answered for goes out again first, in order, under the same ids."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix, window=50) as rig:
        await rig.until_ready()
        rig.feed(10)
        await rig.until_delivered()
        rig.feed(200)
        await asyncio.sleep(0)  # written, not answered
        pending = ids_of_window(rig)
        assert len(pending) == 50
        await proxy.cut()
        await eventually(lambda: rig.publisher.status().state is BrokerState.BACKING_OFF)
        rig.feed(5)
        rig.assert_balance()
        await proxy.restore()
        await rig.until_delivered()
        assert rig.counters.confirmed == 215
        assert rig.counters.resent <= 50
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len({one["event_id"] for one in consumer.facts}) == 215)
        checker = consumer.checked()
        assert checker.problems == []
        assert checker.repeats == len(consumer.messages) - 217
        assert checker.repeats <= 50
        sequence_of = {one["event_id"]: one["sequence"] for one in consumer.facts}
        for one in consumer.facts:  # sent twice or once, an event keeps its place
            assert sequence_of[one["event_id"]] == one["sequence"]
        flagged = [
            one.header.properties.message_id
            for one in consumer.messages
            if (one.header.properties.headers or {}).get("resent") is True
        ]
        assert flagged == pending, "each of those, and no other, says that it is a resend"


async def test_momentary_reset_costs_exactly_one_reconnect_of_each_at_once(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """After a reset that is over at once, events flow again within a second."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix) as rig:
        await rig.until_ready()
        rig.feed(10)
        await rig.until_delivered()
        await proxy.reset()
        rig.feed(10)
        await rig.until_delivered()
        assert proxy.accepted == 4


async def test_black_hole_ends_at_the_publish_deadline(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """A broker that takes bytes and never answers is left after the deadline, not before."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix, deadline_seconds=0.6) as rig:
        await rig.until_ready()
        await proxy.stall()
        rig.feed(30)
        began = time.monotonic()
        await eventually(lambda: rig.publisher.status().last_error is not None)
        assert time.monotonic() - began > 0.5
        assert "no confirm" in str(rig.publisher.status().last_error)
        assert rig.publisher.in_flight == 30
        await proxy.restore()
        await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len({one["event_id"] for one in consumer.facts}) == 30)
        assert consumer.checked().problems == []


async def test_black_hole_while_queues_are_mended_ends_at_the_deadline(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence that begins while a deleted queue is declared again doesn't stop delivery."""
    monkeypatch.setattr("ws_gateway.delivery.topology._DEADLINE_SECONDS", 0.6)
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix) as rig:
        await rig.until_ready()
        connection = await aiormq.connect(amqp_url)
        await (await connection.channel()).queue_delete(rig.names.queue("trade"))
        await connection.close()
        rig.feed(10)
        await eventually(lambda: rig.counters.returned == 12)
        await proxy.stall()
        await eventually(
            lambda: rig.publisher.status().last_error == "the broker took too long over the queues"
        )
        rig.assert_balance()
        await proxy.restore()
        await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len({one["event_id"] for one in consumer.facts}) == 10)
        assert consumer.checked().problems == []


async def test_drain_without_a_broker_answers_at_its_deadline(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """A stop while the broker is away takes as long as granted and says what is left."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix) as rig:
        await rig.until_ready()
        await proxy.cut()
        rig.feed(10)
        began = time.monotonic()
        assert not await rig.publisher.drain(0.3)
        await rig.publisher.close(0.3)
        assert time.monotonic() - began < 5
        assert rig.publisher.in_flight == 10


async def test_goodbye_to_a_silent_broker_ends_in_time(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """Closing through a black hole takes no longer than granted and leaves no task behind."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix) as rig:
        await rig.until_ready()
        await proxy.stall()
        rig.feed(10)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await rig.publisher.close(0.3)
        await asyncio.wait({rig.running}, timeout=20)
        assert rig.running.done()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("seed", [1, 2])
async def test_stormy_network_loses_nothing(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy, seed: int
) -> None:
    """Resets, cuts and stalls at any moment: every event arrives, in order, none unexplained."""
    rng = Random(seed)
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix, window=100, deadline_seconds=0.5) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            for _ in range(12):
                for _ in range(rng.randrange(1, 6)):
                    rig.feed(rng.randrange(1, 80))
                    await asyncio.sleep(rng.random() * 0.02)
                    rig.assert_balance()
                weather = rng.choice(["reset", "reset", "cut", "stall"])
                if weather == "reset":
                    await proxy.reset()
                else:
                    await (proxy.cut() if weather == "cut" else proxy.stall())
                    await asyncio.sleep(rng.random() * 0.2)
                    await proxy.restore()
            await rig.until_delivered(60)
            received = rig.counters.received
            await eventually(lambda: len({one["event_id"] for one in consumer.facts}) == received)
        checker = consumer.checked()
        assert checker.problems == []
        assert set(checker.markers) == {"restart"}


async def test_full_buffer_tears_each_stream_once_and_names_the_hole(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """Many streams shed while the broker is away: one marker each, books begin with a snapshot."""
    trades = [parse_topic(f"publicTrade.S{n}USDT", Category.LINEAR) for n in range(20)]
    book = parse_topic("orderbook.50.BTCUSDT", Category.LINEAR)
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(url, amqp_prefix, max_events=1000) as rig:
        await rig.until_ready()
        rig.venue.asked.append(book)

        def round_of_facts(update_id: int) -> None:
            number = b"%d" % update_id
            for topic in trades:
                rig.feed(1, topic, payload=number)
            kind = Kind.SNAPSHOT if book in rig.venue.asked else Kind.DELTA
            rig.venue.asked.clear()
            rig.feed(1, book, kind=kind, update_id=update_id, payload=number)
            rig.feed(1, ORDERS, payload=number)
            rig.assert_balance()

        for update_id in range(1, 20):
            round_of_facts(update_id)
        await rig.until_delivered()
        await proxy.cut()
        for update_id in range(20, 400):
            round_of_facts(update_id)
            assert rig.publisher.status().buffered_events <= 1000
        assert rig.counters.shed["no_room"] > 100
        await proxy.restore()
        await rig.until_delivered()
        for update_id in range(400, 420):
            round_of_facts(update_id)
        await rig.until_delivered()
        for name, streams in (("trade", 20), ("orderbook", 1), ("order", 1)):
            async with consuming(amqp_url, rig.names.queue(name)) as consumer:
                await eventually(
                    lambda c=consumer, n=streams: [x["payload"] for x in c.facts].count(419) == n  # type: ignore[misc]
                )
            assert consumer.checked().problems == []
            assert len(consumer.markers) == streams
            assert len({one["topic"] for one in consumer.markers}) == streams
            if name == "orderbook":
                after = [one["kind"] for one in consumer.envelopes]
                hole = next(
                    n for n, one in enumerate(consumer.envelopes) if one in consumer.markers
                )
                assert after[hole : hole + 4] == ["gap", "resumed", "snapshot", "delta"]


async def test_idle_connection_that_went_silent_is_found_by_its_heartbeat(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """Without a publish to miss, the missing heartbeats end a dead connection."""
    proxy, url = await proxied(amqp_url, open_proxy)
    async with delivering(f"{url}?heartbeat=1", amqp_prefix) as rig:
        await rig.until_ready()
        await proxy.stall()
        await eventually(lambda: rig.publisher.status().last_error is not None)
        await proxy.restore()
        rig.feed(3)
        await rig.until_delivered()
        assert rig.counters.confirmed == 3
