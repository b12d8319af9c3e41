"""The outbox against a model: nothing lost, nothing twice, order and accounts exact."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.delivery_rig import TRADES
from ws_gateway.delivery.outbox import Message, Outbox
from ws_gateway.domain.topic import Lane


def message(
    number: int, size: int = 10, *, lane: Lane = Lane.LEDGER, is_observed: bool = True
) -> Message:
    """Make a message that is known by its sequence."""
    return Message(b"x" * size, TRADES, lane, number, f"id-{number}", 0, is_observed)


class OutboxMachine(RuleBasedStateMachine):
    """Every legal order of calls; the model is a list per lane, two more, and a set of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_events=10**9, max_bytes=10**12)
        self.numbers = count(1)
        self.waiting: dict[Lane, list[Message]] = {lane: [] for lane in Lane}
        self.window: list[Message | None] = []  # None: answered for, yet not the oldest
        self.aside: list[Message] = []
        self.first_tag = 1
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

    @rule(most=st.integers(1, 9), reserved=st.integers(0, 3))
    def send(self, most: int, reserved: int) -> None:
        """Send private ones first, then a fair share of each public lane, oldest first."""
        batch = self.outbox.next_batch(most, reserved=reserved)
        taken = {lane: [one for one in batch if one.lane is lane] for lane in Lane}
        for lane, messages in taken.items():
            assert messages == self.waiting[lane][: len(messages)]
            del self.waiting[lane][: len(messages)]
        private = len(taken[Lane.PRIVATE])
        assert batch[:private] == taken[Lane.PRIVATE]
        assert private == most or not self.waiting[Lane.PRIVATE]
        left = max(0, most - reserved - private)
        public = [lane for lane in Lane if lane is not Lane.PRIVATE]
        sent = [len(taken[lane]) for lane in public]
        assert sum(sent) <= left
        for lane in public:
            if self.waiting[lane]:
                assert sum(sent) == left
                assert len(taken[lane]) >= max(sent) - len(public)
        self.window += batch

    @precondition(lambda self: self.window)
    @rule(data=st.data(), multiple=st.booleans(), back=st.booleans())
    def settle(self, data: st.DataObject, *, multiple: bool, back: bool) -> None:
        """Let the broker answer, in any order; what it refused may wait again."""
        index = data.draw(st.integers(0, len(self.window) - 1))
        first = 0 if multiple else index
        expected = [m for m in self.window[first : index + 1] if m is not None]
        answered: list[Message] = []
        self.outbox.settle(self.first_tag + index, multiple=multiple, take=answered.append)
        assert answered == expected
        for place in range(first, index + 1):
            self.window[place] = None
        while self.window and self.window[0] is None:
            self.window.pop(0)
            self.first_tag += 1
        if back:
            for one in answered:
                self.outbox.set_aside(one)
            self.aside += answered
        else:
            self.gone += [one.sequence for one in answered]

    @rule(tag=st.integers(-3, 0), beyond=st.integers(0, 3), multiple=st.booleans())
    def settle_nonsense(self, tag: int, beyond: int, *, multiple: bool) -> None:
        """Ignore answers for tags that are settled already or were never given."""
        for odd in (self.first_tag - 1 + tag, self.first_tag + len(self.window) + beyond):
            self.outbox.settle(odd, multiple=multiple, take=self._unexpected)

    @staticmethod
    def _unexpected(one: Message) -> None:
        raise AssertionError(one)

    @rule()
    def take_back(self) -> None:
        """Let what was set aside go on, before all others."""
        assert self.outbox.take_back() == len(self.aside)
        self._wait_again(self.aside)
        self.aside.clear()

    @rule()
    def rewind(self) -> None:
        """Begin anew on another connection."""
        again = [one for one in self.window if one is not None]
        assert self.outbox.rewind() == len(again)
        self._wait_again(again)
        self.window.clear()
        self.first_tag = 1

    def _wait_again(self, again: list[Message]) -> None:
        for lane, waiting in self.waiting.items():
            waiting[:0] = [one for one in again if one.lane is lane]

    @invariant()
    def accounts_are_exact(self) -> None:
        """Levels, tags and bytes are those of the model."""
        held = [one for one in self.window if one is not None] + self.aside
        for waiting in self.waiting.values():
            held += waiting
        for queue in self.outbox.lanes():
            of_lane = [one for one in held if one.lane is queue.lane]
            assert queue.messages == len(of_lane) <= queue.peak_messages
            assert queue.size_bytes == sum(len(one.data) for one in of_lane) <= queue.peak_bytes
        assert self.outbox.aside == len(self.aside)
        assert self.outbox.messages == len(held)
        assert self.outbox.events == sum(one.is_observed for one in held)
        assert self.outbox.size_bytes == sum(len(one.data) for one in held)
        waits = sum(map(len, self.waiting.values()))
        assert (self.outbox.waiting, self.outbox.has_waiting) == (waits, waits > 0)
        assert self.outbox.unconfirmed == len(self.window)
        assert self.outbox.first_tag == self.first_tag
        assert self.outbox.next_tag == self.first_tag + len(self.window)
        assert len(held) + len(self.gone) == self.taken
        assert len(set(self.gone)) == len(self.gone)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_what_was_sent_goes_out_again_in_its_old_order() -> None:
    """After a rewind, the unconfirmed come before what was never sent."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    for number in range(1, 7):
        outbox.put(message(number))
    outbox.next_batch(4)
    outbox.settle(2, multiple=False, take=lambda _: None)
    assert outbox.rewind() == 3
    assert [one.sequence for one in outbox.next_batch(10)] == [1, 3, 4, 5, 6]


def test_a_return_of_the_first_try_is_forgotten_by_a_rewind() -> None:
    """A message that came back before the connection was lost counts as sent anew."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    outbox.put(message(1))
    outbox.next_batch(1)
    found = outbox.find_unconfirmed("id-1")
    assert found is not None
    found.returned = True
    assert outbox.find_unconfirmed("id-1") is None
    outbox.rewind()
    outbox.next_batch(1)
    assert outbox.find_unconfirmed("id-1") is found


def test_a_return_of_a_repeated_id_names_the_one_not_yet_answered() -> None:
    """Of two messages with the same id, the confirmed one is never taken for the returned one."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    oldest, first, second = message(1), message(2), message(2)
    for one in (oldest, first, second):
        outbox.put(one)
    outbox.next_batch(3)
    outbox.settle(2, multiple=False, take=lambda _: None)
    assert outbox.find_unconfirmed("id-2") is second


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
    assert len(outbox.next_batch(100)) == 100
    room: dict[Lane, int] = {}
    for tag in range(1, 101):
        outbox.settle(tag, multiple=False, take=lambda _: None)
        for queue in outbox.lanes():
            if queue.lane not in room and outbox.has_room(queue.lane):
                room[queue.lane] = outbox.messages
    assert room == {Lane.BOOK: 99, Lane.LATEST: 99, Lane.PRIVATE: 89, Lane.LEDGER: 24}
    assert not outbox.is_refusing


def test_what_a_public_flood_left_waiting_is_overtaken() -> None:
    """A private event goes first, and the places kept for it are not given to others."""
    outbox = Outbox(max_events=1000, max_bytes=10**9)
    for number in range(1, 101):
        outbox.put(message(number))
    assert len(outbox.next_batch(50, reserved=10)) == 40
    outbox.put(message(101, lane=Lane.PRIVATE))
    assert [one.sequence for one in outbox.next_batch(10, reserved=10)] == [101]
    assert outbox.next_batch(9, reserved=9) == []
