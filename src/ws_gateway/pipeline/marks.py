"""The newest markers, for whoever looks: bounded, and those of one cause told together."""

from __future__ import annotations

from collections import deque

from ws_gateway.domain.event import GapReason, Kind
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.ports.streams import MarkerGroup

KEPT = 60
"""How many groups are kept."""

NAMED = 5
"""How many topics of a group are named."""

TOGETHER_US = 2_000_000
"""Markers of one kind, reason and endpoint that come within so long of each other, µs, have one
cause: a lost socket marks a thousand streams."""


class _Group:
    __slots__ = (
        "began_at_us",
        "count",
        "detail",
        "ended_at_us",
        "endpoint",
        "kind",
        "reason",
        "topics",
    )  # fmt: skip

    def __init__(self, topic: Topic, kind: Kind, reason: GapReason, detail: str, at: int) -> None:
        self.kind, self.reason, self.detail = kind, reason, detail
        self.endpoint = topic.endpoint
        self.topics: list[str] = []
        self.count = 0
        self.began_at_us = self.ended_at_us = at


class RecentMarks:
    """Keeps them; also the `MarkerReport`."""

    def __init__(self) -> None:
        self._revision = 0
        self._groups: deque[_Group] = deque(maxlen=KEPT)
        self._open: dict[tuple[Kind, GapReason, Endpoint], _Group] = {}

    @property
    def revision(self) -> int:
        """Return a number that rises with each marker."""
        return self._revision

    def note(self, topic: Topic, kind: Kind, reason: GapReason, detail: str, at_us: int) -> None:
        """Take note of a marker that was put into a stream."""
        self._revision += 1
        key = (kind, reason, topic.endpoint)
        group = self._open.get(key)
        if group is None or at_us - group.ended_at_us > TOGETHER_US:
            group = self._open[key] = _Group(topic, kind, reason, detail, at_us)
            self._groups.append(group)
        group.count += 1
        group.ended_at_us = at_us
        if len(group.topics) < NAMED:
            group.topics.append(topic.name)

    def markers(self) -> list[MarkerGroup]:
        """Return what is kept, newest first."""
        return [
            MarkerGroup(
                one.kind,
                one.reason,
                one.endpoint,
                tuple(one.topics),
                one.count,
                one.began_at_us,
                one.ended_at_us,
                one.detail,
            )
            for one in reversed(self._groups)
        ]
