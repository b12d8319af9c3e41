"""What a soak saw, and whether it is well: nothing grows or is lost, and enough was tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from support.slopes import Slope, fit

EVENTS_PER_MINUTE = 9_000  # a third of what the load makes, for machines that others use too
FACTS_PER_MINUTE = 1_000
SAMPLES_PER_SECOND = 0.5
LOOKS_PER_SECOND = 1.0
CALM_SAMPLES = 60
STRETCHES = 6
_STRETCH_SAMPLES = 3
_STRETCH_GAP_SECONDS = 5.0
_DEEPER = 1.25  # an outage that held so much more than any before leaves a mark of its own

ID_BYTES = 93.0
ORDER_BYTES = 368.0
IDS_KEPT, ORDERS_KEPT = 50_000, 20_000
"""What the gateway remembers to know again what it told, and what that takes; a test compares."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How fast something may grow, in units per hour.

    Attributes:
        per_hour: so fast, and by the noise of the line more.
        step: it comes in pieces of this size, so one over all is noise.
        most_noise: beyond this the line says nothing, and a run that says nothing is not well.
    """

    name: str
    unit: str
    per_hour: float
    step: float
    most_noise: float


MEMORY = Bound("memory", "MB", 10.0, 1.0, 25.0)  # Python takes it from the system by the megabyte
DESCRIPTORS = Bound("descriptors", "", 12.0, 1.0, 60.0)
TASKS = Bound("tasks", "", 12.0, 1.0, 60.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the gateway's process.

    Attributes:
        at: seconds since the start.
        peak_bytes: most that its buffers have held since the start.
        remembered_bytes: what it remembers by design, up to a bound, to know again what it told.
        is_calm: no fault goes on, the last one is over for a while, and nothing is held back.
    """

    at: float
    rss_bytes: int
    descriptors: int
    tasks: int
    peak_bytes: int
    remembered_bytes: float
    is_calm: bool


@dataclass(slots=True)
class Happened:
    """A fault as it was.

    Attributes:
        effects: how often it took effect, by whoever it was done to.
        back_seconds: until all flowed again, None if that did not come about.
    """

    at: float
    side: str
    name: str
    seconds: float
    effects: int = 0
    back_seconds: float | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """What it is, wherever in the schedule."""
        return self.side, self.name


