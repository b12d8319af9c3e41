"""An account's lists in memory, paged like the venue's, that can fail and be slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from support.account_desk import NOW_MS, TRACE
from ws_gateway.account.mark_keeper import went_back
from ws_gateway.domain.event import Observation, Source
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.errors import DatabaseLost, VenueLost
from ws_gateway.venue.observations import private_fact

_SIZE = {Listing.EXECUTIONS: 100, Listing.POSITIONS: 200}


class MemoryLists:
    """`PrivateLists` and `WalletSource` over rows that a test appends.

    Attributes:
        rows: of each list and product line, the oldest first.
        asked: every question, with its cursor.
        failures: so many further calls fail.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[Listing, str], list[dict[str, Any]]] = {}
        self.asked: list[tuple[ListQuery, str]] = []
        self.failures = 0
        self.now_ms = NOW_MS

    def add(self, listing: Listing, category: str, *rows: dict[str, Any]) -> None:
        """Append rows."""
        self.rows.setdefault((listing, category), []).extend(rows)

    async def time_ms(self) -> int:
        """Return the time."""
        return self.now_ms

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page, the newest first; cursors look encoded and are good as they are only."""
        self.asked.append((query, cursor))
        if self.failures:
            self.failures -= 1
            raise VenueLost("rest", "switched off", retry_after_seconds=0.001)
        rows = [
            row
            for row in reversed(self.rows.get((query.listing, query.category.value), []))
            if self._is_asked(query, row)
        ]
        start = int(cursor.removeprefix("at%3A")) if cursor else 0
        size = _SIZE.get(query.listing, 50)
        page = rows[start : start + size]
        following = f"at%3A{start + size}" if len(rows) > start + size else ""
        encoded = tuple(msgspec.Raw(msgspec.json.encode(row)) for row in page)
        return ListPage(encoded, following, self.now_ms, self.now_ms * 1000, TRACE)

    @staticmethod
    def _is_asked(query: ListQuery, row: dict[str, Any]) -> bool:
        if query.narrowed is not None and row.get(query.narrowed[0]) != query.narrowed[1]:
            return False
        at = int(row.get("execTime") or row.get("createdTime") or 0)
        return (query.start or 0) <= at <= (query.end or at)

    def fact(self, topic: Topic, row: msgspec.Raw, page: ListPage, of: Category) -> Observation:
        """Make a fact as the venue room does."""
        return private_fact(
            topic, row, page.told_at, page.received_at, page.trace_id, category=of,
            source=Source.REST,
        )  # fmt: skip

    async def wallet(self, coins: Sequence[str] = ()) -> list[Observation]:  # noqa: ARG002
        """Hold nothing."""
        return []


class MemoryMarks:
    """A `MarkStore` in memory that can be away."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], Mark] = {}
        self.is_away = False

    async def read(self, account: str) -> list[Mark]:  # noqa: ARG002 - there is one
        """Return all."""
        if self.is_away:
            raise DatabaseLost("switched off")
        return list(self.marks.values())

    async def write(self, account: str, marks: Sequence[Mark]) -> None:  # noqa: ARG002
        """Set some."""
        if self.is_away:
            raise DatabaseLost("switched off")
        self.marks |= {(mark.topic, mark.category): mark for mark in marks}

    async def set_back(self, account: str, back: Mapping[str, int]) -> None:  # noqa: ARG002
        """Let some go back."""
        if self.is_away:
            raise DatabaseLost("switched off")
        self.marks |= {
            key: went_back(mark, back[key[0]]) for key, mark in self.marks.items() if key[0] in back
        }

    async def drop(self, account: str, topics: Any) -> None:  # noqa: ARG002
        """Forget some."""
        gone = set(topics)
        self.marks = {key: mark for key, mark in self.marks.items() if key[0] not in gone}
