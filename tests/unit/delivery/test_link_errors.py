"""What the driver raises becomes one word of ours, and a real cancellation stays one."""

from __future__ import annotations

import asyncio

import aiormq.exceptions
import pytest

from ws_gateway.amqp_errors import broker_errors
from ws_gateway.delivery.news import TELL_EVERY_SECONDS, News
from ws_gateway.errors import BrokerLost


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (aiormq.exceptions.ConnectionClosed(320, "CONNECTION_FORCED"), "CONNECTION_FORCED"),
        (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
        (asyncio.IncompleteReadError(b"", 7), "0 bytes read"),
        (TimeoutError(), "did not answer in time"),
        (EOFError(), "EOFError"),
        (Exception(), "Exception"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
async def test_every_way_the_driver_fails_is_a_lost_broker(
    raised: BaseException, words: str
) -> None:
    """Nothing of the driver, not even its own use of cancellation, ends the publisher."""
    with pytest.raises(BrokerLost, match=words), broker_errors():
        raise raised


async def test_cancellation_that_was_asked_for_stays_one() -> None:
    """A task that is told to end while it waits for the broker ends."""

    async def wait() -> None:
        with broker_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("instead", [None, BrokerLost("broker", "expected 'channel.open'")])
async def test_a_cancellation_the_driver_swallows_is_one(instead: BaseException | None) -> None:
    """A stop right after the start met an AMQP channel half open, and was never heard of again."""

    async def wait() -> None:
        with broker_errors():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if instead is not None:
                    raise instead from None

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_defect_of_ours_is_not_taken_for_a_lost_broker() -> None:
    """A mistake in the program comes through as what it is."""
    with pytest.raises(KeyError), broker_errors():
        raise KeyError


def test_repeated_fault_is_told_once_a_minute() -> None:
    """Each kind has its own minute."""
    now = [0.0]
    news = News(lambda: now[0])
    assert news.is_due("nack")
    assert not news.is_due("nack")
    assert news.is_due("return")
    now[0] = TELL_EVERY_SECONDS
    assert news.is_due("nack")
