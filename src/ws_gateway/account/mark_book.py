"""From when on each private topic may lack something, in each product line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ws_gateway.account.mark_keeper import MarkKeeper, went_back
from ws_gateway.account.reconcile_plan import POSITIONED, lines
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.topic import Topic
from ws_gateway.runtime.clock import clock_us

LOST_MS = 90_000_000
"""How far marks go back behind the oldest fact that was lost, or behind now where nobody knows how
old it was: longer than queues keep events, 24 h; and orders are listed by when they were made."""

MarkKey = tuple[str, str]
"""Topic's name and product line."""


class MarkBook:
    """Marks of an account: those an earlier process left, and one per topic from its begin on.

    A topic without a mark lacks nothing yet when it flows first. That moment is kept, in memory at
    once and stored with the first attempt to read: what it misses from then on is asked for,
    however long it takes until a reading is complete.

    Attributes:
        marks: how far each was delivered; None until it is known what an earlier process left.
        floors: exchange time, ms, before which this process's topics wanted nothing.
    """

    def __init__(
        self, keeper: MarkKeeper, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._keeper = keeper
        self._monotonic = monotonic
        self._flowed: dict[str, float] = {}  # when a topic flowed first, our clock
        self._since: dict[str, int] = {}  # the same, exchange time
        self._offset: float | None = None  # exchange time less our clock, ms
        self._unread: set[MarkKey] = set()  # no reading was complete yet
        self._all_lost: int | None = None  # to where all go back that are not known yet
        self.marks: dict[MarkKey, Mark] | None = None
        self.floors: dict[MarkKey, int] = {}

    def flows(self, topic: Topic) -> None:
        """Take note that a topic flows, perhaps for the first time."""
        self._flowed.setdefault(topic.name, self._monotonic())

    def forget(self, topic: Topic) -> None:
        """Forget a topic that nobody wants: who wants it again begins anew."""
        name = topic.name
        self._flowed.pop(name, None)
        self._since.pop(name, None)
        self._unread = {key for key in self._unread if key[0] != name}
        self.floors = {key: at for key, at in self.floors.items() if key[0] != name}
        if self.marks is not None:
            self.marks = {key: one for key, one in self.marks.items() if key[0] != name}
        self._keeper.drop(name)

    def note_time(self, now_ms: int) -> None:
        """Take note of the exchange's time, ms; of two that differ the earlier begin counts."""
        now = self._monotonic()
        self._offset = now_ms - now * 1000
        for name, at in self._flowed.items():
            since = now_ms - round((now - at) * 1000)
            self._since[name] = min(self._since.get(name, since), since)

    async def restore(self) -> Iterable[Mark]:
        """Take up what an earlier process stored, once; answers it the first time.

        Raises:
            DatabaseLost: nobody knows, so nothing may be called complete.
        """
        if self.marks is not None:
            return ()
        self.marks = _by_line(await self._keeper.read())
        return list(self.marks.values())

    def begin(self, topics: Iterable[Topic]) -> Mapping[MarkKey, Mark]:
        """Answer the marks; topics that have none get that of their begin, which is stored."""
        marks = {} if self.marks is None else self.marks
        fresh = []
        for topic in topics:
            since = self._since.get(topic.name)
            for category in lines(topic):
                key = (topic.name, category)
                if since is None or (key in marks and key not in self._unread):
                    continue
                if key not in marks:
                    fresh.append(Mark(*key, since))
                    self._unread.add(key)
                marks[key] = Mark(*key, since)
                self.floors[key] = since
        self._keeper.put(fresh)
        return marks

    def lost(
        self, topics: Iterable[Topic], since: int | None, *, is_all: bool = False
    ) -> dict[str, int]:
        """Let marks go back, as what was told did not all arrive; answers to where, by topic.

        Args:
            topics: whose.
            since: exchange time of the oldest that was lost, ms, if it is known.
            is_all: also those of which only the database knows: an earlier process's.
        """
        if since is None:
            offset = self._offset
            now = clock_us() // 1000 if offset is None else offset + self._monotonic() * 1000
            since = round(now)
        back = {topic.name: since - LOST_MS for topic in topics}
        self._keeper.set_back(back)
        if is_all:
            at = since - LOST_MS
            self._all_lost = at if self._all_lost is None else min(at, self._all_lost)
            self._keeper.set_all_back(at)
        return back

    def all_lost(self) -> dict[str, int]:
        """Answer once to where all marks that were taken up go back, by topic; first `restore`."""
        at, self._all_lost = self._all_lost, None
        return {} if at is None else {name: at for name, _ in self.marks or {}}

    def set_back(self, back: Mapping[str, int]) -> None:
        """Let topics be read from there on, exchange time, ms."""
        for key, mark in (self.marks or {}).items():
            if key[0] in back and self.marks is not None:
                self.marks[key] = went_back(mark, back[key[0]])

    def put(self, marks: Iterable[Mark]) -> None:
        """Set what a complete reading proved; stored once all of it is delivered."""
        if self.marks is None:
            return
        kept = list(marks)
        for mark in kept:
            key = (mark.topic, mark.category)
            self.marks[key] = mark
            self._unread.discard(key)
        self._keeper.put(kept)


def _by_line(marks: Mapping[MarkKey, Mark]) -> dict[MarkKey, Mark]:
    """Divide marks of positions in all lines, as they were once stored, into one per line."""
    found = {key: mark for key, mark in marks.items() if key[1]}
    for (name, line), whole in marks.items():
        for category in POSITIONED if not line else ():
            living = frozenset(each for each in whole.living if each.startswith(f"{category}:"))
            mark = msgspec.structs.replace(whole, category=category.value, living=living)
            found.setdefault((name, category.value), mark)
    return found
