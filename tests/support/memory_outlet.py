"""Delivery as the pipeline sees it, in memory: with room or without, by lane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from support.contract import assert_envelope
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event
from ws_gateway.domain.topic import Lane, Topic


@dataclass
class MemoryOutlet:
    """An `EventOutlet` whose room a test opens and closes.

    Attributes:
        room: events it still takes, by lane; a lane that is not named takes any number.
        taken: what it took responsibility for, in order.
    """

    room: dict[Lane, int] = field(default_factory=dict)
    taken: list[Event] = field(default_factory=list)

    def offer(self, event: Event) -> bool:
        """Take an event if its lane has room."""
        lane = event.observation.topic.lane
        if not self.has_room(event.observation.topic):
            return False
        if lane in self.room:
            self.room[lane] -= 1
        self.taken.append(event)
        return True

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken."""
        return self.room.get(topic.lane, 1) > 0

    @property
    def observed(self) -> int:
        """Count the observations taken, markers left aside."""
        return sum(not event.is_marker for event in self.taken)

    def of(self, topic: Topic) -> list[Event]:
        """List what was taken of one stream."""
        return [event for event in self.taken if event.observation.topic == topic]


@dataclass
class MemoryResync:
    """A `Resync` that remembers what was asked for."""

    asked: list[Topic] = field(default_factory=list)

    def resync(self, topic: Topic) -> None:
        """Take note."""
        self.asked.append(topic)


def envelope_of(event: Event, account: str = "main") -> dict[str, Any]:
    """Write an event as its consumer gets it, and read it back."""
    body = Address("x", event.observation, account).body(event)
    envelope = msgspec.json.decode(body)
    assert isinstance(envelope, dict)
    assert_envelope(envelope)
    return envelope
