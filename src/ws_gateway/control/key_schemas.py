"""What goes over the wire about keys and the audit trail."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ws_gateway.control.key_words import KEY_ID_PATTERN
from ws_gateway.control.keys import (
    DEFAULT_OVERLAP_SECONDS,
    DEFAULT_SCOPES,
    MAX_LIFE_SECONDS,
    NAME_PATTERN,
    SERVICE_PATTERN,
    IssuedKey,
    KeyPage,
)
from ws_gateway.control.operations import AuditPage
from ws_gateway.control.schemas import decode_cursor, encode_cursor
from ws_gateway.domain.audit import AuditAction, AuditEntry, AuditFilter
from ws_gateway.domain.caller import Scope
from ws_gateway.domain.key import ApiKey, KeyState
from ws_gateway.errors import Rejected

_Life = Annotated[int, Field(strict=True, ge=1, le=MAX_LIFE_SECONDS)]
# What the trail holds is of printed letters; nothing else need be asked of the database, which
# refuses some of it.
_Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
_Services = list[Annotated[str, StringConstraints(pattern=SERVICE_PATTERN)]]


class KeyRequest(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"name": "strategy-1", "services": ["strategy-1"], "expires_in_seconds": 7776000},
                {"name": "dashboard", "scopes": ["subscriptions:read", "balances:read"]},
            ]
        },
    )

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] = Field(
        description="What people call it; it need not be unique."
    )
    scopes: list[Scope] = Field(
        list(DEFAULT_SCOPES), min_length=1, max_length=16, description="What it may be used for."
    )
    services: _Services = Field(
        [],
        max_length=100,
        description="The only services it speaks for; none named speaks for any.",
    )
    expires_in_seconds: _Life | None = Field(
        None, description="How long it is of use; null is for ever."
    )


class RotationRequest(BaseModel):
    """How one key takes the place of another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap_seconds: Annotated[int, Field(strict=True, ge=0, le=MAX_LIFE_SECONDS)] = Field(
        DEFAULT_OVERLAP_SECONDS, description="How long both keys are of use."
    )
    expires_in_seconds: _Life | None = Field(
        None,
        description="How long the new key is of use; null is as long as the old one was to be.",
    )


class KeyAnswer(BaseModel):
    """A key as anybody may see it, without its secret."""

    id: str = Field(description="The readable part of the key.", examples=["3k9f2m7q1xzd"])
    name: str
    state: KeyState
    scopes: list[Scope]
    services: list[str] | None = Field(description="Null speaks for any service.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Up to some seconds behind.")
    rotates: str | None = Field(description="The key it takes the place of.")

    @classmethod
    def of(cls, shown: ApiKey, now: datetime, **more: Any) -> Self:
        """Show one; `more` are the fields of a kind of answer."""
        return cls(
            id=shown.id,
            name=shown.name,
            state=shown.state(now),
            scopes=sorted(shown.scopes),
            services=None if shown.services is None else sorted(shown.services),
            created_at=shown.created_at,
            expires_at=shown.expires_at,
            revoked_at=shown.revoked_at,
            last_used_at=shown.last_used_at,
            rotates=shown.rotates,
            **more,
        )


class IssuedKeyAnswer(KeyAnswer):
    """A key that was just made."""

    key: str = Field(description="What to send as `X-API-Key`. It is told here and never again.")

    @classmethod
    def told(cls, issued: IssuedKey, now: datetime) -> Self:
        """Show the key itself, this once."""
        return cls.of(issued.key, now, key=issued.word.get_secret_value())


class KeyList(BaseModel):
    """Part of a list, in order of creation."""

    items: list[KeyAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null at the end.")

    @classmethod
    def of(cls, page: KeyPage, now: datetime) -> Self:
        """Show a page."""
        after = page.next_after
        cursor = None if after is None else base64.urlsafe_b64encode(after.encode()).decode()
        return cls(items=[KeyAnswer.of(key, now) for key in page.items], next_cursor=cursor)


class _PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(100, ge=1, le=500, description="Most items in the answer.")
    cursor: str | None = Field(
        None, max_length=64, description="`next_cursor` of the answer before; opaque."
    )


class KeyQuery(_PageQuery):
    """Which part of the keys."""

    def after(self) -> str | None:
        """Read the key behind which the page begins.

        Raises:
            Rejected: the cursor was not made here.
        """
        if self.cursor is None:
            return None
        try:
            key_id = base64.b64decode(self.cursor, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            key_id = ""
        if not re.fullmatch(KEY_ID_PATTERN, key_id):
            raise Rejected(
                "this cursor was not made here; give next_cursor of the answer before, unchanged",
                code="cursor_unknown",
                field="cursor",
                found=self.cursor,
            )
        return key_id


class AuditQuery(_PageQuery):
    """Which changes; filters narrow together."""

    actor_id: _Word | None = Field(
        None, description="Only with this key; `bootstrap` and `cli` are such too."
    )
    action: AuditAction | None = Field(None, description="Only this, e.g. `key.revoke`.")
    subject: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] | None = Field(
        None, description="Only of what has this id."
    )
    trace_id: _Word | None = Field(None, description="Only of this request.")

    def to_filter(self) -> AuditFilter:
        """Say it in the words of the trail."""
        return AuditFilter(self.actor_id, self.action, self.subject, self.trace_id)

    def before(self) -> UUID | None:
        """Read the entry behind which the page begins."""
        return None if self.cursor is None else decode_cursor(self.cursor)


class AuditAnswer(BaseModel):
    """One change that somebody made."""

    id: UUID
    at: datetime
    actor_id: str = Field(description="Id of the key; `bootstrap` is WSG_API_KEY, `cli` a command.")
    actor_name: str
    action: str = Field(
        description=f"One of {', '.join(AuditAction)}; later versions may have more.",
        examples=["subscription.add"],
    )
    subject: str = Field(description="Id or name of what was changed.")
    before: dict[str, Any] | None = Field(description="What it was; null if it is new.")
    after: dict[str, Any] | None = Field(description="What it became; null if it is gone.")
    trace_id: str | None
    address: str | None = Field(description="Where the request came from.")

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Show one."""
        return cls.model_validate(entry, from_attributes=True)


class AuditList(BaseModel):
    """Part of the trail, newest first."""

    items: list[AuditAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null at the end.")

    @classmethod
    def of(cls, page: AuditPage) -> Self:
        """Show a page."""
        before = page.next_before
        return cls(
            items=[AuditAnswer.of(one) for one in page.items],
            next_cursor=None if before is None else encode_cursor(before),
        )
