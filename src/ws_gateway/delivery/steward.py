"""Looks after the queues, over a connection of its own: keeps dedicated ones, watches all.

Of its own, because a broker that is short of memory or disk stops reading from connections that
publish, and that is when one wants to know how full the queues are.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from random import Random
from typing import Protocol

import structlog

from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.link import Deaf, Link, lost_or, open_link
from ws_gateway.delivery.news import News
from ws_gateway.delivery.topology import Names, ensure_exchange, in_time
from ws_gateway.errors import BrokerLost, DatabaseLost
from ws_gateway.runtime.backoff import full_jitter

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often the queues are looked at."""

_LOOK_AGAIN_SECONDS = 0.1  # while some are about to be declared

SETTLE_PATIENCE_SECONDS = 1.0
"""How long a caller of the HTTP API waits for its queue at most."""

_DEADLINE_SECONDS = 10.0
_GOODBYE_SECONDS = 0.5


class QueueWatch(Protocol):
    """Whoever wants to know how the queues are."""

    async def look(self, link: Link) -> bool:
        """Look at every queue once.

        Answers False if it is too early for some, which is worth another look soon.

        Raises:
            BrokerLost: the connection went away.
        """


class QueueSteward:
    """Keeps a connection for the queues; the only one who settles them.

    Attributes:
        is_connected: the broker can be asked.

    Args:
        url: of the broker.
        names: of the AMQP objects.
        keeper: of the dedicated queues.
        watch: looks at all queues.
        rng: spreads the retries.
        look_seconds: how often.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        keeper: DedicatedKeeper,
        watch: QueueWatch,
        *,
        rng: Random,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._url = url
        self._names = names
        self._keeper = keeper
        self._watch = watch
        self._rng = rng
        self._look_seconds = look_seconds
        self.is_connected = False
        self._was_useful = False
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._news = News()

    async def settle(self) -> None:
        """Bring queues and bindings in step now; answers when they are, or after a second."""
        settled = self._settled
        self.wishes_changed()
        if self.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_PATIENCE_SECONDS):
                    await settled.wait()

    def wishes_changed(self) -> None:
        """Bring queues and bindings in step soon."""
        self._wake.set()

    async def run(self) -> None:
        """Look after the queues until cancelled; never gives up."""
        delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
        while True:
            try:
                await self._one_connection()
            except BrokerLost as exc:
                if self._news.is_due("broker"):
                    log.warning("delivery.queues_unattended", why=str(exc))
            if self._was_useful:
                self._was_useful = False
                delays = full_jitter(base_seconds=0.1, cap_seconds=5.0, rng=self._rng)
            await asyncio.sleep(next(delays))

    async def _one_connection(self) -> None:
        name = f"{self._names.prefix} queues"
        link = await open_link(self._url, Deaf(), deadline_seconds=_DEADLINE_SECONDS, name=name)
        try:
            await in_time(ensure_exchange(link, self._names))  # the publisher tells of a drift
            self._keeper.doubt()
            self.is_connected = self._was_useful = True
            look_at = time.monotonic()
            while not link.lost.done():
                self._wake.clear()
                settled, self._settled = self._settled, asyncio.Event()
                if await self._settle(link):
                    settled.set()
                else:
                    self._settled = settled  # who waits for it goes on waiting
                if time.monotonic() >= look_at:
                    is_complete = await self._watch.look(link)
                    pause = self._look_seconds if is_complete else _LOOK_AGAIN_SECONDS
                    look_at = time.monotonic() + pause
                await lost_or(self._wake, link, max(0.0, look_at - time.monotonic()))
        except asyncio.CancelledError:
            await link.close(_GOODBYE_SECONDS)
            raise
        finally:
            self.is_connected = False
            link.abort("left")
        raise BrokerLost(link.lost.result())

    async def _settle(self, link: Link) -> bool:
        try:
            await self._keeper.settle(link)
        except DatabaseLost as exc:
            # What stands goes on being filled; nothing is taken away on a guess.
            if self._news.is_due("database"):
                log.warning("delivery.queues_unsettled", why=str(exc))
            return False
        return True
