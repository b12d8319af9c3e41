"""What the metrics cost: the sender with and without them in turn, and a scrape.

The difference of two whole gateways is smaller than what one of them varies by. So the one module
that measures events is fed by itself, without a broker, and what it takes longer with its metrics
is held against what the whole gateway takes for an event at that rate.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

from contenders.gateway import CREDIT, Gateway
from contenders.unmetered import unmetered_sender
from parts.starting import start_gateway
from plan import Plan
from stand import SYMBOLS, Stage, Venue, cpu_seconds, measure, say, stage
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.link import Link
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.sender import Sender
from ws_gateway.domain.topic import Category, Topic, parse_topic
from ws_gateway.runtime.counters import Counters

LOADS = {"1,000/s": (1_000, 10), "10,000/s": (10_000, 20), "full speed": (40_000, 100)}
"""Events a second, and how many are written and confirmed at once."""

ROUNDS = 40
EVENTS = 20_000
SCRAPES = 20
SCRAPE_SECONDS = 2.0
"""As often as the Prometheus of compose.yaml asks."""

_WARM_UP_SECONDS = 2.0
_NOON_US = 1_790_000_000_000_000


class _Nowhere:
    """A link that takes everything."""

    is_writable = True

    def write(self, data: bytes) -> None:
        """Take it."""


def measure_metrics(plan: Plan) -> dict[str, Any]:
    """Answer by load: µs per event of the sender with and without, and of the whole gateway."""
    found: dict[str, Any] = {"queue_type": plan.queue_types[0], "loads": {}}
    for load, (rate, batch) in LOADS.items():
        say(f"metrics, the sender at {load}")
        samples = asyncio.run(_senders(rate, batch))
        say(f"metrics, the gateway at {load}")
        with stage(plan.amqp_url, plan.queue_types[0]) as on, ExitStack() as stack:
            gateway, venue = start_gateway(stack, on)
            command = f"rate {rate}" if load != list(LOADS)[-1] else f"credit {CREDIT}"
            whole = _whole(gateway, venue, on, command, plan)
            if load == next(iter(LOADS)):
                found["scrape_ms"] = _scrapes(gateway, venue)
        found["loads"][load] = {**samples, "gateway_us": whole}
    return found


def _whole(gateway: Gateway, venue: Venue, on: Stage, command: str, plan: Plan) -> list[float]:
    """Answer the CPU time of the whole gateway for an event, µs, some times."""
    venue.tell(command)
    venue.credit = CREDIT
    told = venue if command.startswith("credit") else None
    measure(gateway, on, _WARM_UP_SECONDS, venue=told)
    times = plan.slow_rounds + 1
    return [measure(gateway, on, plan.seconds, venue=told)["cpu_us"] for _ in range(times)]


def _scrapes(gateway: Gateway, venue: Venue) -> list[float]:
    """Answer the CPU time of scrapes, ms each, while next to nothing flows."""
    venue.tell("rate 10")
    time.sleep(_WARM_UP_SECONDS)
    idle = _spent(gateway, scrapes=0)
    return [(_spent(gateway, scrapes=SCRAPES) - idle) / SCRAPES * 1000]


def _spent(gateway: Gateway, scrapes: int) -> float:
    before = cpu_seconds(gateway.usage)
    for number in range(SCRAPES):
        if number < scrapes:
            gateway.scrape()
        time.sleep(0.6)  # a text serves for half a second
    return cpu_seconds(gateway.usage) - before


# ── the sender by itself ──────────────────────────────────────────────────────────────────────


async def _senders(rate: int, batch: int) -> dict[str, list[float]]:
    """Feed both in turn, of each round the other first."""
    bare, metered = unmetered_sender(), Sender
    topics = [parse_topic(f"orderbook.50.{symbol}", Category.LINEAR) for symbol in SYMBOLS]
    found: dict[str, list[float]] = {"with_us": [], "without_us": []}
    kinds = [("with_us", metered), ("without_us", bare)]
    for number in range(ROUNDS + 2):
        for name, kind in kinds if number % 2 else reversed(kinds):
            took = _feed(kind, topics, rate, batch)
            if number >= 2:  # the first rounds warm up
                found[name].append(took)
    return found


def _feed(kind: type[Sender], topics: Sequence[Topic], rate: int, batch: int) -> float:
    """Answer the CPU time of an event from the outbox to its confirm, µs."""
    now_us = _NOON_US
    outbox = Outbox(max_events=EVENTS, max_bytes=EVENTS * 1000)
    sender = kind(
        outbox,
        outbox.public,
        Counters(),
        window=EVENTS,
        clock_us=lambda: now_us,
        times=HopTimes(),
        drained=asyncio.Event(),
    )
    sender.begin(cast("Link", _Nowhere()))
    step_us = int(1e6 * batch / rate)
    batches = [
        [_message(topics, number, _NOON_US + first * step_us) for number in range(batch)]
        for first in range(EVENTS // batch)
    ]
    gc.collect()
    gc.disable()
    tag, began = 0, time.thread_time()
    for messages in batches:
        now_us += step_us
        for message in messages:
            outbox.put(message)
        sender.flush()
        tag += batch
        sender.on_confirm(tag, multiple=True)
    took = time.thread_time() - began
    gc.enable()
    assert outbox.messages == 0
    return took / EVENTS * 1e6


def _message(topics: Sequence[Topic], number: int, at_us: int) -> Message:
    topic = topics[number % len(topics)]
    return Message(b"x" * 400, topic, topic.lane, number, "id", at_us, True, at_us // 1000)


# ── what it says ──────────────────────────────────────────────────────────────────────────────


def cost_us(load: dict[str, list[float]]) -> float:
    """Return what an event costs more with metrics, µs: the median of all rounds."""
    return statistics.median(
        one - bare for one, bare in zip(load["with_us"], load["without_us"], strict=True)
    )


def share(load: dict[str, list[float]]) -> float:
    """Return which share of the gateway's CPU that is."""
    return cost_us(load) / statistics.median(load["gateway_us"])
