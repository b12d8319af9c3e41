"""Messages the gateway answers for: waiting to be sent, or sent and not yet confirmed.

Each lane waits in a queue of its own, bounded in events and bytes, so that a flood in one takes
nothing from another. Private facts go first and may use all that is free. Once a lane was refused
it stays refused until its level has fallen, so that a stream is not torn into crumbs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

import msgspec

from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Lane, Topic

# Named once: members are compared with per event, and naming one costs a lookup.
_PRIVATE, _LATEST = Lane.PRIVATE, Lane.LATEST


class OverflowPolicy(StrEnum):
    """What becomes of an event when its lane is under pressure."""

    SPOOL = "spool"
    """What waits is on disk too, or there alone; only what has no room there is lost."""
    GAP = "gap"
    """The newest is refused, and a marker names the hole."""
    CONFLATE = "conflate"
    """A newer value takes the place of an older one; where it cannot, the newest is refused."""


POLICIES = {
    Lane.PRIVATE: OverflowPolicy.SPOOL,
    Lane.LEDGER: OverflowPolicy.GAP,
    Lane.BOOK: OverflowPolicy.GAP,
    Lane.LATEST: OverflowPolicy.CONFLATE,
}

_SHARES = {Lane.LEDGER: 0.5, Lane.BOOK: 0.25, Lane.LATEST: 0.15}
"""Most of the whole that a public lane may hold; what is left is always free for private facts."""

_PUBLIC_SHARE = sum(_SHARES.values())
_RESUME_SHARE = 0.5
_HEAVY_SHARE = 0.5
_SCARCE_SHARE = 0.95
_PRESSURE_SHARE, _EASE_SHARE = 0.1, 0.05
"""How full of waiting values the latest lane is when conflation begins, and when it ends."""


class Message(msgspec.Struct, gc=False):
    """One event as it goes to the broker, with what is needed to account for it.

    Attributes:
        data: all AMQP frames.
        topic, sequence: its place in its stream; None and 0 for a quarantined frame.
        lane: whose room it takes.
        received_at: our clock at the socket, µs.
        is_observed: it carries an observation; markers and quarantined frames do not, and stay
            out of the counters' balance.
        timestamp: exchange time, ms.
        attempts: how often the broker refused or returned it.
        conflated: how many numbers just before its own it stands for.
        record: where in the spool it is, too; of private ones only.
        is_settled: it needs no record any more.
        stands_for: how many events its times are taken for; 0 while they are not taken.
        sent_at: when it was written first, µs, if its times are taken.
    """

    data: bytes
    topic: Topic | None
    lane: Lane
    sequence: int
    event_id: str
    received_at: int
    is_observed: bool
    timestamp: int = 0
    attempts: int = 0
    returned: bool = False
    conflated: int = 0
    record: tuple[int, int] | None = None
    is_settled: bool = False
    stands_for: int = 0
    sent_at: int = 0


class _Held:
    """A private stream that the broker refuses.

    Attributes:
        refused: in the order they were sent in, older than all that follows.
        later: never sent.
        trial: sent, or about to be, to see whether it is taken; older than the others.
    """

    __slots__ = ("later", "refused", "trial")

    def __init__(self) -> None:
        self.refused: deque[Message] = deque()
        self.later: deque[Message] = deque()
        self.trial: Message | None = None


class LaneQueue:
    """What one lane holds, and how much it may.

    Attributes:
        waiting: not sent yet, oldest first.
        messages, observed, size_bytes: all it holds, sent and unconfirmed included.
        most_messages, most_bytes: its bounds.
        peak_messages, peak_bytes: the highest levels seen at a write or a look.
        is_refused: it had no room and has not been emptied enough since.
    """

    __slots__ = (
        "is_refused",
        "lane",
        "messages",
        "most_bytes",
        "most_messages",
        "observed",
        "peak_bytes",
        "peak_messages",
        "size_bytes",
        "waiting",
    )

    def __init__(self, lane: Lane, max_events: int, max_bytes: int) -> None:
        share = _SHARES.get(lane, 1.0)
        self.lane = lane
        self.most_messages = max_events * share
        self.most_bytes = max_bytes * share
        self.waiting: deque[Message] = deque()
        self.messages = self.observed = self.size_bytes = 0
        self.peak_messages = self.peak_bytes = 0
        self.is_refused = False

    def is_above(self, share: float) -> bool:
        """Say whether it holds this share of what it may."""
        return (
            self.messages >= self.most_messages * share
            or self.size_bytes >= self.most_bytes * share
        )

    def hold(self, message: Message) -> None:
        """Account for a message."""
        self.messages += 1
        self.observed += message.is_observed
        self.size_bytes += len(message.data)

    def release(self, message: Message) -> None:
        """Account for a message no more."""
        self.messages -= 1
        self.observed -= message.is_observed
        self.size_bytes -= len(message.data)

    def take(self, most: int) -> list[Message]:
        """Take up to `most` of the oldest that wait."""
        waiting = self.waiting
        if len(waiting) > most:
            return [waiting.popleft() for _ in range(most)]
        batch = list(waiting)
        waiting.clear()
        return batch

    def note_peak(self) -> None:
        """Remember the level if it is the highest yet."""
        self.peak_messages = max(self.peak_messages, self.messages)
        self.peak_bytes = max(self.peak_bytes, self.size_bytes)


class Outbox:
    """The bounded store between the pipeline and the broker, in order within each lane.

    `put` takes; `next_batch` moves the oldest to the window of unconfirmed ones, numbering them by
    delivery tag; `settle` removes what the broker answered for; `rewind` makes everything
    unconfirmed wait again, in its old order, for a new connection.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._lanes = {lane: LaneQueue(lane, max_events, max_bytes) for lane in Lane}
        self._private = self._lanes[_PRIVATE]
        self._latest = self._lanes[_LATEST]
        self._public = [queue for lane, queue in self._lanes.items() if lane is not _PRIVATE]
        # For the questions asked per confirm.
        self._waiting = tuple(queue.waiting for queue in self._lanes.values())
        self._may_refuse = False
        self._most = (max_events, max_bytes)
        self._pressure_from = self._latest.most_messages * _PRESSURE_SHARE
        # None stands for a message that was answered for before older ones.
        self._window: deque[Message | None] = deque()
        self._aside: list[Message] = []
        self._held: dict[str, _Held] = {}
        self._first_tag = 1
        # The newest waiting value of each stream of the latest lane, while it is under pressure.
        self._newest: dict[str, tuple[Message, Event]] = {}
        self._is_conflating = False

    # ── levels ────────────────────────────────────────────────────────────────────────────────

    @property
    def events(self) -> int:
        """Count the observations held."""
        return sum(queue.observed for queue in self._lanes.values())

    @property
    def messages(self) -> int:
        """Count everything held, markers and quarantined frames included."""
        return sum(queue.messages for queue in self._lanes.values())

    @property
    def size_bytes(self) -> int:
        """Sum the bytes held."""
        return sum(queue.size_bytes for queue in self._lanes.values())

    @property
    def unconfirmed(self) -> int:
        """Count what was sent and not yet answered for."""
        return len(self._window)

    @property
    def aside(self) -> int:
        """Count what was set aside."""
        return len(self._aside)

    @property
    def waiting(self) -> int:
        """Count what was not sent yet."""
        return sum(len(queue.waiting) for queue in self._lanes.values())

    @property
    def has_waiting(self) -> bool:
        """Say whether anything was not sent yet."""
        private, ledger, book, latest = self._waiting
        return bool(private or ledger or book or latest)

    def lanes(self) -> list[LaneQueue]:
        """Return every lane's queue, to be looked at, private first."""
        for queue in self._lanes.values():
            queue.note_peak()
        return list(self._lanes.values())

    def has_room(self, lane: Lane) -> bool:
        """Say whether a message of this lane would be taken."""
        queue = self._lanes[lane]
        if queue is self._private:
            return self._has_private_room(queue)
        if queue.is_refused:
            queue.is_refused = queue.is_above(_RESUME_SHARE)
        elif queue.messages >= queue.most_messages or queue.size_bytes >= queue.most_bytes:
            queue.is_refused = self._may_refuse = True
        return not queue.is_refused

    def _has_private_room(self, queue: LaneQueue) -> bool:
        if queue.is_refused:
            queue.is_refused = self._is_above(_PUBLIC_SHARE)
        elif self._is_above(1.0):
            queue.is_refused = self._may_refuse = True
        return not queue.is_refused

    @property
    def is_refusing(self) -> bool:
        """Say whether a lane was refused and has not been asked again since."""
        if self._may_refuse:
            self._may_refuse = any(queue.is_refused for queue in self._lanes.values())
        return self._may_refuse

    def _is_above(self, share: float) -> bool:
        max_events, max_bytes = self._most
        return self.messages >= max_events * share or self.size_bytes >= max_bytes * share

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def put(self, message: Message) -> None:
        """Take a message; ask `has_room` first."""
        queue = self._lanes[message.lane]
        queue.waiting.append(message)
        queue.messages += 1
        queue.observed += message.is_observed
        queue.size_bytes += len(message.data)

    # ── the private lane and its spool ────────────────────────────────────────────────────────

    @property
    def has_private(self) -> bool:
        """Say whether a private message is held."""
        return self._private.messages > 0

    @property
    def is_private_heavy(self) -> bool:
        """Say whether private messages take up half of memory, or the last of it."""
        private = self._private
        return private.is_above(_HEAVY_SHARE) or (
            private.messages > 0 and self._is_above(_SCARCE_SHARE)
        )

    @property
    def private_held(self) -> int:
        """Count all private messages held."""
        return self._private.messages

    @property
    def private_reserve(self) -> int:
        """Count the messages that no public lane may keep out."""
        return int(self._most[0] * (1 - _PUBLIC_SHARE))

    @property
    def private_waiting(self) -> int:
        """Count the private messages that can be sent and were not yet."""
        return len(self._private.waiting)

    def private_messages(self) -> list[Message]:
        """List the private messages in the order they would be sent in now."""
        sent = [m for m in (*self._aside, *self._window) if m and m.lane is _PRIVATE]
        if not self._held:
            return [*sent, *self._private.waiting]
        held = list(self._held.values())
        trials = [one.trial for one in held if one.trial is not None]
        refused = [message for one in held for message in one.refused]
        later = [message for one in held for message in one.later]
        first = {id(message) for message in trials}
        rest = [m for m in (*sent, *later, *self._private.waiting) if id(m) not in first]
        return [*trials, *refused, *rest]

    def hold(self, message: Message) -> None:
        """Account for a message that is held elsewhere in memory."""
        self._lanes[message.lane].hold(message)

    def release(self, message: Message) -> None:
        """Account for such a message no more."""
        self._lanes[message.lane].release(message)

    def withdraw_unsent(self) -> list[Message]:
        """Take out what waits for its first or next sending, but no trial; it stays held."""
        trials = {id(held.trial) for held in self._held.values()}
        waiting = list(self._private.waiting)
        self._private.waiting.clear()
        self._private.waiting.extend(m for m in waiting if id(m) in trials)
        return [m for m in waiting if id(m) not in trials]

    def forget_recorded(self) -> int:
        """Let go of every message that is on disk too; answers how many observations."""
        forgotten = [m for m in self.private_messages() if m.record is not None]
        for message in forgotten:
            self.release(message)
        ids = {id(message) for message in forgotten}
        self._aside = [m for m in self._aside if id(m) not in ids]
        for place, sent in enumerate(self._window):
            if id(sent) in ids:
                self._window[place] = None
        kept = [m for m in self._private.waiting if id(m) not in ids]
        self._private.waiting.clear()
        self._private.waiting.extend(kept)
        for held in self._held.values():
            held.refused = deque(m for m in held.refused if id(m) not in ids)
            held.later = deque(m for m in held.later if id(m) not in ids)
            held.trial = None if id(held.trial) in ids else held.trial
        return sum(message.is_observed for message in forgotten)

    # ── private streams that the broker refuses ───────────────────────────────────────────────

    @property
    def held(self) -> int:
        """Count the private messages that wait because their stream is refused."""
        return sum(
            len(one.refused) + len(one.later) + (one.trial is not None)
            for one in self._held.values()
        )

    def hold_back(self, message: Message) -> bool:
        """Keep a refused message, and from now on what follows in its stream.

        Answers whether it was the one on trial.
        """
        if message.topic is None:
            raise ValueError("only messages of a stream can be held back")
        held = self._held.setdefault(message.topic.key, _Held())
        self._private.hold(message)
        if held.trial is message:
            held.trial = None
            held.refused.appendleft(message)
            return True
        held.refused.append(message)
        return False

    def end_trial(self, message: Message) -> bool:
        """Take note that a message was taken, or given up; answers whether it was on trial."""
        held = None if message.topic is None else self._held.get(message.topic.key)
        if held is None or held.trial is not message:
            return False
        held.trial = None
        return True

    def try_held(self, key: str) -> bool:
        """Let the oldest held message of a stream wait to be sent; False if none is left.

        Then the stream flows freely again.
        """
        held = self._held.get(key)
        if held is None:
            return False
        if held.trial is not None:
            return True
        queue = held.refused or held.later
        if not queue:
            del self._held[key]
            return False
        held.trial = queue.popleft()
        self._private.waiting.appendleft(held.trial)
        return True

    def _rewind_held(self, message: Message) -> bool:
        """Hold a message that was sent in vain, if its stream is held; answers whether it is."""
        held = None if message.topic is None else self._held.get(message.topic.key)
        if held is None:
            return False
        if held.trial is message:
            held.trial = None
            held.refused.appendleft(message)
        else:
            held.refused.append(message)
        message.returned = False
        return True

    def _sift(self) -> None:
        """Take what follows in a refused stream out of what waits."""
        waiting, kept = self._private.waiting, deque[Message]()
        for message in waiting:
            held = None if message.topic is None else self._held.get(message.topic.key)
            if held is None or held.trial is message:
                kept.append(message)
            else:
                held.later.append(message)
        waiting.clear()
        waiting.extend(kept)

    # ── conflation: the latest lane under pressure ────────────────────────────────────────────

    @property
    def is_conflating(self) -> bool:
        """Say whether newer values are to take the place of older ones that wait.

        It begins and ends with the level, so that an unhurried broker gets every value.
        """
        level = len(self._latest.waiting)
        if self._is_conflating:
            if level < self._pressure_from / 2 and not self._latest.is_above(_EASE_SHARE):
                self._is_conflating = False
                self._newest.clear()
        elif level >= self._pressure_from or self._latest.is_above(0.5):
            self._is_conflating = True
        return self._is_conflating

    def newest(self, topic: Topic) -> tuple[Message, Event] | None:
        """Return the last of a stream that waits, if a newer value may take its place."""
        return self._newest.get(topic.key)

    def note_newest(self, message: Message, event: Event | None) -> None:
        """Take note of what was put last of a stream; None for what nothing may replace."""
        if message.topic is None:
            return
        if event is None:
            self._newest.pop(message.topic.key, None)
        else:
            self._newest[message.topic.key] = (message, event)

    def replace(self, older: Message, newer: Message) -> None:
        """Put a newer value in the place of one that waits; needs no room."""
        self._latest.size_bytes += len(newer.data) - len(older.data)
        older.data = newer.data
        older.sequence = newer.sequence
        older.event_id = newer.event_id
        older.received_at = newer.received_at
        older.timestamp = newer.timestamp
        older.conflated = newer.conflated

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def next_batch(self, most: int, *, reserved: int = 0) -> list[Message]:
        """Move up to `most` into the window: private ones, then the oldest of each public lane.

        Args:
            most: places in the window, and in the batch.
            reserved: how many of these only private messages may take.
        """
        batch: list[Message] = []
        if self._private.waiting:
            self._private.note_peak()
            if self._held:
                self._sift()
            batch = self._private.take(most)
        left = most - reserved - len(batch)
        queues = [queue for queue in self._public if queue.waiting]
        if len(queues) > 1:
            queues.sort(key=_waiting)  # so that what a short one leaves goes to the longer ones
        lanes_left = len(queues)
        for queue in queues:
            if left <= 0:
                break
            queue.note_peak()
            taken = queue.take(max(1, left // lanes_left))
            if queue is self._latest and self._newest:
                self._forget_sent(taken)
            batch += taken
            left -= len(taken)
            lanes_left -= 1
        self._window.extend(batch)
        return batch

    def _forget_sent(self, batch: list[Message]) -> None:
        for message in batch:
            if message.topic is not None:
                newest = self._newest.get(message.topic.key)
                if newest is not None and newest[0] is message:
                    del self._newest[message.topic.key]

    @property
    def first_tag(self) -> int:
        """Return the delivery tag of the oldest unanswered message."""
        return self._first_tag

    @property
    def next_tag(self) -> int:
        """Return the delivery tag the next message sent will have."""
        return self._first_tag + len(self._window)

    def settle(self, tag: int, *, multiple: bool, take: Callable[[Message], None]) -> None:
        """Hand every message the broker answered for to `take`, once.

        Args:
            tag: delivery tag of the answer.
            multiple: the answer is for every tag up to this one.
            take: decides what becomes of it; the message has left the window.
        """
        index = tag - self._first_tag
        window = self._window
        if index < 0 or index >= len(window):
            return
        if not multiple and index > 0:
            message, window[index] = window[index], None
            if message is not None:
                self._lanes[message.lane].release(message)
                take(message)
            return
        lanes = self._lanes
        for _ in range(index + 1):
            message = window.popleft()
            if message is not None:
                queue = lanes[message.lane]
                queue.messages -= 1
                queue.observed -= message.is_observed
                queue.size_bytes -= len(message.data)
                take(message)
        self._first_tag = tag + 1
        while window and window[0] is None:
            window.popleft()
            self._first_tag += 1

    def find_unconfirmed(self, event_id: str) -> Message | None:
        """Find a message in the window by its id; a return names nothing else."""
        return next(
            (m for m in self._window if m and m.event_id == event_id and not m.returned), None
        )

    def set_aside(self, message: Message) -> None:
        """Keep a message that was settled but must be sent again; `take_back` lets it go on."""
        self._aside.append(message)
        self._lanes[message.lane].hold(message)

    def take_back(self) -> int:
        """Make what was set aside wait again, before all others; answers how many."""
        again, self._aside = self._aside, []
        self._wait_again(again)
        return len(again)

    def rewind(self) -> int:
        """Make all unconfirmed messages wait again, in their old order; answers how many.

        Those of a held stream are held again.
        """
        again = [m for m in self._window if m is not None]
        held = self._held
        self._wait_again([m for m in again if not (held and self._rewind_held(m))])
        self._window.clear()
        self._first_tag = 1
        return len(again)

    def _wait_again(self, again: list[Message]) -> None:
        for message in reversed(again):
            message.returned = False
            self._lanes[message.lane].waiting.appendleft(message)


def _waiting(queue: LaneQueue) -> int:
    return len(queue.waiting)
