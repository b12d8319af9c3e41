"""Which category a symbol belongs to: what the instruments list says, else what its shape tells."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ws_gateway.domain.topic import CHANNEL_CATEGORIES, POOLED, POOLS, Category, Channel


class Detection(NamedTuple):
    """A category and why it was chosen, in words a person can check."""

    category: Category
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What the instruments list knows of one symbol.

    Attributes:
        categories: those whose list names it.
        unread: those whose list is not available, so that they may have it too.
        why_unread: why not, "" if all are available.
        other_case: the listed symbol that differs in capitals alone, or None.
    """

    categories: tuple[Category, ...] = ()
    unread: frozenset[Category] = frozenset()
    why_unread: str = ""
    other_case: str | None = None

    @property
    def is_known(self) -> bool:
        """Say whether any list names the symbol."""
        return bool(self.categories)


UNLISTED = Listing(unread=frozenset(Category), why_unread="nobody reads it")
"""What is known where there is no list at all."""

_SHAPES = (
    (
        re.compile(r".*[_/].*"),
        Detection(Category.SPREAD, "two legs joined by '_' or '/' are a spread"),
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

PREFERENCE = (
    Category.LINEAR,
    Category.SPOT,
    Category.INVERSE,
    Category.OPTION,
    Category.SPREAD,
)
"""Which of several categories is meant when the configured default is none of them."""

_OPEN = (Category.LINEAR, Category.SPOT)
"""What a symbol may be whose shape leaves it open."""


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


def choose_category(
    channel: Channel,
    symbol: str,
    listing: Listing,
    *,
    default: Category,
    enabled: Collection[Category] = tuple(Category),
) -> Detection:
    """Choose the category of a wish that names none.

    A category that lists the symbol wins over what the shape suggests; where the list of spot or
    linear is missing, the shape speaks for it. A symbol no list names is not refused: it may be
    newer than the list. The answer may be a category that lacks the channel or is disabled, if no
    other is meant; the reason then serves the refusal.

    Args:
        channel: kind of data, of those that `CHANNEL_CATEGORIES` names.
        symbol: as written; capitals matter.
        listing: what the instruments list knows of it, of enabled categories alone.
        default: what wins where several fit.
        enabled: categories that are served.
    """
    if channel in POOLED:
        return _pool(symbol)
    shape = _by_shape(channel, symbol, default=default, enabled=enabled)
    offered = CHANNEL_CATEGORIES[channel]
    fitting = [each for each in PREFERENCE if each in listing.categories and each in offered]
    if not fitting:
        is_blind = listing.unread >= frozenset(enabled)
        return _unlisted(channel, symbol, listing, shape, is_blind=is_blind)
    if _is_open(symbol) and shape.category in listing.unread and shape.category in offered:
        # Its list might name the symbol too, and it is what would be chosen then.
        return _with(shape, f"{_names(fitting)} {_verb(fitting)} it too; {_absence(listing)}")
    silent = [each for each in listing.categories if each not in offered]
    why_not = f"; {_names(silent)} too, but without channel {channel}" if silent else ""
    if len(fitting) == 1:
        (only,) = fitting
        return Detection(only, f"only {only} lists {symbol}{why_not}{_missing(listing)}")
    words = f"{_names(fitting)} list {symbol}{why_not}"
    if default in fitting:
        return Detection(default, f"{words}; the configured default category was taken")
    first = fitting[0]
    return Detection(first, f"{words}; {first} comes first, and not the default {default}")


def _pool(symbol: str) -> Detection:
    for category, pools in POOLS.items():
        if symbol in pools:
            return Detection(category, f"{symbol} is a pool of {category}")
    return Detection(Category.LINEAR, f"{symbol} is no pool")


def _by_shape(
    channel: Channel, symbol: str, *, default: Category, enabled: Collection[Category]
) -> Detection:
    """Choose without a list."""
    detected = detect_category(symbol, default)
    if not _is_open(symbol):
        return detected
    offered = CHANNEL_CATEGORIES[channel]
    if default not in _OPEN:
        lacks = f"the default {default} has no such symbol"
    elif default not in offered:
        lacks = f"{default} has no channel {channel}"
    elif default not in enabled:
        lacks = f"{default} is not enabled"
    else:
        return detected
    for instead in _OPEN:
        if instead in offered and instead in enabled:
            return Detection(instead, f"{symbol} may be spot or linear; {lacks}")
    return detected


def _is_open(symbol: str) -> bool:
    """Say whether the shape leaves spot and linear open."""
    return len({detect_category(symbol, each) for each in _OPEN}) > 1


def _unlisted(
    channel: Channel, symbol: str, listing: Listing, shape: Detection, *, is_blind: bool
) -> Detection:
    """Choose where no list names the symbol in a category that has the channel."""
    if listing.categories:
        first = next(each for each in PREFERENCE if each in listing.categories)
        have = f"{_names(listing.categories)} {_verb(listing.categories)} {symbol}"
        return Detection(first, f"{have}, without channel {channel}")
    if is_blind:
        return _with(shape, f"the instruments list is not available: {listing.why_unread}")
    if listing.unread:
        return _with(shape, _absence(listing))
    instead = f" (capitals matter: there is {listing.other_case})" if listing.other_case else ""
    return _with(shape, f"no list names {symbol}{instead}")


def _with(detection: Detection, more: str) -> Detection:
    return Detection(detection.category, f"{detection.reason}; {more}")


def _missing(listing: Listing) -> str:
    return f"; {_absence(listing)}" if listing.unread else ""


def _absence(listing: Listing) -> str:
    unread = [each for each in PREFERENCE if each in listing.unread]
    return f"the instruments list of {_names(unread)} is not available: {listing.why_unread}"


def _names(categories: Sequence[Category]) -> str:
    *most, last = [each.value for each in categories]
    return f"{', '.join(most)} and {last}" if most else last


def _verb(categories: Sequence[Category]) -> str:
    return "lists" if len(categories) == 1 else "list"
