"""What part of its life a connection was up."""

from __future__ import annotations

import pytest

from ws_gateway.venue.uptime import Uptime


def test_the_ratio_is_time_up_by_time_lived() -> None:
    """Up from 1 to 4 and again from 6 on."""
    uptime = Uptime()
    assert uptime.ratio(5.0) == 0.0
    uptime.note(0.0, is_up=False)
    assert uptime.ratio(0.0) == 0.0
    uptime.note(1.0, is_up=True)
    assert uptime.ratio(2.0) == 0.5
    uptime.note(4.0, is_up=False)
    assert uptime.ratio(6.0) == 0.5
    uptime.note(6.0, is_up=True)
    assert uptime.ratio(10.0) == pytest.approx(0.7)


def test_noting_the_same_twice_counts_no_second_twice() -> None:
    """What is up stays up."""
    uptime = Uptime()
    for now in (0.0, 1.0, 2.0):
        uptime.note(now, is_up=True)
    assert uptime.ratio(4.0) == 1.0
