"""A recorder and what replays its files, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frame_recording import Header, Record, find_files, read_records
from support.feed_stage import clock_us
from support.memory_outlet import MemoryOutlet, envelope_of
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.recording.files import Limits
from ws_gateway.recording.recorder import RecordedLine, Recorder
from ws_gateway.replay.player import Player
from ws_gateway.replay.private_facts import ReplayedAccounts
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds

PATH = "/v5/public/linear"
HEADER = Header(software="test", environment="test", begun_at=0)
WIDE = Limits(file_bytes=10**8, file_seconds=3600, total_bytes=10**9)


def recorder_into(
    folder: Path, limits: Limits = WIDE, *, is_private: bool = False, **more: Any
) -> Recorder:
    """Make a recorder; start and close it. More is what a `Recorder` takes."""
    accounts = ("main", "hedge") if is_private else ()
    header = Header(
        software="test", environment="test", begun_at=0, is_private=is_private, accounts=accounts
    )
    return Recorder(folder, limits, header, **{"clock_us": clock_us, "buffer_bytes": 10**8, **more})


@contextmanager
def recording(
    folder: Path, limits: Limits = WIDE, *, is_private: bool = False, **more: Any
) -> Iterator[Recorder]:
    """Record meanwhile."""
    recorder = recorder_into(folder, limits, is_private=is_private, **more)
    recorder.start()
    try:
        yield recorder
        # A busy machine takes longer than a gateway that ends may.
        until_thread(lambda: not recorder._intake.buffer)
    finally:
        recorder.close()


def open_line(recorder: Recorder, name: str = "linear") -> RecordedLine:
    """Open a public connection."""
    line = recorder.open_line(name, PATH, 1, is_private=False)
    assert line is not None
    return line


def frame(number: int, size: int = 100) -> bytes:
    """Make a frame that hardly compresses."""
    noise = b"".join(b"%d" % (number * 7919 * n % 1_000_003) for n in range(size // 6))
    return b'{"topic":"orderbook.50.BTCUSDT","data":"%b"}' % noise


def until_thread(holds: Callable[[], object]) -> None:
    """Wait for the recorder's thread."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
