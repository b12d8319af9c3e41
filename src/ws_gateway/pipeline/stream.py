"""One topic's place in the numbering."""

from __future__ import annotations

from ws_gateway.domain.event import GapReason
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.sequence import BookContinuity
from ws_gateway.runtime.patience import Patience

_REMEMBERED = 1_024
"""How many facts of a private stream are remembered, to know them again."""


class Stream:
    """One topic's place in the numbering, and what is known to be missing from it."""

    __slots__ = (
        "announced",
        "asked_at",
        "book",
        "broken",
        "detail",
        "hole",
        "last_at_us",
        "last_id",
        "last_update_id",
        "markers",
        "patience",
        "recent",
        "sequence",
        "topic",
    )

    def __init__(self, topic: Topic, detail: str) -> None:
        self.topic = topic
        self.sequence = 0
        # What of the numbers is no fact, and when the newest fact was read, µs.
        self.markers = 0
        self.last_at_us = 0
        self.book = BookContinuity() if topic.has_update_ids else None
        # Only for books of depth 1, which tell the same snapshot again when nothing changes.
        self.last_update_id: int | None = None
        # A break is first noted, then announced by a gap marker, then ended by a resumed marker.
        self.broken: GapReason | None = GapReason.RESTART
        self.announced = False
        self.detail = detail
        # Own numbers given to events that found no room; announced as soon as there is some.
        self.hole: tuple[int, int] | None = None
        # When a snapshot was asked for that has not come yet, µs.
        self.asked_at: int | None = None
        self.patience = Patience()
        # What was told last: the venue repeats itself at times, on a socket or over two.
        self.last_id = ""
        self.recent: dict[str, None] | None = {} if topic.is_private else None

    def remember(self, event_id: str) -> None:
        """Know a fact again that was told."""
        self.last_id, recent = event_id, self.recent
        if recent is not None:
            recent[event_id] = None
            if len(recent) > _REMEMBERED:
                del recent[next(iter(recent))]
