"""Delays between attempts."""

from __future__ import annotations

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.runtime.backoff import full_jitter


class Extreme(Random):
    """A source of chance that always draws one end of the range."""

    def __init__(self, *, highest: bool) -> None:
        super().__init__(0)
        self._highest = highest

    def uniform(self, a: float, b: float) -> float:
        """Return an end."""
        return b if self._highest else a


def test_the_first_attempt_is_made_at_once() -> None:
    """Most losses are momentary; without that wish the first delay is drawn too."""
    chance = Extreme(highest=True)
    assert next(full_jitter(base_seconds=1, cap_seconds=9, rng=chance)) == 0.0
    later = full_jitter(base_seconds=1, cap_seconds=9, rng=chance, first_at_once=False)
    assert next(later) == 1


def test_the_widths_double_up_to_the_cap() -> None:
    """The highest delays are base, twice, four times, and never more than the cap."""
    delays = full_jitter(base_seconds=0.5, cap_seconds=3, rng=Extreme(highest=True))
    assert list(islice(delays, 6)) == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(), st.floats(0.001, 5), st.floats(5, 60))
def test_every_delay_is_jittered_over_the_full_width(seed: int, base: float, cap: float) -> None:
    """Between nothing and the width of its turn."""
    delays = full_jitter(base_seconds=base, cap_seconds=cap, rng=Random(seed), first_at_once=False)
    for turn, delay in enumerate(islice(delays, 20)):
        assert 0.0 <= delay <= min(cap, base * 2**turn)


def test_two_gateways_do_not_come_back_together() -> None:
    """Other chance, other delays."""
    runs = [
        tuple(islice(full_jitter(base_seconds=1, cap_seconds=60, rng=Random(seed)), 1, 5))
        for seed in (1, 2)
    ]
    assert runs[0] != runs[1]
    assert len(set(runs[0])) == 4
