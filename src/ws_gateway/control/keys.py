"""What can be done with keys, without a word of HTTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from ws_gateway.control.access import require
from ws_gateway.control.key_words import make_key
from ws_gateway.control.keyring import KeyRing
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.key import ApiKey, NewKey
from ws_gateway.errors import Rejected
from ws_gateway.ports.store import KeyStore

DEFAULT_SCOPES = (Scope.SUBSCRIPTIONS_READ, Scope.SUBSCRIPTIONS_WRITE)
"""What a service needs that asks for data."""

DEFAULT_OVERLAP_SECONDS = 24 * 3600
MAX_LIFE_SECONDS = 10 * 366 * 24 * 3600

NAME_PATTERN = r"^[A-Za-z0-9_.@:/-]{1,64}$"
SERVICE_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just made; `word` is the key itself and cannot be had again."""

    key: ApiKey
    word: SecretStr


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Part of a list; `next_after` continues it, None ends it."""

    items: list[ApiKey]
    next_after: str | None


class KeyService:
    """Use cases of keys: for administrators alone.

    Every call may raise `Forbidden` and `DatabaseLost`.

    Args:
        store: where the keys are.
        ring: told at once of what changes here; None where nobody is let in by it.
    """

    def __init__(self, store: KeyStore, ring: KeyRing | None = None) -> None:
        self._store = store
        self._ring = ring

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        scopes: Sequence[Scope] = DEFAULT_SCOPES,
        services: Sequence[str] = (),
        expires_in_seconds: int | None = None,
    ) -> IssuedKey:
        """Make a key.

        Args:
            caller: who makes it.
            name: what people call it.
            scopes: what it may be used for.
            services: the only services it speaks for; none named speaks for any.
            expires_in_seconds: how long it is of use, None for ever.

        Raises:
            Rejected: no key can be like that.
        """
        require(caller, Scope.ADMIN)
        _check(name, scopes, services)
        _check_life("expires_in_seconds", expires_in_seconds)
        parts, word = make_key()
        new = NewKey(
            parts.id,
            parts.digest,
            name,
            frozenset(scopes),
            frozenset(services) or None,
            expires_in_seconds,
        )
        stored = await self._store.create(new, by=caller)
        if self._ring is not None:
            self._ring.learn(stored)
        _log.info("control.key_created", key_id=parts.id, name=name, by=caller.key_id)
        return IssuedKey(stored.key, word)

    async def rotate(
        self,
        caller: Caller,
        key_id: str,
        *,
        overlap_seconds: int = DEFAULT_OVERLAP_SECONDS,
        expires_in_seconds: int | None = None,
    ) -> IssuedKey | None:
        """Make a successor of the same name, scopes and services.

        The old key expires after the overlap, if it does not before. Answers None if there is no
        such key.

        Args:
            caller: who makes it.
            key_id: the old key.
            overlap_seconds: how long both are of use.
            expires_in_seconds: how long the successor is of use; None for as long as the old one
                was to be.

        Raises:
            Rejected: the old one is of no use any more, so there is nothing to hand over; or it
                has a successor already, whose rotation is meant.
        """
        require(caller, Scope.ADMIN)
        _check_life("overlap_seconds", overlap_seconds, least=0)
        _check_life("expires_in_seconds", expires_in_seconds)
        parts, word = make_key()
        pair = await self._store.rotate(
            key_id,
            parts.id,
            parts.digest,
            overlap_seconds=overlap_seconds,
            expires_in_seconds=expires_in_seconds,
            by=caller,
        )
        if pair is None:
            return None
        for stored in pair:
            if self._ring is not None:
                self._ring.learn(stored)
        _log.info("control.key_rotated", key_id=key_id, successor=parts.id, by=caller.key_id)
        return IssuedKey(pair[1].key, word)

    async def revoke(self, caller: Caller, key_id: str) -> ApiKey | None:
        """Make a key worthless, at once; answers it, or None if there is none."""
        require(caller, Scope.ADMIN)
        stored = await self._store.revoke(key_id, by=caller)
        if stored is None:
            return None
        if self._ring is not None:
            self._ring.learn(stored)
        _log.info("control.key_revoked", key_id=key_id, by=caller.key_id)
        return stored.key

    async def get(self, caller: Caller, key_id: str) -> ApiKey | None:
        """Return one, or None."""
        require(caller, Scope.ADMIN)
        stored = await self._store.find(key_id)
        return None if stored is None else stored.key

    async def page(self, caller: Caller, *, after: str | None, limit: int) -> KeyPage:
        """Return up to `limit` keys behind `after`, in order of creation."""
        require(caller, Scope.ADMIN)
        # One more than asked for tells whether another page follows.
        rows = await self._store.page(after=after, limit=limit + 1)
        items = rows[:limit]
        return KeyPage(items, items[-1].id if len(rows) > limit else None)


def _check(name: str, scopes: Sequence[Scope], services: Sequence[str]) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise Rejected(
            "a key's name is 1 to 64 letters, digits and _ . @ : / -",
            code="field_invalid",
            field="name",
            found=name,
        )
    if not scopes:
        raise Rejected(
            "a key without a scope is of no use",
            code="scope_none",
            field="scopes",
            allowed=[scope.value for scope in Scope],
        )
    for service in services:
        if not re.fullmatch(SERVICE_PATTERN, service):
            raise Rejected(
                "a service's name is 1 to 64 letters, digits and _ . -",
                code="field_invalid",
                field="services",
                found=service,
            )
    if services and Scope.ADMIN in scopes:
        raise Rejected(
            "an administrator's key may do everything, so it cannot be bound to services; leave "
            "out either",
            code="admin_bound",
            field="services",
            found=", ".join(services),
        )


def _check_life(field: str, seconds: int | None, *, least: int = 1) -> None:
    if seconds is not None and not least <= seconds <= MAX_LIFE_SECONDS:
        raise Rejected(
            f"{field} is {least} to {MAX_LIFE_SECONDS} (10 years)",
            code="field_invalid",
            field=field,
            found=seconds,
        )
