"""What is to be asked of REST, and what its rows prove: windows, slices, marks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from ws_gateway.domain.amount import ZERO, read_amount
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import PRIVATE_CATEGORIES, Category, Channel, Topic

WINDOW_MS = 7 * 86_400_000
"""Longest span of time of one question (v5 reference 11.9, 11.10)."""

OVERLAP_MS = 20_000
"""How far a reading reaches back behind what was read before: lists lag behind the stream."""

LAG_MS = 600_000
"""How far behind lists may be altogether where nothing new proves how far they are."""

_SLICES = 6
_SHORTEST_SLICE_MS = 50
_MOST_SEEN = 20_000
_LONGEST_TIME = 16

CLOSED = frozenset({"Filled", "Cancelled", "Rejected", "PartiallyFilledCanceled", "Deactivated"})
"""States that an order never leaves (v5 reference 14)."""

SETTLE_COINS = ("USDT", "USDC")

POSITIONED = PRIVATE_CATEGORIES[Channel.POSITION]
"""Product lines that have positions."""


def lines(topic: Topic) -> tuple[Category, ...]:
    """Name the product lines a topic tells of; none of the wallet, which is one for all."""
    if topic.channel is Channel.BALANCE:
        return ()
    return PRIVATE_CATEGORIES[topic.channel] if topic.category is None else (topic.category,)


def read_time(text: str) -> int:
    """Read a time in ms as the venue writes it; 0 if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_TIME else 0


class RowHead(msgspec.Struct, gc=False, rename="camel"):
    """What is read of a row of any list."""

    symbol: str = ""
    order_id: str = ""
    exec_id: str = ""
    exec_type: str = ""
    exec_time: str = ""
    created_time: str = ""
    updated_time: str = ""
    order_status: str = ""
    cum_exec_qty: str = ""
    position_idx: int = 0
    size: str = ""
    seq: int | str = 0

    @property
    def is_open(self) -> bool:
        """Say whether it is an order that lives."""
        return self.order_status not in CLOSED

    @property
    def is_flat(self) -> bool:
        """Say whether it is a position of nothing."""
        return not self.size.strip("0.")

    @property
    def whole_seq(self) -> int:
        """Its cross sequence, -1 if it does not tell."""
        try:
            return int(self.seq)
        except ValueError:
            return -1

    @property
    def updated_ms(self) -> int:
        """When it was changed last, 0 if it does not tell."""
        return read_time(self.updated_time)


decode_head = msgspec.json.Decoder(RowHead).decode


class Row(msgspec.Struct, gc=False):
    """A row, its page, and what was read of it.

    Attributes:
        at_ms: exchange time its list is ordered by.
    """

    raw: msgspec.Raw
    head: RowHead
    page: ListPage
    category: Category
    at_ms: int


def flat_row(category: Category, symbol: str, index: int, seq: int, page: ListPage) -> Row:
    """Say of a position that REST knows no more that there is none, as REST would.

    Args:
        category: product line.
        symbol: which.
        index: its position index.
        seq: newest sequence known of it, -1 without one.
        page: the answer that did not name it.
    """
    told: dict[str, object] = {
        "symbol": symbol, "positionIdx": index, "side": "", "size": "0", "positionStatus": "Normal",
    }  # fmt: skip
    if seq >= 0:
        told["seq"] = seq
    raw = msgspec.Raw(msgspec.json.encode(told))
    return Row(raw, decode_head(raw), page, category, 0)


def windows(since: int, now: int) -> list[tuple[int, int]]:
    """Cut a span into questions of at most seven days, the oldest first.

    The last one reaches beyond now, as far as it may: what happens meanwhile is told too.
    """
    spans = []
    start = max(0, since)
    while now - start > WINDOW_MS:
        spans.append((start, start + WINDOW_MS))
        start += WINDOW_MS  # ends are included, so a moment is asked for twice, never not at all
    spans.append((start, start + WINDOW_MS))
    return spans


