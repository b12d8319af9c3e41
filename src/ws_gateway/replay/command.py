"""`ws-gateway replay`: recorded frames through decoder, pipeline and delivery once more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

from frame_recording import Record, RecordingFault, find_files, read_records
from ws_gateway.config import Settings
from ws_gateway.delivery.line import PublisherSettings
from ws_gateway.delivery.link import prove_broker
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.publisher import Publisher
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import BrokerLost, ConfigError
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.event_path import EventOutlet, UnreadableSink
from ws_gateway.replay.listing import nothing_fits, recorded_spans
from ws_gateway.replay.outlets import PrintedOutlet, PrintedQuarantine, ReplayedOutlet
from ws_gateway.replay.player import Player
from ws_gateway.replay.private_facts import ReplayedAccounts, recorded_account
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds, new_epoch

STDOUT = "-"

_AT_ONCE = 200  # records between two looks at the event loop
_DRAIN_SECONDS = 60.0
_GOODBYE_SECONDS = 1.0
_STALL_SECONDS = 0.005
_SHORTEST_SLEEP = 0.002
_STEP_US = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and how.

    Attributes:
        places: files, and folders of them.
        since, until: Unix µs.
        speed: 1 is as it was, 0 as fast as possible.
        to: first word of the exchange's and the queues' names, or `-`.
        is_live_allowed: publish into the prefix of the settings too.
    """

    places: list[Path]
    since: int | None
    until: int | None
    speed: float
    to: str
    is_live_allowed: bool


class _LateClock:
    """Closes the ring pipeline → player: both need the other, and the player has the time."""

    player: Player

    def now_us(self) -> int:
        return self.player.now_us

    def resync(self, topic: Topic) -> None:
        self.player.resync(topic)


@dataclass
class _Way:
    """Where events go, and when there is room for more."""

    outlet: EventOutlet
    unreadable: UnreadableSink
    is_full: Callable[[], bool]
    counters: Counters
    late: _LateClock
    report_losses: Callable[[Runner], None] = field(default=lambda _: None)


async def run_replay(settings: Settings, options: ReplayOptions, stop: asyncio.Event) -> None:
    """Replay until the end of the recording or until `stop` is set; then tell what it was.

    Raises:
        ConfigError: nothing can be read, nothing is of that span, or the broker is not there.
        BrokerLost: the broker did not take everything.
    """
    notes: list[str] = []
    started = time.monotonic()
    account = recorded_account(options.places) or settings.account_name
    async with _way(settings, options, account) as way:
        new_trace_id = TraceIds()
        runner = Runner(
            outlet=ReplayedOutlet(way.outlet),
            resync=way.late,
            counters=way.counters,
            epoch=new_epoch(time.time_ns() // 1_000_000),
            clock_us=way.late.now_us,
            new_trace_id=new_trace_id,
        )
        way.report_losses(runner)
        accounts = ReplayedAccounts(account, runner, way.unreadable, way.counters)
        player = Player(runner, way.unreadable, new_trace_id, private_sink=accounts)
        way.late.player = player
        try:
            paths = find_files(options.places)
            records = read_records(paths, options.since, options.until, notes)
            first = next(records, None)
            pace = _Pace(options.speed, stop)
            if first is not None:
                await _play(first, player, pace, way)
            elif options.since is not None or options.until is not None:
                raise nothing_fits(recorded_spans(options.places))
            for record in records:
                if stop.is_set():
                    break
                await _play(record, player, pace, way)
        except RecordingFault as exc:
            raise ConfigError("FILE", str(exc), "name files that `replay --list` can read") from exc
        except BrokenPipeError:  # `replay … | head`: the reader has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    if player.passed_over:
        sys.stderr.write(
            f"note: {player.passed_over} sent frames are no requests; what they asked for is not"
            " known, and its frames are unreadable\n"
        )
    counters = way.counters
    gaps = ", ".join(f"{count} {reason}" for reason, count in sorted(counters.gaps.items()))
    sys.stderr.write(
        f"replayed {player.frames} frames as {counters.received} events in"
        f" {time.monotonic() - started:.1f} s; gaps: {gaps or 'none'}; unreadable:"
        f" {sum(counters.quarantined.values()) or getattr(way.unreadable, 'counted', 0)};"
        f" missing from the recording: {player.missing}\n"
    )


async def _play(record: Record, player: Player, pace: _Pace, way: _Way) -> None:
    await pace.wait(record.at)
    while way.is_full() and not pace.is_stopped:  # noqa: ASYNC110 - the outbox has no event for it
        await asyncio.sleep(_STALL_SECONDS)
    if not pace.is_stopped:
        player.take(record)


class _Pace:
    """Lets time pass as it did, or faster, until it is stopped."""

    def __init__(self, speed: float, stop: asyncio.Event) -> None:
        self._speed = speed
        self._stop = stop
        self._began: tuple[float, int] | None = None
        self._last = 0
        self._played = 0

    @property
    def is_stopped(self) -> bool:
        """Say whether a person has seen enough."""
        return self._stop.is_set()

    async def wait(self, at: int) -> None:
        """Wait until a record of that time is due."""
        self._played += 1
        now = time.monotonic()
        if self._began is None or at < self._last - _STEP_US:
            self._began = (now, at)  # at a clock that was set back, time begins anew
        self._last = at
        if not self._speed:
            if self._played % _AT_ONCE == 0:
                await asyncio.sleep(0)
            return
        due = self._began[0] + (at - self._began[1]) / 1e6 / self._speed
        if due - now > _SHORTEST_SLEEP:
            sys.stdout.flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), due - now)
        elif self._played % _AT_ONCE == 0:
            await asyncio.sleep(0)


