"""Topics to draw from: every channel, and symbols of the shapes the venue has and has not."""

from __future__ import annotations

from hypothesis import strategies as st

from ws_gateway.domain.topic import (
    CHANNEL_CATEGORIES,
    DEPTHS,
    INTERVALS,
    MAX_SYMBOL_BYTES,
    POOLS,
    PRIVATE_CATEGORIES,
    Category,
    Channel,
    Topic,
    build_topic,
)

COINS = st.from_regex(r"[A-Z0-9]{2,10}", fullmatch=True)
EXPIRIES = st.from_regex(r"[1-9][0-9]?(JAN|MAY|OCT|DEC)2[0-9]", fullmatch=True)
STRIKES = st.one_of(
    st.integers(1, 200_000).map(str),
    st.decimals(min_value="0.0001", max_value=99, places=4).map(str),
)
SYMBOLS = {
    Category.SPOT: st.builds("{}USDT".format, COINS),
    Category.LINEAR: st.one_of(
        st.builds("{}USDT".format, COINS),
        st.builds("{}PERP".format, COINS),
        st.builds("{}-{}".format, COINS, EXPIRIES),
    ),
    Category.INVERSE: st.builds("{}USD{}".format, COINS, st.sampled_from(["", "H27", "Z26"])),
    Category.OPTION: st.builds(
        "{}-{}-{}-{}{}".format,
        COINS,
        EXPIRIES,
        STRIKES,
        st.sampled_from("CP"),
        st.sampled_from(["", "-USDT"]),
    ),
    Category.SPREAD: st.one_of(
        st.builds("{0}USDT_{0}/USDT".format, COINS),
        st.builds("{}USDT_{}-{}".format, COINS, COINS, EXPIRIES),
    ),
}


def symbols_of(channel: Channel, category: Category) -> st.SearchStrategy[str]:
    """Draw what a channel calls its symbol: a pool, a base coin, or an instrument."""
    if channel in (Channel.INSURANCE, Channel.ADL_ALERT):
        return st.sampled_from(POOLS[category])
    if channel is Channel.TRADES and category is Category.OPTION:
        return COINS
    return SYMBOLS[category]


@st.composite
def public_topics(draw: st.DrawFn) -> Topic:
    """Draw any topic that a service may wish for on a public socket."""
    channel = draw(st.sampled_from(sorted(CHANNEL_CATEGORIES)))
    category = draw(st.sampled_from(CHANNEL_CATEGORIES[channel]))
    return build_topic(
        channel,
        category=category,
        symbol=draw(symbols_of(channel, category)),
        depth=draw(st.sampled_from(DEPTHS[category])) if channel is Channel.ORDERBOOK else None,
        interval=draw(st.sampled_from(INTERVALS)) if channel is Channel.KLINE else None,
    )


PRIVATE_TOPICS = sorted(
    {
        build_topic(channel, category=category)
        for channel, categories in PRIVATE_CATEGORIES.items()
        for category in (None, *categories)
        if category is not None or channel is not Channel.DCP
    },
    key=lambda topic: topic.name,
)

STRANGE_SYMBOLS = st.text(
    st.one_of(st.sampled_from("%.-/_*#25E"), st.characters(codec="utf-8", exclude_characters="\0")),
    min_size=1,
    max_size=MAX_SYMBOL_BYTES // 4,
)
"""Symbols that nobody has seen, of everything that means something in a routing key."""


def any_topics() -> st.SearchStrategy[Topic]:
    """Draw a topic of any channel that a service may wish for."""
    return st.one_of(
        public_topics(),
        st.sampled_from(PRIVATE_TOPICS),
        st.just(build_topic(Channel.SYSTEM_STATUS)),
    )
