"""What the status socket tells is delivered, and heeded by the gateway itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from support.pipeline_stage import Stage
from ws_gateway.domain.topic import Channel, Endpoint, build_topic
from ws_gateway.ports.feed import MaintenanceNotice
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.status_sink import StatusSink

NOTICES = build_topic(Channel.SYSTEM_STATUS)


@dataclass
class Board:
    """A notice board that remembers what was put up."""

    rows: list[object] = field(default_factory=list)

    def absorb(self, rows: Iterable[object]) -> None:
        """Take note."""
        self.rows += rows

    def notices(self) -> Sequence[MaintenanceNotice]:
        """Tell of none."""
        return []

    def is_ongoing(self, endpoint: Endpoint) -> bool:  # noqa: ARG002
        """Tell of none."""
        return False


def test_an_announcement_reaches_consumers_and_the_notice_board() -> None:
    """A minute before REST is asked again."""
    stage, board = Stage(), Board()
    row = {"id": "1", "title": "t", "state": "ongoing", "begin": "1", "end": "2", "product": [1]}
    frame = decode_frame(msgspec.json.encode({"topic": NOTICES.name, "ts": 1, "data": [row]}))
    sink = StatusSink(stage.runner, board)
    for fact in read_observations(NOTICES, frame, 1, "0" * 32):
        sink.accept(fact)
    assert stage.told(NOTICES)[-1] == "update"
    assert board.rows == [row]
