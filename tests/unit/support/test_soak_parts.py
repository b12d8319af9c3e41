"""The parts of a soak: lines through points, and a schedule that a seed decides."""

from __future__ import annotations

from itertools import islice

import pytest

from support.slopes import fit
from support.soak_faults import FAULTS, schedule


def test_a_line_is_found_through_noise() -> None:
    """Its rise per second, and what that makes over all."""
    points = [(float(n), 100 + 0.5 * n + (-1) ** n) for n in range(200)]
    line = fit(points)
    assert line.per_second == pytest.approx(0.5, abs=0.01)
    assert line.growth == pytest.approx(0.5 * 199, rel=0.02)


def test_a_level_has_no_slope_whatever_its_peaks_are() -> None:
    """What rises and falls again does not grow."""
    line = fit([(float(n), 100.0 + (n % 10)) for n in range(1000)])
    assert abs(line.growth) < 0.5


def test_one_moment_makes_no_line() -> None:
    """It is an error, not a slope of zero."""
    with pytest.raises(ValueError, match="make no line"):
        fit([(1.0, 2.0), (1.0, 3.0)])


def test_a_seed_decides_the_order_and_each_round_has_every_fault() -> None:
    """So that a run can be had again."""
    first = list(islice(schedule(3), 2 * len(FAULTS)))
    assert first == list(islice(schedule(3), 2 * len(FAULTS)))
    assert first != list(islice(schedule(4), 2 * len(FAULTS)))
    assert {turn.fault for turn in first[: len(FAULTS)]} == set(FAULTS)
    assert {fault.side for fault in FAULTS} == {"exchange", "broker", "database"}
