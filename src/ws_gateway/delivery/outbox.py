"""Messages the gateway answers for: waiting to be sent, or sent and not yet confirmed.

Bounded in events and bytes. Public lanes give way first: they may fill the greater part, the rest
is kept for private facts. Once a lane was refused it stays refused until the level has fallen, so
that a stream is not torn into crumbs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from ws_gateway.domain.topic import Lane, Topic

_PUBLIC_SHARE = 0.9
_RESUME_SHARE = 0.5
_PRIVATE = Lane.PRIVATE  # named once: it is compared with per event


class Message(msgspec.Struct, gc=False):
    """One event as it goes to the broker, with what is needed to account for it.

    Attributes:
        data: all AMQP frames.
        received_at: our clock at the socket, µs.
        topic, sequence: its place in its stream; None and 0 for a quarantined frame.
        is_observed: it carries an observation; markers and quarantined frames do not, and stay
            out of the counters' balance.
        attempts: how often the broker refused or returned it.
    """

    data: bytes
    topic: Topic | None
    sequence: int
    event_id: str
    received_at: int
    is_observed: bool
    attempts: int = 0
    returned: bool = False


class Outbox:
    """The bounded store between the pipeline and the broker, in order.

    `put` takes; `next_batch` moves the oldest to the window of unconfirmed ones, numbering them by
    delivery tag; `settle` removes what the broker answered for; `rewind` makes everything
    unconfirmed wait again, in its old order, for a new connection.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._most = (float(max_events), float(max_bytes))
        self._public_most = (max_events * _PUBLIC_SHARE, max_bytes * _PUBLIC_SHARE)
        self._resume_below = (max_events * _RESUME_SHARE, max_bytes * _RESUME_SHARE)
        self._waiting: deque[Message] = deque()
        # None stands for a message that was answered for before older ones.
        self._window: deque[Message | None] = deque()
        self._aside: list[Message] = []
        self._first_tag = 1
        self._messages = 0
        self._observed = 0
        self._bytes = 0
        self._public_refused = False
        self._private_refused = False

    # ── levels ────────────────────────────────────────────────────────────────────────────────

    @property
    def events(self) -> int:
        """Count the observations held."""
        return self._observed

    @property
    def messages(self) -> int:
        """Count everything held, markers and quarantined frames included."""
        return self._messages

    @property
    def size_bytes(self) -> int:
        """Sum the bytes held."""
        return self._bytes

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
        return len(self._waiting)

    def has_room(self, lane: Lane) -> bool:
        """Say whether a message of this lane would be taken."""
        if lane is _PRIVATE:
            if self._private_refused:
                self._private_refused = self._is_above(self._public_most)
            elif self._is_above(self._most):
                self._private_refused = True
            return not self._private_refused
        if self._public_refused:
            self._public_refused = self._is_above(self._resume_below)
        elif self._is_above(self._public_most):
            self._public_refused = True
        return not self._public_refused

    @property
    def is_refusing(self) -> bool:
        """Say whether a lane was refused and has not been asked again since."""
        return self._public_refused or self._private_refused

    def _is_above(self, level: tuple[float, float]) -> bool:
        return self._messages >= level[0] or self._bytes >= level[1]

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def put(self, message: Message) -> None:
        """Take a message; ask `has_room` first."""
        self._waiting.append(message)
        self._hold(message)

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def next_batch(self, most: int) -> list[Message]:
        """Move up to `most` of the oldest into the window; answers them in order."""
        waiting = self._waiting
        if len(waiting) <= most:
            batch = list(waiting)
            waiting.clear()
        else:
            batch = [waiting.popleft() for _ in range(most)]
        self._window.extend(batch)
        return batch

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
            self._release(message, take)
            return
        for _ in range(index + 1):
            self._release(window.popleft(), take)
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
        self._hold(message)

    def take_back(self) -> int:
        """Make what was set aside wait again, before all others; answers how many."""
        again, self._aside = self._aside, []
        for message in again:
            message.returned = False
        self._waiting.extendleft(reversed(again))
        return len(again)

    def rewind(self) -> int:
        """Make all unconfirmed messages wait again, in their old order; answers how many."""
        again = [m for m in self._window if m is not None]
        for message in again:
            message.returned = False
        self._waiting.extendleft(reversed(again))
        self._window.clear()
        self._first_tag = 1
        return len(again)

    def _hold(self, message: Message) -> None:
        self._messages += 1
        self._observed += message.is_observed
        self._bytes += len(message.data)

    def _release(self, message: Message | None, take: Callable[[Message], None]) -> None:
        if message is None:
            return
        self._messages -= 1
        self._observed -= message.is_observed
        self._bytes -= len(message.data)
        take(message)
