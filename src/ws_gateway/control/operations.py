"""What operators see and do, without a word of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ws_gateway.control.access import require
from ws_gateway.control.health import HealthReporter, VenueReport
from ws_gateway.control.trail import note_done
from ws_gateway.domain.audit import AuditAction, AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.topic import Endpoint
from ws_gateway.ports.delivery import QueueStatus
from ws_gateway.ports.store import AuditTrail
from ws_gateway.runtime.sampling import Sampling
from ws_gateway.runtime.telemetry import LogLevels, LogLevelStatus


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Part of the trail, newest first; `next_before` continues it, None ends it."""

    items: list[AuditEntry]
    next_before: UUID | None


class Operations:
    """Use cases of whoever looks after the gateway. Every call may raise `Forbidden`.

    Args:
        reporter: what there is to see.
        trail: who changed what.
        levels: what changes the log level; None leaves the process's own logging alone.
    """

    def __init__(
        self, reporter: HealthReporter, trail: AuditTrail, levels: LogLevels | None = None
    ) -> None:
        self._reporter = reporter
        self.trail = trail
        self._levels = levels or LogLevels("info", Sampling())

    def venue(self, caller: Caller, only: Endpoint | None = None) -> VenueReport:
        """Compare what is wanted with what is active; it is of all services, for all share it."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        return self._reporter.venue(only)

    def queues(self, caller: Caller) -> Sequence[QueueStatus]:
        """Return how each queue was at the last look."""
        require(caller, Scope.SUBSCRIPTIONS_READ)
        return self._reporter.queues()

    async def replace_connection(self, caller: Caller, name: str) -> bool:
        """Let a successor take a connection's place; answers whether it exists.

        It is done without the database too; then the log alone says by whom.
        """
        require(caller, Scope.ADMIN)
        if not self._reporter.replace_connection(name):
            return False
        await note_done(self.trail, caller, AuditAction.CONNECTION_REPLACE, name)
        return True

    def log_level(self, caller: Caller) -> LogLevelStatus:
        """Say what is logged now."""
        require(caller, Scope.ADMIN)
        return self._levels.status

    async def set_log_level(
        self, caller: Caller, level: str, duration_seconds: float | None
    ) -> LogLevelStatus:
        """Change what is logged, for a while or until it is changed again.

        It is done without the database too; then the log alone says by whom.
        """
        require(caller, Scope.ADMIN)
        before = self._levels.status.level
        status = self._levels.change(level, duration_seconds, f"asked for by {caller.name}")
        after = {"level": level, "duration_seconds": duration_seconds}
        await note_done(
            self.trail,
            caller,
            AuditAction.LOG_LEVEL_CHANGE,
            "log_level",
            before={"level": before},
            after=after,
        )
        return status

    async def audit(
        self, caller: Caller, wanted: AuditFilter, *, before: UUID | None, limit: int
    ) -> AuditPage:
        """Return up to `limit` changes, newest first, beginning behind `before`.

        Raises:
            DatabaseLost: nothing can be read now.
        """
        require(caller, Scope.ADMIN)
        # One more than asked for tells whether another page follows.
        rows = await self.trail.page(wanted, before=before, limit=limit + 1)
        items = list(rows[:limit])
        return AuditPage(items, items[-1].id if len(rows) > limit else None)
