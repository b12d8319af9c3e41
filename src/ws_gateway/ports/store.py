"""Seams to what is stored: subscriptions, keys, the audit trail, declared queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from ws_gateway.domain.audit import AuditEntry, AuditFilter
from ws_gateway.domain.caller import Caller
from ws_gateway.domain.key import ApiKey, NewKey, StoredKey
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState, UnreadableRow
from ws_gateway.domain.topic import Category, EventClass, Topic


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions a caller wants to see; None means any.

    Attributes:
        services: those whose subscriptions the caller may see at all.
        account: whose private topics; empty is the first account.
    """

    requesting_service: str | None = None
    channel: str | None = None
    category: Category | None = None
    symbol: str | None = None
    state: SubscriptionState | None = None
    services: frozenset[str] | None = None
    account: str | None = None

    def fits(self, row: Subscription) -> bool:
        """Say whether a subscription is among those."""
        return (
            self.requesting_service in (None, row.requesting_service)
            and self.channel in (None, row.topic.channel)
            and self.category in (None, row.topic.category)
            and self.symbol in (None, row.topic.symbol)
            and self.state in (None, row.state)
            and (self.services is None or row.requesting_service in self.services)
            and self._is_of_account(row.topic)
        )

    def _is_of_account(self, topic: Topic) -> bool:
        return self.account is None or (topic.is_private and (topic.account or "") == self.account)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic that a service wants, ready to be stored.

    Attributes:
        chosen_by: why this category.
        delivery: which queue; None is shared.
        ttl_seconds: how long the lease is, None for none.
    """

    topic: Topic
    chosen_by: str
    delivery: Delivery | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SetChange:
    """What making a service's whole set true did; `unchanged` counts what stood as wanted."""

    added: list[Subscription]
    removed: list[Subscription]
    changed: list[Subscription]
    unchanged: int


class Fingerprint(NamedTuple):
    """What tells whether two copies of the ledger hold the same wishes."""

    rows: int
    revisions: int


