"""Delays between attempts, with full jitter."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def full_jitter(
    *, base_seconds: float, cap_seconds: float, rng: Random, first_at_once: bool = True
) -> Iterator[float]:
    """Yield delays in seconds for ever: `uniform(0, min(cap, base * 2**n))`.

    Start a new iterator after proven progress; that is what resets the backoff.

    Args:
        base_seconds: width of the first random delay.
        cap_seconds: width no delay exceeds.
        rng: source of chance, so that a test can own it.
        first_at_once: yield 0 first, because most losses are momentary.
    """
    if first_at_once:
        yield 0.0
    width = base_seconds
    while True:
        yield rng.uniform(0.0, width)
        width = min(cap_seconds, width * 2)
