"""Category detection: what a symbol's shape tells, and what it cannot tell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_gateway.domain.category import UNLISTED, Listing, choose_category, detect_category
from ws_gateway.domain.topic import CHANNEL_CATEGORIES, Category, Channel


@pytest.mark.parametrize("default", list(Category))
@pytest.mark.parametrize(
    ("symbol", "category"),
    [
        ("BTCUSD", Category.INVERSE),
        ("ETHUSDH27", Category.INVERSE),
        ("BTCUSDZ26", Category.INVERSE),
        ("BTCPERP", Category.LINEAR),
        ("BTC-27DEC26", Category.LINEAR),
        ("ETHUSDT-4SEP26", Category.LINEAR),
        ("BTC-27DEC26-100000-C", Category.OPTION),
        ("BTC-27DEC26-100000-C-USDT", Category.OPTION),
        ("XRP-30OCT26-0.4-P-USDT", Category.OPTION),
        ("ETH-4SEP26-1850-P", Category.OPTION),
        ("SOLUSDT_SOL/USDT", Category.SPREAD),
        ("BTCUSDT-26DEC26_BTCUSDT", Category.SPREAD),
        ("BTCUSDC", Category.SPOT),
        ("ETHBTC", Category.SPOT),
        ("BTCEUR", Category.SPOT),
    ],
)
def test_a_telling_shape_wins_over_the_default(
    symbol: str, category: Category, default: Category
) -> None:
    """Where the symbol tells, the configured default plays no part."""
    assert detect_category(symbol, default).category is category


@pytest.mark.parametrize("default", list(Category))
def test_a_symbol_of_spot_and_linear_takes_the_default_and_says_so(default: Category) -> None:
    """`BTCUSDT` exists twice; the reason tells the reader that a choice was made."""
    detection = detect_category("BTCUSDT", default)
    assert detection.category is default
    assert "BTCUSDT" in detection.reason
    assert "default" in detection.reason


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40), st.sampled_from(list(Category)))
def test_any_text_gets_a_category_and_a_reason(symbol: str, default: Category) -> None:
    """Detection is total and repeatable; whether the symbol exists is the venue's to say."""
    detection = detect_category(symbol, default)
    assert detection.reason
    assert detection == detect_category(symbol, default)


def listed(*categories: Category, unread: frozenset[Category] = frozenset()) -> Listing:
    """Say what the lists know of a symbol."""
    return Listing(categories, unread, "REST is away" if unread else "")


