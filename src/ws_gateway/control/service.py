"""What can be done with subscriptions, without a word of HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import structlog

from ws_gateway.control.access import require, require_service
from ws_gateway.control.policy import Policy
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.category import UNLISTED, choose_category
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import (
    CHANNEL_CATEGORIES,
    POOLED,
    POOLS,
    Category,
    Channel,
    Topic,
    build_topic,
)
from ws_gateway.errors import DatabaseLost, Rejected
from ws_gateway.ports import (
    DedicatedQueues,
    InstrumentList,
    SubscriptionFilter,
    SubscriptionStore,
)
from ws_gateway.runtime.tracing import note

# Words that are letters, digits, _ and -, joined by single dots: the service becomes part of the
# name of a queue, which people type and which patterns of permissions and policies match.
_QUEUE_WORDS = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

MEMORY = "memory"
"""Where an answer came from while the database was away."""

_log = structlog.get_logger(__name__)


class WishListener(Protocol):
    """Who makes wishes come true; the reconciler."""

    def wish_added(self, topic: Topic) -> tuple[SubscriptionState, str | None] | None:
        """Act on a wish; answers the state of a topic that is known already."""

    def wishes_removed(self) -> None:
        """Act on the removal of wishes."""


class LedgerCopy(Protocol):
    """What the ledger held when it was last heard. Every call raises `DatabaseLost` if unsure."""

    def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""

    def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`."""


