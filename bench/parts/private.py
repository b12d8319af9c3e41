"""Orders beside a flood: how long one takes from the venue to its consumer, alone and in it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from contenders.gateway import Gateway
from parts.starting import start_ceiling
from plan import Plan
from stand import Script, Venue, measure, say, stage
from ws_gateway.delivery.topology import Names

ORDERS_PER_SECOND = 200
FLOOD = 5
"""Times what the broker takes."""

FLOOD_SECONDS = 4.0
"""Until the room for public events is full."""

QUEUE_TYPE = "classic"
"""The type that takes least, so that this machine can make, read and shed five times as much."""

_LOGIN = {"WSG_BYBIT_API_KEY": "bench", "WSG_BYBIT_API_SECRET": "bench"}


def measure_private(plan: Plan) -> dict[str, Any]:
    """Answer `alone` and `flooded`: from the venue's send to the consumer, and what was shed."""
    say(f"private, {QUEUE_TYPE}")
    with stage(plan.amqp_url, QUEUE_TYPE) as on:
        with ExitStack() as stack:
            ceiling = start_ceiling(stack, on)
            measure(ceiling, on, 1.0)
            taken = measure(ceiling, on, 3.0)["rate"]
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
                "alone": alone,
                "flooded": flooded,
                "public_p50_us": after["p50_us"],
                "public_confirmed_per_second": gone["confirmed"],
                "public_shed_per_second": gone["shed"],
            }
