"""The consumer's rule: a step other than +1 that nothing in the stream explains is a defect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_Range = tuple[int, int]
_EPOCHS_REMEMBERED = 8


@dataclass(slots=True)
class _Stream:
    epoch: str
    sequence: int
    missing: dict[str, list[_Range]] = field(default_factory=dict)
    former: dict[str, int] = field(default_factory=dict)


class ContinuityChecker:
    """Follows every stream of the events it is shown, in the order one consumer received them.

    Args:
        from_start: the consumer was there before the first event, so every stream has to begin
            with the `restart` marker of its epoch, which has sequence 1. Without it, the first
            event of a stream may be any: a consumer may join late.

    Attributes:
        problems: one sentence per unexplained hole or disorder; a hole that a later marker names
            (an event that delivery gave up after others had followed it) is taken off again.
        repeats: events seen again (delivery is at least once).
        late: events that came behind their successors, as private ones may after a refusal.
        conflated: values that newer ones stood for, as these said.
        markers: gap markers seen, by reason.
    """

    def __init__(self, *, from_start: bool = False) -> None:
        self._from_start = from_start
        self.problems: list[str] = []
        self.repeats = 0
        self.late = 0
        self.conflated = 0
        self.markers: dict[str, int] = {}
        self._streams: dict[tuple[str, str], _Stream] = {}

    def check(self, envelope: Mapping[str, Any]) -> str | None:
        """Take one event; answers a sentence if it breaks the rule."""
        key = _key(envelope)
        epoch, sequence = str(envelope["epoch"]), int(envelope["sequence"])
        if envelope["kind"] == "gap":
            reason = str(envelope["payload"]["reason"])
            self.markers[reason] = self.markers.get(reason, 0) + 1
        stream = self._streams.get(key)
        if stream is not None and epoch in stream.former:
            # A killed gateway's successor sends again what it cannot know to have arrived.
            self.repeats += sequence <= stream.former[epoch]
            self.late += sequence > stream.former[epoch]
            stream.former[epoch] = max(sequence, stream.former[epoch])
            return None
        if stream is None or stream.epoch != epoch:
            saw_its_begin = stream is not None or self._from_start
            former = {} if stream is None else _newest(stream)
            stream = self._streams[key] = _Stream(epoch, sequence, former=former)
            if sequence == 1 and not self._may_begin(envelope):
                return self._note(f"{key}: epoch {epoch} begins without a marker")
            return self._explain(stream, key, 0, envelope) if saw_its_begin else None
        before = stream.sequence
        if sequence <= before:
            if self._take_off(stream, (sequence - _conflated(envelope), sequence)):
                self.late += 1
            else:
                self.repeats += 1
            return None
        stream.sequence = sequence
        self.conflated += _conflated(envelope)
        self._take_off(stream, _explained(envelope))
        return self._explain(stream, key, before, envelope)

    def newest(self, envelope: Mapping[str, Any]) -> tuple[str, int] | None:
        """Return the present epoch and newest number of an event's stream, None if it is new."""
        stream = self._streams.get(_key(envelope))
        return None if stream is None else (stream.epoch, stream.sequence)

    def forget_problems(self) -> None:
        """Forget the holes that were found; the streams are followed on."""
        self.problems.clear()
        for stream in self._streams.values():
            stream.missing.clear()

    def _may_begin(self, envelope: Mapping[str, Any]) -> bool:
        is_marker = bool(envelope["kind"] == "gap")
        return is_marker and (not self._from_start or envelope["payload"]["reason"] == "restart")

    def _explain(
        self, stream: _Stream, key: tuple[str, str], before: int, envelope: Mapping[str, Any]
    ) -> str | None:
        """Accept a step only over numbers that the event itself explains."""
        sequence = stream.sequence
        if sequence == before + 1:
            return None
        missing = _without([(before + 1, sequence - 1)], _explained(envelope))
        if not missing:
            return None
        problem = self._note(f"{key}: {before} is followed by {sequence}, and nothing says why")
        stream.missing[problem] = missing
        return problem

    def _take_off(self, stream: _Stream, hole: _Range | None) -> bool:
        """Strike what a later marker names, or what came late, off the holes that were found."""
        before = sum(high - low + 1 for part in stream.missing.values() for low, high in part)
        for problem, missing in list(stream.missing.items()):
            stream.missing[problem] = _without(missing, hole)
            if not stream.missing[problem]:
                del stream.missing[problem]
                self.problems.remove(problem)
        after = sum(high - low + 1 for part in stream.missing.values() for low, high in part)
        return after < before

    def _note(self, problem: str) -> str:
        self.problems.append(problem)
        return problem


def _key(envelope: Mapping[str, Any]) -> tuple[str, str]:
    account = envelope["account"]
    return str(envelope["category"] if account is None else account), str(envelope["topic"])


def _newest(stream: _Stream) -> dict[str, int]:
    """Return the last number of a stream's last epochs, the present one included."""
    epochs = [*stream.former.items(), (stream.epoch, stream.sequence)]
    return dict(epochs[-_EPOCHS_REMEMBERED:])


def _explained(envelope: Mapping[str, Any]) -> _Range | None:
    """Return the first and last number an event accounts for beside its own, None if none.

    A gap marker names a hole; a conflated value stands for those just before its own.
    """
    conflated = _conflated(envelope)
    if conflated:
        sequence = int(envelope["sequence"])
        return sequence - conflated, sequence - 1
    payload = envelope["payload"]
    if envelope["kind"] != "gap" or payload["from_sequence"] is None:
        return None
    return int(payload["from_sequence"]), int(payload["to_sequence"])


def _conflated(envelope: Mapping[str, Any]) -> int:
    """Count the values an event stands for; a marker never stands for any."""
    return 0 if envelope["kind"] in ("gap", "resumed") else int(envelope.get("conflated", 0))


def _without(ranges: list[_Range], hole: _Range | None) -> list[_Range]:
    """Take the numbers of a hole out of ranges of numbers."""
    if hole is None:
        return ranges
    first, last = hole
    parts = [
        part
        for low, high in ranges
        for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
    ]
    return [(low, high) for low, high in parts if low <= high]
