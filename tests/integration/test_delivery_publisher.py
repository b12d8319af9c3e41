"""Events on their way through the real broker: order, confirms, refusals, and the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from structlog.testing import capture_logs

from support.delivery_rig import (
    ORDERS,
    TICKER,
    TRADES,
    consuming,
    delivering,
    eventually,
    now_us,
)
from support.proxy import TcpProxy, address, through
from ws_gateway.config import QueueType
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.delivery.topology import QUARANTINE, Names
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import Category, parse_topic
from ws_gateway.ports.delivery import BrokerState

BOOK = parse_topic("orderbook.50.BTCUSDT", Category.LINEAR)
EXECUTIONS = parse_topic("execution", None)


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[AbstractChannel]:
    """Have an AMQP channel of the test's own."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


@pytest.mark.parametrize("queue_type", [QueueType.QUORUM, QueueType.CLASSIC])
async def test_events_arrive_in_order_and_are_counted(
    amqp_url: str, amqp_prefix: str, queue_type: QueueType
) -> None:
    """What was accepted reaches the consumer once and in order; the counters agree."""
    async with delivering(amqp_url, amqp_prefix, window=300, queue_type=queue_type) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            for _ in range(20):
                rig.feed(100)
                rig.assert_balance()
                await asyncio.sleep(0)
            await rig.until_delivered()
            await eventually(lambda: len(consumer.messages) == 2002)
        checker = consumer.checked()
        assert (checker.problems, checker.repeats) == ([], 0)
        assert [one["sequence"] for one in consumer.envelopes] == list(range(1, 2003))
        counters = rig.counters
        assert (counters.received, counters.confirmed, counters.markers) == (2000, 2000, 2)
        assert (counters.resent, counters.returned, counters.nacked) == (0, 0, 0)
        assert counters.latency_quantile(0.99) is not None
        assert rig.publisher.status().buffered_events == 0
        assert rig.publisher.status().buffered_bytes == 0


async def test_no_more_than_the_window_is_unconfirmed(amqp_url: str, amqp_prefix: str) -> None:
    """However much waits, at most `window` messages are with the broker at once."""
    async with delivering(amqp_url, amqp_prefix, window=7) as rig:
        await rig.until_ready()
        rig.feed(500)
        seen = 0
        while rig.publisher.in_flight:
            seen = max(seen, rig.outbox.unconfirmed)
            rig.assert_balance()
            await asyncio.sleep(0)
        assert seen == 7
        assert rig.counters.confirmed == 500


async def test_large_body_arrives_whole(amqp_url: str, amqp_prefix: str) -> None:
    """A payload of several frames is the same at the consumer, byte for byte."""
    payload = json.dumps(["x" * 1000] * 400).encode()
    assert len(payload) > 400_000
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            rig.feed(payload=payload)
            await eventually(lambda: len(consumer.facts) == 1)
        assert consumer.messages[-1].body.endswith(b'"payload":' + payload + b"}")


async def test_events_before_the_connection_wait_for_it(amqp_url: str, amqp_prefix: str) -> None:
    """What is offered while the connection opens is delivered, in order, once it stands."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        rig.feed(50)
        assert rig.publisher.status().state is BrokerState.CONNECTING
        assert rig.publisher.in_flight == 50
        await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len(consumer.facts) == 50)
        assert consumer.checked().problems == []


async def test_private_event_is_routed_by_its_record(amqp_url: str, amqp_prefix: str) -> None:
    """Records of one private topic go out under their own category and symbol."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("order")) as consumer:
            rig.feed(topic=ORDERS, symbol="BTCUSDT")
            rig.feed(topic=ORDERS, symbol="ETHUSDT")
            await eventually(lambda: len(consumer.facts) == 2)
        keys = [one.routing_key for one in consumer.messages]
        assert keys == ["order.-.-", "order.-.-", "order.linear.BTCUSDT", "order.linear.ETHUSDT"]
        assert [one["symbol"] for one in consumer.facts] == ["BTCUSDT", "ETHUSDT"]


