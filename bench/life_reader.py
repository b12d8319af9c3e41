"""The venue room and the pipeline, up to the bytes for the broker, in a process of their own.

    python bench/life_reader.py reconnect|cost|soak '{…}'

The broker is left out: what is asked here is what sockets and topics cost, and how they come back.
The result goes out on standard output as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import psutil
import structlog
import uvloop

from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.delivery.envelope import Addresses
from ws_gateway.domain.event import Event
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.feed import SessionState
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.venue import shard
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.feed import BybitFeed, Endpoints
from ws_gateway.venue.login import LoginInquiry
from ws_gateway.venue.maintenance import Maintenance
from ws_gateway.venue.messages import args_chars
from ws_gateway.venue.rest import BybitRest
from ws_gateway.venue_hosts import BybitEnvironment

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0
ROUNDS_APART_SECONDS = 3.0  # a connection must have lived for 2 s to be replaced at once
AGAIN_SECONDS = 5.0
WARM_UP_SECONDS = 10.0


@dataclass
class Outlet:
    """Builds what the broker would get, and throws it away.

    Attributes:
        events: how many.
        heard: topics that told a fact since `listen`.
        checker: sees every event, if the events are to be checked.
    """

    checker: ContinuityChecker | None = None
    events: int = 0
    heard: set[Topic] | None = None
    all_heard_at: float = 0.0
    wanted: int = 0
    _addresses: Addresses = field(default_factory=lambda: Addresses("bench", "main"))

    def listen(self, wanted: int) -> None:
        """Note from now on which topics tell something, and when so many have."""
        self.heard, self.all_heard_at, self.wanted = set(), 0.0, wanted

    def offer(self, event: Event) -> bool:
        """Take an event."""
        fact = event.observation
        address = self._addresses.of(fact)
        address.frames(event)
        self.events += 1
        if self.checker is not None:
            self.checker.check(msgspec.json.decode(address.body(event)))
        if self.heard is not None and not event.is_marker:
            self.heard.add(fact.topic)
            if len(self.heard) == self.wanted:
                self.all_heard_at, self.heard = time.monotonic(), None
        return True

    def has_room(self, topic: Topic) -> bool:  # noqa: ARG002 - always
        """There is always room."""
        return True


@dataclass
class Stage:
    """A feed and its pipeline; control, as far as there is any."""

    outlet: Outlet
    feed: BybitFeed = field(init=False)
    active: set[Topic] = field(default_factory=set)
    last_active_at: float = 0.0
    on_loss: Callable[[], None] | None = None

    def resync(self, topic: Topic) -> None:
        """Pass on what the pipeline asks for."""
        self.feed.resync(topic)

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:  # noqa: ARG002
        """Take note of a state."""
        if state is SubscriptionState.ACTIVE:
            self.active.add(topic)
            self.last_active_at = time.monotonic()
        else:
            self.active.discard(topic)
            if self.on_loss is not None:
                self.on_loss()
                self.on_loss = None

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Leave it aside."""


def build(
    stage: Stage,
    ws_url: str,
    *,
    credentials: Credentials | None = None,
    rest: BybitRest | None = None,
    notices: Maintenance | None = None,
) -> None:
    """Put feed and pipeline together, with the settings they have in production."""
    traces = TraceIds()
    runner = Runner(
        outlet=stage.outlet,
        resync=stage,
        counters=Counters(),
        epoch="BENCH",
        clock_us=clock_us,
        new_trace_id=traces,
    )
    doctor = None
    if rest is not None:
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
    context = SessionContext(
        environment="bench",
        sink=runner,
        unreadable=stage,
        observer=stage,
        rng=Random(),
        clock_us=clock_us,
        new_trace_id=traces,
        doctor=doctor,
        notices=notices,
    )
    stage.feed = BybitFeed(Endpoints(ws_url, ws_url), context, credentials=credentials)


def clock_us() -> int:
    """Return Unix time, µs."""
    return time.time_ns() // 1000


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a fact that has no event of its own."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - a bench may poll
            await asyncio.sleep(0.01)


