"""Category detection: what a symbol's shape tells, and what it cannot tell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_gateway.domain.category import detect_category
from ws_gateway.domain.topic import Category


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
