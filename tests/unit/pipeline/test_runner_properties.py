"""Whatever happens, the numbers explain themselves and every observation is accounted for."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.memory_outlet import MemoryOutlet, envelope_of
from support.scripted_venue import book, ticker
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.domain.event import Event, GapReason, Kind, Observation
from ws_gateway.domain.topic import Category, Channel, Lane, Topic, build_topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.runtime.counters import Counters

BOOK, OTHER_BOOK = book(), book("ETHUSDT", Category.SPOT)
TOP = book(depth=1)
TICKER = ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
ORDERS = build_topic(Channel.ORDER)
BOOKS = (BOOK, OTHER_BOOK)
PLAIN = (TICKER, TRADES, ORDERS)
EVERY = (*BOOKS, TOP, *PLAIN)
VENUE_REASONS = (GapReason.DISCONNECT, GapReason.RESUBSCRIBE, GapReason.SEQUENCE)


class Pipeline(RuleBasedStateMachine):
    """A venue that loses frames, a broker that has room or not, a runner in between."""

    def __init__(self) -> None:
        super().__init__()
        self.outlet = MemoryOutlet()
        self.counters = Counters()
        self.now_us = 1_790_000_000_000_000
        self.update_ids: dict[Topic, int] = {}
        self.answers: set[Topic] = set()
        self.lost: set[int] = set()
        self.checked = 0
        self.runner = Runner(
            outlet=self.outlet,
            resync=self,
            counters=self.counters,
            epoch="E",
            clock_us=lambda: self.now_us,
            new_trace_id=lambda: "0" * 32,
        )

    def resync(self, topic: Topic) -> None:
        """Take note of a snapshot that was asked for."""
        self.answers.add(topic)

    def tell(self, topic: Topic, kind: Kind, u: int | None) -> None:
        """Let the venue tell a fact."""
        self.runner.accept(
            Observation(
                topic, kind, f"{topic.key}:{u}", topic.category, topic.symbol,
                1, None, self.now_us, "0" * 32, u, b"{}",
            )
        )  # fmt: skip

    @rule(topic=st.sampled_from(PLAIN))
    def fact(self, topic: Topic) -> None:
        """Tell a trade, a ticker or an order."""
        self.tell(topic, Kind.UPDATE, None)

    @rule(u=st.integers(1, 3))
    def top_of_book(self, u: int) -> None:
        """Tell the best level, often the same."""
        self.tell(TOP, Kind.SNAPSHOT, u)

    @rule(topic=st.sampled_from(BOOKS), skipped=st.sampled_from([0, 0, 0, 0, 1, -1, -3]))
    def delta(self, topic: Topic, skipped: int) -> None:
        """Tell a change of a book, sometimes after a hole, sometimes again."""
        u = self.update_ids.get(topic, 10) + 1 + skipped
        self.update_ids[topic] = max(u, 2)
        self.tell(topic, Kind.DELTA, self.update_ids[topic])

    @rule(topic=st.sampled_from(BOOKS), restart=st.booleans())
    def snapshot(self, topic: Topic, *, restart: bool) -> None:
        """Tell a whole book."""
        self.update_ids[topic] = 1 if restart else self.update_ids.get(topic, 10) + 5
        self.tell(topic, Kind.SNAPSHOT, self.update_ids[topic])

    @rule(topics=st.sets(st.sampled_from(EVERY)), reason=st.sampled_from(VENUE_REASONS))
    def broken(self, topics: set[Topic], reason: GapReason) -> None:
        """Lose a socket, a subscription or a frame."""
        self.runner.break_streams(sorted(topics, key=lambda t: t.key), reason, "broken")

    @rule(lane=st.sampled_from(Lane), room=st.sampled_from([0, 0, 1, 2, 3, 50]))
    def level(self, lane: Lane, room: int) -> None:
        """Change how much the broker takes, without a word."""
        self.outlet.room[lane] = room

    @rule()
    def room_again(self) -> None:
        """Let delivery say that there may be room."""
        self.runner.room_again()

    @rule(data=st.data())
    def given_up(self, data: st.DataObject) -> None:
        """Let delivery give up an event it had taken."""
        left = [n for n, event in enumerate(self.outlet.taken) if not event.is_marker]
        left = [n for n in left if n not in self.lost]
        if left:
            chosen = data.draw(st.sampled_from(left))
            self.lost.add(chosen)
            event = self.outlet.taken[chosen]
            self.runner.events_lost([(event.observation.topic, event.sequence)], "given up")

    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds: int) -> None:
        """Let the clock run."""
        self.now_us += seconds * 1_000_000

    @invariant()
    def every_observation_is_accounted_for(self) -> None:
        """Taken by delivery, suppressed or shed: nothing else, and nothing twice."""
        counters = self.counters
        taken = self.outlet.observed
        assert counters.received == taken + counters.suppressed.total() + counters.shed.total()
        assert counters.markers == len(self.outlet.taken) - taken

    @invariant()
    def every_hole_is_explained_in_the_end(self) -> None:
        """What reached the consumer has no step that a marker does not name."""
        if len(self.outlet.taken) == self.checked:
            return
        self.checked = len(self.outlet.taken)
        problems = problems_of(
            event for n, event in enumerate(self.outlet.taken) if n not in self.lost
        )
        assert self.lost or not problems

    def teardown(self) -> None:
        """Give room to everything, and look at the whole stream."""
        self.outlet.room.clear()
        self.runner.room_again()
        events = [event for n, event in enumerate(self.outlet.taken) if n not in self.lost]
        assert problems_of(events) == []
        for topic in EVERY:
            check_unnamed_numbers(topic, self.outlet.of(topic))
            check_mutations([event for event in events if event.observation.topic == topic])


def problems_of(events: Any) -> list[str]:
    """Show events to the consumer's checker."""
    checker = ContinuityChecker()
    for event in events:
        checker.check(envelope_of(event))
    return checker.problems


def named_holes(events: list[Event]) -> list[tuple[int, int]]:
    """List the holes that markers name."""
    payloads = [envelope_of(e)["payload"] for e in events if e.observation.kind is Kind.GAP]
    return [(p["from_sequence"], p["to_sequence"]) for p in payloads if p["from_sequence"]]


def check_unnamed_numbers(topic: Topic, events: list[Event]) -> None:
    """Assert that numbers rise, and that every one that is missing is named."""
    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers)), topic
    missing = set(range(1, max(numbers, default=0))) - set(numbers)
    holes = named_holes(events)
    assert all(any(first <= n <= last for first, last in holes) for n in missing)


def check_mutations(events: list[Event]) -> None:
    """Assert that losing any event but a stream's ends, and what a marker names, is found."""
    holes = named_holes(events)
    for n, event in enumerate(events[1:-1], start=1):
        if any(first - 1 <= event.sequence <= last + 1 for first, last in holes):
            continue
        assert problems_of([*events[:n], *events[n + 1 :]]), event.sequence


Pipeline.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPipeline = Pipeline.TestCase
