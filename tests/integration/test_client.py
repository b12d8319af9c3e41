"""The consumer kit against a real broker: order, crashes, gaps, reconnects, replay."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiormq
import msgspec
import pytest

from support.contract import assert_envelope
from support.delivery_rig import (
    ORDERS,
    TICKER,
    TRADES,
    Rig,
    consuming,
    delivering,
    eventually,
    observe,
)
from support.proxy import TcpProxy, address, through
from ws_gateway.client import Event, Gap, consume
from ws_gateway.client.link import Link
from ws_gateway.config import QueueType
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.topic import Category, parse_topic
from ws_gateway.errors import BrokerLost, Rejected

OTHER = parse_topic("publicTrade.ETHUSDT", Category.LINEAR)
SPOT = parse_topic("publicTrade.BTCUSDT", Category.SPOT)
SECONDS = 30.0

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the queues that consumers read by now, once for each connection."""
    queues: list[str] = []
    begin = Link.begin

    async def noted(link: Link, offset: int | datetime | None) -> None:
        await begin(link, offset)
        queues.append(link._source.queue)

    monkeypatch.setattr(Link, "begin", noted)
    return queues


@dataclass
class Desk:
    """A gateway's delivery and what it takes to read it."""

    rig: Rig
    url: str
    prefix: str

    def consume(self, event_class: str = "trade", **options: Any) -> AsyncGenerator[Event]:
        """Consume a class."""
        return consume(event_class, **({"amqp_url": self.url, "prefix": self.prefix} | options))

    def queue(self, event_class: str = "trade") -> str:
        """Name the class's own queue."""
        return self.rig.names.queue(event_class)

    def feed(self, first: int, last: int, **facts: Any) -> None:
        """Let facts with numbered payloads be delivered."""
        for number in range(first, last + 1):
            self.rig.feed(1, payload=b"%d" % number, **facts)

    async def until_waiting(self, count: int) -> None:
        """Wait until so many messages of the class's queue are held by nobody."""
        connection = await aiormq.connect(self.url)
        try:
            channel = await connection.channel()
            found = None
            async with asyncio.timeout(SECONDS):
                while found != count:
                    answer = await channel.queue_declare(self.queue(), passive=True)
                    found = answer.message_count
        finally:
            await connection.close()

    async def until_gone(self, queue: str) -> None:
        """Wait until a queue that was somebody's own is no more."""
        connection = await aiormq.connect(self.url)
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    channel = await connection.channel()
                    with suppress(aiormq.exceptions.ChannelLockedResource):  # while it stands
                        await channel.queue_declare(queue, passive=True)
                    await asyncio.sleep(0.05)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return
        finally:
            await connection.close()


@pytest.fixture
async def desk(amqp_url: str, amqp_prefix: str) -> AsyncIterator[Desk]:
    """Delivery that stands."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        yield Desk(rig, amqp_url, amqp_prefix)


async def take(
    events: AsyncGenerator[Event], count: int, *, seconds: float = SECONDS
) -> list[Event]:
    """Take so many facts and close; markers do not count, but are returned too."""
    taken: list[Event] = []
    async with asyncio.timeout(seconds), aclosing(events):
        async for event in events:
            assert_envelope(msgspec.json.decode(event.body))
            taken.append(event)
            if sum(not one.is_marker for one in taken) == count:
                break
    return taken


def facts(events: list[Event]) -> list[Any]:
    """Return the payloads of the facts."""
    return [one.payload for one in events if not one.is_marker]


# ── what comes ────────────────────────────────────────────────────────────────────────────────


async def test_named_queue_is_read_in_order_and_acknowledged(desk: Desk) -> None:
    """All events come typed and in order, and what the loop went past is off the queue."""
    desk.feed(1, 1000)
    await desk.rig.until_delivered()
    taken = await take(desk.consume(queue=desk.queue()), 1000)
    assert facts(taken) == list(range(1, 1001))
    assert [one.sequence for one in taken] == list(range(1, 1003))
    assert [one.kind for one in taken[:2]] == ["gap", "resumed"]
    last = taken[-1]
    assert (last.event_type, last.category, last.symbol) == ("trade", "linear", "BTCUSDT")
    assert msgspec.json.decode(last.body)["event_id"] == last.event_id
    await desk.until_waiting(1)  # the loop was left in the body of the last one


async def test_own_queue_takes_nothing_from_others_and_is_removed(desk: Desk) -> None:
    """Two consumers and the class's queue all get everything; their queues end with them."""
    async with consuming(desk.url, desk.queue()) as judge:
        readers = [asyncio.create_task(take(desk.consume(), 50)) for _ in range(2)]
        await flowing(desk, readers)
        numbers = [facts(await reader) for reader in readers]
        await desk.rig.until_delivered()
        await eventually(lambda: len(judge.facts) == desk.rig.counters.confirmed)
    for each in numbers:
        assert each == list(range(each[0], each[0] + 50))