class SubscriptionStore(Protocol):
    """The ledger of desired subscriptions. Every call may raise `DatabaseLost`.

    What changes a wish takes the caller `by` whom it is changed, and notes that in the audit trail
    in the same transaction; without a caller (the gateway itself) nothing is noted.
    """

    async def add(
        self,
        topic: Topic,
        requesting_service: str,
        chosen_by: str,
        delivery: Delivery | None = None,
        *,
        ttl_seconds: int | None = None,
        quota: int | None = None,
        by: Caller | None = None,
    ) -> tuple[Subscription, bool]:
        """Store a wish; answers it and whether it is new.

        A wish that stands already keeps its delivery and its lease where none was named; a lease
        is renewed.

        Args:
            topic: what is wanted.
            requesting_service: who wants it.
            chosen_by: why this category.
            delivery: which queue; None leaves a wish that stands as it is, and is shared for a
                new one.
            ttl_seconds: how long the lease is; None leaves a wish that stands as it is, and is
                none for a new one.
            quota: most subscriptions of that service, None for no bound.
            by: who changes it.

        Raises:
            Contradiction: it stands with another delivery than the one named.
            Throttled: it would be one too many.
        """

    async def replace(
        self, requesting_service: str, wanted: Sequence[Wanted], *, by: Caller | None = None
    ) -> SetChange:
        """Make these, each of another topic, all that a service wants, in one step.

        What is not named is the default: shared, and no lease. What stands as wanted is renewed.
        """

    async def renew(self, requesting_service: str) -> tuple[int, datetime | None]:
        """Begin every lease of a service anew; answers how many, and when the first ends."""

    async def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""

    async def get_all(self, ids: Sequence[UUID]) -> list[Subscription]:
        """Return those of these that exist."""

    async def page(
        self, wanted: SubscriptionFilter, *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in a stable order, beginning behind `after`."""

    async def everything(self) -> tuple[Fingerprint, list[Subscription]]:
        """Return the ledger as it was at one moment; gives way to others in between."""

    async def fingerprint(self) -> Fingerprint:
        """Return what `everything` would be known by."""

    async def remove(
        self, subscription_id: UUID, *, by: Caller | None = None
    ) -> Subscription | UnreadableRow | None:
        """Forget one that the caller speaks for; answers what it was, or None."""

    async def remove_service(
        self, requesting_service: str, *, by: Caller | None = None
    ) -> Sequence[Subscription | UnreadableRow]:
        """Forget all of one service; answers what they were."""

    async def remove_expired(self) -> tuple[list[Subscription], float | None]:
        """Forget every lease that ended; answers what they were, and seconds to the next end."""

    async def begin_leases(self) -> None:
        """Begin every lease anew: nobody could renew it lately."""

    async def set_state(
        self, changes: Mapping[Topic, tuple[SubscriptionState, str | None]]
    ) -> None:
        """Write the state and error of every wish for each topic."""

    async def reset_states(self) -> None:
        """Set every wish back to `requested`: what an earlier process saw says nothing now."""

    async def ping(self) -> None:
        """Prove that the database answers."""


class KeyStore(Protocol):
    """The keys of the HTTP API. Every call may raise `DatabaseLost`.

    Changes are noted in the audit trail in the same transaction.
    """

    async def usable(self) -> Sequence[StoredKey]:
        """Return the keys that are of use, and those that ended within a day."""

    async def find(self, key_id: str) -> StoredKey | None:
        """Return one, whatever became of it, or None."""

    async def page(self, *, after: str | None, limit: int) -> list[ApiKey]:
        """Return up to `limit` in order of creation, beginning behind `after`."""

    async def create(self, new: NewKey, *, by: Caller) -> StoredKey:
        """Store a key."""

    async def rotate(
        self,
        key_id: str,
        successor_id: str,
        secret_hash: bytes,
        *,
        overlap_seconds: int,
        expires_in_seconds: int | None,
        by: Caller,
    ) -> tuple[StoredKey, StoredKey] | None:
        """Store a successor and let the old key expire; answers both, None without an old one.

        Raises:
            Rejected: the old key is of no use any more.
        """

    async def revoke(self, key_id: str, *, by: Caller) -> StoredKey | None:
        """Make one worthless; answers it, or None."""

    async def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Write when keys were last used."""


class AuditTrail(Protocol):
    """Who changed what. Every call may raise `DatabaseLost`."""

    async def note(
        self,
        by: Caller,
        action: str,
        subject: str,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Note what changed outside the database."""

    async def page(
        self, wanted: AuditFilter, *, before: UUID | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Return up to `limit`, newest first, beginning behind `before`."""


class RowChange(NamedTuple):
    """A row of the ledger that somebody changed; `revision` is None if it is gone."""

    id: UUID
    revision: int | None


class ChangeListener(Protocol):
    """Told what anybody changed in the ledger; called synchronously, never waits."""

    def rows_changed(self, changes: Sequence[RowChange]) -> None:
        """Take note of these."""

    def ledger_doubtful(self) -> None:
        """Take note that changes may have been missed."""


@dataclass(frozen=True, slots=True)
class DeclaredQueue:
    """A dedicated queue as the ledger remembers it.

    Attributes:
        bindings: routing keys that are bound, or are about to be.
        is_ours: the gateway made it; otherwise it is filled and never deleted.
    """

    name: str
    requesting_service: str
    event_class: EventClass
    bindings: frozenset[str]
    is_ours: bool


class QueueLedger(Protocol):
    """Which queues are wanted, and which were declared. Every call may raise `DatabaseLost`."""

    async def wishes(self) -> Sequence[tuple[str, Topic, Delivery]]:
        """Return who wants which topic how; of shared ones one topic per service and channel."""

    async def declared(self) -> Sequence[DeclaredQueue]:
        """Return what was recorded and not forgotten."""

    async def record(self, queue: DeclaredQueue) -> None:
        """Remember a queue and its bindings; call it before anything is declared or bound."""

    async def forget(self, name: str) -> None:
        """Forget a queue; call it after it is gone."""
