"""Chooses what a topic says: which feed belongs to which channel."""

from __future__ import annotations

from bybit_sim.book_feed import BookFeed, RepushingBookFeed, RpiBookFeed
from bybit_sim.config import SimulatorConfig
from bybit_sim.feed import Feed
from bybit_sim.market import Market
from bybit_sim.pool_feeds import AdlAlertFeed, InsuranceFeed
from bybit_sim.status import StatusFeed
from bybit_sim.ticker_feeds import FuturesTickerFeed, PriceLimitFeed, TickerFeed
from bybit_sim.topics import Channel, PublicTopic
from bybit_sim.trade_feeds import KlineFeed, LiquidationFeed, TradeFeed


def make_feed(topic: PublicTopic, market: Market, config: SimulatorConfig) -> Feed:
    """Make the feed of a topic."""
    if topic.channel is Channel.SYSTEM_STATUS:
        return StatusFeed(topic)
    if topic.channel is Channel.INSURANCE:
        return InsuranceFeed(topic, config.seed)
    if topic.channel is Channel.ADL_ALERT:
        return AdlAlertFeed(topic, config.seed)
    if topic.channel is Channel.TRADE and topic.category == "option":
        return TradeFeed(topic, tuple(market.options_of(topic.symbol)))
    return _symbol_feed(topic, market, config)


def _symbol_feed(  # noqa: PLR0911 - one return per channel
    topic: PublicTopic, whole_market: Market, config: SimulatorConfig
) -> Feed:
    channel = topic.channel
    market = whole_market.symbol(topic.category, topic.symbol)
    if channel is Channel.ORDERBOOK:
        return (RepushingBookFeed if topic.depth == 1 else BookFeed)(topic, market)
    if channel is Channel.RPI_BOOK:
        return RpiBookFeed(topic, market)
    if channel is Channel.TRADE:
        return TradeFeed(topic, (market,))
    if channel is Channel.KLINE:
        return KlineFeed(topic, market)
    if channel is Channel.LIQUIDATION:
        return LiquidationFeed(topic, market, config.liquidation_every_seconds)
    if channel is Channel.PRICE_LIMIT:
        return PriceLimitFeed(topic, market)
    futures = topic.category in {"linear", "inverse"}
    return FuturesTickerFeed(topic, market) if futures else TickerFeed(topic, market)