@asynccontextmanager
async def feeding(stage: Stage) -> AsyncIterator[None]:
    """Run the feed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.feed.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            stage.feed.stop()


# ── against the bench's own venue ─────────────────────────────────────────────────────────────


class Venue:
    """The venue's process, and what it told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: dict[str, float] = {}

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def listen(self) -> None:
        """Read what it tells; of each thing only the first since it was last forgotten."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            self.told.setdefault(said["what"], said["at"])


@asynccontextmanager
async def venue_on(port: int) -> AsyncIterator[Venue]:
    """Run the bench's venue."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "life_venue.py"),
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    venue = Venue(process)
    listening = asyncio.create_task(venue.listen())
    try:
        await until(lambda: "serves" in venue.told)
        yield venue
    finally:
        process.terminate()
        await process.wait()
        await listening


def books(count: int) -> list[Topic]:
    """List books with symbols short enough for 1,000 of them on one connection."""
    return [
        build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol=f"S{number:03}", depth=50)
        for number in range(count)
    ]


async def reconnect(*, port: int, topics: int, rate: int, rounds: int) -> dict[str, Any]:
    """Drop a socket with many topics; answers the ms it took, by round."""
    stage, wanted = Stage(Outlet()), books(topics)
    outlet = stage.outlet
    results: dict[str, Any] = {"first_attempt": [], "all_acknowledged": [], "all_flowing": []}
    async with venue_on(port) as venue:
        build(stage, f"ws://127.0.0.1:{port}")
        async with feeding(stage):
            stage.feed.want(wanted)
            await until(lambda: len(stage.active) == topics)
            results["sockets"] = len(stage.feed.connections())
            venue.tell(f"rate {rate}")
            for _ in range(rounds):
                await asyncio.sleep(ROUNDS_APART_SECONDS)
                venue.told.clear()
                outlet.all_heard_at = 0.0
                stage.on_loss = lambda: outlet.listen(topics)
                venue.tell("drop")
                await until(lambda: {"dropped", "asked"} <= venue.told.keys())
                await until(lambda: len(stage.active) == topics and outlet.all_heard_at > 0)
                began = venue.told["dropped"]
                results["first_attempt"].append((venue.told["asked"] - began) * 1000)
                results["all_acknowledged"].append((stage.last_active_at - began) * 1000)
                results["all_flowing"].append((outlet.all_heard_at - began) * 1000)
    return results


