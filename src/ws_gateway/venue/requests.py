"""Subscribes and unsubscribes on their way, and what answers them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.venue.messages import batches, topic_request


@dataclass(frozen=True, slots=True)
class Request:
    """A subscribe or unsubscribe on its way.

    Attributes:
        sent_at: monotonic seconds.
        is_second: it was asked before, and that request was not answered.
    """

    op: str
    topics: tuple[Topic, ...]
    sent_at: float
    is_second: bool = False


class OpenRequests:
    """What one socket was asked and has not answered, oldest first.

    Args:
        endpoint: of the socket, for the limits of a request.
        next_id: names the next request.
    """

    def __init__(self, endpoint: Endpoint, next_id: Callable[[], str]) -> None:
        self._endpoint = endpoint
        self._next_id = next_id
        self._open: dict[str, Request] = {}
        self._output: list[bytes] = []

    def send(
        self, op: str, topics: Iterable[Topic], now: float, *, is_second: bool = False
    ) -> None:
        """Ask for topics, in as many requests as the endpoint's limits need."""
        for batch in batches(topics, self._endpoint):
            req_id = self._next_id()
            self._open[req_id] = Request(op, tuple(batch), now, is_second)
            self._output.append(topic_request(op, req_id, batch))

    def say(self, request: bytes) -> None:
        """Send something that is answered elsewhere, in its turn."""
        self._output.append(request)

    def answered(self, req_id: str | None) -> Request | None:
        """Take out the request an answer names; one that names none answers the oldest."""
        if req_id:
            return self._open.pop(req_id, None)
        oldest = next(iter(self._open), None)
        return None if oldest is None else self._open.pop(oldest)

    def named_by(self, names: set[str]) -> Request | None:
        """Take out the oldest request that asked for any of these topics."""
        if not names:
            return self.answered(None)
        for req_id, request in self._open.items():
            if any(topic.name in names for topic in request.topics):
                return self._open.pop(req_id)
        return None

    def leaving(self) -> set[str]:
        """Name the topics whose unsubscription is unanswered."""
        unsubscribes = (r for r in self._open.values() if r.op == "unsubscribe")
        return {topic.name for request in unsubscribes for topic in request.topics}

    @property
    def oldest(self) -> Request | None:
        """Return the request the venue has owed an answer for longest."""
        return next(iter(self._open.values()), None)

    @property
    def has_output(self) -> bool:
        """Say whether there is anything to send."""
        return bool(self._output)

    def take_output(self) -> list[bytes]:
        """Return what is to be sent, in order, and forget it."""
        output, self._output = self._output, []
        return output

    def clear(self) -> None:
        """Forget everything: the socket is gone."""
        self._open.clear()
        self._output.clear()
