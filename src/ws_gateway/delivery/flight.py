"""What waits for one broker connection, and what is on its way over it.

Each connection has its own numbers (delivery tags) and its own window of unconfirmed messages;
which lanes it carries is all that two of them differ in, and how they take turns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from ws_gateway.delivery.lanes import LaneQueue
from ws_gateway.delivery.latest import LatestValues
from ws_gateway.delivery.message import Message


class Flight(ABC):
    """The way of some lanes to the broker, in order within each.

    `next_batch` moves the oldest that wait to the window, numbering them by delivery tag; `settle`
    removes what the broker answered for; `rewind` makes everything unconfirmed, or set aside,
    wait again, in its old order, for a new connection.

    Args:
        queues: of the lanes it carries; they account for what is held.
    """

    def __init__(self, queues: Sequence[LaneQueue]) -> None:
        self._queues = tuple(queues)
        self._of_lane = {queue.lane: queue for queue in queues}
        self._waiting = tuple(queue.waiting for queue in queues)  # asked per confirm
        # None stands for a message that was answered for before older ones.
        self._window: deque[Message | None] = deque()
        self._aside: list[Message] = []
        self._first_tag = 1

    # ── levels ────────────────────────────────────────────────────────────────────────────────

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
        return sum(map(len, self._waiting))

    @property
    def has_waiting(self) -> bool:
        """Say whether anything was not sent yet."""
        return any(self._waiting)

    @property
    def first_tag(self) -> int:
        """Return the delivery tag of the oldest unanswered message."""
        return self._first_tag

    @property
    def next_tag(self) -> int:
        """Return the delivery tag the next message sent will have."""
        return self._first_tag + len(self._window)

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def next_batch(self, most: int) -> list[Message]:
        """Move up to `most` of the oldest into the window."""
        batch = self._take(most)
        self._window.extend(batch)
        return batch

    @abstractmethod
    def _take(self, most: int) -> list[Message]:
        """Take out what is sent next."""

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
                self._of_lane[message.lane].release(message)
                take(message)
            return
        lanes = self._of_lane
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

    # ── back ──────────────────────────────────────────────────────────────────────────────────

    def set_aside(self, message: Message) -> None:
        """Keep a message that was settled but must be sent again; `take_back` lets it go on."""
        self._aside.append(message)
        self._of_lane[message.lane].hold(message)

    def take_back(self) -> int:
        """Make what was set aside wait again, before all others; answers how many."""
        again, self._aside = self._aside, []
        self._wait_again(again)
        return len(again)

    def rewind(self) -> int:
        """Make all that was sent in vain wait again, for a new connection; answers how many.

        What was set aside was answered for first, which does not make it older.
        """
        aside, self._aside = self._aside, []
        again = [m for m in self._window if m is not None]
        self._wait_again(_in_their_streams_order([*aside, *self._free_to_go(again)]))
        self._window.clear()
        self._first_tag = 1
        return len(aside) + len(again)

    def _free_to_go(self, again: list[Message]) -> list[Message]:
        """Leave out what may not simply be sent again."""
        return again

    def _wait_again(self, again: list[Message]) -> None:
        for message in reversed(again):
            message.returned = False
            message.is_again = True
            self._of_lane[message.lane].waiting.appendleft(message)


def _in_their_streams_order(messages: list[Message]) -> list[Message]:
    """Let the messages of each stream take the places of these in the order they were made."""
    streams: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        streams["" if message.topic is None else message.topic.key].append(message)
    for stream in streams.values():
        stream.sort(key=lambda message: (message.sent_as, message.sequence))
    ordered = {key: iter(stream) for key, stream in streams.items()}
    return [next(ordered["" if m.topic is None else m.topic.key]) for m in messages]


class PublicFlight(Flight):
    """The public lanes' way: each takes an equal share of what may be sent."""

    def __init__(self, queues: Sequence[LaneQueue], latest: LatestValues) -> None:
        super().__init__(queues)
        self._latest = latest

    def _take(self, most: int) -> list[Message]:
        batch: list[Message] = []
        queues = [queue for queue in self._queues if queue.waiting]
        if len(queues) > 1:
            queues.sort(key=_waiting)  # so that what a short one leaves goes to the longer ones
        left, lanes_left = most, len(queues)
        for queue in queues:
            if left <= 0:
                break
            queue.note_peak()
            taken = queue.take(max(1, left // lanes_left))
            if queue is self._latest.queue:
                self._latest.forget_sent(taken)
            batch += taken
            left -= len(taken)
            lanes_left -= 1
        return batch


def _waiting(queue: LaneQueue) -> int:
    return len(queue.waiting)
