"""What a service asks for, and which topic serves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ws_gateway.control.policy import Policy
from ws_gateway.domain.category import UNLISTED, choose_category
from ws_gateway.domain.subscription import Delivery
from ws_gateway.domain.topic import (
    CHANNEL_CATEGORIES,
    POOLED,
    POOLS,
    PRIVATE_CHANNELS,
    Category,
    Channel,
    Topic,
    build_topic,
)
from ws_gateway.errors import Rejected
from ws_gateway.ports.feed import InstrumentList

EXPLICIT = "explicit"
"""What chose the category where the service named it."""

MOST_FAULTS = 3
"""How many refused subscriptions of a set are told beside the first."""

# Words that are letters, digits, _ and -, joined by single dots: the service becomes part of the
# name of a queue, which people type and which patterns of permissions and policies match.
_QUEUE_WORDS = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a service asks for, in its own words.

    Attributes:
        delivery: which queue; None is shared, or what stands already.
        ttl_seconds: how long the lease is; None is none, or what stands already.
        account: whose private data; None is the first account.
    """

    channel: Channel
    requesting_service: str
    symbol: str | None = None
    category: Category | None = None
    depth: int | None = None
    interval: str | None = None
    delivery: Delivery | None = None
    ttl_seconds: int | None = None
    account: str | None = None


class TopicChoice:
    """Finds the topic that serves a wish.

    Args:
        policy: what may be asked for.
        instruments: what the venue lists; None if nobody asks it.
    """

    def __init__(self, policy: Policy, instruments: InstrumentList | None = None) -> None:
        self._policy = policy
        self._instruments = instruments

    def is_served(self, topic: Topic) -> bool:
        """Say whether a topic may be asked for."""
        refusal = self._policy.refusal(topic.channel, topic.category, account=topic.account)
        return refusal is None

    async def topic_of(self, wish: Wish) -> tuple[Topic, str]:
        """Answer the topic, and what chose its category.

        Raises:
            Rejected: the wish cannot be served as it stands.
        """
        self._require(wish.channel, wish.category)
        await self._refuse_misspelt(wish)
        return self._topic_of(wish)

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
        category, chosen_by = wish.category, EXPLICIT
        if wish.channel in CHANNEL_CATEGORIES:
            category, chosen_by = self._category_of(wish)
            self._require(wish.channel, category, chosen_by)
        topic = build_topic(
            wish.channel,
            category=category,
            symbol=wish.symbol,
            depth=wish.depth,
            interval=wish.interval,
            account=self._account_of(wish),
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

    def _account_of(self, wish: Wish) -> str | None:
        """Return the account as topics name it; of a public channel as it came, to be refused."""
        if wish.account is None or wish.channel not in PRIVATE_CHANNELS:
            return wish.account
        return self._policy.key_of_account(wish.account)

    def _require(
        self, channel: Channel, category: Category | None, chosen_by: str | None = None
    ) -> None:
        if refusal := self._policy.refusal(channel, category, chosen_by):
            raise refusal

    def _category_of(self, wish: Wish) -> tuple[Category | None, str]:
        """Choose the category of a channel that has a socket per category."""
        if wish.category is not None:
            return wish.category, EXPLICIT
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
        return EXPLICIT
    if topic.category is not None:
        return f"{topic.name} is of {topic.category} alone"
    return f"{topic.name} is of {'all categories' if asked is None else 'linear and inverse'}"


def way_of(delivery: Delivery, ttl_seconds: int | None) -> str:
    """Say how a topic is wanted."""
    lease = "without ttl_seconds" if ttl_seconds is None else f"ttl_seconds {ttl_seconds}"
    return f"delivery {delivery} and {lease}"


def together(refused: Sequence[tuple[int, Rejected]]) -> Rejected:
    """Tell the first refusal of a set, and in words a few more."""
    place, first = refused[0]
    field = ".".join(["subscriptions", str(place), first.field or ""]).strip(".")
    others = [f"subscriptions.{place}: {exc}" for place, exc in refused[1:]]
    told = type(first)(
        "; also ".join([str(first), *others]),
        code=first.code,
        field=field,
        found=first.found,
        allowed=first.allowed,
    )
    told.__cause__ = first
    return told
