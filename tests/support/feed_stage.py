"""A feed before a real simulator, with everything it says kept in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any

from support.contract import assert_message
from support.memory_outlet import MemoryOutlet, envelope_of
from support.programs import crowd
from support.sim_client import KEY, SECRET, eventually
from ws_gateway.account.stage import AccountStage
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.domain.balance import BalanceRecord
from ws_gateway.domain.event import Event
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.backfill import Backfill
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.feed import ConnectionStatus
from ws_gateway.runtime.counters import BackfillTally, Counters
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.venue.attempts import Spacing
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.feed import BybitFeed, Endpoints
from ws_gateway.venue.protocol import Timing
from ws_gateway.venue.succession import Replacing

QUICK = Timing(
    ping_interval=0.1,
    pong_deadline=1.0,
    ack_deadline=1.5,
    login_deadline=1.5,
    login_validity=8.0,
    first_data_deadline=2.0,
    stall_check_interval=0.1,
    stall_scale=0.1,
    stall_retry=1.0,
    stall_retry_cap=4.0,
)
QUICK_SPACING = Spacing(
    backoff_base=0.02,
    backoff_cap=0.2,
    settled=1.0,
    login_pause=0.3,
    login_pause_cap=2.0,
    refused_pause=0.2,
    breaker_pause=0.5,
)
QUICK_REPLACING = Replacing(
    settle_deadline=3.0, hear_out_deadline=1.0, linger=0.5, pause=1.0, pause_cap=4.0
)
PATIENT = Timing()
PATIENCE_SECONDS = 30.0
STOP_SECONDS = 4.0
"""Far less than any deadline that a stop could wait for, and far more than a machine stalls."""


@dataclass
class FeedStage:
    """A feed, what stands between it and the pipeline for private facts, and the pipeline.

    Attributes:
        outlet: what the pipeline gave to delivery.
        balances: rows that were to be stored.
        changes: states reported of topics, in order.
        quarantined: what could not be read, as (reason, origin, raw).
    """

    outlet: MemoryOutlet = field(default_factory=MemoryOutlet)
    counters: Counters = field(default_factory=Counters)
    changes: list[tuple[Topic, SubscriptionState, str | None]] = field(default_factory=list)
    quarantined: list[tuple[str, str, bytes]] = field(default_factory=list)
    balances: list[BalanceRecord] = field(default_factory=list)
    feed: BybitFeed = field(init=False)
    runner: Runner = field(init=False)
    backfill: Backfill | None = None
    filling: BackfillTally = field(default_factory=BackfillTally)

    def build(
        self,
        url: str,
        timing: Timing,
        credentials: Credentials | Sequence[Credentials] | None,
        **more: Any,
    ) -> None:
        """Put feed and runner together.

        More may name fields of `Spacing`, `Replacing` and `SessionContext`, and `redundancy`; with
        `past`, gaps are filled from there, and live facts wait for `hold_seconds` at most.
        """
        spacing, replacing = QUICK_SPACING, QUICK_REPLACING
        redundancy = more.pop("redundancy", 1)
        past, hold = more.pop("past", None), more.pop("hold_seconds", PATIENCE_SECONDS)
        spacing = replace(spacing, **_taken(more, spacing))
        replacing = replace(replacing, **_taken(more, replacing))
        traces = TraceIds()
        self.runner = Runner(
            outlet=self.outlet,
            resync=self,
            counters=self.counters,
            epoch="E",
            clock_us=clock_us,
            new_trace_id=traces,
        )
        if past is not None:
            self.backfill = Backfill(self.runner, past, tally=self.filling, hold_seconds=hold)
        context = SessionContext(
            environment="testnet",
            sink=self.backfill or self.runner,
            unreadable=self,
            observer=self,
            rng=Random(5),
            clock_us=clock_us,
            new_trace_id=traces,
            spacing=spacing,
            timing=timing,
            private_sink=AccountStage(
                "main",
                sink=self.runner,
                unreadable=self,
                keeper=self,
                counters=self.counters,
                monotonic=time.monotonic,
            ),
            **more,
        )
        self.feed = BybitFeed(
            Endpoints(url, url),
            context,
            credentials=credentials,
            redundancy=redundancy,
            replacing=replacing,
        )

    def resync(self, topic: Topic) -> None:
        """Pass on what the pipeline asks for."""
        self.feed.resync(topic)

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Keep rows."""
        self.balances += records

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Take note of a new state."""
        self.changes.append((topic, state, error))

    def quarantine(
        self,
        *,
        reason: str,
        origin: str,
        detail: str,  # noqa: ARG002
        raw: bytes,
        trace_id: str,  # noqa: ARG002
    ) -> None:
        """Keep what could not be read."""
        self.quarantined.append((reason, origin, raw))

    def connection(self, category: str) -> ConnectionStatus | None:
        """Return the status of one connection."""
        return next((each for each in self.feed.connections() if each.category == category), None)

    def is_active(self, *topics: Topic) -> bool:
        """Say whether all of them are active."""
        states = self.feed.wanted()
        return all(states.get(topic) is SubscriptionState.ACTIVE for topic in topics)

    def facts(self, topic: Topic) -> list[Event]:
        """List the events of a topic that are no markers."""
        return [event for event in self.outlet.of(topic) if not event.is_marker]

    def gaps(self, topic: Topic) -> list[str]:
        """List the reasons of a topic's gap markers."""
        envelopes = [envelope_of(each) for each in self.outlet.of(topic) if each.is_marker]
        return [each["payload"]["reason"] for each in envelopes if each["kind"] == "gap"]

    async def more(self, topics: Iterable[Topic], count: int = 3) -> None:
        """Wait until each topic told this many more facts."""
        goals = {topic: len(self.facts(topic)) + count for topic in topics}
        await eventually(lambda: all(len(self.facts(topic)) >= n for topic, n in goals.items()))

    def problems(self) -> list[str]:
        """Show everything to the consumer's checker."""
        checker = ContinuityChecker()
        for event in self.outlet.taken:
            envelope = envelope_of(event)
            assert_message(envelope)
            checker.check(envelope)
        return checker.problems


def _taken(more: dict[str, Any], of: Spacing | Replacing) -> dict[str, Any]:
    names = [each.name for each in fields(of) if each.name in more]
    return {name: more.pop(name) for name in names}


def clock_us() -> int:
    """Return Unix time, µs."""
    return time.time_ns() // 1000


@asynccontextmanager
async def feeding(
    url: str, *, timing: Timing = PATIENT, secret: str | None = SECRET, **more: Any
) -> AsyncIterator[FeedStage]:
    """Run a feed against a venue; at the end it must stop promptly, whatever its state.

    More is what `build` takes, and `further`: credentials of further accounts.
    """
    stage = FeedStage()
    further = more.pop("further", ())
    pairs = None if secret is None else (Credentials(KEY, secret), *further)
    stage.build(url, timing, pairs, **more)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stage.feed.run())
        await asyncio.sleep(0)
        try:
            yield stage
        finally:
            started = time.monotonic()
            stage.feed.stop()
            await asyncio.wait([task], timeout=PATIENCE_SECONDS)
            took = time.monotonic() - started
            task.cancel()
    assert took < STOP_SECONDS * crowd(), f"stopping took {took:.1f} s"
