"""When the venue's REST may be asked: budgets over everybody who asks, and pauses it wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ws_gateway.runtime.budget import AttemptBudget

_LONGEST_RESET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RestBudget:
    """What is asked of REST at most, over everybody in this process who asks.

    Attributes:
        calls, window_seconds: so many within so long; Bybit cuts an address off for 10 minutes
            that sends 600 in 5 seconds, and other programs may share the address.
        signed_calls, signed_seconds: the same for signed calls, which read an account's lists
            after a lost connection; the venue takes 50 in a second of each list.
        past_calls, past_seconds: the same for what fills gaps of trades and candles.
        banned_seconds: pause after HTTP 403 without `Retry-After`.
        overloaded_seconds: pause after HTTP 429 and "too many visits" without a time.
    """

    calls: int = 120
    window_seconds: float = 60.0
    signed_calls: int = 300
    signed_seconds: float = 5.0
    past_calls: int = 150
    past_seconds: float = 5.0
    banned_seconds: float = 600.0
    overloaded_seconds: float = 5.0


class Pause(NamedTuple):
    """Why nothing may be asked now, and for how long.

    Attributes:
        reason: `rest` where the venue wants to be left alone, `budget` where we asked enough.
    """

    seconds: float
    why: str
    reason: str


class Allowance:
    """Says whether a call may be made now.

    Args:
        budget: how many there are.
        monotonic: clock in seconds.

    Attributes:
        calls, signed_calls, past_calls: what a call is taken out of.
    """

    def __init__(self, budget: RestBudget, monotonic: Callable[[], float]) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self.calls = AttemptBudget(most=budget.calls, window_seconds=budget.window_seconds)
        self.signed_calls = AttemptBudget(
            most=budget.signed_calls, window_seconds=budget.signed_seconds
        )
        self.past_calls = AttemptBudget(most=budget.past_calls, window_seconds=budget.past_seconds)
        self._shut_until = 0.0
        self._shut_why = ""

    def take(self, calls: AttemptBudget) -> Pause | None:
        """Take one call out of a budget; answers why that may not be now, None if it may."""
        now = self._monotonic()
        if now < self._shut_until:
            return Pause(self._shut_until - now, self._shut_why, "rest")
        if wait := calls.wait_seconds(now):
            return Pause(wait, f"the budget of {calls} is spent", "budget")
        calls.take(now)
        return None

    def shut(self, seconds: float, why: str) -> Pause:
        """Let nothing be asked for a while."""
        self._shut_until = max(self._shut_until, self._monotonic() + seconds)
        self._shut_why = why
        return Pause(seconds, why, "rest")

    def seconds_after_status(self, headers: Mapping[str, str], *, is_ban: bool) -> float:
        """Return how long to ask nothing after HTTP 403 or 429."""
        budget = self._budget
        text = headers.get("Retry-After", "")
        if text.isdecimal():
            return max(1.0, float(text))
        return budget.banned_seconds if is_ban else budget.overloaded_seconds

    def seconds_until_reset(self, headers: Mapping[str, str], server_ms: int) -> float:
        """Return how long the venue's own clock has to run until calls are taken again."""
        text = headers.get("X-Bapi-Limit-Reset-Timestamp", "")
        if not text.isdecimal() or not server_ms:
            return self._budget.overloaded_seconds
        return min(_LONGEST_RESET_SECONDS, max(0.1, (int(text) - server_ms) / 1000))
