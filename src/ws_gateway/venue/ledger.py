"""The topics of one socket: intent, sent and confirmed are different facts, kept apart here.

Pure bookkeeping: wishes and answers in, requests and state changes out; no clock of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.entry import Entry, TopicChange
from ws_gateway.venue.messages import WireFrame, decode_outcome
from ws_gateway.venue.pace import Pace, expectation_of
from ws_gateway.venue.refusals import divide, names_no_topic
from ws_gateway.venue.requests import OpenRequests, Request

_ACTIVE = SubscriptionState.ACTIVE  # named once: looking a member up costs, and this is per frame
_ASKED_ANEW = (SubscriptionState.REJECTED, SubscriptionState.REMOVING)
_NOT_ASKED = (SubscriptionState.REQUESTED, SubscriptionState.REMOVING)
_FLOWING = (SubscriptionState.ACTIVE, SubscriptionState.STALLED)
_STANDING = (SubscriptionState.PENDING, SubscriptionState.ACTIVE, SubscriptionState.STALLED)

_WITHOUT_IDS = (Endpoint.OPTION, Endpoint.SPREAD)
"""Sockets whose acks carry no `req_id` (Bybit v5 docs, Connect)."""

_REMEMBERED = 10_000
"""How many unsubscribed topics are remembered, whose last frames may still be on their way."""


STILL_SILENT = (
    "it was silent on the former connection too, and nothing has come on this one yet; it is "
    "asked for again, ever more rarely"
)

_FIRST_RETRY_SECONDS, _ONCE_ACTIVE_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 30.0, 600.0
_LASTING_REFUSALS = 3
_SERVING_SECONDS = 1.0


class TopicLedger:
    """What is wanted of a socket, what was asked, and what the venue answered.

    Args:
        endpoint: of the socket, for its limits and the shape of its acks.
        next_id: names the next request.

    Attributes:
        last_data_at: monotonic time of the newest data frame of any topic, None before the first.
    """

    def __init__(self, endpoint: Endpoint, next_id: Callable[[], str]) -> None:
        self._endpoint = endpoint
        self._is_open = False
        self._entries: dict[str, Entry] = {}
        self._counts: Counter[SubscriptionState] = Counter()
        self._left: dict[str, None] = {}
        self._requests = OpenRequests(endpoint, next_id)
        self.changes: list[TopicChange] = []
        self.last_data_at: float | None = None
        self._taken_at = float("-inf")
        self._why_closed: str | None = None

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics into the intent; those already asked for and not refused are left alone."""
        fresh = []
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is not None and entry.state not in _ASKED_ANEW:
                continue
            if entry is not None:
                self._counts[entry.state] -= 1
            self._counts[SubscriptionState.REQUESTED] += 1
            entry = Entry(topic, SubscriptionState.REQUESTED, Pace(expectation_of(topic)))
            self._entries[topic.name] = entry
            self._left.pop(topic.name, None)
            if not self._is_open:
                self.set_state(entry, SubscriptionState.REQUESTED, self._why_closed)
            fresh.append(topic)
        if self._is_open:
            # What still comes of a topic being unsubscribed belongs to its former life; asking
            # for it again before that has ended would hide the hole in between.
            leaving = self._requests.leaving()
            self._subscribe([topic for topic in fresh if topic.name not in leaving], now)

    def drop(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics out of the intent, unsubscribing where the venue may know them."""
        known = []
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is None:
                continue
            if self._is_open and entry.state in _STANDING:
                self.set_state(entry, SubscriptionState.REMOVING)
                known.append(topic)
            else:
                self._forget(entry)
        self._requests.send("unsubscribe", known, now)

    def resync(self, topic: Topic, now: float) -> None:
        """Ask for a fresh snapshot of one topic: unsubscribe, then subscribe again."""
        entry = self._entries.get(topic.name)
        if entry is None or not self._is_open:
            return  # the next connection begins with a snapshot anyway
        if entry.state is SubscriptionState.ACTIVE:
            self.ask_again(entry, now)
            self.set_state(entry, SubscriptionState.PENDING)

    def doubt(self, topics: Iterable[Topic]) -> None:
        """Call these active only when data come, for they were silent on another socket."""
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is not None:
                entry.is_doubted = True

    def succeed(self, former: TopicLedger) -> None:
        """Take over how lively the topics were on a socket that this one replaces."""
        for name, entry in former._entries.items():  # of its own kind
            if name in self._entries:
                self._entries[name].pace.succeed(entry.pace)

    def ask_again(self, entry: Entry, now: float) -> None:
        """Unsubscribe one topic and subscribe it again; its state is left as it is.

        Both requests travel at once: the venue answers in order, and deltas that still arrive in
        between are withheld by the pipeline until the snapshot comes.
        """
        self._requests.send("unsubscribe", [entry.topic], now)
        self._requests.send("subscribe", [entry.topic], now)
        self._expect(entry, now)

    @property
    def entries(self) -> Iterable[Entry]:
        """Every topic of the intent."""
        return self._entries.values()

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return {
            entry.topic: entry.state
            for entry in self._entries.values()
            if entry.state is not SubscriptionState.REMOVING
        }

    def counts(self) -> tuple[int, int]:
        """Say how many topics the intent has, and how many of them are active."""
        wanted = len(self._entries) - self._counts[SubscriptionState.REMOVING]
        return wanted, self._counts[SubscriptionState.ACTIVE]

    # ── the socket ────────────────────────────────────────────────────────────────────────────

    def open(self, now: float) -> None:
        """Send the whole intent, refused topics left aside: the socket takes requests now."""
        self._is_open = True
        self._why_closed = None
        self.last_data_at = None
        waiting = [
            entry.topic
            for entry in self._entries.values()
            if entry.state is SubscriptionState.REQUESTED
        ]
        self._subscribe(waiting, now)

    def close(self, error: str | None = None) -> list[Topic]:
        """Forget the socket; answers the topics that were flowing or about to.

        Args:
            error: why there is none, shown with each topic, also with those that are wanted later.
        """
        self._is_open = False
        self._why_closed = error
        self._requests.clear()
        self._left.clear()
        broken = []
        for entry in list(self._entries.values()):
            if entry.state is SubscriptionState.REMOVING:
                self._forget(entry)
            elif entry.state is not SubscriptionState.REJECTED or entry.is_judged:
                if entry.state in _STANDING:
                    broken.append(entry.topic)
                entry.is_judged = False
                entry.retry_at = 0.0
                self.set_state(entry, SubscriptionState.REQUESTED, error)
        return broken

    @property
    def oldest_request(self) -> Request | None:
        """Return the request the venue has owed an answer for longest."""
        return self._requests.oldest

    @property
    def has_output(self) -> bool:
        """Say whether there is anything to send."""
        return self._requests.has_output

    def take_output(self) -> list[bytes]:
        """Return the requests to send, in order, and forget them."""
        return self._requests.take_output()

    def say(self, request: bytes) -> None:
        """Send something that is about no topic, in its turn."""
        self._requests.say(request)

    # ── what the venue says ───────────────────────────────────────────────────────────────────

    def take_data(self, name: str, now: float) -> Topic | None:
        """Take note that data of a topic came; answers the topic if it is wanted.

        Data may arrive before its ack, and on the option socket it is the only proof.

        Raises:
            Quarantine: nobody asked for it.
        """
        entry = self._entries.get(name)
        if entry is None:
            if name in self._left:
                return None  # still in flight when we unsubscribed
            raise Quarantine("unknown_topic", f"nobody asked for {name!r}")
        if entry.state is not _ACTIVE:
            if entry.state in _NOT_ASKED:
                return None
            self._clear(entry)
            self.set_state(entry, SubscriptionState.ACTIVE)
        entry.frames += 1
        self.last_data_at = now
        return entry.topic

    def suspects(self, name: str | None) -> list[Topic]:
        """Name the flowing topics an unreadable frame may have belonged to."""
        if name is None:
            flowing = (e for e in self._entries.values() if e.state in _FLOWING)
            return [entry.topic for entry in flowing if not entry.topic.has_update_ids]
        entry = self._entries.get(name)
        return [entry.topic] if entry is not None and entry.state in _STANDING else []

    def take_ack(self, frame: WireFrame, now: float) -> bool:
        """Take an ack of any socket but option and spread; answers whether it is good news."""
        request = self._requests.answered(frame.req_id)
        if request is None:
            return False  # rule: an answer to a request of no concern any more changes nothing
        if frame.is_success:
            if request.op == "subscribe":
                self._taken_at = now
            self._confirm(request, now)
            return True
        self._refuse(request, frame.ret_msg or "refused without a reason", now)
        return False

    def take_outcome(self, frame: WireFrame, now: float) -> bool:
        """Take an ack of the option or spread socket, which has no `req_id`.

        The topics it names tell the request; where it names none, the oldest is meant. A topic
        named a success may still not exist there; only data makes it active. Answers whether it
        belongs to a request of ours.

        Raises:
            Quarantine: the outcome is not of the documented shape.
        """
        outcome = decode_outcome(frame)
        failed = set(outcome.failed)
        request = self._requests.named_by(failed.union(outcome.succeeded))
        if request is None:
            return False
        if request.op == "unsubscribe":
            self._confirm(request, now)
            return True
        for topic in request.topics:
            if topic.name in failed:
                self._refuse(Request(request.op, (topic,), now), "listed under failTopics", now)
            elif (entry := self._entries.get(topic.name)) is not None:
                entry.acked_at = now
        return True

    def overdue(self, now: float, deadline: float) -> Request | None:
        """Give up waiting for answers that are overdue; answers the request that ends the socket.

        Topics of a request that meanwhile sent data need no answer. The rest is asked once more,
        because one lost answer is no reason to tear a hole into every topic of the socket; a
        second silence is. The option and spread sockets may confirm no unsubscription (seen by
        users, undocumented): there it counts as done.

        Args:
            now: monotonic seconds.
            deadline: how long an answer may take, in seconds.
        """
        while (request := self._requests.oldest) is not None:
            if now < request.sent_at + deadline:
                return None  # the others are younger
            owed = self._owed(request)
            if owed and request.is_second:
                return request
            self._requests.answered(None)
            if owed:
                self._requests.send(request.op, owed, now, is_second=True)
            else:
                self._confirm(request, now)
        return None

    def _owed(self, request: Request) -> list[Topic]:
        """Name the topics of a request of which nothing shows that it was carried out."""
        entries = [self._entries.get(topic.name) for topic in request.topics]
        if request.op == "unsubscribe":
            if self._endpoint in _WITHOUT_IDS:
                return []
            # What was asked for again meanwhile must not be taken away by asking once more.
            return [e.topic for e in entries if e is not None and e.state in _NOT_ASKED]
        return [
            e.topic for e in entries if e is not None and e.state in _STANDING and not e.has_data
        ]

    def _confirm(self, request: Request, now: float) -> None:
        leaving = self._requests.leaving()
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
            elif entry.state is SubscriptionState.PENDING and entry.is_doubted:
                self.set_state(entry, SubscriptionState.STALLED, STILL_SILENT)
            elif entry.state is SubscriptionState.PENDING:
                self._clear(entry)
                self.set_state(entry, SubscriptionState.ACTIVE)
        self._subscribe(again, now)

    def _clear(self, entry: Entry) -> None:
        """Forget what was held against a topic."""
        entry.is_judged = entry.is_doubted = False
        entry.refusals, entry.retry_at, entry.words = 0, 0.0, None

    def _refuse(self, request: Request, words: str, now: float) -> None:
        if request.op == "unsubscribe":
            self._confirm(request, now)  # the venue does not know it: gone, which was the wish
            return
        standing = [
            topic
            for topic in request.topics
            if (entry := self._entries.get(topic.name)) is not None and entry.state in _STANDING
        ]
        if names_no_topic(words):
            self._refuse_without_blame(standing, words, now)
        elif len(request.topics) > 1:
            # The venue refuses a request as a whole and names one bad topic at most, so it is
            # divided until the bad one stands alone; the text is a hint, each part gets its answer.
            for part in divide(standing, words):
                self._subscribe(part, now)
        elif standing:
            entry = self._entries[standing[0].name]
            if "already subscribed" in words:
                self.set_state(entry, SubscriptionState.ACTIVE)
            else:
                if entry.frames:  # it has brought data, so it may do so again
                    self._schedule(entry, now, _ONCE_ACTIVE_RETRY_SECONDS, words)
                self.set_state(entry, SubscriptionState.REJECTED, words)

    def _refuse_without_blame(self, topics: list[Topic], words: str, now: float) -> None:
        """Ask again later: words that name no topic condemn none, and the venue may only suffer.

        One of several may be at fault all the same, so they are divided: at once while the venue
        takes other requests, else once per pause.
        """
        is_serving = now - self._taken_at <= _SERVING_SECONDS
        if is_serving and len(topics) > 1:
            for part in divide(topics, words):
                self._subscribe(part, now)
            return
        was_refused = any(self._entries[topic.name].refusals for topic in topics)
        for part in divide(topics, words) if was_refused else [topics]:
            for topic in part:
                entry = self._entries[topic.name]
                entry.group = part[0].name
                self._schedule(entry, now, _FIRST_RETRY_SECONDS, words)
                # What is refused alone, again and again, while others flow is at fault itself.
                is_lasting = len(part) == 1 and entry.refusals > _LASTING_REFUSALS
                is_alone = is_lasting and self._counts[_ACTIVE] > 0
                state = SubscriptionState.REJECTED if is_alone else SubscriptionState.REQUESTED
                self.set_state(entry, state, words)

    def _schedule(self, entry: Entry, now: float, first_pause: float, words: str) -> None:
        """Ask for a refused topic again after a pause that doubles."""
        entry.words = words
        pause = min(_LONGEST_RETRY_SECONDS, first_pause * 2 ** min(entry.refusals, 16))
        entry.refusals += 1
        entry.retry_at = now + pause
        entry.is_judged = True

    @property
    def next_retry(self) -> float | None:
        """Return the monotonic time at which a refused topic is to be asked for again."""
        return min((e.retry_at for e in self._entries.values() if e.retry_at), default=None)

    def retry(self, now: float) -> None:
        """Ask again for what was refused without blame, in the requests that were refused."""
        due: dict[str, list[Topic]] = {}
        for entry in self._entries.values():
            if entry.retry_at and now >= entry.retry_at:
                entry.retry_at = 0.0
                entry.group = entry.group or entry.topic.name
                due.setdefault(entry.group, []).append(entry.topic)
        for topics in due.values():
            self._subscribe(topics, now)

    # ── requests and states ───────────────────────────────────────────────────────────────────

    def _subscribe(self, topics: Iterable[Topic], now: float) -> None:
        asked = list(topics)
        for topic in asked:
            entry = self._entries[topic.name]
            self._expect(entry, now)
            self.set_state(entry, SubscriptionState.PENDING, entry.words)
        self._requests.send("subscribe", asked, now)

    def _expect(self, entry: Entry, now: float) -> None:
        entry.pace.begin(entry.frames, now)
        entry.frames_before, entry.acked_at = entry.frames, None

    def set_state(self, entry: Entry, state: SubscriptionState, error: str | None = None) -> None:
        """Give a topic a state, and report it if it is new."""
        if entry.state is not state or entry.error != error:
            self._counts[entry.state] -= 1
            self._counts[state] += 1
            entry.state, entry.error = state, error
            self.changes.append(TopicChange(entry.topic, state, error, entry.retry_at or None))

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry.topic.name]
        self._counts[entry.state] -= 1
        self._left[entry.topic.name] = None
        if len(self._left) > _REMEMBERED:
            del self._left[next(iter(self._left))]
        self.changes.append(TopicChange(entry.topic, SubscriptionState.REMOVED))