@asynccontextmanager
async def _way(settings: Settings, options: ReplayOptions, account: str) -> AsyncIterator[_Way]:
    late = _LateClock()
    if options.to == STDOUT:
        outlet = PrintedOutlet(account)
        yield _Way(outlet, PrintedQuarantine(late.now_us), lambda: False, Counters(), late)
        return
    if options.to == settings.amqp_prefix and not options.is_live_allowed:
        raise ConfigError(
            "--to",
            f"{options.to!r} is the prefix of the live gateway (WSG_AMQP_PREFIX)",
            "name another one, whose queues nobody trades by, or add --into-live",
        )
    url = settings.amqp_url.get_secret_value()
    try:
        await prove_broker(url)
    except BrokerLost as exc:
        raise ConfigError(
            "WSG_AMQP_URL", f"RabbitMQ cannot be used ({exc})", "start it, or correct the URL"
        ) from exc
    async with _published(settings, options.to, late, account) as way:
        yield way


@asynccontextmanager
async def _published(
    settings: Settings, prefix: str, late: _LateClock, account: str
) -> AsyncIterator[_Way]:
    counters = Counters()
    outbox = Outbox(max_events=settings.buffer_max_events, max_bytes=settings.buffer_max_bytes)
    publisher = Publisher(
        PublisherSettings(
            url=settings.amqp_url.get_secret_value(),
            names=Names(prefix),
            queue_type=settings.queue_type,
            account=account,
            window=settings.publish_window,
            deadline_seconds=settings.publish_deadline_seconds,
        ),
        outbox=outbox,
        counters=counters,
        rng=SystemRandom(),
        clock_us=lambda: time.time_ns() // 1000,
    )
    # A replay can wait, which a market cannot: nothing is shed.
    most = min(settings.publish_window, settings.buffer_max_events // 20)
    running = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield _Way(
            publisher,
            Quarantine(publisher, counters=counters, clock_us=late.now_us),
            lambda: outbox.messages >= most and not running.done(),
            counters,
            late,
            publisher.report_losses_to,
        )
        if running.done():
            running.result()  # a defect, which is to be seen
        if not await publisher.drain(_DRAIN_SECONDS):
            raise BrokerLost(f"{outbox.messages} events were not confirmed")
    finally:
        await publisher.close(_GOODBYE_SECONDS)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
