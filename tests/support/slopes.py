"""Whether something grows: a line through what was measured, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slope:
    """A line through points.

    Attributes:
        per_second: how fast it rises.
        seconds: from the first point to the last.
        mean: of the values.
        count: of the points.
    """

    per_second: float
    seconds: float
    mean: float
    count: int

    @property
    def growth(self) -> float:
        """How much it rises over all."""
        return self.per_second * self.seconds


def fit(points: Sequence[tuple[float, float]]) -> Slope:
    """Lay a line through points of (seconds, value).

    Raises:
        ValueError: there are fewer than two times.
    """
    count = len(points)
    times = [at for at, _ in points]
    if len(set(times)) < 2:
        raise ValueError(f"{count} points make no line")
    middle = sum(times) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - middle) ** 2 for at in times)
    rise = sum((at - middle) * (value - mean) for at, value in points)
    return Slope(rise / spread, max(times) - min(times), mean, count)
