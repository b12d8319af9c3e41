"""The ledger's copy in memory: what is wanted, by whom, without asking the database."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from uuid import UUID

from ws_gateway.domain.subscription import Subscription
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.ports.store import Fingerprint, RowChange

_REMEMBERED = 10_000
"""How many removed rows are remembered: news of them may come after the news that they are gone."""


class Register:
    """Every subscription as last seen, and what follows from all of them.

    A topic is wanted as long as one row wants it. `put` and `drop` answer the topics whose wish
    began or ended; what is heard twice changes nothing.

    Args:
        changed: told of the topics whose wish began or ended, and of others at times.

    Attributes:
        is_complete: the whole ledger was read at least once.
    """

    def __init__(self, changed: Callable[[Iterable[Topic]], None] = lambda _: None) -> None:
        self.is_complete = False
        self._changed = changed
        self._rows: dict[UUID, Subscription] = {}
        self._ids: list[UUID] = []
        self._of_topic: dict[Topic, list[UUID]] = {}  # in order, as `_ids`
        self._of_service: dict[str, dict[Topic, UUID]] = {}
        self._gone: dict[UUID, None] = {}
        # As the database counts: rows that nobody can read included.
        self._fingerprint = Fingerprint(0, 0)
        self._meanwhile: dict[UUID, Subscription | None] | None = None

    # ── what is wanted ───────────────────────────────────────────────────────────────────────

    @property
    def topics(self) -> Mapping[Topic, Sequence[UUID]]:
        """Every topic that is wanted, with the rows that want it."""
        return self._of_topic

    @property
    def fingerprint(self) -> Fingerprint:
        """What the database should answer if it holds the same."""
        return self._fingerprint

    def services(self, topic: Topic) -> int:
        """Say how many services want a topic."""
        return len(self._of_topic.get(topic, ()))

    def get(self, subscription_id: UUID) -> Subscription | None:
        """Return one, or None."""
        return self._rows.get(subscription_id)

    def knows(self, change: RowChange) -> bool:
        """Say whether a change is in here already."""
        row = self._rows.get(change.id)
        if change.revision is None:
            return row is None
        return change.id in self._gone or (row is not None and row.revision >= change.revision)

    def standing(self, service: str, topic: Topic) -> Subscription | None:
        """Return what a service has of a topic of this name, whatever its category."""
        own = self._of_service.get(service, {})
        for category in (topic.category, *Category):
            one = own.get(replace(topic, category=category))
            if one is not None:
                return self._rows[one]
        return None

    def page(
        self, fits: Callable[[Subscription], bool], *, after: UUID | None, limit: int
    ) -> list[Subscription]:
        """Return up to `limit` in order of creation, beginning behind `after`."""
        return list(islice((row for row in self.behind(after) if fits(row)), limit))

    def behind(self, after: UUID | None) -> Iterator[Subscription]:
        """Tell every row in order of creation, beginning behind `after`."""
        first = 0 if after is None else bisect_right(self._ids, after)
        return (self._rows[one] for one in islice(self._ids, first, None))

    def of_topic(self, topic: Topic, after: UUID) -> Iterator[Subscription]:
        """Tell every row of a topic in order of creation, beginning behind `after`."""
        ids = self._of_topic.get(topic, [])
        return (self._rows[one] for one in islice(ids, bisect_right(ids, after), None))

    def of_service(self, service: str) -> Mapping[Topic, UUID]:
        """Return every topic that a service wants, with the row that says so."""
        return self._of_service.get(service, {})

    # ── what changes ─────────────────────────────────────────────────────────────────────────

    def put(self, rows: Iterable[Subscription]) -> set[Topic]:
        """Take rows in, new or changed; answers the topics whose wish began or ended."""
        touched: set[Topic] = set()
        for row in rows:
            if row.id in self._gone:
                continue
            before = self._rows.get(row.id)
            if before is not None and before.revision > row.revision:
                continue
            if self._meanwhile is not None:
                self._meanwhile[row.id] = row
            is_moved = before is not None and _place(before) != _place(row)
            if before is not None and is_moved:
                touched |= self._forget(before)
            if row.id not in self._rows:
                insort(self._ids, row.id)
            self._count(before, row)
            self._rows[row.id] = row
            if not self._of_topic.get(row.topic):
                touched.add(row.topic)
            if before is None or is_moved:
                insort(self._of_topic.setdefault(row.topic, []), row.id)
            self._of_service.setdefault(row.requesting_service, {})[row.topic] = row.id
        self._changed(touched)
        return touched

    def drop(self, ids: Iterable[UUID]) -> set[Topic]:
        """Take rows out; answers the topics that nobody wants any more."""
        touched: set[Topic] = set()
        for one in ids:
            self._gone[one] = None
            if len(self._gone) > _REMEMBERED:
                del self._gone[next(iter(self._gone))]
            if self._meanwhile is not None:
                self._meanwhile[one] = None
            row = self._rows.get(one)
            if row is not None:
                touched |= self._forget(row)
                self._count(row, None)
        self._changed(touched)
        return touched

    def begin_reading(self) -> None:
        """Keep what changes from now on: what is about to be read may not have it."""
        self._meanwhile = {}

    def end_reading(
        self, read: tuple[Fingerprint, list[Subscription]] | None
    ) -> tuple[set[UUID], set[UUID]]:
        """Take over what was read, or nothing; answers the ids that are new, and that are gone."""
        meanwhile, self._meanwhile = self._meanwhile or {}, None
        if read is None:
            return set(), set()
        before, topics = set(self._rows), self._of_topic.keys()
        self._fingerprint, rows = read
        self._rows, self._ids, self._of_topic, self._of_service = {}, [], {}, {}
        self._gone = {}  # an older copy of the ledger may have them again
        for row in rows:
            self._rows[row.id] = row
            self._of_service.setdefault(row.requesting_service, {})[row.topic] = row.id
        self._ids = sorted(self._rows)
        for one in self._ids:
            self._of_topic.setdefault(self._rows[one].topic, []).append(one)
        self.put(row for row in meanwhile.values() if row is not None)
        self.drop(one for one, row in meanwhile.items() if row is None)
        self.is_complete = True
        self._changed(topics ^ self._of_topic.keys())
        after = set(self._rows)
        return after - before, before - after

    def _forget(self, row: Subscription) -> set[Topic]:
        """Take a row out of every index; answers its topic if that was the last that wanted it."""
        del self._rows[row.id]
        place = bisect_right(self._ids, row.id) - 1
        del self._ids[place]
        own = self._of_service.get(row.requesting_service, {})
        if own.get(row.topic) == row.id:
            del own[row.topic]
            if not own:
                del self._of_service[row.requesting_service]
        wanting = self._of_topic[row.topic]
        del wanting[bisect_right(wanting, row.id) - 1]
        if wanting:
            return set()
        del self._of_topic[row.topic]
        return {row.topic}

    def _count(self, before: Subscription | None, after: Subscription | None) -> None:
        rows, revisions = self._fingerprint
        self._fingerprint = Fingerprint(
            rows - (before is not None) + (after is not None),
            revisions
            - (0 if before is None else before.revision)
            + (0 if after is None else after.revision),
        )


def _place(row: Subscription) -> tuple[Topic, str]:
    return row.topic, row.requesting_service
