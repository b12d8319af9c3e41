"""What operators see and do, without a word of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from ws_gateway.control.access import require
from ws_gateway.control.health import HealthReporter, VenueReport
from ws_gateway.domain.audit import AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.topic import Endpoint
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.delivery import QueueStatus
from ws_gateway.ports.store import AuditTrail
from ws_gateway.runtime.sampling import Sampling
from ws_gateway.runtime.telemetry import LogLevels, LogLevelStatus

_log = structlog.get_logger(__name__)


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
        self._trail = trail
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
        await self._note(caller, "connection.replace", name)
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
        await self._note(caller, "log_level.change", "log_level", {"level": before}, after)
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
        rows = await self._trail.page(wanted, before=before, limit=limit + 1)
        items = list(rows[:limit])
        return AuditPage(items, items[-1].id if len(rows) > limit else None)

    async def _note(
        self,
        caller: Caller,
        action: str,
        subject: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Note what was done outside the database; in the log where that is away."""
        try:
            await self._trail.note(caller, action, subject, before=before, after=after)
        except DatabaseLost as exc:
            _log.error(
                "control.audit_unwritten",
                action=action,
                subject=subject,
                before=before,
                after=after,
                actor_id=caller.key_id,
                actor_name=caller.name,
                address=caller.address,
                error=str(exc),
            )