@dataclass
class Run:
    """What a soak saw of the process, and what it did to it.

    Attributes:
        calm_since: monotonic time from which the gateway has nothing to recover from.
    """

    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    faults: list[Happened] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    calm_since: float | None = None

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Seen:
    """What watch and consumer counted.

    Attributes:
        received: events the gateway took from the exchange.
        read: messages the consumer got.
        facts: private facts the exchange told.
        looks: answers of `/health`.
        announced: gap markers, but for those of the start.
        faultless: what has to be zero, by its name.
    """

    received: int
    read: int
    facts: int
    looks: int
    announced: int
    faultless: dict[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a verdict."""

    name: str
    said: str
    is_well: bool

    def __str__(self) -> str:
        """Show it."""
        return f"{'ok    ' if self.is_well else 'BROKEN'}  {self.name:<26}  {self.said}"


def remembered(orders: int, states: int, executions: int) -> float:
    """Return the bytes that the gateway remembers of so many orders, their states and fills."""
    ids = min(states, IDS_KEPT) + min(executions, IDS_KEPT)
    return ids * ID_BYTES + min(orders, ORDERS_KEPT) * ORDER_BYTES


def judge(run: Run, seen: Seen, kinds: Sequence[tuple[str, str]], seconds: float) -> list[Line]:
    """Say what holds, line by line; all of them have to be well.

    Args:
        run: of it all.
        seen: until its end.
        kinds: of faults, each of which has to have happened.
        seconds: how long it was to last.
    """
    return [*_tried(run, seen, kinds, seconds), *_grown(run, len(kinds)), *_kept(seen)]


def _tried(run: Run, seen: Seen, kinds: Sequence[tuple[str, str]], seconds: float) -> list[Line]:
    """A run in which nothing happened has broken nothing either."""
    minutes = seconds / 60
    lines = [
        _at_least(name, count, least)
        for name, count, least in (
            ("events received", seen.received, EVENTS_PER_MINUTE * minutes),
            ("messages read", seen.read, EVENTS_PER_MINUTE * minutes),
            ("private facts", seen.facts, FACTS_PER_MINUTE * minutes),
            ("looks at /health", seen.looks, LOOKS_PER_SECOND * seconds),
            ("samples of the process", len(run.samples), SAMPLES_PER_SECOND * seconds),
            ("holes announced", seen.announced, 1),
        )
    ]
    happened = {one.kind for one in run.faults if one.effects and one.back_seconds is not None}
    lacking = [" ".join(kind) for kind in kinds if kind not in happened]
    said = f"{len(kinds) - len(lacking)} of {len(kinds)}" + (f", not {lacking}" if lacking else "")
    lines.append(Line("kinds of fault", said, bool(kinds) and not lacking))
    for name, failed in (
        ("faults without effect", [one for one in run.faults if not one.effects]),
        ("faults not recovered from", [one for one in run.faults if one.back_seconds is None]),
    ):
        where = "".join(f", {' '.join(one.kind)} at {one.at:.0f} s" for one in failed)
        lines.append(Line(name, f"{len(failed)} of {len(run.faults)}{where}", not failed))
    return lines


def _at_least(name: str, count: int, least: float) -> Line:
    return Line(name, f"{count:,}, at least {least:,.0f}", count >= least)


def warmed_up_at(run: Run, kinds: int) -> float | None:
    """Say from when on growth counts: after each kind of fault and the deepest outage of all.

    What buffers once held stays with the allocator, for the next time; an outage that is deeper
    than any before takes more. None if not each kind of fault happened.
    """
    if not kinds or len(run.faults) < kinds:
        return None
    last = run.faults[kinds - 1]
    if last.back_seconds is None:
        return None
    at, peak = last.at + last.seconds + last.back_seconds, 0.0
    for one in run.samples:
        if one.peak_bytes > peak * _DEEPER:
            peak = one.peak_bytes
            at = max(at, one.at)
    return at


def stretches(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Cut calm samples where a fault was between them."""
    found: list[list[Sample]] = []
    if samples:
        found.append([samples[0]])
    for before, one in pairwise(samples):
        if one.at - before.at > _STRETCH_GAP_SECONDS:
            found.append([])
        found[-1].append(one)
    return [each for each in found if len(each) >= _STRETCH_SAMPLES]


def _grown(run: Run, kinds: int) -> list[Line]:
    warm_up = warmed_up_at(run, kinds)
    if warm_up is None:
        return [Line("growth", "nothing to tell it from before each fault happened once", False)]
    calm = [one for one in run.samples if one.is_calm and one.at >= warm_up]
    found = stretches(calm)
    lines = [
        Line("warm-up", f"{warm_up:.0f} s, until the deepest outage was over", is_well=True),
        _at_least("calm samples", len(calm), CALM_SAMPLES),
        _at_least("calm stretches", len(found), STRETCHES),
    ]
    if len(found) < STRETCHES:
        return [*lines, Line("growth", "too few calm stretches to tell", False)]
    kept = _trend(found, lambda one: one.remembered_bytes / 1e6)
    return [
        *lines,
        _grows(MEMORY, _trend(found, lambda one: one.rss_bytes / 1e6), kept.per_hour),
        _grows(DESCRIPTORS, _trend(found, lambda one: one.descriptors)),
        _grows(TASKS, _trend(found, lambda one: one.tasks)),
    ]


def _trend(found: Sequence[Sequence[Sample]], value: Callable[[Sample], float]) -> Slope:
    return fit([(median(one.at for one in each), median(map(value, each))) for each in found])


def _grows(bound: Bound, line: Slope, expected: float = 0.0) -> Line:
    """Judge a slope; what is remembered by design and bounded is no growth."""
    unit = f" {bound.unit}/h" if bound.unit else "/h"
    own = line.per_hour - expected
    noise = max(line.noise_per_hour, bound.step * 3600 / line.seconds)
    said = (
        f"{line.per_hour:+.1f} ±{noise:.1f}{unit}"
        f" over {line.seconds / 60:.1f} min, mean {line.mean:.1f}"
    )
    if expected:
        said += f"; {expected:+.1f} of it is remembered up to a bound, so {own:+.1f}"
    if noise > bound.most_noise:
        return Line(bound.name, f"{said}; too noisy to tell: run it longer, or in quiet", False)
    said += f"; at most {bound.per_hour:+.0f} and the noise"
    return Line(bound.name, said, own <= bound.per_hour + noise)


def _kept(seen: Seen) -> list[Line]:
    return [Line(name, f"{count:,}", count == 0) for name, count in seen.faultless.items()]
