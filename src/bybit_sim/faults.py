"""The registry of faults, and the board of those that are active."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from bybit_sim.broadcaster import StreamFault
from bybit_sim.fault import Fault, FaultError, Hook, Venue, make_fault, parameters_of
from bybit_sim.fault_answers import (
    ArgsSize,
    ClockSkew,
    HandlerNotFound,
    LateAcks,
    LoginRefused,
    MissingAcks,
    MissingPongs,
    RefusedAcks,
)
from bybit_sim.fault_connections import (
    AcceptThenDrop,
    ConnectionLimit,
    Drop,
    HalfOpen,
    RefuseHandshake,
    SlowHandshake,
)
from bybit_sim.fault_private import (
    CancelRace,
    CutBeforePush,
    DuplicateOrders,
    LosePrivate,
    OutOfOrder,
    PrivateLoss,
)
from bybit_sim.fault_rest import RestFailure, RestLag, SlowRest, UnstablePages
from bybit_sim.fault_streams import (
    BookRestart,
    DuplicateFrame,
    Maintenance,
    MalformedFrame,
    OversizedFrame,
    ReorderFrames,
    Snapshot,
    Stall,
    UnknownTopic,
    UpdateGap,
)
from bybit_sim.private_stage import PrivateFault, PrivateStage

_KINDS: tuple[type[Fault], ...] = (
    Drop, HalfOpen, RefuseHandshake, SlowHandshake, AcceptThenDrop, ConnectionLimit,
    MissingPongs, LateAcks, MissingAcks, RefusedAcks, ArgsSize, HandlerNotFound,
    LoginRefused, ClockSkew,
    Stall, UpdateGap, DuplicateFrame, ReorderFrames, BookRestart, Snapshot,
    MalformedFrame, OversizedFrame, UnknownTopic, Maintenance,
    DuplicateOrders, CancelRace, OutOfOrder, PrivateLoss,
    LosePrivate, CutBeforePush, RestFailure, SlowRest, RestLag, UnstablePages,
)  # fmt: skip
REGISTRY: Mapping[str, type[Fault]] = {kind.name: kind for kind in _KINDS}
"""Every fault there is, by name."""


def find_kind(name: str) -> type[Fault]:
    """Return the kind of fault of a name.

    Raises:
        FaultError: there is none; the text lists those there are.
    """
    kind = REGISTRY.get(name)
    if kind is None:
        raise FaultError(f"no fault {name!r}; there are: {', '.join(REGISTRY)}")
    return kind


def describe(kind: type[Fault]) -> dict[str, Any]:
    """Describe a kind of fault: its name, what it does, its parameters."""
    return {
        "name": kind.name,
        "summary": summary_of(kind),
        "parameters": [each._asdict() for each in parameters_of(kind)],
    }


def summary_of(kind: type[Fault]) -> str:
    """Return what a kind of fault does, in a sentence."""
    return (kind.__doc__ or "").strip()


class Faults:
    """Begins and ends faults, and knows which are active where."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.stages: list[PrivateStage] = []
        self._numbers = itertools.count(1)
        self._active: dict[int, Fault] = {}
        self._hits: Counter[str] = Counter()  # of those that have ended
        self._hooked: dict[Hook, tuple[Fault, ...]] = dict.fromkeys(Hook, ())

    @property
    def active(self) -> list[Fault]:
        """Those that have not ended, oldest first."""
        return list(self._active.values())

    def at(self, hook: Hook) -> tuple[Fault, ...]:
        """Return the active faults that want to be asked at a place; nearly always none."""
        return self._hooked[hook]

    def named(self, name: str) -> list[Fault]:
        """Return the active faults of a name."""
        return [fault for fault in self._active.values() if fault.name == name]

    def hits(self, name: str) -> int:
        """Count how often faults of a name took effect since the start."""
        return self._hits[name] + sum(fault.hits for fault in self.named(name))

    def begin(self, name: str, parameters: Mapping[str, Any]) -> Fault:
        """Begin a fault; await its `settle` to know that what it did has come about.

        Raises:
            FaultError: there is no such fault, or a parameter makes no sense.
        """
        fault = make_fault(find_kind(name), parameters)
        fault.number = next(self._numbers)
        fault.venue, fault.board = self._venue, self
        fault.is_active = True
        self._active[fault.number] = fault
        try:
            fault.begin()
        except FaultError:
            fault.is_active = False
            del self._active[fault.number]
            raise
        duration = getattr(fault, "duration_seconds", None)
        if duration is not None and fault.is_active:
            fault.ends_ms = self._venue.pulse.now_ms() + duration * 1000.0
            self._venue.pulse.at(fault.ends_ms, partial(self._expire, fault))
        self._hook()
        return fault

    def end(self, fault: Fault) -> None:
        """End a fault; nothing happens if it has ended."""
        if fault.is_active:
            fault.is_active = False
            del self._active[fault.number]
            self._hook()
            fault.end()
            self._hits[fault.name] += fault.hits

    def clear(self, name: str | None = None) -> int:
        """End all faults, or those of a name; return how many."""
        chosen = self.active if name is None else self.named(name)
        for fault in chosen:
            self.end(fault)
        return len(chosen)

    def rearrange(self, path: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of a page of a signed list as they are sent."""
        for fault in self._hooked[Hook.PAGE]:
            rows = fault.rearrange(path, rows)
        return rows

    def hides_row_of(self, path: str, changed_ms: int) -> bool:
        """Tell whether a signed list does not know yet of what changed at a time."""
        return any(fault.hides_row_of(path, changed_ms) for fault in self._hooked[Hook.PAGE])

    def _expire(self, fault: Fault, _now_ms: float) -> None:
        self.end(fault)

    def _hook(self) -> None:
        """Tell every place of its faults, so that nobody has to ask when there are none."""
        before = self._hooked[Hook.STREAM]
        for hook in Hook:
            self._hooked[hook] = tuple(
                fault for fault in self._active.values() if hook in fault.hooks
            )
        streams, private = self._hooked[Hook.STREAM], self._hooked[Hook.PRIVATE]
        if streams != before:  # there may be thousands of streams to tell
            self._venue.broadcaster.use_faults(cast("tuple[StreamFault, ...]", streams))
        for stage in self.stages:
            stage.faults = cast("tuple[PrivateFault, ...]", private)
