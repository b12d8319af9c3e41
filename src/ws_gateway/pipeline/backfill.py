"""Gaps in trades and candles, filled over REST before `resumed` as far as it reaches.

Behind a gap marker the first live facts wait for a moment, bounded in time and number, until what
came before them was read; then all are told in order (decision 32). Other topics wait for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import structlog

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.pipeline.runner import Runner
from ws_gateway.pipeline.stream import BACKFILLED
from ws_gateway.ports.event_path import MarketPast, Missed
from ws_gateway.runtime.counters import BackfillTally

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HOLD_SECONDS = 2.0
"""How long the first live facts behind a gap wait for REST at most."""

_SPARE_SECONDS = 0.1
"""So long before that what was had is to be in hand, to be told in time."""

_READERS = 4
_LINE_SECONDS = 1.0
"""Gaps that end within it share a line of log."""

_MOST_HELD = 5_000
_MOST_HELD_BYTES = 16 * 1024 * 1024

_WORDS = {
    "turn": "too many streams came back at once",
    "slow": f"REST did not answer within {HOLD_SECONDS:g} s",
    "room": "there was no room for what came meanwhile",
    "stop": "the gateway stops",
    "dropped": "it was unsubscribed",
}


@dataclass(slots=True, eq=False)
class _Gap:
    """One topic's open gap.

    Attributes:
        held: what came behind it; a further break begins a further stretch.
        said: what became of earlier stretches.
        is_whole: none of them lacks anything.
        began: when the first fact of the present stretch came, s.
        late: ends the waiting of those whose turn does not come.
    """

    topic: Topic
    held: deque[list[Observation]] = field(default_factory=lambda: deque([[]]))
    said: list[str] = field(default_factory=list)
    is_whole: bool = True
    began: float = 0.0
    late: asyncio.TimerHandle | None = None


class Backfill:
    """Stands before the pipeline and hears of breaks; `run` reads what was missed.

    Args:
        runner: the pipeline.
        past: who knows what was missed.
        tally: where it is counted.
        hold_seconds: how long facts wait at most.
    """

    def __init__(
        self,
        runner: Runner,
        past: MarketPast,
        *,
        tally: BackfillTally,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._runner = runner
        self._past = past
        self._tally = tally
        self._hold_seconds = hold_seconds
        self._gaps: dict[str, _Gap] = {}
        self._due: asyncio.Queue[tuple[_Gap, list[Observation]]] = asyncio.Queue()
        self._held = 0
        self._held_bytes = 0
        self._is_stopped = False
        # What one burst of gaps came to, for one line of log.
        self._filled = self._rows = 0
        self._unfilled: dict[str, int] = {}
        self._line: asyncio.TimerHandle | None = None
        # Facts go past here untouched: behind a gap the runner hands them over.
        self.accept = runner.accept
        self.suppress = runner.suppress
        self.last_update_id = runner.last_update_id

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts are being missed from now on; they will be asked for over REST."""
        broken = list(topics)
        if not is_announced:
            for topic in broken:
                self._give_up_all(topic, "dropped")
        self._runner.break_streams(broken, reason, detail, is_announced=is_announced)
        if is_announced and not self._is_stopped:
            for topic in broken:
                if topic.channel in BACKFILLED:
                    self._await(topic)

    async def run(self) -> None:
        """Read what was missed until cancelled, a few streams at a time."""
        async with asyncio.TaskGroup() as readers:
            for number in range(_READERS):
                readers.create_task(self._read_in_turn(), name=f"backfill {number}")

    def stop(self) -> None:
        """Hold nothing back any more."""
        self._is_stopped = True
        for gap in list(self._gaps.values()):
            self._give_up_all(gap.topic, "stop")
        if self._line is not None:
            self._line.cancel()
            self._sum_up()

    # ── what is held ──────────────────────────────────────────────────────────────────────────

    def _await(self, topic: Topic) -> None:
        """Hold what comes behind a gap of this topic, if it is known from where on it lacks."""
        gap = self._gaps.get(topic.key)
        if gap is not None:
            if gap.held[-1]:
                gap.held.append([])
        elif self._runner.newest(topic) is not None:
            gap = self._gaps[topic.key] = _Gap(topic)
            self._runner.detour(topic, partial(self._take, gap))

    def _take(self, gap: _Gap, fact: Observation) -> None:
        stretch = gap.held[-1]
        stretch.append(fact)
        self._held += 1
        self._held_bytes += len(fact.payload)
        if self._held > _MOST_HELD or self._held_bytes > _MOST_HELD_BYTES:
            self._give_up_all(gap.topic, "room")
        elif len(gap.held) == 1 and len(stretch) == 1:
            self._ask(gap)

    def _ask(self, gap: _Gap) -> None:
        """Have read what is missing before the first fact held; without need tell it at once."""
        last, stretch = self._runner.newest(gap.topic), gap.held[0]
        if last is None or self._past.follows(last, stretch[0]):
            self._end(gap, Missed([], 0, ""), "no candle closed meanwhile", is_whole=True)
            return
        loop = asyncio.get_running_loop()
        gap.began = loop.time()
        gap.late = loop.call_later(self._hold_seconds, self._give_up, gap, stretch, "turn")
        self._due.put_nowait((gap, stretch))

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def _read_in_turn(self) -> None:
        while True:
            gap, stretch = await self._due.get()
            if self._is_waiting(gap, stretch):
                await self._read(gap, stretch)

    async def _read(self, gap: _Gap, stretch: list[Observation]) -> None:
        if gap.late is not None:
            gap.late.cancel()
        try:
            async with asyncio.timeout_at(gap.began + self._hold_seconds):
                missed = await self._patiently(gap, stretch)
        except TimeoutError:
            self._give_up(gap, stretch, "slow")
        except VenueLost as exc:
            reason = "turn" if exc.reason == "budget" else "rest"
            self._give_up(gap, stretch, reason, exc.detail)
        except Rejected as exc:
            self._give_up(gap, stretch, "rest", str(exc))
        else:
            if self._is_waiting(gap, stretch):
                self._fill(gap, missed)

    async def _patiently(self, gap: _Gap, stretch: list[Observation]) -> Missed:
        """Read what is missing; a venue that wants to be asked a moment later is."""
        ends_at = gap.began + self._hold_seconds
        while True:
            last = self._runner.newest(gap.topic)
            if last is None:
                return Missed([], 0, "")
            try:
                return await self._past.between(
                    last,
                    stretch[0],
                    ends_at - _SPARE_SECONDS,
                    others=lambda: (*self._runner.lately(gap.topic), *stretch[1:]),
                )
            except VenueLost as exc:
                pause = exc.retry_after_seconds
                if pause is None or asyncio.get_running_loop().time() + pause >= ends_at:
                    raise
            await asyncio.sleep(pause)

    def _is_waiting(self, gap: _Gap, stretch: list[Observation]) -> bool:
        """Say whether nobody gave up on it meanwhile."""
        return self._gaps.get(gap.topic.key) is gap and gap.held[0] is stretch

    # ── telling ───────────────────────────────────────────────────────────────────────────────

    def _fill(self, gap: _Gap, missed: Missed) -> None:
        self._tally.waits.of("done").observe(asyncio.get_running_loop().time() - gap.began)
        what = "trade" if gap.topic.event_class == "trade" else "candle"
        count = f"{missed.rows} {what}{'' if missed.rows == 1 else 's'}"
        said = (
            f"back-filled over REST: {count}"
            if missed.rows
            else "REST has nothing between the last told and the next"
        )
        if missed.lacking:
            said = f"{said}; {missed.lacking}"
            self._count(missed.reason)
        else:
            self._filled += 1
        self._rows += missed.rows
        self._end(gap, missed, said, is_whole=not missed.lacking)

    def _give_up(self, gap: _Gap, stretch: list[Observation], reason: str, why: str = "") -> None:
        """Go on without what was missed."""
        if self._is_waiting(gap, stretch):
            self._tally.waits.of("failed").observe(
                asyncio.get_running_loop().time() - gap.began if gap.began else 0.0
            )
            self._count(reason)
            self._end(
                gap, Missed([], 0, ""), f"not back-filled: {why or _WORDS[reason]}", is_whole=False
            )

    def _give_up_all(self, topic: Topic, reason: str) -> None:
        """Hold nothing of a topic any more, whatever it still lacks."""
        gap = self._gaps.get(topic.key)
        if gap is None:
            return
        gap.held = deque([list(chain.from_iterable(gap.held))])
        if gap.held[0]:
            self._give_up(gap, gap.held[0], reason)
        else:
            self._forget(gap)

    def _end(self, gap: _Gap, missed: Missed, said: str, *, is_whole: bool) -> None:
        """Tell what was read, then what was held; the next stretch is read by itself."""
        if gap.late is not None:
            gap.late.cancel()
        topic, runner, held = gap.topic, self._runner, gap.held.popleft()
        runner.detour(topic, None)
        runner.hold([topic])
        untold = self._tell(topic, missed)
        gap.said.append(f"{said}; no room for {untold} events of it" if untold else said)
        gap.is_whole = gap.is_whole and is_whole and not untold
        if not gap.held:
            self._forget(gap)
            said = f"data flows; {'; then '.join(gap.said)}"
            runner.resume([topic], said, is_complete=gap.is_whole)
        self._held -= len(held)
        self._held_bytes -= sum(len(fact.payload) for fact in held)
        for fact in held:
            runner.accept(fact)
        if not gap.held:
            if self._line is None:
                self._line = asyncio.get_running_loop().call_later(_LINE_SECONDS, self._sum_up)
            return
        runner.detour(topic, partial(self._take, gap))
        gap.began = 0.0
        if gap.held[0]:
            self._ask(gap)

    def _tell(self, topic: Topic, missed: Missed) -> int:
        """Tell what was read while there is room; answers how much there was none for."""
        for told, fact in enumerate(missed.facts):
            if not self._runner.has_room(topic):
                self._count("room")
                return len(missed.facts) - told
            self._runner.accept(fact)
            self._tally.events[topic.event_class.value] += 1
        return 0

    def _forget(self, gap: _Gap) -> None:
        self._gaps.pop(gap.topic.key, None)
        self._runner.detour(gap.topic, None)
        self._runner.release([gap.topic])

    # ── what is said of it ────────────────────────────────────────────────────────────────────

    def _count(self, reason: str) -> None:
        self._tally.lacking[reason] += 1
        self._unfilled[reason] = self._unfilled.get(reason, 0) + 1

    def _sum_up(self) -> None:
        """Write one line about the gaps that ended of late."""
        self._line = None
        if not (self._filled or self._unfilled):
            return
        tell = log.warning if self._unfilled else log.info
        tell(
            "pipeline.backfilled",
            filled=self._filled,
            rows=self._rows,
            unfilled=dict(self._unfilled),
        )
        self._filled = self._rows = 0
        self._unfilled = {}
