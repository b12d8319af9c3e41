"""What a few numbers, read every few seconds, say about one queue; no I/O and no clock.

AMQP alone tells how many messages are ready and how many consumers there are. How many were put in
is what the gateway counted itself; the rest follows from

    depth before + published = depth now + consumed + dropped

which has one unknown as long as nobody consumes, and is bounded by the queue's limit otherwise.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ws_gateway.ports.delivery import AlertCode, QueueKind


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a queue deserves a person's attention; each alert clears later than it was raised.

    Attributes:
        near_share, clear_share: of what the queue holds at most.
        unread_seconds: how long messages may gather without a consumer.
        window_seconds: how long a queue has to grow to call its consumer slow.
        slow_growth: least messages it has to grow by in that time.
        slow_share: least part of what was published that has to be left over.
    """

    near_share: float = 0.8
    clear_share: float = 0.6
    unread_seconds: float = 30.0
    window_seconds: float = 15.0
    slow_growth: int = 20
    slow_share: float = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a queue.

    Attributes:
        at: monotonic seconds.
        depth: messages ready.
        consumers: how many.
        published_before, published_after: messages put into it since the process began, counted
            before and after the broker was asked; None if that cannot be told.
        max_length: how many it holds at most; None for streams, and where it is not known.
        kind: whose it is.
        is_awaited: some service asked for what it holds.
        keeps_read: consuming takes nothing out of it; a stream.
        refuses: when full it refuses, instead of dropping its oldest.
    """

    at: float
    depth: int
    consumers: int
    published_before: int | None
    published_after: int | None
    max_length: int | None = None
    kind: QueueKind = QueueKind.DEDICATED
    is_awaited: bool = True
    keeps_read: bool = False
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """An alert that stands: since when (monotonic seconds), and what was seen."""

    code: AlertCode
    since: float
    detail: str


_MOST_STEPS = 4096  # of the history that tells how old a message is


class Gauge:
    """Remembers the looks at one queue and judges the newest.

    Attributes:
        was_read: somebody consumed it since the process began.
        dropped_at_least: messages that went unread by overflow or age, as far as that is certain.
        dropped_uncertain: further ones of which it is not known whether they were consumed.
        alerts: those that stand.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds()
        self._window: deque[Look] = deque()
        self._history: deque[tuple[float, int]] = deque()
        self._quiet_until = 0.0  # the last look at which nothing had been published
        self._unread_from: Look | None = None
        self._dropped_before = 0
        self._peak = 0
        self._empty_at: float | None = None
        self.was_read = False
        self.dropped_at_least = 0
        self.dropped_uncertain = 0
        self.alerts: dict[AlertCode, Finding] = {}

    @property
    def newest(self) -> Look | None:
        """Return the newest look, None before the first."""
        return self._window[-1] if self._window else None

    @property
    def growth_per_second(self) -> float | None:
        """Return how fast the depth changes over the window; None before two looks."""
        if len(self._window) < 2:  # noqa: PLR2004 - a slope has two ends
            return None
        first, last = self._window[0], self._window[-1]
        return (last.depth - first.depth) / (last.at - first.at)

    @property
    def published_per_second(self) -> float | None:
        """Return how fast it is filled over the window; None where that cannot be told."""
        if len(self._window) < 2:  # noqa: PLR2004 - a slope has two ends
            return None
        first, last = self._window[0], self._window[-1]
        came = _difference(last.published_before, first.published_before)
        return None if came is None else came / (last.at - first.at)

    def oldest_age(self, now: float) -> tuple[float, bool] | None:
        """Return how long its oldest message has been in it, and whether that is a minimum.

        What is in it while its confirm is under way is not counted yet, and would look like
        messages from before; but nothing in it is older than the last look that found it empty.
        """
        age = self._counted_age(now)
        if age is None or self._empty_at is None or age[0] <= now - self._empty_at:
            return age
        return now - self._empty_at, False

    def _counted_age(self, now: float) -> tuple[float, bool] | None:
        """Return how long its oldest message has been in it, and whether that is a minimum.

        Messages leave in the order they came, so the oldest of `depth` is the one that was
        published when `depth` fewer had been. What was there before the process began is at
        least as old as the process. None if it is empty, or filled by nobody knows what.
        """
        last = self.newest
        if last is None or not last.depth or not self._history:
            return None
        total = self._history[-1][1]
        before_it = total - last.depth
        first_at, first_total = self._history[0]
        if before_it < first_total:
            return now - first_at, True
        earlier_at, earlier = first_at, first_total
        for at, published in self._history:
            if published > before_it:
                share = (before_it + 1 - earlier) / (published - earlier)
                return now - (earlier_at + share * (at - earlier_at)), False
            earlier_at, earlier = at, published
        return now - earlier_at, False

    def take(self, look: Look) -> None:
        """Take a further look into account and judge anew."""
        if look.keeps_read:
            self._remember(look)
            return
        self._count_dropped(look)
        if not look.depth:
            self._empty_at = look.at
        self._remember(look)
        self.was_read = self.was_read or look.consumers > 0
        self._judge_capacity(look)
        self._judge_refusing(look)
        self._judge_unread(look)
        self._judge_slow(look)

    # ── what was dropped ──────────────────────────────────────────────────────────────────────

    def _count_dropped(self, look: Look) -> None:
        before, base = self.newest, self._unread_from
        if before is not None and (look.consumers or before.consumers):
            self._count_uncertain(before, look)
        if look.consumers:
            self._unread_from = None
            return
        if base is None:
            self._unread_from = look
            self._dropped_before = self.dropped_at_least
            return
        # The broker was asked in between the counts, so these two can only make it too few.
        came = _difference(look.published_before, base.published_after)
        if came is not None:
            gone = base.depth + came - look.depth
            self.dropped_at_least = max(self.dropped_at_least, self._dropped_before + gone)

    def _count_uncertain(self, before: Look, look: Look) -> None:
        came = _difference(look.published_after, before.published_before)
        if came is None or look.max_length is None:
            return
        # Nothing overflows that could not have been full.
        if max(before.depth, look.depth) + came >= look.max_length:
            self.dropped_uncertain += max(0, before.depth + came - look.depth)

    def _remember(self, look: Look) -> None:
        window = self._window
        window.append(look)
        while len(window) > 2 and window[1].at <= look.at - self._thresholds.window_seconds:  # noqa: PLR2004
            window.popleft()
        history, published = self._history, look.published_before
        if published is None:
            return
        if history and history[-1][1] == published:
            self._quiet_until = look.at
            return
        if history and self._quiet_until > history[-1][0]:
            # What comes now was published after that, however long nothing had been.
            history.append((self._quiet_until, history[-1][1]))
        history.append((look.at, published))
        if len(history) > _MOST_STEPS:
            old = [history.popleft() for _ in range(_MOST_STEPS // 2)]
            history.extendleft(reversed(old[::2]))  # what is long ago may be told more coarsely

    # ── alerts ────────────────────────────────────────────────────────────────────────────────

    def _judge_capacity(self, look: Look) -> None:
        """Tell that the oldest messages will soon be dropped, if anybody asked for them."""
        limit, thresholds = look.max_length, self._thresholds
        code = AlertCode.CAPACITY_NEAR
        if limit is None or not (look.is_awaited or self.was_read):
            self._clear(code)
        elif look.depth >= thresholds.near_share * limit:
            share = 100 * look.depth // limit
            self._raise(code, look, f"{look.depth} of at most {limit} messages ({share} %)")
        elif look.depth < thresholds.clear_share * limit:
            self._clear(code)

    def _judge_refusing(self, look: Look) -> None:
        """Tell that what is published here comes back refused, which also others pay for."""
        limit, code = look.max_length, AlertCode.REFUSING
        if limit is None or not look.refuses or look.depth < self._thresholds.near_share * limit:
            self._clear(code)
        elif look.depth >= limit:
            detail = f"full with {look.depth} messages, and it refuses more (reject-publish)"
            self._raise(code, look, detail)

    def _judge_unread(self, look: Look) -> None:
        """Tell that messages gather and nobody consumes them.

        A shared queue that nobody ever consumed is no alarm: it is there for whoever may come.
        """
        code, since = AlertCode.NO_CONSUMER, self._unread_from
        is_missed = look.kind is QueueKind.DEDICATED or (
            look.kind is QueueKind.SHARED and self.was_read
        )
        if since is None or not look.depth or not is_missed:
            self._clear(code)
            return
        seconds = look.at - since.at
        came = _difference(look.published_before, since.published_after)
        grows = look.depth > since.depth or bool(came)
        if seconds >= self._thresholds.unread_seconds and grows:
            self._raise(code, look, f"{look.depth} messages and no consumer for {seconds:.0f} s")

    def _judge_slow(self, look: Look) -> None:
        code, thresholds = AlertCode.SLOW_CONSUMER, self._thresholds
        self._peak = max(self._peak, look.depth) if code in self.alerts else look.depth
        if not look.consumers:
            self._clear(code)  # then it is not slow, it is gone
        elif code in self.alerts:
            if look.depth <= max(self._peak / 2, thresholds.slow_growth):
                self._clear(code)
        else:
            self._find_slow(look)

    def _find_slow(self, look: Look) -> None:
        window, thresholds = self._window, self._thresholds
        first = window[0]
        seconds = look.at - first.at
        grown = look.depth - first.depth
        came = _difference(look.published_before, first.published_after)
        if (
            seconds >= thresholds.window_seconds
            and grown >= thresholds.slow_growth
            and (came is None or grown >= thresholds.slow_share * came)
            and all(one.consumers for one in window)
            and all(a.depth < b.depth for a, b in zip(window, list(window)[1:], strict=False))
        ):
            of = "" if came is None else f" of {came} published"
            self._raise(
                AlertCode.SLOW_CONSUMER,
                look,
                f"{grown}{of} were left over in {seconds:.0f} s; {look.depth} messages wait",
            )

    def _raise(self, code: AlertCode, look: Look, detail: str) -> None:
        known = self.alerts.get(code)
        self.alerts[code] = Finding(code, look.at if known is None else known.since, detail)

    def _clear(self, code: AlertCode) -> None:
        self.alerts.pop(code, None)


def _difference(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier
