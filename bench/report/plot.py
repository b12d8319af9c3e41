"""The plot, as SVG of our own: bars of ratios, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parts.starting import CEILING, CRYPTOFEED, GATEWAY, NAMES, PLAIN
from report.figures import growth_curve, of, share_of_ceiling

WIDTH, PANEL_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 240, 60, 200, 34, 34
COLOURS = {CEILING: "#8a8f98", GATEWAY: "#1f6feb", CRYPTOFEED: "#d29922", PLAIN: "#cf5a4e"}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:14px;fill:#222}"
    ".g{stroke:#e3e5e8}.a{stroke:#888}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: its name, colour, and points."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def draw(parts: dict[str, Any]) -> str:
    """Draw a panel for every part that was measured."""
    panels = []
    if "rate" in parts:
        panels.append(_bars("Confirmed events/s as a share of the broker's ceiling", parts["rate"]))
    if "latency" in parts:
        queue_type, looks = next(iter(parts["latency"].items()))
        lines = [_latency(looks, who) for who in (CEILING, GATEWAY)]
        title = f"p99 receive→confirm in ms over events/s ({queue_type})"
        panels.append(_curves(title, lines, is_marked=True))
    if "growth" in parts:
        panels.append(_curves("CPU per event over growth, first = 1", _growth(parts["growth"])))
    if "memory" in parts:
        looks = parts["memory"]["looks"]
        points = [(look["events"] / 1e6, look["rss_mb"]) for look in looks]
        line = Line("resident", COLOURS[GATEWAY], points)
        panels.append(_curves("Memory of the gateway in MB over millions of events", [line]))
    body = "".join(
        f'<g transform="translate(0 {place * PANEL_HEIGHT})">{panel}</g>'
        for place, panel in enumerate(panels)
    )
    height = PANEL_HEIGHT * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'
    )


def _bars(title: str, rate: dict[str, Any]) -> str:
    rows = [
        (queue_type, who, share_of_ceiling(rates, who))
        for queue_type, rates in rate.items()
        for who in (CEILING, GATEWAY, CRYPTOFEED, PLAIN)
        if who in rates
    ]
    step = (PANEL_HEIGHT - TOP - 8) / len(rows)
    most = max(share for *_, share in rows)
    out = [_text(LEFT, 20, title, "t")]
    for place, (queue_type, who, share) in enumerate(rows):
        y, wide = TOP + place * step, (WIDTH - LEFT - RIGHT - 60) * share / most
        if who == CEILING:
            out.append(_text(6, y + step * 0.8, queue_type))
        out.append(
            f'<rect x="{LEFT}" y="{y:.1f}" width="{max(1.0, wide):.1f}" '
            f'height="{step * 0.82:.1f}" fill="{COLOURS[who]}"/>'
        )
        words = f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
        out.append(_text(LEFT + wide + 6, y + step * 0.75, f"{words}  {NAMES[who]}"))
    return "".join(out)


def _latency(looks: dict[str, Any], who: str) -> Line:
    points = [
        (float(rate), of(by_who[who], "p99_us").median / 1000) for rate, by_who in looks.items()
    ]
    return Line(NAMES[who], COLOURS[who], sorted(points))


def _growth(growth: dict[str, Any]) -> list[Line]:
    """Draw all sizes on one axis, as multiples of the smallest."""
    named = (("topics", "topics", "#1f6feb"), ("sockets", "sockets", "#2da44e"))
    lines = []
    for key, words, colour in (*named, ("payload_bytes", "payload bytes", "#8250df")):
        curve = growth_curve(growth[key])
        first, base = curve[0]
        name = f"{words} {first:,}-{curve[-1][0]:,}"
        points = [(math.log10(size / first), cost / base) for size, cost in curve]
        lines.append(Line(name, colour, points))
    return lines


def _curves(title: str, lines: Sequence[Line], *, is_marked: bool = False) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low, high = (min(xs), max(xs)) if max(xs) > min(xs) else (0.0, 1.0)
    top = max(ys) * 1.15

    def at(x: float, y: float) -> tuple[float, float]:
        across = WIDTH - LEFT - RIGHT
        down = PANEL_HEIGHT - TOP - BOTTOM
        return LEFT + across * (x - low) / (high - low), TOP + down * (1 - y / top)

    out = [_text(LEFT, 20, title, "t")]
    for part in range(5):
        value = top * part / 4
        y = at(low, value)[1]
        out.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(_text(LEFT - 44, y + 4, f"{value:.{0 if top > 20 else 1}f}"))
    if not title.startswith("CPU"):
        marks = sorted(set(xs)) if is_marked else (low, (low + high) / 2, high)
        form = ",.0f" if is_marked else ",.1f"
        out += [_text(at(x, 0)[0] - 10, PANEL_HEIGHT - 16, format(x, form)) for x in marks]
    else:
        powers = range(int(high) + 1)
        out += [_text(at(n, 0)[0] - 6, PANEL_HEIGHT - 16, f"x {10**n:,}") for n in powers]
    for place, line in enumerate(lines):
        points = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in line.points)
        out.append(
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
        )
        y = TOP + 14 + place * 18
        out.append(f'<rect x="{WIDTH - RIGHT + 10}" y="{y - 8}" width="10" height="10" '
                   f'fill="{line.colour}"/>')  # fmt: skip
        out.append(_text(WIDTH - RIGHT + 26, y + 1, line.name))
    return "".join(out)


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}">{words}</text>'
