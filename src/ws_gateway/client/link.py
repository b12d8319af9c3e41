"""One connection of a consumer: what arrives on it, and what is settled over it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiormq
import aiormq.exceptions
from aiormq.abc import DeliveredMessage
from yarl import URL

from ws_gateway import amqp_errors
from ws_gateway.errors import BrokerLost, Rejected

HEARTBEAT_SECONDS = 10
"""Asked of the broker unless the URL names another."""

FIRST = "first"
"""Where a stream begins."""

_GOODBYE_SECONDS = 1.0
_ACK_SECONDS = 0.1
"""Longest time that a finished event waits for others to be acknowledged with it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which queue to read, and how it comes to be.

    Attributes:
        queue: its name.
        prefetch: most messages on their way to the consumer at once.
        exchange, binding_keys, arguments: of a queue of the consumer's own; a queue that stands
            has no keys.
        is_exclusive: the own queue goes with the connection.
    """

    queue: str
    prefetch: int
    exchange: str = ""
    binding_keys: Sequence[str] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_exclusive: bool = False

    @property
    def is_own(self) -> bool:
        """Say whether the queue is the consumer's own."""
        return bool(self.binding_keys)

    @property
    def missing(self) -> str:
        """Say what is wrong if the broker finds nothing of this name."""
        what = f"exchange {self.exchange}" if self.is_own else f"queue {self.queue}"
        return f"there is no {what}; the prefix may not be the gateway's"


@dataclass(slots=True)
class Position:
    """Where to go on after a reconnect.

    Attributes:
        offset: in a stream queue: a time, an offset, `FIRST`, or None for what comes from now on.
        newest: offset and body of the last message a stream gave; a stream made anew has another.
        began: when the queue was first consumed.
        is_stream: whether the queue is a stream, None while nobody knows.
        has_lost_queue: the own queue or the stream went, and what it held; not told to the
            consumer yet.
    """

    offset: int | datetime | str | None = None
    newest: tuple[int, bytes] | None = None
    began: datetime | None = None
    is_stream: bool | None = None
    has_lost_queue: bool = False


class Message:
    """A message as it arrived, to be settled over the connection that brought it."""

    __slots__ = ("_link", "_tag", "body", "is_redelivered", "is_resent", "offset")

    def __init__(self, link: Link, delivered: DeliveredMessage) -> None:
        headers = delivered.header.properties.headers or {}
        offset = headers.get("x-stream-offset")
        self._link = link
        self._tag = delivered.delivery_tag or 0
        self.body = bytes(delivered.body)
        self.is_redelivered = bool(delivered.redelivered)
        self.is_resent = headers.get("resent") is True
        self.offset = offset if isinstance(offset, int) else None

    @property
    def is_lost(self) -> bool:
        """Say whether its connection is gone, so that it comes again."""
        return self._link.lost is not None

    async def ack(self) -> None:
        """Acknowledge this one."""
        await self._link.ack(self._tag)

    async def ack_in_turn(self) -> None:
        """Acknowledge this one and all before it, soon."""
        await self._link.ack_in_turn(self._tag)

    async def reject(self, *, requeue: bool) -> None:
        """Give it back."""
        await self._link.reject(self._tag, requeue=requeue)


