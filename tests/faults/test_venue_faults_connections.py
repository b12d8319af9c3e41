"""Faults of connecting and of connections: the feed comes back, says so, and is gentle."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from support.fault_stage import FaultStage, faulting
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, SPOT
from ws_gateway.domain.topic import Category
from ws_gateway.runtime.breaker import BreakerState

BOOK, TICKER = book(), ticker("BTCUSDT")
SPOT_BOOK = book(category=Category.SPOT)
BOTH = (BOOK, TICKER)
LOST_ONCE = {BOOK: ["disconnect"], TICKER: ["disconnect"]}


def assert_replaced_once(stage: FaultStage) -> None:
    """Assert one new connection in place of the old one, one marker per topic, and no complaint."""
    stage.assert_breaks(LOST_ONCE)
    assert stage.attempts() == 2
    status = stage.status()
    assert (status.reconnection_count, status.last_error) == (1, None)
    assert status.active_subscriptions == 2


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 4000])
async def test_drop(code: int | None) -> None:
    """With a close frame or without: one reconnect, everything asked again, a marker each."""
    goodbye = {} if code is None else {"close_frame": True, "code": code}
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("drop", path=LINEAR, **goodbye)
        await stage.settle(*BOTH)
        assert_replaced_once(stage)


async def test_drop_of_one_category_leaves_the_others_alone() -> None:
    """The spot book flows on, on its socket, while linear comes back."""
    async with faulting() as stage:
        await stage.flow(SPOT_BOOK, *BOTH)
        (spot,) = (each.id for each in stage.venue.connections if each.path == SPOT)
        await stage.begin("drop", path=LINEAR)
        await stage.settle(SPOT_BOOK, *BOTH)
        stage.assert_breaks(LOST_ONCE)
        stage.assert_undisturbed([SPOT_BOOK])
        assert [each.id for each in stage.venue.connections if each.path == SPOT] == [spot]


async def test_drop_again_and_again() -> None:
    """A venue that answers and soon drops is not hammered: living for a moment proves nothing."""
    async with faulting(backoff_base=0.1, backoff_cap=0.5) as stage:
        await stage.flow(*BOTH)
        await stage.begin("drop", path=LINEAR, count=None, every_seconds=0.1)
        await asyncio.sleep(1.5)
        await stage.until(lambda: stage.attempts() >= 2)
        assert stage.attempts() <= 20
        stage.venue.clear_faults()
        await stage.settle(*BOTH)
        assert set(stage.breaks(BOOK)) == {"disconnect"}


async def test_half_open() -> None:
    """No close, no data: the pong's deadline ends it, and a new socket takes over."""
    async with faulting() as stage:
        await stage.flow(SPOT_BOOK, *BOTH)
        fault = await stage.begin("half_open", path=LINEAR)
        assert fault.hits == 1
        await stage.until(lambda: stage.breaks(TICKER) == ["disconnect"])
        await stage.settle(SPOT_BOOK, *BOTH)
        stage.venue.clear_faults()
        await stage.hear(*BOTH)
        stage.assert_breaks(LOST_ONCE)
        stage.assert_undisturbed([SPOT_BOOK])
        assert stage.attempts() == 3


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_refuse_handshake(status: int) -> None:
    """A venue that refuses is tried with growing delays until it takes the connection."""
    async with faulting() as stage:
        await stage.begin("refuse_handshake", status=status, retry_after_seconds=0)
        stage.feed.want(BOTH)
        await asyncio.sleep(0.8)
        await stage.until(lambda: stage.attempts() >= 2 and bool(stage.status().last_error))
        words = stage.status().last_error
        assert words is not None
        assert str(status) in words
        assert stage.attempts() <= 40
        stage.venue.clear_faults()
        await stage.settle(*BOTH)
        stage.assert_undisturbed(BOTH)


@pytest.mark.parametrize("status", [403, 429])
async def test_refuse_handshake_with_retry_after(status: int) -> None:
    """Nobody knocks before the time the venue named is over, and the wait is shown."""
    async with faulting() as stage:
        await stage.begin("refuse_handshake", status=status, retry_after_seconds=1, count=1)
        stage.feed.want(BOTH)
        await stage.until(lambda: stage.status().last_error is not None)
        assert stage.status().retry_at is not None
        await stage.settle(*BOTH)
        first, second = stage.venue.attempt_times
        assert second - first >= 1.0
        assert stage.status().retry_at is None


