"""Publishes orders on a plain socket of its own: how late one must be beside a flood here.

    python -m contenders.raw_orders AMQP_URL EXCHANGE ORDERS_PER_SECOND

Nothing is decoded, numbered or accounted for, and nothing of the flood is on this connection:
what its orders take to their consumer, no gateway on this machine can undercut. Ends with standard
input.
"""

from __future__ import annotations

import json
import select
import sys
import time

from contenders.raw_publisher import RawConnection
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.topic import Topic, parse_topic


def order_message(exchange: str, topic: Topic, sequence: int) -> bytes:
    """Build an order as the gateway would, with the time it is sent at as its id."""
    now_us = time.time_ns() // 1000
    payload = json.dumps({"orderId": f"bench-{now_us}", "side": "Buy", "qty": "0.159"}).encode()
    identity = f"order:{sequence}"
    fact = Observation(
        topic, Kind.UPDATE, identity, "linear", "SIM0000USDT",
        now_us // 1000, None, now_us, "0" * 32, None, payload,
    )  # fmt: skip
    return Address(exchange, fact, "main").frames(Event(fact, "0" * 26, sequence))


def main() -> None:
    """Publish at an even pace, and throw the confirms away."""
    url, exchange, rate = sys.argv[1:4]
    connection, topic = RawConnection(url), parse_topic("order", None)
    wire, lines = connection.socket, sys.stdin.fileno()
    sequence, due, step = 0, time.monotonic(), 1 / int(rate)
    while True:
        ready, _, _ = select.select([wire, lines], [], [], max(0.0, due - time.monotonic()))
        if wire in ready:
            connection.confirms()
        if lines in ready:
            return
        if time.monotonic() >= due:
            sequence += 1
            wire.sendall(order_message(exchange, topic, sequence))
            due = max(due + step, time.monotonic() - 0.1)


if __name__ == "__main__":
    main()