class Link:
    """An open connection that consumes one queue.

    Attributes:
        lost: why nothing more will come, None while it lives.
    """

    def __init__(self, connection: aiormq.Connection, channel: Any, source: Source) -> None:
        self._connection = connection
        self._channel = channel
        self._source = source
        self._arrived: deque[DeliveredMessage] = deque()
        self._came = asyncio.Event()
        self._ackable: int | None = None
        self._ackable_count = 0
        self._acked_at = asyncio.get_running_loop().time()
        self.lost: str | None = None

    async def is_queue_gone(self) -> bool:
        """Say whether the queue is not there, on a channel of its own: a no would close it.

        Raises:
            BrokerLost: the connection went away.
            Rejected: the broker does not let us ask.
        """
        with broker_errors():
            channel = await self._connection.channel(publisher_confirms=False)
            try:
                await channel.queue_declare(self._source.queue, passive=True)
            except aiormq.exceptions.ChannelNotFoundEntity:
                return True
            await channel.close()
        return False

    async def still_holds(self, offset: int, body: bytes, seconds: float) -> bool:
        """Say whether the stream has this message at this offset, or is beyond it.

        One that was deleted and made anew is silent until it is as long, or has another there.

        Raises:
            BrokerLost: the connection went away.
            Rejected: the queue is not there.
        """
        came: asyncio.Future[DeliveredMessage] = asyncio.get_running_loop().create_future()

        async def take(message: DeliveredMessage) -> None:
            if not came.done():
                came.set_result(message)

        with broker_errors(self._source.missing):
            channel = await self._connection.channel(publisher_confirms=False)
            await channel.basic_qos(prefetch_count=1)
            await channel.basic_consume(
                self._source.queue, take, arguments={"x-stream-offset": offset}
            )
            await asyncio.wait({came}, timeout=seconds)
            await channel.close()
        if self._connection.is_closed:
            raise BrokerLost("the connection was closed")
        if not came.done():
            return False
        found = Message(self, came.result())
        return found.offset != offset or found.body == body

    async def begin(self, offset: int | datetime | str | None) -> None:
        """Set up the queue and consume it, a stream from an offset.

        Raises:
            BrokerLost: the connection went away.
            Rejected: the exchange or the queue is not there, or is of another kind.
        """
        channel, source = self._channel, self._source
        for resource in (self._connection, channel):
            resource.closing.add_done_callback(self._on_closing)
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        with broker_errors(source.missing):
            await channel.basic_qos(prefetch_count=source.prefetch)
            if source.is_own:
                await channel.queue_declare(
                    source.queue,
                    durable=not source.is_exclusive,
                    exclusive=source.is_exclusive,
                    auto_delete=source.is_exclusive,
                    arguments=dict(source.arguments),
                )
                for key in source.binding_keys:
                    await channel.queue_bind(source.queue, source.exchange, routing_key=key)
        refused = (
            "the broker refuses"
            if offset is None
            else f"queue {source.queue} cannot be replayed: `since` needs WSG_QUEUE_TYPE=stream"
        )
        with broker_errors(source.missing, refused):
            await channel.basic_consume(
                source.queue,
                self._take,
                arguments=None if offset is None else {"x-stream-offset": offset},
            )

    async def next(self) -> Message:
        """Wait for the next message.

        Raises:
            BrokerLost: the connection went away; what had arrived before will come again.
        """
        while self.lost is None:
            if self._arrived:
                return Message(self, self._arrived.popleft())
            self._came.clear()
            await self.flush()
            await self._came.wait()
        raise BrokerLost(self.lost)

    async def ack_in_turn(self, tag: int) -> None:
        """Acknowledge everything up to a message, together with some that follow."""
        self._ackable = tag
        self._ackable_count += 1
        now = asyncio.get_running_loop().time()
        if self._ackable_count * 4 >= self._source.prefetch or now - self._acked_at > _ACK_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Tell the broker what is acknowledged so far."""
        tag, self._ackable, self._ackable_count = self._ackable, None, 0
        self._acked_at = asyncio.get_running_loop().time()
        if tag is not None:
            await self._send(self._channel.basic_ack(tag, multiple=True, wait=False))

    async def ack(self, tag: int) -> None:
        """Acknowledge one message."""
        await self._send(self._channel.basic_ack(tag, wait=False))

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Give one message back."""
        await self._send(self._channel.basic_reject(tag, requeue=requeue, wait=False))

    async def close(self) -> None:
        """Say goodbye, or cut the connection when the broker does not answer; never raises."""
        with suppress(BrokerLost, Rejected):
            await self._say_goodbye()
        await _drop(self._connection)
        self._lose("closed by us")

    async def _say_goodbye(self) -> None:
        if self.lost is not None or self._channel.is_closed:
            return
        with broker_errors():
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self.flush()
                # Any question will do: its answer says that all before it was heard.
                await self._channel.basic_qos(prefetch_count=self._source.prefetch)
                if self._source.is_own:
                    await self._channel.queue_delete(self._source.queue)

    async def _send(self, sending: Any) -> None:
        """Send what may be sent in vain: on a lost connection the message comes again."""
        try:
            with broker_errors():
                await sending
        except BrokerLost as exc:
            self._lose(str(exc))

    async def _take(self, message: DeliveredMessage) -> None:
        self._arrived.append(message)
        self._came.set()

    def _on_cancelled(self, _frame: object) -> None:
        self._lose(f"the queue {self._source.queue} was deleted or moved")

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        why = None if closing.cancelled() else closing.exception()
        self._lose(str(why or "") or "the connection was closed")

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        self._came.set()


async def open_link(url: str, source: Source, *, seconds: float) -> Link:
    """Connect and log in.

    Raises:
        BrokerLost: refused, unreachable, or not ready in time.
    """
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT_SECONDS)
    connection = aiormq.Connection(address)
    try:
        with broker_errors():
            async with asyncio.timeout(seconds):
                await connection.connect()
                channel = await connection.channel(publisher_confirms=False)
    except BaseException:
        await _drop(connection)
        raise
    return Link(connection, channel, source)


async def _drop(connection: aiormq.Connection) -> None:
    """Close a connection, whatever its state."""
    with suppress(BrokerLost, Rejected), broker_errors():
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await connection.close()


class broker_errors(amqp_errors.broker_errors):  # noqa: N801 - reads as a statement
    """Tell what the broker refuses from a broker that is lost: one can be waited for.

    Args:
        missing, refused: what these answers mean to who asked.
    """

    def __init__(
        self, missing: str = "the broker has no such thing", refused: str = "the broker refuses"
    ) -> None:
        self._missing = missing
        self._refused = refused

    def translate(self, exc: BaseException) -> None:
        """Raise the error of ours.

        Raises:
            BrokerLost: the connection is of no use any more.
            Rejected: the broker says no, and goes on saying so.
        """
        if isinstance(exc, aiormq.exceptions.ChannelNotFoundEntity):
            raise Rejected(f"{self._missing} ({exc})", code="not_found") from exc
        if isinstance(exc, _REFUSALS):
            raise Rejected(f"{self._refused} ({exc})", code="refused") from exc
        super().translate(exc)


_REFUSALS = (
    aiormq.exceptions.ChannelPreconditionFailed,
    aiormq.exceptions.ChannelAccessRefused,
    aiormq.exceptions.ChannelLockedResource,
)
