"""A simulator, a feed with its pipeline, and one consumer who checks every event as it comes.

Whatever a test does, at its end no stream may have a hole that no marker explains: neither in our
numbers (the consumer's own rule) nor in the venue's update ids (which the consumer does not know).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import msgspec

from bybit_sim import Simulator
from bybit_sim.fault import Fault
from support.feed_stage import PATIENCE_SECONDS, QUICK, STOP_SECONDS, FeedStage, clock_us
from support.memory_outlet import MemoryOutlet
from support.programs import crowd
from support.sim_client import KEY, SECRET, running
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.delivery.envelope import Addresses
from ws_gateway.domain.event import Event
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.login import LoginInquiry
from ws_gateway.venue.maintenance import Maintenance
from ws_gateway.venue.market_past import MarketPast
from ws_gateway.venue.protocol import Timing
from ws_gateway.venue.rest import BybitRest
from ws_gateway.venue_hosts import BybitEnvironment

_POLL_SECONDS = 0.01
_NOTICES_SECONDS = 0.5


@dataclass
class ConsumedOutlet(MemoryOutlet):
    """Shows every event to one consumer, in the bytes he would get from the broker.

    Attributes:
        checker: the consumer's rule; he was there from the start.
        unmarked: a sentence per step in a book's update ids before which no marker stands.
        missed: per topic, update ids that were never told, marked or not.
        marks: per topic, the reasons of its gap markers, in order.
    """

    checker: ContinuityChecker = field(default_factory=lambda: ContinuityChecker(from_start=True))
    unmarked: list[str] = field(default_factory=list)
    missed: Counter[Topic] = field(default_factory=Counter)
    marks: dict[Topic, list[str]] = field(default_factory=lambda: defaultdict(list))
    _addresses: Addresses = field(default_factory=lambda: Addresses("x", "main"))
    _of: dict[Topic, list[Event]] = field(default_factory=lambda: defaultdict(list))
    _updates: dict[Topic, int] = field(default_factory=dict)
    _marked: set[Topic] = field(default_factory=set)

    def offer(self, event: Event) -> bool:
        """Take an event and check it."""
        if not super().offer(event):
            return False
        fact = event.observation
        body = self._addresses.of(fact).body(event)
        envelope = msgspec.json.decode(body)
        self.checker.check(envelope)
        self._of[fact.topic].append(event)
        if event.is_marker:
            self._marked.add(fact.topic)
            if envelope["kind"] == "gap":
                self.marks[fact.topic].append(envelope["payload"]["reason"])
        elif fact.update_id is not None:
            self._follow(fact.topic, fact.update_id)
        return True

    def of(self, topic: Topic) -> list[Event]:
        """List what was taken of one stream."""
        return self._of[topic]

    def _follow(self, topic: Topic, update_id: int) -> None:
        before = self._updates.get(topic)
        self._updates[topic] = update_id
        was_marked = topic in self._marked
        self._marked.discard(topic)
        if before is None or not topic.has_update_ids or update_id == before + 1:
            return
        self.missed[topic] += max(0, update_id - before - 1)
        if not was_marked:
            self.unmarked.append(f"{topic.name}: {before} is followed by {update_id}, unmarked")


@dataclass
class FaultStage(FeedStage):
    """A feed before a simulator that misbehaves on command.

    Attributes:
        venue: the simulator, in this process and on real sockets.
        is_excused: says whether announced maintenance of an endpoint is known to go on.
    """

    venue: Simulator = field(default_factory=Simulator)
    outlet: ConsumedOutlet = field(default_factory=ConsumedOutlet)
    is_excused: Callable[[Endpoint], bool] = lambda _: False

    # ── acting ────────────────────────────────────────────────────────────────────────────────

    async def flow(self, *topics: Topic) -> None:
        """Ask for topics and wait until they flow; private ones speak only when there is news."""
        self.feed.want(topics)
        await self.hear(*(each for each in topics if not each.is_private))
        await self.until(lambda: self.is_active(*topics), what="active topics")

    async def begin(self, name: str, **parameters: Any) -> Fault:
        """Begin a fault of the simulator."""
        return await self.venue.fault(name, **parameters)

    async def until(
        self, holds: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS, what: str = ""
    ) -> None:
        """Wait for a fact that has no event of its own; when it does not come, say how it is."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"{what or 'it'} did not come: {self.picture()}"
            await asyncio.sleep(_POLL_SECONDS)

    async def hear(self, *topics: Topic, count: int = 3, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until each topic told this many more facts."""
        goals = {topic: len(self.facts(topic)) + count for topic in topics}
        await self.until(
            lambda: all(len(self.facts(topic)) >= n for topic, n in goals.items()),
            seconds=seconds,
            what=f"{count} more facts of each topic",
        )

    async def settle(self, *topics: Topic, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for the state a user expects after all: active, streaming, nothing to complain of.

        Public topics must also be heard.
        """
        await self.until(lambda: self.is_whole(*topics), seconds=seconds, what="a sound state")
        await self.hear(*(each for each in topics if not each.is_private), seconds=seconds)
        await self.until(lambda: self.is_whole(*topics), seconds=seconds, what="a sound state")

    async def state(self) -> dict[str, Any]:
        """Ask the simulator for its state, as a user would."""
        async with httpx.AsyncClient(base_url=self.venue.rest_url) as http:
            answer: dict[str, Any] = (await http.get("/sim/state")).json()
            return answer

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def is_whole(self, *topics: Topic) -> bool:
        """Say whether these are active and every connection streams without an error."""
        return self.is_active(*topics) and all(
            each.connection_status is SessionState.STREAMING and each.last_error is None
            for each in self.feed.connections()
        )

    def status(self, category: str = "linear") -> ConnectionStatus:
        """Return the status of the one connection of a category."""
        (found,) = (each for each in self.feed.connections() if each.category == category)
        return found

    def state_of(self, topic: Topic) -> SubscriptionState | None:
        """Return a topic's state, None if nobody wants it."""
        return self.feed.wanted().get(topic)

    def words_of(self, topic: Topic) -> str | None:
        """Return what was last said about a topic when its state changed."""
        return next((words for each, _, words in reversed(self.changes) if each == topic), None)

    def breaks(self, topic: Topic) -> list[str]:
        """List the reasons of a topic's gap markers; the first, of the new process, left out."""
        marks = self.outlet.marks[topic]
        assert marks[:1] in ([], ["restart"]), marks
        return marks[1:]

    def attempts(self) -> int:
        """Count the handshakes the venue saw, refused ones included."""
        return self.venue.connection_attempts

    def asked(self, op: str, path: str | None = None) -> list[list[str]]:
        """List the args of the requests the venue got."""
        return [
            each.message["args"]
            for each in self.venue.requests
            if each.message["op"] == op and path in {None, each.path}
        ]

    def ids(self, topic: Topic) -> list[str]:
        """List the identities of a topic's facts."""
        return [each.observation.event_id for each in self.facts(topic)]

    def payloads(self, topic: Topic) -> list[Any]:
        """List what a topic's facts say."""
        return [msgspec.json.decode(each.observation.payload) for each in self.facts(topic)]

    def assert_breaks(self, wanted: Mapping[Topic, list[str]]) -> None:
        """Assert the markers of each topic, the first one left out."""
        assert {topic: self.breaks(topic) for topic in wanted} == dict(wanted)

    def assert_undisturbed(self, topics: Iterable[Topic]) -> None:
        """Assert that these have neither a marker nor, in a book, a number that is missing."""
        for topic in topics:
            assert self.breaks(topic) == [], topic.name
            assert self.outlet.missed[topic] == 0, topic.name

    def picture(self) -> str:
        """Describe how it is, for a test that fails."""
        states = Counter(state.value for state in self.feed.wanted().values())
        connections = [
            f"{each.name} {each.connection_status} breaker {each.breaker} error {each.last_error}"
            for each in self.feed.connections()
        ]
        marks = Counter(reason for all_ in self.outlet.marks.values() for reason in all_)
        faults = [each.name for each in self.venue.faults.active]
        return (
            f"topics {dict(states)}; {connections or 'no connection'}; markers {dict(marks)}; "
            f"{self.venue.connection_attempts} attempts; active faults {faults}"
        )


def compose(
    stage: FaultStage,
    rest: BybitRest,
    timing: Timing,
    credentials: Credentials | None,
    **more: Any,
) -> Maintenance:
    """Put feed and pipeline before the stage's simulator; the one place that does.

    Returns:
        What is known of announcements, to be run beside the feed.
    """
    notices = Maintenance(
        rest,
        environment=BybitEnvironment.MAINNET,
        clock_us=clock_us,
        rng=Random(7),
        poll_seconds=_NOTICES_SECONDS,
    )
    doctor = LoginInquiry(
        rest, VenueClock(rest, clock_us=clock_us), validity_seconds=timing.login_validity
    )
    if more.pop("fills", False):
        more["past"] = MarketPast(rest, clock_us=clock_us, new_trace_id=TraceIds())
    stage.build(stage.venue.ws_url, timing, credentials, doctor=doctor, notices=notices, **more)
    return notices


@asynccontextmanager
async def faulting(
    *,
    timing: Timing = QUICK,
    secret: str | None = SECRET,
    venue: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[FaultStage]:
    """Run a simulator and a feed; at the end it must stop promptly and leave no hole unexplained.

    Args:
        timing: deadlines of the conversation.
        secret: of the key the simulator knows; None for public data only.
        venue: settings of the simulator.
        more: settings of the sessions; `fills` has gaps filled over REST.
    """
    credentials = None if secret is None else Credentials(KEY, secret)
    async with (
        running(**(venue or {})) as simulator,
        BybitRest(simulator.rest_url) as rest,
    ):
        stage = FaultStage(venue=simulator)
        notices = compose(stage, rest, timing, credentials, **more)
        stage.is_excused = notices.is_ongoing
        async with asyncio.TaskGroup() as group:
            task = group.create_task(stage.feed.run())
            asides = [group.create_task(notices.run())]
            if stage.backfill is not None:
                asides.append(group.create_task(stage.backfill.run()))
            await asyncio.sleep(0)
            try:
                yield stage
            finally:
                started = time.monotonic()
                stage.feed.stop()
                await asyncio.wait([task], timeout=PATIENCE_SECONDS)
                took = time.monotonic() - started
                task.cancel()
                for aside in asides:
                    aside.cancel()
        assert took < STOP_SECONDS * crowd(), f"stopping took {took:.1f} s"
        assert stage.outlet.checker.problems == []
        assert stage.outlet.unmarked == []