async def flowing(desk: Desk, readers: list[asyncio.Task[Any]], **more: Any) -> None:
    """Feed events until all readers have what they want."""
    number = 0
    async with asyncio.timeout(SECONDS):
        while not all(reader.done() for reader in readers):
            number += 1
            desk.feed(number, number, **more)
            await asyncio.sleep(0.005)


async def test_filter_brings_only_what_is_wanted(desk: Desk) -> None:
    """Category and symbol choose, on an own queue by binding and on a named one by reading."""
    for queue in (None, desk.queue()):
        gaps: list[Gap] = []
        events = desk.consume(category="linear", symbol="ETHUSDT", queue=queue, on_gap=gaps.append)
        reader = asyncio.create_task(take(events, 20))
        async with asyncio.timeout(SECONDS):
            while not reader.done():
                for topic in (TRADES, OTHER, SPOT):
                    desk.rig.feed(1, topic)
                await asyncio.sleep(0.005)
        assert {(one.category, one.symbol) for one in await reader} == {("linear", "ETHUSDT")}
        assert [gap.reason for gap in gaps if gap.reason == "unexplained"] == []


async def test_part_of_a_private_stream_raises_no_alarm(desk: Desk) -> None:
    """Orders of one symbol are numbered with those of others, which are followed unseen."""
    gaps: list[Gap] = []
    events = desk.consume("order", category="linear", symbol="BTCUSDT", on_gap=gaps.append)
    reader = asyncio.create_task(take(events, 10))
    async with asyncio.timeout(SECONDS):
        while not reader.done():
            for symbol in ("BTCUSDT", "ETHUSDT"):
                desk.rig.feed(1, ORDERS, symbol=symbol)
            await asyncio.sleep(0.005)
    assert {one.symbol for one in await reader if not one.is_marker} == {"BTCUSDT"}
    assert {gap.reason for gap in gaps} <= {"restart"}


# ── acknowledgement and repeats ───────────────────────────────────────────────────────────────


class Crash(Exception):
    """The consumer's own fault."""


async def test_event_whose_body_crashed_comes_again(desk: Desk) -> None:
    """Nothing that the body did not finish is lost, and nothing it finished comes again."""
    desk.feed(1, 10)
    await desk.rig.until_delivered()
    done: list[int] = []

    async def work() -> None:
        async for event in desk.consume(queue=desk.queue()):
            if event.payload == 5:
                raise Crash
            if not event.is_marker:
                done.append(event.payload)

    with pytest.raises(Crash):
        await work()
    rest = await take(desk.consume(queue=desk.queue()), 6)
    assert done == [1, 2, 3, 4]
    assert facts(rest) == [5, 6, 7, 8, 9, 10]
    assert rest[0].redelivered


KILLED = """
import asyncio, os, sys
from ws_gateway.client import consume

async def main():
    async for event in consume("trade", amqp_url=sys.argv[1], queue=sys.argv[2], prefetch=40):
        if not event.is_marker:
            os.write(1, b"%d\\n" % event.payload)
            await asyncio.sleep(0.002)

asyncio.run(main())
"""


