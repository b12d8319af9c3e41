"""The sink of the status socket: what it tells is delivered, and heeded by the gateway itself."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.event_path import ObservationSink
from ws_gateway.venue.context import NoticeBoard

_decode_rows = msgspec.json.Decoder(list[dict[str, object]]).decode


class StatusSink:
    """Passes everything on to the pipeline, and announcements to the notice board as well."""

    def __init__(self, sink: ObservationSink, board: NoticeBoard) -> None:
        self._sink = sink
        self._board = board
        self.suppress = sink.suppress
        self.last_update_id = sink.last_update_id

    def accept(self, observation: Observation) -> None:
        """Take one fact of `system.status`, whose payload was found to be rows of notices."""
        self._sink.accept(observation)
        self._board.absorb(_decode_rows(observation.payload))

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Pass it on."""
        self._sink.break_streams(topics, reason, detail, is_announced=is_announced)
