"""Hold a busy account's ledger against RabbitMQ through cuts and kills, and measure catching up.

    make reconcile-drill ARGS="--orders 10000 --cuts 50 --kills 3"

The drill: orders of every kind while the private socket is cut at random and the gateway is killed
with -9. The speed: how long after its login a gateway has told 5,000 executions and 500 open
orders that it missed; the budget is 3 s. Ends with 1 if anything is missing or came under two ids.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from support.amqp_names import delete_topology
from support.reconcile_drill import Plan, drill, speed
from support.site import Site
from ws_gateway.storage.embedded import EmbeddedPostgres

BUDGET_SECONDS = 3.0
_SHOWN = 20


async def run(asked: argparse.Namespace) -> int:
    """Do what was asked; answers the exit code."""
    failures = 0
    url = asked.amqp_url or os.environ["WSG_AMQP_URL"]
    if "speed" in asked.parts:
        failures += await _measure(url)
    if "drill" in asked.parts:
        failures += await _drill(url, asked)
    return min(1, failures)


async def _measure(url: str) -> int:
    prefix = f"drill-{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        own = EmbeddedPostgres(Path(folder))
        try:
            site = Site(Path(folder), url, await own.start(), prefix)
            figures = await speed(site, orders=1000, fills=5, resting=500)
        finally:
            await own.stop()
            await delete_topology(url, prefix)
    for name, value in figures.items():
        print(f"{name:22}{value}")
    print(f"{'budget':22}{BUDGET_SECONDS:g} s from login")
    return int(figures["seconds from login"] > BUDGET_SECONDS)


async def _drill(url: str, asked: argparse.Namespace) -> int:
    prefix = f"drill-{uuid4().hex[:8]}"
    plan = Plan(asked.orders, asked.rate, asked.cuts, asked.kills, asked.seed, asked.settle)
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        own = EmbeddedPostgres(Path(folder))
        try:
            figures = await drill(Site(Path(folder), url, await own.start(), prefix), plan)
        finally:
            await own.stop()
            await delete_topology(url, prefix)
    print("\n".join([*figures.lines(), *figures.faults[:_SHOWN]]))
    return len(figures.faults)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=50.0, help="orders per second")
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=120.0, help="seconds to be complete in")
    parser.add_argument("--parts", nargs="+", default=["speed", "drill"])
    parser.add_argument("--amqp-url", default=None)
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