async def cost(
    *, port: int, topics: int, sockets: int, rate: int, seconds: float
) -> dict[str, Any]:
    """Read at one rate from so many topics on so many sockets; answers CPU per event."""
    stage, wanted = Stage(Outlet()), books(topics)
    if sockets > 1:  # the venue's limit would take more topics than there are
        per_socket = -(-topics // sockets)
        vars(shard)["MAX_ARGS_CHARS"] = 2 + per_socket * max(args_chars(each) for each in wanted)
    async with venue_on(port) as venue:
        build(stage, f"ws://127.0.0.1:{port}")
        async with feeding(stage):
            stage.feed.want(wanted)
            await until(lambda: len(stage.active) == topics)
            venue.tell(f"rate {rate}")
            await asyncio.sleep(2.0)
            outlet = stage.outlet
            before, cpu, began = outlet.events, time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            events, used = outlet.events - before, time.process_time() - cpu
            return {
                "topics": topics,
                "sockets": len(stage.feed.connections()),
                "rate": events / (time.monotonic() - began),
                "cpu_us": used / max(1, events) * 1e6,
                "rss_mb": rss_mb(),
            }


# ── against the simulator ─────────────────────────────────────────────────────────────────────


def everything(symbols: int) -> list[Topic]:
    """List topics of all kinds, with many of one socket."""
    linear = [f"SIM{number:04}USDT" for number in range(1, symbols + 1)]
    topics = [
        build_topic(channel, category=Category.LINEAR, symbol=symbol)
        for symbol in ["BTCUSDT", "ETHUSDT", *linear]
        for channel in (Channel.ORDERBOOK, Channel.TICKER)
    ]
    topics += [
        build_topic(channel, category=category, symbol="BTCUSDT")
        for category in (Category.SPOT, Category.LINEAR)
        for channel in (Channel.TRADES, Channel.KLINE)
    ]
    topics.append(build_topic(Channel.ORDERBOOK, category=Category.SPOT, symbol="BTCUSDT"))
    private = (Channel.ORDER, Channel.EXECUTION, Channel.POSITION, Channel.BALANCE)
    return [*topics, *(build_topic(channel) for channel in private)]


async def soak(
    *, url: str, rest_url: str, key: str, secret: str, fault: str, given: dict[str, Any],
    needs_a_loss: bool, is_repeated: bool, seconds: float, symbols: int,
) -> dict[str, Any]:  # fmt: skip
    """Live with a fault; answers attempts, memory, and whether all was well at the end."""
    checker = ContinuityChecker(from_start=True)
    stage, wanted = Stage(Outlet(checker=checker)), everything(symbols)
    async with BybitRest(rest_url) as rest:
        notices = Maintenance(
            rest, environment=BybitEnvironment.MAINNET, clock_us=clock_us, rng=Random()
        )
        build(stage, url, credentials=Credentials(key, secret), rest=rest, notices=notices)
        async with feeding(stage):
            reading = asyncio.create_task(notices.run())
            stage.feed.want(wanted)
            await until(lambda: len(stage.active) == len(wanted))
            await asyncio.sleep(WARM_UP_SECONDS)
            start_mb, events, most = rss_mb(), stage.outlet.events, 0
            attempts = (await state(rest_url))["connection_attempts"]["total"]
            cpu, began = time.process_time(), time.monotonic()
            await ask(rest_url, "POST", f"/sim/faults/{fault}", given)
            if needs_a_loss:
                await ask(rest_url, "POST", "/sim/faults/drop", {})
            next_at = time.monotonic() + AGAIN_SECONDS
            while (now := time.monotonic()) < began + seconds:
                await asyncio.sleep(min(1.0, began + seconds - now))
                recent = (await state(rest_url))["connection_attempts"]["last_300_seconds"]
                most = max(most, recent)
                if is_repeated and now >= next_at:
                    next_at = now + AGAIN_SECONDS
                    await ask(rest_url, "POST", f"/sim/faults/{fault}", given)
            used, end_mb = time.process_time() - cpu, rss_mb()
            events = stage.outlet.events - events
            total = (await state(rest_url))["connection_attempts"]["total"] - attempts
            await ask(rest_url, "DELETE", "/sim/faults", None)
            healed = await heals(stage, wanted)
            reading.cancel()
    return {
        "fault": fault,
        "given": given,
        "seconds": seconds,
        "attempts": total,
        "most_attempts_in_300_s": most,
        "rss_start_mb": start_mb,
        "rss_end_mb": end_mb,
        "events": events,
        "cpu_us": used / max(1, events) * 1e6,
        "markers": checker.markers,
        "problems": checker.problems[:5],
        "healed_after_seconds": healed,
    }


async def heals(stage: Stage, wanted: list[Topic]) -> float | None:
    """Ask for what was rejected again, as a user would, and wait; answers the seconds it took."""
    began = time.monotonic()
    stage.feed.want(wanted)

    def is_whole() -> bool:
        streaming = (
            each.connection_status is SessionState.STREAMING for each in stage.feed.connections()
        )
        return len(stage.active) == len(wanted) and all(streaming)

    try:
        async with asyncio.timeout(10 * PATIENCE_SECONDS):
            while not is_whole():  # noqa: ASYNC110 - a bench may poll
                await asyncio.sleep(0.1)
    except TimeoutError:
        return None
    return time.monotonic() - began


async def state(rest_url: str) -> dict[str, Any]:
    """Ask the simulator for its state."""
    answer: dict[str, Any] = await ask(rest_url, "GET", "/sim/state", None)
    return answer


async def ask(rest_url: str, method: str, path: str, body: object) -> Any:
    """Speak to the simulator's control endpoint."""

    def call() -> Any:
        raw = None if body is None else json.dumps(body).encode()
        request = Request(rest_url + path, method=method, data=raw)  # noqa: S310 - our own address
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - same
            return json.loads(answer.read())

    return await asyncio.to_thread(call)


def rss_mb() -> float:
    """Return the memory of this process."""
    return float(psutil.Process(os.getpid()).memory_info().rss / 1e6)


_MODES: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "reconnect": reconnect,
    "cost": cost,
    "soak": soak,
}


async def main() -> None:
    """Run one measurement."""
    print(json.dumps(await _MODES[sys.argv[1]](**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    uvloop.run(main())
