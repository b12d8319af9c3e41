"""Tells stalled topics from quiet ones, and what to do about them. Pure.

A stalled topic is asked for again alone; if that does not help, its socket should be replaced; if
that does not help either, it is asked for again from time to time, ever more rarely.
"""

from __future__ import annotations

from dataclasses import dataclass

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.ledger import Entry, TopicLedger

_ACTIVE, _STALLED, _PENDING = (
    SubscriptionState.ACTIVE,
    SubscriptionState.STALLED,
    SubscriptionState.PENDING,
)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Stall:
    """A topic that fell silent, with what was seen."""

    topic: Topic
    detail: str


class StallWatch:
    """Looks through a socket's topics from time to time.

    Args:
        ledger: the topics, whose states it changes.
        first_data_seconds: how long the first data of a subscription may take.
        retry_seconds, retry_cap_seconds: first and longest pause before a topic that stays silent
            is asked for once more.
        scale: multiplies what `pace` allows, so that a test need not wait for real seconds.

    Attributes:
        stalls: topics that fell silent since somebody last took them.
        hopeless: why the socket should be replaced, None if it should not.
    """

    def __init__(
        self,
        ledger: TopicLedger,
        *,
        first_data_seconds: float,
        retry_seconds: float,
        retry_cap_seconds: float,
        scale: float,
    ) -> None:
        self._ledger = ledger
        self._first_data_seconds = first_data_seconds
        self._retry_seconds = retry_seconds
        self._retry_cap_seconds = retry_cap_seconds
        self._scale = scale
        self.stalls: list[Stall] = []
        self.hopeless: str | None = None

    def look(self, now: float, *, is_excused: bool) -> None:
        """Judge every topic.

        Args:
            now: monotonic seconds.
            is_excused: the venue announced that no data may come; nothing is held against it.
        """
        silent: list[Entry] = []
        expected = 0
        for entry in list(self._ledger.entries):
            state = entry.state
            if state is _ACTIVE:
                silence = entry.pace.look(entry.frames, now)
                allowed = self._allowed(entry)
                if allowed is None:
                    continue
                expected += 1
                if silence <= allowed:
                    continue
                if is_excused:
                    entry.pace.last_at = now
                else:
                    silent.append(entry)
            elif state is _PENDING:
                self._judge_ack(entry, now)
            elif state is _STALLED and not is_excused:
                self._insist(entry, now)
        if len(silent) > 1 and 2 * len(silent) > expected:
            self._suspect_socket(silent, expected, now)
        else:
            for entry in silent:
                self._stall(entry, now)
                self._ledger.ask_again(entry, now)

    def take_stalls(self) -> list[Stall]:
        """Return the topics that fell silent, and forget them."""
        stalls, self.stalls = self.stalls, []
        return stalls

    def take_hopeless(self) -> str | None:
        """Return why the socket should be replaced, if it should, and forget it."""
        hopeless, self.hopeless = self.hopeless, None
        return hopeless

    def _allowed(self, entry: Entry) -> float | None:
        expectation = entry.pace.expectation
        if expectation is not None and expectation.has_first_data and not entry.has_data:
            return self._first_data_seconds
        return entry.pace.allowed(self._scale)

    def _judge_ack(self, entry: Entry, now: float) -> None:
        """Decide on an ack that proves nothing, when the first data are overdue.

        On the option and spread sockets a topic that does not exist is acknowledged like any
        other, and nothing ever comes (observed; bybit-v5 reference, Failures).
        """
        if entry.acked_at is None or now - entry.acked_at < self._first_data_seconds:
            return
        expectation = entry.pace.expectation
        if expectation is None or not expectation.has_first_data:
            self._ledger.set_state(entry, _ACTIVE)  # silence is its normal state
            return
        newest = self._ledger.last_data_at
        others_deliver = newest is not None and newest > entry.acked_at
        if others_deliver or now - entry.acked_at > 3 * self._first_data_seconds:
            entry.is_judged = True
            self._ledger.set_state(
                entry,
                SubscriptionState.REJECTED,
                f"acknowledged, but no data came in {self._first_data_seconds:g} s; "
                "this socket acknowledges topics that do not exist as well",
            )

    def _stall(self, entry: Entry, now: float) -> None:
        seen = f"no data for {now - entry.pace.last_at:.1f} s"
        if entry.has_data:
            detail = f"{seen}; the longest silence of late was {entry.pace.longest:.1f} s"
        else:
            detail = f"{seen} since it was asked for"
        entry.due = now + self._first_data_seconds
        entry.pause = self._retry_seconds
        self._ledger.set_state(entry, _STALLED, detail)
        self.stalls.append(Stall(entry.topic, detail))

    def _suspect_socket(self, silent: list[Entry], expected: int, now: float) -> None:
        newest = max(entry.pace.last_at for entry in silent)
        for entry in silent:
            self._stall(entry, now)
            entry.due = now + entry.pause
        for entry in self._ledger.entries:
            # What has no pace of its own, such as trades, may have been missed all the same;
            # a book tells by its update ids.
            if (
                entry.state is _ACTIVE
                and entry.pace.last_at <= newest
                and not entry.topic.has_update_ids
            ):
                self.stalls.append(Stall(entry.topic, "its socket fell silent"))
        named = ", ".join(entry.topic.name for entry in silent[:_MOST_NAMED])
        self.hopeless = f"{len(silent)} of {expected} topics that should tick are silent ({named})"

    def _insist(self, entry: Entry, now: float) -> None:
        """Go on with a topic that stayed silent although it was asked for again."""
        if not entry.due:  # it was silent on the former socket
            entry.due = now + self._retry_seconds
        if now < entry.due:
            return
        # A topic that never told anything here may have nothing to tell; no socket is spent on it.
        if entry.pause <= self._retry_seconds and entry.frames:
            self.hopeless = f"{entry.topic.name} stayed silent although it was asked for again"
        self._ledger.ask_again(entry, now)
        entry.pause = max(entry.pause, self._retry_seconds)
        entry.due = now + entry.pause
        entry.pause = min(self._retry_cap_seconds, 2 * entry.pause)
