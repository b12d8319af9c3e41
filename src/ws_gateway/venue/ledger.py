"""The topics of one socket: intent, sent and confirmed are different facts, kept apart here.

Pure bookkeeping: wishes and answers in, requests and state changes out; no clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.messages import WireFrame, batches, decode_outcome, topic_request

_ACTIVE = SubscriptionState.ACTIVE  # named once: looking a member up costs, and this is per frame
_ASKED_ANEW = (SubscriptionState.REJECTED, SubscriptionState.REMOVING)
_NOT_ASKED = (SubscriptionState.REQUESTED, SubscriptionState.REMOVING)
_STANDING = (SubscriptionState.PENDING, SubscriptionState.ACTIVE)

_WITHOUT_IDS = (Category.OPTION, Category.SPREAD)
"""Sockets whose acks carry no `req_id` (Bybit v5 docs, Connect)."""

_REMEMBERED = 10_000
"""How many unsubscribed topics are remembered, whose last frames may still be on their way."""


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
class Request:
    """A subscribe or unsubscribe on its way; `sent_at` is monotonic seconds."""

    op: str
    topics: tuple[Topic, ...]
    sent_at: float


class TopicLedger:
    """What is wanted of a socket, what was asked, and what the venue answered.

    Args:
        category: of the socket, for its limits; None is the private one.
        next_id: names the next request.
    """

    def __init__(self, category: Category | None, next_id: Callable[[], str]) -> None:
        self._category = category
        self._next_id = next_id
        self._is_open = False
        self._entries: dict[str, _Entry] = {}
        self._left: dict[str, None] = {}
        self._requests: dict[str, Request] = {}
        self.output: list[bytes] = []
        self.changes: list[TopicChange] = []

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic], now: float) -> None:
        """Take topics into the intent; those already asked for and not refused are left alone."""
        fresh = []
        for topic in topics:
            entry = self._entries.get(topic.name)
            if entry is not None and entry.state not in _ASKED_ANEW:
                continue
            self._entries[topic.name] = _Entry(topic, SubscriptionState.REQUESTED)
            self._left.pop(topic.name, None)
            fresh.append(topic)
        if self._is_open:
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
            if self._is_open and entry.state in _STANDING:
                self._set(entry, SubscriptionState.REMOVING)
                known.append(topic)
            else:
                self._forget(entry)
        self._send("unsubscribe", known, now)

    def resync(self, topic: Topic, now: float) -> None:
        """Ask for a fresh snapshot of one topic: unsubscribe, then subscribe again."""
        entry = self._entries.get(topic.name)
        if entry is None or not self._is_open:
            return  # the next connection begins with a snapshot anyway
        if entry.state is SubscriptionState.ACTIVE:
            # Both requests travel at once: the venue answers in order, and deltas that still
            # arrive in between are withheld by the pipeline until the snapshot comes.
            self._send("unsubscribe", [topic], now)
            self._subscribe([topic], now)

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return {
            entry.topic: entry.state
            for entry in self._entries.values()
            if entry.state is not SubscriptionState.REMOVING
        }

    # ── the socket ────────────────────────────────────────────────────────────────────────────

    def open(self, now: float) -> None:
        """Send the whole intent, refused topics left aside: the socket takes requests now."""
        self._is_open = True
        waiting = [
            entry.topic
            for entry in self._entries.values()
            if entry.state is SubscriptionState.REQUESTED
        ]
        self._subscribe(waiting, now)

    def close(self, error: str | None = None) -> list[Topic]:
        """Forget the socket; answers the topics that were flowing or about to."""
        self._is_open = False
        self._requests.clear()
        self.output.clear()
        self._left.clear()
        broken = []
        for entry in list(self._entries.values()):
            if entry.state is SubscriptionState.REMOVING:
                self._forget(entry)
            elif entry.state is not SubscriptionState.REJECTED:
                if entry.state in _STANDING:
                    broken.append(entry.topic)
                self._set(entry, SubscriptionState.REQUESTED, error)
        return broken

    @property
    def oldest_request(self) -> Request | None:
        """Return the request the venue has owed an answer for longest."""
        return next(iter(self._requests.values()), None)

    # ── what the venue says ───────────────────────────────────────────────────────────────────

    def take_data(self, name: str) -> Topic | None:
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
            self._set(entry, SubscriptionState.ACTIVE)
        return entry.topic

    def suspects(self, name: str | None) -> list[Topic]:
        """Name the flowing topics an unreadable frame may have belonged to."""
        if name is None:
            flowing = (e for e in self._entries.values() if e.state is SubscriptionState.ACTIVE)
            return [entry.topic for entry in flowing if not entry.topic.has_update_ids]
        entry = self._entries.get(name)
        return [entry.topic] if entry is not None and entry.state in _STANDING else []

    def take_ack(self, frame: WireFrame, now: float) -> bool:
        """Take an ack of any socket but option and spread; answers whether it is good news."""
        request = self._answered(frame.req_id)
        if request is None:
            return False  # rule: an answer to a request of no concern any more changes nothing
        if frame.is_success:
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
        request = self._named_by(failed.union(outcome.succeeded))
        if request is None:
            return False
        if request.op == "unsubscribe":
            self._confirm(request, now)
            return True
        for topic in request.topics:
            if topic.name in failed:
                self._refuse(Request(request.op, (topic,), now), "listed under failTopics", now)
        return True

    def overdue(self, now: float, deadline: float) -> Request | None:
        """Return a request whose answer is overdue; `deadline` is in seconds.

        The option and spread sockets may confirm no unsubscription (seen by users, undocumented):
        there it counts as done. A subscription there is proven by data, with or without an ack.
        """
        for req_id, request in list(self._requests.items()):
            if now < request.sent_at + deadline:
                return None  # the others are younger
            if self._category not in _WITHOUT_IDS or not self._is_settled(request):
                return request
            del self._requests[req_id]
            self._confirm(request, now)
        return None

    def _is_settled(self, request: Request) -> bool:
        if request.op == "unsubscribe":
            return True
        entries = (self._entries.get(topic.name) for topic in request.topics)
        return all(e is None or e.state is not SubscriptionState.PENDING for e in entries)

    def _named_by(self, names: set[str]) -> Request | None:
        if not names:
            return self._answered(None)
        for req_id, request in self._requests.items():
            if any(topic.name in names for topic in request.topics):
                return self._requests.pop(req_id)
        return None

    def _answered(self, req_id: str | None) -> Request | None:
        if req_id:
            return self._requests.pop(req_id, None)
        oldest = next(iter(self._requests), None)
        return None if oldest is None else self._requests.pop(oldest)

    def _confirm(self, request: Request, now: float) -> None:
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

    def _refuse(self, request: Request, words: str, now: float) -> None:
        if request.op == "unsubscribe":
            self._confirm(request, now)  # the venue does not know it: gone, which was the wish
            return
        standing = [
            topic
            for topic in request.topics
            if (entry := self._entries.get(topic.name)) is not None and entry.state in _STANDING
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

    # ── requests and states ───────────────────────────────────────────────────────────────────

    def _subscribe(self, topics: Iterable[Topic], now: float) -> None:
        asked = list(topics)
        for topic in asked:
            self._set(self._entries[topic.name], SubscriptionState.PENDING)
        self._send("subscribe", asked, now)

    def _send(self, op: str, topics: Iterable[Topic], now: float) -> None:
        for batch in batches(topics, self._category):
            req_id = self._next_id()
            self._requests[req_id] = Request(op, tuple(batch), now)
            self.output.append(topic_request(op, req_id, batch))

    def _leaving(self) -> set[str]:
        """Name the topics whose unsubscription is unanswered."""
        unsubscribes = (r for r in self._requests.values() if r.op == "unsubscribe")
        return {topic.name for request in unsubscribes for topic in request.topics}

    def _set(self, entry: _Entry, state: SubscriptionState, error: str | None = None) -> None:
        if entry.state is not state or entry.error != error:
            entry.state, entry.error = state, error
            self.changes.append(TopicChange(entry.topic, state, error))

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.topic.name]
        self._left[entry.topic.name] = None
        if len(self._left) > _REMEMBERED:
            del self._left[next(iter(self._left))]
        self.changes.append(TopicChange(entry.topic, SubscriptionState.REMOVED))


def _divide(topics: list[Topic], words: str) -> Iterator[list[Topic]]:
    named = [topic for topic in topics if words.endswith(topic.name) or f"[{topic.name}]" in words]
    if named and len(named) < len(topics):
        yield named
        yield [topic for topic in topics if topic not in named]
        return
    middle = (len(topics) + 1) // 2
    yield from (part for part in (topics[:middle], topics[middle:]) if part)
