"""When the venue's REST may be asked, and for how long it may not."""

from __future__ import annotations

import pytest

from ws_gateway.venue.rest_allowance import Allowance, Pause, RestBudget

BUDGET = RestBudget(calls=2, window_seconds=60, banned_seconds=600, overloaded_seconds=5)


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        """Say what it shows."""
        return self.now


def test_a_spent_budget_says_how_long_to_wait_and_leaves_the_others_alone() -> None:
    """What is asked for an account does not wait for what is asked for everybody."""
    clock = Clock()
    allowance = Allowance(BUDGET, clock)
    assert [allowance.take(allowance.calls) for _ in range(2)] == [None, None]
    clock.now += 20
    pause = allowance.take(allowance.calls)
    assert pause == Pause(40, "the budget of 2 calls in 60 s is spent", "budget")
    assert allowance.take(allowance.signed_calls) is None
    clock.now += 40
    assert allowance.take(allowance.calls) is None


def test_a_venue_that_wants_to_be_left_alone_is_left_by_all_and_a_shorter_pause_ends_none() -> None:
    """Whatever a call would be taken out of."""
    clock = Clock()
    allowance = Allowance(BUDGET, clock)
    assert allowance.shut(600, "banned") == Pause(600, "banned", "rest")
    allowance.shut(5, "too many visits")
    clock.now += 599
    for calls in (allowance.calls, allowance.signed_calls, allowance.past_calls):
        assert allowance.take(calls) == Pause(1, "too many visits", "rest")
    clock.now += 1
    assert allowance.take(allowance.calls) is None


@pytest.mark.parametrize(
    ("headers", "is_ban", "seconds"),
    [
        ({}, True, 600),
        ({}, False, 5),
        ({"Retry-After": "30"}, True, 30),
        ({"Retry-After": "0"}, False, 1),
        ({"Retry-After": "soon"}, False, 5),
    ],
)
def test_the_pause_after_a_refusal_is_what_the_venue_names(
    headers: dict[str, str], seconds: float, *, is_ban: bool
) -> None:
    """Without a number it is ours: long after a ban, short after too many visits."""
    assert Allowance(BUDGET, Clock()).seconds_after_status(headers, is_ban=is_ban) == seconds


@pytest.mark.parametrize(
    ("reset", "server_ms", "seconds"),
    [("9000", 5_000, 4), ("1", 5_000, 0.1), ("999000", 5_000, 60), ("x", 5_000, 5), ("9000", 0, 5)],
)
def test_the_pause_until_a_reset_is_counted_on_the_venues_clock(
    reset: str, server_ms: int, seconds: float
) -> None:
    """It is never none and never beyond a minute; what cannot be read is five seconds."""
    headers = {"X-Bapi-Limit-Reset-Timestamp": reset}
    assert Allowance(BUDGET, Clock()).seconds_until_reset(headers, server_ms) == seconds
