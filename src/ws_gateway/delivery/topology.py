"""The AMQP objects consumers rely on: one topic exchange, one queue per event class, quarantine."""

from __future__ import annotations

from dataclasses import dataclass

import aiormq.exceptions
from aiormq.abc import AbstractChannel
from pamqp.common import FieldTable

from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Link, broker_errors
from ws_gateway.domain.topic import EventClass

MESSAGE_TTL_MS = 86_400_000
MAX_LENGTH = 100_000
STREAM_MAX_BYTES = 2_000_000_000
"""Streams bound bytes, not messages; this is about 100,000 of the largest books."""

QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the AMQP objects under one prefix."""

    prefix: str

    @property
    def exchange(self) -> str:
        """The topic exchange all events go to."""
        return f"{self.prefix}.events"

    def queue(self, event_class: str) -> str:
        """The shared queue of one event class, or of `quarantine`."""
        return f"{self.prefix}.{event_class}"

    def queues(self) -> dict[str, str]:
        """Every queue with the binding key that fills it."""
        classes = [*(c.value for c in EventClass), QUARANTINE]
        return {self.queue(name): f"{name}.#" for name in classes}


def queue_arguments(queue_type: QueueType) -> FieldTable:
    """Return the declared arguments: 24 h and 100,000 messages, oldest dropped first."""
    if queue_type is QueueType.STREAM:
        return {
            "x-queue-type": "stream",
            "x-max-age": f"{MESSAGE_TTL_MS // 1000}s",
            "x-max-length-bytes": STREAM_MAX_BYTES,
        }
    return {
        "x-queue-type": queue_type.value,
        "x-message-ttl": MESSAGE_TTL_MS,
        "x-max-length": MAX_LENGTH,
        "x-overflow": "drop-head",
    }


async def declare_topology(link: Link, names: Names, queue_type: QueueType) -> tuple[str, ...]:
    """Declare everything; answers one sentence per object that stands with other arguments.

    A drifted object is used as it is: declaring it again would never succeed, and deleting it is
    for a person to decide.

    Raises:
        BrokerLost: the connection went away, or the broker refused for another reason.
    """
    problems = []
    async with link.channel() as channel:
        try:
            with broker_errors_but_drift():
                await channel.exchange_declare(names.exchange, exchange_type="topic", durable=True)
        except _DRIFT as exc:
            problems.append(_explain(f"exchange {names.exchange}", exc))
    for queue, binding in names.queues().items():
        drift = await _declare_queue(link, names.exchange, queue, binding, queue_type)
        if drift is not None:
            problems.append(drift)
    return tuple(problems)


async def missing_queues(link: Link, names: Names) -> list[str]:
    """Name the queues that should stand and do not.

    Raises:
        BrokerLost: the connection went away.
    """
    missing = []
    waiting = list(names.queues())
    while waiting:
        try:
            async with link.channel() as channel:
                while waiting:
                    with broker_errors_but_absence():
                        await channel.queue_declare(waiting[0], passive=True)
                    del waiting[0]
        except aiormq.exceptions.ChannelNotFoundEntity:
            missing.append(waiting.pop(0))  # the refusal closed the AMQP channel
    return missing


async def _declare_queue(
    link: Link, exchange: str, queue: str, binding: str, queue_type: QueueType
) -> str | None:
    problem = None
    try:
        async with link.channel() as channel:
            with broker_errors_but_drift():
                await channel.queue_declare(
                    queue, durable=True, arguments=queue_arguments(queue_type)
                )
                await _bind(channel, exchange, queue, binding)
                return None
    except _DRIFT as exc:
        problem = _explain(f"queue {queue}", exc)
    async with link.channel() as channel:  # the refusal closed the one before
        with broker_errors():
            await _bind(channel, exchange, queue, binding)
    return problem


async def _bind(channel: AbstractChannel, exchange: str, queue: str, binding: str) -> None:
    await channel.queue_bind(queue, exchange, routing_key=binding)


_DRIFT = (aiormq.exceptions.ChannelPreconditionFailed,)


class broker_errors_but_drift(broker_errors):  # noqa: N801 - reads as a statement
    """As `broker_errors`, but lets a 406 through: it is an answer, not a loss."""

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if not isinstance(exc, _DRIFT):
            super().__exit__(kind, exc, trace)


class broker_errors_but_absence(broker_errors):  # noqa: N801 - reads as a statement
    """As `broker_errors`, but lets a 404 through: it is an answer, not a loss."""

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if not isinstance(exc, aiormq.exceptions.ChannelNotFoundEntity):
            super().__exit__(kind, exc, trace)


def _explain(what: str, exc: BaseException) -> str:
    return (
        f"{what} stands with other arguments and is used as it is ({exc}); "
        f"to migrate, drain it, delete it, and let the gateway declare it again"
    )
