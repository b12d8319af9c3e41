"""What a misspelt symbol was probably meant to be."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

import pytest

from ws_gateway.venue import nearest
from ws_gateway.venue.nearest import SymbolIndex

COINS = ["BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "LINK", "1000PEPE", "AVAX", "SUSHI"]
LISTED = [
    *(f"{coin}USDT" for coin in COINS),
    *(f"{coin}PERP" for coin in COINS),
    "BTC-25DEC26",
    "BTCUSDZ26",
]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("BTCUSTD", "BTCUSDT"),
        ("BTUSDT", "BTCUSDT"),
        ("TBCUSDT", "BTCUSDT"),
        ("BTCUSDTT", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        ("1000PEPUSDT", "1000PEPEUSDT"),
        ("ETHPEPR", "ETHPERP"),
        ("BTC-25DEC27", "BTC-25DEC26"),
    ],
)
def test_the_nearest_symbol_comes_first(written: str, meant: str) -> None:
    """Letters that are swapped, missing, doubled or wrong, at the beginning or the end."""
    assert SymbolIndex(LISTED).near(written)[0] == meant


@pytest.mark.parametrize("written", ["NOSUCHUSDT", "NOPEUSDT", "XYZ", "FOOBAR", "BNBUSDT", "A"])
def test_a_symbol_that_is_merely_unknown_is_like_none(written: str) -> None:
    """The usual ending alone makes no likeness: a new coin is no typing error."""
    assert SymbolIndex(LISTED).near(written) == []


def test_no_more_are_compared_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand options are not compared one by one while frames wait."""
    compared: list[int] = []

    def count(word: str, known: Collection[str], n: int, cutoff: float) -> list[str]:
        compared.append(len(known))
        return get_close_matches(word, list(known), n=n, cutoff=cutoff)

    monkeypatch.setattr(nearest, "get_close_matches", count)
    options = [
        f"BTC-{day}DEC26-{strike}-{side}-USDT"
        for day in range(1, 26)
        for strike in range(50_000, 150_000, 500)
        for side in "CP"
    ]
    assert SymbolIndex(options).near("BTC-25DEC26-106001-P-USDT")
    assert len(options) == 10_000
    assert compared[0] < 200
