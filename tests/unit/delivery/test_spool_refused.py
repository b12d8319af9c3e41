"""Private streams that a queue refuses while the broker is well: the others flow, none is lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from support.delivery_rig import ORDERS, TICKER, observe
from support.link_stage import Stage
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import Topic, parse_topic

EXECUTIONS = parse_topic("execution", None)


def feed(stage: Stage, topic: Topic, count: int) -> None:
    """Let the venue tell facts of a topic."""
    for _ in range(count):
        stage.runner.accept(observe(topic, kind=Kind.UPDATE, payload=b"{}"))


def answer_refusing_orders(stage: Stage) -> None:
    """Answer for all that was sent: refuse orders, take the rest."""
    flight = stage.outbox.private
    stage.flush()
    while flight.unconfirmed:
        first = flight.first_tag
        for tag, message in enumerate(list(flight._window), first):
            if message is not None and message.topic == ORDERS:
                stage.private.on_nack(tag, multiple=False)
            elif message is not None:
                stage.private.on_confirm(tag, multiple=False)
        stage.flush()


async def test_a_refused_stream_and_one_hiccup_do_not_stop_the_other_private_streams(
    tmp_path: Path,
) -> None:
    """What is held of the refused one does not count as what is on its way."""
    stage = Stage(spool=tmp_path, max_events=100_000, window=5000)
    assert stage.spool is not None
    await stage.spool.open()
    stage.begin()
    feed(stage, ORDERS, 2500)
    answer_refusing_orders(stage)
    assert stage.outbox.private.held >= 2500
    stage.end()
    await stage.spool.step()
    feed(stage, ORDERS, 5)
    feed(stage, EXECUTIONS, 10)
    await stage.spool.step()
    stage.begin()
    for _ in range(20):
        answer_refusing_orders(stage)
        await stage.spool.step()
    taken = stage.counters.routed[EXECUTIONS.key]
    stage.assert_balance()
    await stage.spool.close()
    assert taken >= 10


async def test_events_of_a_refused_stream_survive_a_kill_while_the_broker_is_well(
    tmp_path: Path,
) -> None:
    """They are copied to disk after a moment, in order, and the next process has them."""
    stage = Stage(spool=tmp_path, max_events=100_000, window=5000)
    assert stage.spool is not None
    assert stage.log is not None
    await stage.spool.open()
    stage.spool.is_well = lambda: True
    stage.begin()
    feed(stage, ORDERS, 20)
    answer_refusing_orders(stage)
    await stage.spool.step()
    feed(stage, ORDERS, 5)
    answer_refusing_orders(stage)
    receipts = stage.outbox.private.messages()
    async with asyncio.timeout(30):
        while any(message.record is None for message in receipts):
            await stage.spool.step()
            await asyncio.sleep(0.01)
    assert not stage.spool.is_taking
    stage.assert_balance()
    stage.spool._disk._thread.shutdown()
    assert stage.log._lock is not None
    os.close(stage.log._lock)  # as a kill does
    following = Stage(spool=tmp_path, max_events=100_000, window=5000, epoch="F")
    assert following.spool is not None
    await following.spool.open()
    following.begin()
    await following.spool.step()
    following.flush()
    told = [body["sequence"] for body in following.broker.bodies if body["kind"] == "update"]
    await following.spool.close()
    assert following.counters.restored == 25
    assert told == sorted(told)
    assert len(told) >= 20  # one window


async def test_a_wallet_in_quarantine_is_kept_in_a_flood_of_public_values() -> None:
    """Its lane is full of tickers; the room for private facts is not."""
    stage = Stage(max_events=100)
    while stage.outbox.has_room(TICKER.lane):
        feed(stage, TICKER, 1)
    where: Any = {"counters": stage.counters, "clock_us": lambda: 1}
    lost: Any = {
        "reason": "r",
        "origin": "main:wallet",
        "detail": "d",
        "raw": b"{",
        "trace_id": "t",
    }
    Quarantine(stage.publisher, **where).quarantine(**lost)
    assert stage.counters.quarantined == {"r": 1, "not_kept": 1}
    Quarantine(stage.publisher, **where, is_private=True).quarantine(**lost)
    assert stage.counters.quarantined == {"r": 2, "not_kept": 1}
