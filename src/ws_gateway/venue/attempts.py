"""When a session may try to connect: its own backoff, its endpoint's breaker, everybody's budget.

Pure: times come as arguments (monotonic seconds), chance as an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from ws_gateway.errors import VenueLost
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.breaker import Breaker
from ws_gateway.runtime.budget import SharedBudget

_LOGIN_PAUSE_GROWTH = 6
_RESTLESS_SECONDS = 60.0
_PROMPT_RETURNS = 5


@dataclass(frozen=True, slots=True)
class Spacing:
    """How attempts to connect are spaced, in seconds.

    Attributes:
        backoff_base, backoff_cap: width of the first and of every delay of one session.
        proven: how long a connection with a good message must have lived to be called good.
        settled: how long it must have lived for the delays to start anew: a venue that answers and
            drops every few seconds is not hammered. Some short-lived ones are forgiven.
        login_pause: least delay after a refused login; it grows sixfold at each further one, up to
            `login_pause_cap`, because only a person can mend a wrong key.
        refused_pause: least delay after HTTP 403 or 429 without a Retry-After.
        retry_after_cap: longest Retry-After that is believed.
        breaker_pause: longest time an endpoint is left alone after `breaker_failures` in a row.
        budget, budget_window: attempts of all sessions together in any such window; the venue
            allows 500 in 300 s per IP (Bybit v5 docs, Connect).
    """

    backoff_base: float = 0.5
    backoff_cap: float = 10.0
    proven: float = 2.0
    settled: float = 30.0
    login_pause: float = 10.0
    login_pause_cap: float = 300.0
    refused_pause: float = 30.0
    retry_after_cap: float = 3600.0
    breaker_failures: int = 8
    breaker_pause: float = 30.0
    budget: int = 100
    budget_window: float = 300.0

    def new_breaker(self, rng: Random) -> Breaker:
        """Build the breaker of an endpoint."""
        return Breaker(
            failures_to_open=self.breaker_failures, pause_seconds=self.breaker_pause, rng=rng
        )

    def new_budget(self) -> SharedBudget:
        """Build the budget of all sessions."""
        return SharedBudget(most=self.budget, window_seconds=self.budget_window)


class Attempts:
    """One session's attempts.

    The party names whose share of the budget they are of.

    Ask `wait_seconds` until it answers 0, then `begin`; tell `proved` when the connection is good,
    and `failed` or `left` at its end.
    """

    def __init__(
        self,
        party: str,
        spacing: Spacing,
        breaker: Breaker,
        budget: SharedBudget,
        rng: Random,
    ) -> None:
        self.breaker = breaker
        self._party = party
        self._spacing = spacing
        self._budget = budget
        self._rng = rng
        self._delays = self._fresh_delays()
        self._not_before = 0.0
        self._login_pause = spacing.login_pause
        self._is_proven = False
        self._begun_at = 0.0
        self._left_at = float("-inf")
        self._comings = 0
        self._short_lives = 0

    def wait_seconds(self, now: float) -> float:
        """Say how long to wait before asking again; 0 means: begin."""
        return max(
            self._not_before - now,
            self.breaker.wait_seconds(now),
            self._budget.wait_seconds(self._party, now),
        )

    def obstacle(self, now: float) -> str | None:
        """Say what keeps attempts from being made, if it is not the session's own failure."""
        spacing, wait = self._spacing, self._budget.wait_seconds(self._party, now)
        if wait <= max(0.0, self._not_before - now, self.breaker.wait_seconds(now)):
            return None
        return (
            f"attempts wait for {wait:.0f} s: at most {spacing.budget} in "
            f"{spacing.budget_window:.0f} s are made in all, or the venue asked for a pause"
        )

    def begin(self, now: float) -> None:
        """Take note that an attempt begins."""
        self._is_proven = False
        self._begun_at = now
        self.breaker.begin(now)
        self._budget.take(self._party, now)

    def proved(self) -> None:
        """Take note that good messages come, and have come for long enough."""
        if not self._is_proven:
            self._is_proven = True
            self._login_pause = self._spacing.login_pause
            self.breaker.succeeded()

    def left(self, now: float) -> None:
        """Take note that the session gave the attempt or the connection up by itself.

        Whoever opens and closes all the time is spaced like one who fails.
        """
        if not self._is_proven:
            self.breaker.given_up()
        self._comings = self._comings + 1 if now - self._left_at < _RESTLESS_SECONDS else 0
        self._left_at = now
        if self._comings > 1:
            pause = self._spacing.backoff_base * 2 ** min(self._comings, 16)
            self._not_before = now + min(self._spacing.backoff_cap, pause)

    def failed(self, now: float, lost: VenueLost) -> None:
        """Take note that the attempt came to nothing, or that the connection is gone."""
        if not self._is_proven:
            self.breaker.failed(now)
        elif now - self._begun_at >= self._spacing.settled:
            self._short_lives = 0
            self._delays = self._fresh_delays()
        else:
            self._short_lives += 1
        pause = self._least_pause(lost)
        if lost.reason == "refused":
            self._budget.hold(now + pause)  # the venue counts attempts per address, not per socket
        # A connection that was good is replaced at once, unless it was one of many short ones.
        is_prompt = self._is_proven and self._short_lives <= _PROMPT_RETURNS
        self._not_before = now + max(0.0 if is_prompt else next(self._delays), pause)

    def start_anew(self) -> None:
        """Forget what kept attempts from being made: what was wrong has been changed."""
        self._not_before = 0.0
        self._delays = self._fresh_delays()
        self._login_pause = self._spacing.login_pause
        self.breaker.succeeded()

    def _least_pause(self, lost: VenueLost) -> float:
        spacing = self._spacing
        if lost.reason == "login" and not lost.is_mended:
            pause = self._login_pause
            self._login_pause = min(spacing.login_pause_cap, pause * _LOGIN_PAUSE_GROWTH)
            return pause
        if lost.retry_after_seconds is not None:
            return min(spacing.retry_after_cap, lost.retry_after_seconds)
        if lost.reason == "refused":
            return self._rng.uniform(spacing.refused_pause, 2 * spacing.refused_pause)
        return 0.0

    def _fresh_delays(self) -> Iterator[float]:
        return full_jitter(
            base_seconds=self._spacing.backoff_base,
            cap_seconds=self._spacing.backoff_cap,
            rng=self._rng,
        )
