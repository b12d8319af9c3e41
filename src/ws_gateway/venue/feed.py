"""All connections to the venue: sockets per endpoint, as many as its topics need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Endpoint, Topic
from ws_gateway.ports.feed import ConnectionStatus
from ws_gateway.runtime.breaker import Breaker
from ws_gateway.venue.attempts import Attempts
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.protocol import Conversation
from ws_gateway.venue.session import Session
from ws_gateway.venue.shard import Shard
from ws_gateway.venue.status_sink import StatusSink
from ws_gateway.venue.succession import Replacing, Succession

_PATH = {Endpoint.PRIVATE: "/v5/private", Endpoint.STATUS: "/v5/public/misc/status"}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the venue is; paths are appended."""

    public_url: str
    private_url: str

    def url(self, endpoint: Endpoint) -> str:
        """Return the address of an endpoint's sockets."""
        host = self.private_url if endpoint is Endpoint.PRIVATE else self.public_url
        return host + _PATH.get(endpoint, f"/v5/public/{endpoint}")


@dataclass(eq=False, slots=True)
class _Line:
    """One endpoint's sockets, of one account; nothing of it is shared with another line."""

    endpoint: Endpoint
    account: str | None
    breaker: Breaker
    shards: list[Shard] = field(default_factory=list)
    attempts: dict[str, Attempts] = field(default_factory=dict)
    opened: int = 0

    @property
    def name(self) -> str:
        """Name its first socket, and its share of the attempts."""
        return self.endpoint.value if self.account is None else f"{self.endpoint}@{self.account}"


