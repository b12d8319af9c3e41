"""Who asks, and what that caller may do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Scope(StrEnum):
    """What a key may be used for."""

    SUBSCRIPTIONS_READ = "subscriptions:read"
    """See subscriptions, connections and queues."""
    SUBSCRIPTIONS_WRITE = "subscriptions:write"
    """Ask for topics, and take that back."""
    BALANCES_READ = "balances:read"
    """See balances and their history."""
    BALANCES_SYNC = "balances:sync"
    """Have balances read from the venue now."""
    ADMIN = "admin"
    """Everything, of every service: keys, the audit trail and connections as well."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as one request proved it; every use case receives one.

    Attributes:
        key_id: public part of the key; `bootstrap` and `cli` are no stored keys.
        name: what people call it.
        scopes: what it may be used for; `admin` stands for all of them.
        services: the only services it speaks for, None speaks for any.
        address: where the request came from, None if it did not come over the network.
        trace_id: of the request; it goes into everything that comes of it.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    services: frozenset[str] | None = None
    address: str | None = None
    trace_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Say whether nothing is refused to it."""
        return Scope.ADMIN in self.scopes

    def has(self, scope: Scope) -> bool:
        """Say whether it may be used for this."""
        return self.is_admin or scope in self.scopes

    def speaks_for(self, service: str) -> bool:
        """Say whether it may see and change what is a service's."""
        return self.services is None or service in self.services

    def on(self, address: str | None, trace_id: str) -> Self:
        """Say of which request this is."""
        return replace(self, address=address, trace_id=trace_id)
