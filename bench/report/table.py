"""One table of all contenders, ratios first, and the smaller ones beside it; as rows of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parts.metrics import SCRAPE_SECONDS, cost_us, share
from parts.starting import CEILING, CRYPTOFEED, GATEWAY, NAMES, PLAIN
from report.figures import growth_curve, of, share_of_ceiling, spread, verdicts

RATES = ("1000", "5000", "10000")
ORDER = (CEILING, GATEWAY, CRYPTOFEED, PLAIN)
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A titled table; all columns but the first `words` are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1


def sheets(parts: dict[str, Any]) -> list[Sheet]:
    """Make every table the parts allow, the main one first."""
    found = []
    if "rate" in parts or "latency" in parts:
        found.append(_main(parts.get("rate", {}), parts.get("latency", {})))
    rows = [
        (each.name, each.budget, each.found, "kept" if each.is_kept else "missed")
        for each in verdicts(parts)
    ]
    if rows:
        found.append(Sheet("Budgets", ("what", "budget", "measured", "verdict"), rows, words=4))
    if "growth" in parts:
        found.append(_growth(parts["growth"]))
    if "private" in parts:
        found.append(_private(parts["private"]))
    if "metrics" in parts:
        found.append(_metrics(parts["metrics"]))
    return found


def _main(rate: dict[str, Any], latency: dict[str, Any]) -> Sheet:
    columns: tuple[str, ...] = (
        "queue",
        "who",
        "of ceiling",
        "times plain",
        "events/s",
        "CPU µs/event",
        "broker µs/event",
    )
    columns += ("RSS MB", *(f"p99 ms at {int(each):,}/s" for each in RATES))
    rows = []
    for queue_type in rate or latency:
        rates, looks = rate.get(queue_type, {}), latency.get(queue_type, {})
        for who in ORDER:
            seen = [looks.get(each, {}).get(who) for each in RATES]
            if who in rates or any(seen):
                p99 = [NOTHING if not each else _ms(each) for each in seen]
                rows.append((queue_type, NAMES[who], *_speed(rates, who), *p99))
    return Sheet("Who delivers how much, at which cost", columns, rows, words=2)


def _speed(rates: dict[str, Any], who: str) -> tuple[str, ...]:
    if who not in rates:
        return (NOTHING,) * 6
    rate, samples = of(rates[who], "rate"), rates[who]
    share = share_of_ceiling(rates, who)
    times = rate.median / of(rates[PLAIN], "rate").median if PLAIN in rates else None
    return (
        f"{share:.1%}" if share < 0.1 else f"{share:.0%}",
        NOTHING if times is None else f"{times:.1f}",
        rate.text(),
        of(samples, "cpu_us").text(".1f"),
        f"{of(samples, 'broker_cpu_us').median:.0f}",
        f"{of(samples, 'rss_mb').median:.0f}",
    )


def _ms(samples: list[dict[str, float]]) -> str:
    seen = of(samples, "p99_us")
    return f"{seen.median / 1000:.1f} ({seen.least / 1000:.1f}-{seen.most / 1000:.1f})"


def _growth(growth: dict[str, Any]) -> Sheet:
    rows = []
    for name, words in (
        ("topics", "topics"),
        ("sockets", "sockets"),
        ("payload_bytes", "payload bytes"),
    ):
        curve = growth_curve(growth[name])
        for size, cost in curve:
            rows.append((words, f"{size:,}", f"{cost / curve[0][1]:.2f}", f"{cost:.2f}"))
    return Sheet("Growth", ("of", "size", "of the first", "CPU µs/event"), rows)


def _metrics(metrics: dict[str, Any]) -> Sheet:
    rows = []
    for load, samples in metrics["loads"].items():
        whole = spread(samples["gateway_us"])
        rows.append((load, f"{share(samples):.1%}", f"{cost_us(samples):.2f}", whole.text(".1f")))
    took = spread(metrics["scrape_ms"]).median
    of_core = f"{took / SCRAPE_SECONDS / 1000:.1%} of a core"
    rows.append((f"a scrape every {SCRAPE_SECONDS:g} s", of_core, f"{took * 1000:,.0f}", NOTHING))
    return Sheet(
        f"What the metrics cost, {metrics['queue_type']}",
        ("", "share", "µs more per event", "gateway CPU µs/event"),
        rows,
    )


def _private(private: dict[str, Any]) -> Sheet:
    rows = [
        (words, *(f"{private[key][name] / 1000:.1f}" for name in ("p50_us", "p99_us")))
        for key, words in (
            ("alone", "orders alone"),
            ("beside", "orders beside 20,000 public events/s"),
            ("flooded", "orders in the flood"),
        )
        if key in private
    ]
    if "raw_flooded" in private:
        for key, words in (("raw_alone", "alone"), ("raw_flooded", "beside a raw flood")):
            p50, p99 = (f"{private[key][name] / 1000:.1f}" for name in ("p50_us", "p99_us"))
            rows.append((f"raw publisher of orders (ceiling), {words}", p50, p99))
    rows.append(("public events in the flood", f"{private['public_p50_us'] / 1000:.1f}", NOTHING))
    return Sheet(
        f"Orders beside a flood of 5 times what the broker takes, {private['queue_type']}",
        ("", "p50 ms", "p99 ms"),
        rows,
    )
