"""What the ledger of subscriptions says, kept in memory for when the database is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from ws_gateway.control.reconciler import ReconcilerStatus, TopicStatus
from ws_gateway.control.service import WishListener
from ws_gateway.domain.subscription import Subscription, SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import SubscriptionFilter, SubscriptionStore

INTERVAL_SECONDS = 5.0
PAGE_ROWS = 250
"""How many rows are read at once: a pause of a few milliseconds for the frames that come."""

_log = structlog.get_logger(__name__)


class LedgerMemory:
    """A copy of the ledger, read again whenever it changed.

    It answers only while it is known to be what the ledger held: not between a change and the next
    reading, and not before the first. States are those of the reconciler, which are newer than any
    row. It stands before the reconciler as its listener, for every change passes there.

    Args:
        store: the ledger.
        listener: told after this; the reconciler.
        status: answers the state of every topic now.
        interval_seconds: how often to look although nobody told of a change: another process may
            have made one.
        monotonic: the reconciler's clock, in seconds.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        listener: WishListener,
        status: Callable[[], ReconcilerStatus],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._listener = listener
        self._status = status
        self._interval_seconds = interval_seconds
        self._monotonic = monotonic
        self._rows: list[Subscription] = []
        self._mark: str | None = None
        self._is_current = False
        self._changed = asyncio.Event()

    # ── told by the service (WishListener) ────────────────────────────────────────────────────

    def wish_added(self, topic: Topic) -> tuple[SubscriptionState, str | None] | None:
        """Read again, and pass it on."""
        self._note_change()
        return self._listener.wish_added(topic)

    def wishes_removed(self) -> None:
        """Read again, and pass it on."""
        self._note_change()
        self._listener.wishes_removed()

    def _note_change(self) -> None:
        self._is_current = False
        self._changed.set()

    @property
    def is_current(self) -> bool:
        """Say whether the copy is known to be what the ledger held."""
        return self._is_current

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Keep the copy like the ledger, until cancelled; waits while the database is away."""
        while True:
            self._changed.clear()
            try:
                await self._read()
            except DatabaseLost as exc:
                _log.debug("control.memory_kept", rows=len(self._rows), why=str(exc))
            else:
                self._is_current = not self._changed.is_set()
            try:
                async with asyncio.timeout(self._interval_seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue  # the interval is over

    async def _read(self) -> None:
        # Before the rows: what changes while they are read differs at the next look.
        mark = await self._store.fingerprint()
        if mark == self._mark:
            return
        rows: list[Subscription] = []
        while True:
            after = rows[-1].id if rows else None
            page = await self._store.page(SubscriptionFilter(), after=after, limit=PAGE_ROWS)
            rows += page
            if len(page) < PAGE_ROWS:
                break
        self._rows, self._mark = rows, mark

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None.

        Raises:
            DatabaseLost: the copy is not known to be true.
        """
        self._require_current()
        found = [row for row in self._rows if row.id == subscription_id]
        return next(self._as_now(found), None)

    def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`.

        Raises:
            DatabaseLost: the copy is not known to be true.
        """
        self._require_current()
        behind = [row for row in self._rows if after is None or row.id > after]
        return [row for row in self._as_now(behind) if _fits(row, wanted)][:limit]

    def _require_current(self) -> None:
        if not self._is_current:
            raise DatabaseLost("the database is away, and what it held is not known here")

    def _as_now(self, rows: list[Subscription]) -> Iterator[Subscription]:
        known = {one.topic: one for one in self._status().topics}
        zero = datetime.now(UTC) - timedelta(seconds=self._monotonic())
        for row in rows:
            yield _with_state(row, known.get(row.topic), zero)


def _with_state(row: Subscription, now: TopicStatus | None, zero: datetime) -> Subscription:
    if now is None or (now.state is row.state and now.error == row.last_error):
        return row
    since = zero + timedelta(seconds=now.since)
    return replace(row, state=now.state, last_error=now.error, state_since=since)


def _fits(row: Subscription, wanted: SubscriptionFilter) -> bool:
    if wanted.services is not None and row.requesting_service not in wanted.services:
        return False
    pairs = (
        (wanted.requesting_service, row.requesting_service),
        (wanted.channel, row.topic.channel),
        (wanted.category, row.topic.category),
        (wanted.symbol, row.topic.symbol),
        (wanted.state, row.state),
    )
    return all(asked is None or asked == found for asked, found in pairs)
