"""One socket's conversation with the venue, without I/O: frames and times in, requests out.

The shell around it (session.py) moves bytes and sets timers; every decision is made here.
What is wanted, asked and confirmed of which topic is kept in ledger.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.entry import TopicChange
from ws_gateway.venue.ledger import TopicLedger
from ws_gateway.venue.messages import WireFrame, decode_frame, login, ping
from ws_gateway.venue.watch import Stall, StallWatch


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
        first_data_deadline: how long the first data of a topic may take that is answered at once.
        stall_check_interval: how often topics are looked at for having stalled.
        stall_scale: multiplies how long a topic may be silent.
        stall_retry, stall_retry_cap: first and longest pause before a topic that stays silent is
            asked for once more.
    """

    ping_interval: float = 20.0
    pong_deadline: float = 10.0
    ack_deadline: float = 10.0
    login_deadline: float = 10.0
    login_validity: float = 10.0
    first_data_deadline: float = 10.0
    stall_check_interval: float = 1.0
    stall_scale: float = 1.0
    stall_retry: float = 30.0
    stall_retry_cap: float = 600.0


class Conversation:
    """What is said on one socket, over all its lives.

    Call `opened` when a socket is up, `receive` for every frame, `tick` when `next_deadline` has
    passed, `lost` when the socket is gone. After each call send `take_output()` and report
    `take_changes()`.

    Attributes:
        endpoint: of the socket.
        credentials: what it logs in with, None on a public socket; new ones serve from the next
            socket on.
        is_excused: the venue announced that no data may come; silence is not held against it.
        made_progress: a good message came on the present socket; backoff may start anew.
        last_pong_at: monotonic time of the newest pong, or None.
        answered_ping_at: monotonic time the newest ping was sent that was answered: whatever the
            venue had sent before it took that ping has been read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        credentials: Credentials | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._timing = timing or Timing()
        self._ledger = TopicLedger(endpoint, self._request_id)
        self._watch = StallWatch(
            self._ledger,
            first_data_seconds=self._timing.first_data_deadline,
            retry_seconds=self._timing.stall_retry,
            retry_cap_seconds=self._timing.stall_retry_cap,
            scale=self._timing.stall_scale,
            look_seconds=self._timing.stall_check_interval,
        )
        self._look_at = 0.0
        self.is_excused = False
        self._phase = Phase.CLOSED
        self._next_id = 0
        self._ping_at = 0.0
        self._pings: deque[float] = deque()
        self._login_due: float | None = None
        self.made_progress = False
        self.last_pong_at: float | None = None
        self.answered_ping_at = 0.0

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics into the intent; those already asked for and not refused are left alone."""
        self._ledger.want(topics, now)

    def drop(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics out of the intent, unsubscribing where the venue may know them."""
        self._ledger.drop(topics, now)

    def doubt(self, topics: Iterable[Topic]) -> None:
        """Call these active only when data come, for they were silent on another socket."""
        self._ledger.doubt(topics)

    def succeed(self, former: Conversation) -> None:
        """Take over how lively the topics were on a socket that this one replaces.

        Call it when they are wanted and before `opened`.
        """
        self._ledger.succeed(former._ledger)

    def resync(self, topic: Topic, now: float) -> None:
        """Ask for a fresh snapshot of one topic: unsubscribe, then subscribe again."""
        self._ledger.resync(topic, now)

    def suspects(self, name: str | None) -> list[Topic]:
        """Name the topics an unreadable frame may have belonged to.

        Args:
            name: the topic the frame named, if that could be read. Otherwise it may have been of
                any flowing topic; books find the loss by their update ids and are left out.
        """
        return self._ledger.suspects(name)

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return self._ledger.states()

    def counts(self) -> tuple[int, int]:
        """Say how many topics the intent has, and how many of them are active."""
        return self._ledger.counts()

    # ── the socket's life ─────────────────────────────────────────────────────────────────────

    def silences(self, now: float) -> Iterator[tuple[Topic, float]]:
        """Tell for how long each topic that is active or stalled has been silent, in seconds.

        Topics are looked at now and then, so a silence may be shorter by the time between.
        """
        return self._watch.silences(now)

    @property
    def phase(self) -> Phase:
        """Say where the conversation stands."""
        return self._phase

    @property
    def awaits_acks(self) -> bool:
        """Say whether a request is unanswered."""
        return self._ledger.oldest_request is not None

    def opened(self, now: float, wall_ms: int) -> None:
        """Begin on a fresh socket: log in where that is needed, then send the whole intent.

        Args:
            now: monotonic seconds.
            wall_ms: wall clock, ms; only the login's expiry is derived from it.
        """
        self.made_progress = False
        self._ping_at = now + self._timing.ping_interval
        self._look_at = now + self._timing.stall_check_interval
        self._pings.clear()
        self.answered_ping_at = 0.0
        if self.credentials is None:
            self._begin(now)
            return
        self._phase = Phase.AUTHENTICATING
        self._login_due = now + self._timing.login_deadline
        expires = wall_ms + int(self._timing.login_validity * 1000)
        self._ledger.say(login(self.credentials, self._request_id(), expires))

    def lost(self, error: str | None = None) -> list[Topic]:
        """Forget the socket; answers the topics that were flowing or about to.

        Args:
            error: what keeps the topics from being asked for, shown with each of them.
        """
        self._phase = Phase.CLOSED
        self._login_due = None
        self._pings.clear()
        self._watch.take_stalls()
        self._watch.take_hopeless()
        return self._ledger.close(error)

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
        topic = self._ledger.take_data(name, now)
        if topic is None:
            return None
        self.made_progress = True
        return topic, frame

    def tick(self, now: float) -> None:
        """Do what is due: a heartbeat, or giving up on an answer that did not come.

        Raises:
            VenueLost: a deadline passed; the socket must be replaced.
        """
        if self._phase is Phase.CLOSED:
            return
        timing = self._timing
        if self._login_due is not None and now >= self._login_due:
            raise VenueLost(
                "login_deadline", f"no answer to the login in {timing.login_deadline:g} s"
            )
        pong_due = self._pong_due()
        if pong_due is not None and now >= pong_due:
            raise VenueLost("pong", f"no pong in {timing.pong_deadline:g} s")
        overdue = self._ledger.overdue(now, timing.ack_deadline)
        if overdue is not None:
            raise VenueLost("ack", f"no answer to {overdue.op} in {timing.ack_deadline:g} s")
        self._ledger.retry(now)
        if now >= self._look_at:
            # Whoever looks late was away himself; what came meanwhile has yet to be read.
            was_away = now - self._look_at > max(1.0, timing.stall_check_interval)
            self._look_at = now + timing.stall_check_interval
            if was_away:
                self._watch.look_away(now)
            else:
                self._watch.look(now, is_excused=self.is_excused)
        if now >= self._ping_at:
            self.ping(now)

    def ping(self, now: float) -> None:
        """Send a heartbeat; the next one by itself follows after the interval."""
        if self._phase is not Phase.CLOSED:
            self._ledger.say(ping(self._request_id()))
            self._pings.append(now)
            self._ping_at = now + self._timing.ping_interval

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `tick` has something to do, or None."""
        if self._phase is Phase.CLOSED:
            return None
        oldest = self._ledger.oldest_request
        dues = (
            self._ping_at,
            self._look_at,
            self._ledger.next_retry,
            self._pong_due(),
            self._login_due,
            None if oldest is None else oldest.sent_at + self._timing.ack_deadline,
        )
        return min(due for due in dues if due is not None)

    def _pong_due(self) -> float | None:
        return self._pings[0] + self._timing.pong_deadline if self._pings else None

    # ── results for the shell ─────────────────────────────────────────────────────────────────

    @property
    def has_results(self) -> bool:
        """Say whether `take_output` or `take_changes` would answer anything."""
        return self._ledger.has_output or bool(self._ledger.changes)

    def take_output(self) -> list[bytes]:
        """Return the requests to send, in order, and forget them."""
        return self._ledger.take_output()

    def take_changes(self) -> list[TopicChange]:
        """Return the topics whose state changed, in order, and forget them."""
        changes, self._ledger.changes = self._ledger.changes, []
        return changes

    def lacks_first_data(self) -> Iterable[Topic]:
        """Name the acknowledged topics whose first data have not come, though they come at once."""
        return self._watch.lacks_first_data()

    def take_stalls(self) -> list[Stall]:
        """Return the topics that fell silent although they should tick, and forget them."""
        return self._watch.take_stalls()

    def take_hopeless(self) -> str | None:
        """Return why the socket should be replaced, if it should, and forget it."""
        return self._watch.take_hopeless()

    @property
    def last_data_at(self) -> float | None:
        """Monotonic time of the newest data frame on the present socket."""
        return self._ledger.last_data_at

    # ── control frames ────────────────────────────────────────────────────────────────────────

    def _receive_control(self, frame: WireFrame, now: float) -> None:
        if frame.is_pong:
            if self._pings:  # answered in the order they were sent; not every pong has an id
                self.answered_ping_at = self._pings.popleft()
            self.last_pong_at = now
            self.made_progress = True
        elif frame.op == "auth":
            self._receive_login(frame, now)
        elif frame.op in ("subscribe", "unsubscribe"):
            self.made_progress |= self._ledger.take_ack(frame, now)
        elif frame.type == "COMMAND_RESP":
            self.made_progress |= self._ledger.take_outcome(frame, now)
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

    def _begin(self, now: float) -> None:
        self._phase = Phase.READY
        self._ledger.open(now)

    def _request_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)
