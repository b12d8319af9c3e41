"""Making the venue's topics those that are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import copy_context
from itertools import islice

import structlog

from ws_gateway.control.policy import Policy
from ws_gateway.control.register import Register
from ws_gateway.control.topic_states import LEAVING, StateNews, TopicStates
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.errors import Rejected
from ws_gateway.ports.feed import Feed

_PIECE_TOPICS = 100  # how many topics are compared at once: events wait meanwhile

_log = structlog.get_logger(__name__)


class Alignment:
    """Closes the difference between the register and the feed; alone calls `want` and `drop`.

    Args:
        feed: the venue.
        policy: what may be asked of it.
        register: what is wanted.
        states: what is known of each topic.
        note: told of topics that are refused here.
    """

    def __init__(
        self,
        feed: Feed,
        policy: Policy,
        register: Register,
        states: TopicStates,
        note: Callable[[Topic, StateNews], None],
    ) -> None:
        self._feed = feed
        self._policy = policy
        self._register = register
        self._states = states
        self._note = note
        self._is_stopped = False
        self._touched: set[Topic] = set()
        self._closing: asyncio.Handle | None = None
        # Not that of whoever asks: what is opened here outlives the request, and is not its doing.
        self._context = copy_context()
        self._asked_again: set[Topic] = set()
        self._refusals: dict[tuple[Channel, Category | None, str | None], Rejected | None] = {}
        self._unserved: set[Topic] = set()

    def stop(self) -> None:
        """Begin nothing by itself any more."""
        self._is_stopped = True

    def ask_again(self, topic: Topic) -> None:
        """Ask for a topic although the venue refused it."""
        self._asked_again.add(topic)
        self._unserved.discard(topic)
        self._states.changed([topic])
        self.touch([topic])

    def is_asked_again(self, topic: Topic) -> bool:
        """Say whether a refused topic is about to be asked for again."""
        return topic in self._asked_again

    def touch(self, topics: Iterable[Topic]) -> None:
        """Close the difference of these, together with that of others, a moment later."""
        self._touched.update(topics)
        if self._touched and self._closing is None and not self._is_stopped:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_soon(self._close_soon, context=self._context)

    def _close_soon(self) -> None:
        self._closing = None
        if not self._is_stopped:
            self._close_some()
            self.touch(())  # the rest, if there is any, has its turn after what else is due

    async def close_touched(self) -> None:
        """Close the difference of what was touched, in pieces."""
        while self._touched:
            self._close_some()
            await asyncio.sleep(0)

    def _close_some(self) -> None:
        some = list(islice(self._touched, _PIECE_TOPICS))
        self._touched.difference_update(some)
        self._close(_in_order(some))

    async def close_all(self) -> None:
        """Close every difference there is, in pieces."""
        topics = _in_order({*self._register.topics, *self._feed.wanted()})
        for first in range(0, len(topics), _PIECE_TOPICS):
            self._close(topics[first : first + _PIECE_TOPICS])
            await asyncio.sleep(0)

    def _close(self, topics: Iterable[Topic]) -> None:
        """Ask the feed for what is missing and let go of what nobody wants.

        There is no wait between looking and the calls, so nothing changes in between.
        """
        missing, surplus = [], []
        for topic in topics:
            state = self._feed.state(topic)
            is_staying = state is not None and state not in LEAVING
            if topic in self._register.topics:
                # A rejected topic stays, so it is not missing: the interval does not repeat a
                # question the venue has answered.
                is_missing = not is_staying or topic in self._asked_again
                if self._is_served(topic) and is_missing:
                    missing.append(topic)
            elif not is_staying:
                self._forget(topic)
            elif self._register.is_complete:
                surplus.append(topic)
        self._drop(surplus)
        self._want(missing)
        if missing or surplus:
            _log.info(
                "control.topics_reconciled",
                wanted=len(missing),
                dropped=len(surplus),
                desired=len(self._register.topics),
            )

    def _want(self, topics: list[Topic]) -> None:
        if topics:
            self._asked_again.difference_update(topics)
            self._states.changed(topics)
            for topic in topics:
                self._states.asked(topic)
            self._feed.want(topics)

    def _drop(self, topics: list[Topic]) -> None:
        if topics:
            self._feed.drop(topics)
            for topic in topics:
                self._forget(topic)

    def _is_served(self, topic: Topic) -> bool:
        """Reject what was stored under other settings.

        The rows stay, because the next start may serve them again.
        """
        kind = (topic.channel, topic.category, topic.account)
        if kind not in self._refusals:
            self._refusals[kind] = self._policy.refusal(
                topic.channel, topic.category, account=topic.account
            )
        refusal = self._refusals[kind]
        if refusal is None:
            return True
        if topic not in self._unserved:
            self._unserved.add(topic)
            self._note(topic, (SubscriptionState.REJECTED, str(refusal)))
            _log.warning("control.topic_unserved", topic=topic.key, why=str(refusal))
        return False

    def _forget(self, topic: Topic) -> None:
        self._states.forget(topic)
        self._unserved.discard(topic)
        self._asked_again.discard(topic)
        self._states.changed([topic])


def _in_order(topics: Iterable[Topic]) -> list[Topic]:
    return sorted(topics, key=lambda topic: topic.key)