def slices(start: int, end: int, most: int = _SLICES) -> list[tuple[int, int]]:
    """Cut what is left behind a first page into spans that can be read at the same time.

    Neighbours share a moment.
    """
    if end <= start:
        return [(start, start)] if end == start else []
    count = max(1, min(most, (end - start) // _SHORTEST_SLICE_MS))
    edges = [start + (end - start) * place // count for place in range(count + 1)]
    return list(pairwise(edges))


def torn_moments(pages: Sequence[Sequence[int]]) -> list[int]:
    """Name the moments that a page's end may have torn: rows of one moment have no stable order.

    Args:
        pages: the times of each page's rows, as far as there was a page behind it.
    """
    torn = []
    for page, following in pairwise(pages):
        if page and following and min(page) == max(following):
            torn.append(min(page))
    return torn


def row_time(listing: Listing, head: RowHead) -> int:
    """Return the time a list is ordered by, 0 if the row does not tell it."""
    return read_time(head.exec_time if listing is Listing.EXECUTIONS else head.created_time)


def order_queries(listing: Listing, category: Category) -> list[ListQuery]:
    """Name the questions that list all orders of a product line."""
    if category is Category.LINEAR and listing is not Listing.ORDER_HISTORY:
        return [ListQuery(listing, category, ("settleCoin", coin)) for coin in SETTLE_COINS]
    return [ListQuery(listing, category)]


def position_queries(category: Category) -> list[ListQuery]:
    """Name the questions that list all positions of a product line that are not flat."""
    if category is Category.LINEAR:
        return [
            ListQuery(Listing.POSITIONS, category, ("settleCoin", coin)) for coin in SETTLE_COINS
        ]
    return [ListQuery(Listing.POSITIONS, category)]


def execution_queries(category: Category, option_coins: Iterable[str]) -> list[ListQuery]:
    """Name the questions that list all executions; those of options are told by base coin."""
    if category is Category.OPTION:
        return [
            ListQuery(Listing.EXECUTIONS, category, ("baseCoin", coin)) for coin in option_coins
        ]
    return [ListQuery(Listing.EXECUTIONS, category)]


def option_coins(symbols: Iterable[str], known: Iterable[str]) -> list[str]:
    """Name the base coins whose options may have been traded."""
    return sorted({*known, *(symbol.partition("-")[0] for symbol in symbols)})


def newest_orders(rows: Iterable[Row]) -> dict[str, Row]:
    """Keep the newest row of each order: lists that were read one after the other overlap."""
    newest: dict[str, Row] = {}
    for row in rows:
        known = newest.get(row.head.order_id)
        if known is None or order_age(known.head) < order_age(row.head):
            newest[row.head.order_id] = row
    return newest


OrderAge = tuple[int, Decimal, bool]
"""When an order was changed last, ms; how much of it is filled; whether it is closed."""


def order_age(head: RowHead) -> OrderAge:
    """Say how late in an order's life a state is; a larger one is newer (v5 reference 7.2)."""
    try:
        filled = read_amount(head.cum_exec_qty) or ZERO
    except ValueError:
        filled = ZERO
    return head.updated_ms, filled, not head.is_open


def kept_at(row: Row, started: int) -> int:
    """Say until when a row may be read again, exchange time, ms: an order that lives always is."""
    if row.head.order_status and row.head.is_open:
        return started
    return max(row.at_ms, row.head.updated_ms)


def next_mark(
    previous: Mark | None,
    topic: str,
    category: str,
    *,
    started: int,
    told: Sequence[tuple[int, bytes]],
    newest: int,
    living: frozenset[str] = frozenset(),
) -> Mark:
    """Say what a complete reading proves, once all of it is delivered.

    Args:
        previous: what was proven before.
        topic: whose.
        category: its product line, or nothing.
        started: exchange time at which the reading began, ms.
        told: time and digest of each row.
        newest: time of the newest row the list told, 0 without any; it proves that the list is not
            further behind than that.
        living: open orders or positions.
    """
    if previous is None:
        through = started  # what was before is nobody's concern
    else:
        through = max(previous.through, started - LAG_MS, min(newest, started))
    recent = sorted((each for each in told if each[0] >= through - OVERLAP_MS), reverse=True)
    seen = frozenset(digest for _, digest in recent[:_MOST_SEEN])
    return Mark(topic, category, through, seen, living)
