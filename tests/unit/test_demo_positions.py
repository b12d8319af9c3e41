"""What the demo concludes about the table of positions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ws_gateway.demo.positions import Comparison, Held, difference, lines, read_account, read_table

LONG = Held("Buy", Decimal("0.5"), Decimal(60000), 7)
FLAT = Held("", Decimal(0), Decimal(0), 8)


@pytest.mark.parametrize(
    ("table", "account", "words"),
    [
        ({"a": LONG}, {"a": LONG}, None),
        ({"a": FLAT}, {"a": FLAT}, None),
        ({}, {"a": FLAT}, None),
        ({}, {"a": LONG}, "None in the table"),
        ({"a": LONG}, {"a": FLAT}, "position a is Held"),
        ({"a": FLAT}, {"a": LONG}, "position a is Held"),
        ({"a": LONG}, {}, "in the table alone"),
    ],
)
def test_any_difference_between_table_and_exchange_is_told(
    table: dict[str, Held], account: dict[str, Held], words: str | None
) -> None:
    """A flat position may be unknown to the table: nobody was told of it."""
    told = difference(table, account, [])
    assert told == words if words is None else words in str(told)


def test_a_stale_row_is_told_though_its_values_are_right() -> None:
    """At the end of the demo every gap has to be over."""
    rows: list[dict[str, Any]] = [{"symbol": "BTCUSDT", "is_stale": True}]
    assert "['BTCUSDT'] are stale" in str(difference({"a": LONG}, {"a": LONG}, rows))


def test_both_sides_are_read_into_one_form() -> None:
    """Amounts compare by value, and flat is flat however it is written."""
    row = {"side": "Buy", "size": "0.50", "entryPrice": "60000.0", "seq": 7}
    flat = {"side": "", "size": "0", "entryPrice": "0", "seq": 8}
    account = read_account([{"key": "linear:A:0", "row": row}, {"key": "linear:B:0", "row": flat}])
    kept = {"category": "linear", "position_idx": 0}
    table = read_table(
        [
            kept | {"symbol": "A", "side": "Buy", "size": Decimal("0.5"), "seq": 7}
            | {"entry_price": Decimal(60000)},
            kept | {"symbol": "B", "side": None, "size": Decimal(0), "seq": 8}
            | {"entry_price": None},
        ]
    )  # fmt: skip
    assert table == account == {"linear:A:0": LONG, "linear:B:0": FLAT}


def test_the_summary_shows_the_table_or_why_there_is_none() -> None:
    """An installed package has no examples beside it."""
    assert "not beside" in lines(None)[0]
    shown = lines(Comparison({"linear:A:0": LONG}, None))
    assert "1 positions" in shown[0]
    assert "as the exchange has them" in shown[0]
    assert "not as they should" in lines(Comparison({}, "position a …"))[0]
    assert "linear:A:0" in shown[1]
