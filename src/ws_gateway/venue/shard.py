"""Topics that fit on one socket, and the sockets that carry them: one, two, or a successor too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.ports.event_path import ObservationSink
from ws_gateway.ports.feed import ConnectionStatus
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.leg import Leg, LegSink, best_of, least_silences, letters
from ws_gateway.venue.merge import Merge
from ws_gateway.venue.messages import MAX_ARGS_CHARS, MAX_CONNECTION_TOPICS, args_chars
from ws_gateway.venue.session import Session
from ws_gateway.venue.succession import Replacing, Succession

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_State = SubscriptionState
_CALLED_SETTLED = frozenset({_State.ACTIVE, _State.REJECTED, _State.STALLED})


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
        self._merge_end: asyncio.TimerHandle | None = None
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
            if leg.state(topic) is _State.ACTIVE:
                if self._merge is not None:
                    self._merge.await_snapshot(name, topic)
                leg.session.resync(topic)
                return

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic with its state."""
        return {topic: self._told.get(topic, _NEW)[0] for topic in self._topics.values()}

    def state(self, topic: Topic) -> SubscriptionState:
        """Return a topic's state."""
        return self._told.get(topic, _NEW)[0]

    def carriers(self, topic: Topic) -> list[str]:
        """Return the names of the sockets that carry a topic."""
        return [name for name, leg in self._legs.items() if leg.carries(topic)]

    def connections(self) -> list[ConnectionStatus]:
        """Return one status per socket."""
        return [replace(leg.session.status(), shard=self.name) for leg in self._legs.values()]

    def silences(self, now: float) -> dict[Topic, float]:
        """Tell how long each topic has been silent on every socket that carries it, in seconds."""
        return least_silences(self._legs.values(), now)

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Own the sockets' tasks until `stop`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for leg in self._legs.values():
                self._start(leg)
            while not self._is_stopping:
                self._changed.clear()
                if not await self._replace_what_is_due():
                    break  # it was stopped meanwhile, and nothing will tell it again
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
            leg.session.take_credentials(credentials)
            if leg.session.has_socket:
                self.replace(name, "the credentials were renewed")

    def replace(self, name: str, why: str) -> bool:
        """Replace a socket by a new one before closing it; answers whether it is there.

        Where there is none to replace, the next attempt to open it is made now.
        """
        leg = self._legs.get(name)
        if leg is None:
            return False
        if not leg.session.has_socket:
            leg.session.try_now(why)
            return True
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
        leg.note(topic, state, error, time.monotonic())
        if self._merge is not None and state is _State.PENDING:
            self._merge.join(session.name)
        self._tell(topic)
        self._changed.set()

    def streams_broken(
        self,
        session: Session,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        since: float,
    ) -> None:
        """Break what this socket missed since a moment, as far as no other carried it."""
        leg = self._legs.get(session.name)
        if leg is None or leg.session is not session:
            return  # it has left, and what it owed was seen to then
        if self._merge is None:
            self._sink.break_streams(topics, reason, detail)
        else:
            self._break_leg(leg, list(topics), reason, detail, since)

    def _break_leg(
        self, leg: Leg, topics: list[Topic], reason: GapReason, detail: str, since: float
    ) -> None:
        if self._merge is None:
            return
        # What could not be read here will hardly be readable from another socket.
        is_unreadable = reason is GapReason.SEQUENCE
        # What should tick here would tick elsewhere too; who heard no data since is as deaf.
        is_silence = reason is GapReason.RESUBSCRIBE
        self._merge.break_streams(
            leg.name,
            topics,
            reason,
            detail,
            is_told_by_others=lambda topic: (
                not (is_unreadable and not topic.has_update_ids)
                and self._is_told(topic, besides=leg, since=since, by_data=is_silence)
            ),
            for_good=leg.name not in self._legs,
        )
        now = time.monotonic()
        for topic in topics:
            leg.missed(topic, now)

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
        name = self.name if self._born == 1 else f"{self.name}.{letters(self._born)}"
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
        if self._merge_end is not None:
            self._merge_end.cancel()
        if self._merge is None:
            told = [each for each, other in self._legs.items() if other.session.has_socket]
            self._merge = Merge(self._sink, self._ask_snapshot, told)
            for other_name, other in self._legs.items():
                other.session.sink = LegSink(self._merge.take, other_name)
        leg.session.sink = LegSink(self._merge.take, name)

    def _leave(self, name: str, why: str) -> None:
        """Close a socket whose topics others carry; what they do not carry is broken."""
        leg = self._legs.pop(name)
        carried = [topic for topic in leg.states if leg.carries(topic)]
        self._break_leg(leg, carried, GapReason.DISCONNECT, why, leg.session.heard_at)
        leg.session.stop()
        for topic in list(leg.states):
            self._tell(topic)
        if self._merge is not None and len(self._legs) == 1 and self._group is not None:
            loop = asyncio.get_running_loop()
            self._merge_end = loop.call_later(self._replacing.linger, self._end_merge)

    def _end_merge(self) -> None:
        if len(self._legs) == 1 and self._merge is not None:
            self._merge = None
            for leg in self._legs.values():
                leg.session.sink = self._sink

    def _is_told(self, topic: Topic, *, besides: Leg, since: float, by_data: bool) -> bool:
        """Say whether a further socket has carried a topic since a moment or longer.

        Args:
            topic: the one in question.
            besides: the socket that missed it.
            since: monotonic time.
            by_data: only one that brought any data since then counts.
        """
        return any(
            leg is not besides
            and leg.has_carried_since(topic, since)
            and not (by_data and leg.session.last_data_at <= since)
            for leg in self._legs.values()
        )

    def _ask_snapshot(self, name: str, topic: Topic) -> None:
        if (leg := self._legs.get(name)) is not None:
            leg.session.resync(topic)

    def _tell(self, topic: Topic) -> None:
        states = [leg.states[topic] for leg in self._legs.values() if topic in leg.states]
        if not states:
            if self._told.pop(topic, None) is not None and topic.name not in self._topics:
                if self._merge is not None:
                    self._merge.forget(topic)
                self._report(topic, _State.REMOVED, None)
            return
        was_stalled = self._told.get(topic, _NEW)[0] is _State.STALLED
        best = best_of(states)
        if self._told.get(topic) != best:
            self._told[topic] = best
            self._report(topic, *best)
            if was_stalled and best[0] is _State.ACTIVE:
                log.info("venue.topic_flows_again", topic=topic.key)

    # ── replacement ───────────────────────────────────────────────────────────────────────────

    async def _replace_what_is_due(self) -> bool:
        """Replace one after the other; answers False if the shard was stopped meanwhile."""
        while not self._is_stopping:
            opened_at = {name: leg.session.opened_at for name, leg in self._legs.items()}
            deaf = {
                name
                for name, leg in self._legs.items()
                if any(state is _State.STALLED for state, _ in leg.states.values())
            }
            self._succession.look(opened_at, deaf, time.monotonic())
            if (wish := self._succession.take()) is None:
                return True
            if wish[0] in self._legs:
                await self._replace(*wish)
        return False

    async def _replace(self, old_name: str, why: str) -> None:
        """Open a new socket, wait until it carries everything, then close the old one."""
        old = self._legs[old_name]
        if not old.session.has_socket:
            log.info("venue.replacement_pointless", connection=old_name, why=why)
            return  # it is about to open a new socket by itself
        new = self._add_leg()
        new.session.succeed(old.session)
        stalled = [topic for topic in old.states if old.state(topic) is _State.STALLED]
        new.session.doubt(stalled)
        log.info("venue.replacement_begun", connection=old_name, by=new.name, why=why)
        self._start(new)
        deadline = time.monotonic() + self._replacing.settle_deadline
        is_settled = await self._until(
            lambda: self._is_settled(new) or not old.session.has_socket, deadline
        )
        if self._is_stopping:
            return
        if not is_settled and not (stalled and new.session.is_streaming):
            self._leave(new.name, "it did not come up")
            log.warning("venue.replacement_failed", connection=old_name, by=new.name, why=why)
            return
        await self._hear_out(old)
        if not self._is_stopping:
            self._leave(old_name, f"it was replaced: {why}")
            log.info("venue.replacement_done", connection=old_name, by=new.name)

    async def _hear_out(self, leg: Leg) -> None:
        """Read what the venue has sent on a socket so far: it stands before the answer to a ping.

        If no answer comes, the socket is left all the same, and what it owes is called missed.
        """
        asked_at = time.monotonic()
        leg.session.ping()
        await self._until(
            lambda: leg.session.answered_ping_at >= asked_at or not leg.session.has_socket,
            asked_at + self._replacing.hear_out_deadline,
        )

    async def _until(self, holds: Callable[[], bool], deadline: float) -> bool:
        """Wait until something holds, which no event may tell; answers whether it does."""
        while not self._is_stopping and not holds():
            if time.monotonic() > deadline:
                return False
            self._changed.clear()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue  # look again
        return True

    def _is_settled(self, new: Leg) -> bool:
        if not new.session.is_streaming:
            return False
        awaited = set(new.session.lacks_first_data())
        for topic in self._topics.values():
            state = new.state(topic)
            if state not in _CALLED_SETTLED:
                return False
            is_elsewhere = any(
                leg is not new and leg.state(topic) is _State.ACTIVE for leg in self._legs.values()
            )
            if state is _State.ACTIVE and is_elsewhere:
                if topic in awaited:
                    return False
                if self._merge is not None and not self._merge.is_in_step(new.name, topic):
                    return False
        return True


_NEW: tuple[SubscriptionState, str | None] = (_State.REQUESTED, None)
_LOOK_SECONDS = 0.05
