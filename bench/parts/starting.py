"""How each contender is started; all publish to the same exchange and queues."""

from __future__ import annotations

import time
from contextlib import ExitStack

from contenders.gateway import Gateway
from plan import Plan
from stand import PATIENCE_SECONDS, SYMBOLS, Script, Stage, Venue

SLOW_CREDIT = 10_000
"""Frames the venue may be ahead of who confirms one at a time; kept in that one's memory."""

CEILING, GATEWAY, PLAIN, CRYPTOFEED = "ceiling", "gateway", "plain", "cryptofeed"
NAMES = {
    CEILING: "raw publisher (ceiling)",
    GATEWAY: "gateway",
    PLAIN: "websockets + json + aio-pika",
    CRYPTOFEED: "cryptofeed",
}


def start_ceiling(stack: ExitStack, on: Stage) -> Script:
    """Start the raw publisher; it begins at full speed."""
    return Script(stack, "raw_publisher", on.amqp_url, on.exchange, ",".join(SYMBOLS))


def start_gateway(
    stack: ExitStack, on: Stage, *, payload_bytes: int = 160
) -> tuple[Gateway, Venue]:
    """Start a gateway with its books subscribed; the venue waits for a command."""
    venue = Venue(stack, payload_bytes=payload_bytes)
    gateway = Gateway(stack, on, venue)
    gateway.subscribe()
    return gateway, venue


def start_slow(stack: ExitStack, on: Stage, which: str, plan: Plan) -> tuple[Script, Venue]:
    """Start the plain stack or cryptofeed, until it has published its snapshots."""
    venue = Venue(stack)
    words = (venue.url, on.amqp_url, on.exchange, ",".join(SYMBOLS))
    if which == PLAIN:
        script = Script(stack, "plain_stack", *words)
    else:
        script = Script(stack, "cryptofeed_stack", *words, python=str(plan.cryptofeed_python))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while script.figures()["confirmed"] < len(SYMBOLS):
        if time.monotonic() > deadline:
            raise SystemExit(f"{which} publishes nothing")
        time.sleep(0.1)
    return script, venue


def slow_contenders(plan: Plan) -> list[str]:
    """Name those that await every publish and can be run here."""
    return [PLAIN] if plan.cryptofeed_python is None else [PLAIN, CRYPTOFEED]
