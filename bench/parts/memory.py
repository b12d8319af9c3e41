"""Memory of the whole gateway process over millions of events at full speed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from contenders.gateway import CREDIT
from parts.starting import start_gateway
from plan import Plan
from stand import measure, say, stage

LOOK_SECONDS = 2.0


def measure_memory(plan: Plan) -> dict[str, Any]:
    """Answer resident memory as it was every two seconds: `events` so far and `rss_mb`."""
    queue_type = plan.queue_types[0]
    say(f"memory, {queue_type}: {plan.events:,} events")
    looks: list[dict[str, float]] = []
    shed = 0.0
    with stage(plan.amqp_url, queue_type) as on, ExitStack() as stack:
        gateway, venue = start_gateway(stack, on)
        venue.give(CREDIT)
        while not looks or looks[-1]["events"] < plan.events:
            sample = measure(gateway, on, LOOK_SECONDS, venue=venue)
            shed += sample["shed"]
            events = gateway.figures()["confirmed"]
            looks.append({"events": events, "rss_mb": sample["rss_mb"]})
    return {"queue_type": queue_type, "looks": looks, "shed": shed}
