"""One socket's conversation with the venue, without I/O: frames and times in, requests out.

The shell around it (session.py) moves bytes and sets timers; every decision is made here.
Intent (`want`), sent (a pending request) and confirmed (its ack, or first data) are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.messages import (
    WireFrame,
    batches,
    decode_frame,
    decode_outcome,
    login,
    ping,
    topic_request,
)

_ASKED_ANEW = (SubscriptionState.REJECTED, SubscriptionState.REMOVING)
_NOT_ASKED = (SubscriptionState.REQUESTED, SubscriptionState.REMOVING)


class Phase(Enum):
    """Where the conversation stands; changed only by `_enter`."""

    CLOSED = auto()
    """No socket."""
    AUTHENTICATING = auto()
    """Login sent; nothing else may be sent before its ack."""
    READY = auto()
    """Requests may be sent."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines of a conversation, in seconds.

    Attributes:
        ping_interval: how often a heartbeat is sent (the venue recommends 20 s).
        pong_deadline: how long its answer may take.
        ack_deadline: how long the answer to a subscribe or unsubscribe may take.
        login_deadline: how long the answer to the login may take.
        login_validity: how far ahead a login expires; the venue refuses less than its clock skew.
    """

    ping_interval: float = 20.0
    pong_deadline: float = 10.0
    ack_deadline: float = 10.0
    login_deadline: float = 10.0
    login_validity: float = 10.0


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic has a new state; `error` has the venue's words if it was refused."""

    topic: Topic
    state: SubscriptionState
    error: str | None = None


@dataclass(slots=True)
class _Entry:
    topic: Topic
    state: SubscriptionState
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    op: str
    topics: tuple[Topic, ...]
    sent_at: float


