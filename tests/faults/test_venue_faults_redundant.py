"""Two sockets for the same topics, and sockets replaced before they break: nobody notices."""

from __future__ import annotations

import pytest

from support.fault_stage import FaultStage, faulting
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, PRIVATE
from ws_gateway.domain.topic import Category, Channel, build_topic

BOOK, TOP, TICKER = book(), book(depth=1), ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
CANDLES = build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT")
ORDERS, EXECUTIONS = build_topic(Channel.ORDER), build_topic(Channel.EXECUTION)
PUBLIC = (BOOK, TOP, TICKER, TRADES, CANDLES)
LIVELY = (BOOK, TICKER, TRADES)


def sockets(stage: FaultStage, path: str = LINEAR) -> list[str]:
    """List the connections the venue has on a path that it would serve."""
    return [
        each.id for each in stage.venue.connections if each.path == path and not each.socket.is_deaf
    ]


async def two_private(stage: FaultStage, *, without: str = "") -> None:
    """Wait until two private sockets carry two topics each, none of them that one."""

    def are_there() -> bool:
        there = sockets(stage, PRIVATE)
        active = [each.active_subscriptions for each in stage.feed.connections()]
        return len(there) == 2 and without not in there and active == [2, 2]

    await stage.until(are_there, what="two private sockets with all topics")


async def both_carry_all(stage: FaultStage) -> None:
    """Wait until two sockets carry every public topic, and those that are lively flow."""
    stage.feed.want(PUBLIC)
    await stage.hear(*LIVELY)
    await stage.until(
        lambda: (
            [len(each.topics) for each in stage.venue.connections if each.id in sockets(stage)]
            == [len(PUBLIC)] * 2
        ),
        what="two sockets with all topics",
    )


def assert_unnoticed(stage: FaultStage) -> None:
    """Assert no marker, no hole and no fact twice, in any public stream."""
    stage.assert_undisturbed(PUBLIC)
    for topic in PUBLIC:
        assert len(stage.ids(topic)) == len(set(stage.ids(topic))), topic.name


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("drop", {}),
        ("half_open", {}),
        ("update_gap", {"topic": BOOK.name, "count": 5}),
        ("stall", {"topic": TICKER.name, "until": "reconnected"}),
        ("stall", {"topic": BOOK.name, "until": "resubscribed"}),
    ],
)
async def test_one_of_two_sockets_fails(fault: str, given: dict[str, object]) -> None:
    """The other goes on, the first is made good, and then the other may fail."""
    async with faulting(redundancy=2) as stage:
        await both_carry_all(stage)
        for _ in range(2):
            await stage.begin(fault, path=LINEAR, most=1, **given)
            await stage.hear(*LIVELY, count=6)
            await both_carry_all(stage)
            await stage.settle(*LIVELY)
            await both_carry_all(stage)
        assert_unnoticed(stage)


async def test_both_sockets_fail() -> None:
    """That is a loss: one marker per stream, not two."""
    async with faulting(redundancy=2) as stage:
        await both_carry_all(stage)
        await stage.begin("drop", path=LINEAR)
        await stage.until(lambda: stage.breaks(BOOK) != [])
        await stage.settle(*LIVELY)
        assert [stage.breaks(each) for each in PUBLIC] == [["disconnect"]] * len(PUBLIC)


async def test_frames_lost_to_both_sockets() -> None:
    """What neither brings is a hole, found, marked and mended."""
    async with faulting(redundancy=2) as stage:
        await both_carry_all(stage)
        await stage.begin("update_gap", topic=BOOK.name, path=LINEAR, count=2)
        await stage.until(lambda: stage.breaks(BOOK) == ["sequence"])
        await stage.settle(*LIVELY)
        stage.assert_undisturbed([TOP, TICKER, TRADES, CANDLES])


async def test_one_of_two_private_sockets_fails() -> None:
    """Every order is told, and told once."""
    async with faulting(redundancy=2) as stage:
        await stage.flow(ORDERS, EXECUTIONS)
        await two_private(stage)
        for number in range(3):
            stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
            await stage.until(lambda n=number: len(stage.facts(ORDERS)) == 2 * n + 2)  # type: ignore[misc]
            oldest = sockets(stage, PRIVATE)[0]
            await stage.begin("drop", path=PRIVATE, most=1)
            await two_private(stage, without=oldest)
        stage.assert_undisturbed([ORDERS, EXECUTIONS])
        assert len(stage.ids(ORDERS)) == len(set(stage.ids(ORDERS))) == 6


async def test_a_socket_that_came_of_age_is_replaced_without_a_gap() -> None:
    """The new one carries all topics before the old one goes; facts that come twice fall away."""
    async with faulting(max_age=3.0) as stage:
        await stage.flow(*LIVELY)
        (first,) = sockets(stage)
        await stage.until(lambda: len(sockets(stage)) == 1 and sockets(stage) != [first])
        await stage.settle(*LIVELY)
        assert_unnoticed(stage)
        assert stage.attempts() == 2


async def test_a_successor_comes_of_age_too() -> None:
    """Sockets are replaced again and again, not once."""
    async with faulting(max_age=0.7) as stage:
        await stage.flow(*LIVELY)
        await stage.until(lambda: stage.attempts() >= 4)
        await stage.settle(*LIVELY)
        assert_unnoticed(stage)