async def test_killed_consumer_loses_nothing(desk: Desk) -> None:
    """After kill -9 the next one begins with what was not acknowledged: a few repeats, no hole."""
    desk.feed(1, 600)
    await desk.rig.until_delivered()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, desk.url, desk.queue(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    before: list[int] = []
    async with asyncio.timeout(SECONDS):
        while len(before) < 200:
            before.append(int(await process.stdout.readline()))
    process.kill()
    rest, _ = await process.communicate()
    before += [int(line) for line in rest.split(b"\n")[:-1]]
    gaps: list[Gap] = []
    after: list[int] = []
    async with (
        asyncio.timeout(SECONDS),
        aclosing(desk.consume(queue=desk.queue(), on_gap=gaps.append)) as events,
    ):
        async for event in events:
            after.append(event.payload)
            assert event.redelivered or event.payload > before[-1]
            if event.payload == 600:
                break
    assert before == list(range(1, before[-1] + 1))
    assert after == list(range(after[0], 601))
    assert before[-1] - 12 <= after[0] - 1 <= before[-1]
    assert gaps == []


async def test_repeats_are_dropped(desk: Desk) -> None:
    """The same fact told twice comes once, and its number is no gap."""
    twice = observe(payload=b"7")
    desk.rig.runner.accept(twice)
    desk.rig.runner.accept(twice)
    desk.feed(8, 8)
    await desk.rig.until_delivered()
    gaps: list[Gap] = []
    taken = await take(desk.consume(queue=desk.queue(), on_gap=gaps.append), 2)
    assert facts(taken) == [7, 8]
    assert [gap.reason for gap in gaps] == ["restart"]


async def test_snapshot_told_again_after_a_hole_is_no_repeat(desk: Desk) -> None:
    """A quiet book has the same id as before; without it the consumer's book would stay empty."""
    book = parse_topic("orderbook.50.BTCUSDT", Category.LINEAR)
    quiet = observe(book, payload=b"7", update_id=5)
    desk.rig.runner.accept(quiet)
    desk.rig.runner.break_streams([book], GapReason.DISCONNECT, "it broke")
    desk.rig.runner.accept(quiet)
    await desk.rig.until_delivered()
    taken = await take(desk.consume("orderbook", queue=desk.queue("orderbook")), 2)
    kinds = [event.kind for event in taken]
    assert kinds == ["gap", "resumed", "snapshot"] * 2
    assert [event.is_complete for event in taken[:3]] == [False, True, False]
    assert taken[2].event_id == taken[5].event_id


async def test_manual_acknowledgement_is_the_consumers_own(desk: Desk) -> None:
    """What is neither acknowledged nor thrown away comes again; what is given back, at once."""
    desk.feed(1, 4)
    await desk.rig.until_delivered()
    seen: list[int] = []
    async with aclosing(desk.consume(queue=desk.queue(), acknowledge="manual")) as events:
        async for event in events:
            if event.is_marker or event.payload == 1:
                await event.ack()
            elif event.payload == 2:
                await event.reject()
            elif event.payload == 3:
                await event.reject(requeue=seen.count(3) == 0)
            if not event.is_marker:
                seen.append(event.payload)
            if len(seen) == 5:
                break
    assert sorted(seen) == [1, 2, 3, 3, 4]
    assert facts(await take(desk.consume(queue=desk.queue()), 1)) == [4]


async def test_message_that_is_no_event_is_thrown_away(desk: Desk) -> None:
    """Foreign bytes in the queue do not stop the consumer."""
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    for foreign in (b"what?", b'{"schema":1,"event_id":"\xff"}', b'{"payload":' + b"[" * 100_000):
        await channel.basic_publish(foreign, exchange="", routing_key=desk.queue())
    await connection.close()
    desk.feed(1, 1)
    await desk.rig.until_delivered()
    assert facts(await take(desk.consume(queue=desk.queue()), 1)) == [1]


async def test_marker_that_says_nothing_is_thrown_away(desk: Desk) -> None:
    """One that somebody else wrote must not end every reader of the queue again and again."""
    desk.feed(1, 1)
    await desk.rig.until_delivered()
    (marker, *_) = await take(desk.consume(queue=desk.queue()), 1)
    written = msgspec.json.decode(marker.body)
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    half = written["payload"] | {"from_sequence": 1}
    payloads: tuple[Any, ...] = ({}, [], None, half)
    for payload in payloads:
        body = msgspec.json.encode(written | {"payload": payload})
        await channel.basic_publish(body, exchange="", routing_key=desk.queue())
    await connection.close()
    desk.feed(2, 2)
    await desk.rig.until_delivered()
    assert facts(await take(desk.consume(queue=desk.queue()), 2)) == [1, 2]


async def test_envelope_of_a_later_version_is_left_in_the_queue(desk: Desk) -> None:
    """A consumer that cannot read it says so and throws nothing away."""
    desk.feed(1, 1)
    await desk.rig.until_delivered()
    await take(desk.consume(queue=desk.queue()), 1)
    later = b'{"schema":2,"id":"all but the version may be different"}'
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    await channel.queue_purge(desk.queue())
    await channel.basic_publish(later, exchange="", routing_key=desk.queue())
    await connection.close()
    with pytest.raises(Rejected, match="version 2"):
        await take(desk.consume(queue=desk.queue()), 1)
    await desk.until_waiting(1)


# ── gaps ──────────────────────────────────────────────────────────────────────────────────────


async def test_gaps_are_told_before_the_event_that_shows_them(desk: Desk) -> None:
    """A marker's gap and an unexplained hole call back, plainly or as a coroutine."""
    desk.feed(1, 3)
    desk.rig.runner.break_streams([TRADES], GapReason.DISCONNECT, "it broke")
    desk.feed(4, 5)
    await desk.rig.until_delivered()
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    for _ in range(4):  # somebody takes restart, resumed, 1 and 2 out of the queue
        await channel.basic_get(desk.queue(), no_ack=True)
    await connection.close()
    told: list[tuple[str, str]] = []

    async def on_gap(gap: Gap) -> None:
        told.append(("gap", gap.reason))

    async with (
        asyncio.timeout(SECONDS),
        aclosing(desk.consume(queue=desk.queue(), on_gap=on_gap)) as events,
    ):
        async for event in events:
            told.append(("event", event.kind))
            if event.payload == 5:
                break
    assert told == [
        ("event", "snapshot"),
        ("gap", "disconnect"),
        ("event", "gap"),
        ("event", "resumed"),
        ("event", "snapshot"),
        ("event", "snapshot"),
    ]


@pytest.mark.parametrize("is_shared", [False, True])
async def test_hole_that_nothing_explains_is_told_with_its_numbers(
    desk: Desk, *, is_shared: bool
) -> None:
    """What vanished from the queue is noticed, unless others are said to read it too."""
    desk.feed(1, 2)
    await desk.rig.until_delivered()
    gaps: list[Gap] = []
    events = desk.consume(queue=desk.queue(), on_gap=gaps.append, is_shared=is_shared, prefetch=1)
    async with asyncio.timeout(SECONDS), aclosing(events):
        async for event in events:
            if event.payload == 2:
                async with consuming(desk.url, desk.queue()) as thief:
                    desk.feed(3, 5)
                    await eventually(lambda: len(thief.messages) == 3)
                desk.feed(6, 6)
            if event.payload == 6:
                break
    unexplained = [gap for gap in gaps if gap.reason == "unexplained"]
    assert len(unexplained) == (not is_shared)
    for gap in unexplained:
        assert (gap.from_sequence, gap.to_sequence) == (5, 7)
        assert gap.envelope is not None
        assert gap.envelope.payload == 6


async def test_hole_shown_by_an_order_of_another_symbol_is_told(desk: Desk) -> None:
    """Orders of all symbols share one numbering: what is missing may be of the wanted one."""
    queue = desk.queue("order")
    for number, symbol in enumerate(("BTCUSDT",) * 4 + ("ETHUSDT", "BTCUSDT"), 1):
        desk.feed(number, number, topic=ORDERS, symbol=symbol)
    await desk.rig.until_delivered()
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    bodies = [(await channel.basic_get(queue, no_ack=True)).body for _ in range(8)]
    for body in bodies[:4] + bodies[6:]:  # orders 3 and 4 vanish
        await channel.basic_publish(body, exchange="", routing_key=queue)
    await connection.close()
    gaps: list[Gap] = []
    events = desk.consume("order", queue=queue, symbol="BTCUSDT", on_gap=gaps.append)
    assert facts(await take(events, 3)) == [1, 2, 6]
    told = [(gap.reason, gap.from_sequence, gap.to_sequence) for gap in gaps]
    assert told == [("restart", None, None), ("unexplained", 5, 6)]


async def test_orders_that_the_own_queue_had_no_room_for_are_told(
    desk: Desk, open_proxy: OpenProxy
) -> None:
    """A filter by symbol hides no overflow of the consumer's own queue during a reconnect."""
    proxy = await open_proxy(*address(desk.url, 5672))
    gaps: list[Gap] = []
    events = desk.consume(
        "order",
        amqp_url=through(desk.url, proxy),
        symbol="BTCUSDT",
        kept_events=5,
        on_gap=gaps.append,
    )
    numbers: list[Any] = []

    async def read() -> None:
        async with aclosing(events):
            async for event in events:
                numbers.extend([] if event.is_marker else [event.payload])

    reader = asyncio.create_task(read())
    number = 0
    async with asyncio.timeout(SECONDS):
        while not numbers:  # until the own queue stands
            desk.feed(number := number + 1, number, topic=ORDERS, symbol="BTCUSDT")
            await asyncio.sleep(0.02)
    await desk.rig.until_delivered()
    await eventually(lambda: numbers[-1] == number)
    await proxy.cut()
    for symbol in ("BTCUSDT", "ETHUSDT") * 10:
        desk.feed(number := number + 1, number, topic=ORDERS, symbol=symbol)
    await desk.rig.until_delivered()
    await proxy.restore()
    await eventually(lambda: numbers[-1] == number - 1)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    (told,) = [gap for gap in gaps if gap.reason == "unexplained"]
    assert told.to_sequence is not None
    assert told.from_sequence is not None
    assert told.to_sequence - told.from_sequence + 1 == 20 - 5


# ── connections ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_own", [True, False])
async def test_reconnect_loses_and_repeats_nothing(
    desk: Desk, open_proxy: OpenProxy, begun: list[str], *, is_own: bool
) -> None:
    """Resets and an outage in the middle of the flow: every event once, in order, no gap."""
    proxy = await open_proxy(*address(desk.url, 5672))
    gaps: list[Gap] = []
    events = desk.consume(
        amqp_url=through(desk.url, proxy),
        queue=None if is_own else desk.queue(),
        on_gap=gaps.append,
    )
    reader = asyncio.create_task(take(events, 1200))
    await eventually(lambda: bool(begun))
    for number in range(1, 1301):
        desk.feed(number, number)
        if number in (300, 600):
            await proxy.reset()
        if number == 900:
            await proxy.cut()
        if number == 1000:
            await proxy.restore()
        if number % 5 == 0:
            await asyncio.sleep(0.001)
    taken = await reader
    assert facts(taken) == list(range(facts(taken)[0], facts(taken)[0] + 1200))
    assert {gap.reason for gap in gaps} <= {"restart"}
    assert proxy.accepted >= 3


async def test_own_queue_that_expired_meanwhile_is_told(
    desk: Desk, open_proxy: OpenProxy, begun: list[str]
) -> None:
    """What came while no queue stood is told at once, not when the next order comes."""
    proxy = await open_proxy(*address(desk.url, 5672))
    gaps: list[Gap] = []
    events = desk.consume(
        "order",
        amqp_url=through(desk.url, proxy),
        symbol="BTCUSDT",
        kept_seconds=0,
        on_gap=gaps.append,
    )
    reader = asyncio.create_task(take(events, 1))
    await eventually(lambda: bool(begun))
    await proxy.cut()
    await desk.until_gone(begun[0])
    desk.rig.feed(3, ORDERS, symbol="BTCUSDT")
    await desk.rig.until_delivered()
    await proxy.restore()
    await eventually(lambda: len(gaps) > 0)
    told = [(gap.topic, gap.reason, gap.from_sequence, gap.envelope) for gap in gaps]
    assert told == [("order", "expired", None, None)]
    await flowing(desk, [reader], topic=ORDERS, symbol="BTCUSDT")


async def test_open_event_is_not_given_twice_after_a_reconnect(
    desk: Desk, open_proxy: OpenProxy
) -> None:
    """An event held unacknowledged over a reconnect is acknowledged on the new connection."""
    proxy = await open_proxy(*address(desk.url, 5672))
    desk.feed(1, 3)
    await desk.rig.until_delivered()
    events = desk.consume(
        amqp_url=through(desk.url, proxy), queue=desk.queue(), acknowledge="manual"
    )
    held: list[Event] = []
    async with asyncio.timeout(SECONDS), aclosing(events):
        async for event in events:
            held.append(event)
            if event.payload == 3:
                await proxy.reset()
                desk.feed(4, 4)
            if event.payload == 4:
                for each in held:
                    await each.ack()
                break
    assert facts(held) == [1, 2, 3, 4]
    await desk.until_waiting(0)


async def test_black_hole_is_noticed(desk: Desk, open_proxy: OpenProxy, begun: list[str]) -> None:
    """A connection on which every byte vanishes is given up by heartbeats."""
    proxy = await open_proxy(*address(desk.url, 5672))
    url = f"{through(desk.url, proxy)}?heartbeat=1"
    desk.feed(1, 1)
    reader = asyncio.create_task(take(desk.consume(amqp_url=url, queue=desk.queue()), 2))
    await eventually(lambda: bool(begun))
    await proxy.stall()
    desk.feed(2, 2)
    await asyncio.sleep(5)
    await proxy.restore()
    assert facts(await reader) == [1, 2]


async def test_without_reconnect_a_loss_is_raised(
    desk: Desk, open_proxy: OpenProxy, begun: list[str]
) -> None:
    """Who wants to know is told."""
    proxy = await open_proxy(*address(desk.url, 5672))
    events = desk.consume(amqp_url=through(desk.url, proxy), reconnect=False)
    reader = asyncio.create_task(take(events, 1))
    await eventually(lambda: bool(begun))
    await proxy.cut()
    with pytest.raises(BrokerLost):
        await reader


async def test_queue_that_is_deleted_is_read_again_when_it_stands(desk: Desk) -> None:
    """The broker's word that the queue is gone is a loss like any other."""
    desk.feed(1, 1)
    reader = asyncio.create_task(take(desk.consume(queue=desk.queue()), 2))
    await desk.rig.until_delivered()
    await desk.until_waiting(0)  # the reader has it
    connection = await aiormq.connect(desk.url)
    channel = await connection.channel()
    await channel.queue_delete(desk.queue())
    await asyncio.sleep(0.3)
    desk.feed(2, 2)  # comes back unroutable, so the gateway declares the queue again
    assert facts(await reader) == [1, 2]
    await connection.close()


async def test_first_connection_fails_at_once(desk: Desk) -> None:
    """A wrong address, exchange or queue is an error, not an endless wait."""
    with pytest.raises(BrokerLost):
        await take(desk.consume(amqp_url="amqp://guest:guest@127.0.0.1:1/"), 1)
    with pytest.raises(Rejected, match="nobody"):
        await take(desk.consume(prefix="nobody"), 1)
    with pytest.raises(Rejected, match="no queue no-such; the prefix may not be the gateway's"):
        await take(desk.consume(queue="no-such"), 1)


async def test_a_replay_of_a_queue_that_is_no_stream_says_what_it_needs(desk: Desk) -> None:
    """The broker's own words name an argument that nobody wrote."""
    reading = desk.consume(queue=desk.queue(), since=datetime.now(UTC))
    with pytest.raises(Rejected, match="`since` needs WSG_QUEUE_TYPE=stream"):
        await asyncio.wait_for(take(reading, 1), 10)


async def test_cancellation_closes_everything(desk: Desk, begun: list[str]) -> None:
    """A cancelled consumer leaves no task, no connection and no queue behind."""
    reader = asyncio.create_task(take(desk.consume(), 1))
    await eventually(lambda: bool(begun))
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


def test_contradictions_are_refused() -> None:
    """A class that is not there and a time without a zone."""
    with pytest.raises(ValueError, match="orderbooks"):
        consume("orderbooks", amqp_url="amqp://x")
    with pytest.raises(ValueError, match="zone"):
        consume("trade", amqp_url="amqp://x", since=datetime(2026, 1, 1))  # noqa: DTZ001


# ── streams ───────────────────────────────────────────────────────────────────────────────────


async def test_stream_is_replayed_from_a_time_and_goes_on_through_a_reconnect(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy
) -> None:
    """What the gateway received from then on comes, once and in order, also over a reset."""
    async with delivering(amqp_url, amqp_prefix, queue_type=QueueType.STREAM) as rig:
        await rig.until_ready()
        desk = Desk(rig, amqp_url, amqp_prefix)
        desk.feed(1, 50)
        await rig.until_delivered()
        await asyncio.sleep(0.05)
        since = datetime.now(UTC)
        desk.feed(51, 100)
        await rig.until_delivered()
        for _ in range(2):  # a stream gives the same to everyone
            assert facts(await take(desk.consume(since=since), 50)) == list(range(51, 101))
        proxy = await open_proxy(*address(amqp_url, 5672))
        gaps: list[Gap] = []
        reader = asyncio.create_task(
            take(
                desk.consume(
                    amqp_url=through(amqp_url, proxy),
                    since=since,
                    on_gap=gaps.append,
                    prefetch=20,
                ),
                400,
            )
        )
        await eventually(lambda: proxy.accepted == 1)
        for number in range(101, 501):
            desk.feed(number, number)
            if number in (200, 350):
                await proxy.reset()
            await asyncio.sleep(0.001)
        assert facts(await reader) == list(range(51, 451))
        assert gaps == []


async def test_stream_that_brought_nothing_yet_goes_on_from_its_beginning(
    amqp_url: str, amqp_prefix: str, open_proxy: OpenProxy, begun: list[str]
) -> None:
    """What comes while the first connection is lost is not skipped."""
    async with delivering(amqp_url, amqp_prefix, queue_type=QueueType.STREAM) as rig:
        await rig.until_ready()
        desk = Desk(rig, amqp_url, amqp_prefix)
        proxy = await open_proxy(*address(amqp_url, 5672))
        events = desk.consume(amqp_url=through(amqp_url, proxy), queue=desk.queue())
        reader = asyncio.create_task(take(events, 5))
        await eventually(lambda: bool(begun))
        await proxy.cut()
        desk.feed(1, 4)
        await rig.until_delivered()
        await proxy.restore()
        await eventually(lambda: len(begun) == 2)
        desk.feed(5, 5)
        assert facts(await reader) == [1, 2, 3, 4, 5]


async def test_ticker_of_another_class_is_not_taken(desk: Desk) -> None:
    """An own queue is bound to its class alone."""
    reader = asyncio.create_task(take(desk.consume("ticker"), 5))
    async with asyncio.timeout(SECONDS):
        while not reader.done():
            desk.rig.feed(1, TRADES)
            desk.rig.feed(1, TICKER)
            await asyncio.sleep(0.005)
    assert {one.event_type for one in await reader} == {"ticker"}


async def test_a_stream_that_was_deleted_and_made_anew_is_read_from_its_beginning(
    amqp_url: str, amqp_prefix: str
) -> None:
    """Its offsets count from 0 again, so the reader's own would hide what comes until then."""
    async with delivering(amqp_url, amqp_prefix, queue_type=QueueType.STREAM) as rig:
        await rig.until_ready()
        desk = Desk(rig, amqp_url, amqp_prefix)
        desk.feed(1, 50)
        await rig.until_delivered()
        gaps: list[Gap] = []
        seen: list[Any] = []

        async def read() -> None:
            since = datetime.fromtimestamp(0, UTC)
            async for event in desk.consume(since=since, on_gap=gaps.append, connect_seconds=4):
                seen.append(event.payload)  # noqa: PERF401 - they are looked at meanwhile

        def numbers() -> list[int]:
            return [one for one in seen if isinstance(one, int)]  # markers have none

        reader = asyncio.create_task(read())
        try:
            await eventually(lambda: numbers() == list(range(1, 51)))
            connection = await aiormq.connect(amqp_url)
            await (await connection.channel()).queue_delete(desk.queue())
            await connection.close()
            desk.feed(51, 60)  # comes back unroutable, so the gateway declares the stream again
            await rig.until_delivered()
            await eventually(lambda: numbers() == list(range(1, 61)))
            assert "expired" in [gap.reason for gap in gaps]
            desk.feed(61, 61)
            await eventually(lambda: numbers() == list(range(1, 62)))
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