async def test_unreadable_frame_reaches_its_queue(amqp_url: str, amqp_prefix: str) -> None:
    """Quarantined bytes arrive with reason and origin, and stay out of the balance."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        quarantine = Quarantine(rig.publisher, counters=rig.counters, clock_us=now_us)
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue(QUARANTINE)) as consumer:
            quarantine.quarantine(
                reason="malformed",
                origin="linear",
                detail="bad",
                raw=b"\xff{",
                trace_id="0af7651916cd43dd8448eb211c80319c",
            )
            await eventually(lambda: len(consumer.messages) == 1)
        (kept,) = consumer.envelopes
        assert (kept["reason"], kept["origin"], kept["raw_base64"]) == (
            "malformed",
            "linear",
            "/3s=",
        )
        await rig.until_delivered()
        assert rig.counters.confirmed == 0


async def test_queue_deleted_while_running_is_declared_again(
    amqp_url: str, amqp_prefix: str
) -> None:
    """A message that came back is not counted as confirmed; the queue is mended and it arrives."""
    async with delivering(amqp_url, amqp_prefix) as rig, channel_to(amqp_url) as channel:
        await rig.until_ready()
        rig.feed(5)
        await rig.until_delivered()
        await channel.queue_delete(rig.names.queue("trade"))
        rig.feed(20)
        await eventually(lambda: rig.counters.returned > 0)
        assert rig.counters.confirmed == 5
        rig.assert_balance()
        await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len(consumer.facts) == 20)
            await eventually(lambda: "declared again" in str(consumer.envelopes))
        assert [one["sequence"] for one in consumer.facts] == list(range(8, 28))
        assert (rig.counters.confirmed, rig.counters.rejected.total()) == (25, 0)
        assert (rig.counters.returned, rig.counters.resent) == (20, 20)


async def test_a_book_begins_anew_in_a_queue_that_was_lost_while_the_broker_was_away(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Its reader gets a marker and, as it is asked for, a snapshot; other classes get nothing."""
    async with (
        channel_to(amqp_url) as channel,
        TcpProxy(*address(amqp_url, 5672)) as proxy,
        delivering(through(amqp_url, proxy), amqp_prefix) as rig,
    ):
        await rig.until_ready()
        rig.feed(1, BOOK, kind=Kind.SNAPSHOT, update_id=100)
        rig.feed(1, BOOK, kind=Kind.DELTA, update_id=101)
        rig.feed(2, TRADES)
        await rig.until_delivered()
        assert rig.venue.asked == []
        queue = rig.names.queue("orderbook")
        await proxy.cut()
        await eventually(lambda: rig.publisher.status().state is not BrokerState.READY)
        await channel.queue_delete(queue)
        await proxy.restore()
        await rig.until_ready()
        await eventually(lambda: rig.venue.asked == [BOOK])
        rig.feed(1, BOOK, kind=Kind.SNAPSHOT, update_id=200)
        rig.feed(1, TRADES)
        await rig.until_delivered()
        async with (
            consuming(amqp_url, queue) as books,
            consuming(amqp_url, rig.names.queue("trade")) as trades,
        ):
            await eventually(lambda: len(books.facts) == 1 and len(trades.facts) == 3)
        assert [one["kind"] for one in books.envelopes] == ["gap", "resumed", "snapshot"]
        assert "declared again" in str(books.envelopes[0]["payload"])
        assert "declared again" not in str(trades.envelopes)


