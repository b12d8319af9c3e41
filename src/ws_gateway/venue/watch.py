"""Tells stalled topics from quiet ones, and what to do about them. Pure.

A stalled topic is asked for again alone; if that does not help, its socket should be replaced; if
that does not help either, it is asked for again from time to time, ever more rarely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.entry import Entry
from ws_gateway.venue.ledger import TopicLedger

_ACTIVE, _STALLED, _PENDING = (
    SubscriptionState.ACTIVE,
    SubscriptionState.STALLED,
    SubscriptionState.PENDING,
)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Stall:
    """A topic of which data may be missing, with what was seen.

    Attributes:
        since: monotonic time of its newest data, or of the moment data could be expected.
    """

    topic: Topic
    detail: str
    since: float


class StallWatch:
    """Looks through a socket's topics from time to time.

    Args:
        ledger: the topics, whose states it changes.
        first_data_seconds: how long the first data of a subscription may take.
        retry_seconds, retry_cap_seconds: first and longest pause before a topic that stays silent
            is asked for once more.
        scale: multiplies what `pace` allows, so that a test need not wait for real seconds.
        look_seconds: how often it looks, which is as exactly as it knows when data came.

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
        look_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._first_data_seconds = first_data_seconds
        self._retry_seconds = retry_seconds
        self._retry_cap_seconds = retry_cap_seconds
        self._scale = scale
        self._look_seconds = look_seconds
        self._suspect_at = 0.0
        self.stalls: list[Stall] = []
        self.hopeless: str | None = None

    def look(self, now: float, *, is_excused: bool) -> None:
        """Judge every topic.

        Args:
            now: monotonic seconds.
            is_excused: the venue announced that no data may come; nothing is done against it.
        """
        silent: list[Entry] = []
        stalled: list[Entry] = []
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
                silent.append(entry)
            elif state is _PENDING:
                self._judge_ack(entry, now)
            elif state is _STALLED:
                expected += 1
                stalled.append(entry)
        if is_excused:
            self._bear_with(silent, stalled, expected, now)
        else:
            self._judge(silent, stalled, expected, now)

    def look_away(self, now: float) -> None:
        """Hold no silence so far against anybody; `now` is monotonic seconds."""
        for entry in self._ledger.entries:
            if entry.state is _ACTIVE:
                entry.pace.begin(entry.frames, now)

    def silences(self, now: float) -> Iterator[tuple[Topic, float]]:
        """Tell for how long each topic that is active or stalled has been silent, in seconds."""
        for entry in self._ledger.entries:
            if entry.state is _ACTIVE:
                yield entry.topic, now - entry.pace.last_at
            elif entry.state is _STALLED:
                yield entry.topic, now - (entry.silent_since or entry.pace.last_at)

    def lacks_first_data(self) -> Iterator[Topic]:
        """Name the active topics whose first data have not come, though they come at once."""
        for entry in self._ledger.entries:
            if entry.state is _ACTIVE and self._awaits_first_data(entry):
                yield entry.topic

    def _judge(self, silent: list[Entry], stalled: list[Entry], expected: int, now: float) -> None:
        """Act on the topics that fell silent just now, and on those that are silent already."""
        count = len(silent) + len(stalled)
        is_socket = len(silent) > 1 and 2 * count > expected
        for entry in silent:
            self._stall(entry, now)
            if is_socket:
                entry.due = now + entry.pause
            else:
                self._ledger.ask_again(entry, now)
        for entry in stalled:
            self._insist(entry, now)
        if is_socket or (count and count == expected and now >= self._suspect_at):
            named = ", ".join(entry.topic.name for entry in (silent + stalled)[:_MOST_NAMED])
            self._suspect_at = now + self._retry_seconds
            if is_socket or not silent:  # a single one is asked for again alone, first
                self.hopeless = (
                    f"{count} of {expected} topics that should tick are silent ({named})"
                )
        if is_socket or (silent and count == expected):
            self._mark_unpaced(min(e.silent_since for e in (*silent, *stalled)))

    def _bear_with(
        self, silent: list[Entry], stalled: list[Entry], expected: int, now: float
    ) -> None:
        """Say what is silent, for no data is no data, and do nothing about it yet."""
        for entry in silent:
            self._stall(entry, now)
        for entry in stalled:
            entry.due = max(entry.due, now + self._first_data_seconds)
        if silent and len(silent) + len(stalled) == expected:
            self._mark_unpaced(min(e.silent_since for e in (*silent, *stalled)))

    def _mark_unpaced(self, since: float) -> None:
        """Call missed what has no pace to fall out of, such as trades, since a socket is in doubt.

        A book tells by its update ids. What brought data after the doubt began is not missed.
        """
        for entry in self._ledger.entries:
            if (
                entry.state is _ACTIVE
                and not entry.topic.has_update_ids
                and entry.pace.last_at <= since + self._look_seconds
                and entry.marked_frames != entry.frames
            ):
                entry.marked_frames = entry.frames
                self.stalls.append(Stall(entry.topic, "its socket fell silent", since))

    def take_stalls(self) -> list[Stall]:
        """Return the topics that fell silent, and forget them."""
        stalls, self.stalls = self.stalls, []
        return stalls

    def take_hopeless(self) -> str | None:
        """Return why the socket should be replaced, if it should, and forget it."""
        hopeless, self.hopeless = self.hopeless, None
        return hopeless

    def _awaits_first_data(self, entry: Entry) -> bool:
        expectation = entry.pace.expectation
        return expectation is not None and expectation.has_first_data and not entry.has_data

    def _allowed(self, entry: Entry) -> float | None:
        if self._awaits_first_data(entry):
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
        entry.silent_since = entry.pace.last_at
        self._ledger.set_state(entry, _STALLED, detail)
        self.stalls.append(Stall(entry.topic, detail, entry.silent_since))

    def _insist(self, entry: Entry, now: float) -> None:
        """Go on with a topic that stayed silent although it was asked for again."""
        if not entry.due:  # it was silent on the former socket
            entry.due = now + self._retry_seconds
            entry.silent_since = entry.pace.last_at
        if now < entry.due:
            return
        # A topic that never told anything here may have nothing to tell; no socket is spent on it.
        if entry.pause <= self._retry_seconds and entry.frames:
            self.hopeless = f"{entry.topic.name} stayed silent although it was asked for again"
        self._ledger.ask_again(entry, now)
        entry.pause = max(entry.pause, self._retry_seconds)
        entry.due = now + entry.pause
        entry.pause = min(self._retry_cap_seconds, 2 * entry.pause)
