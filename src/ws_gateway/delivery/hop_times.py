"""How long events take from hop to hop: exchange, received, published, confirmed.

Timing every event would cost more than counting it, so public events are sampled: as many as
`TIMED_PER_SECOND`, each standing for those between it and the next. Private events are few, and
all of them are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ws_gateway.delivery.message import Message
from ws_gateway.domain.topic import Lane
from ws_gateway.runtime.histogram import QUICK_SECONDS, Histograms

TIMED_PER_SECOND = 400
_WINDOW_US = 100_000
_TIMED_PER_WINDOW = TIMED_PER_SECOND * _WINDOW_US // 1_000_000
_PRIVATE = Lane.PRIVATE

RECEIVE, PUBLISH, CONFIRM = "receive", "publish", "confirm"
HOPS = (RECEIVE, PUBLISH, CONFIRM)
"""Exchange → our socket, our socket → written to the broker, written → the broker's confirm."""


class HopTimes:
    """Takes the times of messages on their way.

    Args:
        offset_ms: how far the venue's clock is ahead of ours, as far as it was measured.

    Attributes:
        latency: by hop and event class, in seconds.
        whole: from our socket to the broker's confirm, by event class, in seconds.
    """

    def __init__(self, offset_ms: Callable[[], int] = lambda: 0) -> None:
        self._offset_ms = offset_ms
        self.latency = Histograms(QUICK_SECONDS)
        self.whole = Histograms(QUICK_SECONDS)
        self._step = 1
        self._skip = 0  # public events until the next one that is timed
        self._left = _TIMED_PER_WINDOW
        self._seen = 0
        self._since_us = 0

    def sent(self, batch: Sequence[Message], now_us: int) -> None:
        """Take note that these were written; private ones come first in a batch."""
        many = len(batch)
        public = 0
        while public < many and batch[public].lane is _PRIVATE:
            self._time(batch[public], 1, now_us)
            public += 1
        self._seen += many - public
        if not 0 <= now_us - self._since_us < _WINDOW_US:
            self._pace(now_us)
        place = public + self._skip
        while place < many:
            if not self._left:  # a flood has begun, and the window's end is far
                self._step, self._left = 2 * self._step, _TIMED_PER_WINDOW
            self._left -= 1
            self._time(batch[place], self._step, now_us)
            place += self._step
        self._skip = place - many

    def confirmed(self, message: Message, now_us: int) -> None:
        """Take note that the broker took responsibility for a message whose times are taken."""
        if message.topic is not None:
            event_class, stands_for = message.topic.event_class, message.stands_for
            took = self.latency.of(CONFIRM, event_class)
            took.observe((now_us - message.sent_at) / 1e6, stands_for)
            # Not to be had from the hops: quantiles do not add up.
            self.whole.of(event_class).observe((now_us - message.received_at) / 1e6, stands_for)

    def _pace(self, now_us: int) -> None:
        """Choose anew how many events one stands for, by how many came of late."""
        windows = (now_us - self._since_us) / _WINDOW_US
        self._step = max(1, round(self._seen / (max(1.0, windows) * _TIMED_PER_WINDOW)))
        self._skip = min(self._skip, self._step - 1)
        self._since_us, self._seen, self._left = now_us, 0, _TIMED_PER_WINDOW

    def _time(self, message: Message, stands_for: int, now_us: int) -> None:
        if message.stands_for or not message.is_observed or message.topic is None:
            return  # sent again, or not an event of the venue's
        message.stands_for, message.sent_at = stands_for, now_us
        event_class, received_at = message.topic.event_class, message.received_at
        travelled_us = received_at + (self._offset_ms() - message.timestamp) * 1000
        self.latency.of(RECEIVE, event_class).observe(travelled_us / 1e6, stands_for)
        self.latency.of(PUBLISH, event_class).observe((now_us - received_at) / 1e6, stands_for)
