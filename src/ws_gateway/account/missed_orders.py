"""Orders over REST: those that live, those closed since, and what became of those that lived."""

from __future__ import annotations

from collections import Counter

import structlog

from ws_gateway.account.list_reader import ListReader, all_of
from ws_gateway.account.reconcile_plan import Row, newest_orders, order_queries
from ws_gateway.domain.private_list import Listing, ListQuery
from ws_gateway.domain.topic import Category

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_MOST_LOOKS = 5

_FEW = 8
"""So many orders are asked for one by one; of more the whole list of lately closed ones is read."""


class Unresolved:
    """Orders that lived and are in no list any more: cancelled ones are kept for a day only.

    Attributes:
        given_up: those that were looked for often enough.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._sought: Counter[str] = Counter()  # by how often looked for
        self.given_up: set[str] = set()

    def note(self, names: set[str]) -> None:
        """Take note of those that a reading did not find; look no longer for some of them."""
        self._sought = Counter({name: self._sought[name] + 1 for name in names})
        hopeless = {name for name, times in self._sought.items() if times >= _MOST_LOOKS}
        self.given_up |= hopeless
        if hopeless:
            log.error(
                "account.orders_unresolved",
                account=self._account,
                orders=len(hopeless),
                some=sorted(hopeless)[:5],
                why="they lived before, and no list of REST names them any more",
            )


async def read_orders(
    reader: ListReader, category: Category, since: int, started: int
) -> tuple[list[Row], int]:
    """Read what may have changed since a time, some of it twice.

    Args:
        reader: reads lists.
        category: product line.
        since: from when on, exchange time, ms.
        started: until when, likewise.

    Returns:
        The rows, and the time of the newest one in the history, 0 without any.

    Raises:
        VenueLost, Rejected: not all of it could be read.
    """
    lists = await all_of(
        [
            *(reader.chain(each) for each in order_queries(Listing.OPEN_ORDERS, category)),
            *(
                reader.chain(each, until=since)
                for each in order_queries(Listing.RECENT_ORDERS, category)
            ),
            *(
                reader.span(each, since, started)
                for each in order_queries(Listing.ORDER_HISTORY, category)
            ),
        ]
    )
    newest = max((row.at_ms for row in lists[-1]), default=0)
    return [row for part in lists for row in part], newest


async def look_up(
    reader: ListReader, category: Category, lived: set[str], known: list[Row]
) -> dict[str, Row]:
    """Ask for orders that lived and are in no list, as they may be as old as they like.

    Args:
        reader: reads lists.
        category: product line.
        lived: names of those that were open.
        known: rows that were read.

    Returns:
        The newest row of each order, those that were known included.

    Raises:
        VenueLost, Rejected: not all of it could be read.
    """
    missing = lived - {row.head.order_id for row in known}
    rows: list[Row] = []
    if len(missing) > _FEW:
        recent = await all_of(
            reader.chain(each) for each in order_queries(Listing.RECENT_ORDERS, category)
        )
        rows = [row for part in recent for row in part if row.head.order_id in missing]
        missing -= {row.head.order_id for row in rows}
    found = await all_of(_one_order(reader, category, name) for name in sorted(missing))
    return newest_orders([*known, *rows, *(row for part in found for row in part)])


async def _one_order(reader: ListReader, category: Category, order_id: str) -> list[Row]:
    for listing in (Listing.OPEN_ORDERS, Listing.ORDER_HISTORY):
        query = ListQuery(listing, category, ("orderId", order_id))
        rows = [row for row in await reader.chain(query) if row.head.order_id == order_id]
        if rows:
            return rows
    return []
