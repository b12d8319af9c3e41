"""What the metrics cost: the same events through gateways with and without them, in turn."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from contenders.gateway import Gateway
from plan import Plan
from stand import Venue, say, stage

RATE = 10_000
TRICKLE = 200
"""Events a second of those whose turn it is not, so that none of their topics falls silent."""

ROUNDS = 24
WARM_UP_SECONDS = 5.0
SCRAPE_SECONDS = 2.0
"""As often as the Prometheus of compose.yaml asks."""

WITHOUT, COUNTED, SCRAPED = "without", "counted", "scraped"
NAMES = {
    WITHOUT: "without metrics",
    COUNTED: "with them, asked by nobody",
    SCRAPED: f"with them, scraped every {SCRAPE_SECONDS:g} s",
}


def measure_metrics(plan: Plan) -> dict[str, Any]:
    """Answer CPU per event of each round, µs, by contender; all are of one run, in turn.

    They run beside each other all the time, and each is fed for a while: so a machine that is
    slower for a minute is so for all of them.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        fed = {}
        for name in NAMES:
            on = stack.enter_context(stage(plan.amqp_url, plan.queue_types[0]))
            venue = Venue(stack)
            module = "contenders.unmetered" if name == WITHOUT else "ws_gateway"
            gateway = Gateway(stack, on, venue, module=module)
            gateway.subscribe()
            venue.tell(f"rate {RATE}")
            fed[name] = gateway, venue
        time.sleep(WARM_UP_SECONDS)
        for _, venue in fed.values():
            venue.tell(f"rate {TRICKLE}")
        for number in range(ROUNDS):
            say(f"metrics, round {number + 1} of {ROUNDS}")
            # Whoever comes first in one round comes last in another.
            order = list(fed)[number % len(fed) :] + list(fed)[: number % len(fed)]
            for name in order:
                found[name].append(_turn(*fed[name], plan.seconds, is_scraped=name == SCRAPED))
    return {"rate": RATE, "queue_type": plan.queue_types[0], "samples": found}


def _turn(gateway: Gateway, venue: Venue, seconds: float, *, is_scraped: bool) -> dict[str, float]:
    venue.tell(f"rate {RATE}")
    time.sleep(0.5)
    before, cpu, began = gateway.figures()["confirmed"], _cpu_us(gateway.usage), time.monotonic()
    due = began + SCRAPE_SECONDS / 2
    while (now := time.monotonic()) < began + seconds:
        if is_scraped and now >= due:
            gateway.scrape()
            due += SCRAPE_SECONDS
        time.sleep(max(0.0, min(due if is_scraped else began + seconds, began + seconds) - now))
    spent, events = _cpu_us(gateway.usage) - cpu, gateway.figures()["confirmed"] - before
    venue.tell(f"rate {TRICKLE}")
    return {"cpu_us": spent / max(1, events), "events": events}


def _cpu_us(process: psutil.Process) -> float:
    """Return the CPU time of a process, µs; the scheduler counts finer than in ticks of 10 ms."""
    spent = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1000
