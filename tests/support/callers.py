"""Callers of tests, and the guard that knows one administrator key."""

from __future__ import annotations

from pydantic import SecretStr

from ws_gateway.control.guard import Guard
from ws_gateway.domain.caller import Caller, Scope

ADMIN = Caller("bootstrap", "WSG_API_KEY", frozenset({Scope.ADMIN}))


def service_caller(*services: str, scopes: frozenset[Scope] | None = None) -> Caller:
    """Build the caller of a key that is bound to services and may read and write subscriptions."""
    own = frozenset({Scope.SUBSCRIPTIONS_READ, Scope.SUBSCRIPTIONS_WRITE})
    return Caller("0123456789ab", "bound", scopes or own, frozenset(services))


def guarded(api_key: str | None) -> Guard:
    """Build a guard that takes one administrator key, or none at all."""
    return Guard(None if api_key is None else SecretStr(api_key))