class BybitFeed:
    """The venue as control sees it: topics in and out, states back through the observer.

    Args:
        endpoints: where the venue is.
        context: what all sessions share.
        credentials: for the private endpoint, one pair per account; without them no private topic
            of that account may be wanted.
        redundancy: how many sockets carry each topic; 2 lets either die without a gap.
        replacing: when sockets are replaced by new ones.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        context: SessionContext,
        *,
        credentials: Credentials | Sequence[Credentials] | None,
        redundancy: int = 1,
        replacing: Replacing | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._context = context
        pairs = (credentials,) if isinstance(credentials, Credentials) else credentials or ()
        self._credentials = {each.account: each for each in pairs}
        self._redundancy = redundancy
        self._replacing = replacing or Replacing()
        self._budget = context.spacing.new_budget()
        self._lines: dict[tuple[Endpoint, str | None], _Line] = {}
        self._shard_of: dict[Topic, Shard] = {}
        self._changed: set[Topic] = set()
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Own every socket's task until `stop`; a defect in one ends all, loudly."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for shard in self._shards():
                self._start(shard)
            await self._stopping.wait()
            for shard in self._shards():
                shard.stop()
        self._group = None

    def stop(self) -> None:
        """Close every connection and let `run` end."""
        self._stopping.set()

    def renew_credentials(self, credentials: Credentials) -> None:
        """Log in to their account with these; a private socket that works is replaced, not cut."""
        self._credentials[credentials.account] = credentials
        line = self._lines.get((Endpoint.PRIVATE, credentials.account))
        for shard in line.shards if line is not None else ():
            shard.renew_credentials(credentials)

    def replace(self, connection: str, why: str) -> bool:
        """Close a connection as soon as a successor carries all it does; says whether it exists."""
        return any(shard.replace(connection, why) for shard in self._shards())

    # ── topics ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Sequence[Topic]) -> None:
        """Subscribe to these as soon as possible, and again after every reconnect."""
        batches: dict[Shard, list[Topic]] = {}
        for topic in topics:
            shard = self._shard_of.get(topic)
            if shard is None:
                shard = self._shard_of[topic] = self._place(topic)
                self._changed.add(topic)
            batches.setdefault(shard, []).append(topic)
        for shard, batch in batches.items():
            shard.want(batch)

    def drop(self, topics: Sequence[Topic]) -> None:
        """Unsubscribe from these; a connection nobody wants anything of is closed."""
        batches: dict[Shard, list[Topic]] = {}
        for topic in topics:
            shard = self._shard_of.pop(topic, None)
            if shard is not None:
                self._changed.add(topic)
                batches.setdefault(shard, []).append(topic)
        for shard, batch in batches.items():
            shard.drop(batch)
            if shard.is_unused:
                shard.stop()
                place = (shard.endpoint, batch[0].account)
                self._lines[place].shards.remove(shard)

    def resync(self, topic: Topic) -> None:
        """Unsubscribe and subscribe again; the other topics of the socket are not touched."""
        shard = self._shard_of.get(topic)
        if shard is not None:
            shard.resync(topic)

    def wanted(self) -> dict[Topic, SubscriptionState]:
        """Return every topic asked for with its state."""
        states: dict[Topic, SubscriptionState] = {}
        for shard in self._shards():
            states |= shard.states()
        return states

    def state(self, topic: Topic) -> SubscriptionState | None:
        """Return the state of one topic, None if it is not asked for."""
        shard = self._shard_of.get(topic)
        return None if shard is None else shard.state(topic)

    def take_changed(self) -> set[Topic]:
        """Return the topics whose state may be another than when this was last asked."""
        changed, self._changed = self._changed, set()
        return changed

    def carriers(self, topic: Topic) -> list[str]:
        """Name the connections that were asked for a topic and did not refuse it."""
        shard = self._shard_of.get(topic)
        return [] if shard is None else shard.carriers(topic)

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per connection that exists."""
        return [status for shard in self._shards() for status in shard.connections()]

    def silences(self) -> dict[tuple[Endpoint, Channel], float]:
        """Return the longest present silence of any flowing topic, by endpoint and channel."""
        now = time.monotonic()
        longest: dict[tuple[Endpoint, Channel], float] = {}
        for shard in self._shards():
            for topic, silent in shard.silences(now).items():
                place = (topic.endpoint, topic.channel)
                longest[place] = max(silent, longest.get(place, 0.0))
        return longest

    # ── sockets ───────────────────────────────────────────────────────────────────────────────

    def _shards(self) -> Iterable[Shard]:
        return [shard for line in self._lines.values() for shard in line.shards]

    def _start(self, shard: Shard) -> None:
        if self._group is not None and not self._stopping.is_set():
            self._group.create_task(shard.run(), name=f"shard {shard.name}")

    def _place(self, topic: Topic) -> Shard:
        """Find a socket with room, or open one more."""
        place = (topic.endpoint, topic.account)
        line = self._lines.get(place)
        if line is None:
            breaker = self._context.spacing.new_breaker(self._context.rng)
            line = self._lines[place] = _Line(*place, breaker)
        for shard in line.shards:
            if shard.reserve(topic):
                return shard
        shard = self._open(line)
        shard.reserve(topic)
        return shard

    def _open(self, line: _Line) -> Shard:
        if not line.shards:
            line.opened = 0
        line.opened += 1
        name = line.name if line.opened == 1 else f"{line.name}-{line.opened}"
        sink, notices = self._context.sink, self._context.notices
        if line.endpoint is Endpoint.STATUS and notices is not None:
            sink = StatusSink(sink, notices)
        elif line.endpoint is Endpoint.PRIVATE:
            sink = self._context.private_sink or sink
        shard = Shard(
            name,
            line.endpoint,
            lambda leg, owner: self._new_session(leg, owner, line),
            sink=sink,
            report=lambda *change: self._report(shard, *change),
            copies=1 if line.endpoint is Endpoint.STATUS else self._redundancy,
            replacing=self._replacing,
            succession=Succession(self._replacing, self._context.rng.random),
        )
        line.shards.append(shard)
        self._start(shard)
        return shard

    def _report(
        self, shard: Shard, topic: Topic, state: SubscriptionState, error: str | None
    ) -> None:
        """Pass a topic's state on, unless another shard has taken the topic over meanwhile."""
        self._changed.add(topic)
        if self._shard_of.get(topic, shard) is shard:
            self._context.observer.topic_changed(topic, state, error)

    def _new_session(self, name: str, owner: Shard, line: _Line) -> Session:
        context = self._context
        is_private = line.endpoint is Endpoint.PRIVATE
        conversation = Conversation(
            line.endpoint,
            credentials=self._credentials.get(line.account) if is_private else None,
            timing=context.timing,
        )
        # Kept by name, so that who drops and wants a topic all the time is spaced as well.
        attempts = line.attempts.get(name)
        if attempts is None:
            attempts = line.attempts[name] = Attempts(
                line.name, context.spacing, line.breaker, self._budget, context.rng
            )
        return Session(
            name,
            self._endpoints.url(line.endpoint),
            conversation,
            context,
            attempts=attempts,
            owner=owner,
            account=line.account,
        )
