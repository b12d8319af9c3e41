"""Every topic that can be asked for, against a venue that has them all."""

from __future__ import annotations

from bybit_sim import Simulator
from support.feed_stage import FeedStage, feeding
from support.sim_client import PRIVATE, eventually, running
from support.topics import PRIVATE_TOPICS
from ws_gateway.client.routing import read_routing_key
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.topic import (
    CHANNEL_CATEGORIES,
    DEPTHS,
    INTERVALS,
    POOLS,
    Category,
    Channel,
    EventClass,
    Topic,
    build_topic,
)

SYMBOL = {
    Category.SPOT: "BTCUSDT",
    Category.LINEAR: "BTCUSDT",
    Category.INVERSE: "BTCUSD",
    Category.OPTION: "XRP-30OCT26-0.4-P-USDT",
    Category.SPREAD: "SOLUSDT_SOL/USDT",
}
STATUS = build_topic(Channel.SYSTEM_STATUS)
FORMS = {Channel.ORDER, Channel.EXECUTION, Channel.EXECUTION_FAST, Channel.POSITION}
WHOLE = {each.name for each in PRIVATE_TOPICS if each.channel in FORMS and each.category is None}
NARROWED = {each.name for each in PRIVATE_TOPICS if each.channel in FORMS} - WHOLE
SILENT = {Channel.DCP, Channel.STRATEGY, Channel.SPREAD_ORDER, Channel.SPREAD_EXECUTION}


def topics_of(channel: Channel, category: Category) -> list[Topic]:
    """List the topics of a channel for one symbol, at every depth and interval."""
    symbol = SYMBOL[category]
    if channel is Channel.ORDERBOOK:
        return [
            build_topic(channel, category=category, symbol=symbol, depth=depth)
            for depth in DEPTHS[category]
        ]
    if channel is Channel.KLINE:
        return [
            build_topic(channel, category=category, symbol=symbol, interval=interval)
            for interval in INTERVALS
        ]
    if channel in (Channel.INSURANCE, Channel.ADL_ALERT):
        return [build_topic(channel, category=category, symbol=pool) for pool in POOLS[category]]
    if channel is Channel.TRADES and category is Category.OPTION:
        symbol = "XRP"
    return [build_topic(channel, category=category, symbol=symbol)]


PUBLIC_TOPICS = [
    topic
    for channel, categories in CHANNEL_CATEGORIES.items()
    for category in categories
    for topic in topics_of(channel, category)
]


def routes(stage: FeedStage, topic: Topic) -> set[tuple[str, str | None, str | None]]:
    """Read back what the routing keys of a topic's facts say."""
    facts = [event.observation for event in stage.facts(topic)]
    return {read_routing_key(Address("x", fact, "main").routing_key) for fact in facts}


async def test_every_public_topic_is_served_and_says_something() -> None:
    """Of all categories, at every depth and interval, and each symbol survives to its key."""
    quiet = {Channel.LIQUIDATION, Channel.INSURANCE, Channel.ADL_ALERT}
    talking = [topic for topic in PUBLIC_TOPICS if topic.channel not in quiet]
    async with (
        running(liquidation_every_seconds=0.2) as venue,
        feeding(venue.ws_url, secret=None) as stage,
    ):
        stage.feed.want([*PUBLIC_TOPICS, STATUS])
        await eventually(lambda: stage.is_active(*PUBLIC_TOPICS, STATUS))
        await eventually(lambda: all(stage.facts(topic) for topic in talking))
        for topic in talking:
            assert routes(stage, topic) == {(topic.event_class, topic.category, topic.symbol)}
        assert stage.problems() == []
        assert stage.quarantined == []


async def test_a_notice_of_the_system_arrives() -> None:
    """On the socket of the status alone, as a fact of no category."""
    async with running() as venue, feeding(venue.ws_url, secret=None) as stage:
        stage.feed.want([STATUS])
        await eventually(lambda: stage.is_active(STATUS))
        assert [each.path for each in venue.connections] == ["/v5/public/misc/status"]
        await venue.fault("maintenance")
        await eventually(lambda: bool(stage.facts(STATUS)))
        assert routes(stage, STATUS) == {(EventClass.SYSTEM_STATUS, None, None)}


def trade(venue: Simulator) -> None:
    """Fill an order of each category."""
    venue.place_market_order("BTCUSDT", "Buy", "0.010", category="linear")
    venue.place_market_order("BTCUSD", "Buy", "10", category="inverse")
    venue.place_market_order("BTCUSDT", "Buy", "0.010", category="spot")
    venue.place_market_order(SYMBOL[Category.OPTION], "Buy", "10", category="option")


async def test_every_private_topic_is_served_in_both_forms() -> None:
    """In whole and narrowed at once; what is narrowed hears of its category alone."""
    talking = [topic for topic in PRIVATE_TOPICS if topic.channel not in SILENT]
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(PRIVATE_TOPICS)
        await eventually(lambda: stage.is_active(*PRIVATE_TOPICS))
        asked = [each.message for each in venue.requests if each.path == PRIVATE]
        batches = [set(each["args"]) for each in asked if each["op"] == "subscribe"]
        assert not any(batch & WHOLE and batch & NARROWED for batch in batches), "Bybit forbids it"
        trade(venue)
        await eventually(lambda: all(stage.facts(topic) for topic in talking))
        for topic in talking:
            if topic.category is not None:
                expected = (topic.event_class, topic.category, SYMBOL[topic.category])
                assert routes(stage, topic) == {expected}
        ids = [event.observation.event_id for topic in talking for event in stage.facts(topic)]
        assert len(set(ids)) == len(ids)
        assert stage.problems() == []
        assert stage.quarantined == []
