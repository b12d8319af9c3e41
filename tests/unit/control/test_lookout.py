"""How fast topics come, which fell silent, which come first; and that nobody waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from ws_gateway.control.console.lookout import STALE_SECONDS, Lookout, Sight
from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic, parse_topic
from ws_gateway.ports.streams import StreamStatus
from ws_gateway.runtime.slices import SLICE


def topic(symbol: str = "BTCUSDT", channel: Channel = Channel.TICKER) -> Topic:
    """Build a linear topic."""
    return build_topic(channel, category=Category.LINEAR, symbol=symbol)


@dataclass
class Scene:
    """A lookout whose clock and streams the test moves."""

    now: float = 100.0
    statuses: dict[Topic, TopicStatus] = field(default_factory=dict)
    came: dict[Topic, StreamStatus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lookout = Lookout(self, monotonic=lambda: self.now, clock_us=self.clock_us)

    def clock_us(self) -> int:
        """Tell the time of day."""
        return int(self.now * 1e6)

    def stream(self, topic: Topic) -> StreamStatus | None:
        """Say what came of a topic."""
        return self.came.get(topic)

    def want(self, *topics: Topic, state: State = State.ACTIVE, is_desired: bool = True) -> None:
        """Have topics in a state since now."""
        for one in topics:
            self.statuses[one] = TopicStatus(one, state, None, self.now, is_desired)

    def tell(self, *topics: Topic, events: int = 1) -> None:
        """Let events of topics come now."""
        for one in topics:
            before = self.came.get(one)
            so_far = events + (0 if before is None else before.events)
            self.came[one] = StreamStatus(so_far, self.clock_us())

    async def look(self) -> Sight:
        """Look."""
        return await self.lookout.look(list(self.statuses.values()))

    async def pass_by(self, *topics: Topic, seconds: int, events: int = 20) -> Sight:
        """Look once a second while so many events of each topic come."""
        for _ in range(seconds):
            self.now += 1
            if topics:
                self.tell(*topics, events=events)
            sight = await self.look()
        return sight


async def test_a_rate_is_told_once_two_looks_were_made() -> None:
    """Before that it is not known, which is not 0."""
    scene, btc = Scene(), topic()
    scene.want(btc)
    scene.tell(btc, events=1000)
    ((first,), _) = await (await scene.look()).rows("", 10)
    assert (first.rate, first.events, first.age_seconds) == (None, 1000, 0.0)
    ((second,), _) = await (await scene.pass_by(btc, seconds=3)).rows("", 10)
    assert second.rate == pytest.approx(20)


async def test_what_came_while_nobody_watched_is_no_rate() -> None:
    """After a pause the first look begins anew."""
    scene, btc = Scene(), topic()
    scene.want(btc)
    await scene.pass_by(btc, seconds=3)
    scene.now += STALE_SECONDS + 600
    scene.tell(btc, events=100_000)
    ((row,), _) = await (await scene.look()).rows("", 10)
    assert row.rate is None


async def test_a_steady_topic_that_falls_silent_is_pointed_out_within_four_seconds() -> None:
    """And no longer once it flows again."""
    scene, btc, eth = Scene(), topic(), topic("ETHUSDT")
    scene.want(btc, eth)
    assert (await scene.pass_by(btc, eth, seconds=5)).quiet == 0
    assert (await scene.pass_by(eth, seconds=2)).quiet == 0
    sight = await scene.pass_by(eth, seconds=2)
    assert (sight.quiet, sight.quiet_names) == (1, [btc.key])
    rows, _ = await sight.rows("", 10)
    assert [(row.status.topic, row.is_quiet) for row in rows] == [(btc, True), (eth, False)]
    assert (await scene.pass_by(btc, eth, seconds=1)).quiet == 0


@pytest.mark.parametrize(
    ("channel", "events"), [(Channel.TRADES, 20), (Channel.TICKER, 1), (Channel.LIQUIDATION, 20)]
)
async def test_what_is_quiet_by_nature_is_not_pointed_out(channel: Channel, events: int) -> None:
    """Trades wait for somebody to trade; a ticker told once a second may take some seconds."""
    scene, one = Scene(), topic(channel=channel)
    scene.want(one)
    await scene.pass_by(one, seconds=5, events=events)
    assert (await scene.pass_by(seconds=5)).quiet == 0


async def test_the_worst_come_first_and_what_nobody_wants_is_left_out() -> None:
    """Stalled, silent, on the way, refused, flowing; all of them are counted."""
    scene = Scene()
    names = ["FLOWS", "REFUSED", "WAITS", "SILENT", "STALLED"]
    flows, refused, waits, silent, stalled = (topic(f"{name}USDT") for name in names)
    scene.want(flows, silent)
    await scene.pass_by(flows, silent, seconds=5)
    scene.want(refused, state=State.REJECTED)
    scene.want(waits, state=State.PENDING)
    scene.want(stalled, state=State.STALLED)
    scene.want(topic("GONEUSDT"), is_desired=False)
    sight = await scene.pass_by(flows, seconds=5)
    rows, fitting = await sight.rows("", 10)
    assert [row.status.topic for row in rows] == [stalled, silent, waits, refused, flows]
    assert fitting == sight.total == 5
    assert sight.counts == {"active": 2, "rejected": 1, "pending": 1, "stalled": 1}


async def test_a_search_looks_at_all_and_shows_no_more_than_asked_for() -> None:
    """Every word has to be in the name, the endpoint or the state."""
    scene = Scene()
    scene.want(*(topic(f"S{number}USDT") for number in range(1000)))
    scene.want(topic("S7777USDT"), state=State.REJECTED)
    sight = await scene.look()
    rows, fitting = await sight.rows("linear s99", 5)
    assert (len(rows), fitting) == (5, 11)
    rows, fitting = await sight.rows("REJECTED usdt", 5)
    assert [row.status.topic.symbol for row in rows] == ["S7777USDT"]
    assert await sight.rows("spot", 5) == ([], 0)


async def test_ten_thousand_topics_are_looked_at_in_slices() -> None:
    """Others have their turn after every few hundred, in the look and in the search."""
    scene, turns = Scene(), 0
    topics = [parse_topic(f"tickers.S{number}USDT", Category.LINEAR) for number in range(10_000)]
    scene.want(*topics)
    scene.tell(*topics)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    sight = await scene.look()
    looked, turns = turns, 0
    _, fitting = await sight.rows("usdt", 1)
    counting.cancel()
    await asyncio.wait({counting})
    slices = 10_000 // SLICE
    assert fitting == 10_000
    assert looked >= slices - 2
    assert turns >= slices - 2
