"""Log lines about single frames of one socket, for whoever debugs."""

from __future__ import annotations

import msgspec
import structlog

from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.runtime.sampling import Sampling

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

ANSWER = "answer"
"""What a frame counts as that carries no data: acks, pongs."""

_ABOUT_TOPICS = frozenset({"subscribe", "unsubscribe"})
_MOST_NAMED = 5


class _Request(msgspec.Struct):
    """What a request says; those of a login are not for any log."""

    op: str
    req_id: str = ""
    args: list[object] = []


_read_request = msgspec.json.Decoder(_Request).decode


class AskedBy:
    """Remembers which request asked for a topic last, so that a subscription can be traced.

    Bounded: the oldest are forgotten.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._traces: dict[str, str] = {}

    def note(self, topic: Topic, trace_id: str | None) -> None:
        """Take note of who asked."""
        if trace_id is None:
            return
        self._traces.pop(topic.key, None)
        self._traces[topic.key] = trace_id
        if len(self._traces) > self._most:
            del self._traces[next(iter(self._traces))]

    def of(self, topic_key: str) -> str | None:
        """Return the trace of the request that asked last, None if none is known."""
        return self._traces.get(topic_key)


class FrameLines:
    """Tells of what one socket receives and sends; its owner asks `sampling.is_on` before.

    Args:
        connection: name of the socket.
        endpoint: of the socket.
        sampling: which frames are told.
        asked_by: who asked for a topic.
    """

    def __init__(
        self, connection: str, endpoint: Endpoint, sampling: Sampling, asked_by: AskedBy
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._sampling = sampling
        self._asked_by = asked_by

    def received(self, topic: Topic | None, size: int, trace_id: str | None) -> None:
        """Tell of a frame that was read, if it is its turn among those of its event class.

        Args:
            topic: what its data are of, None if it carries none.
            size: bytes.
            trace_id: of the frame, which its messages bear too.
        """
        kind = ANSWER if topic is None else topic.event_class.value
        if self._sampling.is_due(kind):
            log.debug(
                "venue.frame_received",
                connection=self._connection,
                kind=kind,
                topic=None if topic is None else topic.name,
                size=size,
                trace_id=trace_id,
                one_in=self._sampling.one_in,
            )

    def sent(self, request: bytes) -> None:
        """Tell of a subscribe or unsubscribe, with the traces of who asked for its topics."""
        said = _read_request(request)
        if said.op not in _ABOUT_TOPICS:
            return
        names = [str(name) for name in said.args]
        found = (self._asked_by.of(f"{self._endpoint}:{name}") for name in names)
        traces = [trace for trace in dict.fromkeys(found) if trace is not None]
        log.debug(
            "venue.request_sent",
            connection=self._connection,
            op=said.op,
            req_id=said.req_id,
            count=len(names),
            topics=names[:_MOST_NAMED],
            asked_by=traces[:_MOST_NAMED],
        )
