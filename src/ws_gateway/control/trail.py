"""Notes what was done outside the database in the audit trail, which is in it."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ws_gateway.domain.audit import AuditAction
from ws_gateway.domain.caller import Caller
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.store import AuditTrail

_log = structlog.get_logger(__name__)


async def note_done(
    trail: AuditTrail,
    caller: Caller,
    action: AuditAction,
    subject: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Note what was done; in the log where the database is away, for it is done all the same."""
    try:
        await trail.note(caller, action.value, subject, before=before, after=after)
    except DatabaseLost as exc:
        _log.error(
            "control.audit_unwritten",
            action=action.value,
            subject=subject,
            before=before,
            after=after,
            actor_id=caller.key_id,
            actor_name=caller.name,
            address=caller.address,
            error=str(exc),
        )