async def test_refuse_handshake_opens_the_breaker() -> None:
    """After enough failures attempts pause; one tries, and then all is as ever."""
    async with faulting() as stage:
        await stage.begin("refuse_handshake", path=LINEAR)
        await stage.flow(SPOT_BOOK)
        stage.feed.want(BOTH)
        await stage.until(lambda: stage.status().breaker is BreakerState.OPEN)
        assert stage.status().retry_at is not None
        assert stage.status("spot").breaker is BreakerState.CLOSED
        stage.venue.clear_faults()
        await stage.settle(SPOT_BOOK, *BOTH)
        await stage.until(lambda: stage.status().breaker is BreakerState.CLOSED)
        stage.assert_undisturbed([SPOT_BOOK])


async def test_slow_handshake() -> None:
    """One that is answered within the deadline is waited for: one attempt, no complaint."""
    async with faulting(handshake_deadline_seconds=20.0) as stage:
        await stage.begin("slow_handshake", delay_seconds=0.4)
        await stage.flow(*BOTH)
        assert stage.attempts() == 1
        assert stage.status().last_error is None


async def test_slow_handshake_beyond_the_deadline() -> None:
    """It is given up, said why, tried again, and leaves no second socket behind."""
    async with faulting(handshake_deadline_seconds=0.3) as stage:
        await stage.begin("slow_handshake", delay_seconds=0.6)
        stage.feed.want(BOTH)
        await stage.until(lambda: stage.status().last_error is not None)
        assert "no answer to the handshake in 0.3 s" in str(stage.status().last_error)
        stage.venue.clear_faults()
        await stage.settle(*BOTH)
        await asyncio.sleep(0.6)
        await stage.until(lambda: len(stage.venue.connections) == 1)
        stage.assert_undisturbed(BOTH)


@pytest.mark.parametrize("after", [0.0, 0.03])
async def test_accept_then_drop(after: float) -> None:
    """An open socket, or a first answer, is no progress: the delays grow as if it were refused."""
    async with faulting(backoff_base=0.1, backoff_cap=0.5) as stage:
        await stage.begin("accept_then_drop", after_seconds=after)
        stage.feed.want(BOTH)
        await asyncio.sleep(1.5)
        await stage.until(lambda: stage.attempts() >= 2)
        assert stage.attempts() <= 20
        stage.venue.clear_faults()
        await stage.settle(*BOTH)
        assert set(stage.breaks(BOOK)) <= {"disconnect"}


async def test_connection_limit() -> None:
    """Refused for too many connections it waits, with growing delays, until it is let in."""
    async with faulting(backoff_base=0.1, backoff_cap=0.5) as stage:
        limit = await stage.begin("connection_limit", most=2, window_seconds=1.2)
        await stage.flow(*BOTH)
        await stage.begin("drop", path=LINEAR)
        await stage.until(lambda: stage.breaks(TICKER) == ["disconnect"])
        await stage.settle(*BOTH)
        await stage.begin("drop", path=LINEAR)
        await stage.until(lambda: limit.hits > 0)
        await stage.until(lambda: "403" in str(stage.status().last_error))
        await stage.settle(*BOTH)
        assert stage.attempts() <= 20
        stage.assert_breaks({topic: ["disconnect", "disconnect"] for topic in BOTH})


async def test_refuse_handshake_for_long_stays_within_the_budget() -> None:
    """However quick the delays, attempts over all connections stay far below the venue's limit."""
    async with faulting(backoff_base=0.001, backoff_cap=0.002) as stage:
        await stage.begin("refuse_handshake")
        stage.feed.want([SPOT_BOOK, *BOTH])
        await asyncio.sleep(2.0)
        assert stage.attempts() <= 100
        times = list(stage.venue.attempt_times)
        pauses = [b - a for a, b in itertools.pairwise(times)]
        assert max(pauses[-3:]) > min(pauses[:3])