class TraceKeeper(Protocol):
    """Who remembers which request asked for a topic."""

    def note(self, topic: Topic, trace_id: str | None) -> None:
        """Take note of it; None is no trace."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a service asks for, in its own words.

    Attributes:
        delivery: which queue; None is shared, or what stands already.
    """

    channel: Channel
    requesting_service: str
    symbol: str | None = None
    category: Category | None = None
    depth: int | None = None
    interval: str | None = None
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `next_after` continues it, None ends it."""

    items: list[Subscription]
    next_after: UUID | None


class SubscriptionService:
    """Use cases of subscriptions.

    Every call may raise `DatabaseLost`; a wish it refuses is `Rejected` with the field at fault,
    and what the caller may not do is `Forbidden`. A key that is bound to services sees and changes
    what is theirs: other services' names are refused, their ids do not exist for it.

    Args:
        store: the ledger of wishes.
        listener: who makes wishes come true at the venue.
        policy: what may be asked for.
        instruments: what the venue lists; None if nobody asks it.
        queues: who makes wishes for queues come true; None serves the shared ones alone.
        asked_by: told which request asked for a topic; None tells nobody.
        memory: answers reads while the database is away; None leaves them unanswered.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        listener: WishListener,
        policy: Policy,
        instruments: InstrumentList | None = None,
        queues: DedicatedQueues | None = None,
        *,
        asked_by: TraceKeeper | None = None,
        memory: LedgerCopy | None = None,
    ) -> None:
        self._store = store
        self._listener = listener
        self._policy = policy
        self._instruments = instruments
        self._queues = queues
        self._asked_by = asked_by
        self._memory = memory

    async def add(self, caller: Caller, wish: Wish) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new.

        A wish that stands already is answered as it is, but for the delivery if that was named; if
        the venue refused its topic, the venue is asked again.

        Raises:
            Rejected: the wish cannot be served as it stands.
        """
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, wish.requesting_service)
        self._require(wish.channel, wish.category)
        await self._refuse_misspelt(wish)
        topic, chosen_by = self._topic_of(wish)
        subscription, is_new = await self._store.add(
            topic, wish.requesting_service, chosen_by, wish.delivery, by=caller
        )
        if self._queues is not None:
            if subscription.delivery is Delivery.DEDICATED:
                # Before the venue is asked, so that the queue gets the first snapshot too.
                await self._queues.settle()
            elif not is_new and wish.delivery is not None:
                self._queues.wishes_changed()
        if self._asked_by is not None:
            self._asked_by.note(topic, caller.trace_id)
        news = self._listener.wish_added(topic)
        if news is not None:
            state, error = news
            subscription = replace(subscription, state=state, last_error=error)
        if is_new:
            _log.info("control.subscription_added", **_words(subscription))
        return subscription, is_new

    async def get(self, caller: Caller, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        try:
            found = await self._store.get(subscription_id)
        except DatabaseLost:
            if self._memory is None:
                raise
            found = self._memory.get(subscription_id)
            note(source=MEMORY)
        if found is None or not caller.speaks_for(found.requesting_service):
            return None
        return found

    async def page(
        self, caller: Caller, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> Page:
        """Return up to `limit` subscriptions behind `after`, in order of creation."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        if wanted.requesting_service is not None:
            require_service(caller, wanted.requesting_service)
        wanted = replace(wanted, services=caller.services)
        # One more than asked for tells whether another page follows.
        try:
            rows = await self._store.page(wanted, after=after, limit=limit + 1)
        except DatabaseLost:
            if self._memory is None:
                raise
            rows = self._memory.page(wanted, after=after, limit=limit + 1)
            note(source=MEMORY)
        items = rows[:limit]
        return Page(items, items[-1].id if len(rows) > limit else None)

    async def remove(self, caller: Caller, subscription_id: UUID) -> Subscription | None:
        """Forget one; answers what it was, or None."""
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        gone = await self._store.remove(subscription_id, by=caller)
        if gone is not None:
            self._listener.wishes_removed()
            self._wish_for_queues_changed()
            _log.info("control.subscription_removed", **_words(gone))
        return gone

    async def remove_service(self, caller: Caller, requesting_service: str) -> list[Subscription]:
        """Forget all of one service; answers what they were."""
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, requesting_service)
        gone = await self._store.remove_service(requesting_service, by=caller)
        if gone:
            self._listener.wishes_removed()
            self._wish_for_queues_changed()
            _log.info(
                "control.service_removed",
                requesting_service=requesting_service,
                subscriptions=len(gone),
            )
        return gone

    def _wish_for_queues_changed(self) -> None:
        if self._queues is not None:
            self._queues.wishes_changed()

    def _topic_of(self, wish: Wish) -> tuple[Topic, str]:
        service = wish.requesting_service
        if wish.delivery is Delivery.DEDICATED and not _QUEUE_WORDS.fullmatch(service):
            raise Rejected(
                f"no queue can be named after {service!r}: for delivery dedicated, a service is "
                "words of letters, digits, _ and - with single dots between them",
                code="service_unfit_for_queue",
                field="requesting_service",
                found=service,
            )
        self._require(wish.channel, None)
        category, chosen_by = wish.category, "explicit"
        if wish.channel in CHANNEL_CATEGORIES:
            category, chosen_by = self._category_of(wish)
            self._require(wish.channel, category, chosen_by)
        topic = build_topic(
            wish.channel,
            category=category,
            symbol=wish.symbol,
            depth=wish.depth,
            interval=wish.interval,
        )
        if wish.channel not in CHANNEL_CATEGORIES:
            chosen_by = _why_of(topic, wish.category)
            self._require(wish.channel, wish.category or topic.category, chosen_by)
        return topic, chosen_by

    async def _refuse_misspelt(self, wish: Wish) -> None:
        """Refuse a symbol that is nearly one that is listed: the venue would say no, but later."""
        if self._instruments is None or not wish.symbol or wish.channel in POOLED:
            return
        offered = CHANNEL_CATEGORIES.get(wish.channel, ())
        enabled = self._policy.enabled_categories
        categories = [each for each in offered if each in enabled]
        if wish.category is not None:
            categories = [each for each in categories if each is wish.category]
        near = await self._instruments.misspelt(wish.channel, wish.symbol, categories)
        if near:
            where = f" of {wish.category}" if wish.category else ""
            raise Rejected(
                f"no instruments list{where} names {wish.symbol}; "
                f"did you mean {' or '.join(near)}?",
                code="symbol_unknown",
                field="symbol",
                found=wish.symbol,
                allowed=near,
            )

    def _require(
        self, channel: Channel, category: Category | None, chosen_by: str | None = None
    ) -> None:
        if refusal := self._policy.refusal(channel, category, chosen_by):
            raise refusal

    def _category_of(self, wish: Wish) -> tuple[Category | None, str]:
        """Choose the category of a channel that has a socket per category."""
        if wish.category is not None:
            return wish.category, "explicit"
        if not wish.symbol:
            pooled = wish.channel in POOLED
            pools = [pool for of in POOLS.values() for pool in of] if pooled else None
            wanted = f"one of {', '.join(pools)}" if pools else "for example BTCUSDT"
            raise Rejected(
                f"channel {wish.channel} needs a symbol, {wanted}",
                code="symbol_missing",
                field="symbol",
                allowed=pools,
            )
        listing = (
            UNLISTED
            if self._instruments is None
            else self._instruments.listing(wish.channel, wish.symbol)
        )
        return choose_category(
            wish.channel,
            wish.symbol,
            listing,
            default=self._policy.default_category,
            enabled=self._policy.enabled_categories,
        )


def _why_of(topic: Topic, asked: Category | None) -> str:
    """Say what chose the category of a topic that no symbol decides."""
    if topic.category is asked is not None:
        return "explicit"
    if topic.category is not None:
        return f"{topic.name} is of {topic.category} alone"
    return f"{topic.name} is of {'all categories' if asked is None else 'linear and inverse'}"


def _words(subscription: Subscription) -> dict[str, str]:
    return {
        "id": str(subscription.id),
        "topic": subscription.topic.key,
        "requesting_service": subscription.requesting_service,
    }
