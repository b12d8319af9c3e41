"""Use cases of subscriptions, without HTTP and without a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from support.callers import ADMIN
from support.memory_store import MemorySubscriptions
from ws_gateway.control.board import TopicBoard
from ws_gateway.control.policy import Policy
from ws_gateway.control.register import Register
from ws_gateway.control.service import SubscriptionService, Wish
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState, UnreadableRow
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.errors import Rejected
from ws_gateway.ports.store import SubscriptionFilter
from ws_gateway.settings_source import load_settings

FULL = Policy(
    enabled_categories=tuple(Category), default_category=Category.LINEAR, has_credentials=True
)


class NotedWishes:
    """Notes what the service tells the reconciler, and knows what that makes of the ledger."""

    def __init__(self) -> None:
        self.register = Register()
        self.board = TopicBoard(lambda _: None, list)
        self.database_error: str | None = None
        self.is_current = False
        self.added: list[Topic] = []
        self.removals = 0

    def wish_added(self, row: Subscription) -> tuple[SubscriptionState, str | None] | None:
        """Note a wish."""
        self.wishes_added([row])
        return None

    def wishes_added(self, rows: Sequence[Subscription]) -> None:
        """Note wishes."""
        self.register.put(rows)
        self.added += [row.topic for row in rows]

    def wishes_removed(self, rows: Iterable[Subscription | UnreadableRow]) -> None:
        """Note a removal."""
        gone = [row.id for row in rows]
        self.register.drop(gone)
        self.removals += bool(gone)

    def state(self, topic: Topic) -> tuple[SubscriptionState, str | None, float] | None:
        """Know of no state."""

    def carriers(self, topic: Topic) -> Sequence[str]:
        """Name the topic's endpoint."""
        return [topic.endpoint.value]

    def services(self, topic: Topic) -> int:
        """Count who wants it."""
        return self.register.services(topic)

    async def settled(self, topics: Iterable[Topic], seconds: float) -> None:
        """Never wait."""


def service(policy: Policy = FULL) -> tuple[SubscriptionService, NotedWishes]:
    """Build a service on an empty ledger."""
    noted = NotedWishes()
    return SubscriptionService(MemorySubscriptions(), noted, policy), noted


@pytest.mark.parametrize(
    ("wish", "topic", "category", "why"),
    [
        (
            Wish(Channel.ORDERBOOK, "s", symbol="BTCUSDT", category=Category.SPOT),
            "orderbook.50.BTCUSDT",
            Category.SPOT,
            "explicit",
        ),
        (
            Wish(Channel.ORDERBOOK, "s", symbol="BTCUSDT"),
            "orderbook.50.BTCUSDT",
            Category.LINEAR,
            "configured default",
        ),
        (
            Wish(Channel.TRADES, "s", symbol="BTCUSD"),
            "publicTrade.BTCUSD",
            Category.INVERSE,
            "coin-margined",
        ),
        (Wish(Channel.EXECUTION, "s"), "execution", None, "of all categories"),
        (
            Wish(Channel.EXECUTION, "s", category=Category.LINEAR),
            "execution.linear",
            Category.LINEAR,
            "explicit",
        ),
        (
            Wish(Channel.EXECUTION_FAST, "s", category=Category.OPTION),
            "execution.fast.option",
            Category.OPTION,
            "explicit",
        ),
        (Wish(Channel.DCP, "s", category=Category.INVERSE), "dcp.future", None, "and inverse"),
        (Wish(Channel.SPREAD_ORDER, "s"), "spread.order", Category.SPREAD, "spread alone"),
        (Wish(Channel.SYSTEM_STATUS, "s"), "system.status", None, "of all categories"),
        (
            Wish(Channel.INSURANCE, "s", symbol="inverse"),
            "insurance.inverse",
            Category.INVERSE,
            "pool of inverse",
        ),
        (Wish(Channel.ADL_ALERT, "s", symbol="USDC"), "adlAlert.USDC", Category.LINEAR, "pool"),
    ],
)
async def test_the_category_and_its_reason(
    wish: Wish, topic: str, category: Category | None, why: str
) -> None:
    """An explicit category wins, else the symbol tells, and the reason is kept."""
    use, noted = service()
    live, is_new = await use.add(ADMIN, wish)
    subscription = live.subscription
    assert is_new
    assert subscription.topic.name == topic
    assert subscription.topic.category is category
    assert why in subscription.chosen_by
    assert noted.added == [subscription.topic]


async def test_a_channel_that_spot_lacks_goes_to_linear() -> None:
    """With spot as the default, liquidations of BTCUSDT can only mean the perpetual."""
    use, _ = service(
        Policy(
            enabled_categories=tuple(Category),
            default_category=Category.SPOT,
            has_credentials=False,
        )
    )
    live, _ = await use.add(ADMIN, Wish(Channel.LIQUIDATION, "s", symbol="BTCUSDT"))
    subscription = live.subscription
    assert subscription.topic.category is Category.LINEAR
    assert "spot has no channel liquidation" in subscription.chosen_by


