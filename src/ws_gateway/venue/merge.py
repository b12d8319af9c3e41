"""Several sockets, the same topics, one stream each: the first copy wins, the others fall away.

Two sockets carry the same topics when redundancy is asked for, and while a socket is replaced
before it is closed. Pure: facts in, facts out, in the order in which a consumer may have them.

Books are joined by their update ids, of which the venue counts one row per topic for all sockets;
everything else by identity, which is made of nothing but what the venue said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ws_gateway.domain.event import GapReason, Kind, Observation
from ws_gateway.domain.topic import Channel, Lane, Topic
from ws_gateway.ports.event_path import ObservationSink
from ws_gateway.runtime.patience import Patience

_SNAPSHOT = Kind.SNAPSHOT

_MOST_HELD = 256
"""Frames of a socket that is ahead, kept until the others have told what lies between."""

_LONGEST_HELD_US = 2_000_000
"""How long they are kept; then what lies between is called missing."""

_MOST_AWAITED = 256
"""Copies of a topic told by one socket and awaited from another."""


@dataclass(slots=True)
class _Copy:
    """One socket's copy of a book.

    Attributes:
        last: newest update id it told in an unbroken row; None while a snapshot is awaited.
        held: what it told ahead of the stream, oldest first.
        is_asked: a snapshot was asked for that has not come yet.
    """

    last: int | None = None
    held: deque[Observation] = field(default_factory=deque)
    is_asked: bool = False
    patience: Patience = field(default_factory=Patience)


class _Book:
    """One book, told by several sockets.

    Attributes:
        last: newest update id that was passed on; None while a snapshot is awaited.
    """

    __slots__ = ("_merge", "_topic", "copies", "last")

    def __init__(
        self, merge: Merge, topic: Topic, last: int | None, founders: Iterable[str]
    ) -> None:
        self._merge = merge
        self._topic = topic
        self.last = last
        self.copies = {leg: _Copy(last) for leg in founders}

    def take(self, leg: str, fact: Observation) -> None:
        copy = self.copies.get(leg)
        if copy is None:
            copy = self.copies[leg] = _Copy()
        update_id = fact.update_id or 0
        if copy.last is not None and update_id == copy.last + 1 and update_id != 1:
            copy.last = update_id
            self._place(copy, fact, update_id)
        elif fact.kind is _SNAPSHOT:
            self._take_snapshot(copy, fact, update_id)
        elif self.last is None:
            copy.last = None
            self._merge.pass_on(fact)  # the pipeline withholds it, and knows for what it waits
        elif copy.last is not None and update_id <= copy.last and update_id != 1:
            self._merge.suppress(fact)
        else:
            self._break(leg, copy, fact)

    def lose(self, leg: str, *, for_good: bool) -> bool:
        """Take note that a socket brings this book no more; answers whether another one does."""
        copy = self.copies.pop(leg, None) if for_good else self.copies.get(leg)
        if copy is not None:
            copy.last = None
            copy.is_asked = False
            self._forget_held(copy)
        self.release_stuck()
        return any(other.last is not None for other in self.copies.values())

    def await_snapshot(self, leg: str) -> None:
        """Pass nothing on before the snapshot that was asked of one socket."""
        self.last = None
        for each in self.copies.values():
            self._forget_held(each)
        self.copies[leg] = _Copy(is_asked=True)

    def release_stuck(self) -> None:
        """Pass on what is held for others that will never tell what lies between."""
        for copy in self.copies.values():
            if copy.held and not self._is_filled_by_others(copy):
                self._release(copy)

    def _take_snapshot(self, copy: _Copy, fact: Observation, update_id: int) -> None:
        was_awaited = copy.last is None
        is_repeated = copy.last == update_id
        copy.last, copy.is_asked = update_id, False
        self._forget_held(copy)
        if self.last is None:
            self._pass_on(fact, update_id)
        elif (was_awaited or is_repeated) and update_id <= self.last:
            self._merge.suppress(fact)
        elif was_awaited:
            self._hold(copy, fact)
        else:
            # The venue began the book anew in mid-stream; every socket needs its own beginning.
            for each in self.copies.values():
                if each is not copy:
                    each.last = None
                    self._forget_held(each)
            self._pass_on(fact, update_id)

    def _place(self, copy: _Copy, fact: Observation, update_id: int) -> None:
        last = self.last
        if last is None:
            self._merge.pass_on(fact)
            if fact.kind is _SNAPSHOT:
                self.last = update_id
        elif update_id == last + 1 and not copy.held:
            self._pass_on(fact, update_id)
        elif update_id <= last:
            self._merge.suppress(fact)
        else:
            self._hold(copy, fact)

    def _break(self, leg: str, copy: _Copy, fact: Observation) -> None:
        """Judge a frame that does not continue its socket's row."""
        copy.last = None
        self._forget_held(copy)
        if any(other.last is not None for other in self.copies.values()):
            self._merge.suppress(fact)  # another socket tells it
            if not copy.is_asked and copy.patience.allows(fact.received_at):
                copy.is_asked = True
                self._merge.ask_snapshot(leg, self._topic)
            return
        self.last = None
        self._merge.pass_on(fact)  # the pipeline marks the hole and asks for a snapshot

    def _hold(self, copy: _Copy, fact: Observation) -> None:
        copy.held.append(fact)
        is_late = fact.received_at - copy.held[0].received_at > _LONGEST_HELD_US
        if len(copy.held) > _MOST_HELD or is_late or not self._is_filled_by_others(copy):
            self._release(copy)

    def _is_filled_by_others(self, copy: _Copy) -> bool:
        first = copy.held[0].update_id or 0
        return any(
            other is not copy and other.last is not None and other.last < first
            for other in self.copies.values()
        )

    def _release(self, copy: _Copy) -> None:
        held, copy.held = copy.held, deque()
        for fact in held:
            self._merge.pass_on(fact)
            self.last = fact.update_id

    def _pass_on(self, fact: Observation, update_id: int) -> None:
        self._merge.pass_on(fact)
        self.last = update_id
        for copy in self.copies.values():
            while copy.held and (copy.held[0].update_id or 0) <= self.last:
                self._merge.suppress(copy.held.popleft())
            while copy.held and copy.held[0].update_id == self.last + 1:
                self._merge.pass_on(copy.held.popleft())
                self.last += 1

    def _forget_held(self, copy: _Copy) -> None:
        while copy.held:
            self._merge.suppress(copy.held.popleft())


