"""What is held of a refused private stream, through answers in any order and a lost connection."""

from __future__ import annotations

from typing import Any

from support.delivery_rig import ORDERS, TRADES, observe
from support.link_stage import Stage
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.domain.topic import Lane


def order(number: int) -> Message:
    """Make a private message that is known by its sequence."""
    return Message(b"x", ORDERS, Lane.PRIVATE, number, f"id-{number}", 0, is_observed=True)


def sequences(outbox: Outbox) -> list[int]:
    """List what is held and waits, in the order it would go in."""
    return [message.sequence for message in outbox.private.messages()]


def hold_back(outbox: Outbox, tag: int) -> None:
    """Let the broker refuse one."""
    refused: list[Message] = []
    outbox.private.settle(tag, multiple=False, take=refused.append)
    assert not outbox.private.hold_back(refused[0])


def test_a_refused_stream_keeps_its_order_when_the_connection_is_lost_on_its_trial() -> None:
    """What was on trial is the oldest again, then what was refused, sent, and never sent."""
    outbox = Outbox(max_events=100, max_bytes=10**6)
    for number in range(1, 5):
        outbox.put(order(number))
    outbox.private.next_batch(4)
    hold_back(outbox, 1)
    hold_back(outbox, 2)
    outbox.put(order(5))
    assert outbox.private.next_batch(4) == []
    assert outbox.private.try_held(ORDERS.key)
    assert [one.sequence for one in outbox.private.next_batch(4)] == [1]
    outbox.put(order(6))
    assert (outbox.messages, outbox.private.held) == (6, 3)
    outbox.private.rewind()
    assert outbox.private.next_batch(4) == []
    assert sequences(outbox) == [1, 2, 3, 4, 5, 6]
    for number in range(1, 7):
        assert outbox.private.try_held(ORDERS.key)
        (one,) = outbox.private.next_batch(4)
        assert one.sequence == number
        outbox.private.settle(outbox.private.first_tag, multiple=True, take=lambda _: None)
        assert outbox.private.end_trial(one)
    assert not outbox.private.try_held(ORDERS.key)
    assert (outbox.messages, outbox.private.held, outbox.size_bytes) == (0, 0, 0)


def test_a_returned_message_keeps_its_place_before_newer_ones_that_were_refused() -> None:
    """It was set aside for a moment; meanwhile its stream was refused."""
    outbox = Outbox(max_events=100, max_bytes=10**6)
    for number in range(1, 5):
        outbox.put(order(number))
    outbox.private.next_batch(4)
    returned: list[Message] = []
    outbox.private.settle(1, multiple=False, take=returned.append)
    outbox.private.set_aside(returned[0])
    for tag in (2, 3, 4):
        hold_back(outbox, tag)
    outbox.private.take_back()
    assert outbox.private.next_batch(4) == []
    assert sequences(outbox) == [1, 2, 3, 4]


async def test_a_refused_marker_leaves_all_that_it_named_to_the_next_one() -> None:
    """Here of a hole that a full buffer had torn: not of what this queue refused before."""
    stage = Stage(max_events=40, window=100)
    feed = [observe(TRADES) for _ in range(60)]
    for one in feed:
        stage.runner.accept(one)
    stage.begin()
    stage.confirm()
    torn = next(body for body in stage.broker.bodies if names_a_hole(body))
    stage.public.on_nack(stage.outbox.public.next_tag - 1, multiple=False)
    (hole,) = stage.public.refusals._holes.values()
    assert (hole.first, hole.last) == (torn["payload"]["from_sequence"], torn["sequence"])


def names_a_hole(body: dict[str, Any]) -> bool:
    """Say whether it is a gap marker with numbers."""
    return bool(body["kind"] == "gap" and body["payload"]["from_sequence"])
