"""What can be done with subscriptions, without a word of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from ws_gateway.control.access import require, require_service
from ws_gateway.control.board import TopicBoard
from ws_gateway.control.live import QUEUE_PREFIX, LiveSubscription, LiveView, TopicReport
from ws_gateway.control.policy import Policy
from ws_gateway.control.register import Register
from ws_gateway.control.resolution import Resolution
from ws_gateway.control.state_pages import page_in_state
from ws_gateway.control.topic_states import StateNews
from ws_gateway.control.wishes import TopicChoice, Wish
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.subscription import Delivery, Subscription, UnreadableRow
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost, Throttled
from ws_gateway.ports.delivery import DedicatedQueues
from ws_gateway.ports.feed import InstrumentList
from ws_gateway.ports.store import SetChange, SubscriptionFilter, SubscriptionStore
from ws_gateway.ports.streams import StreamReport
from ws_gateway.runtime.slices import one_by_one, slices
from ws_gateway.runtime.tracing import note

__all__ = ["Page", "SetOutcome", "SubscriptionService", "Wish", "WishListener"]

MEMORY = "memory"
"""Where an answer came from while the database was away."""

READ_SECONDS = 1.0
"""How long a reader waits for the database before it is answered from memory."""

QUOTA_RETRY_SECONDS = 60.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class WishListener(TopicReport, Protocol):
    """Who makes wishes come true; the reconciler.

    Attributes:
        register: what is wanted, as far as it was read.
        board: each topic's state.
    """

    register: Register
    board: TopicBoard

    @property
    def is_current(self) -> bool:
        """Say whether the register is known to be what the ledger held when it was there."""

    @property
    def database_error(self) -> str | None:
        """Why the database cannot be reached now, None while it can."""

    def wish_added(self, row: Subscription) -> StateNews | None:
        """Act on a wish that was posted; the venue is asked again if it refused it."""

    def wishes_added(self, rows: Sequence[Subscription]) -> None:
        """Act on wishes."""

    def wishes_removed(self, rows: Iterable[Subscription | UnreadableRow]) -> None:
        """Act on the removal of wishes."""

    async def settled(self, topics: Iterable[Topic], seconds: float) -> None:
        """Wait until the venue took or refused each, at most so long."""


class TraceKeeper(Protocol):
    """Who remembers which request asked for a topic."""

    def note(self, topic: Topic, trace_id: str | None) -> None:
        """Take note of it; None is no trace."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `next_after` continues it, None ends it."""

    items: list[LiveSubscription]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """What making a service's whole set true did."""

    added: list[LiveSubscription]
    removed: list[LiveSubscription]
    changed: list[LiveSubscription]
    unchanged: int


