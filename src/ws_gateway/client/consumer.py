"""`async for event in consume("orderbook", …)`: events in order, each once, and what is missing.

The broker delivers at least once. What came before is dropped here by `event_id`; what is missing
is told by the gateway's markers, or found by the continuity of its numbers.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ws_gateway.client.choice import Choice, own_keys
from ws_gateway.client.event import (
    EXPIRED,
    UNEXPLAINED,
    Envelope,
    Event,
    Gap,
    OnGap,
    fields_of,
    read_envelope,
)
from ws_gateway.client.link import Message, Position, Source
from ws_gateway.client.messages import own_queue, read_messages
from ws_gateway.client.watch import Watch
from ws_gateway.domain.topic import EventClass

log = logging.getLogger(__name__)  # the consumer's process decides where this goes

Acknowledge = Literal["after", "manual"]

_SAMPLE = 200


def consume(
    event_class: str,
    *,
    amqp_url: str,
    category: str | None = None,
    symbol: str | None = None,
    account: str | None = None,
    queue: str | None = None,
    prefix: str = "ws-gateway",
    since: datetime | None = None,
    on_gap: OnGap | None = None,
    acknowledge: Acknowledge = "after",
    prefetch: int = 500,
    is_shared: bool = False,
    reconnect: bool = True,
    remembered_ids: int = 10_000,
    kept_seconds: float = 60.0,
    kept_events: int = 100_000,
    connect_seconds: float = 10.0,
) -> AsyncGenerator[Event]:
    """Return the events of one class as they are delivered, markers included.

    Read it with `async for`. An event is acknowledged when the loop asks for the next one; if the
    loop's body raises or is cancelled, it is not, and comes again to whoever reads the queue next.
    Who leaves the loop early and wants the connection closed by then wraps it in
    `contextlib.aclosing`.

    Args:
        event_class: `orderbook`, `trade`, …
        amqp_url: the broker.
        category: only events of this product line.
        symbol: only events of this instrument. Markers that are about all of them come too. An own
            queue of a private class holds all of them, for they share one numbering, which alone
            shows that one is missing; they are sorted out here.
        account: only private events of this account; keys do not name it, so all queues hold every
            account's, and they are sorted out here.
        queue: a durable queue that stands, shared with whoever else reads it; what the filter
            leaves out is acknowledged. Without it, a queue of the consumer's own is bound to the
            exchange, takes nothing from anyone, and holds what comes during a reconnect.
        prefix: the gateway's `WSG_AMQP_PREFIX`.
        since: replay what the gateway received from this time on (with a zone). The queue has to
            be a stream; without `queue` it is the class's own.
        on_gap: called before the event that shows that something is missing: a `gap` marker, or a
            step in the numbers that nothing explains; and after a reconnect that found the own
            queue gone, or a stream made anew (`expired`). It may be a coroutine function.
        acknowledge: `manual` leaves it to `event.ack()` and `event.reject()`.
        prefetch: most events on their way at once.
        is_shared: others read the same queue, or it holds only part of a stream, so that a step
            in the numbers says nothing.
        reconnect: come back after a loss, for ever, with growing delays; otherwise it is raised.
        remembered_ids: how many of the newest ids a repeat is recognised by; 0 lets repeats pass.
        kept_seconds: how long the own queue waits for a reconnect; 0 lets it go with the
            connection.
        kept_events: most events the own queue holds; its oldest go first, which is told as a gap.
        connect_seconds: longest time for connecting and logging in.

    Raises:
        BrokerLost: the first connection failed, or a later one without `reconnect`.
        Rejected: the exchange or the queue is not there, or the envelope is of a later version.
        ValueError: the arguments contradict each other.
    """
    if since is not None and since.tzinfo is None:
        raise ValueError(f"since={since} has no time zone")
    if since is not None and queue is None:
        queue = f"{prefix}.{event_class}"
    if event_class not in set(EventClass):
        raise ValueError(f"{event_class!r} is no event class; use one of {', '.join(EventClass)}")
    if queue is None:
        keys = own_keys(EventClass(event_class), category, symbol)
        source = own_queue(prefix, keys, prefetch, kept_seconds, kept_events)
    else:
        source = Source(queue, prefetch)
    position = Position(None if since is None else since.astimezone(UTC))
    watch = Watch(on_gap, follows_numbers=not is_shared)

    async def on_lost_queue() -> None:
        detail = f"queue {source.queue} was gone when the consumer came back"
        await watch.tell(Gap(event_class, category, None, EXPIRED, None, None, detail, None))

    messages = read_messages(
        amqp_url,
        source,
        position,
        reconnect=reconnect,
        connect_seconds=connect_seconds,
        on_lost_queue=on_lost_queue,
    )
    reader = _Reader(
        position,
        choice=Choice(event_class, category, symbol, since, account),
        watch=watch,
        most_remembered=remembered_ids,
        is_manual=acknowledge == "manual",
    )
    return reader.events(messages)


def _identity(one: Envelope | Event) -> str:
    """Name what must not be read twice: a fact, and of a snapshot also its place in the stream.

    A quiet book is told again as it was, with the same id, after a hole: that snapshot mends it.
    """
    if one.kind == "snapshot":
        return f"{one.event_id}@{one.epoch}:{one.sequence}"
    return one.event_id


class _Settlement:
    """One event's fate; it follows the event to the connection on which it comes again."""

    __slots__ = ("_message", "_reader", "identity")

    def __init__(self, reader: _Reader, identity: str, message: Message) -> None:
        self._reader = reader
        self._message: Message | None = message
        self.identity = identity

    @property
    def offset(self) -> int | None:
        return None if self._message is None else self._message.offset

    def renew(self, message: Message) -> bool:
        """Take this copy, if the one before went with its connection; False if it is a second."""
        if self._message is not None and not self._message.is_lost:
            return False
        self._message = message
        return True

    async def ack(self) -> None:
        message = self._taken(is_done=True)
        if message is not None:
            await message.ack()

    async def ack_in_turn(self) -> None:
        message = self._taken(is_done=True)
        if message is not None:
            await message.ack_in_turn()

    async def reject(self, *, requeue: bool) -> None:
        message = self._taken(is_done=not requeue)
        if message is not None:
            await message.reject(requeue=requeue)

    def _taken(self, *, is_done: bool) -> Message | None:
        message, self._message = self._message, None
        if message is not None:
            self._reader.settled(self.identity, is_done=is_done)
        return message


