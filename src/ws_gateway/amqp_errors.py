"""What aiormq raises, in words of ours; kept apart from the rooms, for two of them speak AMQP."""

from __future__ import annotations

import asyncio

import aiormq.exceptions

from ws_gateway.errors import BrokerLost

DRIVER_ERRORS = (
    aiormq.exceptions.AMQPError,
    OSError,
    EOFError,
    asyncio.IncompleteReadError,
    RuntimeError,
)
"""All that the driver raises when a connection is of no use any more, besides its goodbye."""


class broker_errors:  # noqa: N801 - reads as a statement: `with broker_errors():`
    """Turn whatever the driver raises into `BrokerLost`; nothing of aiormq leaves the room.

    A cancellation stays one: aiormq loses some that come while it closes an AMQP channel, and
    raises errors of its own in the place of others; whoever waits for the end would wait for ever.
    """

    def __enter__(self) -> None:
        self._cancels = _cancels()

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if exc is None:
            if _cancels() > self._cancels:
                raise asyncio.CancelledError
        elif isinstance(exc, (BrokerLost, TimeoutError, *DRIVER_ERRORS)) or _is_goodbye(exc):
            if not _cancels():
                self.translate(exc)
            elif not isinstance(exc, asyncio.CancelledError):
                raise asyncio.CancelledError from exc

    def translate(self, exc: BaseException) -> None:
        """Raise the error of ours, or return to let this one through.

        Raises:
            BrokerLost: the connection is of no use any more.
        """
        if isinstance(exc, TimeoutError):
            raise BrokerLost("the broker did not answer in time") from exc
        if not isinstance(exc, BrokerLost):
            raise BrokerLost(f"{exc}" or type(exc).__name__) from exc


def _cancels() -> int:
    """Count the cancellations asked of this task."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_goodbye(exc: BaseException) -> bool:
    """Say whether aiormq rejected a pending call because its connection closed.

    It does so with a bare `Exception`, or with a `CancelledError` that nobody asked for; taken for
    a real cancellation, that would end the publisher without a word.
    """
    return isinstance(exc, asyncio.CancelledError) or type(exc) is Exception
