"""Break broker, network, database, disk and gateway under load, and see what arrives.

    make outages [SECONDS=60] [ARGS="--only 'broker killed'"]

Each outage has a broker, an exchange, a gateway and a reader of its own, all real. Exit code 1 if a
promise is broken, 0 if all hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import psutil
import structlog

from rabbitmq_node import PrivateNode, find_server
from support.outage_stage import PREFIX, Figures, Load, Outage, run_outage, staged
from support.outages import OUTAGES, small_disk
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

LOAD = Load(symbols=20, rate=50, trade_every=0.03, buffer_events=20_000)
COLUMNS = (
    "outage", "events/s", "received", "confirmed", "shed", "spooled peak",
    "private sent / lost / repeated", "holes marked / unmarked", "private back s", "all back s",
    "RSS peak MB (growth)", "longest /health ms", "scrapes",
)  # fmt: skip


async def one(outage: Outage, seconds: float, load: Load) -> Figures:
    """Run one outage from nothing to nothing."""
    server = find_server()
    assert server is not None, "needs an installed rabbitmq-server"
    async with AsyncExitStack() as stack:
        # The name is short for the sake of the database's socket.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsg-o-")))
        node = PrivateNode(folder / "rabbitmq", print)
        stack.callback(node.stop)
        await asyncio.to_thread(node.start, server)
        postgres = EmbeddedPostgres(folder / "db")
        stack.push_async_callback(postgres.stop)
        database_url = await postgres.start()
        if outage.is_on_small_disk:
            stack.enter_context(small_disk(folder / "data"))
        site = Site(folder, node.url, database_url, PREFIX)
        async with staged(site, node, outage, load, postgres) as stage:
            figures = await run_outage(stage, outage, seconds)
            for gateway in stage.gateways:
                levels = [line["level"] for line in gateway.records]
                errors = sorted({x["event"] for x in gateway.records if x["level"] == "error"})
                print(f"  {len(levels)} log lines, errors: {errors}")
        return figures


def row(figures: Figures) -> list[str]:
    """Write a line of the table."""
    private = figures.private
    shed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(figures.shed.items())) or "-"
    sent = f"{private.sent:,} / {private.lost} / {figures.private_repeats}"
    if private.excused:
        before = f"up to {private.unkept_ms:.0f} ms before"
        sent += f" ({private.excused} while no gateway ran, and {before})"
    return [
        figures.name,
        f"{figures.rate:,.0f}" if figures.rate else "-",
        f"{figures.received:,}",
        f"{figures.confirmed:,}",
        shed,
        f"{figures.most_spooled:,}",
        sent,
        f"{figures.marked_holes} / {figures.unmarked_holes}",
        f"{figures.private_seconds:.1f}",
        f"{figures.recovery_seconds:.1f}",
        f"{figures.most_rss_mb:.0f} (+{figures.rss_growth_mb:.0f})",
        f"{figures.longest_health_ms:.0f}",
        f"{figures.scrapes:,}",
    ]


def table(rows: list[list[str]]) -> str:
    """Write the table as Markdown, so that it can go into the docs as it is."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run what is asked for; answers the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=sorted(OUTAGES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the reader's driver tells every loss of its own connection
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    memory = psutil.virtual_memory().total / 1e9
    print(
        f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GB,"
        f" Linux {platform.release()}"
    )
    found: list[Figures] = []
    broken: list[str] = []
    for name in given.only or OUTAGES:
        began = time.monotonic()
        print(f"{name}, {given.seconds:g} s …", flush=True)
        try:
            figures = asyncio.run(one(OUTAGES[name], given.seconds, LOAD))
        except AssertionError as exc:
            broken.append(f"{name}: {exc}")
            print(f"  BROKEN {exc}", flush=True)
            continue
        found.append(figures)
        broken += [f"{name}: {words}" for words in figures.broken]
        words = figures.broken or ["every promise held"]
        print(f"  {time.monotonic() - began:.0f} s in all: {'; '.join(words)}", flush=True)
    print(table([row(figures) for figures in found]))
    if given.json:
        given.json.write_text(json.dumps([asdict(figures) for figures in found], indent=1))
    print("\n".join(f"BROKEN {words}" for words in broken) or "Every promise held.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
