"""Reads whole lists over REST: page after page, several at a time, no faster than the venue allows.

Pages of a list hang together by cursors, so a long span is cut into slices after its first page,
which tells how much there is. A page that fails is asked for again a few times.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from hashlib import blake2b
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
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import Category
from ws_gateway.errors import VenueLost
from ws_gateway.ports.account import PrivateLists
from ws_gateway.ports.event_path import UnreadableSink
from ws_gateway.runtime.budget import AttemptBudget

T = TypeVar("T")

CALLS_PER_SECOND = 45
"""Of each list; the venue takes 50 (v5 reference 11.4)."""

_AT_ONCE = 8
_TRIES = 5
_RETRY_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_PAGE_SECONDS = 10.0
"""After so long a page is not tried again: what else is read with it would wait for a list that
answers nothing, and the next reading tries it in its own time."""

_MOST_PAGES = 20_000
_MOMENT_TRIES = 40
_MOST_QUARANTINED = 10_000
_SAME_PATH = {Listing.RECENT_ORDERS: Listing.OPEN_ORDERS}


class ListReader:
    """Reads lists; whatever fails for good raises `VenueLost` or `Rejected`.

    Args:
        lists: who asks the venue.
        unreadable: where goes a row that is none.

    Attributes:
        first_told_at, last_told_at: the venue's time of the earliest answer since `begin`, and
            of the latest, ms.
        spoiled: lists that had rows which could not be read, since `begin`.
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
        self._quarantined: dict[bytes, None] = {}
        self.first_told_at: int | None = None
        self.last_told_at = 0
        self.spoiled: set[tuple[Listing, Category]] = set()

    def begin(self) -> None:
        """Begin a reading: forget what was noted of the one before."""
        self.first_told_at, self.last_told_at = None, 0
        self.spoiled.clear()

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
        if not page.cursor:
            return rows
        if (oldest := _oldest(rows)) is None:
            return await self._slice(query)  # nothing in it tells how far it reaches
        parts = [
            self._slice(msgspec.structs.replace(query, start=start, end=end))
            for start, end in slices(query.start or 0, oldest)
        ]
        return [*rows, *(row for part in await all_of(parts) for row in part)]

    async def _slice(self, query: ListQuery) -> list[Row]:
        pages: list[list[Row]] = []
        await self._follow(query, None, pages.append)
        torn = torn_moments([[row.at_ms for row in page if row.at_ms] for page in pages])
        again = [self._moment(msgspec.structs.replace(query, start=at, end=at)) for at in set(torn)]
        return [*(row for page in pages for row in page), *_flat(await all_of(again))]

    async def _moment(self, query: ListQuery) -> list[Row]:
        """Read rows of one moment, which change places from page to page, until all were seen.

        A reading tells how many there are, as some come twice where others are left out.
        """
        known: dict[tuple[str, str, str], Row] = {}
        for _ in range(_MOMENT_TRIES):
            before = len(known)
            rows, pages = await self._chain(query, None)
            for row in rows:
                known.setdefault((row.head.symbol, row.head.order_id, row.head.exec_id), row)
            if pages < 2 or before == len(known) >= len(rows):  # noqa: PLR2004 - one page is whole
                return list(known.values())
        raise VenueLost("rest", f"the pages of {query.listing} never tell all of one moment")

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
            oldest = _oldest(rows)
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
                self._quarantine(query, raw, page, str(exc))
                continue
            at_ms = row_time(query.listing, head)
            if query.listing is Listing.EXECUTIONS and not at_ms:
                self._quarantine(query, raw, page, "execTime is no time")
                continue
            rows.append(Row(raw, head, page, query.category, at_ms))
        return rows

    def _quarantine(self, query: ListQuery, raw: msgspec.Raw, page: ListPage, why: str) -> None:
        """Keep a row for a person, once: it is read again until it can be."""
        self.spoiled.add((query.listing, query.category))
        digest = blake2b(raw, digest_size=16).digest()
        if digest in self._quarantined:
            return
        self._quarantined[digest] = None
        if len(self._quarantined) > _MOST_QUARANTINED:
            del self._quarantined[next(iter(self._quarantined))]
        self._unreadable.quarantine(
            reason="missing_field", origin=f"rest:{query.listing}", detail=why,
            raw=bytes(raw), trace_id=page.trace_id,
        )  # fmt: skip

    async def _page(self, query: ListQuery, cursor: str) -> ListPage:
        ends_at = self._monotonic() + _PAGE_SECONDS
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._at_once:
                    await self._wait_for_turn(query.listing)
                    page = await self._lists.page(query, cursor)
                    self._note_time(page.told_at)
                    return page
            except VenueLost as exc:
                pause = exc.retry_after_seconds or _RETRY_SECONDS * attempt
                if attempt == _TRIES or pause > _LONGEST_PAUSE_SECONDS:
                    raise
                if self._monotonic() >= ends_at:
                    raise
                await asyncio.sleep(pause)
        raise VenueLost("rest", "no attempt is left")

    def _note_time(self, told_at: int) -> None:
        if told_at > 0 and (self.first_told_at is None or told_at < self.first_told_at):
            self.first_told_at = told_at
        self.last_told_at = max(told_at, self.last_told_at)

    async def _wait_for_turn(self, listing: Listing) -> None:
        budget = self._budgets.setdefault(
            _SAME_PATH.get(listing, listing),
            AttemptBudget(most=self._calls_per_second, window_seconds=1.0),
        )
        while wait := budget.wait_seconds(self._monotonic()):  # noqa: ASYNC110 - time is awaited
            await asyncio.sleep(wait)
        budget.take(self._monotonic())


def _oldest(rows: Iterable[Row]) -> int | None:
    """Say how far back rows reach, None if none of them tells its time."""
    return min((row.at_ms for row in rows if row.at_ms), default=None)


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
