"""How long things took, in fixed buckets: an index and two additions per value."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

QUICK_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Bounds for what should take milliseconds; the objectives of docs/slo.md are among them."""

PATIENT_SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
"""Bounds for what should take a second."""


class Histogram:
    """Counts values by the bucket they fall into.

    Attributes:
        bounds: upper bounds, rising, each included in its bucket.
        counts: values per bucket; the last is for what exceeds every bound.
        total: sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, stands_for: int = 1) -> None:
        """Count a value; a sample of many stands for them. What is below 0 counts as 0."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += stands_for
        self.total += value * stands_for

    def cumulative(self) -> list[int]:
        """Return how many values were at most each bound, and at last how many there were."""
        return list(accumulate(self.counts))


class Histograms:
    """Histograms of one measure, told apart by labels that the caller keeps bounded."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._of: dict[tuple[str, ...], Histogram] = {}

    def of(self, *labels: str) -> Histogram:
        """Return the histogram of these labels; it is made when it is first asked for."""
        found = self._of.get(labels)
        if found is None:
            found = self._of[labels] = Histogram(self._bounds)
        return found

    def items(self) -> Iterator[tuple[tuple[str, ...], Histogram]]:
        """Tell each histogram with its labels."""
        return iter(self._of.items())
