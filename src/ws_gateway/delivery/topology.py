"""The AMQP objects consumers rely on: one topic exchange, one queue per event class, quarantine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiormq.exceptions
from pamqp.common import FieldTable

from ws_gateway.amqp_errors import broker_errors
from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Link
from ws_gateway.domain.catalogue import LANE_OF
from ws_gateway.domain.routing import queue_name
from ws_gateway.domain.topic import EventClass, Lane
from ws_gateway.errors import BrokerLost
from ws_gateway.ports.delivery import QueueProblem

_T = TypeVar("_T")

MESSAGE_TTL_MS = 86_400_000
MAX_LENGTH = 100_000
STREAM_MAX_BYTES = 2_000_000_000
"""Streams bound bytes, not messages; this is about 100,000 of the largest books."""

QUARANTINE = "quarantine"

_DEADLINE_SECONDS = 10.0


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
        return queue_name(self.prefix, event_class)

    def dedicated(self, service: str, event_class: str) -> str:
        """Name the queue that only one service reads."""
        return queue_name(self.prefix, event_class, service)

    def queues(self) -> dict[str, str]:
        """Every queue with the binding key that fills it."""
        return self.queues_of(is_private=True) | self.queues_of(is_private=False)

    def queues_of(self, *, is_private: bool) -> dict[str, str]:
        """Return those of private events, or of all others, with their binding keys."""
        classes = [c.value for c in EventClass if (LANE_OF[c] is Lane.PRIVATE) is is_private]
        if not is_private:
            classes.append(QUARANTINE)
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


async def in_time(work: Awaitable[_T]) -> _T:
    """Await the broker's answer to one question, or to a few.

    Raises:
        BrokerLost: they do not come.
    """
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            return await work
    except TimeoutError as exc:
        raise BrokerLost("the broker took too long over the queues") from exc


@dataclass(frozen=True, slots=True)
class Standing:
    """A queue as it stands at the broker.

    Attributes:
        arguments: those it was declared with, as far as the broker tells; policies are not told.
        problem: one sentence if they are not those wanted, with the way to migrate.
        is_bound: events get there.
    """

    arguments: FieldTable
    problem: str | None
    is_bound: bool = True


async def declare_topology(
    link: Link, names: Names, queue_type: QueueType, queues: Mapping[str, str] | None = None
) -> tuple[QueueProblem, ...]:
    """Declare the exchange and queues, by default all; answers what stands with other arguments.

    A drifted object is used as it is: declaring it again would never succeed, and deleting it is
    for a person to decide. A policy of the broker that tightens a limit is no drift.

    Raises:
        BrokerLost: the connection went away, or the broker refused for another reason.
    """
    found = []
    if (drifted := await ensure_exchange(link, names)) is not None:
        found.append(QueueProblem(names.exchange, drifted))
    for queue, binding in (names.queues() if queues is None else queues).items():
        standing = await ensure_queue(link, names.exchange, queue, (binding,), queue_type)
        if standing.problem is not None:
            is_blocking = not standing.is_bound
            found.append(QueueProblem(queue, standing.problem, is_blocking=is_blocking))
    return tuple(found)


async def ensure_exchange(link: Link, names: Names) -> str | None:
    """Declare the topic exchange; answers one sentence if another kind of exchange stands.

    Raises:
        BrokerLost: the connection went away.
    """
    try:
        async with link.channel() as channel:
            with broker_errors_but(*REFUSALS):
                await channel.exchange_declare(names.exchange, exchange_type="topic", durable=True)
    except REFUSALS as exc:
        return explain_drift("exchange", names.exchange, exc)
    return None


async def ensure_queue(
    link: Link, exchange: str, queue: str, bindings: Iterable[str], queue_type: QueueType
) -> Standing:
    """Declare a queue and bind it; what stands already is bound as it is.

    Raises:
        BrokerLost: the connection went away.
    """
    standing = await in_time(_declare(link, queue, queue_arguments(queue_type)))
    try:
        async with link.channel() as channel:
            with broker_errors_but(*REFUSALS):
                for binding in bindings:  # there may be thousands: each has its own time
                    await in_time(channel.queue_bind(queue, exchange, routing_key=binding))
    except REFUSALS as exc:
        problem = standing.problem or f"queue {queue} cannot be bound to {exchange} ({exc})"
        return Standing(standing.arguments, problem, is_bound=False)
    return standing


async def stands(link: Link, queue: str) -> bool:
    """Say whether a queue stands; one that we may not look at does.

    Raises:
        BrokerLost: the connection went away.
    """
    try:
        async with link.channel() as channel:
            with broker_errors_but(aiormq.exceptions.ChannelNotFoundEntity, *REFUSALS):
                await channel.queue_declare(queue, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    except REFUSALS:
        return True
    return True


async def missing_queues(link: Link, queues: Iterable[str]) -> list[str]:
    """Name those of these queues that do not stand.

    Raises:
        BrokerLost: the connection went away.
    """
    missing = []
    waiting = list(queues)
    while waiting:
        try:
            async with link.channel() as channel:
                while waiting:
                    with broker_errors_but(aiormq.exceptions.ChannelNotFoundEntity, *REFUSALS):
                        await channel.queue_declare(waiting[0], passive=True)
                    del waiting[0]
        except aiormq.exceptions.ChannelNotFoundEntity:
            missing.append(waiting.pop(0))  # the refusal closed the AMQP channel
        except REFUSALS:
            del waiting[0]  # it stands, though we may not look at it
    return missing


async def look_at_queues(
    link: Link, names: Names, queue_type: QueueType
) -> tuple[list[str], list[str]]:
    """Look at the shared queues and make none; answers those missing, and a sentence per drift.

    Raises:
        BrokerLost: the connection went away.
    """
    missing = await missing_queues(link, names.queues())
    drifted = []
    for queue in names.queues():
        if queue not in missing:
            standing = await _declare(link, queue, queue_arguments(queue_type))
            if standing.problem is not None:
                drifted.append(standing.problem)
    return missing, drifted


async def _declare(link: Link, queue: str, wanted: FieldTable) -> Standing:
    """Declare a queue, and where another stands find out what it has.

    The broker names one argument at a time, so the question is put again with what it said;
    every answer settles one argument, which bounds the questions.
    """
    assumed = dict(wanted)
    drifts: dict[str, Drift] = {}
    refused: BaseException | None = None
    while len(drifts) <= _MOST_ARGUMENTS:
        refusal = await _refusal(link, queue, assumed)
        if refusal is None:
            break
        refused = refused or refusal
        drift = read_drift(str(refusal))
        if drift is None or drift.name in drifts or not drift.name.startswith("x-"):
            # Not about an argument, or about one that no declaration can follow.
            if drift is not None:
                drifts[drift.name] = drift
            break
        drifts[drift.name] = drift
        assumed.pop(drift.name, None)
        if drift.found is not None:
            assumed[drift.name] = drift.found
    if refused is None:
        return Standing(wanted, None)
    return Standing(assumed, explain_drift("queue", queue, refused, tuple(drifts.values())))


async def _refusal(link: Link, queue: str, arguments: FieldTable) -> BaseException | None:
    try:
        async with link.channel() as channel:
            with broker_errors_but(*REFUSALS):
                await channel.queue_declare(queue, durable=True, arguments=arguments)
    except REFUSALS as exc:
        return exc
    return None


REFUSALS = (
    aiormq.exceptions.ChannelPreconditionFailed,  # 406: it stands with other arguments
    aiormq.exceptions.ChannelLockedResource,  # 405: somebody has it for himself
    aiormq.exceptions.ChannelAccessRefused,  # 403: this user may not
)
"""Answers of the broker that no repetition changes; each closes the AMQP channel it came over."""

_MOST_ARGUMENTS = 12


class broker_errors_but(broker_errors):  # noqa: N801 - reads as a statement
    """As `broker_errors`, but lets some answers through: they are answers, not a loss."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def translate(self, exc: BaseException) -> None:
        """Let through what was asked for; see `broker_errors`."""
        if not isinstance(exc, self._kinds):
            super().translate(exc)