async def test_exchange_deleted_while_running_is_declared_again(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Without its exchange the publisher begins anew at once, not at the publish deadline."""
    async with delivering(amqp_url, amqp_prefix, deadline_seconds=60) as rig:
        await rig.until_ready()
        async with channel_to(amqp_url) as channel:
            await channel.exchange_delete(rig.names.exchange)
        rig.feed(20)
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len(consumer.facts) == 20, 30)  # less than the deadline
        await rig.until_delivered()
        assert consumer.checked().problems == []


async def test_event_without_any_queue_is_rejected_and_announced(
    amqp_url: str, amqp_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back every time is counted as unroutable, and a marker names its number."""
    every = Names.queues_of
    async with delivering(amqp_url, amqp_prefix) as rig, channel_to(amqp_url) as channel:
        await rig.until_ready()
        rig.feed(2)
        await rig.until_delivered()
        name = rig.names.queue("trade")

        def without_trades(names: Names, *, is_private: bool) -> dict[str, str]:
            found = every(names, is_private=is_private)
            return {queue: key for queue, key in found.items() if queue != name}

        monkeypatch.setattr(Names, "queues_of", without_trades)
        await channel.queue_delete(name)
        rig.feed(3)
        await eventually(lambda: rig.counters.rejected["unroutable"] == 3)
        rig.assert_balance()
        monkeypatch.undo()
        await rig.until_delivered()
        async with consuming(amqp_url, name) as consumer:
            await eventually(lambda: bool(consumer.markers))
        lost = {
            number
            for one in consumer.markers
            for number in range(one["payload"]["from_sequence"], one["payload"]["to_sequence"] + 1)
        }
        assert {5, 6, 7} <= lost


async def test_a_hole_is_named_in_full_although_its_marker_came_back_too(
    amqp_url: str, amqp_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a given up marker named is named by the next one, or no reader would ever hear of it."""
    every = Names.queues_of
    async with delivering(amqp_url, amqp_prefix) as rig, channel_to(amqp_url) as channel:
        await rig.until_ready()
        name = rig.names.queue("trade")
        async with consuming(amqp_url, name) as early:
            rig.feed(2)
            await eventually(lambda: len(early.facts) == 2)

        def without_trades(names: Names, *, is_private: bool) -> dict[str, str]:
            found = every(names, is_private=is_private)
            return {queue: key for queue, key in found.items() if queue != name}

        monkeypatch.setattr(Names, "queues_of", without_trades)
        await channel.queue_delete(name)
        rig.feed(3)
        await eventually(lambda: rig.counters.rejected["unroutable"] == 3)
        before = rig.counters.returned
        await eventually(lambda: rig.counters.returned >= before + 6)  # markers, three tries each
        monkeypatch.undo()
        rig.feed(2)
        await until_it_stands(amqp_url, name)
        async with consuming(amqp_url, name) as late:
            late.messages[:0] = early.messages
            await eventually(lambda: bool(late.markers))
            await eventually(lambda: late.checked().problems == [])
        rig.assert_balance()
        assert rig.counters.markers < 12, "one marker for all of them"


async def test_a_queue_nobody_can_bind_costs_its_own_class_only(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Somebody has it for himself: its events are given up and named; the others wait for none."""
    name = Names(amqp_prefix).queue("trade")
    somebody = await aiormq.connect(amqp_url)
    await (await somebody.channel()).queue_declare(name, exclusive=True)
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("ticker")) as tickers:
            for _ in range(100):
                rig.feed(1, TICKER)
                rig.feed(1, TRADES)
                await asyncio.sleep(0.01)
            await eventually(lambda: len(tickers.facts) == 100)
        await eventually(lambda: rig.counters.rejected["unroutable"] == 100)
        rig.assert_balance()
        assert rig.counters.resent == 0, "nothing is held up and tried in vain"
        assert rig.counters.markers < 20, "one marker names many"
        await somebody.close()
        rig.publisher.doubt_queues()
        await until_it_stands(amqp_url, name)
        rig.feed(3, TRADES)
        async with consuming(amqp_url, name) as late:
            await eventually(lambda: len(late.facts) == 3)
            await eventually(lambda: late.checked().problems == [])
            await eventually(lambda: 1 in [one["payload"]["from_sequence"] for one in late.markers])


async def test_private_events_wait_for_a_queue_nobody_can_bind_and_the_others_do_not(
    amqp_url: str, amqp_prefix: str
) -> None:
    """They are tried ever more rarely, never given up, and arrive in order once it stands."""
    name = Names(amqp_prefix).queue("order")
    somebody = await aiormq.connect(amqp_url)
    await (await somebody.channel()).queue_declare(name, exclusive=True)
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        async with consuming(amqp_url, rig.names.queue("execution")) as executions:
            for _ in range(50):
                rig.feed(1, ORDERS)
                rig.feed(1, EXECUTIONS)
                await asyncio.sleep(0.02)
            await eventually(lambda: len(executions.facts) == 50)
        assert rig.counters.returned < 20
        assert rig.outbox.private.held == 52
        await somebody.close()
        rig.publisher.doubt_queues()
        await rig.until_delivered()
        async with consuming(amqp_url, name) as late:
            await eventually(lambda: len(late.facts) == 50)
        assert [one["sequence"] for one in late.envelopes[:52]] == list(range(1, 53))
        assert (rig.counters.confirmed, rig.counters.rejected.total()) == (100, 0)


async def until_it_stands(url: str, queue: str) -> None:
    """Wait until somebody has declared a queue."""
    connection = await aiormq.connect(url)
    try:
        for _ in range(600):
            channel = await connection.channel()
            with suppress(aiormq.exceptions.ChannelNotFoundEntity):
                await channel.queue_declare(queue, passive=True)
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"nobody declares {queue}")
    finally:
        await connection.close()


