"""How long a topic may be silent: told by its channel, learned from its own pace. Pure.

Pongs prove that the socket lives, not that data flow (bybit-v5 reference, Heartbeat): whether a
topic has stalled can only be told from the topic itself. A quiet market must raise no alarm, so
what counts is how long this topic has been silent before, not how long others are.
"""

from __future__ import annotations

from dataclasses import dataclass

from ws_gateway.domain.topic import Channel, Topic


@dataclass(frozen=True, slots=True)
class Expectation:
    """What silence means on a kind of topic, in seconds.

    Attributes:
        has_first_data: a subscription is answered by data at once, even on a quiet market.
        fixed: the venue promises a frame at least so often; nothing is learned.
        before_learned: allowed until enough was seen; None allows any silence.
        factor: a silence so many times the longest of late is one too long.
        least, most: bounds of what is learned.
        frames, watched: how much must have been seen for the pace to be known.
    """

    has_first_data: bool = True
    fixed: float | None = None
    before_learned: float | None = 30.0
    factor: float = 5.0
    least: float = 5.0
    most: float = 600.0
    frames: int = 50
    watched: float = 15.0


_TICKS = Expectation()
_TOLD_AGAIN = Expectation(fixed=10.0)
"""A book of depth 1 is told again after 3 s without a change (Bybit v5 docs, Orderbook)."""
_CANDLES = Expectation(has_first_data=False, before_learned=130.0, factor=3.0, least=90.0)
"""Candles are told every 1 to 60 s (Bybit v5 docs, Kline)."""
_BURSTS = Expectation(
    has_first_data=False, before_learned=None, factor=10.0, least=60.0, most=3600.0, frames=200
)
"""Trades come when somebody trades; only a lively symbol has a pace to fall out of."""

_LIMITS = Expectation(has_first_data=False, before_learned=60.0)
"""Told every 300 ms (Bybit v5 docs, Order Price Limit); whether at once is not said."""

_OF_CHANNEL = {
    Channel.ORDERBOOK: _TICKS,
    Channel.ORDERBOOK_RPI: _TICKS,
    Channel.TICKER: _TICKS,
    Channel.PRICE_LIMIT: _LIMITS,
    Channel.KLINE: _CANDLES,
    Channel.TRADES: _BURSTS,
}
"""Channels that are not named may be silent for days: nothing need ever happen there."""


def expectation_of(topic: Topic) -> Expectation | None:
    """Say what silence means on a topic; None if it means nothing."""
    if topic.channel is Channel.ORDERBOOK and topic.parameter == "1":
        return _TOLD_AGAIN
    return _OF_CHANNEL.get(topic.channel)


_HALF_LIFE_SECONDS = 600.0


class Pace:
    """One topic's pace on one socket and those before it, as looks now and then show it.

    Nothing is done per frame but counting, elsewhere: a silence is known to the time between two
    looks, which is a fraction of what is ever called too long.

    Attributes:
        last_at: monotonic time of the look that found the newest frame, or of the moment data
            could be expected.
        longest: longest silence of late, in seconds, but for one before the pace was known that
            was like no other.
    """

    __slots__ = (
        "_former", "_looked_at", "_once", "_seen", "_since", "expectation", "last_at", "longest",
    )  # fmt: skip

    def __init__(self, expectation: Expectation | None) -> None:
        self.expectation = expectation
        self.last_at = 0.0
        self.longest = 0.0
        self._once = 0.0
        self._former = 0
        self._seen = 0
        self._since = 0.0
        self._looked_at = 0.0

    def succeed(self, former: Pace) -> None:
        """Go on with what was learned on a socket that this one replaces; call it before `begin`.

        A topic may be silent while it changes sockets, and a pace learned anew would take that
        fault for its nature.
        """
        self.longest, self._once = former.longest, former._once
        self._former = former._former + former._seen
        self._since, self._looked_at = former._since, former._looked_at

    def begin(self, frames: int, now: float) -> None:
        """Expect data from now on; what was learned stays.

        Args:
            frames: how many came so far.
            now: monotonic seconds.
        """
        self.last_at = now
        self._seen = frames
        if not self._since:
            self._since = self._looked_at = now

    def look(self, frames: int, now: float) -> float:
        """Say how long the topic has been silent, in seconds; old silences fade meanwhile.

        Args:
            frames: how many came so far.
            now: monotonic seconds.
        """
        fading = 0.5 ** ((now - self._looked_at) / _HALF_LIFE_SECONDS)
        self.longest *= fading
        self._once *= fading
        self._looked_at = now
        if frames != self._seen:
            self._learn(now - self.last_at)
            self._seen = frames
            self.last_at = now
        return now - self.last_at

    def _learn(self, silence: float) -> None:
        """Take note of a silence that is over.

        One long silence may have been a fault of the venue, and must not hide the next one; a
        market that is quiet, or grows so, shows it more than once.
        """
        if self._is_known(1.0):
            self.longest = max(self.longest, min(silence, 2 * self.longest + 1.0))
        elif silence > self._once:
            self.longest, self._once = max(self.longest, self._once), silence
        else:
            self.longest = max(self.longest, silence)

    def allowed(self, scale: float) -> float | None:
        """Say how long a silence may last, in seconds; None for as long as it likes.

        Args:
            scale: multiplies every constant, so that a test need not wait for real seconds.
        """
        expected = self.expectation
        if expected is None:
            return None
        if expected.fixed is not None:
            return expected.fixed * scale
        if not self._is_known(scale):
            before = expected.before_learned
            silent = max(self.longest, self._once)
            return None if before is None else max(before * scale, expected.factor * silent)
        learned = expected.factor * self.longest
        return min(max(learned, expected.least * scale), expected.most * scale)

    def _is_known(self, scale: float) -> bool:
        """Say whether enough was seen to know the pace."""
        expected = self.expectation
        return (
            expected is not None
            and self._former + self._seen >= expected.frames
            and self.last_at - self._since >= expected.watched * scale
        )