@pytest.mark.parametrize(
    ("channel", "symbol", "listing", "default", "category", "why"),
    [
        (
            Channel.TICKER,
            "1000PEPEUSDT",
            listed(Category.LINEAR),
            Category.SPOT,
            Category.LINEAR,
            "only linear lists 1000PEPEUSDT",
        ),
        (
            Channel.TICKER,
            "BTCUSDT",
            listed(Category.SPOT, Category.LINEAR),
            Category.SPOT,
            Category.SPOT,
            "linear and spot list BTCUSDT; the configured default category was taken",
        ),
        (
            Channel.TICKER,
            "BTCUSDT",
            listed(Category.SPOT, Category.LINEAR),
            Category.OPTION,
            Category.LINEAR,
            "linear and spot list BTCUSDT; linear comes first, and not the default option",
        ),
        (
            Channel.LIQUIDATION,
            "BTCUSDT",
            listed(Category.SPOT, Category.LINEAR),
            Category.SPOT,
            Category.LINEAR,
            "only linear lists BTCUSDT; spot too, but without channel liquidation",
        ),
        (
            Channel.TRADES,
            "BTC",
            listed(Category.OPTION),
            Category.LINEAR,
            Category.OPTION,
            "only option lists BTC",
        ),
        (
            Channel.KLINE,
            "BTC-25JUN27-106000-P-USDT",
            listed(Category.OPTION),
            Category.LINEAR,
            Category.OPTION,
            "option lists BTC-25JUN27-106000-P-USDT, without channel kline",
        ),
        (
            Channel.TICKER,
            "NEWUSDT",
            listed(),
            Category.LINEAR,
            Category.LINEAR,
            "no list names NEWUSDT",
        ),
        (
            Channel.TICKER,
            "BTCUSDT",
            listed(unread=frozenset(Category)),
            Category.SPOT,
            Category.SPOT,
            "the instruments list is not available: REST is away",
        ),
        (
            Channel.TICKER,
            "BTCUSDT",
            listed(Category.LINEAR, unread=frozenset({Category.SPOT})),
            Category.SPOT,
            Category.SPOT,
            "linear lists it too; the instruments list of spot is not available",
        ),
        (
            Channel.TICKER,
            "BTCUSDT",
            listed(Category.LINEAR, unread=frozenset({Category.SPOT})),
            Category.LINEAR,
            Category.LINEAR,
            "only linear lists BTCUSDT; the instruments list of spot is not available",
        ),
        (
            Channel.INSURANCE,
            "USDT",
            listed(),
            Category.SPOT,
            Category.LINEAR,
            "USDT is a pool of linear",
        ),
        (
            Channel.ADL_ALERT,
            "inverse",
            listed(unread=frozenset(Category)),
            Category.SPOT,
            Category.INVERSE,
            "inverse is a pool of inverse",
        ),
    ],
)
def test_the_list_decides_and_says_what_it_knows(  # noqa: PLR0917 - a table
    channel: Channel, symbol: str, listing: Listing, default: Category, category: Category, why: str
) -> None:
    """What lists a symbol wins over its shape, as far as the channel exists there."""
    chosen = choose_category(channel, symbol, listing, default=default)
    assert chosen.category is category
    assert why in chosen.reason


def test_only_an_enabled_category_is_taken_for_an_open_shape() -> None:
    """Without linear, `BTCUSDT` can only mean the pair of spot, whatever the default is."""
    chosen = choose_category(
        Channel.TICKER,
        "BTCUSDT",
        UNLISTED,
        default=Category.LINEAR,
        enabled=(Category.SPOT, Category.OPTION),
    )
    assert chosen.category is Category.SPOT
    assert "linear is not enabled" in chosen.reason


def test_a_disabled_category_stays_chosen_where_nothing_else_is_meant() -> None:
    """The refusal then names it; a coin-margined contract is never turned into another."""
    chosen = choose_category(
        Channel.TICKER, "BTCUSD", listed(), default=Category.LINEAR, enabled=(Category.LINEAR,)
    )
    assert chosen.category is Category.INVERSE


def test_capitals_are_not_mended_but_pointed_out() -> None:
    """`btcusdt` stays what was written; the reason names what is listed."""
    chosen = choose_category(
        Channel.TICKER, "btcusdt", Listing(other_case="BTCUSDT"), default=Category.LINEAR
    )
    assert "capitals matter: there is BTCUSDT" in chosen.reason


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(list(CHANNEL_CATEGORIES)),
    st.text(max_size=20),
    st.sets(st.sampled_from(list(Category))),
    st.frozensets(st.sampled_from(list(Category))),
    st.sampled_from(list(Category)),
    st.sets(st.sampled_from(list(Category)), min_size=1),
)
def test_any_wish_gets_a_category_its_lists_allow(  # noqa: PLR0917 - all of the input
    channel: Channel,
    symbol: str,
    categories: set[Category],
    unread: frozenset[Category],
    default: Category,
    enabled: set[Category],
) -> None:
    """Choosing is total, and with all lists read it takes a listed one that has the channel."""
    named = tuple(sorted(categories & enabled - unread))
    listing = Listing(named, unread & enabled, "away" if unread else "")
    chosen = choose_category(channel, symbol, listing, default=default, enabled=enabled)
    assert chosen.reason
    fitting = set(named) & set(CHANNEL_CATEGORIES[channel])
    is_pool = channel in {Channel.INSURANCE, Channel.ADL_ALERT}
    if fitting and not listing.unread and not is_pool:
        assert chosen.category in fitting
