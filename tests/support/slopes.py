"""Whether something grows: a line through what was measured, by least squares, and its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

_T95 = (
    inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23,
    2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09,
)  # fmt: skip
"""Student's t by degrees of freedom: 95 of 100 lie within so many standard errors."""

_T95_BEYOND = 2.08


@dataclass(frozen=True, slots=True)
class Slope:
    """A line through points.

    Attributes:
        per_second: how fast it rises.
        seconds: from the first point to the last.
        mean: of the values.
        count: of the points.
        noise_per_second: half of the interval that `per_second` is in with 95 % confidence, as far
            as the points scatter around the line; infinite where there are too few to tell.
    """

    per_second: float
    seconds: float
    mean: float
    count: int
    noise_per_second: float

    @property
    def growth(self) -> float:
        """How much it rises over all."""
        return self.per_second * self.seconds

    @property
    def per_hour(self) -> float:
        """How fast it rises."""
        return self.per_second * 3600

    @property
    def noise_per_hour(self) -> float:
        """How far from the truth that may be."""
        return self.noise_per_second * 3600


def fit(points: Sequence[tuple[float, float]]) -> Slope:
    """Lay a line through points of (seconds, value).

    Points that follow each other closely know little more than one: give means of stretches.

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
    rise = sum((at - middle) * (value - mean) for at, value in points) / spread
    missed = sum((value - mean - rise * (at - middle)) ** 2 for at, value in points)
    free = count - 2
    noise = inf
    if free > 0:
        within = _T95[free] if free < len(_T95) else _T95_BEYOND
        noise = within * sqrt(missed / free / spread)
    return Slope(rise, max(times) - min(times), mean, count, noise)