class SubscriptionService:
    """Use cases of subscriptions.

    Every call may raise `DatabaseLost`, reading only until the ledger was read once; a wish it
    refuses is `Rejected` with the field at fault.

    Args:
        store: the ledger of wishes.
        listener: who makes wishes come true at the venue.
        policy: what may be asked for.
        instruments: what the venue lists; None if nobody asks it.
        queues: who makes wishes for queues come true; None serves the shared ones alone.
        streams: what came of each topic; None if nobody counts.
        quota: most subscriptions of one service, None for no bound.
        asked_by: told which request asked for a topic; None tells nobody.
        queue_prefix: what the names of queues begin with.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        listener: WishListener,
        policy: Policy,
        instruments: InstrumentList | None = None,
        queues: DedicatedQueues | None = None,
        *,
        streams: StreamReport | None = None,
        quota: int | None = None,
        asked_by: TraceKeeper | None = None,
        queue_prefix: str = QUEUE_PREFIX,
    ) -> None:
        self._store = store
        self._policy = policy
        self._listener = listener
        self._resolution = Resolution(TopicChoice(policy, instruments), listener.register)
        self._queues = queues
        self._view = LiveView(
            listener, streams, queue_prefix=queue_prefix, account_of=policy.account_of
        )
        self._quota = quota
        self._asked_by = asked_by

    # ── asking ───────────────────────────────────────────────────────────────────────────────

    async def add(
        self, caller: Caller, wish: Wish, *, wait_seconds: float = 0.0
    ) -> tuple[LiveSubscription, bool]:
        """Store a wish; answers it and whether it is new.

        A wish that stands already is answered as it is, its lease begun anew; if the venue refused
        its topic, the venue is asked again.

        Args:
            caller: who asks.
            wish: what for.
            wait_seconds: answer only when the venue took or refused it, at most so long.

        Raises:
            Rejected: the wish cannot be served as it stands.
            Contradiction: it stands with another delivery than the one named.
            Throttled: the service has as much as it may have.
        """
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, wish.requesting_service)
        wanted = await self._resolution.of(wish)
        row, is_new = await self._store.add(
            wanted.topic,
            wish.requesting_service,
            wanted.chosen_by,
            wanted.delivery,
            ttl_seconds=wanted.ttl_seconds,
            quota=self._quota,
            by=caller,
        )
        # Before the venue is asked, so that the queue gets the first snapshot too.
        await self._settle_queues([row])
        self._note_trace(caller, [row])
        self._listener.wish_added(row)
        if is_new:
            _log.info("control.subscription_added", **_words(row))
        if wait_seconds:
            await self._listener.settled([row.topic], wait_seconds)
        return self._view.of(row), is_new

    async def replace(
        self,
        caller: Caller,
        requesting_service: str,
        wishes: Sequence[Wish],
        *,
        wait_seconds: float = 0.0,
    ) -> SetOutcome:
        """Make these all that a service wants; what stays is not disturbed.

        What a wish does not name is the default: shared, and no lease. Leases that stay begin
        anew.

        Args:
            caller: who asks.
            requesting_service: whose set it is.
            wishes: all that it wants; the same twice is one.
            wait_seconds: answer only when the venue took or refused each, also those that stood
                before, at most so long.

        Raises:
            Rejected: one of them cannot be served; nothing was changed.
            Contradiction: two of them want the same topic in different ways.
            Throttled: they are more than the service may have.
        """
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, requesting_service)
        wanted = await self._resolution.of_set(wishes)
        if self._quota is not None and len(wanted) > self._quota:
            raise Throttled(
                f"{requesting_service} may have {self._quota} subscriptions; these are "
                f"{len(wanted)}",
                code="quota_exceeded",
                retry_after_seconds=QUOTA_RETRY_SECONDS,
            )
        change = await self._store.replace(requesting_service, wanted, by=caller)
        removed = await self._live(change.removed)
        if change.added or change.changed or change.removed:
            await self._act_on(change, caller)
            _log.info(
                "control.service_set_replaced",
                requesting_service=requesting_service,
                added=len(change.added),
                removed=len(change.removed),
                changed=len(change.changed),
                unchanged=change.unchanged,
            )
        if wait_seconds:
            await self._listener.settled([one.topic for one in wanted], wait_seconds)
        return SetOutcome(
            await self._live(change.added),
            removed,
            await self._live(change.changed),
            change.unchanged,
        )

    async def _live(self, rows: Sequence[Subscription]) -> list[LiveSubscription]:
        return [self._view.of(row) async for row in one_by_one(rows)]

    async def renew(self, caller: Caller, requesting_service: str) -> tuple[int, datetime | None]:
        """Begin a service's leases anew; answers how many it has, and when the first ends."""
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, requesting_service)
        return await self._store.renew(requesting_service)

    # ── seeing ───────────────────────────────────────────────────────────────────────────────

    async def get(self, caller: Caller, subscription_id: UUID) -> LiveSubscription | None:
        """Return one, or None."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        row = await self._read(
            lambda: self._store.get(subscription_id),
            lambda: self._listener.register.get(subscription_id),
        )
        if row is None or not caller.speaks_for(row.requesting_service):
            return None
        return self._view.of(row)

    async def page(
        self, caller: Caller, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> Page:
        """Return up to `limit` subscriptions behind `after`, in order of creation."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        if wanted.requesting_service is not None:
            require_service(caller, wanted.requesting_service)
        wanted = replace(wanted, services=caller.services)
        if wanted.account is not None:
            # By its name here, and in the ledger as topics name it.
            wanted = replace(wanted, account=self._policy.key_of_account(wanted.account) or "")
        anyhow = replace(wanted, state=None)

        def fits(row: Subscription) -> bool:
            if not anyhow.fits(row):
                return False
            return wanted.state is None or self._view.state(row) is wanted.state

        # One more than asked for tells whether another page follows.
        register = self._listener.register
        is_here = self._listener.is_current or self._listener.database_error is None
        if wanted.state is not None and register.is_complete and is_here:
            # What the column says may have been written by others.
            rows = page_in_state(
                register, self._listener.board, wanted.state, wanted, after=after, limit=limit + 1
            )
        else:
            rows = await self._read(
                lambda: self._store.page(wanted, after=after, limit=limit + 1),
                lambda: register.page(fits, after=after, limit=limit + 1),
            )
        next_after = rows[limit - 1].id if len(rows) > limit else None
        # A state may be newer than what was written of it.
        items = [self._view.of(row) for row in rows[:limit] if fits(row)]
        return Page(items, next_after)

    async def _read(self, stored: Callable[[], Awaitable[T]], remembered: Callable[[], T]) -> T:
        """Ask the database, or while it is away the memory: nobody changes a ledger that is away.

        Raises:
            DatabaseLost: it is away, and the memory is not known to be true.
        """
        if self._listener.database_error is None or not self._listener.is_current:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    return await stored()
            except (DatabaseLost, TimeoutError) as exc:
                if not self._listener.is_current:
                    raise DatabaseLost("what the database held is not known here") from exc
        note(source=MEMORY)
        return remembered()

    # ── taking back ──────────────────────────────────────────────────────────────────────────

    async def remove(
        self, caller: Caller, subscription_id: UUID
    ) -> Subscription | UnreadableRow | None:
        """Forget one; answers what it was, or None."""
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        gone = await self._store.remove(subscription_id, by=caller)
        if gone is not None:
            self._listener.wishes_removed([gone])
            self._queues_changed()
            _log.info("control.subscription_removed", **_words(gone))
        return gone

    async def remove_service(
        self, caller: Caller, requesting_service: str
    ) -> Sequence[Subscription | UnreadableRow]:
        """Forget all of one service; answers what they were."""
        require(caller, Scope.SUBSCRIPTIONS_WRITE)
        require_service(caller, requesting_service)
        gone = await self._store.remove_service(requesting_service, by=caller)
        if gone:
            self._listener.wishes_removed(gone)
            self._queues_changed()
            _log.info(
                "control.service_removed",
                requesting_service=requesting_service,
                subscriptions=len(gone),
            )
        return gone

    # ── who else is told ─────────────────────────────────────────────────────────────────────

    async def _act_on(self, change: SetChange, caller: Caller) -> None:
        fresh = [*change.added, *change.changed]
        await self._settle_queues(fresh)
        self._queues_changed()
        self._note_trace(caller, fresh)
        async for gone in slices(change.removed):
            self._listener.wishes_removed(gone)
        async for rows in slices(fresh):
            self._listener.wishes_added(rows)

    async def _settle_queues(self, rows: Sequence[Subscription]) -> None:
        if self._queues is not None and any(row.delivery is Delivery.DEDICATED for row in rows):
            await self._queues.settle()

    def _note_trace(self, caller: Caller, rows: Iterable[Subscription]) -> None:
        if self._asked_by is not None:
            for row in rows:
                self._asked_by.note(row.topic, caller.trace_id)

    def _queues_changed(self) -> None:
        if self._queues is not None:
            self._queues.wishes_changed()


def _words(row: Subscription | UnreadableRow) -> dict[str, str]:
    topic = row.topic.key if isinstance(row, Subscription) else row.topic_name
    return {"id": str(row.id), "topic": topic, "requesting_service": row.requesting_service}