class _Facts:
    """A stream without update ids: a fact is told once, whoever tells it first."""

    __slots__ = ("_awaited", "_is_latest", "_merge", "_newest", "_newest_of")

    def __init__(self, merge: Merge, topic: Topic) -> None:
        self._merge = merge
        # What an older value would undo; other facts stand for themselves.
        self._is_latest = topic.lane is Lane.LATEST or topic.channel is Channel.ORDERBOOK
        # (ms, update id) of the newest fact, of all sockets and of each.
        self._newest = (0, 0)
        self._newest_of: dict[str, tuple[int, int]] = {}
        self._awaited: dict[str, set[str]] = {}

    def take(self, leg: str, fact: Observation) -> None:
        is_older = self._is_latest and self._is_older(leg, fact)
        told_by = self._awaited.get(fact.event_id)
        if told_by is not None:
            told_by.add(leg)
            if len(told_by) >= self._merge.legs:
                del self._awaited[fact.event_id]
            self._merge.suppress(fact)
            return
        if is_older:
            self._merge.suppress(fact)
            return
        if self._merge.legs > 1:
            self._awaited[fact.event_id] = {leg}
            if len(self._awaited) > _MOST_AWAITED:
                del self._awaited[next(iter(self._awaited))]
        self._merge.pass_on(fact)

    def _is_older(self, leg: str, fact: Observation) -> bool:
        """Say whether a fact is older than what another socket told.

        Where a socket's own row falls, the venue's clock was set back or its service restarted:
        that is news, and counts for all.
        """
        moment = (fact.timestamp, fact.update_id or 0)
        before = self._newest_of.get(leg)
        self._newest_of[leg] = moment
        if moment >= self._newest or (before is not None and moment < before):
            self._newest = moment
            return False
        return True

    def stop_awaiting(self, present: set[str]) -> None:
        """Forget facts that every socket has told that still can."""
        told = [each for each, told_by in self._awaited.items() if told_by >= present]
        for each in told:
            del self._awaited[each]