class Conversation:
    """What is said on one socket, over all its lives.

    Call `opened` when a socket is up, `receive` for every frame, `tick` when `next_deadline` has
    passed, `lost` when the socket is gone. After each call send `take_output()` and report
    `take_changes()`.

    Attributes:
        made_progress: a good message came on the present socket; backoff may start anew.
        last_pong_at: monotonic time of the newest pong, or None.
    """

    def __init__(
        self,
        category: Category | None,
        *,
        credentials: Credentials | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._category = category
        self._credentials = credentials
        self._timing = timing or Timing()
        self._entries: dict[str, _Entry] = {}
        self._left: set[str] = set()
        self._requests: dict[str, _Request] = {}
        self._output: list[bytes] = []
        self._changes: list[TopicChange] = []
        self._phase = Phase.CLOSED
        self._next_id = 0
        self._ping_at = 0.0
        self._pong_due: float | None = None
        self._login_due: float | None = None
        self.made_progress = False
        self.last_pong_at: float | None = None

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics into the intent; those already asked for and not refused are left alone."""
        fresh = []
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is not None and entry.state not in _ASKED_ANEW:
                continue
            self._entries[topic.name] = _Entry(topic, SubscriptionState.REQUESTED)
            self._left.discard(topic.name)
            fresh.append(topic)
        if self._phase is Phase.READY:
            # What still comes of a topic being unsubscribed belongs to its former life; asking
            # for it again before that has ended would hide the hole in between.
            leaving = self._leaving()
            self._subscribe([topic for topic in fresh if topic.name not in leaving], now)

    def drop(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics out of the intent, unsubscribing where the venue may know them."""
        known = []
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is None:
                continue
            if self._phase is Phase.READY and entry.state in (
                SubscriptionState.PENDING,
                SubscriptionState.ACTIVE,
            ):
                self._set(entry, SubscriptionState.REMOVING)
                known.append(topic)
            else:
                self._forget(entry)
        self._send_topics("unsubscribe", known, now)

    def resync(self, topic: Topic, now: float) -> None:
        """Ask for a fresh snapshot of one topic: unsubscribe, then subscribe again."""
        entry = self._entries.get(topic.name)
        if entry is None or self._phase is not Phase.READY:
            return  # the next connection begins with a snapshot anyway
        if entry.state is SubscriptionState.ACTIVE:
            # Both requests travel at once: the venue answers in order, and deltas that still
            # arrive in between are withheld by the pipeline until the snapshot comes.
            self._send_topics("unsubscribe", [topic], now)
            self._subscribe([topic], now)

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return {
            entry.topic: entry.state
            for entry in self._entries.values()
            if entry.state is not SubscriptionState.REMOVING
        }

    # ── the socket's life ─────────────────────────────────────────────────────────────────────

    @property
    def phase(self) -> Phase:
        """Say where the conversation stands."""
        return self._phase

    @property
    def awaits_acks(self) -> bool:
        """Say whether a request is unanswered."""
        return bool(self._requests)

    def opened(self, now: float, wall_ms: int) -> None:
        """Begin on a fresh socket: log in where that is needed, then send the whole intent.

        Args:
            now: monotonic seconds.
            wall_ms: wall clock, ms; only the login's expiry is derived from it.
        """
        self.made_progress = False
        self._ping_at = now + self._timing.ping_interval
        self._pong_due = None
        if self._credentials is None:
            self._begin(now)
            return
        self._phase = Phase.AUTHENTICATING
        self._login_due = now + self._timing.login_deadline
        expires = wall_ms + int(self._timing.login_validity * 1000)
        self._output.append(login(self._credentials, self._request_id(), expires))

    def lost(self) -> list[Topic]:
        """Forget the socket; answers the topics that were flowing or about to."""
        self._phase = Phase.CLOSED
        self._requests.clear()
        self._output.clear()
        self._login_due = self._pong_due = None
        self._left.clear()
        broken = []
        for entry in list(self._entries.values()):
            if entry.state is SubscriptionState.REMOVING:
                self._forget(entry)
            elif entry.state in (SubscriptionState.PENDING, SubscriptionState.ACTIVE):
                broken.append(entry.topic)
                self._set(entry, SubscriptionState.REQUESTED)
        return broken

    def receive(self, raw: bytes, now: float) -> tuple[Topic, WireFrame] | None:
        """Take one frame; answers it with its topic if it carries data that is wanted.

        Raises:
            Quarantine: the frame could not be understood; the socket is fine.
            VenueLost: the venue refused the login; the socket is of no use.
        """
        frame = decode_frame(raw)
        name = frame.topic
        if name is None:
            self._receive_control(frame, now)
            return None
        entry = self._entries.get(name)
        if entry is None:
            if name in self._left:
                return None  # still in flight when we unsubscribed
            raise Quarantine("unknown_topic", f"nobody asked for {name!r}")
        if entry.state is not SubscriptionState.ACTIVE:
            if entry.state in _NOT_ASKED:
                return None
            # Data may arrive before its ack, and on the option socket it is the only proof.
            self._set(entry, SubscriptionState.ACTIVE)
        self.made_progress = True
        return entry.topic, frame

    def tick(self, now: float) -> None:
        """Do what is due: a heartbeat, or giving up on an answer that did not come.

        Raises:
            VenueLost: a deadline passed; the socket must be replaced.
        """
        if self._phase is Phase.CLOSED:
            return
        timing = self._timing
        if self._login_due is not None and now >= self._login_due:
            raise VenueLost("login", f"no answer to the login in {timing.login_deadline:g} s")
        if self._pong_due is not None and now >= self._pong_due:
            raise VenueLost("pong", f"no pong in {timing.pong_deadline:g} s")
        oldest = self._oldest_request()
        if oldest is not None and now >= oldest.sent_at + timing.ack_deadline:
            raise VenueLost("ack", f"no answer to {oldest.op} in {timing.ack_deadline:g} s")
        if now >= self._ping_at:
            self._output.append(ping(self._request_id()))
            self._ping_at = now + timing.ping_interval
            if self._pong_due is None:
                self._pong_due = now + timing.pong_deadline

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `tick` has something to do, or None."""
        if self._phase is Phase.CLOSED:
            return None
        oldest = self._oldest_request()
        dues = (
            self._ping_at,
            self._pong_due,
            self._login_due,
            None if oldest is None else oldest.sent_at + self._timing.ack_deadline,
        )
        return min(due for due in dues if due is not None)

    # ── results for the shell ─────────────────────────────────────────────────────────────────

    @property
    def has_results(self) -> bool:
        """Say whether `take_output` or `take_changes` would answer anything."""
        return bool(self._output or self._changes)

    def take_output(self) -> list[bytes]:
        """Return the requests to send, in order, and forget them."""
        output, self._output = self._output, []
        return output

    def take_changes(self) -> list[TopicChange]:
        """Return the topics whose state changed, in order, and forget them."""
        changes, self._changes = self._changes, []
        return changes

    # ── control frames ────────────────────────────────────────────────────────────────────────

    def _receive_control(self, frame: WireFrame, now: float) -> None:
        if frame.is_pong:
            self._pong_due = None
            self.last_pong_at = now
            self.made_progress = True
        elif frame.op == "auth":
            self._receive_login(frame, now)
        elif frame.op in ("subscribe", "unsubscribe"):
            self._receive_ack(frame, now)
        elif frame.type == "COMMAND_RESP":
            self._receive_outcome(frame, now)
        else:
            raise Quarantine("unexpected_reply", f"op {frame.op!r}: {frame.ret_msg or ''}".strip())

    def _receive_login(self, frame: WireFrame, now: float) -> None:
        if self._phase is not Phase.AUTHENTICATING:
            raise Quarantine("unexpected_reply", f"nobody logged in: {frame.ret_msg or ''}".strip())
        self._login_due = None
        if not frame.is_success:
            raise VenueLost("login", f"the venue refused the login: {frame.ret_msg or 'no reason'}")
        self.made_progress = True
        self._begin(now)

    def _receive_ack(self, frame: WireFrame, now: float) -> None:
        request = self._answered(frame.req_id)
        if request is None:
            return  # rule: an answer to a request of no concern any more changes nothing
        if frame.is_success:
            self.made_progress = True
            self._confirm(request, now)
        else:
            self._refuse(request, frame.ret_msg or "refused without a reason", now)

    def _receive_outcome(self, frame: WireFrame, now: float) -> None:
        """Take an ack of the option or spread socket: no `req_id`, so the oldest request is meant.

        A topic named a success may still not exist there; only data makes it active.
        """
        request = self._answered(None)
        if request is None:
            return
        failed = set(decode_outcome(frame).failed)
        self.made_progress = True
        if request.op == "unsubscribe":
            self._confirm(request, now)
            return
        for topic in request.topics:
            if topic.name in failed:
                self._refuse(_Request(request.op, (topic,), now), "listed under failTopics", now)

    def _answered(self, req_id: str | None) -> _Request | None:
        if req_id:
            return self._requests.pop(req_id, None)
        oldest = next(iter(self._requests), None)
        return None if oldest is None else self._requests.pop(oldest)

    def _confirm(self, request: _Request, now: float) -> None:
        leaving = self._leaving()
        again = []
        for topic in request.topics:
            entry = self._entries.get(topic.name)
            if entry is None:
                continue
            if request.op == "unsubscribe":
                if entry.state is SubscriptionState.REMOVING:
                    self._forget(entry)
                elif entry.state is SubscriptionState.REQUESTED and topic.name not in leaving:
                    again.append(topic)
            elif entry.state is SubscriptionState.PENDING:
                self._set(entry, SubscriptionState.ACTIVE)
        self._subscribe(again, now)

    def _refuse(self, request: _Request, words: str, now: float) -> None:
        if request.op == "unsubscribe":
            self._confirm(
                request, now
            )  # the venue does not know it: it is gone, which was the wish
            return
        standing = [
            topic
            for topic in request.topics
            if (entry := self._entries.get(topic.name)) is not None
            and entry.state in (SubscriptionState.PENDING, SubscriptionState.ACTIVE)
        ]
        if len(request.topics) > 1:
            # The venue refuses a request as a whole and names one bad topic at most, so it is
            # divided until the bad one stands alone; the text is a hint, each part gets its answer.
            for part in _divide(standing, words):
                self._subscribe(part, now)
        elif standing:
            entry = self._entries[standing[0].name]
            if "already subscribed" in words:
                self._set(entry, SubscriptionState.ACTIVE)
            else:
                self._set(entry, SubscriptionState.REJECTED, words)

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    def _begin(self, now: float) -> None:
        self._phase = Phase.READY
        self._subscribe(
            [
                entry.topic
                for entry in self._entries.values()
                if entry.state is SubscriptionState.REQUESTED
            ],
            now,
        )

    def _subscribe(self, topics: Iterable[Topic], now: float) -> None:
        asked = list(topics)
        for topic in asked:
            self._set(self._entries[topic.name], SubscriptionState.PENDING)
        self._send_topics("subscribe", asked, now)

    def _send_topics(self, op: str, topics: Iterable[Topic], now: float) -> None:
        for batch in batches(topics, self._category):
            req_id = self._request_id()
            self._requests[req_id] = _Request(op, tuple(batch), now)
            self._output.append(topic_request(op, req_id, batch))

    def _request_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)

    def _leaving(self) -> set[str]:
        """Name the topics whose unsubscription is unanswered."""
        unsubscribes = (r for r in self._requests.values() if r.op == "unsubscribe")
        return {topic.name for request in unsubscribes for topic in request.topics}

    def _oldest_request(self) -> _Request | None:
        return next(iter(self._requests.values()), None)

    # ── states ────────────────────────────────────────────────────────────────────────────────

    def _set(self, entry: _Entry, state: SubscriptionState, error: str | None = None) -> None:
        if entry.state is not state or entry.error != error:
            entry.state, entry.error = state, error
            self._changes.append(TopicChange(entry.topic, state, error))

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.topic.name]
        self._left.add(entry.topic.name)
        self._changes.append(TopicChange(entry.topic, SubscriptionState.REMOVED))


def _divide(topics: list[Topic], words: str) -> Iterator[list[Topic]]:
    named = [topic for topic in topics if words.endswith(topic.name) or f"[{topic.name}]" in words]
    if named and len(named) < len(topics):
        yield named
        yield [topic for topic in topics if topic not in named]
        return
    middle = (len(topics) + 1) // 2
    yield from (part for part in (topics[:middle], topics[middle:]) if part)
