"""Which category a symbol belongs to, as far as the symbol itself tells."""

from __future__ import annotations

import re
from typing import NamedTuple

from ws_gateway.domain.topic import Category


class Detection(NamedTuple):
    """A category and why it was chosen, in words a person can check."""

    category: Category
    reason: str


_SHAPES = (
    (
        re.compile(r".*[_/].*"),
        Detection(Category.SPREAD, "two legs joined by '_' are a spread"),
    ),
    (
        re.compile(r"[A-Z0-9]+-\d{1,2}[A-Z]{3}\d{2}-\d+(\.\d+)?-[CP](-[A-Z]+)?"),
        Detection(Category.OPTION, "coin, expiry, strike and C or P are an option"),
    ),
    (
        re.compile(r"[A-Z0-9]+-\d{1,2}[A-Z]{3}\d{2}"),
        Detection(Category.LINEAR, "coin and expiry without a strike are a dated future"),
    ),
    (
        re.compile(r".*PERP"),
        Detection(Category.LINEAR, "PERP is a USDC perpetual"),
    ),
    (
        re.compile(r"[A-Z0-9]+USD([HMUZ]\d{2})?"),
        Detection(Category.INVERSE, "a quote in USD is coin-margined"),
    ),
)
"""Shapes of the venue's symbol list (Bybit v5 docs, Enums, Instruments Info); first match wins."""


def detect_category(symbol: str, default: Category) -> Detection:
    """Choose the category of a symbol by its shape.

    `BTCUSDT` exists in spot and in linear: such symbols get `default`, and the reason says so.
    """
    for shape, detection in _SHAPES:
        if shape.fullmatch(symbol):
            return detection
    if symbol.endswith("USDT"):
        return Detection(
            default, f"{symbol} may be spot or linear; the configured default category was taken"
        )
    return Detection(Category.SPOT, "no derivative has a symbol of this shape")
