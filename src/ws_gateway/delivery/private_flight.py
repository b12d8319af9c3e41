"""The private lane's way to the broker, and the streams of it that a queue refuses.

Nothing private is given up: what is refused is held in its stream's order, and tried one message
at a time (decision 17). What is on disk too (the spool's) can be forgotten here.
"""

from __future__ import annotations

from collections import deque

from ws_gateway.delivery.flight import Flight
from ws_gateway.delivery.lanes import LaneQueue
from ws_gateway.delivery.message import Message


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

    def hold_again(self, message: Message) -> bool:
        """Keep what was sent in vain; answers whether it was on trial."""
        if self.trial is message:
            self.trial = None
            self.refused.appendleft(message)
            return True
        place = len(self.refused)
        while place and self.refused[place - 1].sent_as > message.sent_as:
            place -= 1  # what was returned before is let go on after newer ones were refused
        self.refused.insert(place, message)
        return False


class PrivateFlight(Flight):
    """The way of private messages, which may be held up stream by stream."""

    def __init__(self, queue: LaneQueue) -> None:
        super().__init__((queue,))
        self._queue = queue
        self._held: dict[str, _Held] = {}
        self._sent = 0

    def _take(self, most: int) -> list[Message]:
        self._queue.note_peak()
        if self._held:
            self._sift()
        batch = self._queue.take(most)
        for message in batch:
            if not message.sent_as:
                self._sent += 1
                message.sent_as = self._sent
            else:
                message.is_again = True  # it was held for a while
        return batch

    # ── all of them, for the spool ────────────────────────────────────────────────────────────

    def messages(self) -> list[Message]:
        """List all messages in the order they would be sent in now."""
        sent = [m for m in (*self._aside, *self._window) if m]
        if not self._held:
            return [*sent, *self._queue.waiting]
        held = list(self._held.values())
        trials = [one.trial for one in held if one.trial is not None]
        refused = [message for one in held for message in one.refused]
        later = [message for one in held for message in one.later]
        first = {id(message) for message in trials}
        rest = [m for m in (*sent, *later, *self._queue.waiting) if id(m) not in first]
        return [*trials, *refused, *rest]

    def withdraw_unsent(self) -> list[Message]:
        """Take out what waits for its first or next sending, but no trial; it stays held."""
        trials = {id(held.trial) for held in self._held.values()}
        waiting = list(self._queue.waiting)
        self._queue.waiting.clear()
        self._queue.waiting.extend(m for m in waiting if id(m) in trials)
        return [m for m in waiting if id(m) not in trials]

    def forget_recorded(self) -> int:
        """Let go of every message that is on disk too; answers how many observations."""
        forgotten = [m for m in self.messages() if m.record is not None]
        for message in forgotten:
            self._queue.release(message)
        ids = {id(message) for message in forgotten}
        self._aside = [m for m in self._aside if id(m) not in ids]
        for place, sent in enumerate(self._window):
            if id(sent) in ids:
                self._window[place] = None
        kept = [m for m in self._queue.waiting if id(m) not in ids]
        self._queue.waiting.clear()
        self._queue.waiting.extend(kept)
        for held in self._held.values():
            held.refused = deque(m for m in held.refused if id(m) not in ids)
            held.later = deque(m for m in held.later if id(m) not in ids)
            held.trial = None if id(held.trial) in ids else held.trial
        return sum(message.is_observed for message in forgotten)

    # ── streams that the broker refuses ───────────────────────────────────────────────────────

    @property
    def held(self) -> int:
        """Count the messages that wait because their stream is refused."""
        return sum(
            len(one.refused) + len(one.later) + (one.trial is not None)
            for one in self._held.values()
        )

    def held_messages(self) -> list[Message]:
        """List those messages, in order within each stream."""
        return [
            message
            for one in self._held.values()
            for message in (*([one.trial] if one.trial else ()), *one.refused, *one.later)
        ]

    def hold_back(self, message: Message) -> bool:
        """Keep a refused message, and from now on what follows in its stream.

        Answers whether it was the one on trial.
        """
        if message.topic is None:
            raise ValueError("only messages of a stream can be held back")
        self._queue.hold(message)
        return self._held.setdefault(message.topic.key, _Held()).hold_again(message)

    def end_trial(self, message: Message) -> bool:
        """Take note that a message was taken, or given up; answers whether it was on trial."""
        held = self._held_stream(message)
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
        self._queue.waiting.appendleft(held.trial)
        return True

    def _free_to_go(self, again: list[Message]) -> list[Message]:
        """Hold what was sent in vain of a held stream."""
        free = []
        for message in again:
            held = self._held_stream(message)
            if held is None:
                free.append(message)
            else:
                held.hold_again(message)
                message.returned = False
        return free

    def _sift(self) -> None:
        """Take what follows in a refused stream out of what waits."""
        waiting, kept = self._queue.waiting, deque[Message]()
        for message in waiting:
            held = self._held_stream(message)
            if held is None or held.trial is message:
                kept.append(message)
            elif message.sent_as:  # in vain, before it was known that its stream is refused
                held.hold_again(message)
            else:
                held.later.append(message)
        waiting.clear()
        waiting.extend(kept)

    def _held_stream(self, message: Message) -> _Held | None:
        return None if message.topic is None else self._held.get(message.topic.key)
