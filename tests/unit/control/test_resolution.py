"""What is to be stored for wishes, beside what stands already."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from ws_gateway.control.policy import Policy
from ws_gateway.control.register import Register
from ws_gateway.control.resolution import Resolution
from ws_gateway.control.wishes import EXPLICIT, TopicChoice, Wish
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.errors import Contradiction, Rejected

POLICY = Policy(tuple(Category), Category.LINEAR, has_credentials=False)
WISH = Wish(Channel.TICKER, "s", symbol="BTCUSDT")


def beside(*standing: tuple[Category, str], policy: Policy = POLICY) -> Resolution:
    """Resolve wishes beside tickers of BTCUSDT that stand in categories, chosen by something."""
    register = Register()
    now = datetime.now(UTC)
    register.put(
        Subscription(
            uuid4(),
            build_topic(Channel.TICKER, category=category, symbol="BTCUSDT"),
            "s",
            SubscriptionState.ACTIVE,
            chosen_by,
            None,
            now,
            now,
        )
        for category, chosen_by in standing
    )
    return Resolution(TopicChoice(policy), register)


async def test_a_wish_that_stands_keeps_the_category_it_was_given() -> None:
    """The default may have changed since; one that was named by its service is another wish."""
    kept = await beside((Category.SPOT, "configured default")).of(WISH)
    assert (kept.topic.category, kept.chosen_by) == (Category.SPOT, "configured default")
    fresh = await beside((Category.SPOT, EXPLICIT)).of(WISH)
    assert fresh.topic.category is Category.LINEAR


async def test_a_standing_category_that_is_not_served_any_more_is_not_kept() -> None:
    """What the settings forbid now is chosen anew."""
    policy = Policy((Category.LINEAR,), Category.LINEAR, has_credentials=False)
    wanted = await beside((Category.SPOT, "configured default"), policy=policy).of(WISH)
    assert wanted.topic.category is Category.LINEAR


async def test_the_same_wish_twice_in_a_set_is_one() -> None:
    """However it is written: a delivery that is not named is the shared one."""
    shared = Wish(
        Channel.TICKER, "s", symbol="BTCUSDT", category=Category.LINEAR, delivery=Delivery.SHARED
    )
    assert len(await beside().of_set([WISH, shared])) == 1


async def test_a_set_that_wants_a_topic_in_two_ways_is_refused_by_both_places() -> None:
    """Nobody could say which of them is meant."""
    leased = Wish(Channel.TICKER, "s", symbol="BTCUSDT", ttl_seconds=60)
    with pytest.raises(Contradiction, match="subscriptions 0 and 1 both want") as caught:
        await beside().of_set([WISH, leased])
    assert caught.value.field == "subscriptions.1"


async def test_the_first_refusal_of_a_set_tells_a_few_more() -> None:
    """The field is the first one's; the others are named in words, three at most."""
    nameless = Wish(Channel.TICKER, "s")
    with pytest.raises(Rejected, match=r"also subscriptions\.2: .*subscriptions\.4") as caught:
        await beside().of_set([WISH, *[nameless] * 6])
    assert caught.value.field == "subscriptions.1.symbol"
    assert "subscriptions.5" not in str(caught.value)
