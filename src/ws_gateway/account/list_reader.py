"""Reads whole lists over REST: page after page, several at a time, no faster than the venue allows.

Pages of a list hang together by cursors, so a long span is cut into slices after its first page,
which tells how much there is. A page that fails is asked for again a few times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import msgspec

from ws_gateway.account.reconcile_plan import (
    Row,
    decode_head,
    row_time,
    slices,
    torn_moments,
    windows,
)
from ws_gateway.account_ports import PrivateLists
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.errors import VenueLost
from ws_gateway.ports import UnreadableSink
from ws_gateway.runtime.budget import AttemptBudget

T = TypeVar("T")

CALLS_PER_SECOND = 45
"""Of each list; the venue takes 50 (v5 reference 11.4)."""

_AT_ONCE = 8
_TRIES = 5
_RETRY_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_MOST_PAGES = 20_000
_SAME_PATH = {Listing.RECENT_ORDERS: Listing.OPEN_ORDERS}


class ListReader:
    """Reads lists; whatever fails for good raises `VenueLost` or `Rejected`.

    Args:
        lists: who asks the venue.
        unreadable: where goes a row that is none.
    """

    def __init__(
        self,
        lists: PrivateLists,
        unreadable: UnreadableSink,
        *,
        calls_per_second: int = CALLS_PER_SECOND,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lists = lists
        self._unreadable = unreadable
        self._monotonic = monotonic
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._calls_per_second = calls_per_second
        self._budgets: dict[Listing, AttemptBudget] = {}

    async def chain(self, query: ListQuery, *, until: int | None = None) -> list[Row]:
        """Read a list along its cursors.

        Args:
            query: which.
            until: stop behind the page that reaches back to this exchange time, ms.
        """
        rows, _ = await self._chain(query, until)
        return rows

    async def span(self, query: ListQuery, since: int, now: int) -> list[Row]:
        """Read all that happened since a time, in questions of seven days at most."""
        spans = [
            self._span(msgspec.structs.replace(query, start=start, end=end))
            for start, end in windows(since, now)
        ]
        return [row for rows in await all_of(spans) for row in rows]

    async def settled(self, query: ListQuery) -> list[Row]:
        """Read a list whose pages shift when a row goes: until two readings name the same rows."""
        known: set[tuple[str, int]] | None = None
        for _ in range(_TRIES):
            rows, pages = await self._chain(query, None)
            named = {(row.head.symbol, row.head.position_idx) for row in rows}
            if pages < 2 or named == known:  # noqa: PLR2004 - one page is of one moment
                return rows
            known = named
        raise VenueLost("rest", f"the pages of {query.listing} never stand still")

    async def _span(self, query: ListQuery) -> list[Row]:
        page = await self._page(query, "")
        rows = self._rows(query, page)
        if not page.cursor or not rows:
            return rows
        oldest = min(row.at_ms for row in rows)
        parts = [
            self._slice(msgspec.structs.replace(query, start=start, end=end))
            for start, end in slices(query.start or 0, oldest)
        ]
        return [*rows, *(row for part in await all_of(parts) for row in part)]

    async def _slice(self, query: ListQuery) -> list[Row]:
        pages: list[list[Row]] = []
        await self._follow(query, None, pages.append)
        torn = torn_moments([[row.at_ms for row in page] for page in pages])
        again = [self.chain(msgspec.structs.replace(query, start=at, end=at)) for at in torn]
        return [*(row for page in pages for row in page), *_flat(await all_of(again))]

    async def _chain(self, query: ListQuery, until: int | None) -> tuple[list[Row], int]:
        pages: list[list[Row]] = []
        await self._follow(query, until, pages.append)
        return _flat(pages), len(pages)

    async def _follow(
        self, query: ListQuery, until: int | None, take: Callable[[list[Row]], None]
    ) -> None:
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = await self._page(query, cursor)
            rows = self._rows(query, page)
            if rows:
                take(rows)
            oldest = min((row.at_ms for row in rows), default=None)
            is_enough = until is not None and oldest is not None and oldest < until
            if not page.cursor or not page.rows or is_enough:
                return
            if page.cursor == cursor:
                break
            cursor = page.cursor
        raise VenueLost("rest", f"the pages of {query.listing} have no end")

    def _rows(self, query: ListQuery, page: ListPage) -> list[Row]:
        rows = []
        for raw in page.rows:
            try:
                head = decode_head(raw)
            except (msgspec.DecodeError, RecursionError) as exc:
                self._unreadable.quarantine(
                    reason="missing_field", origin=f"rest:{query.listing}", detail=str(exc),
                    raw=bytes(raw), trace_id=page.trace_id,
                )  # fmt: skip
                continue
            rows.append(Row(raw, head, page, query.category, row_time(query.listing, head)))
        return rows

    async def _page(self, query: ListQuery, cursor: str) -> ListPage:
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._at_once:
                    await self._wait_for_turn(query.listing)
                    return await self._lists.page(query, cursor)
            except VenueLost as exc:
                pause = exc.retry_after_seconds or _RETRY_SECONDS * attempt
                if attempt == _TRIES or pause > _LONGEST_PAUSE_SECONDS:
                    raise
                await asyncio.sleep(pause)
        raise VenueLost("rest", "no attempt is left")

    async def _wait_for_turn(self, listing: Listing) -> None:
        budget = self._budgets.setdefault(
            _SAME_PATH.get(listing, listing),
            AttemptBudget(most=self._calls_per_second, window_seconds=1.0),
        )
        while wait := budget.wait_seconds(self._monotonic()):  # noqa: ASYNC110 - time is awaited
            await asyncio.sleep(wait)
        budget.take(self._monotonic())


def _flat(parts: Iterable[list[Row]]) -> list[Row]:
    return [row for part in parts for row in part]


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at the same time; the first failure ends the others and is raised as it is."""
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in tasks]
