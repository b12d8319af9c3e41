"""What the demo shows: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from ws_gateway.demo.audience import Audience


@dataclass(slots=True)
class Figures:
    """Rates between two looks at the gateway's counters."""

    health: dict[str, Any] = field(default_factory=dict)
    events_in: float = 0.0
    confirmed: float = 0.0
    consumed: float = 0.0
    per_class: dict[str, float] = field(default_factory=dict)
    _at: float = 0.0
    _before: tuple[int, int, dict[str, int]] = field(default_factory=lambda: (0, 0, {}))

    def take(self, health: dict[str, Any], audience: Audience) -> None:
        """Take a new look."""
        now = time.monotonic()
        counters = health["delivery"]
        seen = (int(counters["received"]), int(counters["confirmed"]), dict(audience.received))
        if self._at:
            elapsed = max(now - self._at, 1e-3)
            received, confirmed, consumed = self._before
            self.events_in = (seen[0] - received) / elapsed
            self.confirmed = (seen[1] - confirmed) / elapsed
            self.per_class = {
                name: (count - consumed.get(name, 0)) / elapsed for name, count in seen[2].items()
            }
            self.consumed = sum(self.per_class.values())
        self.health, self._at, self._before = health, now, seen

    @property
    def latency(self) -> str:
        """Say receive→confirm p50 and p99."""
        counters = self.health["delivery"]
        p50, p99 = counters["latency_p50_us"], counters["latency_p99_us"]
        return "-" if p50 is None else f"{p50 / 1000:.1f} / {p99 / 1000:.1f} ms"

    @property
    def connections_seen(self) -> list[dict[str, Any]]:
        """Return the state of each connection."""
        return [one["websocket_state"] for one in self.health["connections"]]

    @property
    def connections(self) -> str:
        """Say how each connection is."""
        return ", ".join(
            f"{one['category']} {one['connection_status']} ({one['active_subscriptions']})"
            for one in self.connections_seen
        )


class Screen:
    """Shows figures until it is closed."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._console = Console()
        self._live: Live | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Own the terminal meanwhile, if there is one."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            self._live = live
            yield
        self._live = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._live is not None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def show(self, figures: Figures) -> None:
        """Show the newest figures."""
        if self._live is not None:
            self._live.update(self._table(figures))
        else:
            self.say(self._line(figures))

    def _line(self, figures: Figures) -> str:
        depth = sum(self._audience.depths.values())
        return (
            f"in {figures.events_in:7.0f}/s  confirmed {figures.confirmed:7.0f}/s  "
            f"consumed {figures.consumed:7.0f}/s  receive→confirm p50/p99 {figures.latency}  "
            f"queued {depth}  holes {len(self._audience.checker.problems)}  "
            f"[{figures.connections}]"
        )

    def _table(self, figures: Figures) -> Group:
        top = Table(title="ws-gateway demo", expand=False)
        for name in ("events in /s", "confirmed /s", "consumed /s", "receive→confirm p50 / p99"):
            top.add_column(name, justify="right")
        top.add_row(
            f"{figures.events_in:,.0f}",
            f"{figures.confirmed:,.0f}",
            f"{figures.consumed:,.0f}",
            figures.latency,
        )
        queues = Table()
        for name in ("queue", "consumed /s", "events", "depth"):
            queues.add_column(name, justify="left" if name == "queue" else "right")
        for name, depth in sorted(self._audience.depths.items()):
            queues.add_row(
                name,
                f"{figures.per_class.get(name, 0):,.0f}",
                f"{self._audience.received[name]:,}",
                f"{depth:,}",
            )
        sockets = Table()
        for name in ("connection", "status", "topics", "seconds", "reconnects"):
            sockets.add_column(
                name, justify="left" if name in ("connection", "status") else "right"
            )
        for one in figures.connections_seen:
            sockets.add_row(
                one["category"],
                one["connection_status"],
                str(one["active_subscriptions"]),
                f"{one['connection_duration_seconds'] or 0:.0f}",
                str(one["reconnection_count"]),
            )
        holes = f"holes without a marker: {len(self._audience.checker.problems)}"
        return Group(top, queues, sockets, holes)
