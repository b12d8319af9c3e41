"""The outbox against a model: nothing lost, nothing twice, order and accounts exact."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.delivery_rig import TRADES
from ws_gateway.delivery.flight import Flight
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.domain.topic import Lane


def message(
    number: int, size: int = 10, *, lane: Lane = Lane.LEDGER, is_observed: bool = True
) -> Message:
    """Make a message that is known by its sequence."""
    return Message(b"x" * size, TRADES, lane, number, f"id-{number}", 0, is_observed)


class Way:
    """One way to the broker, and its model: two lists and a set of tags."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.window: list[Message | None] = []  # None: answered for, yet not the oldest
        self.aside: list[Message] = []
        self.first_tag = 1

    @property
    def held(self) -> list[Message]:
        """List what was sent and is still answered for."""
        return [one for one in self.window if one is not None] + self.aside


PRIVATE, PUBLIC = "private", "public"
WAYS = st.sampled_from([PRIVATE, PUBLIC])


class OutboxMachine(RuleBasedStateMachine):
    """Every legal order of calls; the model is a list per lane, and one per way."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_events=10**9, max_bytes=10**12)
        self.numbers = count(1)
        self.waiting: dict[Lane, list[Message]] = {lane: [] for lane in Lane}
        self.ways = {PRIVATE: Way(self.outbox.private), PUBLIC: Way(self.outbox.public)}
        self.gone: list[int] = []
        self.taken = 0

    @rule(
        sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
        lane=st.sampled_from(Lane),
        is_observed=st.booleans(),
    )
    def put(self, sizes: list[int], lane: Lane, *, is_observed: bool) -> None:
        """Take some."""
        for size in sizes:
            one = message(next(self.numbers), size, lane=lane, is_observed=is_observed)
            self.outbox.put(one)
            self.waiting[lane].append(one)
            self.taken += 1

    @rule(which=WAYS, most=st.integers(1, 9))
    def send(self, which: str, most: int) -> None:
        """Send a fair share of each lane, oldest first, and nothing of the other way's."""
        way = self.ways[which]
        batch = way.flight.next_batch(most)
        taken = {lane: [one for one in batch if one.lane is lane] for lane in Lane}
        for lane, messages in taken.items():
            assert messages == self.waiting[lane][: len(messages)]
            del self.waiting[lane][: len(messages)]
        lanes = [lane for lane in Lane if (lane is Lane.PRIVATE) is (which == PRIVATE)]
        sent = [len(taken[lane]) for lane in lanes]
        assert sum(sent) == len(batch) <= most
        for lane in lanes:
            if self.waiting[lane]:
                assert len(batch) == most
                assert len(taken[lane]) >= max(sent) - len(lanes)
        way.window += batch

    @rule(which=WAYS, data=st.data(), multiple=st.booleans(), back=st.booleans())
    def settle(self, which: str, data: st.DataObject, *, multiple: bool, back: bool) -> None:
        """Let the broker answer, in any order; what it refused may wait again."""
        way = self.ways[which]
        if not way.window:
            return
        index = data.draw(st.integers(0, len(way.window) - 1))
        first = 0 if multiple else index
        expected = [m for m in way.window[first : index + 1] if m is not None]
        answered: list[Message] = []
        way.flight.settle(way.first_tag + index, multiple=multiple, take=answered.append)
        assert answered == expected
        for place in range(first, index + 1):
            way.window[place] = None
        while way.window and way.window[0] is None:
            way.window.pop(0)
            way.first_tag += 1
        if back:
            for one in answered:
                way.flight.set_aside(one)
            way.aside += answered
        else:
            self.gone += [one.sequence for one in answered]

    @rule(which=WAYS, tag=st.integers(-3, 0), beyond=st.integers(0, 3), multiple=st.booleans())
    def settle_nonsense(self, which: str, tag: int, beyond: int, *, multiple: bool) -> None:
        """Ignore answers for tags that are settled already or were never given."""
        way = self.ways[which]
        for odd in (way.first_tag - 1 + tag, way.first_tag + len(way.window) + beyond):
            way.flight.settle(odd, multiple=multiple, take=self._unexpected)

    @staticmethod
    def _unexpected(one: Message) -> None:
        raise AssertionError(one)

    @rule(which=WAYS)
    def take_back(self, which: str) -> None:
        """Let what was set aside go on, before all others."""
        way = self.ways[which]
        assert way.flight.take_back() == len(way.aside)
        self._wait_again(way.aside)
        way.aside.clear()

    @rule(which=WAYS)
    def rewind(self, which: str) -> None:
        """Begin anew on another connection."""
        way = self.ways[which]
        again = sorted(way.held, key=lambda one: one.sequence)
        assert way.flight.rewind() == len(again)
        self._wait_again(again)
        way.window.clear()
        way.aside.clear()
        way.first_tag = 1

    def _wait_again(self, again: list[Message]) -> None:
        for lane, waiting in self.waiting.items():
            waiting[:0] = [one for one in again if one.lane is lane]

    @invariant()
    def accounts_are_exact(self) -> None:
        """Levels, tags and bytes are those of the model."""
        held = [one for way in self.ways.values() for one in way.held]
        for waiting in self.waiting.values():
            held += waiting
        for queue in self.outbox.lanes():
            of_lane = [one for one in held if one.lane is queue.lane]
            assert queue.messages == len(of_lane) <= queue.peak_messages
            assert queue.size_bytes == sum(len(one.data) for one in of_lane) <= queue.peak_bytes
        assert self.outbox.messages == len(held)
        assert self.outbox.events == sum(one.is_observed for one in held)
        assert self.outbox.size_bytes == sum(len(one.data) for one in held)
        assert self.outbox.unconfirmed == sum(len(way.window) for way in self.ways.values())
        assert len(held) + len(self.gone) == self.taken
        assert len(set(self.gone)) == len(self.gone)

    @invariant()
    def ways_are_exact(self) -> None:
        """Each has its own numbers."""
        for which, way in self.ways.items():
            flight = way.flight
            lanes = [lane for lane in Lane if (lane is Lane.PRIVATE) is (which == PRIVATE)]
            waits = sum(len(self.waiting[lane]) for lane in lanes)
            assert (flight.waiting, flight.has_waiting) == (waits, waits > 0)
            assert (flight.aside, flight.unconfirmed) == (len(way.aside), len(way.window))
            assert flight.first_tag == way.first_tag
            assert flight.next_tag == way.first_tag + len(way.window)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_what_was_sent_goes_out_again_in_its_old_order() -> None:
    """After a rewind, the unconfirmed come before what was never sent."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    for number in range(1, 7):
        outbox.put(message(number))
    outbox.public.next_batch(4)
    outbox.public.settle(2, multiple=False, take=lambda _: None)
    assert outbox.public.rewind() == 3
    assert [one.sequence for one in outbox.public.next_batch(10)] == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("lane", [Lane.LEDGER, Lane.PRIVATE])
def test_what_came_back_does_not_overtake_older_ones_when_the_connection_is_lost(
    lane: Lane,
) -> None:
    """The broker answers for what no queue takes before it answers for what one is writing."""
    outbox = Outbox(max_events=100, max_bytes=10**6)
    flight: Flight = outbox.private if lane is Lane.PRIVATE else outbox.public
    for number in range(1, 6):
        outbox.put(message(number, lane=lane))
    flight.next_batch(4)
    for tag in (2, 4):
        flight.settle(tag, multiple=False, take=flight.set_aside)
    assert flight.rewind() == 4
    assert [one.sequence for one in flight.next_batch(9)] == [1, 2, 3, 4, 5]
    assert (flight.aside, flight.unconfirmed, outbox.messages) == (0, 5, 5)


def test_a_return_of_the_first_try_is_forgotten_by_a_rewind() -> None:
    """A message that came back before the connection was lost counts as sent anew."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    outbox.put(message(1))
    outbox.public.next_batch(1)
    found = outbox.public.find_unconfirmed("id-1")
    assert found is not None
    found.returned = True
    assert outbox.public.find_unconfirmed("id-1") is None
    outbox.public.rewind()
    outbox.public.next_batch(1)
    assert outbox.public.find_unconfirmed("id-1") is found


