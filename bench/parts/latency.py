"""Receive→confirm at steady rates, beside a raw publisher's write→confirm at the same rate.

Bursts are the same for all: one message per symbol. A look covers the newest 8,192 events, so one
is taken whenever so many have passed, and none sooner, because asking costs the gateway something.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from contenders.tally import KEPT
from parts.starting import (
    CEILING,
    GATEWAY,
    slow_contenders,
    start_ceiling,
    start_gateway,
    start_slow,
)
from plan import Plan
from stand import Contender, Sample, Stage, measure, say, stage

LOOKS = {10_000: 3, 5_000: 3, 1_000: 1}
"""How often is looked at each rate, in this order."""

SLOW_RATE = 1_000
SETTLE_SECONDS = 0.5

Found = dict[str, dict[str, list[Sample]]]
"""Samples by rate and contender; the rate is a word, because JSON knows no other keys."""


def measure_latencies(plan: Plan) -> dict[str, Found]:
    """Answer the looks for every queue type; the first of them is looked at most."""
    found: dict[str, Found] = {}
    for queue_type in plan.queue_types:
        rounds = plan.slow_rounds
        with stage(plan.amqp_url, queue_type) as on:
            looks = found[queue_type] = {}
            for number in range(rounds):
                say(f"latency, {queue_type}, round {number + 1} of {rounds}")
                _round(on, looks)
            for which in slow_contenders(plan):
                say(f"latency, {queue_type}, {which}")
                _slow(on, which, plan, looks)
    return found


def _round(on: Stage, looks: Found) -> None:
    with ExitStack() as stack:
        ceiling = start_ceiling(stack, on)
        ceiling.say("rate 0")
        for rate in LOOKS:
            _look(ceiling, on, rate, _list(looks, rate, CEILING), ceiling.say)
    with ExitStack() as stack:
        gateway, venue = start_gateway(stack, on)
        for rate in LOOKS:
            _look(gateway, on, rate, _list(looks, rate, GATEWAY), venue.tell)


def _slow(on: Stage, which: str, plan: Plan, looks: Found) -> None:
    with ExitStack() as stack:
        script, venue = start_slow(stack, on, which, plan)
        _look(script, on, SLOW_RATE, _list(looks, SLOW_RATE, which), venue.tell)


def _list(looks: Found, rate: int, who: str) -> list[Sample]:
    return looks.setdefault(str(rate), {}).setdefault(who, [])


def _look(
    who: Contender, on: Stage, rate: int, samples: list[Sample], tell: Callable[[str], Any]
) -> None:
    tell(f"rate {rate}")
    time.sleep(SETTLE_SECONDS)
    samples += [measure(who, on, KEPT / rate) for _ in range(LOOKS[rate])]
