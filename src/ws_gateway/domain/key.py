"""A key of the HTTP API, as far as anybody may see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ws_gateway.domain.caller import Caller, Scope


class KeyState(StrEnum):
    """What a key is worth now."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key without its secret.

    Attributes:
        id: the readable part, by which it is looked up.
        services: the only services it speaks for, None for any.
        rotates: the key it takes the place of, if it does.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    services: frozenset[str] | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rotates: str | None = None

    @property
    def life_seconds(self) -> float | None:
        """Say how long it was to be of use, in seconds; None for ever."""
        if self.expires_at is None:
            return None
        return (self.expires_at - self.created_at).total_seconds()

    def state(self, now: datetime) -> KeyState:
        """Say what it is worth at a moment."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE

    def to_caller(self) -> Caller:
        """Say who calls with it."""
        return Caller(self.id, self.name, self.scopes, self.services)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key with what proves its secret: a SHA-256 digest, 32 bytes, which is never shown."""

    key: ApiKey
    secret_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is to be stored.

    Attributes:
        secret_hash: SHA-256 digest of its secret, 32 bytes.
        expires_in_seconds: how long it is of use, None for ever.
    """

    id: str
    secret_hash: bytes = field(repr=False)
    name: str
    scopes: frozenset[Scope]
    services: frozenset[str] | None
    expires_in_seconds: float | None
