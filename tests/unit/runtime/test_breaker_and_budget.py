"""How often something that fails is tried: not at all for a while, and never too often in all."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.runtime.breaker import Breaker, BreakerState
from ws_gateway.runtime.budget import AttemptBudget


def failing(times: int) -> Breaker:
    """Build a breaker at time 0 that saw so many failures, of which three open it."""
    breaker = Breaker(failures_to_open=3, pause_seconds=10, rng=Random(1))
    for _ in range(times):
        breaker.begin(0.0)
        breaker.failed(0.0)
    return breaker


def test_a_few_failures_are_nobodys_business() -> None:
    """Each attempt is spaced by its own backoff."""
    breaker = failing(2)
    assert (breaker.state(0.0), breaker.wait_seconds(0.0)) == (BreakerState.CLOSED, 0.0)


def test_many_in_a_row_open_it_for_a_while() -> None:
    """Between half of the pause and all of it."""
    breaker = failing(3)
    assert breaker.state(0.0) is BreakerState.OPEN
    assert 5.0 <= breaker.wait_seconds(0.0) <= 10.0


def test_then_one_tries_and_the_others_wait_for_it() -> None:
    """Its failure opens it again; its success closes it for all."""
    breaker = failing(3)
    assert breaker.state(10.0) is BreakerState.HALF_OPEN
    assert breaker.wait_seconds(10.0) == 0.0
    breaker.begin(10.0)
    assert breaker.wait_seconds(10.0) > 0
    assert breaker.state(10.0) is BreakerState.HALF_OPEN
    breaker.failed(10.0)
    assert breaker.state(10.0) is BreakerState.OPEN
    breaker.begin(20.0)
    breaker.succeeded()
    assert (breaker.state(20.0), breaker.wait_seconds(20.0)) == (BreakerState.CLOSED, 0.0)


def test_a_try_that_was_given_up_lets_another_one_try() -> None:
    """Nobody waits for ever for somebody who left."""
    breaker = failing(3)
    breaker.begin(10.0)
    breaker.given_up()
    assert breaker.wait_seconds(10.0) == 0.0


def test_success_forgets_former_failures() -> None:
    """Only failures in a row count."""
    breaker = failing(2)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.state(0.0) is BreakerState.CLOSED


@given(
    most=st.integers(1, 5),
    pauses=st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_the_budget(most: int, pauses: list[float]) -> None:
    """Whoever asks, whenever: attempts wait until the window has room."""
    budget = AttemptBudget(most=most, window_seconds=30.0)
    now, taken = 0.0, []
    for pause in pauses:
        now += pause + budget.wait_seconds(now + pause)
        now += budget.wait_seconds(now)  # what rounding left
        budget.take(now)
        taken.append(now)
    for first, after in zip(taken, taken[most:], strict=False):
        assert after - first >= 30.0 - 1e-9
