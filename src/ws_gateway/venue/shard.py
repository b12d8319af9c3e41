"""Topics that fit on one socket, and the sockets that carry them: one, two, or a successor too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.ports import ConnectionStatus, ObservationSink
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.merge import Merge
from ws_gateway.venue.messages import MAX_ARGS_CHARS, MAX_CONNECTION_TOPICS, args_chars
from ws_gateway.venue.session import Session
from ws_gateway.venue.succession import Replacing, Succession

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_State = SubscriptionState
_BEST_FIRST = (
    _State.ACTIVE,
    _State.STALLED,
    _State.PENDING,
    _State.REQUESTED,
    _State.REJECTED,
    _State.REMOVING,
)
"""What a topic is, of what it is on each socket: the first of these that holds on any."""

_CALLED_SETTLED = frozenset({_State.ACTIVE, _State.REJECTED, _State.STALLED})


@dataclass(eq=False, slots=True)
class Leg:
    """One socket of a shard, and what its topics are on it."""

    session: Session
    states: dict[Topic, tuple[SubscriptionState, str | None]] = field(default_factory=dict)


class Shard:
    """Keeps its topics on as many sockets as were asked for.

    Args:
        name: of the first socket; further ones get a letter.
        new_session: builds a session of a name, owned by this shard.
        sink, report: where facts and states go.
        copies: how many sockets carry every topic.
        succession: which sockets are to be replaced.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        new_session: Callable[[str, Shard], Session],
        *,
        sink: ObservationSink,
        report: Callable[[Topic, SubscriptionState, str | None], None],
        copies: int,
        replacing: Replacing,
        succession: Succession,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self._new_session = new_session
        self._sink = sink
        self._report = report
        self._replacing = replacing
        self._succession = succession
        self._topics: dict[str, Topic] = {}
        self._chars = 2
        self._told: dict[Topic, tuple[SubscriptionState, str | None]] = {}
        self._legs: dict[str, Leg] = {}
        self._born = 0
        self._merge: Merge | None = None
        self._group: asyncio.TaskGroup | None = None
        self._is_stopping = False
        self._changed = asyncio.Event()
        for _ in range(copies):
            self._add_leg()

    # ── topics ────────────────────────────────────────────────────────────────────────────────

    @property
    def is_unused(self) -> bool:
        """Say whether nobody wants anything of it."""
        return not self._topics

    def reserve(self, topic: Topic) -> bool:
        """Take a topic in if it fits within the venue's limits of one connection; answers that."""
        chars = self._chars + args_chars(topic)
        most = MAX_CONNECTION_TOPICS.get(self.endpoint)
        if chars > MAX_ARGS_CHARS or (most is not None and len(self._topics) >= most):
            return False
        self._topics[topic.name] = topic
        self._chars = chars
        return True

    def want(self, topics: list[Topic]) -> None:
        """Ask for these, which were taken in; those that were refused are asked for again."""
        for leg in self._legs.values():
            leg.session.want(topics)

    def drop(self, topics: list[Topic]) -> None:
        """Carry these no more."""
        for topic in topics:
            if self._topics.pop(topic.name, None) is not None:
                self._chars -= args_chars(topic)
        self._sink.break_streams(
            topics, GapReason.RESUBSCRIBE, "it was unsubscribed", is_announced=False
        )
        if self._merge is not None:
            for topic in topics:
                self._merge.forget(topic)
        for leg in list(self._legs.values()):
            leg.session.drop(topics)

    def resync(self, topic: Topic) -> None:
        """Ask one socket for a fresh snapshot of one topic."""
        for name, leg in self._legs.items():
            if leg.states.get(topic, (None,))[0] is _State.ACTIVE:
                if self._merge is not None:
                    self._merge.await_snapshot(name, topic)
                leg.session.resync(topic)
                return

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic with its state."""
        return {topic: self._told.get(topic, _NEW)[0] for topic in self._topics.values()}

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per socket."""
        return [leg.session.status() for leg in self._legs.values()]

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Own the sockets' tasks until `stop`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for leg in self._legs.values():
                self._start(leg)
            while not self._is_stopping:
                await self._replace_what_is_due()
                self._changed.clear()
                try:
                    next_age = self._succession.seconds_to_next(time.monotonic())
                    async with asyncio.timeout(next_age):
                        await self._changed.wait()
                except TimeoutError:
                    continue  # a socket has come of age
            for leg in self._legs.values():
                leg.session.stop()
        self._group = None

    def stop(self) -> None:
        """Close every socket and let `run` end."""
        self._is_stopping = True
        self._changed.set()
        for leg in self._legs.values():
            leg.session.stop()

    def renew_credentials(self, credentials: Credentials) -> None:
        """Log in with these; sockets that work are replaced, those that wait wait no longer."""
        for name, leg in self._legs.items():
            was_streaming = leg.session.is_streaming
            leg.session.take_credentials(credentials)
            if was_streaming:
                self.replace(name, "the credentials were renewed")

    def replace(self, name: str, why: str) -> bool:
        """Replace a socket by a new one before closing it; answers whether it is there."""
        if name not in self._legs:
            return False
        self._succession.wish(name, why)
        self._changed.set()
        return True

    # ── told by the sessions ──────────────────────────────────────────────────────────────────

    def topic_changed(
        self, session: Session, topic: Topic, state: SubscriptionState, error: str | None
    ) -> None:
        """Take note of a topic's state on one socket, and report what that makes of it."""
        leg = self._legs.get(session.name)
        if leg is None or leg.session is not session:
            return  # it has left
        if state is _State.REMOVED:
            leg.states.pop(topic, None)
        else:
            leg.states[topic] = (state, error)
            if self._merge is not None and state is _State.PENDING:
                self._merge.join(session.name)
        self._tell(topic)
        self._changed.set()

    def socket_lost(self, session: Session) -> None:  # noqa: ARG002 - whichever it was
        """Let a socket that is being replaced anyway go at once."""
        self._changed.set()

    def socket_hopeless(self, session: Session, why: str) -> None:
        """Replace a socket that does not bring what it should, but not again and again."""
        if not self._succession.suspect(session.name, why, time.monotonic()):
            log.info("venue.replacement_postponed", connection=session.name, why=why)
        self._changed.set()

    # ── sockets ───────────────────────────────────────────────────────────────────────────────

    def _add_leg(self) -> Leg:
        self._born += 1
        name = self.name if self._born == 1 else f"{self.name}.{_letters(self._born)}"
        leg = Leg(self._new_session(name, self))
        leg.session.sink = self._sink
        if self._legs:
            self._join(name, leg)
        self._legs[name] = leg
        if self._topics:
            leg.session.want(self._topics.values())
        return leg

    def _start(self, leg: Leg) -> None:
        if self._group is not None:
            self._group.create_task(leg.session.run(), name=f"session {leg.session.name}")

    def _join(self, name: str, leg: Leg) -> None:
        """Put the merge between the sockets and the pipeline, and a further socket into it."""
        if self._merge is None:
            told = [each for each, other in self._legs.items() if other.session.has_socket]
            self._merge = Merge(self._sink, self._ask_snapshot, told)
            for other_name, other in self._legs.items():
                other.session.sink = _LegSink(self, self._merge, other_name)
        leg.session.sink = _LegSink(self, self._merge, name)

    def _leave(self, name: str, why: str) -> None:
        """Close a socket whose topics others carry; what they do not carry is broken."""
        leg = self._legs.pop(name)
        if self._merge is not None:
            carried = [topic for topic, (state, _) in leg.states.items() if state in _CARRIED]
            self._merge.break_streams(
                name,
                carried,
                GapReason.DISCONNECT,
                why,
                is_told_by_others=self.is_told,
                for_good=True,
            )
        leg.session.stop()
        for topic in list(leg.states):
            self._tell(topic)
        if self._merge is not None and len(self._legs) == 1 and self._group is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._replacing.linger, self._end_merge)

    def _end_merge(self) -> None:
        if len(self._legs) == 1 and self._merge is not None:
            self._merge = None
            for leg in self._legs.values():
                leg.session.sink = self._sink

    def is_told(self, topic: Topic, besides: str | None = None) -> bool:
        """Say whether a socket, other than one that is named, is subscribed to a topic."""
        return any(
            name != besides and leg.states.get(topic, (None,))[0] is _State.ACTIVE
            for name, leg in self._legs.items()
        )

    def _ask_snapshot(self, name: str, topic: Topic) -> None:
        leg = self._legs.get(name)
        if leg is not None:
            leg.session.resync(topic)

    def _tell(self, topic: Topic) -> None:
        states = [leg.states[topic] for leg in self._legs.values() if topic in leg.states]
        if not states:
            if self._told.pop(topic, None) is not None and topic.name not in self._topics:
                if self._merge is not None:
                    self._merge.forget(topic)
                self._report(topic, _State.REMOVED, None)
            return
        best = min(states, key=lambda told: _BEST_FIRST.index(told[0]))
        if self._told.get(topic) != best:
            self._told[topic] = best
            self._report(topic, *best)

    # ── replacement ───────────────────────────────────────────────────────────────────────────

    async def _replace_what_is_due(self) -> None:
        while not self._is_stopping:
            opened_at = {name: leg.session.opened_at for name, leg in self._legs.items()}
            self._succession.look(opened_at, time.monotonic())
            wish = self._succession.take()
            if wish is None:
                return
            if wish[0] in self._legs:
                await self._replace(*wish)

    async def _replace(self, old_name: str, why: str) -> None:
        """Open a new socket, wait until it carries everything, then close the old one."""
        old = self._legs[old_name]
        new = self._add_leg()
        new_name = new.session.name
        new.session.doubt(
            topic for topic, (state, _) in old.states.items() if state is _State.STALLED
        )
        log.info("venue.replacement_begun", connection=old_name, by=new_name, why=why)
        self._start(new)
        try:
            async with asyncio.timeout(self._replacing.settle_deadline):
                while not self._is_stopping and not self._is_settled(new):
                    if not old.session.has_socket:
                        break  # nothing is left to be kept
                    self._changed.clear()
                    try:
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._changed.wait()
                    except TimeoutError:
                        continue  # data, which is not reported, may have settled it
        except TimeoutError:
            if not new.session.is_streaming and old.session.has_socket:
                self._leave(new_name, "it did not come up")
                log.warning("venue.replacement_failed", connection=old_name, by=new_name)
                return
        if self._is_stopping:
            return
        self._leave(old_name, f"it was replaced: {why}")
        log.info("venue.replacement_done", connection=old_name, by=new_name)

    def _is_settled(self, leg: Leg) -> bool:
        if not leg.session.is_streaming:
            return False
        name = leg.session.name
        for topic in self._topics.values():
            if leg.states.get(topic, (None,))[0] not in _CALLED_SETTLED:
                return False
            told_by_another = self.is_told(topic, besides=name)
            if self._merge is not None and told_by_another:
                state = leg.states[topic][0]
                if state is _State.ACTIVE and not self._merge.is_in_step(name, topic):
                    return False
        return True


_NEW: tuple[SubscriptionState, str | None] = (_State.REQUESTED, None)
_CARRIED = frozenset({_State.ACTIVE, _State.STALLED, _State.PENDING})
_LOOK_SECONDS = 0.05


class _LegSink:
    """What one session sees of the merge: a sink of its own."""

    __slots__ = ("_merge", "_name", "_shard", "_take")

    def __init__(self, shard: Shard, merge: Merge, name: str) -> None:
        self._shard = shard
        self._merge = merge
        self._name = name
        self._take = merge.take

    def accept(self, observation: Observation) -> None:
        self._take(self._name, observation)

    def suppress(self, observation: Observation) -> None:
        self._merge.suppress(observation)

    def last_update_id(self, topic: Topic) -> int | None:  # noqa: ARG002 - asked of the pipeline only
        return None

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,  # noqa: ARG002 - a session announces what it breaks
    ) -> None:
        self._merge.break_streams(
            self._name,
            topics,
            reason,
            detail,
            is_told_by_others=lambda topic: self._shard.is_told(topic, besides=self._name),
        )


def _letters(number: int) -> str:
    """Name the second of something `b`, the 27th `aa`."""
    name = ""
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("a") + digit) + name
    return name
