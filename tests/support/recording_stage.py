"""A recorder and what replays its files, in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from frame_recording import Header, Record, find_files, read_records
from support.feed_stage import clock_us
from support.memory_outlet import MemoryOutlet, envelope_of
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.recording.files import Limits
from ws_gateway.recording.recorder import Recorder
from ws_gateway.replay.player import Player
from ws_gateway.replay.private_facts import ReplayedAccounts
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds

HEADER = Header(software="test", environment="test", begun_at=0)
WIDE = Limits(file_bytes=10**8, file_seconds=3600, total_bytes=10**9)


def recorder_into(
    folder: Path, limits: Limits = WIDE, *, is_private: bool = False, buffer_bytes: int = 10**8
) -> Recorder:
    """Make a recorder; start and close it."""
    header = Header(software="test", environment="test", begun_at=0, is_private=is_private)
    return Recorder(folder, limits, header, clock_us=clock_us, buffer_bytes=buffer_bytes)


@contextmanager
def recording(
    folder: Path, limits: Limits = WIDE, *, is_private: bool = False
) -> Iterator[Recorder]:
    """Record meanwhile."""
    recorder = recorder_into(folder, limits, is_private=is_private)
    recorder.start()
    try:
        yield recorder
        deadline = time.monotonic() + 30
        while recorder._intake.buffer:  # a busy machine takes longer than a gateway that ends may
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        recorder.close()


def recorded(folder: Path) -> list[Record]:
    """Read everything of a folder."""
    return list(read_records(find_files([folder])))


@dataclass
class Replayed:
    """What a replay told."""

    outlet: MemoryOutlet = field(default_factory=MemoryOutlet)
    counters: Counters = field(default_factory=Counters)
    quarantined: list[tuple[str, str, bytes]] = field(default_factory=list)
    player: Player = field(init=False)

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

    def resync(self, topic: Topic) -> None:
        """Pass on what the pipeline asks for."""
        self.player.resync(topic)

    def problems(self) -> list[str]:
        """Show everything to the consumer's checker."""
        checker = ContinuityChecker()
        for event in self.outlet.taken:
            checker.check(envelope_of(event))
        return checker.problems


def replayed(what: Path | list[Record]) -> Replayed:
    """Replay a folder, or records, at once."""
    found = Replayed()
    traces = TraceIds()
    runner = Runner(
        outlet=found.outlet,
        resync=found,
        counters=found.counters,
        epoch="R",
        clock_us=lambda: found.player.now_us,
        new_trace_id=traces,
    )
    account = ReplayedAccounts("main", runner, found, found.counters)
    found.player = Player(runner, found, traces, private_sink=account)
    for record in recorded(what) if isinstance(what, Path) else what:
        found.player.take(record)
    return found


def story(events: list[Event], topic: Topic) -> list[str]:
    """Tell a stream's facts by id and its gaps by reason, in order."""
    told = []
    for event in events:
        if event.observation.topic != topic:
            continue
        if not event.is_marker:
            told.append(event.observation.event_id)
        elif event.observation.kind == "gap":
            told.append("gap " + envelope_of(event)["payload"]["reason"])
    return told