@pytest.mark.parametrize(
    ("policy", "wish", "code", "field"),
    [
        (
            Policy((Category.LINEAR, Category.SPOT), Category.LINEAR, has_credentials=False),
            Wish(Channel.TICKER, "s", symbol="BTCUSD"),
            "category_disabled",
            "category",
        ),
        (
            Policy(tuple(Category), Category.LINEAR, has_credentials=False),
            Wish(Channel.ORDER, "s"),
            "credentials_missing",
            "channel",
        ),
        (
            Policy(tuple(Category), Category.LINEAR, has_credentials=True, serves_public=False),
            Wish(Channel.TICKER, "s", symbol="BTCUSDT"),
            "public_not_served",
            "channel",
        ),
        (FULL, Wish(Channel.TICKER, "s"), "symbol_missing", "symbol"),
        (FULL, Wish(Channel.ORDER, "s", symbol="BTCUSDT"), "field_not_applicable", "symbol"),
        (
            Policy((Category.SPOT,), Category.SPOT, has_credentials=True),
            Wish(Channel.ORDER, "s", category=Category.LINEAR),
            "category_disabled",
            "category",
        ),
        (
            Policy((Category.SPOT,), Category.SPOT, has_credentials=True),
            Wish(Channel.SPREAD_EXECUTION, "s"),
            "category_disabled",
            "category",
        ),
        (
            FULL,
            Wish(Channel.SYSTEM_STATUS, "s", category=Category.SPOT),
            "field_not_applicable",
            "category",
        ),
        (
            FULL,
            Wish(Channel.POSITION, "s", category=Category.SPOT),
            "channel_not_in_category",
            "category",
        ),
        (FULL, Wish(Channel.DCP, "s"), "category_missing", "category"),
        (
            FULL,
            Wish(Channel.TRADES, "s", symbol="BTC-27DEC26-100000-C"),
            "base_coin_wanted",
            "symbol",
        ),
        (FULL, Wish(Channel.INSURANCE, "s", symbol="EUR"), "pool_not_offered", "symbol"),
        (
            FULL,
            Wish(Channel.TICKER, "s..", symbol="BTCUSDT", delivery=Delivery.DEDICATED),
            "service_unfit_for_queue",
            "requesting_service",
        ),
        (
            FULL,
            Wish(Channel.ORDERBOOK, "s", symbol="BTCUSDT", depth=7),
            "depth_not_offered",
            "depth",
        ),
    ],
)
async def test_what_cannot_be_served_is_refused_by_name(
    policy: Policy, wish: Wish, code: str, field: str
) -> None:
    """A refusal names the field, stores nothing and wakes nobody."""
    use, noted = service(policy)
    with pytest.raises(Rejected) as caught:
        await use.add(ADMIN, wish)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert (await use.page(ADMIN, SubscriptionFilter(), after=None, limit=10)).items == []
    assert noted.added == []


async def test_missing_credentials_name_the_settings() -> None:
    """The refusal of a private channel says which settings would allow it."""
    use, _ = service(Policy.of(load_settings({})))
    with pytest.raises(Rejected, match="WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET"):
        await use.add(ADMIN, Wish(Channel.BALANCE, "s"))


async def test_the_policy_is_read_from_the_settings() -> None:
    """Categories, default and strategy come from where a person sets them."""
    settings = load_settings(
        {
            "WSG_ENABLED_CATEGORIES": "spot,inverse",
            "WSG_DEFAULT_CATEGORY": "spot",
            "WSG_CONNECTION_STRATEGY": "single",
            "WSG_BYBIT_API_KEY": "k",
            "WSG_BYBIT_API_SECRET": "s",
        }
    )
    assert Policy.of(settings) == Policy(
        (Category.SPOT, Category.INVERSE),
        Category.SPOT,
        has_credentials=True,
        serves_public=False,
    )


async def test_removals_wake_only_when_something_went() -> None:
    """Removing what is not there disturbs nobody."""
    use, noted = service()
    live, _ = await use.add(ADMIN, Wish(Channel.TICKER, "s", symbol="BTCUSDT"))
    subscription = live.subscription
    assert await use.remove_service(ADMIN, "other") == []
    assert noted.removals == 0
    assert await use.remove(ADMIN, subscription.id) == subscription
    assert await use.remove(ADMIN, subscription.id) is None
    assert noted.removals == 1


async def test_the_last_page_says_that_it_is_the_last() -> None:
    """A full page followed by nothing has no continuation."""
    use, _ = service()
    for symbol in ("AUSDT", "BUSDT", "CUSDT", "DUSDT"):
        await use.add(ADMIN, Wish(Channel.TICKER, "s", symbol=symbol))
    first = await use.page(ADMIN, SubscriptionFilter(), after=None, limit=2)
    assert first.next_after == first.items[-1].subscription.id
    last = await use.page(ADMIN, SubscriptionFilter(), after=first.next_after, limit=2)
    assert len(last.items) == 2
    assert last.next_after is None


class NotedQueues:
    """Notes what the service tells the keeper of queues."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def settle(self) -> None:
        """Note it."""
        self.calls.append("settle")

    def wishes_changed(self) -> None:
        """Note it."""
        self.calls.append("changed")


async def test_a_dedicated_queue_is_made_before_the_venue_is_asked() -> None:
    """So its first message is the snapshot; shared wishes wait for no queue."""
    queues, noted = NotedQueues(), NotedWishes()
    use = SubscriptionService(MemorySubscriptions(), noted, FULL, None, queues)
    shared = Wish(Channel.ORDER, "s")
    dedicated = replace(shared, delivery=Delivery.DEDICATED)
    live, _ = await use.add(ADMIN, shared)
    assert (live.subscription.delivery, queues.calls) == (Delivery.SHARED, [])
    await use.remove(ADMIN, live.subscription.id)
    assert queues.calls == ["changed"]
    live, is_new = await use.add(ADMIN, dedicated)
    assert (live.subscription.delivery, is_new) == (Delivery.DEDICATED, True)
    assert queues.calls[1:] == ["settle"]
    await use.remove(ADMIN, live.subscription.id)
    assert queues.calls[2:] == ["changed"]