async def test_event_the_broker_refuses_is_counted_and_named_by_a_marker(
    amqp_url: str, amqp_prefix: str
) -> None:
    """A full queue that refuses costs events, and the stream says which, in order."""
    async with channel_to(amqp_url) as channel:
        name = Names(amqp_prefix).queue("trade")
        await channel.queue_declare(
            name, durable=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"}
        )
        async with delivering(amqp_url, amqp_prefix) as rig:
            await rig.until_ready()
            rig.feed(4)  # two markers come first: at most two fit
            await eventually(lambda: rig.counters.shed["refused_by_broker"] > 0)
            rig.assert_balance()
            await eventually(lambda: rig.counters.nacked >= 3)
            await channel.queue_purge(name)
            async with consuming(amqp_url, name) as consumer:
                await rig.until_delivered()
                await eventually(lambda: bool(consumer.markers))
            given_up = rig.counters.shed["refused_by_broker"]
            assert rig.counters.confirmed == 4 - given_up
            arrived = [one["sequence"] for one in consumer.facts]
            assert arrived == sorted(arrived), "what was refused did not go behind its successors"


async def test_private_fact_the_broker_refuses_arrives_later(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Private facts are tried until there is room for them; none is given up."""
    async with channel_to(amqp_url) as channel:
        name = Names(amqp_prefix).queue("order")
        await channel.queue_declare(
            name, durable=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"}
        )
        async with delivering(amqp_url, amqp_prefix) as rig:
            await rig.until_ready()
            rig.feed(6, ORDERS)
            await eventually(lambda: rig.counters.nacked > 6)
            rig.assert_balance()
            async with consuming(amqp_url, name) as consumer:
                await rig.until_delivered()
                await eventually(lambda: len({one["event_id"] for one in consumer.facts}) == 6)
            assert rig.counters.confirmed == 6
            assert rig.counters.shed.total() == 0
            assert [one["sequence"] for one in consumer.envelopes] == list(range(1, 9))


async def test_vanished_queue_is_noticed_although_another_takes_its_events(
    amqp_url: str, amqp_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class queue that somebody deleted is declared again, even while a tail is bound."""
    monkeypatch.setattr("ws_gateway.delivery.line._CHECK_QUEUES_SECONDS", 0.1)
    async with (
        channel_to(amqp_url) as channel,
        delivering(amqp_url, amqp_prefix, deadline_seconds=60) as rig,
    ):
        await rig.until_ready()
        tail = await channel.queue_declare(exclusive=True, auto_delete=True)
        assert tail.queue is not None
        await channel.queue_bind(tail.queue, rig.names.exchange, "trade.#")
        with capture_logs() as lines:
            await channel.queue_delete(rig.names.queue("trade"))
            await eventually(lambda: any(one["event"] == "delivery.queue_missing" for one in lines))
            rig.feed(3)
            await rig.until_delivered()
        async with consuming(amqp_url, rig.names.queue("trade")) as consumer:
            await eventually(lambda: len(consumer.facts) == 3)


async def test_queue_redeclared_and_bound_by_hand_is_told_once_and_forgiven(
    amqp_url: str, amqp_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes back, so only looking finds it; once it was migrated all is well again."""
    monkeypatch.setattr("ws_gateway.delivery.line._CHECK_QUEUES_SECONDS", 0.1)
    async with (
        channel_to(amqp_url) as channel,
        delivering(amqp_url, amqp_prefix, deadline_seconds=60) as rig,
    ):
        await rig.until_ready()
        name = rig.names.queue("trade")
        with capture_logs() as lines:
            await channel.queue_delete(name)
            await channel.queue_declare(name, durable=True, arguments={"x-max-length": 5})
            await channel.queue_bind(name, rig.names.exchange, "trade.#")
            await eventually(lambda: len(rig.publisher.status().problems) == 1)
            (problem,) = rig.publisher.status().problems
            assert (problem.subject, problem.is_blocking) == (name, False)
            assert name in problem.detail
            async with consuming(amqp_url, rig.names.queue("ticker")) as tickers:
                rig.feed(3, TICKER)
                await eventually(lambda: len(tickers.facts) == 3)
            await asyncio.sleep(0.6)  # looked at several times
            words = [one["event"] for one in lines]
            assert words.count("delivery.topology_drifted") == 1
            assert "delivery.broker_lost" not in words
            await channel.queue_delete(name)
            await eventually(lambda: rig.publisher.status().problems == ())


async def test_queue_that_refuses_everything_does_not_busy_the_gateway(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Refused again and again, messages and markers go out at a walking pace, told once."""
    async with channel_to(amqp_url) as channel:
        await channel.queue_declare(
            Names(amqp_prefix).queue("trade"),
            durable=True,
            arguments={"x-max-length": 0, "x-overflow": "reject-publish"},
        )
        with capture_logs() as lines:
            async with delivering(amqp_url, amqp_prefix) as rig:
                await rig.until_ready()
                rig.feed(5)
                await asyncio.sleep(1.5)
                rig.assert_balance()
                assert rig.counters.nacked < 200
        told = [one for one in lines if one["event"] == "delivery.event_given_up"]
        assert len(told) == 1


async def test_other_streams_flow_while_one_queue_refuses(amqp_url: str, amqp_prefix: str) -> None:
    """One refusing queue takes nothing from the others."""
    async with channel_to(amqp_url) as channel:
        await channel.queue_declare(
            Names(amqp_prefix).queue("trade"),
            durable=True,
            arguments={"x-max-length": 0, "x-overflow": "reject-publish"},
        )
        async with delivering(amqp_url, amqp_prefix) as rig:
            await rig.until_ready()
            async with consuming(amqp_url, rig.names.queue("ticker")) as consumer:
                for _ in range(30):
                    rig.feed(1, TRADES)
                    rig.feed(1, TICKER)
                    await asyncio.sleep(0.01)
                await eventually(lambda: len(consumer.facts) == 30)
            assert consumer.checked().problems == []


async def test_close_ends_the_publisher_in_any_state(amqp_url: str, amqp_prefix: str) -> None:
    """Closed while connecting, ready, or backing off, `run` returns by itself and stays closed."""
    for delay in (0.0, 0.02, 0.05, 0.1, 0.3):
        async with delivering(amqp_url, amqp_prefix) as rig:
            await asyncio.sleep(delay)
            await rig.publisher.close(1.0)
            await asyncio.wait_for(asyncio.shield(rig.running), 20)
            assert rig.publisher.status().state is BrokerState.CLOSED


async def test_order_is_kept_when_a_queue_is_deleted_under_load(
    amqp_url: str, amqp_prefix: str
) -> None:
    """New events never overtake those that came back: the stream has no unexplained step."""
    async with (
        delivering(amqp_url, amqp_prefix, window=5000) as rig,
        channel_to(amqp_url) as channel,
    ):
        await rig.until_ready()
        name = rig.names.queue("trade")
        rig.feed(5)
        await rig.until_delivered()
        await channel.queue_delete(name)
        for _ in range(150):
            rig.feed(5)
            rig.assert_balance()
            await asyncio.sleep(0.004)
        await rig.until_delivered()
        assert rig.counters.returned > 0
        async with consuming(amqp_url, name) as consumer:
            await eventually(lambda: len(consumer.facts) == 750)
        # The marker for what was in the queue, and that of the end of its hole, have numbers too.
        sequences = [one["sequence"] for one in consumer.envelopes]
        assert sequences == list(range(8, 8 + len(sequences)))
        assert rig.counters.rejected.total() == 0
