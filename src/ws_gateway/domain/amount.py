"""Amounts as exact decimals: read from the venue's texts, compared, and written without a loss."""

from __future__ import annotations

import re
from decimal import Context, Decimal

EXACT = Context(prec=120)
"""Arithmetic that rounds nothing `read_amount` can give: 44 digits on each side of the point."""

_AMOUNT = re.compile(r"-?[0-9]{1,36}(\.[0-9]{1,36})?([eE][-+]?[0-9])?")
ZERO = Decimal(0)


def read_amount(text: str) -> Decimal | None:
    """Read a decimal number exactly; None for an empty text, which is how the venue says "none".

    Raises:
        ValueError: it is no plain decimal number, or longer than any amount.
    """
    if not text:
        return None
    if _AMOUNT.fullmatch(text) is None:
        raise ValueError(f"{text[:50]!r} is no decimal number")
    return Decimal(text)


def plain(amount: Decimal) -> str:
    """Write an amount as every equal amount is written: no exponent, no needless zero."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def shown(amount: Decimal | None) -> str:
    """Write an amount, or an empty text for none."""
    return "" if amount is None else plain(amount)
