"""Who changed what, when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class AuditAction(StrEnum):
    """What may be done, `thing.verb`."""

    BALANCES_SYNC = "balances.sync"
    CONNECTION_REPLACE = "connection.replace"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    KEY_ROTATE = "key.rotate"
    LOG_LEVEL_CHANGE = "log_level.change"
    SUBSCRIPTION_ADD = "subscription.add"
    SUBSCRIPTION_CHANGE = "subscription.change"
    SUBSCRIPTION_EXPIRE = "subscription.expire"
    SUBSCRIPTION_REMOVE = "subscription.remove"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that somebody made.

    Attributes:
        actor_id, actor_name: the key it was made with; `bootstrap` and `cli` are no stored keys.
        action: what was done, `thing.verb`.
        subject: id or name of what was changed.
        before, after: what it was and became, None where it was not there.
    """

    id: UUID
    at: datetime
    actor_id: str
    actor_name: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    trace_id: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which changes are wanted; None means any."""

    actor_id: str | None = None
    action: str | None = None
    subject: str | None = None
    trace_id: str | None = None
