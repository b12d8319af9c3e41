"""Medians, spreads and verdicts out of the raw samples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parts.metrics import share
from parts.starting import CEILING, GATEWAY, PLAIN

CPU_BUDGET_US = 8.0
SHARE_BUDGET = 0.9
PLAIN_BUDGET = 20.0
LATENCY_BUDGET = 1.5
LATENCY_RATE = "5000"
GROWTH_BUDGET = 0.15
MEMORY_BUDGET = 0.05
METRICS_BUDGET = 0.03
_SETTLED_EVENTS = 1_000_000

Samples = Sequence[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the most that was seen."""

    median: float
    least: float
    most: float

    def text(self, form: str = ",.0f") -> str:
        """Write it as `median (least-most)`."""
        if self.least == self.most:
            return format(self.median, form)
        return f"{self.median:{form}} ({self.least:{form}}-{self.most:{form}})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget and what became of it."""

    name: str
    budget: str
    found: str
    is_kept: bool


def spread(values: Sequence[float]) -> Spread:
    """Summarise values."""
    return Spread(statistics.median(values), min(values), max(values))


def of(samples: Samples, name: str) -> Spread:
    """Summarise one figure of samples."""
    return spread([each[name] for each in samples])


def shares(rates: dict[str, Samples]) -> Spread:
    """Compare gateway and ceiling, each round with the ceiling of the same round."""
    pairs = zip(rates[GATEWAY], rates[CEILING], strict=True)
    return spread([gateway["rate"] / ceiling["rate"] for gateway, ceiling in pairs])


def share_of_ceiling(rates: dict[str, Samples], who: str) -> float:
    """Compare the medians of one contender and the ceiling; the gateway's by rounds."""
    if who == GATEWAY:
        return shares(rates).median
    return of(rates[who], "rate").median / of(rates[CEILING], "rate").median


def times_plain(rates: dict[str, Samples]) -> float:
    """Compare the medians of the gateway and the plain stack."""
    return of(rates[GATEWAY], "rate").median / of(rates[PLAIN], "rate").median


def verdicts(parts: dict[str, Any]) -> list[Verdict]:
    """Hold what was measured against the budgets; what was not measured has no verdict."""
    found: list[Verdict] = []
    for queue_type, rates in parts.get("rate", {}).items():
        found += _of_rate(queue_type, rates)
    for queue_type, looks in parts.get("latency", {}).items():
        at = looks[LATENCY_RATE]
        ours, raw = of(at[GATEWAY], "p99_us").median, of(at[CEILING], "p99_us").median
        found.append(
            Verdict(
                f"p99 receive→confirm at {int(LATENCY_RATE):,}/s, {queue_type}",
                f"≤ {LATENCY_BUDGET} times raw",
                f"{ours / raw:.2f} times ({ours / 1000:.2f} to {raw / 1000:.2f} ms)",
                ours <= LATENCY_BUDGET * raw,
            )
        )
    if "growth" in parts:
        found += _of_growth(parts["growth"])
    if "memory" in parts:
        found.append(_of_memory(parts["memory"]["looks"]))
    for load, samples in parts.get("metrics", {}).get("loads", {}).items():
        cost = share(samples)
        found.append(
            Verdict(
                f"metrics on an event's way, {load}",
                f"< {METRICS_BUDGET:.0%} of the CPU",
                f"{cost:.1%}",
                cost < METRICS_BUDGET,
            )
        )
    return found


def _of_rate(queue_type: str, rates: dict[str, Samples]) -> list[Verdict]:
    cpu, share, times = of(rates[GATEWAY], "cpu_us"), shares(rates), times_plain(rates)
    return [
        Verdict(
            f"rate, {queue_type}",
            f"≥ {SHARE_BUDGET:.0%} of the ceiling",
            share.text(".0%"),
            share.median >= SHARE_BUDGET,
        ),
        Verdict(
            f"rate, {queue_type}",
            f"≥ {PLAIN_BUDGET:.0f} times the plain stack",
            f"{times:.1f} times",
            times >= PLAIN_BUDGET,
        ),
        Verdict(
            f"gateway CPU per event, {queue_type}",
            f"≤ {CPU_BUDGET_US:.0f} µs",
            f"{cpu.text('.1f')} µs",
            cpu.median <= CPU_BUDGET_US,
        ),
    ]


def growth_curve(rows: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """Return (size, CPU µs per event) of each row."""
    return [(row["size"], of(row["samples"], "cpu_us").median) for row in rows]


def _of_growth(growth: dict[str, Any]) -> list[Verdict]:
    found = []
    for name, words in (("topics", "topics"), ("sockets", "sockets")):
        curve = growth_curve(growth[name])
        ratios = [cost / curve[0][1] for _, cost in curve]
        worst = max(ratios, key=lambda ratio: abs(ratio - 1))
        found.append(
            Verdict(
                f"CPU per event, {curve[0][0]:,} to {curve[-1][0]:,} {words}",
                f"flat within {GROWTH_BUDGET:.0%}",
                f"{worst - 1:+.0%} at most",
                abs(worst - 1) <= GROWTH_BUDGET,
            )
        )
    return found


def _of_memory(looks: Samples) -> Verdict:
    """Compare the last fifth with the time after the first million events (or the first fifth)."""
    events = looks[-1]["events"]
    settled = min(_SETTLED_EVENTS, events / 5)
    early = [look["rss_mb"] for look in looks if settled <= look["events"] < settled + events / 5]
    late = [look["rss_mb"] for look in looks if look["events"] >= events * 0.8]
    before, after = statistics.median(early or [looks[0]["rss_mb"]]), statistics.median(late)
    return Verdict(
        f"memory over {events / 1e6:.1f} million events",
        f"flat within {MEMORY_BUDGET:.0%}",
        f"{before:.0f} → {after:.0f} MB ({after / before - 1:+.1%})",
        abs(after / before - 1) <= MEMORY_BUDGET,
    )
