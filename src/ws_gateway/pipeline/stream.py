"""One topic's place in the numbering."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.pipeline.sequence import BookContinuity
from ws_gateway.runtime.patience import Patience

_REMEMBERED = 1_024
"""How many facts of a private stream are remembered, to know them again."""

_LATELY = 64
"""How many frames of mixed trades are remembered, which is far more than come at one moment."""

BACKFILLED = frozenset({Channel.TRADES, Channel.KLINE})
"""Of these REST has a past."""


class Stream:
    """One topic's place in the numbering, and what is known to be missing from it."""

    __slots__ = (
        "announced",
        "asked_at",
        "book",
        "broken",
        "detail",
        "detour",
        "gave_up",
        "hole",
        "lacking",
        "last_at_us",
        "last_id",
        "last_update_id",
        "lately",
        "lost",
        "markers",
        "newest",
        "patience",
        "recent",
        "sequence",
        "tells_newest",
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
        # Why a break stood that ended while what it missed was not told; None if nothing lacks.
        self.lacking: GapReason | None = None
        # Events were lost behind us, that count as told: no reading of what is news has them.
        self.lost = False
        # Something of the present break was given up on our side of the venue's socket.
        self.gave_up = False
        # When a snapshot was asked for that has not come yet, µs.
        self.asked_at: int | None = None
        self.patience = Patience()
        # What was told last: the venue repeats itself at times, on a socket or over two.
        self.last_id = ""
        self.recent: dict[str, None] | None = {} if topic.is_private else None
        # What was told last, where a gap can be filled from there on.
        self.tells_newest = topic.channel in BACKFILLED
        self.newest: Observation | None = None
        # And before, where trades of several symbols at one moment have no common order.
        is_mixed = topic.channel is Channel.TRADES and topic.category is Category.OPTION
        self.lately: deque[Observation] | None = deque(maxlen=_LATELY) if is_mixed else None
        # Who takes facts behind a gap marker before they are told.
        self.detour: Callable[[Observation], None] | None = None

    def forget(self) -> None:
        """Let what was told be told again: some of it did not arrive."""
        self.last_id = ""
        if self.recent is not None:
            self.recent.clear()

    def remember(self, fact: Observation) -> None:
        """Know a fact again that was told."""
        event_id, recent = fact.event_id, self.recent
        self.last_id = event_id
        if self.tells_newest:
            self.newest = fact
            if self.lately is not None:
                self.lately.append(fact)
        if recent is not None:
            recent[event_id] = None
            if len(recent) > _REMEMBERED:
                del recent[next(iter(recent))]
