"""The end of looking after queues, whatever the broker says on the way out."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names
from ws_gateway.errors import BrokerLost


async def test_a_goodbye_that_fails_does_not_swallow_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop right after the start met an AMQP channel half open, and was never heard of again."""
    steward = QueueSteward("amqp://x", Names("t"), None, None, rng=Random(1))  # type: ignore[arg-type]

    async def looking() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise BrokerLost("broker", "expected 'channel.open'") from None

    monkeypatch.setattr(steward, "_one_connection", looking)
    task = asyncio.create_task(steward.run())
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    task.cancel()
    assert done == {task}
    assert task.cancelled()
