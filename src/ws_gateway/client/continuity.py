"""The consumer's rule: a step other than +1 that nothing in the stream explains is a defect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class _Stream:
    epoch: str
    sequence: int
    holes: dict[str, tuple[int, int]] = field(default_factory=dict)


class ContinuityChecker:
    """Follows every stream of the events it is shown, in the order one consumer received them.

    Attributes:
        problems: one sentence per unexplained hole or disorder; a hole that a later marker names
            (an event that delivery gave up after others had followed it) is taken off again.
        repeats: events seen again (delivery is at least once).
        markers: gap markers seen, by reason.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.repeats = 0
        self.markers: dict[str, int] = {}
        self._streams: dict[tuple[str, str], _Stream] = {}

    def check(self, envelope: Mapping[str, Any]) -> str | None:
        """Take one event; answers a sentence if it breaks the rule."""
        key = (
            str(envelope["category"] if envelope["account"] is None else envelope["account"]),
            str(envelope["topic"]),
        )
        epoch, sequence = str(envelope["epoch"]), int(envelope["sequence"])
        if envelope["kind"] == "gap":
            reason = str(envelope["payload"]["reason"])
            self.markers[reason] = self.markers.get(reason, 0) + 1
        stream = self._streams.get(key)
        if stream is None or stream.epoch != epoch:
            self._streams[key] = _Stream(epoch, sequence)
            if sequence == 1 and envelope["kind"] != "gap":
                return self._note(f"{key}: epoch {epoch} begins without a marker")
            return self._explain(key, 0, sequence, envelope) if stream is not None else None
        before = stream.sequence
        if sequence <= before:
            self.repeats += 1
            return None
        stream.sequence = sequence
        problem = self._explain(key, before, sequence, envelope)
        if problem is not None:
            stream.holes[problem] = (before + 1, sequence - 1)
        self._take_off(stream, envelope)
        return problem

    def _take_off(self, stream: _Stream, envelope: Mapping[str, Any]) -> None:
        payload = envelope["payload"]
        if not stream.holes or envelope["kind"] != "gap" or payload["from_sequence"] is None:
            return
        for problem, (first, last) in list(stream.holes.items()):
            if payload["from_sequence"] <= first and last <= payload["to_sequence"]:
                del stream.holes[problem]
                self.problems.remove(problem)

    def _explain(
        self, key: tuple[str, str], before: int, sequence: int, envelope: Mapping[str, Any]
    ) -> str | None:
        """Accept a step over a hole only from the marker that names it, or from conflation."""
        if sequence == before + 1:
            return None
        payload = envelope["payload"]
        names_a_hole = envelope["kind"] == "gap" and payload["from_sequence"] is not None
        first, last = (
            (payload["from_sequence"], payload["to_sequence"]) if names_a_hole else (0, -1)
        )
        if first <= before + 1 and last >= sequence - 1:
            return None
        if int(envelope.get("conflated", 0)) >= sequence - before - 1:
            return None
        return self._note(f"{key}: {before} is followed by {sequence}, and nothing says why")

    def _note(self, problem: str) -> str:
        self.problems.append(problem)
        return problem
