"""How the cost of an event grows with topics, sockets, and the size of a payload."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import venue_life
from parts.starting import start_gateway
from plan import Plan
from stand import free_port, measure, say, stage

TOPICS = ((10, 1), (100, 1), (1_000, 1), (5_000, 5))
SOCKETS = ((1_000, 1), (1_000, 5), (1_000, 20))
"""Topics and sockets, read without a broker: what is compared is their cost alone."""

RATE = 25_000
PAYLOAD_BYTES = (160, 1_000, 4_000, 16_000)
PAYLOAD_RATE = 4_000
WARM_UP_SECONDS = 1.0
ROUNDS = 3


def measure_growth(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Answer CPU per event over topics, sockets and payload bytes; each round goes through all."""
    sizes = list(dict.fromkeys(TOPICS + SOCKETS))
    read: dict[tuple[int, int], list[dict[str, Any]]] = {size: [] for size in sizes}
    for number in range(ROUNDS):
        for topics, sockets in sizes:
            say(f"growth, round {number + 1} of {ROUNDS}: {topics} topics on {sockets} sockets")
            read[topics, sockets].append(_read(topics, sockets, plan.seconds / 2))
    return {
        "topics": [{"size": size[0], "samples": read[size]} for size in TOPICS],
        "sockets": [{"size": size[1], "samples": read[size]} for size in SOCKETS],
        "payload_bytes": _payloads(plan),
    }


def _read(topics: int, sockets: int, seconds: float) -> dict[str, Any]:
    return venue_life.reader(
        "cost", port=free_port(), topics=topics, sockets=sockets, rate=RATE, seconds=seconds
    )


def _payloads(plan: Plan) -> list[dict[str, Any]]:
    """Measure the whole gateway with the broker, at one rate for all sizes."""
    found = []
    with stage(plan.amqp_url, plan.queue_types[0]) as on:
        for size in PAYLOAD_BYTES:
            say(f"growth: payloads of {size} bytes")
            with ExitStack() as stack:
                gateway, venue = start_gateway(stack, on, payload_bytes=size)
                venue.tell(f"rate {PAYLOAD_RATE}")
                time.sleep(WARM_UP_SECONDS)
                samples = [measure(gateway, on, plan.seconds / 2) for _ in range(ROUNDS)]
            found.append({"size": size, "samples": samples})
    return found