@dataclass(frozen=True, slots=True)
class Drift:
    """One argument that is not as wanted; None where it is not there."""

    name: str
    wanted: int | str | None
    found: int | str | None
    vhost: str


_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .* in vhost '(?P<vhost>[^']*)': "
    r"received (?P<wanted>.+?) but current is (?P<found>.+)$",
    re.DOTALL,
)
_VALUE = re.compile(r"(?:the value )?'(?P<value>[^']*)'")


def read_drift(text: str) -> Drift | None:
    """Read out of the broker's words which argument differs; None if they name none."""
    match = _INEQUIVALENT.search(text)
    if match is None:
        return None
    return Drift(match["name"], _value(match["wanted"]), _value(match["found"]), match["vhost"])


def _value(words: str) -> int | str | None:
    match = _VALUE.match(words)
    if match is None:
        return None
    text = match["value"]
    return int(text) if text.isdigit() else text


def explain_drift(kind: str, name: str, exc: BaseException, drifts: tuple[Drift, ...] = ()) -> str:
    """Say what stands there, what was wanted, and how to migrate."""
    if not drifts and (drift := read_drift(str(exc))) is not None:
        drifts = (drift,)
    if not drifts:
        return f"{kind} {name} cannot be declared and is used as it is ({exc})"
    differences = ", ".join(
        f"{one.name} is {_word(one.found)} instead of {_word(one.wanted)}" for one in drifts
    )
    vhost = drifts[0].vhost
    if kind == "queue":
        way = (
            f"let its consumers empty it (rabbitmqctl list_queues -p {vhost} name messages), then "
            f"delete it (rabbitmqctl delete_queue -p {vhost} {name})"
        )
    else:
        way = f"delete it (rabbitmqadmin --vhost={vhost} delete exchange name={name})"
    return (
        f"{kind} {name} stands with other arguments and is used as it is: {differences}. "
        f"To migrate, {way}; the gateway declares it again within a minute"
    )


def _word(value: int | str | None) -> str:
    return "not set" if value is None else str(value)
