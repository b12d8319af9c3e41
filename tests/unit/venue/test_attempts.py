"""When a session may try again, with everything that has a say in it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.errors import VenueLost
from ws_gateway.runtime.breaker import BreakerState
from ws_gateway.venue.attempts import Attempts, Spacing

LOST = VenueLost("closed", "it broke")


def attempts(**fields: float) -> Attempts:
    """Build a session's attempts, with a breaker and a budget of their own."""
    spacing, rng = Spacing(**fields), Random(1)  # type: ignore[arg-type]
    return Attempts("a", spacing, spacing.new_breaker(rng), spacing.new_budget(), rng)


def fail(session: Attempts, now: float = 0.0, lost: VenueLost = LOST) -> float:
    """Try and fail at once; answers how long the next attempt waits."""
    session.begin(now)
    session.failed(now, lost)
    return session.wait_seconds(now)


def test_the_first_retry_is_made_at_once_and_later_ones_wait() -> None:
    """Most losses are momentary."""
    session = attempts()
    assert session.wait_seconds(0.0) == 0.0
    assert fail(session) == 0.0
    waits = [fail(session) for _ in range(4)]
    assert 0 < max(waits) <= 10


def test_delays_start_anew_only_after_proof() -> None:
    """A connection that was opened and lost at once is none."""
    session = attempts(breaker_failures=1000)
    for _ in range(8):
        fail(session)
    assert session.wait_seconds(0.0) > 0
    session.begin(20.0)
    session.proved()
    session.failed(60.0, LOST)
    assert session.wait_seconds(60.0) == 0.0


def test_a_good_connection_is_replaced_at_once_unless_many_were_short() -> None:
    """A venue that drops every few seconds is waited for, once it has done so some times."""
    session, waits = attempts(), []
    for number in range(8):
        now = 100.0 * number
        session.begin(now)
        session.proved()
        session.failed(now + 3, LOST)
        waits.append(session.wait_seconds(now + 3))
    assert waits[:5] == [0.0] * 5
    assert waits[6] > 0


@pytest.mark.parametrize(
    ("lost", "least", "most"),
    [
        (VenueLost("refused", "HTTP 429", retry_after_seconds=45.0), 45.0, 45.0),
        (VenueLost("refused", "HTTP 429", retry_after_seconds=1e9), 3600.0, 3600.0),
        (VenueLost("refused", "HTTP 403"), 30.0, 60.0),
        (VenueLost("login", "wrong key"), 10.0, 10.0),
        (VenueLost("login", "the clock", is_mended=True), 0.0, 0.0),
    ],
    ids=["Retry-After", "absurd Retry-After", "no Retry-After", "login", "mended login"],
)
def test_a_refusal_is_obeyed(lost: VenueLost, least: float, most: float) -> None:
    """The venue's wish comes before our haste."""
    assert least <= fail(attempts(), lost=lost) <= most


def test_a_wrong_key_is_tried_ever_more_rarely_until_it_is_changed() -> None:
    """Ten seconds, a minute, five minutes; with a new key at once."""
    session = attempts(breaker_failures=1000, backoff_cap=0.1)
    refused = VenueLost("login", "wrong key")
    assert [fail(session, lost=refused) for _ in range(4)] == [10.0, 60.0, 300.0, 300.0]
    session.start_anew()
    assert session.wait_seconds(0.0) == 0.0


def test_failures_of_one_session_keep_the_others_of_its_endpoint_waiting() -> None:
    """They share what fails; another endpoint's breaker knows nothing of it."""
    spacing, rng = Spacing(breaker_failures=3), Random(1)
    breaker, budget = spacing.new_breaker(rng), spacing.new_budget()
    one, other = (Attempts("a", spacing, breaker, budget, rng) for _ in range(2))
    for _ in range(3):
        fail(one)
    assert breaker.state(0.0) is BreakerState.OPEN
    assert other.wait_seconds(0.0) > 0
    elsewhere = Attempts("b", spacing, spacing.new_breaker(rng), budget, rng)
    assert elsewhere.wait_seconds(0.0) == 0.0


@given(
    seed=st.integers(0, 1000),
    sessions=st.integers(1, 12),
    lives=st.lists(st.sampled_from([0.0, 0.5, 3.0, 30.0]), min_size=1, max_size=5),
)
def test_whatever_the_venue_does_the_budget_holds(
    seed: int, sessions: int, lives: list[float]
) -> None:
    """Ten minutes of connections that die young or live: never over 100 attempts in 5 minutes."""
    spacing, rng = Spacing(), Random(seed)
    breaker, budget = spacing.new_breaker(rng), spacing.new_budget()
    all_of_them = [Attempts(str(n % 3), spacing, breaker, budget, rng) for n in range(sessions)]
    ready = dict.fromkeys(range(sessions), 0.0)
    made: list[float] = []
    now = 0.0
    while now < 600:
        number = min(ready, key=lambda each: ready[each])
        now, session = max(now, ready[number]), all_of_them[number]
        wait = session.wait_seconds(now)
        if wait > 0:
            ready[number] = now + wait + 1e-6
            continue
        session.begin(now)
        made.append(now)
        life = lives[len(made) % len(lives)]
        if life >= spacing.proven:
            session.proved()
        session.failed(now + life, LOST)
        ready[number] = now + life
    for first in made:
        assert sum(first <= at < first + 300 for at in made) <= 100


def test_who_comes_and_goes_all_the_time_is_spaced() -> None:
    """A caller that drops and wants the only topic of a socket must not use up the budget."""
    session, now, made = attempts(), 0.0, 0
    while now < 300:
        wait = session.wait_seconds(now)
        if wait > 0:
            now += wait
            continue
        session.begin(now)
        made += 1
        now += 0.1
        session.left(now)
    assert made < 45


def test_one_endpoint_in_trouble_leaves_the_others_their_share() -> None:
    """The first attempt of an endpoint that rarely needs one is made at once."""
    spacing, rng = Spacing(), Random(1)
    budget = spacing.new_budget()
    troubled = ["linear", "spot", "inverse"]
    for number in range(300):
        for party in troubled:
            if budget.wait_seconds(party, number / 10) <= 0:
                budget.take(party, number / 10)
    private = Attempts("private", spacing, spacing.new_breaker(rng), budget, rng)
    assert private.wait_seconds(30.0) == 0.0
    again = Attempts("linear", spacing, spacing.new_breaker(rng), budget, rng)
    assert "at most 100 in 300 s" in (again.obstacle(30.0) or "")


def test_a_venue_that_asks_to_be_left_alone_is_left_alone_by_all() -> None:
    """It counts attempts per address; a new key is no reason to come earlier."""
    spacing, rng = Spacing(), Random(1)
    budget = spacing.new_budget()
    one, other = (Attempts(party, spacing, spacing.new_breaker(rng), budget, rng) for party in "ab")
    fail(one, lost=VenueLost("refused", "HTTP 429", retry_after_seconds=45.0))
    one.start_anew()
    assert one.wait_seconds(0.0) == other.wait_seconds(0.0) == 45.0
