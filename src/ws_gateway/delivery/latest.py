"""The lane of latest values under pressure: the newest that waits of each stream."""

from __future__ import annotations

from collections.abc import Iterable

from ws_gateway.delivery.lanes import LaneQueue
from ws_gateway.delivery.message import Message
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Topic

_PRESSURE_SHARE, _EASE_SHARE = 0.1, 0.05
"""How full of waiting values the lane is when conflation begins, and when it ends."""

_HEAVY_SHARE = 0.5


class LatestValues:
    """Knows which waiting value of each stream a newer one may take the place of.

    Attributes:
        queue: of the lane.
    """

    def __init__(self, queue: LaneQueue) -> None:
        self.queue = queue
        self._pressure_from = queue.most_messages * _PRESSURE_SHARE
        # The newest waiting value of each stream, while the lane is under pressure.
        self._newest: dict[str, tuple[Message, Event]] = {}
        self._is_conflating = False

    @property
    def is_conflating(self) -> bool:
        """Say whether newer values are to take the place of older ones that wait.

        It begins and ends with the level, so that an unhurried broker gets every value.
        """
        level = len(self.queue.waiting)
        if self._is_conflating:
            if level < self._pressure_from / 2 and not self.queue.is_above(_EASE_SHARE):
                self._is_conflating = False
                self._newest.clear()
        elif level >= self._pressure_from or self.queue.is_above(_HEAVY_SHARE):
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
        self.queue.size_bytes += len(newer.data) - len(older.data)
        older.data = newer.data
        older.sequence = newer.sequence
        older.event_id = newer.event_id
        older.received_at = newer.received_at
        older.timestamp = newer.timestamp
        older.conflated = newer.conflated

    def forget_sent(self, batch: Iterable[Message]) -> None:
        """Take note that these wait no longer."""
        if not self._newest:
            return
        for message in batch:
            if message.topic is not None:
                newest = self._newest.get(message.topic.key)
                if newest is not None and newest[0] is message:
                    del self._newest[message.topic.key]
