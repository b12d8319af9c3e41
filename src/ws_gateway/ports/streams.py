"""Seams between control and the pipeline: how streams are, and the markers told of late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ws_gateway.domain.event import GapReason, Kind
from ws_gateway.domain.topic import Endpoint, Topic


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What came of a topic since the process began.

    Attributes:
        events: that were given a place in the stream; markers, repeats and deltas that had no
            book to apply to are not counted.
        last_event_at_us: when the newest of them was read from the socket, µs.
    """

    events: int
    last_event_at_us: int


class StreamReport(Protocol):
    """What the pipeline says of its streams."""

    def stream(self, topic: Topic) -> StreamStatus | None:
        """Say what came of a topic, None if nothing did."""


@dataclass(frozen=True, slots=True)
class MarkerGroup:
    """Markers that were put into streams of one endpoint for one reason, within moments.

    Attributes:
        kind: gap or resumed.
        topics: the first of them.
        count: how many markers they are.
        began_at_us, ended_at_us: when the first and the last was made, µs.
        detail: of the first.
    """

    kind: Kind
    reason: GapReason
    endpoint: Endpoint
    topics: tuple[str, ...]
    count: int
    began_at_us: int
    ended_at_us: int
    detail: str


class MarkerReport(Protocol):
    """What the pipeline says of the markers it made last."""

    @property
    def revision(self) -> int:
        """Return a number that rises with each marker."""

    def markers(self) -> Sequence[MarkerGroup]:
        """Return the newest, newest first."""
