"""Whom a session tells what it reads, and what it cannot decide itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic

if TYPE_CHECKING:
    from ws_gateway.venue.session import Session


class FactSink(Protocol):
    """Where a session's facts go."""

    def accept(self, observation: Observation) -> None:
        """Take one fact, in the order it was read."""


class SessionOwner(Protocol):
    """Told by a session what only its owner can act on; called synchronously."""

    def topic_changed(
        self, session: Session, topic: Topic, state: SubscriptionState, error: str | None
    ) -> None:
        """Take note of a topic's state on this socket."""

    def streams_broken(
        self,
        session: Session,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        since: float,
    ) -> None:
        """Announce that this socket may have missed facts of topics since a moment."""

    def socket_lost(self, session: Session) -> None:
        """Take note that the socket is gone; the session will try again unless it is stopped."""

    def socket_hopeless(self, session: Session, why: str) -> None:
        """Replace the socket: it lives, but does not bring what it should."""
