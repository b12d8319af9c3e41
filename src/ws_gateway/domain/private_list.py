"""What can be listed of an account over REST, and a page of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ws_gateway.domain.topic import Category


class Listing(StrEnum):
    """Which list."""

    OPEN_ORDERS = "open_orders"
    RECENT_ORDERS = "recent_orders"
    """The orders closed last, a few hundred at most; it does not lag."""
    ORDER_HISTORY = "order_history"
    EXECUTIONS = "executions"
    POSITIONS = "positions"


class ListQuery(msgspec.Struct, frozen=True):
    """One list, or a part of it.

    Attributes:
        narrowed: name and value of one more condition, such as `("settleCoin", "USDT")`.
        start, end: exchange time, ms, both included; None is not told.
    """

    listing: Listing
    category: Category
    narrowed: tuple[str, str] | None = None
    start: int | None = None
    end: int | None = None


class ListPage(msgspec.Struct, frozen=True):
    """One page.

    Attributes:
        rows: as received.
        cursor: of the next page, byte for byte as it came; empty at the end.
        told_at: the venue's time of the answer, ms.
        received_at: ours, µs.
        trace_id: of the answer, 32 hex digits.
        asked_at: when it was asked for, our clock, µs: its rows may be as old.
    """

    rows: tuple[msgspec.Raw, ...]
    cursor: str
    told_at: int
    received_at: int
    trace_id: str
    asked_at: int | None = None