class _Reader:
    """Makes events of messages, each once."""

    def __init__(
        self,
        position: Position,
        *,
        choice: Choice,
        watch: Watch,
        most_remembered: int,
        is_manual: bool,
    ) -> None:
        self._position = position
        self._choice = choice
        self._watch = watch
        self._most_remembered = most_remembered
        self._is_manual = is_manual
        self._done: dict[str, None] = {}
        self._open: dict[str, _Settlement] = {}

    async def events(self, messages: AsyncGenerator[Message]) -> AsyncGenerator[Event]:
        """Yield what is wanted and was not there before."""
        async with aclosing(messages):
            async for message in messages:
                event = await self._event_of(message)
                if event is not None:
                    yield event
                    # Reached only when the loop asks for more: its body came to its end.
                    if not self._is_manual:
                        await self._finish(_identity(event))
                self._note_position(message)

    def settled(self, identity: str, *, is_done: bool) -> None:
        """Take note that an event was acknowledged or given back."""
        self._open.pop(identity, None)
        if is_done and self._most_remembered:
            self._done[identity] = None
            if len(self._done) > self._most_remembered:
                del self._done[next(iter(self._done))]

    async def _event_of(self, message: Message) -> Event | None:
        try:
            envelope = read_envelope(message.body)
        except msgspec.DecodeError as exc:
            sample = message.body[:_SAMPLE]
            log.warning("client.event_unreadable error=%s sample=%r", exc, sample)
            await message.reject(requeue=False)
            return None
        if self._choice.is_early(envelope):
            await self._skip(message)
            return None
        gap = self._watch.look_at(envelope)
        identity = _identity(envelope)
        waiting = self._open.get(identity)
        is_new = waiting is None and identity not in self._done
        # A hole in the numbers shows once, maybe by an event that is not wanted or was had before.
        is_told = is_new or (gap is not None and gap.reason == UNEXPLAINED)
        if gap is not None and is_told and self._choice.concerns(envelope):
            await self._watch.tell(gap)
        if waiting is not None:
            if not waiting.renew(message):
                await self._skip(message)
            return None
        if not (is_new and self._choice.takes(envelope)):
            await self._skip(message)
            return None
        settlement = self._open[identity] = _Settlement(self, identity, message)
        return Event(
            **fields_of(envelope),
            body=message.body,
            redelivered=message.is_redelivered,
            resent=message.is_resent,
            offset=message.offset,
            settlement=settlement,
        )

    async def _skip(self, message: Message) -> None:
        # In turn means everything before it too, which in manual mode is not ours to say.
        await (message.ack() if self._is_manual else message.ack_in_turn())

    async def _finish(self, identity: str) -> None:
        settlement = self._open.get(identity)
        if settlement is not None:
            await settlement.ack_in_turn()

    def _note_position(self, message: Message) -> None:
        """Remember where to go on in a stream: behind what is done, before what is open."""
        if message.offset is not None:
            waiting = [one.offset for one in self._open.values() if one.offset is not None]
            self._position.offset = min(waiting, default=message.offset + 1)
            self._position.newest = message.offset, message.body
