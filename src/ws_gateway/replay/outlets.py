"""Where replayed events go: marked as such, to standard output or to the broker."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable

import msgspec

from ws_gateway.delivery.envelope import Addresses
from ws_gateway.domain.event import Event, Source
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.event_path import EventOutlet

_replace = msgspec.structs.replace


class ReplayedOutlet:
    """Marks every event as replayed on its way to another outlet."""

    def __init__(self, outlet: EventOutlet) -> None:
        self._outlet = outlet

    def offer(self, event: Event) -> bool:
        """Take responsibility for an event, or answer False when its lane has no room."""
        fact = _replace(event.observation, source=Source.REPLAY)
        return self._outlet.offer(_replace(event, observation=fact))

    def has_room(self, topic: Topic) -> bool:
        """Say whether an event of this topic would be taken now."""
        return self._outlet.has_room(topic)


class PrintedOutlet:
    """Prints the envelope of every event, one a line.

    Attributes:
        printed: how many.
    """

    def __init__(self, account: str) -> None:
        self._addresses = Addresses("", account)
        self.printed = 0

    def offer(self, event: Event) -> bool:
        """Print an event."""
        body = self._addresses.of(event.observation).body(event)
        # The venue's own line breaks would tear the line.
        line = msgspec.json.format(body, indent=-1) if b"\n" in body else body
        sys.stdout.buffer.write(line + b"\n")
        self.printed += 1
        return True

    def has_room(self, topic: Topic) -> bool:  # noqa: ARG002 - there always is
        """Say whether an event of this topic would be taken now."""
        return True


class PrintedQuarantine:
    """Prints frames that cannot be read on standard error.

    Attributes:
        counted: how many.
    """

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self.counted = 0

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Print a frame, with the reason."""
        self.counted += 1
        said = {
            "quarantined": reason,
            "origin": origin,
            "detail": detail,
            "received_at": self._clock_us(),
            "trace_id": trace_id,
            "raw_base64": base64.b64encode(raw[:65_536]).decode("ascii"),
        }
        sys.stderr.write(msgspec.json.encode(said).decode() + "\n")