def test_a_return_of_a_repeated_id_names_the_one_not_yet_answered() -> None:
    """Of two messages with the same id, the confirmed one is never taken for the returned one."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    oldest, first, second = message(1), message(2), message(2)
    for one in (oldest, first, second):
        outbox.put(one)
    outbox.public.next_batch(3)
    outbox.public.settle(2, multiple=False, take=lambda _: None)
    assert outbox.public.find_unconfirmed("id-2") is second


@pytest.mark.parametrize(("max_events", "max_bytes"), [(100, 10**9), (10**9, 1000)])
def test_each_public_lane_has_its_bound_and_private_facts_the_rest(
    max_events: int, max_bytes: int
) -> None:
    """A full lane takes nothing from another, by count or bytes; private facts fit to the end."""
    outbox = Outbox(max_events=max_events, max_bytes=max_bytes)
    numbers = count(1)

    def fill(lane: Lane) -> int:
        taken = 0
        while outbox.has_room(lane):
            outbox.put(message(next(numbers), lane=lane))
            taken += 1
        return taken

    assert [fill(lane) for lane in (Lane.LEDGER, Lane.BOOK, Lane.LATEST)] == [50, 25, 15]
    assert fill(Lane.PRIVATE) == 10
    assert outbox.is_refusing


def test_private_facts_may_fill_all_that_is_free() -> None:
    """Their lane is held longest."""
    outbox = Outbox(max_events=100, max_bytes=10**9)
    for number in range(1, 101):
        assert outbox.has_room(Lane.PRIVATE)
        outbox.put(message(number, lane=Lane.PRIVATE))
    assert not outbox.has_room(Lane.PRIVATE)
    assert outbox.has_room(Lane.BOOK)  # its own bound is another matter


def test_a_refused_lane_stays_refused_until_the_level_has_fallen() -> None:
    """Public room returns below half its lane, private room below nine tenths of all."""
    outbox = Outbox(max_events=100, max_bytes=10**9)
    for number in range(1, 51):
        outbox.put(message(number))
        outbox.put(message(100 + number, lane=Lane.PRIVATE))
    assert not outbox.has_room(Lane.PRIVATE)
    assert not outbox.has_room(Lane.LEDGER)
    assert len(outbox.public.next_batch(100)) == 50
    assert len(outbox.private.next_batch(100)) == 50
    room: dict[Lane, int] = {}
    for place in range(100):
        way = outbox.private if place < 50 else outbox.public
        way.settle(place % 50 + 1, multiple=False, take=lambda _: None)
        for queue in outbox.lanes():
            if queue.lane not in room and outbox.has_room(queue.lane):
                room[queue.lane] = outbox.messages
    assert room == {Lane.BOOK: 99, Lane.LATEST: 99, Lane.PRIVATE: 89, Lane.LEDGER: 24}
    assert not outbox.is_refusing


def test_neither_way_waits_for_what_is_unconfirmed_on_the_other() -> None:
    """A private event goes at once beside a public backlog, under a number of its own."""
    outbox = Outbox(max_events=1000, max_bytes=10**9)
    for number in range(1, 101):
        outbox.put(message(number))
    assert len(outbox.public.next_batch(50)) == 50
    outbox.put(message(101, lane=Lane.PRIVATE))
    assert [one.sequence for one in outbox.private.next_batch(10)] == [101]
    assert (outbox.private.first_tag, outbox.public.next_tag) == (1, 51)
    outbox.private.settle(1, multiple=True, take=lambda _: None)
    assert (outbox.private.unconfirmed, outbox.unconfirmed) == (0, 50)