class Merge:
    """Joins what several sockets tell of the same topics.

    Args:
        sink: where each fact goes once.
        ask_snapshot: asks one socket for a fresh snapshot of one topic.
        founders: sockets that carried the topics before others joined: what the sink has seen so
            far was told by them.
    """

    def __init__(
        self,
        sink: ObservationSink,
        ask_snapshot: Callable[[str, Topic], None],
        founders: Iterable[str],
    ) -> None:
        self._sink = sink
        self.ask_snapshot = ask_snapshot
        self.pass_on = sink.accept
        self.suppress = sink.suppress
        self._founders = set(founders)
        self._present = set(self._founders)
        self._books: dict[str, _Book] = {}
        self._facts: dict[str, _Facts] = {}

    @property
    def legs(self) -> int:
        """How many sockets tell something at the moment."""
        return len(self._present)

    def join(self, leg: str) -> None:
        """Await copies from a socket too; call it before it asks for anything."""
        self._present.add(leg)

    def take(self, leg: str, fact: Observation) -> None:
        """Take a fact from a socket."""
        topic = fact.topic
        if topic.has_update_ids:
            self._book(topic).take(leg, fact)
            return
        facts = self._facts.get(topic.key)
        if facts is None:
            facts = self._facts[topic.key] = _Facts(self, topic)
        facts.take(leg, fact)

    def break_streams(
        self,
        leg: str,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_told_by_others: Callable[[Topic], bool],
        for_good: bool = False,
    ) -> None:
        """Take note that a socket misses facts of topics; what no other socket tells is broken.

        Args:
            leg: the socket.
            topics: what it carries.
            reason: as in `ObservationSink.break_streams`.
            detail: what happened, for people.
            is_told_by_others: whether another socket has carried a topic all the while.
            for_good: the socket leaves; otherwise it will begin again.
        """
        broken = []
        for topic in topics:
            is_told = is_told_by_others(topic)
            if topic.has_update_ids:
                is_told &= self._book(topic).lose(leg, for_good=for_good)
                if not is_told:
                    self._book(topic).last = None
            if not is_told:
                broken.append(topic)
        if for_good or reason is GapReason.DISCONNECT:
            self._present.discard(leg)
            for facts in self._facts.values():
                facts.stop_awaiting(self._present)
        if for_good:
            self._founders.discard(leg)
        if broken:
            self._sink.break_streams(broken, reason, detail)

    def await_snapshot(self, leg: str, topic: Topic) -> None:
        """Take note that the pipeline needs a snapshot, and which socket is asked for it."""
        if topic.has_update_ids:
            self._book(topic).await_snapshot(leg)

    def is_in_step(self, leg: str, topic: Topic) -> bool:
        """Say whether a socket tells a topic so that it could go on alone."""
        if not topic.has_update_ids:
            return True
        copy = self._book(topic).copies.get(leg)
        return copy is not None and copy.last is not None and not copy.held

    def forget(self, topic: Topic) -> None:
        """Forget a topic nobody wants any more."""
        self._books.pop(topic.key, None)
        self._facts.pop(topic.key, None)

    def _book(self, topic: Topic) -> _Book:
        book = self._books.get(topic.key)
        if book is None:
            last = self._sink.last_update_id(topic)
            book = self._books[topic.key] = _Book(self, topic, last, self._founders)
        return book
