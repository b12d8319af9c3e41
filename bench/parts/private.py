"""Orders beside a flood: how long one takes from the venue to its consumer, alone and in it.

What a raw publisher of orders alone, on a connection of its own beside the raw flood, needs to the
same consumer is the ceiling: broker, consumer and flood share the machine with whoever publishes.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

from contenders.gateway import Gateway
from parts.starting import start_ceiling
from plan import Plan
from stand import Child, Sample, Script, Stage, Venue, measure, say, stage
from ws_gateway.delivery.topology import Names

ORDERS_PER_SECOND = 200
FLOOD_PER_SECOND = 20_000
"""The flood beside which private delivery is to stay what it was."""

FLOOD = 5
"""Times what the broker takes: the worst flood."""

FLOOD_SECONDS = 4.0
"""Until the room for public events is full."""

QUEUE_TYPE = "classic"
"""The type that takes least, so that this machine can make, read and shed five times as much."""

_LOGIN = {"WSG_BYBIT_API_KEY": "bench", "WSG_BYBIT_API_SECRET": "bench"}


def measure_private(plan: Plan) -> dict[str, Any]:
    """Answer `alone`, `beside` 20,000/s and `flooded`: from the venue's send to the consumer.

    `raw_alone` and `raw_flooded` are the same of the raw publisher of orders.
    """
    say(f"private, {QUEUE_TYPE}")
    with stage(plan.amqp_url, QUEUE_TYPE) as on:
        raw_alone, raw_flooded, taken = _ceiling(plan, on)
        with ExitStack() as stack:
            venue = Venue(stack)
            gateway = Gateway(stack, on, venue, _LOGIN)
            gateway.subscribe("order")
            gateway.subscribe()
            queue = Names(on.prefix).queue("order")
            reader = Script(stack, "order_reader", on.amqp_url, queue)
            venue.tell(f"private {ORDERS_PER_SECOND}")
            time.sleep(1.0)
            reader.say("forget")
            alone = measure(reader, on, plan.seconds)
            venue.tell(f"rate {FLOOD_PER_SECOND}")
            time.sleep(1.0)
            reader.say("forget")
            beside = measure(reader, on, plan.seconds * 2)
            before = gateway.figures()
            venue.tell(f"rate {int(taken * FLOOD)}")
            time.sleep(FLOOD_SECONDS)
            reader.say("forget")
            flooded = measure(reader, on, plan.seconds * 2)
            after = gateway.figures()
            seconds = FLOOD_SECONDS + plan.seconds * 2
            gone = {key: (after[key] - before[key]) / seconds for key in ("confirmed", "shed")}
            return {
                "queue_type": QUEUE_TYPE,
                "ceiling": taken,
                "raw_alone": raw_alone,
                "raw_flooded": raw_flooded,
                "alone": alone,
                "beside": beside,
                "flooded": flooded,
                "public_p50_us": after["p50_us"],
                "public_confirmed_per_second": gone["confirmed"],
                "public_shed_per_second": gone["shed"],
            }


def _ceiling(plan: Plan, on: Stage) -> tuple[Sample, Sample, float]:
    """Answer how long raw orders take, alone and beside a raw flood, and the flood's rate."""
    with ExitStack() as stack:
        queue = Names(on.prefix).queue("order")
        reader = Script(stack, "order_reader", on.amqp_url, queue)
        words = (on.amqp_url, on.exchange, str(ORDERS_PER_SECOND))
        Child(stack, [sys.executable, "-m", "contenders.raw_orders", *words])
        time.sleep(1.0)
        reader.say("forget")
        alone = measure(reader, on, plan.seconds)
        flood = start_ceiling(stack, on)
        measure(flood, on, 1.0)
        before, began = flood.figures()["confirmed"], time.monotonic()
        reader.say("forget")
        flooded = measure(reader, on, plan.seconds * 2)
        taken = (flood.figures()["confirmed"] - before) / (time.monotonic() - began)
    return alone, flooded, taken
