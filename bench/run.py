"""Measure the gateway beside the broker's own ceiling and other stacks: one run, one machine.

    python bench/run.py [--with-cryptofeed] [--parts rate,latency] [--publish]

Every figure of the gateway is of its whole process, HTTP and database included, as an operator
would see it: confirmed events from its own counters, CPU time and memory from the operating system.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cryptofeed_venv import find_cryptofeed
from parts.growth import measure_growth
from parts.latency import measure_latencies
from parts.memory import measure_memory
from parts.metrics import measure_metrics
from parts.private import measure_private
from parts.rate import measure_rates
from plan import Plan
from report.machine import describe_machine, sentence
from report.page import publish
from report.table import sheets
from stand import HERE, say

PARTS = {
    "rate": measure_rates,
    "latency": measure_latencies,
    "growth": measure_growth,
    "memory": measure_memory,
    "private": measure_private,
    "metrics": measure_metrics,
}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--queues", default="quorum,classic,stream", help="the first is the main")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of gateway and ceiling in turn")
    parser.add_argument("--slow-rounds", type=int, default=2, help="of others, and of latency")
    parser.add_argument("--events", type=int, default=5_000_000, help="of the memory part")
    parser.add_argument("--with-cryptofeed", action="store_true", help="install it if need be")
    parser.add_argument("--add-to", type=Path, help="a JSON of results whose other parts are kept")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.*")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.parts.split(",")) - {*PARTS, ""}:
        parser.error(f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    return chosen


def main() -> None:
    """Measure what was asked for, print the tables, keep the figures."""
    chosen = parse()
    python = find_cryptofeed(may_install=chosen.with_cryptofeed)
    if python is None:
        say("cryptofeed: not installed, skipped (--with-cryptofeed installs it)")
    plan = Plan(
        amqp_url=os.environ["WSG_AMQP_URL"],
        queue_types=tuple(chosen.queues.split(",")),
        rounds=chosen.rounds,
        slow_rounds=min(chosen.slow_rounds, chosen.rounds),
        seconds=chosen.seconds,
        events=chosen.events,
        cryptofeed_python=python,
    )
    results: dict[str, Any] = {"parts": {}}
    if chosen.add_to is not None:
        results = json.loads(chosen.add_to.read_text(encoding="utf-8"))
    results["machine"] = describe_machine(plan.amqp_url)
    for name in filter(None, chosen.parts.split(",")):
        results["parts"][name] = PARTS[name](plan)
        _keep(results)
    results["parts"] = {name: results["parts"][name] for name in PARTS if name in results["parts"]}
    print(f"written to {_keep(results)}", file=sys.stderr)
    _show(results)
    if chosen.publish:
        publish(results, HERE.parent / "docs")


_STARTED = time.strftime("%Y%m%dT%H%M%S")


def _keep(results: dict[str, Any]) -> Path:
    """Write what there is so far, so that a run that is broken off is not lost."""
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"{_STARTED}.json"
    target.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return target.relative_to(HERE.parent)


def _show(results: dict[str, Any]) -> None:
    console = Console(width=190)
    console.print(sentence(results["machine"]))
    for sheet in sheets(results["parts"]):
        table = Table(title=sheet.title)
        for place, name in enumerate(sheet.columns):
            table.add_column(name, justify="left" if place < sheet.words else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
