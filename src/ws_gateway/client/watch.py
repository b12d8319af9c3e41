"""What is missing from the events that come: told by markers, or found by their numbers."""

from __future__ import annotations

import inspect

from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.client.event import UNEXPLAINED, Envelope, Gap, OnGap, fields_of

_MOST_PROBLEMS = 1_000


class Watch:
    """Finds what is missing, and tells the consumer."""

    def __init__(self, on_gap: OnGap | None, *, follows_numbers: bool) -> None:
        self._on_gap = on_gap
        self._follows_numbers = follows_numbers
        self._checker = ContinuityChecker()

    def look_at(self, envelope: Envelope) -> Gap | None:
        """Follow the numbers; answers what is missing before this event, or what it says is."""
        if envelope.kind == "gap":
            self._follow(envelope)
            said = envelope.payload
            hole = (said["from_sequence"], said["to_sequence"])
            return _gap(envelope, str(said["reason"]), hole, str(said["detail"]))
        return self._follow(envelope)

    async def tell(self, gap: Gap) -> None:
        """Call the consumer back."""
        if self._on_gap is not None:
            answer = self._on_gap(gap)
            if inspect.isawaitable(answer):
                await answer

    def _follow(self, envelope: Envelope) -> Gap | None:
        if not self._follows_numbers:
            return None
        fields = fields_of(envelope)
        before = self._checker.newest(fields)
        problem = self._checker.check(fields)
        if len(self._checker.problems) > _MOST_PROBLEMS:
            self._checker.forget_problems()  # each was told; they must not pile up
        if problem is None:
            return None
        first = before[1] + 1 if before is not None and before[0] == envelope.epoch else 1
        return _gap(envelope, UNEXPLAINED, (first, envelope.sequence - 1), problem)


def _gap(envelope: Envelope, reason: str, hole: tuple[int | None, int | None], detail: str) -> Gap:
    place = (envelope.topic, envelope.category, envelope.account)
    return Gap(*place, reason, *hole, detail, envelope)
