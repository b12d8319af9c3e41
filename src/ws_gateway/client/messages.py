"""Messages of one queue, over connections that come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from random import SystemRandom
from uuid import uuid4

from ws_gateway.client.link import FIRST, Link, Message, Position, Source, open_link
from ws_gateway.errors import BrokerLost, Rejected
from ws_gateway.runtime.backoff import full_jitter

log = logging.getLogger(__name__)  # the consumer's process decides where this goes

_Offset = int | datetime | str | None


def own_queue(
    prefix: str, keys: Sequence[str], prefetch: int, kept_seconds: float, kept_events: int
) -> Source:
    """Return a queue of the consumer's own, which takes nothing from anyone."""
    arguments: dict[str, object] = {"x-max-length": kept_events}
    if kept_seconds:
        arguments["x-expires"] = max(1, round(kept_seconds * 1000))
    return Source(
        f"{prefix}.reader.{uuid4().hex}",
        prefetch,
        f"{prefix}.events",
        keys,
        arguments,
        is_exclusive=not kept_seconds,
    )


async def read_messages(
    url: str,
    source: Source,
    position: Position,
    *,
    reconnect: bool,
    connect_seconds: float,
    on_lost_queue: Callable[[], Awaitable[None]] | None = None,
) -> AsyncGenerator[Message]:
    """Yield what arrives; what is not settled when a connection is lost comes again.

    Before what comes on a new connection, `on_lost_queue` is called if the own queue had gone, or
    a stream had been made anew; of that all is read.

    Raises:
        BrokerLost: the first connection failed, or a later one without `reconnect`.
        Rejected: the exchange or the queue is not there at first.
    """
    rng = SystemRandom()
    had_one = False
    delays = full_jitter(base_seconds=0.1, cap_seconds=10.0, rng=rng)
    while True:
        try:
            link = await _opened(url, source, position, connect_seconds)
        except (BrokerLost, Rejected) as exc:
            if not (reconnect and had_one):
                raise
            # Also of a queue that is not there: after an outage the gateway declares it again.
            log.warning("client.broker_unreachable queue=%s error=%s", source.queue, exc)
            await asyncio.sleep(next(delays))
            continue
        had_one = True
        try:
            if position.has_lost_queue and on_lost_queue is not None:
                await on_lost_queue()
                position.has_lost_queue = False
            while True:
                message = await link.next()
                position.is_stream = message.offset is not None
                delays = full_jitter(base_seconds=0.1, cap_seconds=10.0, rng=rng)
                yield message
        except BrokerLost as exc:
            if not reconnect:
                raise
            log.warning("client.broker_lost queue=%s error=%s", source.queue, exc)
        finally:
            await link.close()
        await asyncio.sleep(next(delays))


async def _opened(url: str, source: Source, position: Position, seconds: float) -> Link:
    """Connect and consume; again if something was consumed before."""
    is_plain = source.is_own or position.is_stream is False
    if position.began is None or is_plain or position.offset is not None:
        began = datetime.now(UTC)
        link = await _begun(url, source, position, position.offset, seconds)
        position.began = position.began or began
        return link
    # Nothing came yet. If it is a stream, what came meanwhile is behind the time of the beginning.
    try:
        return await _begun(url, source, position, position.began, seconds)
    except Rejected as exc:
        if position.is_stream or exc.code != "refused":
            raise
    link = await _begun(url, source, position, None, seconds)
    position.is_stream = False
    return link


async def _begun(
    url: str, source: Source, position: Position, offset: _Offset, seconds: float
) -> Link:
    link = await open_link(url, source, seconds=seconds)
    try:
        async with asyncio.timeout(seconds):
            if source.is_own and position.began is not None and await link.is_queue_gone():
                position.has_lost_queue = True
            newest = position.newest if isinstance(offset, int) else None
            if newest is None or await link.still_holds(*newest, seconds / 2):
                await link.begin(offset)
            else:  # its offsets count from 0 again: ours would hide what is in it
                await link.begin(FIRST)
                position.offset, position.newest = FIRST, None
                position.has_lost_queue = True
    except BaseException as exc:
        await link.close()
        if isinstance(exc, TimeoutError):
            raise BrokerLost("the broker did not answer in time") from exc
        raise
    return link
