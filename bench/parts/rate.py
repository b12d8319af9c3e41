"""Full speed: how many events a second are confirmed, and what one costs."""

from __future__ import annotations

from contextlib import ExitStack

from contenders.gateway import CREDIT
from parts.starting import (
    CEILING,
    GATEWAY,
    SLOW_CREDIT,
    slow_contenders,
    start_ceiling,
    start_gateway,
    start_slow,
)
from plan import Plan
from stand import Sample, Stage, measure, say, stage

WARM_UP_SECONDS = 1.5
FILL_SECONDS = 4.0


def measure_rates(plan: Plan) -> dict[str, dict[str, list[Sample]]]:
    """Answer the samples of every contender for every queue type, taken in turn."""
    found: dict[str, dict[str, list[Sample]]] = {}
    for queue_type in plan.queue_types:
        with stage(plan.amqp_url, queue_type) as on:
            samples = found[queue_type] = {}
            _fill(on)
            for number in range(plan.rounds):
                say(f"rate, {queue_type}, round {number + 1} of {plan.rounds}")
                samples.setdefault(CEILING, []).append(_ceiling(on, plan.seconds))
                samples.setdefault(GATEWAY, []).append(_gateway(on, plan.seconds))
                for which in slow_contenders(plan) if number < plan.slow_rounds else []:
                    samples.setdefault(which, []).append(_slow(on, which, plan))
    return found


def _fill(on: Stage) -> None:
    """Fill the queue to its limit, so that everybody finds it as it is in the long run."""
    with ExitStack() as stack:
        measure(start_ceiling(stack, on), on, FILL_SECONDS)


def _ceiling(on: Stage, seconds: float) -> Sample:
    with ExitStack() as stack:
        ceiling = start_ceiling(stack, on)
        measure(ceiling, on, WARM_UP_SECONDS)
        return measure(ceiling, on, seconds)


def _gateway(on: Stage, seconds: float) -> Sample:
    with ExitStack() as stack:
        gateway, venue = start_gateway(stack, on)
        venue.give(CREDIT)
        measure(gateway, on, WARM_UP_SECONDS, venue=venue)
        return measure(gateway, on, seconds, venue=venue)


def _slow(on: Stage, which: str, plan: Plan) -> Sample:
    with ExitStack() as stack:
        script, venue = start_slow(stack, on, which, plan)
        venue.give(SLOW_CREDIT)
        measure(script, on, WARM_UP_SECONDS, venue=venue)
        return measure(script, on, plan.seconds, venue=venue)
