"""Faults of REST answers: failing, late, behind the stream, and pages in no stable order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec

from bybit_sim.fault import Chance, FaultError, Hook, LastingFault, Seconds, Share, TimedFault
from bybit_sim.signing import RestRefusal

_OK = 200
_STATUSES = frozenset({200, 400, 401, 403, 404, 429, 500, 502, 503, 504})
_WORDS = {
    10000: "Server Timeout",
    10006: "Too many visits!",
    10016: "Internal System Error.",
}


@dataclass(kw_only=True, eq=False)
class _PathFault(LastingFault):
    """One of the calls of one path, or of all signed ones."""

    path: Annotated[str | None, "calls of this path only; null is every signed call"] = None

    def concerns_call(self, path: str, *, is_signed: bool) -> bool:
        """Tell whether it is about a call."""
        return is_signed if self.path is None else self.path == path


@dataclass(kw_only=True, eq=False)
class RestFailure(_PathFault):
    """Answers REST calls with an HTTP error, whose body is no JSON, or with a `retCode`."""

    name: ClassVar[str] = "rest_failure"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REST})
    status: Annotated[int, "of HTTP; 200 together with `code`"] = 500
    code: Annotated[int, "`retCode` of an answer with status 200"] = 10016
    probability: Annotated[Share, "share of calls"] = 1.0
    seed: Annotated[int, "of the draws, which each path makes for itself"] = 1

    def check(self) -> None:
        """Refuse a status nobody has seen."""
        if self.status not in _STATUSES:
            known = ", ".join(map(str, sorted(_STATUSES)))
            raise FaultError(f"status must be one of {known}, not {self.status}", "status")

    def begin(self) -> None:
        """Make the draws ready."""
        self._chance = Chance(self.seed, self.probability)

    def rest_refusal(self, path: str, *, is_signed: bool) -> RestRefusal | None:
        """Refuse."""
        if not self.is_active or not self.concerns_call(path, is_signed=is_signed):
            return None
        if not self._chance.strikes(path):
            return None
        self.hit()
        if self.status == _OK:
            return RestRefusal(_OK, self.code, _WORDS.get(self.code, "Failed."))
        return RestRefusal(self.status, 0, f"{self.status}", is_html=True)


@dataclass(kw_only=True, eq=False)
class SlowRest(_PathFault):
    """Sends REST answers late, with what was true when they were asked for."""

    name: ClassVar[str] = "slow_rest"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REST})
    delay_seconds: Annotated[Annotated[float, msgspec.Meta(ge=0, le=100)], "of each answer"] = 5.0

    def rest_delay(self, path: str, *, is_signed: bool) -> float:
        """Wait."""
        if not self.is_active or not self.concerns_call(path, is_signed=is_signed):
            return 0.0
        self.hit()
        return self.delay_seconds


@dataclass(kw_only=True, eq=False)
class RestLag(TimedFault):
    """Keeps the history of orders and the list of executions behind the stream."""

    name: ClassVar[str] = "rest_lag"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PAGE})
    by_seconds: Annotated[Seconds, "how far behind"] = 2.0

    def hides_row_of(self, path: str, changed_ms: int) -> bool:  # noqa: ARG002 - both lists alike
        """Hide what is younger."""
        is_hidden = changed_ms > self.venue.now_ms() - self.by_seconds * 1000.0
        if is_hidden:
            self.hit()
        return is_hidden


@dataclass(kw_only=True, eq=False)
class UnstablePages(TimedFault):
    """Sends the rows of each page of a signed list in another order each time."""

    name: ClassVar[str] = "unstable_pages"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PAGE})
    seed: Annotated[int, "of the orders"] = 1

    def begin(self) -> None:
        """Make the draws ready."""
        self._rng = random.Random(f"{self.seed}:pages")

    def rearrange(self, path: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ARG002 - all lists alike
        """Shuffle."""
        mixed = list(rows)
        self._rng.shuffle(mixed)
        if mixed != rows:
            self.hit()
        return mixed
