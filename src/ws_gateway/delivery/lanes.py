"""What one lane holds, how much it may, and what gives way when it is full."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from ws_gateway.delivery.message import Message
from ws_gateway.domain.topic import Lane


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

PUBLIC_SHARE = sum(_SHARES.values())


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
