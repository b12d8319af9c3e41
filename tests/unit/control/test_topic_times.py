"""How long topics take to become active, as the reconciler sees it."""

from __future__ import annotations

from support.memory_gateway import Gateway
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, build_topic

BOOK = build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol="BTCUSDT")


def told(gateway: Gateway) -> tuple[tuple[int, float], tuple[int, float]]:
    """Return count and sum of the times to subscribe and to come back."""
    times = gateway.reconciler.times
    first, again = times.subscribing.of("linear"), times.resubscribing.of("linear")
    return (first.cumulative()[-1], first.total), (again.cumulative()[-1], again.total)


async def test_a_topic_is_timed_from_the_wish_to_active_and_from_loss_to_active() -> None:
    """A snapshot asked for in between is neither."""
    gateway = Gateway()
    gateway.now = 10.0
    async with gateway.http:
        await gateway.want(BOOK)
        gateway.now = 10.5
        gateway.feed.answer(BOOK, State.ACTIVE)
        assert told(gateway) == ((1, 0.5), (0, 0.0))
        gateway.feed.answer(BOOK, State.PENDING)
        gateway.now = 11.0
        gateway.feed.answer(BOOK, State.ACTIVE)
        assert told(gateway) == ((1, 0.5), (0, 0.0))
        gateway.feed.answer(BOOK, State.REQUESTED)
        gateway.now = 13.0
        gateway.feed.answer(BOOK, State.PENDING)
        gateway.now = 13.25
        gateway.feed.answer(BOOK, State.ACTIVE)
        assert told(gateway) == ((1, 0.5), (1, 2.25))


async def test_a_topic_that_is_refused_or_given_up_is_not_timed() -> None:
    """Nor does a later success count from that wish."""
    gateway = Gateway()
    gateway.now = 10.0
    async with gateway.http:
        await gateway.want(BOOK)
        gateway.feed.answer(BOOK, State.REJECTED, "no")
        gateway.now = 500.0
        row, _ = await gateway.store.add(BOOK, "s", "explicit")
        assert gateway.reconciler.wish_added(row) is not None
        gateway.now = 501.0
        gateway.feed.answer(BOOK, State.ACTIVE)
        assert told(gateway) == ((1, 1.0), (0, 0.0))
