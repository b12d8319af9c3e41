"""Whoever waits for the venue's answer to a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ws_gateway.control.topic_states import StateNews
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic

_SETTLED = frozenset({SubscriptionState.ACTIVE, SubscriptionState.REJECTED})


def is_settled(news: StateNews | None) -> bool:
    """Say whether nobody need wait for a topic of which this is the newest."""
    return news is not None and news[0] in _SETTLED


class Settling:
    """Wakes callers when the topics they wait for are active or rejected."""

    def __init__(self) -> None:
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {}

    def note(self, topic: Topic, state: SubscriptionState) -> None:
        """Wake who waits for this topic, if this is what they wait for."""
        if self._waiting and state in _SETTLED:
            for waiter in self._waiting.pop(topic, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self, topics: Iterable[Topic], seconds: float) -> None:
        """Wait until each of these is settled, at most so long."""
        loop = asyncio.get_running_loop()
        waiters = {topic: loop.create_future() for topic in topics}
        for topic, waiter in waiters.items():
            self._waiting.setdefault(topic, set()).add(waiter)
        try:
            if waiters:
                await asyncio.wait(waiters.values(), timeout=seconds)
        finally:
            for topic, waiter in waiters.items():
                waiter.cancel()
                others = self._waiting.get(topic, set())
                others.discard(waiter)
                if not others:
                    self._waiting.pop(topic, None)
