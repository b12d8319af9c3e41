"""All connections to the venue: one public session per category when needed, one private."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.ports import ConnectionStatus
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.protocol import Conversation, Timing
from ws_gateway.venue.session import Session, SessionContext

PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the venue is; paths are appended."""

    public_url: str
    private_url: str

    def url(self, category: Category | None) -> str:
        """Return the address of a category's public socket, or of the private one."""
        if category is None:
            return f"{self.private_url}/v5/private"
        return f"{self.public_url}/v5/public/{category}"


class BybitFeed:
    """The venue as control sees it: topics in and out, states back through the observer."""

    def __init__(
        self,
        endpoints: Endpoints,
        context: SessionContext,
        *,
        credentials: Credentials | None,
        timing: Timing | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._context = context
        self._credentials = credentials
        self._timing = timing
        self._sessions: dict[Category | None, Session] = {}
        self._refused: set[Topic] = set()
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Own every session's task until `stop`; a defect in one ends all, loudly."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for session in self._sessions.values():
                group.create_task(session.run(), name=f"session {session.name}")
            await self._stopping.wait()
            for session in self._sessions.values():
                session.stop()
        self._group = None

    def stop(self) -> None:
        """Close every connection and let `run` end."""
        self._stopping.set()

    # ── topics ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Sequence[Topic]) -> None:
        """Subscribe to these as soon as possible, and again after every reconnect."""
        for category, group in _by_category(topics).items():
            if category is None and self._credentials is None:
                self._refuse(group)
                continue
            session = self._sessions.get(category)
            if session is not None:
                session.want(group)
                continue
            session = self._open(category)
            session.want(group)
            if self._group is not None and not self._stopping.is_set():
                self._group.create_task(session.run(), name=f"session {session.name}")

    def drop(self, topics: Sequence[Topic]) -> None:
        """Unsubscribe from these; a connection nobody wants anything of is closed."""
        self._refused.difference_update(topics)
        for category, group in _by_category(topics).items():
            session = self._sessions.get(category)
            if session is None:
                continue
            session.drop(group)
            if session.is_unused:
                session.stop()
                del self._sessions[category]

    def resync(self, topic: Topic) -> None:
        """Unsubscribe and subscribe again; the other topics of the socket are not touched."""
        session = self._sessions.get(topic.category)
        if session is not None:
            session.resync(topic)

    def wanted(self) -> dict[Topic, SubscriptionState]:
        """Return every topic asked for with its state."""
        states = dict.fromkeys(self._refused, SubscriptionState.REJECTED)
        for session in self._sessions.values():
            states |= session.states()
        return states

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per connection that exists."""
        return [
            session.status(category.value if category is not None else PRIVATE)
            for category, session in self._sessions.items()
        ]

    def _refuse(self, topics: list[Topic]) -> None:
        """Refuse private topics that were stored when there still was a key."""
        self._refused.update(topics)
        for topic in topics:
            self._context.observer.topic_changed(
                topic,
                SubscriptionState.REJECTED,
                "no login: WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are not set",
            )

    def _open(self, category: Category | None) -> Session:
        conversation = Conversation(
            category,
            credentials=self._credentials if category is None else None,
            timing=self._timing,
        )
        name = category.value if category is not None else PRIVATE
        session = Session(name, self._endpoints.url(category), conversation, self._context)
        self._sessions[category] = session
        return session


def _by_category(topics: Iterable[Topic]) -> dict[Category | None, list[Topic]]:
    groups: dict[Category | None, list[Topic]] = {}
    for topic in topics:
        groups.setdefault(topic.category, []).append(topic)
    return groups
