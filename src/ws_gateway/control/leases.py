"""When wishes end that nobody renews; time in which nobody could renew them does not count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ws_gateway.domain.subscription import Subscription
from ws_gateway.ports.store import SubscriptionStore

STANDSTILL_SECONDS = 2.0
"""How late the event loop may come before the process counts as away."""

LOOK_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class Leases:
    """Ends the leases of the ledger, and begins them anew when nobody could renew them.

    That is at the start, after the database was away, and after this process stood still: stopped
    by a hand, starved, or on a machine that was moved.

    Args:
        store: the ledger of wishes.
        monotonic: clock in seconds.
    """

    def __init__(self, store: SubscriptionStore, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._are_doubtful = True
        self._ends_at = float("-inf")
        self._look_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ends_at(self) -> float:
        """When the next may end, in monotonic seconds; infinite without any."""
        return self._ends_at

    def doubt(self) -> None:
        """Take note that nobody could renew for a while."""
        self._are_doubtful = True

    def end_in(self, seconds: float) -> None:
        """Take note of one that ends in so many seconds."""
        self._ends_at = min(self._ends_at, self._monotonic() + max(0.0, seconds))

    async def expire(self, *, is_due: bool) -> list[Subscription]:
        """Forget what nobody renewed; answers what it was.

        Args:
            is_due: look although none that is known ends now.

        Raises:
            DatabaseLost: nothing ended.
        """
        self._notice()
        if self._are_doubtful:
            # Before the statement: what is doubted while it runs is begun anew once more.
            self._are_doubtful = False
            try:
                await self._store.begin_leases()
            except BaseException:  # also when cancelled
                self._are_doubtful = True
                raise
            self._ends_at = float("-inf")
        if self._monotonic() < self._ends_at and not is_due:
            return []
        self._ends_at = float("inf")  # unless one that begins meanwhile ends sooner
        gone, seconds = await self._store.remove_expired()
        if seconds is not None:
            self.end_in(seconds)
        for row in gone:
            _log.warning(
                "control.subscription_expired",
                id=str(row.id),
                topic=row.topic.key,
                requesting_service=row.requesting_service,
                ttl_seconds=row.ttl_seconds,
            )
        return gone

    # ── whether the process was there ────────────────────────────────────────────────────────

    def watch(self) -> None:
        """Look from now on whether the loop turns.

        By a timer, and before leases are ended: after a standstill either may come first.
        """
        self._look_at = self._monotonic() + LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def leave(self) -> None:
        """Look no more."""
        self._look_at = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._notice()
        self.watch()

    def _notice(self) -> None:
        now = self._monotonic()
        late = now - self._look_at
        if late > STANDSTILL_SECONDS:
            _log.warning("control.stood_still", seconds=round(late, 1))
            self._look_at = now  # it is told once
            self.doubt()
