"""What goes wrong in a soak, in an order that a seed decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
import psutil

from support import outages
from support.outage_stage import OutageStage

LINEAR = "/v5/public/linear"
_BOOK = "orderbook.50.SIM0001USDT"
_TICKER = "tickers.SIM0001USDT"
_HASTE = (4.0, 6.0)
_QUIET = (10.0, 16.0)
_DEEPEST = 2.0
_HELD = 500  # far more than is on its way while all is well


@dataclass(frozen=True, slots=True)
class SoakFault:
    """Something that goes wrong for a while.

    Attributes:
        side: exchange, broker or database.
        seconds: how long, at least and at most.
        begin, end: called at its start and at its end.
        effects: counts how often it took effect; asked before its start and before its end.
    """

    name: str
    side: str
    seconds: tuple[float, float]
    begin: Callable[[OutageStage], Awaitable[None]]
    end: Callable[[OutageStage], Awaitable[None]]
    effects: Callable[[OutageStage], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Turn:
    """A fault's place in the schedule: so many seconds of quiet, then the fault for so many."""

    quiet: float
    fault: SoakFault
    seconds: float


def schedule(seed: int) -> Iterator[Turn]:
    """Go through all faults again and again, each round in another order; same seed, same.

    The first round leaves the high-water marks, and growth is judged after it: so it is in haste,
    and its outages of broker and database last longer than those of the others ever do.
    """
    rng = Random(seed)
    quiet = _HASTE
    is_first = True
    while True:
        order = list(FAULTS)
        rng.shuffle(order)
        for fault in order:
            seconds = rng.uniform(*fault.seconds)
            if is_first and fault.side != "exchange":
                seconds = fault.seconds[1] * _DEEPEST
            yield Turn(rng.uniform(*quiet), fault, seconds)
        quiet, is_first = _QUIET, False


def _venue(
    name: str, seconds: tuple[float, float] = (1, 2), then: str | None = None, **parameters: Any
) -> SoakFault:
    """Describe a fault of the simulator; private sockets stay whole, to be compared with.

    `then` is one that is begun too, because the first shows only by it.
    """
    body = {"path": LINEAR, **parameters}

    async def begin(stage: OutageStage) -> None:
        async with httpx.AsyncClient(base_url=_control(stage), trust_env=False, timeout=30) as http:
            answer = await http.post(f"/sim/faults/{name}", json=body, timeout=30)
            assert answer.status_code == httpx.codes.OK, answer.text
            if then is not None:
                answer = await http.post(f"/sim/faults/{then}", json={"path": LINEAR}, timeout=30)
                assert answer.status_code == httpx.codes.OK, answer.text

    async def end(stage: OutageStage) -> None:
        async with httpx.AsyncClient(base_url=_control(stage), trust_env=False, timeout=30) as http:
            answer = await http.delete(f"/sim/faults/{name}", timeout=30)
            assert answer.status_code == httpx.codes.OK, answer.text

    async def effects(stage: OutageStage) -> int:
        async with httpx.AsyncClient(base_url=_control(stage), trust_env=False, timeout=30) as http:
            return int((await http.get(f"/sim/faults/{name}", timeout=30)).json()["hits"])

    return SoakFault(name, "exchange", seconds, begin, end, effects)


def _control(stage: OutageStage) -> str:
    return stage.venue.url.replace("ws://", "http://")


async def _kill_database(stage: OutageStage) -> None:
    assert stage.postgres is not None
    server = outages.postmaster(stage.postgres._folder)
    for process in (*server.children(recursive=True), server):
        with suppress(psutil.NoSuchProcess):
            process.kill()


async def _start_database(stage: OutageStage) -> None:
    assert stage.postgres is not None
    await stage.postgres.start()


async def _reset(stage: OutageStage) -> None:
    await stage.proxy.cut()
    await asyncio.sleep(0.1)


async def _broker_is_missed(stage: OutageStage) -> int:
    """Say whether the gateway cannot deliver: it says so, or holds more than is on its way."""
    broker = stage.watch.last["broker"]
    return int(broker["status"] != "ready" or broker["buffered_events"] > _HELD)


async def _database_is_missed(stage: OutageStage) -> int:
    """Say whether the gateway says that its database is away."""
    return int(stage.watch.last["database"]["status"] != "ok")


def _broker(
    name: str,
    seconds: tuple[float, float],
    begin: Callable[[OutageStage], Awaitable[None]],
    end: Callable[[OutageStage], Awaitable[None]],
) -> SoakFault:
    return SoakFault(name, "broker", seconds, begin, end, _broker_is_missed)


FAULTS = (
    _venue("drop"),
    _venue("half_open", (30, 40)),
    _venue("stall", (6, 10), topic=_TICKER),
    _venue("update_gap", count=5),
    _venue("duplicate_frame", count=20),
    _venue("reorder_frames", count=3),
    _venue("book_restart", topic=_BOOK),
    _venue("malformed_frame"),
    _venue("refuse_handshake", (3, 6), then="drop", status=429, retry_after_seconds=2),
    _broker("connection reset", (1, 6), _reset, outages.restore),
    _broker("black hole", (3, 8), outages.swallow, outages.restore),
    _broker("frozen", (3, 8), outages.freeze_broker, outages.thaw_broker),
    _broker("killed", (1, 3), outages.kill_broker, outages.start_broker),
    _broker("memory alarm", (3, 6), outages.raise_alarm, outages.clear_alarm),
    SoakFault("killed", "database", (3, 6), _kill_database, _start_database, _database_is_missed),
)
